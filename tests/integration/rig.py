"""rig.py - awq under test: workers, awq-ctl, jobs put by hand, results read by hand.

A test asks for the `rig` fixture and says what it needs:

    def test_one_call(rig):
        rig.link("acct")                         # a client_credentials connection, by awq-ctl
        rig.worker(slots=8)                      # settings as in --help, here slots=8
        ids = rig.enqueue([rig.job("acct", "/echo")])
        assert rig.results(ids)[ids[0]][-1]["state"] == "done"

Everything lives in one temporary folder and ends with the test. What awq puts in Redis is read
here from its documented places (common/PROTOCOL.md), not through awq's own code.
"""
import json
import os
import secrets
import subprocess
import time
import urllib.error
import urllib.request

import msgpack
import redis as redispy
import yaml

import places
import records
from between import Between
from procs import PATIENCE, SANITIZED, Process, built, free_port, wait_until
from servers import Failover, Redis

SAN_ENV = {
    "ASAN_OPTIONS": "exitcode=99:detect_stack_use_after_return=1:abort_on_error=0",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
} if SANITIZED else {}


def text(raw):
    return raw.decode() if isinstance(raw, bytes) else raw


def clean_env():
    """The environment without AWQ_ settings and proxies of whoever runs the tests."""
    return {k: v for k, v in os.environ.items()
            if not k.startswith("AWQ_") and not k.lower().endswith("_proxy")}


def settings_env(settings):
    out = {}
    for name, value in settings.items():
        if value is not None:
            text = "true" if value is True else "false" if value is False else str(value)
            out["AWQ_" + name.upper().replace("-", "_")] = text
    return out


def write_keys(path):
    """A key file as `awq-ctl keys new` makes it (common/seal.h)."""
    path.touch(0o600)
    path.write_text("".join(f"{kind} {secrets.token_hex(4)} {secrets.token_hex(32)}\n"
                            for kind in ("run", "access", "grant")))


class Worker(Process):
    """One awq-worker. Settings are keywords: Worker(..., slots=8, lease="2s")."""

    def __init__(self, folder, name, env=None, args=(), **settings):
        super().__init__(name, folder)
        self.settings = settings
        self.may_fail = False
        self.args = [built("awq-worker"), *args]
        self.env = {**clean_env(), **SAN_ENV, **settings_env(settings), **(env or {})}

    def start(self):
        return super().start(self.args, self.env, only_env=True)

    @property
    def id(self):
        """The worker id that this process chose, from its log."""
        return self.wait_log("worker.ready")["worker"]

    def logged(self, event=None, **fields):
        """Log lines so far of that event with those fields."""
        return [e for e in self.json_lines()
                if (event is None or e.get("event") == event)
                and all(e.get(k) == v for k, v in fields.items())]

    def wait_log(self, event, timeout=15, count=1, **fields):
        """The count-th such line, waited for."""
        def there():
            got = self.logged(event, **fields)
            if len(got) >= count:
                return got
            assert self.running or self.logged(event, **fields), \
                f"{self.name} ended before it logged {event}\n" + self.tail()
            return None
        return wait_until(there, timeout, lambda: f"{self.name} to log {event} {fields or ''}\n"
                          + self.tail())[count - 1]

    def wait_ready(self, timeout=15):
        self.wait_log("worker.ready", timeout)
        return self

    def exits_with(self, code, event, **fields):
        """It ends by itself, having said why."""
        self.may_fail = True
        assert self.wait(15) == code, self.tail()
        assert self.logged(event, **fields), self.tail()

    def get(self, path):
        """One of its probes: (status, text)."""
        url = f"http://{self.settings['probe_listen']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()

    def metric(self, name, **labels):
        """The value of one sample of /metrics; 0 when it is not there."""
        total = 0.0
        for line in self.get("/metrics")[1].splitlines():
            head, _, value = line.rpartition(" ")
            bare, _, rest = head.partition("{")
            if bare == name and all(f'{k}="{v}"' in rest for k, v in labels.items()):
                total += float(value)
        return total

    def turn(self):
        """Let its loop turn: what lay in its sockets before is dealt with after, as far as it can be
        without Redis, and calls that it led to have left."""
        for _ in range(10):
            self.get("/livez")

    def sane(self):
        """No sanitizer report and no crash."""
        err = self.stderr()
        assert "ERROR: AddressSanitizer" not in err and "runtime error:" not in err \
            and "ERROR: LeakSanitizer" not in err, f"{self.name}:\n{err}"
        code = self.child.poll() if self.child else None
        left = code == 1 and self.logged("worker.stop")  # stopped at once, with work in its hands
        assert code is None or code in (0, -2, -9, -15) or left or self.may_fail, \
            f"{self.name} ended with {code}\n" + self.tail()


