"""The primary is killed around a renewal: no refresh token is sent twice, and no answer is lost."""
import time

import pytest

from between import Between, script_sha
from procs import free_port, wait_until


class Site:
    """Two workers, a connection with a rotating refresh token, and something between all of them (the
    replica and the Sentinels too) and the primary."""

    def __init__(self, rig):
        self.rig = rig
        self.auth, self.api = rig.use_peers()
        port = free_port()
        self.between = Between(rig.folder, f"{rig.folder}/primary.d/redis.sock", port)
        rig.things.append(self.between)
        self.redis = rig.use_failover(port)
        rig.link_refresh("acct")
        self.workers = rig.workers(2, lease="2s")

    def record(self, redis):
        return redis.client.hgetall(f"{self.rig.prefix}:{{c:acct}}")

    def put(self):
        ids = self.rig.enqueue([self.rig.job("acct", "/echo") for _ in range(4)])
        self.redis.client.wait(1, 1000)
        return ids

    def kill_primary(self):
        """With it goes what it said to the replica and has not arrived."""
        self.redis.primary.kill()
        self.between.cut()
        self.between.release()

    def until_waited(self):
        """A worker has its script's answer, and asks after the replica."""
        wait_until(lambda: any(c["cmd"] == "wait" and "b" in c["flags"]
                               for c in self.redis.primary.client.client_list()), 10, "a worker to WAIT")

    def logged(self, event):
        return [e for w in self.workers for e in w.logged(event)]

    def held(self, script):
        self.between.hold(script_sha(script))
        ids = self.put()
        self.between.wait_held()
        return ids

    def not_reached(self, script):
        """The primary dies before the script comes to it."""
        ids = self.held(script)
        self.kill_primary()
        return ids

    def uncopied(self, script):
        """It dies after the script, and nobody else has what that wrote."""
        ids = self.held(script)
        self.between.freeze_copies()
        self.between.release()
        self.until_waited()
        self.kill_primary()
        return ids

    def ends_well(self, ids):
        self.redis.taken_over()
        assert {r[-1]["state"] for r in self.rig.results(ids).values()} == {"done"}
        assert self.auth.requests_of("acct") == 1
        self.rig.ctl("conn", "refresh", "acct")
        wait_until(lambda: self.record(self.redis).get(b"ver") == b"2", 20, "the grant to be good still")
        assert self.auth.counters()["refresh"]["reuse_detected"] == 0


def test_before_acquire(rig):
    s = Site(rig)
    ids = s.not_reached("acquire")
    s.ends_well(ids)


def test_after_acquire(rig):
    """The lease dies with the primary: whoever got it has sent nothing."""
    s = Site(rig)
    s.auth.faults({"grant": "refresh_token", "hold_ms": 4000, "count": 1})  # or they would be seen to meet
    ids = s.uncopied("acquire")
    assert s.auth.requests_of("acct") == 0
    assert b"if" not in s.record(s.redis.replica)
    s.ends_well(ids)


def test_before_store(rig):
    """The lease was copied, so the answer is stored where it is known."""
    s = Site(rig)
    ids = s.not_reached("store")
    s.ends_well(ids)
    assert sorted(e["ver"] for e in s.logged("token.renewed")) == [1, 2]


def test_after_store(rig):
    """The token dies with the primary, but for the worker that put it there: it puts it back."""
    s = Site(rig)
    ids = s.uncopied("store")
    assert s.record(s.redis.replica)[b"ver"] == b"0"
    s.ends_well(ids)
    assert [e["ver"] for e in s.logged("token.restored")] == [1]
    assert [e["ver"] for e in s.logged("token.not_copied")] == [1]


@pytest.mark.parametrize("count", [30])
def test_in_a_storm(rig, count):
    """Many short tokens, renewed all the time, and kill -9 in the middle."""
    auth, _ = rig.use_peers({"AT_TTL": 2})
    r = rig.use_failover()
    names = [f"c{i}" for i in range(count)]
    for name in names:
        rig.link_refresh(name)
    workers = rig.workers(2, lease="2s")
    ids = []

    def wave():
        ids.extend(rig.enqueue([rig.job(name, "/echo") for name in names]))
        r.copied()

    def renewed():
        return sum(len(w.logged("token.renewed")) for w in workers)

    def waves_until(enough):
        end = time.monotonic() + 20
        while renewed() < enough:
            assert time.monotonic() < end, f"{renewed()} renewals"
            wave()
            time.sleep(0.1)

    waves_until(3 * count)
    r.primary.kill()
    r.taken_over()
    before = renewed()
    ids.extend(rig.enqueue([rig.job(name, "/echo") for name in names]))
    wait_until(lambda: renewed() >= before + count, 20, "the storm to go on")
    assert {got[-1]["state"] for got in rig.results(ids).values()} == {"done"}
    counters = auth.counters()["refresh"]
    assert (counters["reuse_detected"], counters["stale_after_revoke"]) == (0, 0)
    assert counters["ok"] >= 4 * count
    for name in names:
        assert r.client.hget(f"{rig.prefix}:{{c:{name}}}", "state") in (b"FRESH", b"RENEWING")
