"""A refused refresh parks the connection's jobs; linking the account again finishes them."""
from procs import wait_until


def parked(rig, conn="acct"):
    return sum(at == [f"park:conn:{conn}"] for at in rig.places().values())


def test_refused_refresh_parks_and_linking_again_finishes(rig):
    auth, api = rig.use_peers()
    rig.link_refresh("acct")
    assert auth.revoke(account="acct") >= 1  # the peers are shared: other tests had such an account
    workers = rig.workers(2)
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(60)])
    wait_until(lambda: parked(rig) == 60, 20, lambda: "60 jobs parked\n" + rig.places_text())
    assert rig.all_results() == [], "nothing failed"
    assert auth.requests_of("acct") == 1, "one look was enough"
    assert api.log() == []
    shown = rig.redis.client.hget("awq:{c:acct}", "state")
    assert shown == b"NEEDS_CONSENT"
    assert sum(len(w.logged("token.needs_consent")) for w in workers) == 1

    rig.link_refresh("acct")
    results = rig.results(ids, 30)
    assert {x[-1]["state"] for x in results.values()} == {"done"}
    assert rig.places() == {}
    assert rig.redis.client.zcard(rig.key("lots")) == 0


def test_other_connections_go_on_meanwhile(rig):
    auth, _ = rig.use_peers()
    rig.link_refresh("gone-for-good")
    rig.link_refresh("good")
    auth.revoke(account="gone-for-good")
    rig.worker(slots=4)
    stuck = rig.enqueue([rig.job("gone-for-good", "/echo") for _ in range(30)])
    fine = rig.enqueue([rig.job("good", "/echo") for _ in range(30)])
    rig.results(fine, 20)
    wait_until(lambda: parked(rig, "gone-for-good") == len(stuck), 20, "the others to be parked")
