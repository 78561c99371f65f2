"""conn link: the account's owner is asked in a browser, as far as a cookie jar is one."""
import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request

import pytest

from between import script_sha
from procs import wait_until


class Link:
    """An `awq-ctl conn link` that runs until it is answered."""

    def __init__(self, rig, *args, paste=False, env=None):
        self.rig = rig
        self.process = rig.start_ctl("conn", "link", "crm", *args, **({"env": env} if env else {}))
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http"), self.process.stderr.read()
        self.query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.url).query))
        self.back = self.query.get("redirect_uri")  # pushed, it is not there

    def browse(self, who="alice"):
        """Where the owner's browser ends, and with what page."""
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        return self.visit(f"{self.url}&login_hint={who}", jar)

    def visit(self, url, *handlers):
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers).open(url, timeout=20) as answer:
                return answer.url, answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            return e.url, e.code, e.read().decode()

    def end(self, text=None):
        out, err = self.process.communicate(text, timeout=30)
        return self.process.returncode, out, err


def owned(rig, **more):
    """A connection that waits for its owner."""
    rig.need()
    auth, _ = rig.use_peers()
    conn = rig.conn("crm", "authorization_code", "basic", "basic", authorize_url=f"{auth.base}/auth",
                    issuer=auth.base, **more)
    said = rig.apply(conn).out
    assert "awq-ctl conn link crm" in said
    return conn


def state(rig):
    return rig.ctl("conn", "show", "crm", "-o", "json").json()


def codes_used(rig):
    grants = [e for e in rig.auth.log() if e["grant"] == "authorization_code"]
    return len(grants)


def test_from_apply_to_a_call(rig):
    conn = owned(rig)
    rig.worker()
    rig.enqueue(rig.job("crm", "/echo", job_id="waits"))
    wait_until(lambda: rig.redis.client.zcard(rig.key("park:conn:crm")), 15, "the job to wait for a consent")
    assert (state(rig)["state"], state(rig)["why"]) == ("NEEDS_CONSENT", "not_linked")
    assert "(not_linked: its owner was not asked yet)" in rig.ctl("conn", "refresh", "crm", code=1).err
    assert "needs consent: not_linked: its owner was not asked yet" in rig.ctl("conn", "test", "crm", code=1).out
    link = Link(rig)
    assert link.query["code_challenge_method"] == "S256" and link.back.startswith("http://127.0.0.1:")
    _, status, page = link.browse()
    assert status == 200 and "close this page" in page
    code, out, err = link.end()
    assert code == 0, out + err
    assert "linked (its owner said yes)" in out
    assert rig.results(["waits"])["waits"][-1]["state"] == "done"
    assert codes_used(rig) == 1
    # the same file again keeps the grant; renewal goes on by the refresh token
    assert "unchanged" in rig.apply(conn).out
    rig.ctl("conn", "refresh", "crm")
    assert state(rig)["version"] >= 2 and state(rig)["state"] == "FRESH"


def test_explain_says_what_is_sent(rig):
    """Word for word what goes out, but for what is secret or new each time."""
    owned(rig)
    said = {r["what"].split(" (")[0]: r for r in rig.ctl("conn", "explain", "crm", "-o", "json").json()}
    asked = said["the owner is asked"]
    link = Link(rig)
    made = link.url
    for key, word in (("state", "STATE"), ("code_challenge", "CHALLENGE")):
        made = made.replace(f"{key}={link.query[key]}", f"{key}={word}")
    port = urllib.parse.urlsplit(link.back).port
    assert made.replace(f"%3A{port}%2Fcallback", "%3APORT%2Fcallback") == asked["url"]
    exchange = said["the code is exchanged"]
    assert (exchange["method"], exchange["url"]) == ("POST", rig.auth.token_url)
    assert exchange["authorization"] == "Basic base64(basic:CLIENT_SECRET)"
    assert exchange["body"] == "grant_type=authorization_code&code=CODE&redirect_uri=http%3A%2F%2F127.0.0.1%3APORT%2Fcallback" \
        "&code_verifier=VERIFIER"
    assert said["the access token is renewed"]["body"] == "grant_type=refresh_token&refresh_token=REFRESH_TOKEN"
    assert said["a call, e.g."]["authorization"] == "Bearer ACCESS_TOKEN"
    text = rig.ctl("conn", "explain", "crm").out
    assert "basic-secret" not in text and f"POST {rig.auth.token_url}" in text
    assert "conn link asks its owner" in rig.ctl("conn", "test", "crm", code=1).out


