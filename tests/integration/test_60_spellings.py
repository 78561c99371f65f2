"""Servers that keep the standards in a spelling of their own; and what is tried with redirects."""
import urllib.error
import urllib.request

import pytest

from procs import wait_until
from smallserver import SmallServer
from test_50_consent import Link, codes_used, owned, state


def linked(rig, **fault):
    """A client_credentials connection to a server that answers so from now on."""
    rig.use_redis()
    server, _ = rig.use_peers()
    rig.worker()
    if fault:
        server.faults({"on": "token", "count": -1, **fault})
    rig.apply(rig.conn("crm"))
    return server


def works(rig):
    wait_until(lambda: state(rig)["state"] == "FRESH", 10, "a token")
    assert rig.result(rig.job("crm", "/echo"))["state"] == "done"


def hours_left(rig):
    exp, born = rig.redis.client.hmget("awq:{c:crm}", "exp", "born")
    return round((int(exp) - int(born)) / 3600000, 2)


@pytest.mark.parametrize("spelling, hours", [
    ({"set": {"token_type": "bearer"}}, 1),
    ({"set": {"token_type": "BEARER"}}, 1),
    ({"omit": ["token_type"]}, 1),
    ({"omit": ["scope"]}, 1),
    ({"omit": ["expires_in"]}, 1),
    ({"set": {"expires_in": "7200"}}, 2),
    ({"set": {"expires_in": 7200.0}}, 2),
    ({"set": {"refresh_token": None, "error": None, "id_token": {"odd": [1]}, "example_parameter": "x"}}, 1),
    ({"content_type": "text/plain", "as_text": True}, 1),
    ({"status": 201}, 1),
])
def test_a_good_answer(rig, spelling, hours):
    linked(rig, mutate=spelling)
    works(rig)
    assert hours_left(rig) == hours


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refused_client_has_any_status(rig, status):
    """It is no account's fault: it is tried again, says what to mend, and goes on once that is mended."""
    server = linked(rig, status=status, body={"error": "invalid_client"})
    wait_until(lambda: state(rig)["state"] == "BACKOFF", 10, "its refusal")
    assert state(rig)["why"] == "invalid_client"
    assert f"answered {status} with error invalid_client" in rig.ctl("conn", "test", "crm", code=1).out
    server.clear_faults()
    rig.apply(rig.conn("crm"))
    works(rig)


@pytest.mark.parametrize("status, body", [(400, ""), (401, ""), (403, ""), (400, "<html>no</html>"), (400, "{}"),
                                          (400, '"invalid_grant"'), (400, '{"error":""}'), (500, ""), (502, "<html>")])
def test_an_error_without_a_word_ends_no_grant(rig, status, body):
    """Only a server that says so has judged the refresh token."""
    rig.use_redis()
    server, _ = rig.use_peers()
    rig.worker()
    rig.apply(rig.conn("crm", "refresh_token", "basic", "basic"), refresh_token=server.mint("alice")["refresh_token"])
    works(rig)
    server.faults({"on": "token", "count": -1, "status": status, "body": body})
    rig.run_ctl("conn", "refresh", "crm", "--timeout", "10s")
    shown = state(rig)
    assert shown["state"] == "BACKOFF" and shown["last_failure"], shown
    assert rig.result(rig.job("crm", "/echo"))["state"] == "done", "the token is good still"
    server.clear_faults()
    rig.apply(rig.conn("crm", "refresh_token", "basic", "basic"))
    wait_until(lambda: state(rig)["state"] == "FRESH" and state(rig)["version"] > 1, 10, "a renewal")


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_grant_has_any_status(rig, status):
    rig.use_redis()
    server, _ = rig.use_peers()
    rig.worker()
    rig.apply(rig.conn("crm", "refresh_token", "basic", "basic"), refresh_token=server.mint("alice")["refresh_token"])
    works(rig)
    server.faults({"on": "token", "count": -1, "status": status, "body": {"error": "invalid_grant"}})
    rig.run_ctl("conn", "refresh", "crm", "--timeout", "10s")
    assert (state(rig)["state"], state(rig)["why"]) == ("NEEDS_CONSENT", "invalid_grant")


def front(places, base, to=None):
    """Before the server: its endpoints at addresses with doubled slashes and queries, to the letter; or a redirect."""
    def answer(asked):
        if to:
            return 307, {"Location": to}, b""
        if asked.target not in places:
            return 404, {}, b""
        rq = urllib.request.Request(base + places[asked.target], asked.body, {
            k: asked.headers[k] for k in ("authorization", "content-type") if k in asked.headers})
        try:
            with urllib.request.urlopen(rq, timeout=20) as got:
                return got.status, {"Content-Type": "application/json"}, got.read()
        except urllib.error.HTTPError as e:
            return e.code, {"Content-Type": "application/json"}, e.read()
    return SmallServer(answer)


def test_addresses_are_used_to_the_letter(rig):
    """Doubled slashes, a trailing one, a query, capitals: as they were published."""
    rig.use_redis()
    server, _ = rig.use_peers()
    rig.worker()
    for place in ("//oauth2//token", "/token/", "/Token?api-version=1.0&x=%2f", "/a;b=c/token"):
        with front({place: "/token"}, server.base) as f:
            rig.apply(rig.conn("crm", token_url=f.base + place), code=0)
            rig.ctl("conn", "refresh", "crm")
            assert {a.target for a in f.asked} == {place}


# ---- redirects are nobody's to choose ----------------------------------------------------------------------------

def test_open_redirect(rig):
    """Our callback sends nobody anywhere, and says nothing that it was told; a token endpoint cannot send the client's
    secret on (RFC 9700 sections 4.11 and 4.12)."""
    owned(rig)
    link = Link(rig)
    for query in ("next=https://evil.example/", "redirect_uri=https://evil.example/&state=x", "error=x&error_uri=https://evil.example/",
                  "code=x&state=x&return_to=//evil.example"):
        where, status, page = link.visit(f"{link.back}?{query}")
        assert status == 400 and where.startswith("http://127.0.0.1:") and "evil" not in page
    assert link.process.poll() is None and codes_used(rig) == 0
    link.process.kill()
    link.process.communicate()
    with front({}, "", to=f"{rig.auth.base}/token") as f:
        before = len(rig.auth.log())
        rig.worker()
        rig.apply(rig.conn("other", token_url=f.base + "/token"))
        shown = lambda: rig.ctl("conn", "show", "other", "-o", "json").json()
        wait_until(lambda: shown()["state"] == "BACKOFF", 10, "its failure")
        assert f.asked and shown()["why"] == "http_307"
        assert len(rig.auth.log()) == before, "where it pointed to got nothing"
