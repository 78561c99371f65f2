"""A token is stored, and its waiters woken, exactly between BUSY and park: nobody strands."""
from between import script_sha
from procs import wait_until


def test_store_and_wake_between_busy_and_park(rig):
    r = rig.use_redis()
    auth, _ = rig.use_peers()
    rig.link_refresh("acct")
    auth.reset()
    auth.faults({"grant": "refresh_token", "delay_ms": 1500})
    holder = rig.worker(queues="one")
    first = rig.enqueue(rig.job("acct", "/echo"), queue="one")
    holder.wait_log("token.renewing")

    between = rig.between()
    rig.worker(redis_url=between.url, queues="two")
    between.hold(script_sha("park"))
    second = rig.enqueue(rig.job("acct", "/echo"), queue="two")
    between.wait_held()  # it was told BUSY, and is about to park
    holder.wait_log("token.renewed")
    rig.results(first)
    wait_until(lambda: r.client.hget("awq:{c:acct}", "ver") == b"1", 5, "the token to be stored")
    assert rig.places() == {second[0]: ["q:two"]}
    between.release()
    rig.results(second, 10)
    assert auth.requests_of("acct") == 1
    assert rig.places() == {}
