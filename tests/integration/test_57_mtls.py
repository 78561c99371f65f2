"""Certificates in the TLS handshake (RFC 8705): a client that shows who it is by one, tokens bound to one."""
import base64
import datetime
import hashlib
import http.cookiejar
import signal
import ssl
import tempfile
import urllib.request
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from procs import Process, program, wait_until
from test_50_consent import Link
from test_51_client_auth import BEARERS, STRICT, Way
from tls import Authority, openssl


class Certificates:
    """Of one session: the servers', and those of three clients."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="awq-mtls-"))
        self.ca = Authority(self.folder)
        self.server = self.ca.issue("server")
        self.of = {"mtls-ca": self.ca.issue("mtls-client", days=30), "other": self.ca.issue("another-client", days=30)}
        cert, key = self.folder / "self.pem", self.folder / "self.key"
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=self", "-keyout", key, "-out", cert)
        self.of["mtls-self"] = (cert, key)

    def renewed(self, days=2):
        """Another one for the same name, with another key."""
        cert, key = self.ca.issue("mtls-client", name=f"renewed{days}", days=days)
        key.chmod(0o600)
        return cert, key

    def brief(self, folder, seconds):
        """One whose end comes so soon."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mtls-client")])
        made = x509.CertificateBuilder(name, name, key.public_key(), 1, now - datetime.timedelta(days=1),
                                       now + datetime.timedelta(seconds=seconds)).sign(key, hashes.SHA256())
        cert, pem = folder / "brief.pem", folder / "brief.key"
        cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        pem.touch(0o600)
        pem.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                          serialization.NoEncryption()))
        return cert, pem

    def expired(self):
        return self.ca.issue("late", days=-1)

    def peers(self):
        """Settings of both."""
        key, cert, ca = self.server[1], self.server[0], self.ca.cert
        return ({**STRICT, "TLS_KEY": key, "TLS_CERT": cert, "TLS_CA": ca, "ISSUER_TLS": 1, "MTLS_SELF_CERT": self.of["mtls-self"][0]},
                {"TLS_KEY": key, "TLS_CERT": cert, "TLS_CA": ca})


@pytest.fixture(scope="session")
def certs():
    made = Certificates()
    yield made
    for path in made.folder.iterdir():
        path.unlink()
    made.folder.rmdir()


def x5t(cert):
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


AUTHS = {"mtls-ca": "tls_client_auth", "mtls-self": "self_signed_tls_client_auth"}


class Mutual(Way):
    """Both servers over TLS, and a connection that has a certificate."""

    def __init__(self, rig, certs, way="mtls-ca", cert=None, free=""):
        """free: of a client whose tokens are not bound to the certificate."""
        rig.use_redis()
        self.rig, self.way, self.id, self.certs = rig, way, way + free, certs
        self.auth, self.api = rig.use_peers(*({k: str(v) for k, v in s.items()} for s in certs.peers()))
        self.cert, self.cert_key = certs.of[cert or way]
        rig.common["http-ca"] = certs.ca.cert

    def encrypted(self):
        to = self.rig.folder / "encrypted.key"
        openssl("pkey", "-in", self.cert_key, "-aes256", "-passout", "pass:hunter2", "-out", to)
        to.chmod(0o600)
        return {"file": str(to)}

    @property
    def x5t(self):
        return x5t(self.cert)

    def client(self):
        if self.way in AUTHS:
            return {"id": self.id, "auth": AUTHS[self.way]}
        return super().client()

    def conn(self, grant, conn_id="crm", **more):
        self.cert_key.chmod(0o600)
        made = {**self.rig.conn(conn_id, grant), "client": self.client(), **self.asked_with(grant),
                "token_url": f"{self.auth.tls}/token",
                "tls": {"certificate": {"file": str(self.cert)}, "key": {"file": str(self.cert_key)}}, **more}
        made["policy"] = {"hosts": [self.api.tls[8:], self.api.tls_other[8:]], "methods": ["GET", "POST"], "paths": ["/"],
                          "allow_private": True}
        return made

    def job(self, path="/echo", method="POST", conn="crm", **more):
        return self.rig.job(conn, self.api.tls + path, method, **more)

    def works(self, renewals=2):
        for n in range(renewals + 1):
            if n > 0:
                self.rig.ctl("conn", "refresh", "crm")
            got = self.rig.result(self.job())
            assert got["state"] == "done", got

    def shown_everywhere(self, bound=True):
        """Every token was asked for with the certificate, is bound to it, and every call showed it."""
        tokens = [e for e in self.auth.log() if e.get("status") == 200]
        assert tokens and {e["x5t"] for e in tokens} == {self.x5t}, tokens
        calls = self.api.log()
        assert calls and {(e["status"], e["cert"], e.get("x5t")) for e in calls} == {(200, self.x5t, self.x5t if bound else None)}, calls


