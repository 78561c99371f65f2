"""Grants that are asked for with an assertion, a token or a password: what is sent, what is kept, what a refusal does."""
import base64
import json
import urllib.parse

import pytest

from procs import wait_until
from test_51_client_auth import BEARERS, Way


def state(rig):
    return rig.ctl("conn", "show", "crm", "-o", "json").json()


def explained(rig):
    [row] = [r for r in rig.ctl("conn", "explain", "crm", "-o", "json").json() if r["what"].startswith("an access")]
    return row["body"]


@pytest.mark.parametrize("more, says", [
    ({}, {"iss": "robot", "sub": "alice"}),
    ({"subject": None}, {"iss": "robot", "sub": "robot"}),
    ({"lifetime_s": 300, "scope": True}, {"scope": "read write"}),
    ({"subject": None, "no_subject": True}, {"iss": "robot", "sub": None}),
])
def test_what_an_assertion_says(rig, more, says):
    """The server takes it, and conn explain shows what stands in it."""
    w = Way(rig, "none")
    rig.worker()
    conn = w.conn("jwt_bearer")
    conn["assertion"] = {k: v for k, v in {**conn["assertion"], "audience": w.auth.base, **more}.items() if v}
    rig.apply(conn)
    w.works(1)
    body = explained(rig)
    claims = json.loads(body.split("JWT(")[1].split("}, ")[1].split(")")[0])
    assert {k: claims.get(k) for k in says} == says and claims["aud"] == w.auth.base
    assert claims["exp"] - claims["iat"] == more.get("lifetime_s", 60)
    assert ("scope=" in body.split(")")[1] + body.split("JWT(")[0]) == (not more.get("scope"))
    assert state(rig)["scope"] == "read write"


def test_a_refused_assertion_is_tried_again(rig):
    """Its key is not known there yet, or a clock is off: that passes, and nobody has to link anything."""
    w = Way(rig, "none")
    rig.worker()
    conn = w.conn("jwt_bearer")
    conn["assertion"]["issuer"] = "nobody-yet"
    rig.apply(conn)
    wait_until(lambda: state(rig)["state"] == "BACKOFF", 10, "its refusal")
    assert state(rig)["why"] == "invalid_grant"
    key = w.auth.control("GET", "client-keys")["pkjwt-es256"]
    w.auth.control("POST", "jwt-issuers", {"iss": "nobody-yet", "jwks": {"keys": [
        {k: v for k, v in key["jwk"].items() if k != "d"}]}})
    rig.apply(conn)  # as an operator would; else after the backoff
    wait_until(lambda: state(rig)["state"] == "FRESH", 10, "a token")


@pytest.mark.parametrize("grant, mended", [("password", "alice-password"), ("saml2_bearer", "<Assertion><NameID>bob</NameID></Assertion>")])
def test_a_refused_secret_is_not_sent_again(rig, grant, mended):
    """A wrong password that is tried over and over locks its account."""
    w = Way(rig, "basic")
    rig.worker()
    conn = w.conn(grant)
    path = rig.folder / ("password" if grant == "password" else "assertion.xml")
    path.write_text("wrong")
    rig.apply(conn)
    wait_until(lambda: state(rig)["state"] == "NEEDS_CONSENT", 10, "its refusal")
    waiting = rig.enqueue(rig.job("crm", "/echo"))
    wait_until(lambda: list(rig.places().values()) == [["park:conn:crm"]], 10, "the job to wait")
    assert len([e for e in w.auth.log() if e.get("status") == 400]) == 1
    assert "then conn apply" in rig.ctl("conn", "test", "crm", code=1).out
    assert "It still needs consent" in rig.apply({**conn, "scopes": ["read", "write", "admin"]}).out
    assert len([e for e in w.auth.log() if e.get("status") == 400]) == 1, "the same one is not sent again"
    path.write_text(mended)
    assert "linked (another secret)" in rig.apply(conn).out
    assert rig.results(waiting)[waiting[0]][-1]["state"] == "done"
    assert "settings" in rig.apply({**conn, "scopes": ["read"]}).out, "the same secret is no new link"
    assert "unchanged" in rig.apply({**conn, "scopes": ["read"]}).out


@pytest.mark.parametrize("grant", BEARERS)
def test_a_lost_answer_costs_nothing(rig, grant):
    """Nothing is used up by asking: no grace, no replay, no consent; the next one asks again."""
    w = Way(rig, "basic")
    rig.worker()
    rig.apply(w.conn(grant))
    wait_until(lambda: state(rig)["state"] == "FRESH", 10, "a token")
    w.auth.faults({"on": "token", "drop": "after", "count": 1})
    rig.run_ctl("conn", "refresh", "crm", "--timeout", "5s")
    assert state(rig)["state"] == "BACKOFF"
    wait_until(lambda: rig.run_ctl("conn", "refresh", "crm").code == 0, 20, "the next one")
    assert not rig.redis.client.hexists("awq:{c:crm}", "rn"), "nothing was replayed"


@pytest.mark.parametrize("grant", BEARERS)
def test_its_secret_is_sealed_and_stays_here(rig, grant):
    """It is in no field of Redis as it is, and the revocation endpoint gets the access token only."""
    w = Way(rig, "basic")
    rig.worker()
    conn = w.conn(grant, revoke_url=f"{w.auth.base}/token/revocation")
    rig.apply(conn)
    w.works(1)
    [name] = {"jwt_bearer": ["signing.pem"], "saml2_bearer": ["assertion.xml"], "token_exchange": ["subject"],
              "password": ["password"]}[grant]
    secret = (rig.folder / name).read_text()
    held = b"".join(rig.redis.client.hgetall("awq:{c:crm}").values())
    for form in (secret.encode(), base64.b64encode(secret.encode()), urllib.parse.quote(secret).encode()):
        assert form[:60] not in held
    assert state(rig)["has_grant_secret"] is True
    rig.ctl("conn", "revoke", "crm", "--reason", "left")
    assert w.auth.counters()["revocation"] == 1
    assert secret[:40] not in json.dumps(w.auth.log())