def test_linked_again_keeps_settings(rig):
    owned(rig, limits={"concurrency": 3})
    for who in ("alice", "bob"):
        link = Link(rig)
        link.browse(who)
        assert link.end()[0] == 0
    assert state(rig)["settings"]["concurrency"] == 3 and state(rig)["settings"]["grant"] == "authorization_code"


def test_the_owner_says_no(rig):
    owned(rig)
    link = Link(rig)
    _, status, page = link.browse("deny")
    assert status == 400 and "Nothing was stored" in page
    code, out, err = link.end()
    assert code == 1 and "the owner said no (access_denied)" in err
    assert not state(rig)["has_refresh_token"] and codes_used(rig) == 0


def test_csrf(rig):
    """Somebody else's code, with a state of his own or none, ends nothing and is not used."""
    owned(rig)
    link = Link(rig)
    for query in ("code=evil&state=evil", "code=evil", "error=access_denied&state=evil", f"code=evil&state=evil&state={link.query['state']}"):
        _, status, _ = link.visit(f"{link.back}?{query}&iss={rig.auth.base}")
        assert status == 400
    assert link.process.poll() is None and codes_used(rig) == 0
    link.browse()
    code, out, err = link.end()
    assert code == 0 and err.count("another state") == 3


def test_mix_up(rig):
    """The right state, from another authorization server."""
    owned(rig)
    link = Link(rig)
    query = urllib.parse.urlencode({"code": "x", "state": link.query["state"], "iss": "https://evil.example"})
    assert link.visit(f"{link.back}?{query}")[1] == 400
    code, _, err = link.end()
    assert code == 1 and "another authorization server" in err and codes_used(rig) == 0


def test_code_injection(rig):
    """A code that was given for another question: the server finds that the verifier does not fit it."""
    owned(rig)
    first, second = Link(rig, "--no-listen"), Link(rig)
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())

    class Stop(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, req, fp, code, msg, headers, newurl):
            if newurl.startswith(first.back):
                raise StopIteration(newurl)
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    with pytest.raises(StopIteration) as stopped:
        first.visit(f"{first.url}&login_hint=mallory", jar, Stop())
    stolen = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(str(stopped.value)).query))
    query = urllib.parse.urlencode({**stolen, "state": second.query["state"]})
    second.visit(f"{second.back}?{query}")
    code, _, err = second.end()
    assert code == 1 and "invalid_grant" in err and stolen["code"] not in err
    assert not state(rig)["has_refresh_token"]
    first.process.kill()
    first.end()


def test_an_answer_is_taken_once(rig):
    """The redirect is opened a second time, from the browser's history: nothing happens."""
    owned(rig)
    rig.auth.faults({"on": "token", "delay_ms": 1500})
    link = Link(rig)
    where, _, _ = link.browse()
    assert link.visit(where)[1] in (200, 410)
    assert link.end()[0] == 0 and codes_used(rig) == 1


def answered_elsewhere(link):
    """Where the browser ends that cannot show it: the address that is to be pasted."""
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    with pytest.raises(urllib.error.URLError):
        link.visit(f"{link.url}&login_hint=alice", jar, _Remember())
    return _Remember.last


def test_pasted(rig):
    owned(rig)
    link = Link(rig, "--no-listen")
    code, out, err = link.end(answered_elsewhere(link) + "\n")
    assert code == 0, err
    assert state(rig)["has_refresh_token"]


def test_the_question_is_no_answer(rig):
    """Its own address is pasted, and then the right one as a shell would have it."""
    owned(rig)
    link = Link(rig, "--no-listen")
    code, out, err = link.end(f"{link.url}\n'{answered_elsewhere(link)}'\n")
    assert code == 0 and "linked" in out and err.count("the address of the question") == 1, err