@pytest.mark.parametrize("way", AUTHS)
def test_client_credentials(rig, certs, way):
    w = Mutual(rig, certs, way)
    rig.worker()
    rig.apply(w.conn("client_credentials"))
    w.works()
    w.shown_everywhere()
    assert {e["auth"] for e in w.auth.log()} == {"mtls"} and {e["client"] for e in w.auth.log()} == {way}


# ---- each grant, each way a client shows who it is by a certificate, with and without a bound key ----

def browse(w):
    """The owner's browser knows the authority, and has no certificate of its own."""
    trusting = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(w.certs.ca.cert)))
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    asked = Link.__new__(Link)
    asked.rig, asked.process = w.rig, w.rig.start_ctl("conn", "link", "crm")
    asked.url = asked.process.stdout.readline().strip()
    asked.visit(f"{asked.url}&login_hint=alice", jar, trusting)
    code, out, err = asked.end()
    assert code == 0, out + err


def by_device(w):
    process = w.rig.start_ctl("conn", "link", "crm")
    _, code = (process.stdout.readline().strip() for _ in range(2))
    w.auth.control("POST", "device", {"user_code": code, "action": "approve", "account": "alice"})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err


def link(w, grant, **more):
    if grant == "refresh_token":
        w.rig.apply(w.conn(grant, **more), refresh_token=w.auth.mint("alice", w.id)["refresh_token"])
    elif grant == "authorization_code":
        w.rig.apply(w.conn(grant, authorize_url=f"{w.auth.tls}/auth", **more))
        browse(w)
    elif grant == "device_code":
        w.rig.apply(w.conn(grant, device_url=f"{w.auth.tls}/device/auth", **more))
        by_device(w)
    else:
        w.rig.apply(w.conn(grant, **more))


GRANTS = ["client_credentials", "refresh_token", "authorization_code", "device_code", *BEARERS]


@pytest.mark.parametrize("dpop", [None, "ES256"])
@pytest.mark.parametrize("way", AUTHS)
@pytest.mark.parametrize("grant", GRANTS)
def test_each_grant(rig, certs, grant, way, dpop):
    w = Mutual(rig, certs, way, free="-free" if dpop else "")
    rig.worker()
    link(w, grant, **({"dpop": {"alg": dpop}} if dpop else {}))
    w.works(1)
    w.shown_everywhere(bound=not dpop)
    assert {e["auth"] for e in w.auth.log()} == {"mtls"}
    assert {e.get("dpop") for e in w.api.log()} == {dpop}
    if grant == "device_code":
        assert {s.get("x5t") for s in w.auth.control("GET", "shown") if s["route"] == "device_authorization"} == {w.x5t}


# The certificate binds tokens also where it is not how the client shows who it is (section 3): a secret, a
# signed assertion, or nothing, which is a public client (section 4).
@pytest.mark.parametrize("way", ["bound", "bound-public"])
def test_only_the_tokens_are_bound(rig, certs, way):
    w = Mutual(rig, certs, way, "other")
    rig.worker()
    client = {"id": way, "auth": "none"} if way == "bound-public" else \
        {"id": way, "auth": "basic", "secret": w.file("client.secret", f"{way}-secret")}
    w.client = lambda: client
    link(w, "authorization_code")
    w.works(2)
    w.shown_everywhere()
    assert {e["auth"] for e in w.auth.log()} == {"basic" if way == "bound" else "mtls"}


# ---- who is shown what ----

def test_another_certificate_is_another_client(rig, certs):
    """A certificate of the same authority, of somebody else: refused, and named as a fault of the settings."""
    w = Mutual(rig, certs, "mtls-ca", "other")
    rig.worker()
    rig.apply(w.conn("client_credentials"))
    wait_until(lambda: rig.ctl("conn", "show", "crm", "-o", "json").json()["state"] == "BACKOFF", 15, "its refusal")
    tested = " ".join(rig.ctl("conn", "test", "crm", code=1).out.split())
    assert "invalid_client" in tested and "Have the server know its certificate CN=another-client" in tested
    assert w.x5t in tested and "client secret" not in tested


