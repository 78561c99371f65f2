"""conn discover: what a server publishes of itself, and what is not believed."""
import json

import pytest
import yaml

from procs import wait_until
from smallserver import SmallServer
from test_50_consent import Link

LOCAL = ["--insecure-http", "--allow-private"]


def test_a_real_server(rig):
    """Lines for a file: with them, a policy and a client it is whole."""
    server, _ = rig.use_peers()
    rig.use_redis()
    said = rig.ctl("conn", "discover", server.base, *LOCAL).out
    assert "# client.auth: basic, post, client_secret_jwt, private_key_jwt, none" in said
    assert f"# conn register {server.base}/reg\n" in said
    found = yaml.safe_load(said)
    assert found == {"token_url": f"{server.base}/token", "authorize_url": f"{server.base}/auth",
                     "par_url": f"{server.base}/request", "device_url": f"{server.base}/device/auth",
                     "revoke_url": f"{server.base}/token/revocation", "introspect_url": f"{server.base}/token/introspection",
                     "issuer": server.base}
    del found["device_url"]
    rig.apply({**rig.conn("crm", "authorization_code", "basic", "basic"), **found})
    as_json = rig.ctl("conn", "discover", server.base, *LOCAL, "-o", "json").json()
    assert as_json["registration"] == f"{server.base}/reg"
    assert as_json["token_url"] == found["token_url"] and "private_key_jwt" in as_json["client_auth"]


@pytest.mark.parametrize("grant, client, wanted", [
    ("client_credentials", ("svc", "post"), {"token_url", "revoke_url", "introspect_url", "issuer"}),
    ("authorization_code", ("basic", "basic"),
     {"token_url", "authorize_url", "par_url", "device_url", "revoke_url", "introspect_url", "issuer"}),
    ("device_code", ("basic", "basic"), {"token_url", "device_url", "revoke_url", "introspect_url", "issuer"}),
])
def test_the_lines_of_one_grant_are_taken(rig, grant, client, wanted):
    server, _ = rig.use_peers()
    rig.use_redis()
    said = rig.ctl("conn", "discover", server.base, "--grant", grant, *LOCAL).out
    found = yaml.safe_load(said)
    assert set(found) == wanted
    assert (", none" in said) == (grant != "client_credentials")
    rig.apply({**rig.conn("crm", grant, *client), **found})
    assert f"{server.base} publishes the same addresses" in rig.run_ctl("conn", "test", "crm").out
    as_json = rig.ctl("conn", "discover", server.base, "--grant", grant, *LOCAL, "-o", "json").json()
    assert wanted <= set(as_json) <= wanted | {"client_auth", "registration"}


def test_no_such_grant(rig):
    assert "--grant must be client_credentials" in rig.ctl("conn", "discover", "https://a.example", "--grant", "code", code=2).err


def Server(pages):
    """Answers what it is told to at each path: {path: (status, body)}; of a redirect, the body is where to."""
    def answer(asked):
        status, body = pages.get(asked.target, (404, ""))
        return status, {"Location": body} if status == 302 else {}, body if isinstance(body, bytes) else body.encode()
    return SmallServer(answer)


OAUTH, OPENID = "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"


def metadata(base, **more):
    return 200, json.dumps({"issuer": base, "token_endpoint": base + "//t", **more})


def test_where_it_is_looked_for_with_a_path(rig):
    pages = {}
    with Server(pages) as s:
        pages[OAUTH + "/tenant/1"] = metadata(s.base + "/tenant/1")
        said = rig.ctl("conn", "discover", s.base + "/tenant/1", *LOCAL).out
        assert f'token_url: "{s.base}/tenant/1//t"' in said, "to the letter, doubled slashes too"
        assert "# client.auth: basic\n" in said, "what a server means that does not say (RFC 8414 section 2)"
        assert "issuer:" not in said, "it does not say that its redirects have iss"
        assert "issuer:" not in rig.ctl("conn", "discover", s.base + "/tenant/1", "--grant", "authorization_code", *LOCAL).out
        assert f'issuer: "{s.base}/tenant/1"' in rig.ctl("conn", "discover", s.base + "/tenant/1", "--grant", "jwt_bearer", *LOCAL).out


def test_openid_where_that_is_all_there_is(rig):
    pages = {}
    with Server(pages) as s:
        pages["/a" + OPENID] = metadata(s.base + "/a/")
        assert "token_url" in rig.ctl("conn", "discover", s.base + "/a/", *LOCAL).out
        assert [a.target for a in s.asked] == [OAUTH + "/a", "/a" + OPENID]