def test_a_server_says_what_it_does_not_like(rig):
    """Its description goes to the terminal, and nothing that was sent with the request."""
    owned(rig)
    says = {"error": "invalid_request", "error_description": "Missing parameter: tenant"}
    rig.auth.faults({"on": "token", "status": 400, "body": says})
    link = Link(rig)
    link.browse()
    code, _, err = link.end()
    assert code != 0 and "the server says of that: Missing parameter: tenant" in err, err
    rig.auth.faults({"on": "token", "status": 400, "body": {**says, "error_description": "not basic-secret"}})
    link = Link(rig)
    link.browse()
    code, _, err = link.end()
    assert code != 0 and "invalid_request" in err and "basic-secret" not in err and "says of that" not in err, err


def test_no_owner_is_asked_for_a_client_without_its_secret(rig):
    """Revoking took it: said before anybody has said yes."""
    conn = owned(rig)
    rig.ctl("conn", "revoke", "crm", "--reason", "leaked")
    done = rig.ctl("conn", "link", "crm", "--no-browser", "--timeout", "5s", code=1)
    assert "no client secret or key is stored; apply its file, then conn link" in done.err and done.out == ""
    rig.apply(conn)
    link = Link(rig)
    link.browse()
    assert link.end()[0] == 0


def test_a_bad_paste_ends_nothing(rig):
    """An empty line, the code alone, another's address: said, and asked again. The owner is not."""
    owned(rig)
    link = Link(rig, "--no-listen")
    good = answered_elsewhere(link)
    code, out, err = link.end("\n".join(["", good.split("code=")[1].split("&")[0],
                                         "http://127.0.0.1:1/callback?code=x&state=y", good, ""]))
    assert code == 0 and "linked" in out, err
    assert err.count("paste the whole one") == 2 and err.count("another question") == 1, err


@pytest.mark.parametrize("what", ["revoke", "rm", "link"])
def test_what_happened_while_its_owner_was_asked_is_not_undone(rig, what):
    """An emergency stop is not undone by a question that was asked before it."""
    conn = owned(rig)
    first = Link(rig)
    first.browse()
    assert first.end()[0] == 0
    asked = Link(rig)
    if what == "revoke":
        rig.ctl("conn", "revoke", "crm", "--reason", "leaked")
    elif what == "rm":
        rig.ctl("conn", "rm", "crm")
        rig.apply(conn)
    else:
        other = Link(rig)
        other.browse("bob")
        assert other.end()[0] == 0
    before = state(rig)
    asked.browse()
    code, _, err = asked.end()
    assert code == 1 and "it was revoked, removed or linked while its owner was asked; nothing was stored" in err, err
    assert [state(rig)[k] for k in ("generation", "state")] == [before[k] for k in ("generation", "state")]


def test_a_secret_applied_while_its_owner_was_asked_stays(rig):
    conn = owned(rig)
    link = Link(rig)
    path = rig.folder / "crm.secret"
    was = path.read_text()
    path.write_text("the-next-one")
    assert "settings written" in rig.apply(conn).out
    path.write_text(was)  # the server still takes the old one; the question was asked with it
    link.browse()
    assert link.end()[0] == 0
    path.write_text("the-next-one")
    assert "unchanged" in rig.apply(conn).out


def test_strangers_do_not_fill_the_terminal(rig):
    owned(rig)
    link = Link(rig)
    for n in range(9):
        assert link.visit(f"{link.back}?state=x{n}&code=y")[1] == 400
    link.browse()
    code, _, err = link.end()
    assert code == 0 and err.count("opened the callback with another state") == 3, err


@pytest.mark.parametrize("host", ["same", "other"])
def test_mix_up_where_no_issuer_is_set(rig, host):
    """An answer that says it is another server's than the one that was asked is refused, and the setting named."""
    conn = owned(rig)
    del conn["issuer"]
    if host == "other":
        conn["authorize_url"] = conn["authorize_url"].replace("127.0.0.1", "localhost")
    rig.apply(conn)
    link = Link(rig)
    if host == "same":
        link.browse()
        assert link.end()[0] == 0
        return
    link.visit(f"{link.back}?state={link.query['state']}&code=x&iss=https%3A%2F%2Fevil.example")
    code, _, err = link.end()
    assert code == 1 and "https://evil.example (iss)" in err and "as issuer" in err and codes_used(rig) == 0, err