def test_connections_do_not_share_links(rig, certs):
    """Three with certificates of their own and one without, in turns and all at once, at one API: each call is seen
    with its own certificate, over HTTP/2 links that carry many calls."""
    w = Mutual(rig, certs)
    rig.worker(slots=64)
    mine = {}
    for n, cert in enumerate(["mtls-ca", "mtls-self", "other", None]):
        conn = w.conn("client_credentials", f"c{n}")
        conn["client"] = {"id": "basic", "auth": "basic", "secret": w.file("basic.secret", "basic-secret")}
        if cert:
            certs.of[cert][1].chmod(0o600)
            conn["tls"] = {"certificate": {"file": str(certs.of[cert][0])}, "key": {"file": str(certs.of[cert][1])}}
        else:
            del conn["tls"]
        rig.apply(conn)
        mine[f"c{n}"] = x5t(certs.of[cert][0]) if cert else None
    for conn in [*mine] * 3:  # one after the other: the link of the one before rests
        assert rig.result(w.job(f"/echo?who={conn}", conn=conn))["state"] == "done"
    ids = rig.enqueue([w.job(f"/echo?who={conn}&delay=20", conn=conn) for _ in range(60) for conn in mine])
    assert {r[-1]["state"] for r in rig.results(ids).values()} == {"done"}
    calls = w.api.log()
    assert len(calls) == 12 + 240 and {e["http"] for e in calls} == {"2.0"}
    assert {(e["query"].split("who=")[1].split("&")[0], e.get("cert")) for e in calls} == set(mine.items())


def test_a_redirect_to_another_server_takes_no_certificate_along(rig, certs):
    w = Mutual(rig, certs)
    rig.worker()
    rig.apply(w.conn("client_credentials"))
    got = rig.result(w.job("/redirect?to=same&code=307"))
    assert got["state"] == "done", got
    got = rig.result(w.job("/redirect?to=cross&code=302", "GET"))
    assert got["state"] == "done", got
    assert w.api.counters()["leaks"] == []
    assert [e["origin"] for e in w.api.log()].count("other") == 1


def test_every_endpoint_is_shown_the_certificate(rig, certs):
    w = Mutual(rig, certs)
    rig.worker()
    link(w, "authorization_code", par_url=f"{w.auth.tls}/request", revoke_url=f"{w.auth.tls}/token/revocation",
         introspect_url=f"{w.auth.tls}/token/introspection")
    w.works(1)
    assert "active, scope" in rig.ctl("conn", "test", "crm").out
    assert "revoked at the provider too" in rig.ctl("conn", "revoke", "crm", "--reason", "x").out
    seen = {(s["route"], s.get("x5t")) for s in w.auth.control("GET", "shown") if s["route"] != "authorization"}
    by_api = ("introspection", None)  # which asks over plain HTTP
    assert seen - {by_api} == {(r, w.x5t) for r in ("par", "introspection", "revocation")}
    assert not rig.redis.client.hexists("awq:{c:crm}", "tk"), "a revoked grant leaves no key behind"


def test_discovered_addresses_for_certificates(rig, certs):
    """RFC 8705 section 5: where a server has other addresses for mutual TLS, those are what a connection with tls needs."""
    w = Mutual(rig, certs)
    rig.worker()
    plain = rig.ctl("conn", "discover", w.auth.tls, "--insecure-http", "--allow-private").out
    assert "self_signed_tls_client_auth" in plain and "# with tls in the file it has other addresses: --mtls" in plain
    aliased = f"https://localhost:{w.auth.port + 1}"
    said = rig.ctl("conn", "discover", w.auth.tls, "--allow-private", "--mtls").out
    found = yaml.safe_load(said)
    assert found == {"token_url": f"{aliased}/token", "authorize_url": f"{w.auth.tls}/auth", "par_url": f"{aliased}/request",
                     "device_url": f"{aliased}/device/auth", "revoke_url": f"{aliased}/token/revocation",
                     "introspect_url": f"{aliased}/token/introspection", "issuer": w.auth.tls}
    assert "other addresses" not in said
    del found["device_url"]
    rig.apply(w.conn("authorization_code", **found))
    browse(w)
    w.works(1)
    w.shown_everywhere()
    assert f"{w.auth.tls} publishes the same addresses" in " ".join(rig.ctl("conn", "test", "crm").out.split())


# ---- the record, and what changes it ----