@pytest.mark.parametrize("lie", ["https://another.example", None, "slash", 7])
def test_metadata_of_another_issuer(rig, lie):
    pages = {}
    with Server(pages) as s:
        pages[OAUTH] = metadata(s.base, issuer=s.base + "/" if lie == "slash" else lie)
        done = rig.ctl("conn", "discover", s.base, *LOCAL, code=1)
        assert "of another issuer" in done.err and done.out == ""


@pytest.mark.parametrize("url", ["javascript:alert(1)", "ftp://a.example", "", "https://a.example/\n#", 'https://a"b', 0])
def test_what_is_no_address(rig, url):
    pages = {}
    with Server(pages) as s:
        pages[OAUTH] = metadata(s.base, revocation_endpoint=url)
        done = rig.run_ctl("conn", "discover", s.base, *LOCAL)
        assert "javascript" not in done.out and "ftp:" not in done.out
        if url == 0:  # not said
            assert done.code == 0 and set(yaml.safe_load(done.out)) <= {"token_url", "revoke_url"}
        else:
            assert done.code == 1, done.out + done.err


@pytest.mark.parametrize("what, says", [("html", "no JSON"), ("empty", "no token_endpoint"), ("404", "publishes nothing"),
                                        ("302", "publishes nothing"), ("big", "is over 262144 bytes")])
def test_what_is_no_metadata(rig, what, says):
    pages = {}
    with Server(pages) as s:
        pages[OAUTH] = {"html": (200, "<html>"), "empty": (200, json.dumps({"issuer": s.base})), "404": (404, ""),
                        "302": (302, "https://another.example/"), "big": (200, "x" * (1 << 20))}[what]
        done = rig.run_ctl("conn", "discover", s.base, *LOCAL)
        assert done.code in (1, 3) and done.out == "", done.out
        assert says in done.err, done.err


def test_a_page_for_people_is_no_metadata(rig):
    """The other place is asked, then."""
    pages = {}
    with Server(pages) as s:
        pages[OAUTH] = (200, "<html>all our pages answer 200</html>")
        pages[OPENID] = metadata(s.base)
        assert "token_url" in rig.ctl("conn", "discover", s.base, *LOCAL).out


def test_it_is_https_and_public_unless_told(rig):
    with Server({}) as s:
        assert "https" in rig.run_ctl("conn", "discover", s.base).err
        done = rig.run_ctl("conn", "discover", s.base, "--insecure-http")
        assert done.code != 0 and "--allow-private lets it be reached" in done.err and s.asked == []
        assert rig.run_ctl("conn", "discover", "https://a.example/?x=1").code == 2


# ---- introspection (RFC 7662): conn test asks the server of the token ----

def introspected(rig, **more):
    auth, _ = rig.use_peers()
    rig.worker()
    rig.apply({**rig.conn("crm", client="basic", auth="basic"), "introspect_url": f"{auth.base}/token/introspection", **more})
    wait_until(lambda: rig.ctl("conn", "show", "crm", "-o", "json").json()["state"] == "FRESH", 15, "a token")
    return auth


def test_what_the_server_says_of_the_token(rig):
    auth = introspected(rig)
    assert "active, scope read write" in rig.ctl("conn", "test", "crm").out
    auth.expire(client_id="basic")
    done = rig.ctl("conn", "test", "crm", code=1)
    assert "is not active" in done.out and "conn refresh asks for another" in " ".join(done.out.split())
    assert auth.counters()["introspection"] == 2


@pytest.mark.parametrize("fault, says", [
    ({"status": 403}, "does not let this client ask (403)"), ({"status": 401, "body": {"error": "invalid_client"}}, "(401)"),
    ({"status": 200, "body": "<html>"}, "without a word on `active`"), ({"status": 200, "body": {"active": "yes"}}, "without a word"),
    ({"drop": "before"}, "the introspection endpoint: "),
])
def test_a_server_that_says_nothing_of_it(rig, fault, says):
    """It is a warning: the token may be good."""
    auth = introspected(rig)
    auth.faults({"on": "introspection", "count": -1, **fault})
    done = rig.ctl("conn", "test", "crm")
    assert says in done.out and "warn" in done.out, done.out


# ---- registration (RFC 7591) ----

def register(rig, url, *args, code=0, name="our app"):
    return rig.ctl("conn", "register", url, "--name", name, "--secret-file", rig.folder / "client.secret", *LOCAL, *args, code=code)


