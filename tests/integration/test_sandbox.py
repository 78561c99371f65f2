"""awq-sandbox: each rule of its authorization server and its API, on the real program."""
import base64
import concurrent.futures
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import time
from urllib.parse import quote, quote_plus, urlencode

import pytest

from procs import PATIENCE, SANITIZED, Process, built, wait_until
from rig import SAN_ENV

FORM = "application/x-www-form-urlencoded"


class Reply:
    def __init__(self, r):
        self.status = r.status
        self.headers = r.headers
        self.raw = r.read()

    @property
    def json(self):
        return json.loads(self.raw)

    @property
    def error(self):
        return self.json["error"]


class Sandbox(Process):
    def __init__(self, folder, *args, name="sandbox"):
        super().__init__(name, folder)
        self.args = args

    def begin(self):
        self.start(["env", *(f"{k}={v}" for k, v in SAN_ENV.items()), built("awq-sandbox"),
                    *self.args])
        wait_until(lambda: self.json_lines() or not self.running, 10, "the ready line")
        assert self.json_lines(), self.tail()
        ready = self.json_lines()[0]
        assert ready["event"] == "ready" and ready["pid"] > 0
        self.port = ready["port"]
        return self

    def finish(self):
        """SIGTERM ends it with 0, and with no sanitizer report."""
        self.term()
        assert self.wait() == 0, self.tail()

    def ask(self, method, path, body=None, headers=None, timeout=20):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout * PATIENCE)
        try:
            link.request(method, path, body, headers or {})
            return Reply(link.getresponse())
        finally:
            link.close()

    def post(self, path, headers=None, **fields):
        return self.ask("POST", path, urlencode(fields), {"Content-Type": FORM, **(headers or {})})

    def basic(self, client="demo", secret="demo-secret"):
        pair = f"{quote_plus(client)}:{quote_plus(secret)}".encode()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}

    def token(self, path="/token", **fields):
        """A token request of the demo client."""
        return self.post(path, self.basic(), **fields)

    def access(self, **fields):
        got = self.token(grant_type="client_credentials", **fields)
        assert got.status == 200, got.raw
        return got.json["access_token"]

    def mint(self, account="ann", client="demo", **fields):
        got = self.post("/_sandbox/mint", client_id=client, account=account, **fields)
        assert got.status == 200, got.raw
        return got.json["refresh_token"]

    def renew(self, refresh, path="/token", **fields):
        return self.token(path, grant_type="refresh_token", refresh_token=refresh, **fields)

    def call(self, token, method, path, body=None, timeout=20, **headers):
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        return self.ask(method, path, body, {"Authorization": f"Bearer {token}", **named}, timeout)

    def write(self, token, path, key=None, body="{}"):
        named = {"Idempotency_Key": key} if key else {}
        return self.call(token, "POST", f"/api/writes/{path}", body, **named)

    def counters(self, account=None, client="demo"):
        got = self.ask("GET", "/_sandbox/counters").json
        if account is None:
            return got["totals"]
        return next(a for a in got["accounts"]
                    if a["account"] == account and a["client"] == client)

    def writes(self, **query):
        return self.ask("GET", "/_sandbox/writes?" + urlencode(query)).json

    def summary(self):
        return self.ask("GET", "/_sandbox/writes/summary").json

    def raw(self, data, timeout=2):
        """Bytes in, all bytes out until the other side closes, or says no more for a while."""
        with socket.create_connection(("127.0.0.1", self.port), timeout * PATIENCE) as s:
            got = b""
            try:
                s.sendall(data)
                while chunk := s.recv(65536):
                    got += chunk
            except OSError:  # the other side has closed already
                pass
            return got


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    s = Sandbox(tmp_path_factory.mktemp("sandbox"), "--delay-ms", "0-0").begin()
    yield s
    s.finish()


@pytest.fixture
def box(one):
    """A sandbox with nothing in it; its clients stay, so tests name their own."""
    assert one.post("/_sandbox/reset").status == 200
    yield one
    assert one.running and one.ask("GET", "/_sandbox/counters").status == 200


@pytest.fixture
def begin(tmp_path):
    """Start one with other options."""
    made = []

    def go(*args):
        made.append(Sandbox(tmp_path, *args, name=f"sandbox{len(made)}"))
        return made[-1].begin()
    yield go
    for s in made:
        if s.running:
            s.finish()


# ---- the program ----------------------------------------------------------------------------------

def run(*args):
    return subprocess.run([built("awq-sandbox"), *args], capture_output=True, text=True,
                          timeout=20 * PATIENCE, check=False, env={**os.environ, **SAN_ENV})


def test_help():
    done = run("--help")
    assert done.returncode == 0 and done.stderr == ""
    for word in ("--access-ttl-s", "--client", "/_sandbox/mint", "drop=before|after"):
        assert word in done.stdout


