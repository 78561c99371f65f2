"""A machine whose clock is wrong: awq goes by Redis' there, and a worker says so (faketime)."""
import email.utils
import glob
import json
import re
import time

import pytest

from dialect import Dialect
from procs import SANITIZED, wait_until
from test_50_consent import Link
from test_55_dpop import bind, bound, conn
from test_57_habits import LIVES, LIFE_S, ends
from test_ctl_ops import checks
from walk import Walk

OFF_S = 600  # more than servers forgive


class Clock:
    """The wall clock of another machine, `ahead` seconds ahead of ours; it can be set while programs go by it."""

    def __init__(self, rig, ahead):
        self.file = rig.folder / "clock"
        self.set(ahead)

    def set(self, ahead):
        new = self.file.with_suffix(".new")
        new.write_text(f"{ahead:+d}\n")
        new.rename(self.file)  # it is read at any time, and never half written

    @property
    def env(self):
        found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        assert found, "libfaketime is not installed: make deps"
        return {"LD_PRELOAD": found[0], "FAKETIME_TIMESTAMP_FILE": str(self.file), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                **({"ASAN_OPTIONS": "verify_asan_link_order=0:exitcode=99"} if SANITIZED else {})}


# ---- what goes by Redis' clock ----

@pytest.mark.parametrize("ahead", [OFF_S, -OFF_S])
@pytest.mark.parametrize("grant", ["client_credentials", "jwt_bearer"])
def test_a_worker_dates_what_it_signs(rig, grant, ahead):
    """Its client's assertion, the grant's, and the DPoP proofs at both servers."""
    w = bind(rig, "ES256")
    worker = rig.worker(env=Clock(rig, ahead).env)
    rig.apply(conn(w, grant))
    w.works(1)
    bound(w)
    worker.wait_log("clock.off")
    assert not worker.logged("token.failed")


@pytest.mark.parametrize("ahead", [OFF_S, -OFF_S])
def test_awq_ctl_dates_what_it_signs(rig, ahead):
    w = bind(rig, "ES256")
    rig.worker()
    env = Clock(rig, ahead).env
    for grant, asks in (("authorization_code", {"authorize_url": f"{w.auth.base}/auth", "issuer": w.auth.base,
                                                "par_url": f"{w.auth.base}/request"}),
                        ("device_code", {"device_url": f"{w.auth.base}/device/auth"})):
        rig.apply(conn(w, grant, revoke_url=f"{w.auth.base}/token/revocation",
                       introspect_url=f"{w.auth.base}/token/introspection", **asks))
        if grant == "authorization_code":
            asked = Link(rig, env=env)
            asked.browse()
            code, out, err = asked.end()
        else:
            process = rig.start_ctl("conn", "link", "crm", env=env)
            _, user_code = (process.stdout.readline().strip() for _ in range(2))
            w.auth.control("POST", "device", {"user_code": user_code, "action": "approve", "account": "alice"})
            out, err = process.communicate(timeout=60)
            code = process.returncode
        assert code == 0, out + err
        w.works(1)
        said = {c["check"]: c["found"] for c in rig.ctl("conn", "test", "crm", "-o", "json", env=env).json()}
        assert said["introspection"].startswith("active"), said
        assert "revoked at the provider too" in rig.ctl("conn", "revoke", "crm", "--reason", "x", env=env).out
    bound(w)


def test_what_servers_say_by_the_clock(rig):
    """When a token ends, and when a limit does, in each way: a machine that is late would wait for ten minutes more."""
    rig.use_redis()
    rig.use_peers()
    rig.worker(env=Clock(rig, -OFF_S).env)
    d = Dialect(rig.auth, rig.api, grant="client_credentials", answer=ends(expires_at=lambda t: int(t) + LIFE_S))
    try:
        w = Walk(rig, d, {"answer": {"expiry": "expires_at", "expiry_kind": "epoch"},
                          "limits": {"signals": [{"status": 403, "header": "X-Left: 0", "wait_header": "X-Reset",
                                                  "wait_kind": "epoch"}]}}, **LIVES)
        w.whole()
        for status, headers in ((403, lambda t: {"X-Left": "0", "X-Reset": str(t)}),
                                (503, lambda t: {"Retry-After": email.utils.formatdate(t, usegmt=True)}),
                                (200, lambda t: {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(t)})):
            d.say("api", status, {}, headers(int(time.time()) + 2))
            assert w.call(retry={"max": 1})["state"] == "done"
            w.works()
    finally:
        d.end()


# ---- who says so ----

def told(worker):
    return [(e["event"], e["ahead_ms"] / 1000) for e in worker.logged() if e["event"].startswith("clock.")]


def near(seconds):
    """As exact as a beat that took a second can tell."""
    return pytest.approx(seconds, abs=1)


def shown(rig):
    return {w["worker"]: w["clock_ahead_ms"] for w in rig.ctl("worker", "ls", "-o", "json").json()}


def wait_shown(rig, worker, ahead):
    """Its beats say it, so it has been weighed."""
    wait_until(lambda: shown(rig)[worker.id] is not None and shown(rig)[worker.id] / 1000 == near(ahead), 20,
               lambda: f"{ahead} s ahead to be shown: {shown(rig)}")


def found(rig):
    """By doctor: whose, how far, and how many."""
    result, text = checks(rig, 0)["worker clocks"]
    assert result == "warn"
    worker, far, side, count = re.fullmatch(r"that of (\S+) is (\d+) s (.*) Redis'; (.*) are off \(worker ls\)", text).groups()
    return worker, int(far), side, count


def test_a_worker_says_that_its_clock_is_wrong(rig):
    """Once, until it is off by something else; `worker ls` and doctor say which it is and by how much."""
    clock = Clock(rig, 600)
    off, right = rig.worker(env=clock.env, lease="1s"), rig.worker(lease="10s")  # doctor looks at this one last
    said = []
    for ahead, lines in ((600, [("clock.off", near(600))]), (620, []), (660, [("clock.off", near(660))]), (20, [("clock.off", near(20))]),
                         (3, [("clock.right", near(3))]), (20, []), (-40, [("clock.off", near(-40))])):
        clock.set(ahead)
        wait_shown(rig, off, ahead)
        said += lines
        assert told(off) == said, ahead
        if ahead == 600:
            assert found(rig) == (off.id, near(600), "ahead of", "1 of 2")
    wait_shown(rig, right, 0)
    assert found(rig) == (off.id, near(40), "behind", "1 of 2")
    clock.set(0)
    wait_until(lambda: "worker clocks" not in checks(rig, 0), 20, "doctor to be content")
    assert told(right) == []


def test_a_worker_that_does_not_tell(rig):
    """One of before: its beat lacks it, and nothing is said of it."""
    worker = rig.worker()
    beat = json.loads(rig.redis.client.hget(rig.key("w"), worker.id))
    worker.stop()
    beat.pop("clock_ahead_ms", None)
    rig.redis.client.hset(rig.key("w"), worker.id, json.dumps(beat))
    assert shown(rig) == {worker.id: None}
    heading, row = rig.ctl("worker", "ls").out.splitlines()[:2]
    assert heading.split()[-3:] == ["CLOCK", "AHEAD", "MS"] and row.split()[-1] == "-"
    assert "worker clocks" not in checks(rig, 0)
    worker.cont()
