"""What a connection may be asked for, over all workers: its rate, what its API says is left, its breaker."""
import time

import pytest

from bad import Bad
from between import script_sha
from procs import wait_until
from rawserver import RawServer, answer


def asked(rig, script):
    """How often this script was called."""
    return sum(script_sha(script) in command for command in rig.redis.noted())


def test_rate_of_a_connection_is_kept_by_all_workers(rig):
    """Evenly spread; who may not go yet is set aside once, and comes back when it may."""
    rig.use_peers()
    rig.link("acct", limits={"rate": "20/1s", "burst": 2})
    rig.link("free")
    rig.workers(3, slots=8)
    rig.redis.note_commands()
    began = time.monotonic()
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(40)])
    free = rig.enqueue([rig.job("free", "/echo") for _ in range(40)])
    got = rig.results(ids + free)
    took = time.monotonic() - began
    assert {r[-1]["state"] for r in got.values()} == {"done"}
    assert {r[-1]["attempts"] for r in got.values()} == {1}
    assert took >= (40 - 2) * 0.05, f"40 calls in {took} s"
    asks = asked(rig, "admit")
    # each once, most of them again when they may; the housekeeper looks before it moves them
    assert asks <= 40 * 4, f"{asks} questions for 40 calls"


def test_no_limit_costs_no_question(rig):
    rig.use_peers()
    rig.link("acct")
    rig.worker()
    rig.redis.note_commands()
    rig.results(rig.enqueue([rig.job("acct", "/echo") for _ in range(20)]))
    assert asked(rig, "commit") > 0, "it is seen when one is called"
    assert asked(rig, "admit") == asked(rig, "depart") == 0


def test_a_rate_that_was_raised_counts_at_once(rig):
    rig.use_peers()
    conn = rig.conn("acct", limits={"rate": "1/1d"})
    rig.apply(conn)
    rig.worker()
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(5)])
    wait_until(lambda: list(rig.places().values()).count(["park:lane:acct"]) == 4, 10, "four to wait for tomorrow")
    rig.apply({**conn, "limits": {"rate": "1000/1s"}})
    assert {r[-1]["state"] for r in rig.results(ids).values()} == {"done"}


# ---- what the API says is left ----

SPENT = {
    "ratelimit": ['RateLimit-Policy: "hour";q=100;w=3600', 'RateLimit: "hour";r=0;t=600'],
    "two-fields": ["RateLimit-Remaining: 0", "RateLimit-Reset: 600"],
    "x": ["X-RateLimit-Limit: 60", "X-RateLimit-Remaining: 0", "X-RateLimit-Reset: 600"],
}


@pytest.mark.parametrize("form,status", [*((form, 200) for form in SPENT), ("x", 403), ("x", 429)])
def test_nothing_left_closes_the_lane(rig, form, status):
    """The answer counts as it is; nobody calls until there is something left."""
    b = Bad(rig)
    b.server.routes["/last"] = answer(status, b"last", *SPENT[form])
    rig.workers(2)
    ids = rig.enqueue(b.job("last", "/last", retry={"max": 0}))
    assert rig.results(ids)["last"][-1]["status"] == status
    client = rig.redis.client
    wait_until(lambda: client.hexists("awq:{c:acct}", "cool"), 10, "the lane to be closed")
    left = int(client.hget("awq:{c:acct}", "cool")) - int(client.time()[0]) * 1000
    assert 580000 < left <= 601000 or (status == 429 and left <= 602000), left
    more = rig.enqueue([b.job(f"m{n}") for n in range(20)])
    wait_until(lambda: list(rig.places().values()).count(["park:lane:acct"]) == len(more), 10, "all to wait")
    assert b.server.count("/good") == 0


def test_people_are_told_of_what_is_left(rig):
    b = Bad(rig)
    b.server.routes["/last"] = answer(200, b"", *SPENT["x"])
    rig.worker()
    rig.result(b.job("last", "/last"))
    wait_until(lambda: rig.redis.client.hexists("awq:{c:acct}", "cool"), 10, "the lane to be closed")
    rig.enqueue(b.job("more"))
    wait_until(lambda: rig.places() == {"more": ["park:lane:acct"]}, 10, "it to wait")
    tested = rig.ctl("conn", "test", "acct").out
    assert "nothing is left of its limit" in tested and "1 parked for its lane" in tested, tested