EXCHANGE = {"exchange": {"subject_token": {"env": "HOME"}}}


@pytest.mark.parametrize("grant, change, says", [
    ("password", {"allow_insecure_grants": None}, "allow_insecure_grants must be true"),
    ("password", {"login": {"username": "alice"}}, "login.password is missing"),
    ("password", {"login": {"password": {"env": "HOME"}}}, "login.username is missing"),
    ("password", {"client": None}, "client.id is missing"),
    ("password", {"refresh_token": {"env": "HOME"}}, "refresh_token has no use with grant: password"),
    ("saml2_bearer", {"assertion": {"key": {"env": "HOME"}}}, "assertion.key has no use with grant: saml2_bearer"),
    ("saml2_bearer", {"assertion": None}, "assertion.saml is missing"),
    ("token_exchange", EXCHANGE | {"authorize_url": "https://x.example/"}, "authorize_url has no use with this grant"),
    ("token_exchange", {"exchange": {"subject_token": "abc"}}, "must be {file: PATH} or {env: NAME}"),
    ("client_credentials", EXCHANGE, "exchange.subject_token has no use with grant: client_credentials"),
    ("client_credentials", {"exchange": {"audience": "x"}}, "exchange.audience has no use with this grant"),
    ("jwt_bearer", {"assertion": {"key": {"env": "HOME"}, "issuer": "x"}}, "assertion.key: no private key in PEM"),
    ("jwt_bearer", {"assertion": {"issuer": "x", "lifetime_s": 0}}, "assertion.lifetime_s is out of bounds"),
    ("jwt_bearer", {"assertion": {"issuer": "x", "x5t_s256": "y"}}, "assertion.x5t_s256 must be base64url"),
    ("jwt_bearer", {"assertion": {"isuer": "x"}}, "unknown key 'isuer' (did you mean 'issuer'?)"),
    ("jwt_bearer", {"client": None, "assertion": {"subject": "x"}}, "assertion.issuer is missing"),
    ("jwt_bearer", {"assertion": {"subject": "x", "no_subject": True}}, "assertion.no_subject cannot be true beside assertion.subject"),
    ("client_credentials", {"assertion": {"no_subject": True}}, "assertion.no_subject has no use with this grant"),
    ("client_credentials", {"assertion": {"in_header": True}}, "assertion.in_header has no use with this grant"),
    ("jwt_bearer", {"assertion": {"in_header": True}}, "assertion.in_header is all that says who asks: client.auth must be none"),
    ("jwt_bearer", {"client": {"auth": "basic", "secret": {"env": "HOME"}}}, "client.id is missing"),
])
def test_what_cannot_work_is_refused_at_apply(rig, grant, change, says):
    w = Way(rig, "post")
    conn = {k: v for k, v in {**w.conn(grant), **change}.items() if v is not None}
    done = rig.apply(conn, code=1)
    assert says in done.err and "line " in done.err, done.err


def test_a_token_of_another_type(rig):
    """An exchange may give what is no access token of that server (RFC 8693 section 2.2.1); others may not."""
    w = Way(rig, "basic")
    rig.worker()
    w.auth.faults({"on": "token", "count": -1, "mutate": {"set": {"token_type": "n_a"}}})
    rig.apply(w.conn("token_exchange"))
    w.works(1)
    rig.apply(w.conn("password") | {"id": "other"})
    wait_until(lambda: rig.ctl("conn", "show", "other", "-o", "json").json()["why"] == "token_type", 10, "its refusal")


# ---- who acts for the subject (RFC 8693 section 2.1), and assertions by a shared secret --------------------------

def test_an_actor_goes_with_the_subject(rig):
    w = Way(rig, "basic")
    rig.worker()
    conn = w.conn("token_exchange")
    conn["exchange"]["actor_token"] = w.file("actor", w.auth.mint("bob", "basic")["access_token"])
    rig.apply(conn)
    w.works(1)
    body = explained(rig)
    assert "subject_token=SUBJECT_TOKEN&" in body and "&actor_token=ACTOR_TOKEN&actor_token_type=urn%3Aietf" in body
    held = b"".join(rig.redis.client.hgetall("awq:{c:crm}").values())
    assert (rig.folder / "actor").read_bytes() not in held
    assert "unchanged" in rig.apply(conn).out
    (rig.folder / "actor").write_text("not a token")
    assert "linked (another secret)" in rig.apply(conn).out
    wait_until(lambda: state(rig)["state"] == "NEEDS_CONSENT", 10, "its refusal")


def test_an_assertion_by_a_shared_secret(rig):
    w = Way(rig, "none")
    rig.worker()
    secret = "a secret that both sides know, of 32 bytes and more"
    w.auth.control("POST", "jwt-issuers", {"iss": "robot", "secret": secret})
    conn = w.conn("jwt_bearer")
    w.auth.control("POST", "jwt-issuers", {"iss": "robot", "secret": secret})
    conn["assertion"] = {"key": w.file("shared", secret), "alg": "HS256", "issuer": "robot", "subject": "alice"}
    rig.apply(conn)
    w.works(1)
    assert '"alg":"HS256"' in explained(rig)
    (rig.folder / "shared").write_text("short")
    assert "HS256 needs 32 at least" in rig.apply(conn, code=1).err
