"""servers.py - the real servers that the tests run against: Redis, the authorization server, the API."""
import http.client
import json
import secrets
import urllib.parse
from pathlib import Path

import redis as redispy

from procs import PATIENCE, ROOT, Process, free_port, program, wait_until


class Redis(Process):
    """A private redis-server in `folder`: on a Unix socket, and on a loopback port if asked.

    aof     None, "everysec" or "always"
    options further lines of redis.conf, {"maxmemory": "100mb", "user": ["a on ...", "b ..."]}
    """

    def __init__(self, folder, name="redis", aof=None, tcp=False, options=None):
        super().__init__(name, folder)
        self.dir = self.folder / f"{name}.d"
        self.dir.mkdir(parents=True, exist_ok=True)
        self.socket = f"{self.dir}/redis.sock"
        assert len(self.socket) < 108, "sockaddr_un holds 108 bytes; use a shorter folder"
        self.port = free_port() if tcp else 0
        conf = {"port": self.port, "bind": "127.0.0.1", "unixsocket": self.socket, "save": '""',
                "dir": self.dir, "maxmemory-policy": "noeviction", "daemonize": "no",
                "appendonly": "yes" if aof else "no", "appendfsync": aof or "everysec",
                "enable-debug-command": "local", "repl-diskless-sync-delay": 0,
                **(options or {})}
        lines = []
        for key, value in conf.items():
            for v in value if isinstance(value, list) else [value]:
                lines.append(f"{key} {v}")
        (self.dir / "redis.conf").write_text("\n".join(lines) + "\n")
        self.auth = {}  # username, password of `client`

    @property
    def url(self):
        return f"unix://{self.socket}"

    @property
    def tcp_url(self):
        assert self.port, "asked for no TCP port"
        return f"redis://127.0.0.1:{self.port}"

    def start(self, timeout=20):
        super().start([program("redis-server"), self.dir / "redis.conf"])
        self.client = redispy.Redis(unix_socket_path=self.socket, socket_timeout=30, **self.auth)
        wait_until(self.answers, timeout, f"{self.name} to answer")
        return self

    def answers(self):
        assert self.running, f"{self.name} ended:\n" + self.tail()
        try:
            return self.client.ping()
        except (redispy.ConnectionError, redispy.BusyLoadingError):
            return False

    def end_cleanly(self):
        self.term()
        return self.wait()

    def restart(self, hard=False):
        """Stop (hard: kill -9) and start again on the same data and addresses."""
        if hard:
            self.kill()
        else:
            self.end_cleanly()
        return self.start()

    def note_commands(self):
        """From here on, `noted` has every command that a client sent."""
        self.client.slowlog_reset()
        self.client.config_set("slowlog-max-len", 1000000)
        self.client.config_set("slowlog-log-slower-than", 0)

    def noted(self):
        """[command line as bytes, long ones shortened], in the order in which Redis did them."""
        return [e["command"] for e in reversed(self.client.slowlog_get(1000000))]

    def calls(self):
        """Commands so far by name, scripts' inner ones included."""
        return {k[8:]: v["calls"] for k, v in self.client.info("commandstats").items()}


class Sentinel(Process):
    """One redis-server --sentinel on a loopback port, told from the start who there is."""

    def __init__(self, folder, name, port):
        super().__init__(name, folder)
        self.port = port
        self.myid = secrets.token_hex(20)
        self.conf = self.folder / f"{name}.conf"

    def watch(self, primary, replica, others, down_ms):
        """Write its settings: where the two servers are, and the other Sentinels."""
        at = "127.0.0.1"
        lines = [f"port {self.port}", f"bind {at}", "daemonize no", f"dir {self.folder}",
                 f"sentinel myid {self.myid}",
                 f"sentinel monitor {Failover.NAME} {at} {primary} 2",
                 f"sentinel down-after-milliseconds {Failover.NAME} {down_ms}",
                 f"sentinel failover-timeout {Failover.NAME} 2000",
                 f"sentinel known-replica {Failover.NAME} {at} {replica}"]
        lines += [f"sentinel known-sentinel {Failover.NAME} {at} {o.port} {o.myid}" for o in others]
        self.conf.write_text("\n".join(lines) + "\n")

    def start(self, timeout=20):
        super().start([program("redis-server"), self.conf, "--sentinel"])
        self.client = redispy.Redis(port=self.port, socket_timeout=10)
        wait_until(self.answers, timeout, f"{self.name} to answer")
        # Looks and elections more often than it would, so that a test need not wait. While the primary is
        # down a replica is asked for INFO each second, and only one that told within five PING-PERIODs is
        # good enough: so that one is not to be under 200.
        self.client.execute_command("SENTINEL", "DEBUG", "INFO-PERIOD", 300, "PING-PERIOD", 300,
                                    "ASK-PERIOD", 200, "PUBLISH-PERIOD", 300, "TILT-PERIOD", 1000)
        return self

    def answers(self):
        assert self.running, f"{self.name} ended:\n" + self.tail()
        try:
            return self.client.ping()
        except redispy.ConnectionError:
            return False

    def state(self):
        got = self.client.sentinel_master(Failover.NAME)
        replicas = self.client.sentinel_slaves(Failover.NAME)
        return got["num-other-sentinels"], got["flags"], \
            [(r["flags"], r["master-link-status"]) for r in replicas]