@pytest.mark.parametrize("args, word", [
    (["--bind", "0.0.0.0"], "loopback"),
    (["--bind", "192.0.2.1"], "loopback"),
    (["--bind", "::"], "loopback"),
    (["--bind", "localhost"], "not an IP address"),
    (["--bind", "127.0.0.1.evil.example"], "not an IP address"),
    (["--port", "65536"], "--port"),
    (["--port", "-1"], "--port"),
    (["--port", "http"], "--port"),
    (["--port"], "needs a value"),
    (["--access-ttl-s", "0"], "--access-ttl-s"),
    (["--delay-ms", "20"], "--delay-ms"),
    (["--delay-ms", "20-10"], "--delay-ms"),
    (["--max-writes", "0"], "--max-writes"),
    (["--client", ":secret"], "client id"),
    (["--client", "id:"], "client secret"),
    (["--client", "a" * 129 + ":s"], "client id"),
    (["--frobnicate"], "--frobnicate"),
    (["stray"], "stray"),
])
def test_bad_command_line(args, word):
    done = run(*args)
    assert done.returncode == 2
    assert done.stdout == "", "nothing but the ready line goes to stdout"
    assert word in done.stderr and done.stderr.count("\n") == 1


def test_port_taken(box):
    done = run("--port", str(box.port))
    assert done.returncode == 2 and str(box.port) in done.stderr and "in use" in done.stderr


def test_listens_on_loopback_only(box):
    listening = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
    mine = [f[1] for f in listening if f[3] == "0A" and f[1].endswith(f":{box.port:04X}")]
    assert mine == [f"0100007F:{box.port:04X}"]


def test_other_loopback_addresses(begin):
    s = begin("--bind=::1", "--port=0")
    link = http.client.HTTPConnection("::1", s.port, timeout=10)
    link.request("GET", "/.well-known/oauth-authorization-server")
    assert json.load(link.getresponse())["token_endpoint"] == f"http://[::1]:{s.port}/token"
    link.close()


def test_secret_is_not_in_the_process_list(begin):
    s = begin("--client", "app:kept-out-of-ps", "--client", "open")
    assert b"kept-out-of-ps" not in open(f"/proc/{s.pid}/cmdline", "rb").read()
    got = s.post("/token", s.basic("app", "kept-out-of-ps"), grant_type="client_credentials")
    assert got.status == 200
    got = s.post("/token", s.basic(), grant_type="client_credentials")
    assert got.status == 401, "the demo client is only there when no other is"


def test_term_ends_it_while_answers_wait(begin):
    s = begin("--delay-ms", "60000-60000")
    token = s.access()
    with socket.create_connection(("127.0.0.1", s.port)) as link:
        link.sendall(f"GET /api/records/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}"
                     "\r\n\r\n".encode())
        wait_until(lambda: s.counters()["api_arrived"] == 1, 5, "the request to arrive")
        s.term()
        assert s.wait(5) == 0, s.tail()
        assert link.recv(100) == b""


def test_int_ends_it(begin):
    s = begin()
    s.send(signal.SIGINT)
    assert s.wait(5) == 0


# ---- the authorization server ---------------------------------------------------------------------

def test_metadata(box):
    got = box.ask("GET", "/.well-known/oauth-authorization-server")
    assert got.status == 200 and got.headers["Content-Type"] == "application/json"
    meta = got.json
    assert meta["issuer"] == f"http://127.0.0.1:{box.port}"
    assert meta["token_endpoint"] == meta["issuer"] + "/token"
    assert set(meta["grant_types_supported"]) == {"client_credentials", "refresh_token"}
    assert meta["response_types_supported"] == []


def test_client_credentials(box):
    got = box.token(grant_type="client_credentials")
    assert got.status == 200
    assert got.headers["Cache-Control"] == "no-store" and got.headers["Pragma"] == "no-cache"
    assert set(got.json) == {"access_token", "token_type", "expires_in", "scope"}, \
        "no refresh token, RFC 6749 section 4.4.3"
    assert got.json["token_type"] == "Bearer" and got.json["expires_in"] == 3600
    assert got.json["scope"] == "read write"
    assert box.call(got.json["access_token"], "GET", "/api/records/1").status == 200


def test_scope(box):
    got = box.token(grant_type="client_credentials", scope="read")
    assert got.json["scope"] == "read"
    for scope in ("admin", "read admin"):
        got = box.token(grant_type="client_credentials", scope=scope)
        assert (got.status, got.error) == (400, "invalid_scope")


def test_scope_of_a_renewal(box):
    refresh = box.mint(scope="read")
    got = box.renew(refresh, scope="write")
    assert (got.status, got.error) == (400, "invalid_scope")
    got = box.renew(refresh, scope="read")
    assert got.status == 200 and got.json["scope"] == "read", "a refused scope uses up no token"
    assert box.write(got.json["access_token"], "1").status == 403


def register(box, client, **fields):
    got = box.post("/_sandbox/clients", client_id=client, **fields)
    assert got.status == 200, got.raw


def test_basic_is_form_encoded(box):
    """RFC 6749 section 2.3.1: encoded first, then joined by the colon."""
    client, secret = "a:b c", "p+q%r:s&t=u /~"
    register(box, client, client_secret=secret)
    assert box.post("/token", box.basic(client, secret),
                    grant_type="client_credentials").status == 200
    bare = base64.b64encode(f"{client}:{secret}".encode()).decode()
    got = box.post("/token", {"Authorization": f"Basic {bare}"}, grant_type="client_credentials")
    assert (got.status, got.error) == (401, "invalid_client")
    register(box, "plus", client_secret="x+y")
    bare = base64.b64encode(b"plus:x+y").decode()
    got = box.post("/token", {"Authorization": f"Basic {bare}"}, grant_type="client_credentials")
    assert got.status == 401, "a bare + is a space"


