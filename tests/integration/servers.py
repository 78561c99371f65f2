"""servers.py - the real servers that the tests run against: Redis, the authorization server, the API."""
import http.client
import json
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
        super().__init__(folder, name, free_port(), env)
        self.token_url = f"{self.base}/token"

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
        port = free_port(2)
        super().__init__(folder, name, port, {"AS_URL": auth.base, **env})
        self.other = f"http://127.0.0.1:{port + 1}"

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
