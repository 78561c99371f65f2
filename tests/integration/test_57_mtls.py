"""Certificates in the TLS handshake (RFC 8705): a client that shows who it is by one, tokens bound to one."""
import base64
import hashlib
import ssl
import tempfile
from pathlib import Path

import pytest

from procs import wait_until
from test_50_consent import Link
from test_51_client_auth import BEARERS, STRICT, Way
from tls import Authority, openssl


class Certificates:
    """Of one session: the servers', and those of three clients."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="awq-mtls-"))
        self.ca = Authority(self.folder)
        self.server = self.ca.issue("server")
        self.of = {"mtls-ca": self.ca.issue("mtls-client"), "other": self.ca.issue("another-client")}
        cert, key = self.folder / "self.pem", self.folder / "self.key"
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=self", "-keyout", key, "-out", cert)
        self.of["mtls-self"] = (cert, key)

    def peers(self):
        """Settings of both."""
        key, cert, ca = self.server[1], self.server[0], self.ca.cert
        return ({**STRICT, "TLS_KEY": key, "TLS_CERT": cert, "TLS_CA": ca, "MTLS_SELF_CERT": self.of["mtls-self"][0]},
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

    def __init__(self, rig, certs, way="mtls-ca", cert=None):
        rig.use_redis()
        self.rig, self.way, self.id, self.certs = rig, way, way, certs
        self.auth, self.api = rig.use_peers(*({k: str(v) for k, v in s.items()} for s in certs.peers()))
        self.cert, self.cert_key = certs.of[cert or way]
        rig.common["http-ca"] = certs.ca.cert

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

    def shown_everywhere(self):
        """Every token was asked for with the certificate, is bound to it, and every call showed it."""
        tokens = [e for e in self.auth.log() if e.get("status") == 200]
        assert tokens and {e["x5t"] for e in tokens} == {self.x5t}, tokens
        calls = self.api.log()
        assert calls and {(e["status"], e["cert"], e.get("x5t")) for e in calls} == {(200, self.x5t, self.x5t)}, calls


@pytest.mark.parametrize("way", AUTHS)
def test_client_credentials(rig, certs, way):
    w = Mutual(rig, certs, way)
    rig.worker()
    rig.apply(w.conn("client_credentials"))
    w.works()
    w.shown_everywhere()
    assert {e["auth"] for e in w.auth.log()} == {"mtls"} and {e["client"] for e in w.auth.log()} == {way}
