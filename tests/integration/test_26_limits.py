"""What a connection may be asked for, over all workers: its rate, what its API says is left, its breaker."""
import time

from between import script_sha
from procs import wait_until


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
