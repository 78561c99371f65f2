"""How a client shows who it is, each way with each grant, against a server that tells them apart."""
import json

import pytest

from procs import wait_until
from test_50_consent import Link

STRICT = {"STRICT_AUTH": 1, "DEVICE_INTERVAL": 1}  # Basic and post are told apart
WAYS = ["basic", "odd", "basic_raw", "post", "none", "client_secret_jwt", "RS256", "PS256", "ES256", "EdDSA"]
CLIENTS = {"RS256": "pkjwt-rs256", "PS256": "pkjwt-ps256", "ES256": "pkjwt-es256", "EdDSA": "pkjwt-ed25519",
           "client_secret_jwt": "cs-jwt", "none": "public", "basic_raw": "basic", "odd": "odd:id/1"}


class Way:
    def __init__(self, rig, way):
        rig.use_redis()
        self.rig, self.way, (self.auth, _) = rig, way, rig.use_peers(STRICT)
        self.id = self.client_id(way)

    @staticmethod
    def client_id(way):
        return CLIENTS.get(way, way)

    def file(self, name, text):
        path = self.rig.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return {"file": str(path)}

    @property
    def key(self):
        return self.auth.control("GET", "client-keys")[self.id]

    def client(self):
        """The `client` of a connection's file."""
        if self.way in ("RS256", "PS256", "ES256", "EdDSA"):
            more = {"alg": "PS256"} if self.way == "PS256" else {}
            return {"id": self.id, "auth": "private_key_jwt", "key": self.file("client.pem", self.key["pem"]),
                    "kid": self.key["kid"], **more}
        if self.way == "none":
            return {"id": self.id, "auth": "none"}
        secret = {"odd": "p%40ss:w+rd &=/~", "client_secret_jwt": "cs-jwt-secret".ljust(40, "x"),
                  "basic_raw": "basic-secret"}.get(self.way, f"{self.id}-secret")
        return {"id": self.id, "auth": "basic" if self.way == "odd" else self.way,
                "secret": self.file("client.secret", secret)}

    def conn(self, grant, **more):
        return {**self.rig.conn("crm", grant, **more), "client": self.client(), **self.asked_with(grant)}

    def asked_with(self, grant):
        """What the grant is asked for with, in a connection's file."""
        if grant == "jwt_bearer":
            return {"assertion": {"key": self.file("signing.pem", self.signer["pem"]), "kid": self.signer["kid"],
                                  "issuer": "robot", "subject": "alice"}}
        if grant == "saml2_bearer":
            return {"assertion": {"saml": self.file("assertion.xml", "<Assertion>\u00fc<NameID>alice</NameID></Assertion>")}}
        if grant == "token_exchange":
            return {"exchange": {"subject_token": self.file("subject", self.auth.mint("alice", "basic")["access_token"])}}
        if grant == "password":
            return {"login": {"username": "alice", "password": self.file("password", "alice-password")},
                    "allow_insecure_grants": True}
        return {}

    @property
    def signer(self):
        """A key whose assertions the server trusts."""
        key = self.auth.control("GET", "client-keys")["pkjwt-es256"]
        public = {k: v for k, v in key["jwk"].items() if k != "d"}
        self.auth.control("POST", "jwt-issuers", {"iss": "robot", "jwks": {"keys": [public]}})
        return key

    def works(self, renewals=2):
        """A call with its token, and renewals after that."""
        assert self.rig.result(self.rig.job("crm", "/echo"))["state"] == "done"
        for _ in range(renewals):
            self.rig.ctl("conn", "refresh", "crm")
        shown = self.rig.ctl("conn", "show", "crm", "-o", "json").json()
        assert shown["state"] == "FRESH" and shown["version"] > renewals
        assert self.rig.result(self.rig.job("crm", "/echo"))["state"] == "done"


@pytest.mark.parametrize("way", [w for w in WAYS if w != "none"])
def test_client_credentials(rig, way):
    w = Way(rig, way)
    rig.worker()
    rig.apply(w.conn("client_credentials"))
    w.works()


@pytest.mark.parametrize("way", WAYS)
def test_refresh_token(rig, way):
    w = Way(rig, way)
    rig.worker()
    rig.apply(w.conn("refresh_token"), refresh_token=w.auth.mint("alice", w.id)["refresh_token"])
    w.works()


@pytest.mark.parametrize("way", WAYS)
def test_authorization_code(rig, way):
    w = Way(rig, way)
    rig.worker()
    rig.apply(w.conn("authorization_code", authorize_url=f"{w.auth.base}/auth", issuer=w.auth.base))
    link = Link(rig)
    link.browse()
    code, out, err = link.end()
    assert code == 0, out + err
    w.works(1)


@pytest.mark.parametrize("way", WAYS)
def test_device_code(rig, way):
    w = Way(rig, way)
    rig.worker()
    rig.apply(w.conn("device_code", device_url=f"{w.auth.base}/device/auth"))
    process = rig.start_ctl("conn", "link", "crm")
    _, code = (process.stdout.readline().strip() for _ in range(2))
    w.auth.control("POST", "device", {"user_code": code, "action": "approve", "account": "alice"})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    w.works(1)