@pytest.mark.parametrize("auth", ["basic", "post", "client_secret_jwt", "none"])
def test_a_registered_client_is_linked_and_used(rig, auth):
    """From the server's address to a call in someone's name, with nothing else known of it."""
    server, _ = rig.use_peers()
    rig.use_redis()
    rig.worker()
    found = yaml.safe_load(rig.ctl("conn", "discover", server.base, *LOCAL).out)
    client = yaml.safe_load(register(rig, f"{server.base}/reg", "--auth", auth).out)["client"]
    assert client["auth"] == auth and ("secret" in client) == (auth != "none")
    if auth != "none":
        assert (rig.folder / "client.secret").stat().st_mode & 0o777 == 0o600
        assert (rig.folder / "client.secret").read_text() not in str(client)
    del found["device_url"], found["par_url"]
    conn = {**rig.conn("crm", "authorization_code"), **found, "client": client}
    rig.apply(conn)
    link = Link(rig)
    link.browse()
    assert link.end()[0] == 0
    assert rig.result(rig.job("crm", "/echo"))["state"] == "done"


@pytest.mark.parametrize("answer, says", [
    ((400, {"error": "invalid_redirect_uri"}), "it answered 400: invalid_redirect_uri"), ((201, {}), "no client_id"),
    ((201, {"client_id": "x"}), "no client_secret"), ((500, "<html>"), "it answered 500"), ((403, {"error": "\x1b[2J"}), "it answered 403"),
    ((201, {"client_id": "x", "token_endpoint_auth_method": "private_key_jwt"}), "shows who it is by another way"),
])
def test_a_registration_that_fails_leaves_nothing(rig, answer, says):
    rig.need(keys=True)
    status, body = answer
    with Server({"/reg": (status, body if isinstance(body, str) else json.dumps(body))}) as s:
        done = register(rig, s.base + "/reg", code=1)
    assert says in done.err and "\x1b" not in done.err, done.err
    assert not list(rig.folder.glob("client.secret*"))


def test_a_registration_keeps_what_is_there(rig):
    """Files are made before the server is asked; an initial token goes along, and is not shown."""
    rig.need(keys=True)
    token = rig.folder / "initial"
    token.write_text("initial-token")
    token.chmod(0o600)
    with Server({"/reg": (201, json.dumps({"client_id": "x", "client_secret": "s3cret", "client_secret_expires_at": 2000000000}))}) as s:
        done = register(rig, s.base + "/reg", "--initial-token-file", token)
        assert "s3cret" not in done.out + done.err and "good until 2000000000" in done.out
        assert s.asked[-1].headers["authorization"] == "Bearer initial-token"
        assert (rig.folder / "client.secret").read_text() == "s3cret"
        done = register(rig, s.base + "/reg", code=1)
        assert "File exists" in done.err and len(s.asked) == 1, "it is not asked for a secret that has no place"
    rig.ctl("conn", "register", "https://x.example/", code=2)
    register(rig, "https://x.example/", "--auth", "private_key_jwt", code=2)


def test_conn_test_compares_with_what_is_published(rig):
    """The server has moved, or the file is wrong: it is said where the two differ."""
    server, _ = rig.use_peers()
    rig.use_redis()
    conn = rig.conn("crm", "authorization_code", "basic", "basic", authorize_url=f"{server.base}/auth", issuer=server.base)
    rig.apply(conn)
    assert f"{server.base} publishes the same addresses" in rig.run_ctl("conn", "test", "crm").out
    rig.apply({**conn, "token_url": f"{server.base}/old/token"})
    said = rig.run_ctl("conn", "test", "crm").out
    assert f"token_url is {server.base}/old/token, and its issuer publishes {server.base}/token" in said
    assert "conn discover prints its addresses" in said


@pytest.mark.parametrize("page, says", [((404, ""), None), ((200, '{"issuer": "https://another.example", "token_endpoint": "https://x.example/"}'), "another issuer")])
def test_conn_test_where_nothing_or_nonsense_is_published(rig, page, says):
    rig.use_peers()
    rig.use_redis()
    with Server({OAUTH: page, OPENID: page}) as s:
        rig.apply(rig.conn("crm", "authorization_code", "basic", "basic", authorize_url=f"{rig.auth.base}/auth", issuer=s.base))
        said = rig.run_ctl("conn", "test", "crm").out
        assert ("discovery" in said) == bool(says) and (says or "") in said