class Failover:
    """A primary, its replica and three Sentinels, all on loopback; the replica takes over when the
    primary dies. To a test it looks as the one Redis that `client` talks to: the primary of the moment.

    port    where the primary is for everybody else, when something stands in between
    """

    NAME = "mymaster"

    def __init__(self, folder, port=None, options=None):
        self.folder = Path(folder)
        self.primary = Redis(folder, "primary", tcp=True, options=options)
        at = port or self.primary.port
        self.replica = Redis(folder, "replica", tcp=True, options={
            "replicaof": f"127.0.0.1 {at}", "replica-serve-stale-data": "yes", "repl-ping-replica-period": 1, **(options or {})})
        self.sentinels = [Sentinel(folder, f"sentinel{n}", free_port()) for n in range(3)]
        # Two may want to lead the failover; the third one, later, only votes, so one of them does.
        for s, down_ms in zip(self.sentinels, (500, 500, 1500)):
            s.watch(at, self.replica.port, [o for o in self.sentinels if o is not s], down_ms)
        hosts = ",".join(f"127.0.0.1:{s.port}" for s in self.sentinels)
        self.url = f"redis+sentinel://{hosts}/{self.NAME}"
        self.client = None

    def start(self):
        """Up, the replica in step, and each Sentinel in touch with all the others."""
        self.primary.start()
        self.replica.start()
        self.client = self.primary.client
        wait_until(lambda: self.online() == 1, 20, "the replica to follow")
        for s in self.sentinels:
            s.start()
        wait_until(lambda: all(s.state() == (2, "master", [("slave", "ok")]) for s in self.sentinels), 20,
                   lambda: f"the Sentinels to know each other: {[s.state() for s in self.sentinels]}")
        return self

    def online(self):
        """Replicas that the primary counts."""
        of = self.client.info("replication")
        return sum(of[f"slave{n}"]["state"] == "online" for n in range(of["connected_slaves"]))

    def copied(self):
        """Wait until the replica has what the primary has."""
        wait_until(lambda: self.client.wait(1, 1000) >= 1, 20, "the replica to have copied all")

    def taken_over(self, timeout=30):
        """The replica is the primary, and the Sentinels say so."""
        def done():
            return all(s.client.sentinel_get_master_addr_by_name(self.NAME)[1] == self.replica.port
                       for s in self.sentinels if s.running) \
                and self.replica.client.role()[0] == b"master"
        self.client = self.replica.client
        wait_until(done, timeout, lambda: "the Sentinels to fail over\n" +
                   "\n".join(s.tail() for s in self.sentinels))

    @property
    def running(self):
        return self.client is not None

    def parts(self):
        return [*self.sentinels, self.replica, self.primary]

    def tail(self, count=10):
        return "\n".join(p.tail(count) for p in self.parts())

    def end(self):
        for p in self.parts():
            p.end()