def test_post_authentication(box):
    fields = dict(grant_type="client_credentials", client_id="demo", client_secret="demo-secret")
    assert box.post("/token", **fields).status == 200
    got = box.post("/token", **{**fields, "client_secret": "wrong"})
    assert (got.status, got.error) == (401, "invalid_client")
    assert got.headers["WWW-Authenticate"].startswith("Basic")


@pytest.mark.parametrize("header", [
    "Basic", "Basic !!!", "Basic " + base64.b64encode(b"nocolon").decode(),
    "Basic " + base64.b64encode(b"demo:%zz").decode(), "Bearer abc",
    "Basic " + base64.b64encode(b"demo:wrong").decode(),
    "Basic " + base64.b64encode(b"nobody:demo-secret").decode(),
    "Basic " + base64.b64encode(b"demo:").decode(),
    "Basic " + base64.b64encode(b"d" * 2000 + b":x").decode(),
])
def test_wrong_basic(box, header):
    got = box.post("/token", {"Authorization": header}, grant_type="client_credentials")
    assert (got.status, got.error) == (401, "invalid_client")
    assert got.headers["WWW-Authenticate"].startswith("Basic")
    assert box.counters()["token_refused"] == 1


def test_two_client_authentications(box):
    got = box.token(grant_type="client_credentials", client_id="demo", client_secret="demo-secret")
    assert (got.status, got.error) == (400, "invalid_request")
    got = box.token(grant_type="client_credentials", client_id="other")
    assert (got.status, got.error) == (400, "invalid_request")
    got = box.token(grant_type="client_credentials", client_id="demo")
    assert got.status == 200, "naming the same client again is no second authentication"
    pair = box.basic()["Authorization"]
    head = f"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nConnection: close\r\n" \
           f"Authorization: {pair}\r\nAuthorization: {pair}\r\nContent-Length: 29\r\n\r\n"
    assert b"400 Bad Request" in box.raw(head.encode() + b"grant_type=client_credentials")


def test_public_client(box):
    register(box, "open")
    got = box.post("/token", grant_type="client_credentials", client_id="open")
    assert (got.status, got.error) == (400, "unauthorized_client")
    refresh = box.mint(client="open")
    got = box.post("/token", grant_type="refresh_token", refresh_token=refresh, client_id="open")
    assert got.status == 200 and got.json["refresh_token"] != refresh
    refresh = got.json["refresh_token"]
    got = box.post("/token", grant_type="refresh_token", refresh_token=refresh, client_id="open",
                   client_secret="guess")
    assert (got.status, got.error) == (401, "invalid_client")


@pytest.mark.parametrize("auth, basic, post", [
    ("secret", 200, 200), ("basic", 200, 401), ("post", 401, 200)])
def test_registered_authentication(box, auth, basic, post):
    register(box, f"only-{auth}", client_secret="s", auth=auth)
    got = box.post("/token", box.basic(f"only-{auth}", "s"), grant_type="client_credentials")
    assert got.status == basic
    got = box.post("/token", grant_type="client_credentials", client_id=f"only-{auth}",
                   client_secret="s")
    assert got.status == post


def test_secret_needed(box):
    refresh = box.mint()
    got = box.post("/token", grant_type="refresh_token", refresh_token=refresh, client_id="demo")
    assert (got.status, got.error) == (401, "invalid_client")
    got = box.post("/token", grant_type="refresh_token", refresh_token=refresh)
    assert (got.status, got.error) == (401, "invalid_client")
    assert box.renew(refresh).status == 200, "nothing was used up"


@pytest.mark.parametrize("content_type", [
    None, "application/json", "text/plain", "multipart/form-data; boundary=x", FORM + "x"])
def test_content_type(box, content_type):
    headers = {**box.basic(), **({"Content-Type": content_type} if content_type else {})}
    got = box.ask("POST", "/token", b"grant_type=client_credentials", headers)
    assert (got.status, got.error) == (400, "invalid_request")


def test_content_type_with_charset(box):
    headers = {**box.basic(), "Content-Type": "Application/X-www-form-urlencoded; charset=UTF-8"}
    assert box.ask("POST", "/token", b"grant_type=client_credentials", headers).status == 200