def test_the_time_for_a_paste_is_over(rig):
    owned(rig)
    link = Link(rig, "--no-listen", "--timeout", "1s")
    assert link.process.wait(timeout=20) == 1  # standard input stays open
    assert "nobody answered in time" in link.process.stderr.read()


class _Remember(urllib.request.HTTPRedirectHandler):
    last = ""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _Remember.last = newurl
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def test_nobody_answers(rig):
    owned(rig)
    link = Link(rig, "--timeout", "1s")
    code, _, err = link.end()
    assert code == 1 and "nobody answered in time" in err
    assert "redirect URI at the provider must be http://127.0.0.1/callback, with any port" in err
    assert "the browser shows an error of the provider" in err


def test_a_redirect_uri_of_the_file_is_named(rig):
    """Providers show what is wrong with it to the owner only."""
    owned(rig, redirect_uri="https://ours.example/back")
    link = Link(rig, "--timeout", "1s")
    code, _, err = link.end()
    assert code == 1 and "must be https://ours.example/back to the letter" in err, err


def test_settings_changed_meanwhile(rig):
    conn = owned(rig)
    link = Link(rig)
    rig.apply({**conn, "scopes": ["read"]})
    link.browse()
    code, _, err = link.end()
    assert code == 1 and "its settings were changed" in err
    assert not state(rig)["has_refresh_token"]


def test_no_refresh_token(rig):
    owned(rig)
    rig.auth.faults({"on": "token", "mutate": {"omit": ["refresh_token"]}})
    link = Link(rig)
    link.browse()
    code, _, err = link.end()
    assert code == 1 and "offline_access" in err


def test_other_grants_and_bad_files(rig):
    rig.use_peers()
    rig.apply(rig.conn("crm"))
    assert "nobody is asked" in rig.ctl("conn", "link", "crm", code=1).err
    rig.ctl("conn", "link", "nobody", code=3)
    bad = rig.conn("x", "authorization_code", "basic", "basic")
    assert "authorize_url is missing" in rig.apply(bad, code=1).err
    assert "no use" in rig.apply(rig.conn("x", authorize_url="https://login.example/a"), code=1).err
    assert "https" in rig.apply({**bad, "authorize_url": "ftp://x/"}, code=1).err


def test_a_code_goes_to_no_private_address(rig):
    """Nor with it the client's secret: the settings do not allow where the token endpoint is."""
    owned(rig, policy={"allow_private": False})
    link = Link(rig)
    link.browse()
    code, _, err = link.end()
    assert code == 1 and "was not linked" in err and "private" in err, err
    assert codes_used(rig) == 0


# ---- pushed authorization requests (RFC 9126) ----

def pushed(rig, client="basic", auth="basic", **more):
    rig.use_redis()
    server, _ = rig.use_peers()
    server.control("POST", "reset")
    conn = rig.conn("crm", "authorization_code", client, auth, authorize_url=f"{server.base}/auth", issuer=server.base,
                    par_url=f"{server.base}/request", **more)
    rig.apply(conn)
    return server


@pytest.mark.parametrize("client, auth", [("par", "basic"), ("basic", "basic"), ("post", "post")])
def test_a_pushed_question(rig, client, auth):
    """`par` is a client that the server answers no other way. The browser sees nothing but a reference."""
    server = pushed(rig, client, auth)
    link = Link(rig)
    assert set(link.query) == {"client_id", "request_uri"}, link.url
    link.browse()
    code, out, err = link.end()
    assert code == 0, out + err
    assert server.counters()["par"] == 1 and state(rig)["has_refresh_token"]


def test_a_question_that_cannot_be_pushed_is_not_asked(rig):
    """No way back to the open one: the server, or somebody between, would choose it."""
    server = pushed(rig)
    server.faults({"on": "par", "status": 400, "count": 1, "body": {"error": "invalid_request"}})
    process = rig.start_ctl("conn", "link", "crm")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and out == "" and "invalid_request" in err, out + err