class Answer:
    """What one run of awq-ctl said."""

    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    def json(self):
        return json.loads(self.out)


class Rig:
    def __init__(self, folder, peers):
        self.folder = folder
        self.peers = peers
        self.things = []  # what must end, in the order it was started
        self.started = []  # processes of start_ctl
        self.redis = None
        self.auth = self.api = None
        self.keys = None
        self.prefix = "awq"
        self.roles = None  # the file with the password of the roles' users
        self.of_prefix = self.prefix
        self.may_be_denied = False
        self.common = {}  # settings of every worker and awq-ctl of this rig
        self._made = 0

    # ---- parts -------------------------------------------------------------------------------

    def use_redis(self, **more):
        """A Redis with other settings than the fixture's; once, before anything else."""
        assert self.redis is None
        self._use_roles()
        options = more.pop("options", None) or {}
        if "user" in options:
            self.roles = None  # the test has users of its own
        else:
            options = {**self._users(), **options}
        self.redis = Redis(self.folder, options=options, **more)
        self.things.append(self.redis)
        self.redis.start()
        self.common.setdefault("redis-url", self.redis.url)
        return self.redis

    def use_failover(self, port=None):
        """A primary, a replica and three Sentinels in the place of the one Redis."""
        assert self.redis is None
        self._use_roles()
        self.redis = Failover(self.folder, port, self._users())
        self.things.append(self.redis)
        self.redis.start()
        self.common["redis-url"] = self.redis.url
        return self.redis

    # Every worker and awq-ctl of a rig is the ACL user of its role, with the rights that `awq-ctl acl print`
    # says; what Redis refused them is found at the end (close).

    def _use_roles(self):
        self.roles = self.folder / "role.password"
        self.roles.touch(0o600)
        self.roles.write_text("a-role-s-password")
        self.of_prefix = self.prefix

    def _users(self):
        return {"user": [self.acl_line(r)[5:] for r in ("worker", "ctl")]}

    def acl_line(self, role, *more):
        """The line of an ACL file, with the password that is in self.roles."""
        done = subprocess.run([built("awq-ctl"), "--prefix", self.of_prefix, "acl", "print", "--role", role,
                               "--password-file", self.roles, *more], text=True, capture_output=True, check=False,
                              env={**clean_env(), **SAN_ENV})
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _is_ours(self, url):
        ours = [self.redis.url, *([self.redis.tcp_url] if getattr(self.redis, "port", 0) else []),
                *(t.url for t in self.things if isinstance(t, Between))]
        return str(url) in ours

    def as_role(self, role, settings):
        """Settings that make it this role's user, unless they make it another."""
        has = {k.replace("_", "-") for k in settings}
        url = settings.get("redis_url", settings.get("redis-url", ""))
        if not self.roles or self.prefix != self.of_prefix or not self._is_ours(url) \
                or has & {"redis-user", "redis-password-file"}:
            return {}
        return {"redis-user": f"{self.prefix}-{role}", "redis-password-file": self.roles}

    def denied(self):
        """What Redis refused the users of awq's roles: [(user, why, what)]."""
        if not self.roles or not self.redis or not self.redis.running:
            return []
        try:
            log = self.redis.client.execute_command("ACL", "LOG", 128)
        except redispy.exceptions.RedisError:
            return []  # the test has left it so
        entries = [dict(zip(e[::2], e[1::2])) if isinstance(e, list) else e for e in log]
        said = [tuple(text(e.get(k, e.get(k.encode()))) for k in ("username", "reason", "context", "object"))
                for e in entries]
        return [e for e in said if e[0].startswith(self.of_prefix + "-")]

    def use_peers(self, auth=None, api=None):
        self.auth, self.api = self.peers.get(auth, api)
        return self.auth, self.api

    def need(self, redis=True, peers=False, keys=False):
        """Start the default parts that a test did not ask for itself."""
        if redis and self.redis is None:
            self.use_redis()
        if peers and self.auth is None:
            self.use_peers()
        if keys and self.keys is None:
            self.keys = self.folder / "keys"
            write_keys(self.keys)
            self.common["keys"] = self.keys

    def between(self):
        """Something to hold or lose single commands of workers that get its url as redis_url."""
        self.need()
        b = Between(self.folder, self.redis.socket)
        self.things.append(b)
        return b

    def worker(self, ready=True, env=None, args=(), name=None, **settings):
        """One more awq-worker on this Redis, waited for unless ready=False."""
        self.need(keys=True)
        n = sum(isinstance(t, Worker) for t in self.things)
        all_settings = {**self.common, "prefix": self.prefix, 
                        "probe_listen": f"127.0.0.1:{free_port()}", **settings}
        all_settings.update(self.as_role("worker", all_settings))
        w = Worker(self.folder, name or f"worker{n}", env, args, **all_settings)
        self.things.append(w)
        w.start()
        return w.wait_ready() if ready else w

    def workers(self, count, **settings):
        made = [self.worker(ready=False, **settings) for _ in range(count)]
        return [w.wait_ready() for w in made]

    def run_ctl(self, *args, env=None, input=None, timeout=30):
        done = subprocess.run(
            [built("awq-ctl"), *map(str, args)], text=True, capture_output=True, input=input,
            timeout=timeout * PATIENCE, cwd=self.folder, check=False,
            env={**clean_env(), **SAN_ENV, **settings_env(self.ctl_settings(args, env)), **(env or {})})
        assert "Sanitizer" not in done.stderr, done.stderr
        return Answer(done)

    def start_ctl(self, *args, env=None):
        """awq-ctl that goes on until it is told something; texts on its pipes. Ended with the rig."""
        self.need(keys=True)
        process = subprocess.Popen(
            [built("awq-ctl"), *map(str, args)], text=True, cwd=self.folder, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**clean_env(), **SAN_ENV, **settings_env(self.ctl_settings(args, None)), **(env or {})})
        self.started.append(process)
        return process

    def ctl_settings(self, args, env):
        settings = {**self.common, "prefix": self.prefix}
        asked = [a for a in [*map(str, args), *(env or {})]
                 if a.startswith(("--redis", "AWQ_REDIS")) or a in ("--prefix", "AWQ_PREFIX")]
        return settings if asked or not self.redis else {**settings, **self.as_role("ctl", settings)}

    def ctl(self, *args, code=0, **more):
        """awq-ctl that must end with this exit code."""
        self.need(keys=True)
        done = self.run_ctl(*args, **more)
        assert done.code == code, f"awq-ctl {' '.join(map(str, args))}: exit {done.code}, " \
            f"wanted {code}\n{done.out}{done.err}"
        return done

    # ---- connections -------------------------------------------------------------------------

    def conn(self, conn_id="acct", grant="client_credentials", client="svc", auth="post", **more):
        """A connection file as a map. more: top-level keys, policy={...} is merged over the default."""
        self.need(peers=True)
        policy = {"hosts": [self.api.base[7:], self.api.other[7:]], "methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
                  "paths": ["/"], "insecure_http": True, "allow_private": True,
                  **more.pop("policy", {})}
        secret = self.folder / f"{conn_id}.secret"
        secret.write_text(f"{client}-secret")
        secret.chmod(0o600)
        return {"id": conn_id, "grant": grant, "token_url": self.auth.token_url,
                "client": {"id": client, "secret": {"file": str(secret)}, "auth": auth},
                "scopes": ["read", "write"], "policy": policy, **more}

    def apply(self, conn, code=0, refresh_token=None):
        """Link it as an operator does, by awq-ctl conn apply."""
        if refresh_token:
            secret = self.folder / f"{conn['id']}.refresh"
            secret.write_text(refresh_token)
            secret.chmod(0o600)
            conn = {**conn, "refresh_token": {"file": str(secret)}}
        path = self.folder / f"{conn['id']}.yaml"
        path.write_text(yaml.safe_dump(conn))
        return self.ctl("conn", "apply", "-f", path, code=code)

    def link(self, conn_id="acct", **more):
        """A client_credentials connection to the authorization server."""
        self.link_by_hand(self.conn(conn_id, **more))

    def link_by_hand(self, conn, refresh_token=""):
        """Without awq-ctl (records.py): quick, and for tests of the worker alone."""
        self.need(keys=True)
        return records.link(self.redis.client, records.Keys(self.keys), self.prefix, conn,
                            f"{conn['client']['id']}-secret", refresh_token)

    def link_refresh(self, conn_id="acct", client="basic", auth="basic", account=None, **more):
        """A connection with a rotating refresh token, as if its owner had just linked it."""
        self.need(peers=True)
        minted = self.auth.mint(account or conn_id, client)
        conn = self.conn(conn_id, "refresh_token", client, auth, **more)
        self.link_by_hand(conn, minted["refresh_token"])
        return minted

    # ---- jobs --------------------------------------------------------------------------------

    def call(self, conn, path, method="POST", **more):
        """The `call` map of an envelope; path is the API's or a whole URL."""
        if path.startswith("/"):
            self.need(peers=True)
            path = self.api.base + path
        return {"conn": conn, "method": method, "url": path, **more}

    def job(self, conn, path, method="POST", job_id=None, then=None, env=None, **more):
        """An envelope (common/PROTOCOL.md). more: members of the call; env: members beside it."""
        self._made += 1
        job = {"v": 1, "id": job_id or f"j{self._made}-{os.getpid()}",
               "call": self.call(conn, path, method, **more)}
        if then is not None:
            job["then"] = then
        job.update(env or {})
        return job

    def key(self, rest, shard=0):
        return f"{self.prefix}:{{s{shard}}}:{rest}"

    def enqueue(self, jobs, queue="default"):
        """Bare XADD of envelopes (maps are packed, bytes go as they are); their ids."""
        self.need()
        jobs = jobs if isinstance(jobs, list) else [jobs]
        pipe = self.redis.client.pipeline(transaction=False)
        for n, job in enumerate(jobs):
            raw = job if isinstance(job, bytes) else msgpack.packb(job)
            pipe.xadd(self.key(f"q:{queue}"), {"j": raw})
            if n % 1000 == 999:
                pipe.execute()
        pipe.execute()
        return [job["id"] for job in jobs if isinstance(job, dict)]

    def all_results(self, out="results"):
        """Every result on the stream so far, decoded, in order."""
        got, last = [], "-"
        while True:
            page = self.redis.client.xrange(self.key(f"out:{out}"), last, "+", 5000)
            got += [msgpack.unpackb(fields[b"r"], strict_map_key=False) for _, fields in page]
            if len(page) < 5000:
                return got
            last = b"(" + page[-1][0]

    def results(self, ids, timeout=30, out="results"):
        """{id: [results in order]} once each of the ids has its last one (end: true)."""
        want = set(ids)
        by_id, last = {}, "-"
        ended = set()

        def there():
            nonlocal last
            page = self.redis.client.xrange(self.key(f"out:{out}"), last, "+", 5000)
            for entry, fields in page:
                r = msgpack.unpackb(fields[b"r"], strict_map_key=False)
                run = r.get("run") or r["id"]
                by_id.setdefault(run, []).append(r)
                if r.get("end"):
                    ended.add(run)
                last = b"(" + entry
            return want <= ended
        wait_until(there, timeout, lambda: f"results of {sorted(want - ended)[:10]} "
                   f"({len(want - ended)} of {len(want)})\n{self.places_text()}", every=0.02)
        return {i: by_id[i] for i in want}

    def result(self, job, timeout=30):
        """Enqueue one job and return its last result."""
        ids = self.enqueue(job)
        return self.results(ids, timeout)[ids[0]][-1]

    # ---- where jobs are ----------------------------------------------------------------------

    def run_of(self, name):
        return name.decode().rsplit(".", 2)[0]

    def places(self, shard=0):
        """{id: [places]} of all jobs that Redis has: q:NAME, due, park:RESOURCE, dead."""
        r = self.redis.client
        out = {}
        base = self.key("", shard)
        for key in r.scan_iter(base.replace("{", "[{]").replace("}", "[}]") + "*", 1000):
            rest = key.decode()[len(base):]
            if rest.startswith("q:"):
                last = "-"
                while True:
                    page = r.xrange(key, last, "+", 5000)
                    for _, fields in page:
                        try:
                            job = msgpack.unpackb(fields[b"j"], strict_map_key=False)
                            out.setdefault(job["id"], []).append(rest)
                        except Exception:  # bad input is a job too, without an id
                            out.setdefault("?", []).append(rest)
                    if len(page) < 5000:
                        break
                    last = b"(" + page[-1][0]
            elif rest in ("due", "dead") or rest.startswith("park:"):
                for name in r.zrange(key, 0, -1):
                    out.setdefault(self.run_of(name), []).append(rest)
        return out

    def look(self):
        """places.look of one moment: every job is in one place and nothing stays for ever."""
        seen = places.look(self.redis.client, self.prefix)
        assert not seen.problems, "\n".join(seen.problems) + "\n" + self.places_text()
        return seen

    def places_text(self):
        try:
            at_all = self.places()
        except Exception as e:  # said in a failure message: must not hide the failure
            return f"(places: {e})"
        count = {}
        for at in at_all.values():
            for p in at:
                count[p] = count.get(p, 0) + 1
        return f"jobs in Redis: {count}, e.g. {dict(list(at_all.items())[:5])}"

    def pending(self, queue="default", consumer=None):
        """Delivered and not acknowledged entries, of one worker or of all."""
        try:
            got = self.redis.client.xpending(self.key(f"q:{queue}"), "w")
        except Exception:  # no group yet
            return 0
        if consumer is None:
            return got["pending"]
        return sum(c["pending"] for c in got["consumers"] if c["name"].decode() == consumer)

    # ---- the end -----------------------------------------------------------------------------

    def report(self):
        text = [self.places_text()] if self.redis and self.redis.running else []
        return "\n".join(text + [t.tail() for t in self.things])

    def close(self):
        """End everything; say if a worker crashed or did not leave when asked twice."""
        workers = [t for t in self.things if isinstance(t, Worker) and t.child]
        stuck = []
        for w in workers:
            w.cont()
            w.term()
        for w in workers:
            end = time.monotonic() + 0.5
            while w.running and time.monotonic() < end:
                time.sleep(0.01)
            w.term()  # the second TERM means now
        for w in workers:
            try:
                w.wait(5)
            except AssertionError:
                stuck.append(w.name)
        denied = self.denied()
        for p in self.started:
            p.kill()
            p.wait()
        for t in reversed(self.things):
            t.end()
        for w in workers:
            w.sane()
        assert not denied or self.may_be_denied, f"Redis refused awq something: {denied}"
        assert not stuck, f"{stuck} did not end after two SIGTERM"