@pytest.mark.parametrize("body, error", [
    ("grant_type=password&username=a&password=b", "unsupported_grant_type"),
    ("grant_type=authorization_code&code=x", "unsupported_grant_type"),
    ("grant_type=Client_Credentials", "unsupported_grant_type"),
    ("", "invalid_request"),
    ("grant_type=", "invalid_request"),
    ("scope=read", "invalid_request"),
    ("grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
    ("grant_type=client_credentials&scope=read&scope=write", "invalid_request"),
    ("grant_type=refresh_token", "invalid_request"),
    ("grant_type=refresh_token&refresh_token=", "invalid_request"),
    ("grant_type=refresh_token&refresh_token=nonsense", "invalid_grant"),
    ("grant_type=refresh_token&refresh_token=" + "A" * 64, "invalid_grant"),
    ("grant_type=refresh_token&refresh_token=" + "A" * 5000, "invalid_grant"),
    ("grant_type=client_credentials&x=%zz", "invalid_request"),
    ("grant_type=client_credentials&x=%4", "invalid_request"),
    ("grant_type=client_credentials&x=%00", "invalid_request"),
    ("&".join(f"f{i}=1" for i in range(65)), "invalid_request"),
    ('{"grant_type":"client_credentials"}', "invalid_request"),
])
def test_bad_token_request(box, body, error):
    got = box.ask("POST", "/token", body, {**box.basic(), "Content-Type": FORM})
    assert (got.status, got.error) == (400, error)
    assert got.headers["Cache-Control"] == "no-store"
    assert box.counters()["token_arrived"] == box.counters()["token_refused"] == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
def test_token_takes_post_only(box, method):
    got = box.ask(method, "/token", headers=box.basic())
    assert got.status == 405 and got.headers["Allow"] == "POST"


@pytest.mark.parametrize("field", ["client_id=demo", "client_secret=demo-secret", "scope=read",
                                   "grant_type=client_credentials", "refresh_token=x"])
def test_nothing_in_the_uri(box, field):
    got = box.token(f"/token?{field}", grant_type="client_credentials")
    assert (got.status, got.error) == (400, "invalid_request")


def test_rotation_and_reuse(box):
    """RFC 9700 section 4.14.2: the second use ends the grant, its access tokens included."""
    first = box.mint("ann")
    got = box.renew(first)
    assert got.status == 200
    assert set(got.json) == {"access_token", "token_type", "expires_in", "scope", "refresh_token"}
    second, access = got.json["refresh_token"], got.json["access_token"]
    assert second != first and box.call(access, "GET", "/api/records/1").status == 200
    third = box.renew(second).json["refresh_token"]
    other = box.renew(box.mint("ben")).json
    assert box.call(access, "GET", "/api/records/1").status == 200, "a renewal ends no access token"

    got = box.renew(first)
    assert (got.status, got.error) == (400, "invalid_grant")
    got = box.renew(third)
    assert (got.status, got.error) == (400, "invalid_grant"), "the newest one ended too"
    got = box.call(access, "GET", "/api/records/1")
    assert got.status == 401 and 'error="invalid_token"' in got.headers["WWW-Authenticate"]
    assert box.call(other["access_token"], "GET", "/api/records/1").status == 200
    assert box.renew(other["refresh_token"]).status == 200, "other grants live on"

    ann = box.counters("ann")
    assert ann["renewals"] == ann["versions"] == ann["token_ok"] == 2
    assert ann["token_arrived"] == 4 and ann["token_refused"] == 2
    assert ann["reuse_detected"] == 1 and ann["grants_killed"] == 1 and ann["api_401"] == 1
    assert box.counters("ben")["reuse_detected"] == 0
    assert box.renew(box.mint("ann")).status == 200, "the account can be linked again"


def test_parallel_renewals_end_the_grant(box):
    refresh = box.mint("race")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        got = [r.status for r in pool.map(lambda _: box.renew(refresh), range(8))]
    assert sorted(got) == [200] + [400] * 7
    race = box.counters("race")
    assert race["renewals"] == 1 and race["reuse_detected"] == 1 and race["grants_killed"] == 1


def test_refresh_token_of_another_client(box):
    register(box, "thief", client_secret="s")
    refresh = box.mint("ann")
    got = box.post("/token", box.basic("thief", "s"), grant_type="refresh_token",
                   refresh_token=refresh)
    assert (got.status, got.error) == (400, "invalid_grant")
    assert box.renew(refresh).status == 200, "and it did its owner no harm"


def test_forged_refresh_token_ends_nothing(box):
    """The part that names the grant can be known; without the tag it is worth nothing."""
    refresh = box.mint("ann")
    raw = bytearray(base64.urlsafe_b64decode(refresh))
    raw[20] ^= 1
    got = box.renew(base64.urlsafe_b64encode(raw).decode())
    assert (got.status, got.error) == (400, "invalid_grant")
    assert box.counters()["reuse_detected"] == 0 and box.renew(refresh).status == 200


def test_lifetimes(box):
    """Of the server, of a client, of a grant; and an expired token is refused."""
    register(box, "brief", client_secret="s", access_ttl_s=1)
    got = box.post("/token", box.basic("brief", "s"), grant_type="client_credentials").json
    assert got["expires_in"] == 1
    assert box.renew(box.mint(access_ttl_s=7)).json["expires_in"] == 7
    assert box.renew(box.mint()).json["expires_in"] == 3600

    def refused():
        r = box.call(got["access_token"], "GET", "/api/records/1")
        return r if r.status == 401 else None
    r = wait_until(refused, 5, "the token to expire")
    assert "expired" in r.headers["WWW-Authenticate"]
    assert box.counters("", "brief")["api_401"] == 1


def test_lifetime_of_the_server(begin):
    s = begin("--access-ttl-s", "3")
    assert s.token(grant_type="client_credentials").json["expires_in"] == 3
    assert s.renew(s.mint()).json["expires_in"] == 3


def test_revoke(box):
    got = box.renew(box.mint("ann")).json
    assert box.post("/_sandbox/revoke", client_id="demo", account="ann").json == \
        {"grants_killed": 1}
    assert box.renew(got["refresh_token"]).error == "invalid_grant"
    assert box.call(got["access_token"], "GET", "/api/records/1").status == 401
    assert box.counters("ann")["grants_killed"] == 1
    assert box.counters("ann")["reuse_detected"] == 0, "an ended grant is no reuse"


def test_token_faults(box):
    got = box.token("/token?status=503&retry_after=7&times=1&key=t", grant_type="client_credentials")
    assert got.status == 503 and got.headers["Retry-After"] == "7"
    got = box.token("/token?status=503&retry_after=7&times=1&key=t", grant_type="client_credentials")
    assert got.status == 200
    refresh = box.mint("ann")
    for drop in ("before", "after"):
        with pytest.raises(http.client.RemoteDisconnected):
            box.renew(refresh, f"/token?drop={drop}&times=1&key={drop}")
        assert box.counters("ann" if drop == "after" else None)["dropped"] >= 1
    assert box.counters("ann")["renewals"] == 1, "before: not renewed; after: renewed, answer lost"
    assert box.renew(refresh).error == "invalid_grant"
    assert box.counters("ann")["reuse_detected"] == 1


@pytest.mark.parametrize("fields", [
    {}, {"client_id": "demo"}, {"account": "a"}, {"client_id": "nobody", "account": "a"},
    {"client_id": "demo", "account": "a", "scope": "all"},
    {"client_id": "demo", "account": "a", "access_ttl_s": "0"},
    {"client_id": "demo", "account": "a\n"}, {"client_id": "demo", "account": "a" * 200},
])
def test_bad_mint(box, fields):
    got = box.post("/_sandbox/mint", **fields)
    assert (got.status, got.error) == (400, "invalid_request")


@pytest.mark.parametrize("fields", [
    {}, {"client_id": ""}, {"client_id": "x" * 129}, {"client_id": "a\r"},
    {"client_id": "a", "auth": "basic"}, {"client_id": "a", "auth": "none", "client_secret": "s"},
    {"client_id": "a", "auth": "magic", "client_secret": "s"},
    {"client_id": "a", "access_ttl_s": "-1"}, {"client_id": "a", "scope": "x"},
])
def test_bad_client(box, fields):
    got = box.post("/_sandbox/clients", **fields)
    assert (got.status, got.error) == (400, "invalid_request")


# ---- the API --------------------------------------------------------------------------------------

@pytest.mark.parametrize("headers, status, words", [
    ({}, 401, None),
    ({"Authorization": "Basic ZGVtbzpkZW1vLXNlY3JldA=="}, 401, None),
    ({"Authorization": "Bearer"}, 400, 'error="invalid_request"'),
    ({"Authorization": "Bearer nonsense"}, 401, 'error="invalid_token"'),
    ({"Authorization": "Bearer " + "x" * 5000}, 401, 'error="invalid_token"'),
    ({"Authorization": 'Bearer a"b'}, 400, 'error="invalid_request"'),
    ({"Authorization": "Bearer a b"}, 400, 'error="invalid_request"'),
])
@pytest.mark.parametrize("path", ["/api/records/1", "/api/echo", "/api/nothing"])
def test_token_needed(box, path, headers, status, words):
    got = box.ask("GET", path, headers=headers)
    assert got.status == status
    challenge = got.headers["WWW-Authenticate"]
    assert challenge.startswith("Bearer realm=")
    assert (words in challenge) if words else ("error" not in challenge), \
        "RFC 6750 section 3.1: no error code where there was no token"


def test_token_in_the_uri(box):
    token = box.access()
    got = box.ask("GET", f"/api/records/1?access_token={token}")
    assert (got.status, got.error) == (400, "invalid_request")
    got = box.call(token, "GET", f"/api/records/1?access_token={token}")
    assert got.status == 400


def test_scheme_in_any_case(box):
    got = box.ask("GET", "/api/records/1", headers={"Authorization": f"bEARER {box.access()}"})
    assert got.status == 200


def test_scopes(box):
    read, write = box.access(scope="read"), box.access(scope="write")
    for token, method, path, status in [
            (read, "GET", "/api/records/1", 200), (write, "GET", "/api/records/1", 403),
            (write, "POST", "/api/writes/1", 200), (read, "POST", "/api/writes/1", 403),
            (read, "GET", "/api/echo", 200), (read, "POST", "/api/echo", 403),
            (write, "PATCH", "/api/echo", 200)]:
        got = box.call(token, method, path)
        assert got.status == status, (method, path)
        if status == 403:
            assert 'error="insufficient_scope"' in got.headers["WWW-Authenticate"]
    assert box.counters("")["api_403"] == 3 and box.summary()["effects"] == 1


def test_record(box):
    token = box.access()
    got = box.call(token, "GET", "/api/records/42")
    assert got.status == 200 and got.headers["Content-Type"] == "application/json"
    assert set(got.json) == {"id", "name", "n"} and got.json["id"] == "42"
    assert isinstance(got.json["n"], int) and isinstance(got.json["name"], str)
    assert box.call(token, "GET", "/api/records/42").raw == got.raw
    assert box.call(token, "GET", "/api/records/43").json["n"] != got.json["n"]
    assert box.call(token, "GET", "/api/records/a%20%C3%A4%22?x=1").json["id"] == 'a ä"'


@pytest.mark.parametrize("coded", ["", "a/b", "a%2Fb", "%zz", "%", "%00", "%ff", "x" * 129])
def test_bad_id(box, coded):
    token = box.access()
    assert box.call(token, "GET", f"/api/records/{coded}").status == 400
    assert box.write(token, coded).status == 400
    assert box.summary()["ids"] == 0


@pytest.mark.parametrize("method, path, status", [
    ("POST", "/api/records/1", 405), ("DELETE", "/api/writes/1", 405), ("GET", "/api/writes/1", 405),
    ("GET", "/api/", 404), ("GET", "/api/echo/more", 404), ("GET", "/api/recordsX/1", 404)])
def test_no_such_route(box, method, path, status):
    assert box.call(box.access(), method, path).status == status


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/", 404), ("GET", "/_sandbox/", 404), ("GET", "/_sandbox/mint", 405),
    ("POST", "/_sandbox/counters", 405), ("GET", "/_sandbox/reset", 405), ("GET", "/api", 404)])
