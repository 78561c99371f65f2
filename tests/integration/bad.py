"""bad.py - what the tests of bad input share: one worker in front of a server that misbehaves.

The worker must still be the same process afterwards, must do the next good job, and must not have
grown: `Bad` asks for all of that at the end of each table.
"""
import contextlib
import json

import msgpack

from procs import SANITIZED, wait_until
from rawserver import RawServer, answer

GROWTH_KIB = 48 * 1024  # what a table of bad input may add to a worker's resident memory


class Bad:
    """A rig whose authorization server and API are one RawServer."""

    def __init__(self, rig, redis=None, **settings):
        self.rig = rig
        rig.use_redis(**(redis or {}))
        self.server = RawServer()
        rig.things.append(self.server)
        self.tokens = []  # every access token given out
        self.server.routes["/token"] = self.give_token
        self.server.routes["/good"] = answer(200, b'{"good": true}', content_type="application/json")
        self.link("acct")
        self.settings = settings
        self.worker = None

    def start(self):
        """Start the worker, warm it up, remember who it is."""
        self.worker = self.rig.worker(**self.settings)
        self.pid = self.worker.pid
        self.good()
        self.rss = self.worker.rss_kib()
        return self

    def token_body(self, **members):
        token = f"opaque-access-token-{len(self.tokens)}-qzxj7k"  # lower case, as hosts become
        self.tokens.append(token)
        return json.dumps({"access_token": token, "token_type": "Bearer", "expires_in": 3600,
                           **members}).encode()

    def give_token(self, link):
        answer(200, self.token_body(), content_type="application/json")(link)

    def conn(self, conn_id="acct", token_path="/token", server=None, **more):
        """A connection to the raw server, as a connection file's map."""
        server = server or self.server
        policy = {"hosts": [server.base.split("//")[1]], "methods": ["GET", "POST", "PUT"],
                  "paths": ["/"], "insecure_http": True, "allow_private": True,
                  **more.pop("policy", {})}
        return {"id": conn_id, "grant": "client_credentials",
                "token_url": self.server.base + token_path,
                "client": {"id": "client", "auth": "basic"}, "policy": policy,
                "limits": {"breaker": 0}, **more}  # bad answers by the dozen are what it is for

    def link(self, conn_id, refresh_token="", **more):
        return self.rig.link_by_hand(self.conn(conn_id, **more), refresh_token)

    def job(self, job_id, path="/good", method="POST", conn="acct", env=None, **call):
        """An envelope; call members and env members of None are left out."""
        url = path if "://" in path else self.server.base + path
        call = {"conn": conn, "method": method, "url": url, **call}
        job = {"v": 1, "id": job_id, "call": call, **(env or {})}
        job["call"] = {k: v for k, v in call.items() if v is not None}
        return {k: v for k, v in job.items() if v is not None}

    def add(self, fields, queue="default"):
        """XADD of any fields; the entry id as text."""
        return self.rig.redis.client.xadd(self.rig.key(f"q:{queue}"), fields).decode()

    def put(self, job, queue="default"):
        return self.add({"j": job if isinstance(job, bytes) else msgpack.packb(job)}, queue)

    def put_bad(self, job, queue="default"):
        """Put it, and say the run that it gets as a bad job."""
        return self.bad_run(self.put(job, queue), queue)

    @staticmethod
    def bad_run(entry, queue="default"):
        return f"bad~{entry}-{queue}"[:64]

    def good(self):
        """The next good job is done."""
        self.made = getattr(self, "made", 0) + 1
        got = self.rig.result(self.job(f"good-{self.made}", retry={"max": 0}))
        assert got["state"] == "done", got

    def last_results(self, runs, timeout=20):
        """{run: its last result}, waited for. A map of runs says what each is called in a message."""
        got = {}

        def there():
            for r in self.rig.all_results():
                if r["end"]:
                    got[r["run"]] = r
            return set(runs) <= set(got)
        wait_until(there, timeout, lambda: "results of "
                   f"{[runs[r] if isinstance(runs, dict) else r for r in runs if r not in got]}\n"
                   + self.rig.places_text(), every=0.05)
        return {run: got[run] for run in runs}

    def letter(self, name):
        """The dead letter of that name: {queue, j, d, s, code, text, at}; None if there is none."""
        client = self.rig.redis.client
        if client.zscore(self.rig.key("dead"), name) is None:
            return None
        packed = msgpack.Unpacker(raw=True, max_buffer_size=1 << 28)
        packed.feed(client.hget(self.rig.key("held"), name))
        return dict(zip(("queue", "j", "d", "s", "code", "text", "at"), packed))

    def check(self, growth_kib=GROWTH_KIB):
        """The same process, at work, not grown, and nothing left in its hands."""
        self.good()
        assert self.worker.running and self.worker.pid == self.pid
        wait_until(lambda: self.rig.pending() == 0, 10, "no entry to be pending")
        grown = self.worker.rss_kib() - self.rss
        # a sanitizer keeps what was freed, to see who uses it
        assert SANITIZED or grown < growth_kib, f"the worker grew by {grown} KiB"
        self.worker.sane()


@contextlib.contextmanager
def all_rows():
    """Collect what is wrong with each row of a table; fail once, with all of it."""
    wrong = []

    def row(name, got, want):
        if got != want:
            wrong.append(f"{name}: got {got!r}, wanted {want!r}")
    yield row
    assert not wrong, "\n".join([f"{len(wrong)} rows are wrong:", *wrong])