BEARERS = ["jwt_bearer", "saml2_bearer", "token_exchange", "password"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("grant", BEARERS)
def test_bearer(rig, grant, way):
    w = Way(rig, way)
    rig.worker()
    rig.apply(w.conn(grant))
    w.works()


@pytest.mark.parametrize("grant", BEARERS[:-1])
def test_bearer_without_a_client(rig, grant):
    """The assertion or the token says all (RFC 7521 section 4.1); no client_id is sent."""
    w = Way(rig, "none")
    rig.worker()
    conn = w.conn(grant)
    del conn["client"]
    rig.apply(conn)
    w.works()
    said = rig.ctl("conn", "explain", "crm").out
    assert "client_id" not in said and "client_secret" not in said, said


def test_an_assertion_is_for_one_request(rig):
    """A server that has seen its jti refuses it; each renewal brings another."""
    w = Way(rig, "ES256")
    rig.worker()
    rig.apply(w.conn("client_credentials"))
    w.works(4)
    w.auth.faults({"on": "token", "status": 503, "count": 1, "body": {"error": "temporarily_unavailable"}})
    wait_until(lambda: rig.run_ctl("conn", "refresh", "crm").code == 0, 20, "a renewal after one that failed")


def test_another_audience(rig):
    w = Way(rig, "ES256")
    rig.worker()
    conn = w.conn("client_credentials")
    conn["client"]["audience"] = w.auth.base
    rig.apply(conn)
    w.works()


def test_an_assertion_for_another_server_is_refused_there(rig):
    """And it is a fault of the settings, which conn test names."""
    w = Way(rig, "RS256")
    rig.worker()
    conn = w.conn("client_credentials")
    conn["client"]["audience"] = "https://another.example"
    rig.apply(conn)
    wait_until(lambda: rig.ctl("conn", "show", "crm", "-o", "json").json()["state"] == "BACKOFF", 15, "its refusal")
    assert "invalid_client" in rig.ctl("conn", "test", "crm", code=1).out


@pytest.mark.parametrize("wrong, says", [
    ({"alg": "ES256"}, "client.key: a key for RS256; alg says ES256"),
    ({"alg": "none"}, "client.alg must be RS256, PS256, ES256 or EdDSA"),
    ({"auth": "basic"}, "client.kid is for auth: private_key_jwt or client_secret_jwt"),
    ({"auth": "client_secret_jwt"}, "client.key is for auth: private_key_jwt"),
    ({"key": None}, "client.key is missing"),
    ({"secret": {"env": "HOME"}}, "client.secret has no use with auth: private_key_jwt"),
    ({"x5t_s256": "short"}, "client.x5t_s256 must be base64url"),
    ({"key": {"file": "junk.pem"}}, "client.key: no private key in PEM"),
])
def test_what_cannot_work_is_refused_at_apply(rig, wrong, says):
    w = Way(rig, "RS256")
    conn = w.conn("client_credentials")
    w.file("junk.pem", "hunter2")
    conn["client"] = {k: v for k, v in {**conn["client"], **wrong}.items() if v is not None}
    done = rig.apply(conn, code=1)
    assert says in done.err and "line " in done.err and "hunter2" not in done.err, done.err


def test_a_short_secret_signs_nothing(rig):
    w = Way(rig, "client_secret_jwt")
    conn = w.conn("client_credentials")
    conn["client"]["secret"] = w.file("short", "short-secret")
    done = rig.apply(conn, code=1)
    assert "HS256 needs 32 at least" in done.err and "short-secret" not in done.err


def test_explain_says_what_the_assertion_says(rig):
    w = Way(rig, "PS256")
    conn = w.conn("client_credentials")
    conn["client"]["x5t_s256"] = "A" * 43
    rig.apply(conn)
    [asked] = [r for r in rig.ctl("conn", "explain", "crm", "-o", "json").json() if "token is asked" in r["what"]]
    header, claims = asked["body"].split("client_assertion=JWT(")[1][:-1].split("}, {")
    header, claims = json.loads(header + "}"), json.loads("{" + claims)
    assert header == {"alg": "PS256", "typ": "JWT", "kid": w.key["kid"], "x5t#S256": "A" * 43}
    assert (claims["iss"], claims["sub"], claims["aud"]) == (w.id, w.id, w.auth.token_url)
    assert claims["exp"] - claims["iat"] == 60 and claims["jti"] == "JTI"
    assert "PRIVATE KEY" not in json.dumps(asked)


def test_its_private_key_is_sealed(rig):
    w = Way(rig, "RS256")
    rig.apply(w.conn("client_credentials"))
    kept = b"".join(rig.redis.client.hvals("awq:{c:crm}"))
    assert b"PRIVATE KEY" not in kept and w.key["pem"].splitlines()[1].encode() not in kept
