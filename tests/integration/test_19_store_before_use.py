"""A renewed token is used only after it is stored; waiters are woken only then, and at once."""
import time
from datetime import datetime

from between import script_sha
from procs import wait_until


def test_nothing_is_sent_until_the_token_is_stored(rig):
    r = rig.use_redis()
    auth, api = rig.use_peers()
    rig.link_refresh("acct")
    auth.reset()
    between = rig.between()
    renewer = rig.worker(redis_url=between.url, queues="one")
    between.hold(script_sha("store"))
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(5)], queue="one")
    between.wait_held()
    assert auth.requests_of("acct", kind="ok") == 1, "the new token has come"
    # Further jobs need nothing but the token: they would be on the wire at once, were it in use.
    ids += rig.enqueue([rig.job("acct", "/echo") for _ in range(3)], queue="one")
    wait_until(lambda: rig.pending("one") >= 3, 10, "the renewer to take them")
    renewer.turn()
    other = rig.worker(queues="two")  # a waiter elsewhere
    ids += rig.enqueue([rig.job("acct", "/echo") for _ in range(5)], queue="two")
    wait_until(lambda: rig.places().get(ids[-1]) == ["park:conn:acct"], 10, rig.places_text)
    assert r.client.hget("awq:{c:acct}", "ver") == b"0"
    assert api.log() == [], "a token that could still be lost is not used"

    between.release()
    stored = time.monotonic()
    rig.results(ids, 20)
    assert time.monotonic() - stored < 3, "waiters are woken, they do not have to look"
    assert auth.requests_of("acct") == 1
    assert renewer.running and other.running


def test_who_waits_is_woken_at_once(rig):
    rig.use_redis()
    auth, api = rig.use_peers()
    rig.link_refresh("acct")
    # Who is not woken looks again after a second, and another: stored at 1.2 s is seen at 2 s.
    auth.faults({"grant": "refresh_token", "delay_ms": 1200})
    w = rig.worker()
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(20)])
    wait_until(lambda: list(rig.places().values()) == [["park:conn:acct"]] * 20, 10, rig.places_text)
    stored = datetime.fromisoformat(w.wait_log("token.renewed")["ts"]).timestamp() * 1000
    rig.results(ids, 20)
    assert min(e["t"] for e in api.log()) - stored < 600
