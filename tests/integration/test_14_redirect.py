"""A redirect to another origin never takes the token along."""
import pytest


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_the_other_origin_never_sees_the_token(rig, code):
    _, api = rig.use_peers()
    rig.link("acct")
    rig.worker()
    job = rig.job("acct", f"/redirect?to=cross&code={code}", method="GET")
    r = rig.result(job)
    log = api.log()
    assert [e["origin"] for e in log] == ["main", "other"], "it was followed"
    assert log[1].get("auth") is None
    assert api.counters().get("leaks") == []
    assert r["state"] == "done" and r["status"] == 200


def test_same_origin_keeps_it(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    rig.worker()
    for to in ("same", "relative"):
        r = rig.result(rig.job("acct", f"/redirect?to={to}&code=307", method="POST", body={"a": 1}))
        assert (r["state"], r["status"]) == ("done", 200)
    assert api.counters()["authorized"] == 4


def test_a_hop_outside_the_policy_is_refused(rig):
    _, api = rig.use_peers()
    rig.link("acct", policy={"hosts": [api.base[7:]]})
    rig.worker()
    r = rig.result(rig.job("acct", "/redirect?to=cross", method="GET"))
    assert r["state"] == "dead" and r["error"]["code"] == "host_not_allowed"
    assert [e["origin"] for e in api.log()] == ["main"]


def test_a_loop_ends(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    rig.worker()
    r = rig.result(rig.job("acct", "/redirect?to=loop", method="GET", retry={"max": 0}))
    assert r["state"] in ("failed", "dead")
    assert len(api.log()) < 30