def test_the_key_is_sealed_and_the_settings_name_the_certificate(rig, certs):
    w = Mutual(rig, certs)
    worker = rig.worker()
    rig.apply(w.conn("client_credentials"))
    w.works(0)
    kept = b"".join(rig.redis.client.hvals("awq:{c:crm}"))
    assert b"PRIVATE" not in kept and w.cert_key.read_bytes().splitlines()[1] not in kept
    assert rig.ctl("conn", "show", "crm", "-o", "json").json()["settings"]["certificate"] == w.x5t
    tested, explained = rig.ctl("conn", "test", "crm").out, rig.ctl("conn", "explain", "crm").out
    assert "CN=mtls-client, until 20" in tested and w.x5t in explained, tested + explained
    said = tested + explained + "".join(worker.lines()) + worker.stderr()
    assert "PRIVATE" not in said and w.cert_key.read_text().splitlines()[1] not in said


def test_it_is_resealed_with_a_new_key(rig, certs):
    w = Mutual(rig, certs)
    worker = rig.worker()
    rig.apply(w.conn("client_credentials"))
    w.works(1)
    before = rig.redis.client.hget("awq:{c:crm}", "tk")
    rig.ctl("keys", "rotate", "--stage")
    worker.send(signal.SIGHUP)
    wait_until(lambda: rig.run_ctl("keys", "rotate").code == 0, 20, "the rotation", every=0.5)
    assert rig.redis.client.hget("awq:{c:crm}", "tk") != before
    w.works(1)
    w.shown_everywhere()


def test_a_new_certificate_keeps_the_grant_and_asks_for_a_token_anew(rig, certs):
    w = Mutual(rig, certs)
    rig.worker()
    link(w, "refresh_token")
    w.works(1)
    assert "unchanged" in rig.apply(w.conn("refresh_token")).out
    w.shown_everywhere()
    asked = w.auth.counters()["token"]["ok"]
    old = w.x5t
    w.cert, w.cert_key = certs.renewed()
    said = rig.apply(w.conn("refresh_token")).out
    assert "its refresh token kept; an access token for the new certificate is due now" in said and w.x5t != old
    wait_until(lambda: w.auth.counters()["token"]["ok"] > asked, 15, "another token")
    w.works(0)
    last = w.api.log()[-1]
    assert (last["cert"], last["x5t"], last["status"]) == (w.x5t, w.x5t, 200)
    assert all(e["status"] == 200 for e in w.api.log()), "no call went out with a token of the old one"
    # the same with other issuers behind it is stored, and shown by workers that had it already
    w.file("chain.pem", w.cert.read_text() + certs.ca.cert.read_text())
    w.cert = rig.folder / "chain.pem"
    sealed = rig.redis.client.hget("awq:{c:crm}", "tk")
    assert "settings written" in rig.apply(w.conn("refresh_token")).out
    assert rig.redis.client.hget("awq:{c:crm}", "tk") != sealed
    w.works(1)
    rig.apply({k: v for k, v in w.conn("refresh_token").items() if k not in ("tls", "client")} |
              {"client": {"id": "mtls-ca", "auth": "none"}})
    assert not rig.redis.client.hexists("awq:{c:crm}", "tk")


def test_a_link_keeps_the_certificate_that_was_applied_meanwhile(rig, certs):
    w = Mutual(rig, certs)
    rig.worker()
    rig.apply(w.conn("authorization_code", authorize_url=f"{w.auth.tls}/auth"))
    before = rig.redis.client.hget("awq:{c:crm}", "tk")
    browse(w)
    assert rig.redis.client.hget("awq:{c:crm}", "tk") not in (None, before), "sealed for the new generation"
    w.works(1)
    w.shown_everywhere()


def test_more_certificates_than_guarded_memory(rig, certs):
    """Keys of connections at rest make room; jobs of those that find none wait, and all are done."""
    w = Mutual(rig, certs, "mtls-self")
    rig.worker(slots=64, token_cache="64KiB", connections_cached=64)
    conns = [f"c{n}" for n in range(40)]  # 2 KiB each
    for conn in conns:
        rig.apply(w.conn("client_credentials", conn))
    ids = rig.enqueue([w.job("/echo?delay=100", conn=conn) for _ in range(3) for conn in conns])
    got = rig.results(ids, 60)
    assert {r[-1]["state"] for r in got.values()} == {"done"}
    assert {e.get("cert") for e in w.api.log()} == {w.x5t}, "none went out without it"


# ---- what cannot work ----