def test_no_such_control_route(box, method, path, status):
    assert box.ask(method, path).status == status


def test_echo(box):
    token = box.access()
    got = box.call(token, "PATCH", "/api/echo?a=1&b=%20x", "hällo".encode(), X_Mine="yes",
                   Traceparent="00-1-2-01").json
    assert (got["method"], got["path"], got["query"]) == ("PATCH", "/api/echo", "a=1&b=%20x")
    assert got["body"] == "hällo"
    headers = {k.lower(): v for k, v in got["headers"]}
    assert headers["x-mine"] == "yes" and headers["traceparent"] == "00-1-2-01"
    assert "authorization" not in headers and token not in json.dumps(got)
    got = box.call(token, "POST", "/api/echo", bytes(range(256))).json
    assert base64.b64decode(got["body_base64"]) == bytes(range(256))
    got = box.call(token, "FROB", "/api/echo", "x" * 1000000)
    assert got.json["method"] == "FROB" and len(got.json["body"]) == 1000000


def test_effects_and_replays(box):
    token = box.access()
    assert box.write(token, "a", "k1", "one").json == {"id": "a", "effect": 1}
    got = box.write(token, "a", "k1", "one")
    assert got.status == 200 and got.json == {"id": "a", "effect": 1}
    assert got.headers["Idempotent-Replayed"] == "true"
    assert box.write(token, "a", "k2", "one").json["effect"] == 2, "another key, another effect"
    assert box.write(token, "a", "k1", "one").json["effect"] == 1, "from memory, not as of now"
    assert box.write(token, "b").json["effect"] == 1
    assert box.write(token, "b").json["effect"] == 2, "without a key each one counts"
    for path, body in (("a", "other"), ("c", "one")):
        got = box.write(token, path, "k1", body)
        assert got.status == 422 and "Idempotent-Replayed" not in got.headers
    assert box.writes()["writes"] == [
        {"seq": 1, "id": "a", "effects": 2, "keys": 2, "replays": 2},
        {"seq": 2, "id": "b", "effects": 2, "keys": 0, "replays": 0}]
    assert box.summary() == {"ids": 2, "effects": 4, "keys": 2, "replays": 2, "repeated": 2,
                             "conflicts": 2, "refused_full": 0}


