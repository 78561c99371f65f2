"""needs: a call that the account's owner did not allow is refused before it is made; 403 never renews."""
import json

import pytest

from bad import Bad
from procs import wait_until
from rawserver import answer, http

DENIED = http(403, b"no", "www-authenticate: Bearer error=\"insufficient_scope\", scope=\"admin\"")


def token(bad, scope):
    """A token answer that names this scope; None: none."""
    more = {} if scope is None else {"scope": scope}
    return lambda link: answer(200, bad.token_body(**more), content_type="application/json")(link)


@pytest.mark.parametrize("asked,named,needs,missing", [
    (["read"], "read write", ["read", "write"], None),
    (["read", "write"], "read", ["read", "write"], "write"),  # narrower than asked
    (["read"], "readwrite", ["read"], "read"),  # whole words
    (["read", "write"], None, ["write"], None),  # none named: as asked (RFC 6749 section 5.1)
    (["read"], None, ["write"], "write"),
    ([], None, ["read"], "read"),  # nothing is known to be granted
    ([], None, [], None),
], ids=["named", "narrower", "words", "asked", "not-asked", "unknown", "no-needs"])
def test_needs(rig, asked, named, needs, missing):
    b = Bad(rig)
    b.server.routes["/token"] = token(b, named)
    b.link("acct", scopes=asked)
    rig.worker()
    got = rig.result(b.job("j1", needs=needs))
    if missing is None:
        assert got["state"] == "done"
        return
    assert (got["state"], got["error"]["code"]) == ("dead", "scope_not_granted")
    assert f"the scope {missing};" in got["error"]["detail"] and "acct" in got["error"]["detail"]
    assert b.server.count("/good") == 0, "refused before the call"
    assert b.letter("j1.0.0")["code"] == b"scope_not_granted"


def test_a_later_step_needs_more(rig):
    b = Bad(rig)
    b.server.routes["/token"] = token(b, "read")
    rig.worker()
    then = [{"conn": "acct", "url": b.server.base + "/good", "needs": ["write"]}]
    got = rig.result(b.job("j1", needs=["read"], env={"then": then}))
    assert (got["step"], got["error"]["code"]) == (1, "scope_not_granted")
    assert b.server.count("/good") == 1


def test_a_refresh_that_names_no_scope_leaves_it_as_it_was(rig):
    """RFC 6749 section 6; another worker reads it from the record."""
    b = Bad(rig)
    b.server.routes["/token"] = token(b, "read")
    b.link("acct", "REFRESH", grant="refresh_token", scopes=["read", "write"])
    first = rig.worker()
    assert rig.result(b.job("j1", needs=["read"]))["state"] == "done"
    b.server.routes["/token"] = token(b, None)
    client = rig.redis.client
    client.hset("awq:{c:acct}", "exp", 1)
    client.publish("awq:changed", "acct")
    made = 0
    while b.server.count("/token") < 2 and made < 100:  # until it has seen that the token ended
        made += 1
        assert rig.result(b.job(f"again-{made}", needs=["read"]))["state"] == "done"
    wait_until(lambda: client.hget("awq:{c:acct}", "ver") == b"2", 10, "the second token to be stored")
    assert client.hget("awq:{c:acct}", "scope") == b"read"
    got = [rig.result(b.job("j2", needs=["write"]))]
    first.term()
    first.wait()
    rig.worker()
    got.append(rig.result(b.job("j3", needs=["write"])))
    assert [g["error"]["code"] for g in got] == ["scope_not_granted"] * 2


def test_linked_again_with_the_scope(rig):
    """The letter that was sent back is done then."""
    b = Bad(rig)
    b.server.routes["/token"] = token(b, "read")
    rig.worker()
    assert rig.result(b.job("j1", needs=["write"]))["state"] == "dead"
    b.server.routes["/token"] = token(b, "read write")
    b.link("acct")
    rig.ctl("dead", "replay", "j1.0.0")
    wait_until(lambda: rig.all_results()[-1]["state"] == "done", 10, "the job to be done")


@pytest.mark.parametrize("status", [403, 401])
def test_insufficient_scope_never_renews(rig, status):
    """The token is good: a new one would be refused as well."""
    b = Bad(rig)
    b.server.routes["/denied"] = lambda link: link.send(DENIED.replace(b" 403 ", b" %d " % status))
    first = rig.worker()
    assert rig.result(b.job("first"))["state"] == "done"
    first.term()
    first.wait()
    # old enough that a refusal of the token itself would be believed
    rig.redis.client.hincrby("awq:{c:acct}", "born", -1800 * 1000)
    rig.worker()
    got = [rig.result(b.job(f"j{n}", "/denied")) for n in range(3)]
    assert {(g["state"], g["status"], g["attempts"]) for g in got} == {("failed", status, 1)}
    assert rig.result(b.job("k"))["state"] == "done"
    assert b.server.count("/token") == 1 and b.server.count("/denied") == 3