@pytest.mark.parametrize("change, says", [
    (lambda w, c: c.pop("tls"), "client.auth says that its certificate shows who it is: `tls` is missing"),
    (lambda w, c: c["tls"].pop("key"), "tls.key is missing"),
    (lambda w, c: c["tls"].pop("certificate"), "tls.certificate is missing"),
    (lambda w, c: c["tls"].update(cert="x"), "unknown key 'cert'"),
    (lambda w, c: c.update(tls="client.pem"), "'tls' must be a map"),
    (lambda w, c: c["tls"].update(key="client.pem"), "must be {file: PATH} or {env: NAME}"),
    (lambda w, c: c["tls"]["certificate"].update(file="/nowhere.pem"), "tls.certificate: /nowhere.pem: No such file"),
    (lambda w, c: c["tls"]["key"].update(file="/nowhere.key"), "/nowhere.key cannot be read"),
    (lambda w, c: c["tls"].update(certificate=w.file("junk", "hunter2")), "tls.certificate: no certificate in PEM"),
    (lambda w, c: c["tls"].update(key=w.file("junk", "hunter2")), "tls.key: no private key in PEM"),
    (lambda w, c: c["tls"].update(key={"file": str(w.certs.of["other"][1])}), "tls.key: it is not the key of the first certificate"),
    (lambda w, c: c["tls"].update(key=w.encrypted()), "tls.key: it is encrypted"),
    (lambda w, c: c["tls"].update(certificate={"file": str(w.certs.expired()[0])}, key={"file": str(w.certs.expired()[1])}),
     "tls.certificate: it has expired ("),
    (lambda w, c: c["client"].update(secret={"env": "HOME"}), "client.secret has no use with auth: tls_client_auth"),
    (lambda w, c: c["client"].update(kid="k"), "client.kid is for auth: private_key_jwt or client_secret_jwt"),
    (lambda w, c: c["policy"].update(insecure_http=True), "policy.insecure_http must not be true with `tls`"),
    (lambda w, c: c.update(token_url=w.auth.token_url), "token_url must begin with https://"),
])
def test_what_cannot_work_is_refused_at_apply(rig, certs, change, says):
    w = Mutual(rig, certs)
    conn = w.conn("client_credentials")
    change(w, conn)
    done = rig.apply(conn, code=1)
    assert says in done.err and "line " in done.err and done.err.count("\n") == 1, done.err
    assert "hunter2" not in done.err
    assert done.err.count("line ") == 1, done.err


@pytest.mark.parametrize("days, says, code", [(3, "CN=mtls-client expires in 2 days", 0), (40, "ok", 0)])
def test_the_end_of_a_certificate_is_said(rig, certs, days, says, code):
    w = Mutual(rig, certs)
    rig.worker()
    w.cert, w.cert_key = certs.renewed(days)
    rig.apply(w.conn("client_credentials"))
    wait_until(lambda: rig.ctl("conn", "show", "crm", "-o", "json").json()["state"] == "FRESH", 15, "its token")
    [line] = [row for row in rig.ctl("conn", "test", "crm", code=code).out.splitlines() if "TLS certificate" in row]
    assert says in line, line
    known = [c["found"] for c in rig.run_ctl("doctor", "-o", "json").json() if c["check"] == "certificates"]
    assert [f[:19] for f in known] == (["that of crm ends on"] if days == 3 else [])
    del rig.common["keys"]
    assert "certificates\"" not in rig.run_ctl("doctor", "-o", "json").out


