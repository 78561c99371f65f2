"""However many workers need the same token at the same moment, it is renewed once."""


def test_500_jobs_on_8_workers_renew_an_expired_connection_once(rig):
    auth, api = rig.use_peers()
    rig.link_refresh("acct")  # as linked it has a refresh token and no access token
    auth.reset()
    # Half a second at the token endpoint: every worker meets the renewal while it runs.
    auth.faults({"grant": "refresh_token", "delay_ms": 500, "count": -1})
    workers = rig.workers(8, slots=32)
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(500)])
    results = rig.results(ids, 60)

    assert {r[-1]["state"] for r in results.values()} == {"done"}
    assert auth.requests_of("acct") == 1
    refresh = auth.counters()["refresh"]
    assert refresh["reuse_detected"] == 0 and refresh["max_in_flight_same_token"] == 1
    assert api.counters()["authorized"] == 500, "each step was called once"
    assert sum(len(w.logged("token.renewed")) for w in workers) == 1


def test_many_connections_each_renew_once(rig):
    auth, _ = rig.use_peers()
    names = [f"c{i}" for i in range(10)]
    for name in names:
        rig.link_refresh(name)
    auth.reset()
    rig.workers(3, slots=32)
    ids = rig.enqueue([rig.job(name, "/echo") for _ in range(20) for name in names])
    rig.results(ids, 60)
    assert [auth.requests_of(name) for name in names] == [1] * len(names)
    assert auth.counters()["refresh"]["reuse_detected"] == 0
