"""A token is stored, and its waiters woken, exactly between BUSY and park: nobody strands."""
import pytest

from between import script_sha
from procs import wait_until


@pytest.mark.parametrize("renews", [True, False], ids=["renews", "runs steps only"])
def test_store_and_wake_between_busy_and_park(rig, renews):
    r = rig.use_redis()
    auth, _ = rig.use_peers()
    rig.link_refresh("acct")
    auth.reset()
    auth.faults({"grant": "refresh_token", "delay_ms": 1500})
    holder = rig.worker(queues="one")
    first = rig.enqueue(rig.job("acct", "/echo"), queue="one")
    holder.wait_log("token.renewing")

    between = rig.between()
    keys = rig.folder / "keys-two"
    keys.touch(0o600)
    keys.write_text("".join(line for line in rig.keys.read_text().splitlines(True)
                            if renews or not line.startswith("grant ")))
    rig.worker(redis_url=between.url, queues="two", keys=keys)
    between.hold(script_sha("park"))
    second = rig.enqueue(rig.job("acct", "/echo"), queue="two")
    between.wait_held()  # it saw no token, and is about to park
    holder.wait_log("token.renewed")
    rig.results(first)
    wait_until(lambda: r.client.hget("awq:{c:acct}", "ver") == b"1", 5, "the token to be stored")
    assert rig.places() == {second[0]: ["q:two"]}
    r.note_commands()
    between.release()
    rig.results(second, 10)
    # The lot's own time would have brought it back too in the end; it was not left to that. (One
    # that may renew asks for the lease meanwhile and learns from the answer; the other one looks.)
    scripts = [c.split()[1] for c in r.noted() if c.startswith(b"EVALSHA")]
    assert script_sha("wake") in scripts[scripts.index(script_sha("park")):]
    assert auth.requests_of("acct") == 1
    assert rig.places() == {}