class NodePeer(Process):
    """One of tests/peers: ready when it says so, controlled under /_test/."""

    script = None

    def __init__(self, folder, name, port, env):
        super().__init__(name, folder)
        self.port = port
        self.base = f"http://127.0.0.1:{port}"
        node = ROOT / ".deps/bin/node"
        assert node.exists(), "no Node for the test peers: make deps"
        assert (ROOT / "tests/node_modules/jose").exists(), "no Node packages: make deps"
        self.start([node, ROOT / "tests/peers" / self.script, port], env)

    def wait_ready(self, count=1):
        def ready():
            assert self.running, f"{self.name} ended:\n" + self.tail()
            return sum('"ready"' in line for line in self.lines()) >= count
        wait_until(ready, 30, f"{self.name} to be ready")
        return self

    def ask(self, method, path, body=None, headers=None):
        """(status, headers, decoded body) of one request."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30 * PATIENCE)
        try:
            headers = dict(headers or {})
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
                headers.setdefault("content-type", "application/json")
            link.request(method, path, body, headers)
            answer = link.getresponse()
            data = answer.read()
        finally:
            link.close()
        if "json" in (answer.headers.get("content-type") or ""):
            data = json.loads(data)
        return answer.status, answer.headers, data

    def control(self, method, what, body=None, **query):
        path = f"/_test/{what}" + (f"?{urllib.parse.urlencode(query)}" if query else "")
        status, _, data = self.ask(method, path, body)
        assert status == 200, f"{self.name} {method} {what}: {status} {data}"
        return data

    def counters(self):
        return self.control("GET", "counters")

    def log(self, **query):
        return self.control("GET", "log", **query)

    def reset(self):
        self.control("POST", "reset")


class AuthServer(NodePeer):
    """oidc-provider. Settings are those of tests/peers/README.md without AS_: AuthServer(f, AT_TTL=3)."""

    script = "as.mjs"

    def __init__(self, folder, name="as", **settings):
        env = {f"AS_{k}": str(v) for k, v in settings.items()}
        port = free_port(2)
        super().__init__(folder, name, port, env)
        self.token_url = f"{self.base}/token"
        self.tls = f"https://127.0.0.1:{port + 1}"  # with TLS_KEY and TLS_CERT

    def faults(self, *faults):
        self.control("POST", "faults", list(faults))

    def clear_faults(self):
        self.control("DELETE", "faults")

    def mint(self, account, client="basic", **more):
        """Ready-made grants as if people had linked them; a list, or one for count 1."""
        got = self.control("POST", "mint", {"client_id": client, "account": account, **more})
        return got if more.get("count", 1) > 1 else got[0]

    def expire(self, **which):
        """Access tokens of account=, grant_id= or client_id= stop working now."""
        return self.control("POST", "expire", which)["expired"]

    def revoke(self, **which):
        return self.control("POST", "revoke", which)["revoked"]

    def token(self, client, grant="client_credentials", **form):
        """Ask the token endpoint by hand: (status, body)."""
        body = urllib.parse.urlencode({"grant_type": grant, "client_id": client,
                                       "client_secret": f"{client}-secret", **form})
        status, _, data = self.ask("POST", "/token", body,
                                   {"content-type": "application/x-www-form-urlencoded"})
        return status, data

    def requests_of(self, account, grant="refresh_token", kind="arrived"):
        account = self.counters()["token"]["by_account"].get(account, {})
        return account.get(grant, {}).get(kind, 0)


class Api(NodePeer):
    """The protected API behind one authorization server; its second origin is `other`."""

    script = "api.mjs"

    def __init__(self, folder, auth, name="api", **settings):
        env = {f"API_{k}": str(v) for k, v in settings.items()}
        port = free_port(4)
        super().__init__(folder, name, port, {"AS_URL": auth.base, **env})
        self.other = f"http://127.0.0.1:{port + 1}"
        self.tls, self.tls_other = (f"https://127.0.0.1:{port + n}" for n in (2, 3))  # with TLS_KEY and TLS_CERT

    def wait_ready(self, count=2):
        return super().wait_ready(count)

    def effects(self):
        return self.control("GET", "effects")

    def idempotency(self):
        return self.control("GET", "idempotency")


class Peers:
    """Peers are slow to start (keys), so a session shares them: one pair per set of settings."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.pairs = {}

    def get(self, auth=None, api=None):
        key = json.dumps([auth or {}, api or {}], sort_keys=True)
        if key not in self.pairs:
            n = len(self.pairs)
            a = AuthServer(self.folder, f"as{n}", **(auth or {}))
            b = Api(self.folder, a, f"api{n}", **(api or {}))
            self.pairs[key] = (a.wait_ready(), b.wait_ready())
        for p in self.pairs[key]:
            p.cont()
            p.reset()
        return self.pairs[key]

    def end(self):
        for pair in self.pairs.values():
            for p in pair:
                p.end()