def test_a_server_of_an_authority_that_nobody_was_told_of(rig, certs):
    """Neither the worker nor awq-ctl: both say what tells them."""
    w = Mutual(rig, certs)
    ca = rig.common.pop("http-ca")
    rig.apply(w.conn("client_credentials"))
    rig.worker()
    wait_until(lambda: rig.ctl("conn", "show", "crm", "-o", "json").json()["state"] == "BACKOFF", 15, "its failure")
    got = {c["check"]: c for c in rig.ctl("conn", "test", "crm", "-o", "json", code=1).json()}
    assert got["token endpoint"]["result"] == "bad" and "SSL certificate problem" in got["token endpoint"]["found"]
    assert "--http-ca" in got["token endpoint"]["what_to_do"] and "--http-ca of the workers" in got["access token"]["what_to_do"]
    rig.common["http-ca"] = ca
    got = {c["check"]: c for c in rig.run_ctl("conn", "test", "crm", "-o", "json").json()}
    assert got["token endpoint"]["result"] == "ok" and "trusted here" in got["token endpoint"]["found"]
    asked = len(w.auth.log())
    plain = w.auth.token_url.replace("http://", "https://")  # nobody speaks TLS there
    rig.apply(w.conn("client_credentials", token_url=plain))
    [row] = [c for c in rig.run_ctl("conn", "test", "crm", "-o", "json").json() if c["check"] == "token endpoint"]
    assert row["result"] == "bad" and "Check scheme and port" in row["what_to_do"]
    assert len(w.auth.log()) == asked, "nothing is sent"


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_certificate_that_the_server_does_not_take_costs_no_grant(rig, certs, version):
    """With TLS 1.3 the token request has left when the server says so. It was not read: the refresh token is still good,
    and not counted as sent again."""
    w = Mutual(rig, certs, "mtls-self")
    server = Process("strict", rig.folder)
    rig.things.append(server)
    server.start([program("openssl"), "s_server", "-accept", "127.0.0.1:0", "-cert", certs.server[0], "-key", certs.server[1],
                  "-www", version, "-Verify", "1", "-verify_return_error", "-CAfile", certs.ca.cert])
    accept = wait_until(lambda: [n for n in server.lines() if n.startswith("ACCEPT 127")], 15, "its port")
    conn = w.conn("refresh_token", token_url=f"https://127.0.0.1:{accept[0].rsplit(':')[-1]}/token")
    rig.apply(conn, refresh_token=w.auth.mint("alice", w.id)["refresh_token"])
    rig.worker(renew_lease="2s", renew_grace="1s", renew_timeout="1s")
    shown = wait_until(lambda: (s := rig.ctl("conn", "show", "crm", "-o", "json").json())["state"] == "BACKOFF" and s, 15, "its refusal")
    assert shown["why"] == "not_sent" and "does not take the client's certificate (TLS alert: unknown ca)" in shown["last_failure"]
    tried = shown["failed_tries"]
    wait_until(lambda: rig.run_ctl("conn", "refresh", "crm").code != 0 and
               rig.ctl("conn", "show", "crm", "-o", "json").json()["failed_tries"] > tried, 30, "another try")
    assert not rig.redis.client.hexists("awq:{c:crm}", "rn")
    rig.apply(w.conn("refresh_token"))  # the right server: the same refresh token is sent there
    w.works(0)


def test_a_certificate_that_has_ended(rig, certs):
    """It was good when it was applied; conn test says in plain words why nothing works any more."""
    w = Mutual(rig, certs)
    rig.worker()
    w.cert, w.cert_key = certs.brief(rig.folder, seconds=4)
    rig.apply(w.conn("client_credentials"))
    [line] = wait_until(lambda: [row for row in rig.run_ctl("conn", "test", "crm").out.splitlines()
                                 if "TLS certificate" in row and "has expired" in row], 30, "its end")
    assert line.startswith("BAD") and "CN=mtls-client has expired (20" in line, line
    assert rig.run_ctl("conn", "test", "crm").code == 1
    assert "that of crm ended on 20" in rig.run_ctl("doctor").out
    rig.run_ctl("conn", "refresh", "crm")
    assert "Its certificate CN=mtls-client ended on 20" in " ".join(rig.run_ctl("conn", "test", "crm").out.split())
    assert "tls.certificate: it has expired" in rig.apply(w.conn("client_credentials"), code=1).err


def test_without_its_certificate_nothing_is_sent(rig, certs):
    """Somebody took it out of the record: neither a call nor a request for a token leaves without it."""
    w = Mutual(rig, certs)
    client = {"id": "bound", "auth": "basic", "secret": w.file("client.secret", "bound-secret")}
    w.client = lambda: client
    more = {"par_url": f"{w.auth.tls}/request"}
    worker = rig.worker()
    link(w, "authorization_code", **more)
    w.works(0)
    worker.term()
    worker.wait()
    calls, tokens = len(w.api.log()), w.auth.counters()["token"]["arrived"]
    rig.redis.client.hdel("awq:{c:crm}", "tk")
    rig.worker()
    got = rig.result(w.job())
    assert (got["state"], got["error"]["code"]) == ("dead", "connection_broken"), got
    assert "its TLS certificate" in str(got["error"]), got
    said = rig.ctl("conn", "link", "crm", code=1).err
    assert "certificate that its settings name is not stored" in said, said
    assert (len(w.api.log()), w.auth.counters()["token"]["arrived"]) == (calls, tokens)
    rig.apply(w.conn("authorization_code", authorize_url=f"{w.auth.tls}/auth", **more))
    assert rig.result(w.job())["state"] == "done"