def test_keys_are_per_account(box):
    ann = box.renew(box.mint("ann")).json["access_token"]
    ben = box.renew(box.mint("ben")).json["access_token"]
    for token in (ann, ben):
        got = box.write(token, "a", "same")
        assert got.status == 200 and "Idempotent-Replayed" not in got.headers
    assert box.summary()["effects"] == 2
    assert box.counters("ann")["api_ok"] == box.counters("ben")["api_ok"] == 1


def test_key_too_long(box):
    token = box.access()
    assert box.write(token, "a", "k" * 257).status == 400
    assert box.write(token, "a", "k" * 256).status == 200


def test_writes_in_pages(box):
    token = box.access()
    for i in range(25):
        assert box.write(token, f"w{i}", f"k{i}").status == 200
    seen, after, pages = [], 0, 0
    while after is not None:
        page = box.writes(after=after, limit=10)
        seen += [w["id"] for w in page["writes"]]
        after, pages = page["next"], pages + 1
    assert seen == [f"w{i}" for i in range(25)] and pages == 3
    assert box.writes(after=25) == {"writes": [], "next": None}
    assert box.writes(after=1 << 60)["writes"] == []
    for bad in ("after=-1", "after=x", "limit=0", "limit=10001"):
        assert box.ask("GET", f"/_sandbox/writes?{bad}").status == 400


def test_full(begin):
    """Over its bound it says so, and what it knows still works."""
    s = begin("--max-writes", "3", "--delay-ms", "0-0")
    token = s.access()
    for i in range(3):
        assert s.write(token, f"w{i}", f"k{i}").status == 200
    got = s.write(token, "w3", "k3")
    assert (got.status, got.error) == (507, "full")
    assert s.write(token, "w0", "k4").status == 507, "no room for one more key"
    assert s.write(token, "w0", "k0").status == 200, "a repeat needs none"
    assert s.write(token, "w0").status == 200
    assert s.write(token, "w3").status == 507
    assert s.summary()["ids"] == 3 and s.summary()["refused_full"] == 3
    assert s.post("/_sandbox/reset").status == 200
    assert s.write(s.access(), "w3", "k3").status == 200


def test_reset(box):
    token, refresh = box.access(), box.mint()
    box.write(token, "a", "k")
    register(box, "kept", client_secret="s")
    assert box.post("/_sandbox/reset").json == {"ok": True}
    assert box.summary()["ids"] == 0 and box.writes()["writes"] == []
    assert set(box.counters().values()) == {0}
    assert box.call(token, "GET", "/api/records/1").status == 401
    assert box.renew(refresh).error == "invalid_grant"
    assert box.post("/token", box.basic("kept", "s"),
                    grant_type="client_credentials").status == 200