# ---- resource indicators (RFC 8707) ----

def test_a_resource_goes_with_each_request(rig):
    wanted = "https://api.test/v1"
    server, _ = rig.use_peers()
    server.control("POST", "reset")
    owned(rig, resource=[wanted])
    link = Link(rig)
    assert link.query["resource"] == wanted
    link.browse()
    code, out, err = link.end()
    assert code == 0, out + err
    rig.worker()
    rig.ctl("conn", "refresh", "crm")
    asked = [(e["grant"], e.get("resource")) for e in server.log()]
    assert ("authorization_code", wanted) in asked and ("refresh_token", wanted) in asked, asked


def test_a_resource_of_client_credentials(rig):
    server, _ = rig.use_peers()
    server.control("POST", "reset")
    rig.worker()
    rig.apply(rig.conn("acct", resource=["https://api.test/v1"]))
    rig.ctl("conn", "refresh", "acct")
    assert [e.get("resource") for e in server.log()][-1] == "https://api.test/v1"
    rig.apply(rig.conn("other", resource=["https://nobody.test/"]))
    wait_until(lambda: rig.ctl("conn", "show", "other", "-o", "json").json()["state"] == "BACKOFF", 15, "its refusal")
    assert "invalid_target" in rig.ctl("conn", "test", "other", code=1).out


@pytest.mark.parametrize("wrong, says", [
    ({"resource": ["/v1"]}, "must be an absolute URI"), ({"resource": ["https://a/#b"]}, "must be an absolute URI"),
    ({"par_url": "https://a.example/par"}, "par_url has no use with this grant"),
    ({"revoke_url": "ftp://a.example"}, "revoke_url must begin with https://"),
])
def test_settings_around_it_that_cannot_be(rig, wrong, says):
    assert says in rig.apply({**rig.conn("acct"), **wrong}, code=1).err


# ---- a browser that is opened here -------------------------------------------------------------------------------

def a_browser(rig):
    """A command that writes down what it was told to open."""
    path, seen = rig.folder / "browser", rig.folder / "opened"
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {seen}.new && mv {seen}.new {seen}\n')
    path.chmod(0o755)
    return {"BROWSER": str(path)}, seen