@pytest.mark.parametrize("after", ["9223372036854775", "9223372036854700", "9000000000000", "1760000000", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_pause_ends_within_a_day(rig, after):
    """Whatever an API writes there; a time of day by mistake, say."""
    b = Bad(rig)
    b.server.routes["/pause"] = answer(429, b"", retry_after=after)
    worker = rig.worker()
    rig.result(b.job("first", "/pause", retry={"max": 0}))
    client = rig.redis.client
    wait_until(lambda: client.hexists("awq:{c:acct}", "cool"), 10, "the lane to be closed")
    left = int(client.hget("awq:{c:acct}", "cool")) - int(client.time()[0]) * 1000
    assert 86300000 < left <= 86402000 and worker.running, left


def test_a_lane_opens_faster_and_faster(rig):
    """Nothing limits it but its API's word: few jobs at first, and then as many as a look takes."""
    b = Bad(rig)
    b.server.routes["/pause"] = answer(429, b"", retry_after="3")
    worker = rig.worker(log_level="debug")
    rig.result(b.job("first", "/pause", retry={"max": 0}))
    ids = rig.enqueue([b.job(f"m{n}") for n in range(400)])
    wait_until(lambda: list(rig.places().values()).count(["park:lane:acct"]) == 400, 10, "all to wait")
    assert {r[-1]["state"] for r in rig.results(ids).values()} == {"done"}
    promoted = [e["jobs"] for e in worker.logged("house.promoted") if e["jobs"] > 1]  # the first waited for a token
    assert promoted[:4] == [10, 13, 17, 22] and max(promoted) == 50, promoted


def test_something_left_closes_nothing(rig):
    b = Bad(rig)
    b.server.routes["/good"] = answer(200, b"", 'RateLimit: "hour";r=1;t=600', "X-RateLimit-Remaining: 1",
                                      "X-RateLimit-Reset: 600")
    rig.worker()
    assert {r[-1]["state"] for r in rig.results(rig.enqueue([b.job(f"m{n}") for n in range(20)])).values()} == {"done"}
    assert not rig.redis.client.hexists("awq:{c:acct}", "cool")


def test_the_limits_of_another_site_are_its_own(rig):
    """A redirect led there, without the token."""
    b = Bad(rig)
    other = RawServer()
    rig.things.append(other)
    other.routes["/there"] = answer(200, b"", *SPENT["x"])
    b.server.routes["/away"] = answer(302, location=other.base + "/there")
    b.link("acct", policy={"hosts": [s.base.split("//")[1] for s in (b.server, other)]})
    rig.worker()
    assert rig.result(b.job("away", "/away", "GET"))["state"] == "done"
    assert rig.result(b.job("next"))["state"] == "done"
    assert not rig.redis.client.hexists("awq:{c:acct}", "cool")


# ---- the breaker ----

def opened(workers):
    return sum(len(w.logged("lane.closed", why="failures in a row")) for w in workers)


def test_breaker_holds_calls_until_a_probe_succeeds(rig):
    """While the far side is down it gets one call at a time, ever more rarely; then all go on."""
    b = Bad(rig)
    down = True
    b.server.routes["/s"] = lambda link: answer(503 if down else 200, b"")(link)
    b.link("acct", limits={"breaker": 3})
    workers = rig.workers(2, slots=4)
    retry = {"max": 1000, "base_ms": 1, "cap_ms": 1}
    ids = rig.enqueue([b.job(f"j{n}", "/s", retry=retry) for n in range(30)])
    wait_until(lambda: opened(workers) >= 3, 20, "it to open, and two probes to fail")
    calls, times = b.server.count("/s"), opened(workers)
    # what both had on the way until they knew, and then nothing but the probes
    assert calls <= 3 * 8 + times, f"{calls} calls while it opened {times} times"
    assert rig.ctl("conn", "show", "acct", "-o", "json").json()["breaker_opened"] >= 3
    assert "held: failures in a row" in rig.ctl("conn", "ls").out
    assert "too many failures in a row" in rig.run_ctl("conn", "test", "acct").out
    assert "1 fail and are held: acct" in rig.run_ctl("doctor").out
    down = False
    got = rig.results(ids)
    assert {r[-1]["state"] for r in got.values()} == {"done"}
    assert sum(len(w.logged("lane.opened")) for w in workers) == 1
    assert not {b"bo", b"bp", b"bf"} & set(rig.redis.client.hkeys("awq:{c:acct}"))


def test_breaker_link_errors(rig):
    b = Bad(rig)
    gone = RawServer()
    gone.end()
    b.link("acct", server=gone, limits={"breaker": 3})
    worker = rig.worker()
    rig.enqueue([b.job(f"j{n}", gone.base + "/") for n in range(3)])
    worker.wait_log("lane.closed", 10, why="failures in a row")


@pytest.mark.parametrize("status", [400, 404, 408, 429])
def test_breaker_does_not_count_4xx(rig, status):
    b = Bad(rig)
    b.server.routes["/s"] = answer(status, b"", retry_after="0")
    b.link("acct", limits={"breaker": 1})
    rig.worker()
    rig.results(rig.enqueue([b.job(f"j{n}", "/s", retry={"max": 0}) for n in range(5)]))
    assert not {b"bo", b"bf"} & set(rig.redis.client.hkeys("awq:{c:acct}"))


def test_breaker_counts_failures_in_a_row(rig):
    """What is well costs nothing, but for the first after a failure."""
    b = Bad(rig)
    b.server.routes["/s"] = answer(500)
    b.link("acct", limits={"breaker": 3})
    rig.worker(slots=1)
    assert rig.result(b.job("warm"))["state"] == "done"  # nobody waits for a token: they come in order
    rig.redis.note_commands()
    ids = rig.enqueue([b.job(f"j{n}", "/s" if n % 5 < 2 else "/good", retry={"max": 0}) for n in range(20)])
    rig.results(ids)
    assert b.server.count("/s") == 8
    assert asked(rig, "outcome") == 8 + 4 and asked(rig, "admit") == 0
    assert not {b"bo", b"bf"} & set(rig.redis.client.hkeys("awq:{c:acct}"))