def test_web_pages_are_kept_out(box):
    got = box.post("/_sandbox/reset", {"Origin": "http://evil.example"})
    assert (got.status, got.error) == (403, "forbidden")


# ---- misbehaviour on demand -----------------------------------------------------------------------

def test_status(box):
    token = box.access()
    got = box.call(token, "POST", "/api/writes/a?status=500")
    assert got.status == 500 and "Retry-After" not in got.headers
    got = box.call(token, "POST", "/api/writes/a?status=429&retry_after=3")
    assert got.status == 429 and got.headers["Retry-After"] == "3"
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    got = box.call(token, "POST", f"/api/writes/a?status=503&retry_after={quote(date)}")
    assert got.status == 503 and got.headers["Retry-After"] == date
    assert box.summary()["ids"] == 0, "nothing was done"
    assert box.counters("")["api_5xx"] == 2 and box.counters("")["api_4xx"] == 1


def test_header_cannot_be_split(box):
    got = box.call(box.access(), "GET", "/api/echo?status=503&retry_after=1%0d%0aX-Evil:%201")
    assert got.status == 503 and "X-Evil" not in got.headers
    assert got.headers["Retry-After"] == "1??X-Evil: 1"


def test_times(box):
    token = box.access()
    path = "/api/writes/a?status=500&times=2&key=mine"
    assert [box.call(token, "POST", path).status for _ in range(4)] == [500, 500, 200, 200]
    assert box.call(token, "POST", path.replace("mine", "other")).status == 500
    path = "/api/records/a?status=500&times=1"
    assert [box.call(token, "GET", path).status for _ in range(2)] == [500, 200]
    assert box.call(token, "GET", path.replace("/a?", "/b?")).status == 500, "without key: the path"
    assert box.call(token, "GET", "/api/records/c?status=500&times=0").status == 200


def test_refuse_a_good_token(box):
    token = box.access()
    got = box.call(token, "POST", "/api/writes/a?401=1&times=1")
    assert got.status == 401 and 'error="invalid_token"' in got.headers["WWW-Authenticate"]
    assert box.summary()["ids"] == 0
    assert box.call(token, "POST", "/api/writes/a?401=1&times=1").status == 200
    assert box.call(token, "POST", "/api/writes/a?401=0").status == 200


@pytest.mark.parametrize("drop, effects", [("before", 0), ("after", 1)])
def test_drop(box, drop, effects):
    token = box.access()
    with pytest.raises(http.client.RemoteDisconnected):
        box.call(token, "POST", f"/api/writes/a?drop={drop}&times=1", "{}", Idempotency_Key="k")
    assert box.summary()["effects"] == effects
    got = box.call(token, "POST", f"/api/writes/a?drop={drop}&times=1", "{}", Idempotency_Key="k")
    assert got.status == 200 and ("Idempotent-Replayed" in got.headers) == (drop == "after")
    assert box.summary()["effects"] == 1
    assert box.counters("")["dropped"] == 1 and box.counters("")["api_ok"] == 1


@pytest.mark.parametrize("query", ["slow=x", "slow=-1", "slow=600001", "status=200", "status=600",
                                   "401=2", "drop=later", "times=-1", "times=x", "drop="])
def test_bad_switch(box, query):
    token = box.access()
    got = box.call(token, "POST", f"/api/writes/a?{query}")
    assert (got.status, got.error) == (400, "invalid_request")
    assert query.split("=")[0] in got.json["error_description"]
    assert box.token(f"/token?{query}", grant_type="client_credentials").status == 400
    assert box.summary()["ids"] == 0


def took(f):
    start = time.monotonic()
    f()
    return time.monotonic() - start


def test_slow(box):
    """Late, and not in the way of others; the write is made at once."""
    token = box.access()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: took(lambda: box.call(token, "POST", "/api/writes/a?slow=1500")))
        wait_until(lambda: box.summary()["ids"] == 1, 5, "the slow write to be made")
        assert box.call(token, "GET", "/api/records/1").status == 200
        assert not slow.done(), "the other answer came first"
        assert slow.result() >= 1.5
    assert took(lambda: box.token("/token?slow=300", grant_type="client_credentials")) >= 0.3


def test_delay(begin):
    s = begin("--delay-ms", "50-80")
    token = s.access()
    times = [took(lambda: s.call(token, "GET", "/api/records/1")) for _ in range(5)]
    assert min(times) >= 0.05, times
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        together = took(lambda: list(pool.map(
            lambda i: s.call(token, "GET", f"/api/records/{i}"), range(20))))
    assert together < 20 * 0.05, "they wait side by side"
    assert took(lambda: s.call(token, "GET", "/api/records/1?slow=0")) < 0.05 * PATIENCE


def test_slow_client_that_leaves(box):
    """A link that is gone when its answer is due."""
    token = box.access()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", box.port)) as link:
            link.sendall(f"POST /api/writes/gone?slow=100 HTTP/1.1\r\nHost: x\r\nContent-Length: 0"
                         f"\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            wait = struct.pack("ii", 1, 0)  # close with a reset
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, wait)
    # This one is due after all of those.
    assert box.call(token, "GET", "/api/records/1?slow=100").status == 200


def test_pipelined(box):
    token = box.access()
    head = f"Host: x\r\nAuthorization: Bearer {token}\r\n"
    got = box.raw((f"GET /api/records/1?slow=50 HTTP/1.1\r\n{head}\r\n"
                   f"GET /api/records/2 HTTP/1.1\r\n{head}Connection: close\r\n\r\n").encode())
    assert got.count(b"HTTP/1.1 200 OK") == 2
    assert got.index(b'"id":"1"') < got.index(b'"id":"2"')


