"""Tokens that are bound to a key (RFC 9449): at the token endpoint, at the API, with nonces and without."""
import base64
import hashlib
import json
import signal

import pytest

from procs import wait_until
from test_50_consent import Link
from test_51_client_auth import BEARERS, STRICT, WAYS, Way

NONCES = ["off", "offer", "require"]


def bind(rig, way="basic", alg="ES256", auth_nonce="off", api_nonce="off"):
    w = Way.__new__(Way)
    rig.use_redis()
    w.rig, w.way, w.alg = rig, way, alg
    w.auth, w.api = rig.use_peers({**STRICT, "DPOP_NONCE": auth_nonce}, {"DPOP_NONCE": api_nonce})
    w.id = Way.client_id(way)
    return w


def conn(w, grant, **more):
    return {**w.conn(grant), "dpop": {"alg": w.alg}, **more}


def bound(w):
    """Every token that was given is bound, and every call proved it."""
    tokens = [e for e in w.auth.log() if e.get("status") == 200]
    assert tokens and {(e["token_type"], e["dpop"]) for e in tokens} == {("DPoP", True)}
    assert {e.get("dpop") for e in w.api.log() if e.get("status") == 200} == {w.alg}


def link(w, grant):
    rig = w.rig
    if grant == "refresh_token":
        rig.apply(conn(w, grant), refresh_token=w.auth.mint("alice", w.id)["refresh_token"])
    elif grant == "authorization_code":
        rig.apply(conn(w, grant, authorize_url=f"{w.auth.base}/auth", issuer=w.auth.base))
        asked = Link(rig)
        assert len(asked.query["dpop_jkt"]) == 43
        asked.browse()
        code, out, err = asked.end()
        assert code == 0, out + err
    elif grant == "device_code":
        rig.apply(conn(w, grant, device_url=f"{w.auth.base}/device/auth"))
        process = rig.start_ctl("conn", "link", "crm")
        _, code = (process.stdout.readline().strip() for _ in range(2))
        w.auth.control("POST", "device", {"user_code": code, "action": "approve", "account": "alice"})
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
    else:
        rig.apply(conn(w, grant))


GRANTS = ["client_credentials", "refresh_token", "authorization_code", "device_code", *BEARERS]


# client_credentials is for clients that show who they are; a public client's refresh token is bound: see below
CELLS = [(g, w) for g in GRANTS for w in WAYS if (g, w) not in (("client_credentials", "none"), ("refresh_token", "none"))]


@pytest.mark.parametrize("grant,way", CELLS)
def test_each_grant(rig, grant, way):
    w = bind(rig, way)
    rig.worker()
    link(w, grant)
    w.works(1)
    bound(w)


@pytest.mark.parametrize("alg", ["ES256", "EdDSA"])
@pytest.mark.parametrize("api_nonce", NONCES)
@pytest.mark.parametrize("auth_nonce", NONCES)
@pytest.mark.parametrize("grant", ["client_credentials", "authorization_code"])
def test_nonces(rig, grant, auth_nonce, api_nonce, alg):
    """Of both servers, kept apart; wanted once, they go along from then on."""
    w = bind(rig, "ES256", alg, auth_nonce, api_nonce)
    worker = rig.worker()
    link(w, grant)
    ids = rig.enqueue([rig.job("crm", "/echo") for _ in range(20)])
    got = rig.results(ids)
    assert {r[-1]["state"] for r in got.values()} == {"done"} and {r[-1]["attempts"] for r in got.values()} == {1}
    for _ in range(3):
        rig.ctl("conn", "refresh", "crm")
    bound(w)
    assert worker.logged("token.failed") == [], "to be asked for a nonce is no failure"
    refused = [e for e in w.auth.log() if e.get("status") == 400]
    wanted = 2 if grant == "authorization_code" else 1  # awq-ctl asks, and then the worker
    assert len(refused) == (wanted if auth_nonce == "require" else 0), refused
    calls = [e["status"] for e in w.api.log()]
    assert calls.count(200) == 20 and (calls.count(401) > 0) == (api_nonce == "require") and set(calls) <= {200, 401}
    rig.results(rig.enqueue([rig.job("crm", "/echo") for _ in range(20)]))
    assert [e["status"] for e in w.api.log()][len(calls):] == [200] * 20, "the nonce is known by now"


def test_a_public_client_with_its_own_key(rig):
    """Its refresh token is bound to the key that it was given for (RFC 9449 section 5)."""
    w = bind(rig, "none")
    rig.worker()
    key = w.auth.control("GET", "client-keys")["pkjwt-es256"]
    canonical = json.dumps({k: key["jwk"][k] for k in ("crv", "kty", "x", "y")}, separators=(",", ":"))
    jkt = base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()
    given = w.auth.mint("alice", w.id, jkt=jkt)
    rig.apply({**conn(w, "refresh_token"), "dpop": {"alg": "ES256", "key": w.file("bound.pem", key["pem"])}},
              refresh_token=given["refresh_token"])
    w.works(2)
    bound(w)


