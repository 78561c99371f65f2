"""Tokens are renewed before a step needs them, a few at a time for one server, and not for nothing."""
import threading
import time

from procs import wait_until
from rawserver import answer
from test_bad_tokens import Tokens


def versions(rig, name="acct"):
    return int(rig.redis.client.hget(f"{rig.prefix}:{{c:{name}}}", "ver") or 0)


def test_what_is_used_is_renewed_before_it_is_needed(rig):
    """Used in the second half of its token's life and then not for a while: the next step finds a new one."""
    rig.use_redis()
    auth, _ = rig.use_peers(auth={"AT_TTL": 6})
    rig.link_refresh("acct")
    w = rig.worker(lease="1s")
    assert rig.result(rig.job("acct", "/effect/a"))["state"] == "done"
    born = int(rig.redis.client.hget(f"{rig.prefix}:{{c:acct}}", "born"))
    while time.time() * 1000 < born + 3200:  # into the second half: time is what is tested
        time.sleep(0.05)
    assert rig.result(rig.job("acct", "/effect/b"))["state"] == "done"
    assert versions(rig) == 1, "not due yet"
    wait_until(lambda: versions(rig) == 2, 6, "a renewal that no step asked for")
    assert time.time() * 1000 < born + 6000, "before the old token's end"
    # nobody uses it now: once its second half is over without a step, it is left alone
    ended = int(rig.redis.client.hget(f"{rig.prefix}:{{c:acct}}", "exp"))
    wait_until(lambda: time.time() * 1000 > ended + 1000, 15, "its end")
    assert versions(rig) == 2, "idle connections are not renewed for nothing"
    assert len(auth.log(grant="refresh_token")) == 2
    w.sane()


class Counting:
    """A token endpoint that says how many requests it had at once."""

    def __init__(self, b):
        self.b, self.now, self.most, self.lock = b, 0, 0, threading.Lock()
        self.open = threading.Event()

    def __call__(self, link):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.open.wait(20)
        with self.lock:
            self.now -= 1
        self.b.give_token(link)


def test_a_few_at_a_time_at_one_endpoint(rig):
    """Forty accounts at one server become due at once: three requests are with it, the others wait."""
    b = Tokens(rig, {}, renew_at_once=3)
    b.settings.update(renew_timeout="10s", renew_lease="30s")
    b.start()
    count = b.server.routes["/many"] = Counting(b)
    names = [f"many-{i}" for i in range(40)]
    for name in names:
        b.link(name, token_path="/many")
        b.put(b.job(name, conn=name))
    parked = lambda: sum(p.startswith("park:") for places in rig.places().values() for p in places)
    wait_until(lambda: count.now == 3 and parked() == 40, 10, "all to wait, three requests on the wire")
    b.good()  # another server's account is not held up
    assert count.most == 3
    count.open.set()
    assert {r["state"] for r in b.last_results(names, 30).values()} == {"done"}
    assert count.most == 3
    b.check()


def test_a_refresh_token_that_dies_of_age_is_kept_alive(rig):
    """Nobody uses the account for longer than its refresh token lives unused."""
    rig.use_redis()
    auth, _ = rig.use_peers()
    rig.link_refresh("aging", max_idle_ms=3000)
    rig.link_refresh("idle")
    w = rig.worker(lease="1s", renew_lease="2s", renew_timeout="1s")
    for name in ("aging", "idle"):
        assert rig.result(rig.job(name, f"/effect/{name}"))["state"] == "done"
    wait_until(lambda: versions(rig, "aging") == 3, 30, "two renewals that nobody asked for")
    assert versions(rig, "idle") == 1
    ages = sorted(e["t"] for e in auth.log(grant="refresh_token"))[-3:]
    assert ages[2] - ages[1] >= 2000, "not more often than it takes"
    w.sane()


def test_a_retry_after_holds_all_accounts_of_the_endpoint(rig):
    b = Tokens(rig, {})
    at = []

    def busy_once(link):
        at.append(time.monotonic())
        if len(at) == 1:
            return answer(429, b"", retry_after="2")(link)
        return b.give_token(link)
    b.server.routes["/busy"] = busy_once
    b.start()
    for name in ("first", "second"):
        b.link(name, token_path="/busy")
    b.put(b.job("first", conn="first"))
    wait_until(lambda: b.record("first")["state"] == b"BACKOFF", 10, "the refusal")
    b.put(b.job("second", conn="second"))
    b.last_results(["first", "second"], 30)
    assert at[1] - at[0] >= 2, "the second account's request was held as well"
    b.check()