# ---- bad input ------------------------------------------------------------------------------------

@pytest.mark.parametrize("data", {
    "binary": b"\x00\xff\x16\x03\x01garbage\r\n\r\n",
    "one word": b"GET\r\n\r\n",
    "empty lines": b"\r\n\r\n\r\n",
    "unknown version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "negative length": b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
    "absurd length": b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 23
                     + b"\r\n\r\n",
    "bad chunk": b"POST /token HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bad query": b"GET /api/echo?%zz=1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /api/echo HTTP/1.1\r\n\r\n",
    "endless word": b"A" * 100000,
    "huge target": b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "huge header": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
    "20000 headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
}.items(), ids=lambda d: d[0])
def test_garbage(box, data):
    """Refused, and the link closed; the fixture asks if the server is still there."""
    got = box.raw(data[1])
    assert got == b"" or got.split(b" ")[1].startswith(b"4") or b" 505 " in got[:20], got[:200]


@pytest.mark.parametrize("path", [None, "/api/records/1", "/api/records/1?slow=200"])
def test_links_are_let_go(box, path):
    """Of clients that said nothing, had their answer, or did not wait for it."""
    token = box.access()
    links = [socket.create_connection(("127.0.0.1", box.port)) for _ in range(20)]
    ports = {f":{link.getsockname()[1]:04X}" for link in links}

    def held():
        """Sockets of the server's that lead to these links and are not closed there."""
        rows = [line.split() for line in open("/proc/net/tcp").readlines()[1:]]
        return [f for f in rows if f[1].endswith(f":{box.port:04X}") and f[2][-5:] in ports
                and f[3] in ("01", "08")]
    assert len(held()) == 20
    for link in links if path else []:
        link.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
                     .encode())
        if "slow" not in path:
            assert link.recv(20).startswith(b"HTTP/1.1 200")
    for link in links:
        link.close()
    wait_until(lambda: not held(), 5, "the links to be let go")


def test_client_that_leaves_within_a_request(box):
    for data in (b"GET", b"GET / HTTP/1.1\r\nHost:",
                 b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\ncut short"):
        with socket.create_connection(("127.0.0.1", box.port)) as link:
            link.sendall(data)
    assert box.token(grant_type="client_credentials").status == 200


def test_many_headers(box):
    head = f"GET /api/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" \
           f"Authorization: Bearer {box.access()}\r\n"
    more = "".join(f"X-{i}: 1\r\n" for i in range(130))
    assert b" 431 " in box.raw((head + more + "\r\n").encode())[:20]
    assert b" 200 " in box.raw((head + "X: 1\r\n\r\n").encode())[:20]


@pytest.mark.parametrize("path", ["/token", "/api/echo", "/_sandbox/mint"])
def test_huge_body(box, path):
    """413, without losing the answer, and without keeping it in memory."""
    token = box.access()
    for size, status in ((1 << 20, None), ((1 << 20) + 1, 413), (8 << 20, 413)):
        got = box.call(token, "POST", path, b"x" * size)
        assert (got.status == status) if status else got.status != 413
        if status:
            assert got.error == "too_large"


def test_endless_body(box):
    head = b"POST /api/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    before = box.rss_kib()
    with socket.create_connection(("127.0.0.1", box.port), 30) as link:
        link.sendall(head)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(4096):
                link.sendall(chunk)
    assert SANITIZED or box.rss_kib() - before < 4096
    length = f"POST /api/echo HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\n\r\n".encode()
    assert b" 413 " in box.raw(length)[:20], "answered without reading a terabyte"


def test_memory_stays_bounded(box):
    """Tokens, rotations and bodies do not pile up."""
    refresh = box.mint("ann")
    link = http.client.HTTPConnection("127.0.0.1", box.port, timeout=30)

    def renew(count):
        nonlocal refresh
        for _ in range(count):
            link.request("POST", "/token", urlencode(
                {"grant_type": "refresh_token", "refresh_token": refresh}),
                {**box.basic(), "Content-Type": FORM})
            refresh = json.load(link.getresponse())["refresh_token"]
    renew(200)
    before = box.rss_kib()
    renew(2000)
    assert SANITIZED or box.rss_kib() - before < 1024
    link.close()
    token = box.access()
    for _ in range(50):
        assert box.call(token, "POST", "/api/echo", b"x" * 1000000).status == 200
    assert SANITIZED or box.rss_kib() - before < 8192
    assert box.counters("ann")["renewals"] == 2200


def test_many_links(begin):
    """300 links, each with an answer that waits, and one more that is served at once."""
    s = begin("--delay-ms", "1000-1000")
    token = s.access()
    links = []
    try:
        for i in range(300):
            link = socket.create_connection(("127.0.0.1", s.port), 20)
            link.sendall(f"GET /api/records/{i} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                         f"Authorization: Bearer {token}\r\n\r\n".encode())
            links.append(link)
        assert s.ask("GET", "/_sandbox/counters").status == 200
        for i, link in enumerate(links):
            got = b""
            while chunk := link.recv(4096):
                got += chunk
            assert f'"id":"{i}"'.encode() in got
    finally:
        for link in links:
            link.close()
    assert s.counters()["api_ok"] == 300