def test_token_substitution_and_downgrade(rig):
    """A token that is not bound to the key is refused, and none is sent as a bearer token."""
    w = bind(rig, "basic")
    rig.worker()
    w.auth.faults({"on": "token", "count": -1, "mutate": {"set": {"token_type": "Bearer"}}})
    rig.apply(conn(w, "client_credentials"))
    wait_until(lambda: rig.ctl("conn", "show", "crm", "-o", "json").json()["why"] == "token_type", 15, "its refusal")
    assert "not bound to the connection's key" in " ".join(rig.ctl("conn", "test", "crm", code=1).out.split())
    assert w.api.log() == []
    w.auth.faults({"on": "token", "count": -1, "mutate": {"omit": ["token_type"]}})
    rig.apply({**conn(w, "client_credentials"), "scopes": ["read"]})
    wait_until(lambda: w.auth.counters()["token"]["ok"] > 1, 15, "the next try")
    assert rig.ctl("conn", "show", "crm", "-o", "json").json()["version"] == 0


def test_the_key_stays_while_settings_change_and_goes_with_the_grant(rig):
    w = bind(rig, "basic")
    rig.worker()
    link(w, "refresh_token")
    w.works(1)
    jkt = {e.get("jkt") for e in w.api.log()}
    rig.apply({**conn(w, "refresh_token"), "limits": {"concurrency": 5}})
    w.works(1)
    assert {e.get("jkt") for e in w.api.log()} == jkt
    record = rig.redis.client.hgetall("awq:{c:crm}")
    assert record[b"dk"] and b"PRIVATE" not in b"".join(record.values())
    rig.ctl("conn", "revoke", "crm", "--reason", "x")
    assert not rig.redis.client.hexists("awq:{c:crm}", "dk")
    rig.apply(conn(w, "refresh_token"), refresh_token=w.auth.mint("alice", w.id)["refresh_token"])
    w.works(1)
    rig.apply(w.conn("refresh_token"))  # no dpop any more: the next tokens are bearer tokens
    rig.ctl("conn", "refresh", "crm")
    assert rig.result(rig.job("crm", "/echo"))["state"] == "done"
    assert not rig.redis.client.hexists("awq:{c:crm}", "dk") and w.auth.log()[-1]["token_type"] == "Bearer"


def test_a_redirect_to_another_server_takes_no_proof_along(rig):
    w = bind(rig, "basic")
    rig.worker()
    rig.apply(conn(w, "client_credentials"))
    got = rig.result(rig.job("crm", "/redirect?to=cross&code=302", "GET"))
    assert got["state"] == "done", got
    assert w.api.counters()["leaks"] == []


def test_keys_of_connections_are_resealed(rig):
    w = bind(rig, "basic")
    worker = rig.worker()
    rig.apply(conn(w, "client_credentials"))
    w.works(1)
    before = rig.redis.client.hget("awq:{c:crm}", "dk")
    rig.ctl("keys", "rotate", "--stage")
    worker.send(signal.SIGHUP)
    wait_until(lambda: rig.run_ctl("keys", "rotate").code == 0, 20, "the rotation", every=0.5)
    assert rig.redis.client.hget("awq:{c:crm}", "dk") != before
    rig.ctl("conn", "test", "crm")


def test_explain_shows_what_is_proved(rig):
    w = bind(rig, "basic")
    rig.apply(conn(w, "authorization_code", authorize_url=f"{w.auth.base}/auth"))
    said = rig.ctl("conn", "explain", "crm").out
    assert 'DPoP: JWT({"typ":"dpop+jwt","alg":"ES256"' in said and "dpop_jkt=" in said and "DPoP ACCESS_TOKEN" in said, said


@pytest.mark.parametrize("dpop, says", [
    ({}, "dpop.alg is missing"), ({"alg": "RS256"}, "dpop.alg must be ES256 or EdDSA"), ({"alg": "none"}, "dpop.alg must be"),
    ({"alg": "EdDSA", "key": {"file": "es.pem"}}, "dpop.key: a key for ES256; alg says EdDSA"),
    ({"alg": "ES256", "key": "inline"}, "must be {file: PATH} or {env: NAME}"), ({"algo": "ES256"}, "unknown key 'algo'"),
])
def test_what_cannot_work_is_refused_at_apply(rig, dpop, says):
    w = bind(rig, "basic")
    w.file("es.pem", w.auth.control("GET", "client-keys")["pkjwt-es256"]["pem"])
    done = rig.apply({**w.conn("client_credentials"), "dpop": dpop}, code=1)
    assert says in done.err and "line " in done.err, done.err