def test_a_browser_is_opened(rig):
    """It is told an address of ours: the provider's, with the state in it, is in no process list."""
    owned(rig)
    env, seen = a_browser(rig)
    link = Link(rig, env=env)
    wait_until(seen.exists, 10, "the browser")
    told = seen.read_text().strip()
    assert told == link.back.replace("/callback", "/start") and link.query["state"] not in told
    jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())

    class NoFollowing(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    assert link.visit(told, NoFollowing)[1] == 302
    _, status, page = link.visit(told, jar)
    assert status == 410 and "If that was not you" in page, "who comes second notices"
    link.browse()
    assert link.end()[0] == 0


def test_no_browser_is_opened(rig):
    owned(rig)
    env, seen = a_browser(rig)
    for more in (["--no-browser"], ["--no-listen"]):
        link = Link(rig, *more, env=env)
        if more == ["--no-browser"]:
            link.browse()
            assert link.end()[0] == 0
        else:
            link.process.communicate("nothing\n", timeout=30)
        assert not seen.exists()


# ---- Redis is away when its owner says yes -----------------------------------------------------------------------

def until_said(link, words):
    """What it wrote until then."""
    said = ""
    while words not in said:
        line = link.process.stderr.readline()
        assert line, said
        said += line
    return said


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_the_code_is_kept_until_redis_is_there(rig, how):
    redis = rig.use_redis(aof="always")
    owned(rig)
    link = Link(rig)
    redis.end_cleanly() if how == "stopped" else redis.stop()
    assert link.browse()[1] == 200
    until_said(link, "the code is kept until Redis is there")
    assert codes_used(rig) == 0
    redis.start() if how == "stopped" else redis.cont()
    code, out, err = link.end()
    assert code == 0 and "linked (its owner said yes)" in out, out + err
    assert state(rig)["state"] == "FRESH" and codes_used(rig) == 1


def test_redis_does_not_come_back_and_the_code_is_not_used(rig):
    redis = rig.use_redis(aof="always")
    owned(rig)
    link = Link(rig, "--timeout", "3s")
    redis.end_cleanly()
    link.browse()
    code, _, err = link.end()
    assert code == 5 and "was not linked: the owner said yes, and the code was not used: " in err, err
    assert codes_used(rig) == 0
    redis.start()


def gone_at_the_exchange(rig, *args, who="alice", **more):
    """The code is exchanged, and there is no Redis for what came."""
    redis = rig.use_redis(aof="always")
    owned(rig, **more)
    return redis, exchange_without(rig, redis, *args, who=who)


def exchange_without(rig, redis, *args, who="alice"):
    before = codes_used(rig)
    rig.auth.faults({"on": "token", "delay_ms": 1500})
    link = Link(rig, *args)
    link.browse(who)
    wait_until(lambda: codes_used(rig) > before, 10, "the code to be exchanged")
    redis.end_cleanly()
    return link


def test_what_came_is_stored_when_redis_comes_back(rig):
    redis, link = gone_at_the_exchange(rig)
    until_said(link, "it is not stored yet")
    redis.start()
    code, out, err = link.end()
    assert code == 0 and "linked (its owner said yes)" in out, out + err
    assert state(rig)["state"] == "FRESH" and codes_used(rig) == 1


@pytest.mark.parametrize("told", [True, False], ids=["revoke_url", "no revoke_url"])
def test_what_cannot_be_stored_is_revoked(rig, told):
    """And said: its owner said yes, and will be asked again."""
    auth, _ = rig.use_peers()
    auth.control("POST", "reset")
    who, more = ("dora", {"revoke_url": f"{auth.base}/token/revocation"}) if told else ("emma", {})
    redis, link = gone_at_the_exchange(rig, "--timeout", "4s", who=who, **more)
    code, out, err = link.end()
    assert code == 5 and out == "" and "was not linked: the owner said yes, but it could not be stored: " in err, out + err
    if told:
        assert "the tokens were revoked at the provider; run conn link again" in err, err
    else:
        assert "could not be revoked at the provider (its settings have no revoke_url)" in err and "run conn link again" in err, err
    assert auth.counters()["revocation"] == (2 if told else 0)
    assert (auth.revoke(account=who) == 0) == told
    redis.start()
    assert (state(rig)["why"], state(rig)["has_refresh_token"]) == ("not_linked", False)


def test_a_grant_that_it_has_is_not_put_at_risk(rig):
    """Many providers end all of an account's tokens when one is revoked."""
    auth, _ = rig.use_peers()
    auth.control("POST", "reset")
    redis = rig.use_redis(aof="always")
    owned(rig, revoke_url=f"{auth.base}/token/revocation")
    first = Link(rig)
    first.browse()
    assert first.end()[0] == 0
    link = exchange_without(rig, redis, "--timeout", "4s")
    code, _, err = link.end()
    assert code == 5 and "the tokens were not revoked at the provider" in err, err
    assert auth.counters()["revocation"] == 0
    redis.start()
    rig.worker()
    rig.ctl("conn", "refresh", "crm")


@pytest.mark.parametrize("back", [True, False], ids=["once", "and redis is gone"])
def test_the_answer_to_the_write_is_lost(rig, back):
    """It was done: that is found, or said to be possible, and nothing is revoked."""
    auth, _ = rig.use_peers()
    auth.control("POST", "reset")
    redis = rig.use_redis(aof="always")
    owned(rig, revoke_url=f"{auth.base}/token/revocation")
    b = rig.between()
    link = Link(rig, "--timeout", "5s", env={"AWQ_REDIS_URL": b.url})
    b.swallow(script_sha("apply"))
    link.browse()
    wait_until(lambda: b.swallowed, 10, "the write")
    if not back:
        redis.end_cleanly()
    code, out, err = link.end()
    if back:
        assert code == 0 and "linked (its owner said yes)" in out, out + err
    else:
        assert code == 5 and "it may have been stored all the same: look at conn show crm" in err, err
        redis.start()
    assert state(rig)["state"] == "FRESH" and auth.counters()["revocation"] == 0
    rig.worker()
    rig.ctl("conn", "refresh", "crm")
