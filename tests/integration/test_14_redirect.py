"""A redirect to another origin never takes the token along."""
import contextlib

import pytest

from rawserver import RawServer, answer


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


class Echo:
    """An API that takes the token in the query, and hands the whole query on when it redirects."""

    def __init__(self):
        self.server, self.other = RawServer(), RawServer()
        self.server.routes["/a"] = lambda rq: self.on(rq, "/b")
        self.server.routes["/away"] = lambda rq: self.on(rq, self.other.base + "/c")
        self.server.routes["/b"] = self.other.routes["/c"] = answer(200, b"{}")

    def on(self, rq, to):
        return answer(302, location=f"{to}?x=1&{rq.target.partition('?')[2]}&y=2")(rq)


@contextlib.contextmanager
def echo(rig, shape):
    """Such an API, and a connection that may call both of its servers."""
    rig.use_redis()
    rig.use_peers()
    rig.worker()
    api = Echo()
    try:
        rig.apply(rig.conn("acct", policy={"hosts": [f"127.0.0.1:{api.server.port}", f"127.0.0.1:{api.other.port}"]}, api=shape))
        yield api
    finally:
        api.server.end()
        api.other.end()


def test_a_token_in_the_query_goes_once_and_nowhere_else(rig):
    with echo(rig, {"token_in": "query", "token_name": "access_token"}) as api:
        assert rig.result(rig.job("acct", api.server.base + "/a?q=1", method="GET"))["state"] == "done"
        first, second = [r.target for r in api.server.requests]
        token = first.partition("access_token=")[2]
        assert len(token) > 20 and first == f"/a?q=1&access_token={token}"
        assert second == f"/b?x=1&q=1&y=2&access_token={token}"
        assert rig.result(rig.job("acct", api.server.base + "/away?q=1", method="GET"))["state"] == "done"
        assert [r.target for r in api.other.requests] == ["/c?x=1&q=1&y=2"]


def test_headers_of_the_profile_stay_with_its_provider(rig):
    """A developer key among them, say; what the job itself sets goes along."""
    with echo(rig, {"headers": {"X-Developer-Key": "k", "X-Version": "1"}}) as api:
        for to in ("/a?q=1", "/away?q=1"):
            job = rig.job("acct", api.server.base + to, method="GET", headers={"x-version": "2", "X-Own": "o"})
            assert rig.result(job)["state"] == "done"
        same, [other] = api.server.requests[1], api.other.requests
        assert (same.headers["x-developer-key"], same.headers["x-version"]) == ("k", "2")
        assert "x-developer-key" not in other.headers and "authorization" not in other.headers
        assert (other.headers["x-version"], other.headers["x-own"]) == ("2", "o")
