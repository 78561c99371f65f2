"""Servers that keep the standards in a spelling of their own; and what is tried with redirects."""
import http.server
import threading
import urllib.error
import urllib.request

import pytest

from procs import wait_until
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


class Front:
    """Before the server: its endpoints at addresses with doubled slashes and queries, to the letter; or a redirect."""

    def __init__(self, places, base, to=None):
        asked = self.asked = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                path = self.requestline.split()[1]  # self.path has its slashes tidied
                asked.append(path)
                body = self.rfile.read(int(self.headers["content-length"] or 0))
                if to:
                    return self.answer(307, b"", {"Location": to})
                if path not in places:
                    return self.answer(404, b"")
                rq = urllib.request.Request(base + places[path], body, {k: self.headers[k] for k in (
                    "authorization", "content-type") if self.headers[k]})
                try:
                    with urllib.request.urlopen(rq, timeout=20) as got:
                        return self.answer(got.status, got.read())
                except urllib.error.HTTPError as e:
                    return self.answer(e.code, e.read())

            def answer(self, status, body, headers=None):
                self.send_response(status)
                for k, v in {"Content-Type": "application/json", "Content-Length": len(body), **(headers or {})}.items():
                    self.send_header(k, str(v))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()


def test_addresses_are_used_to_the_letter(rig):
    """Doubled slashes, a trailing one, a query, capitals: as they were published."""
    rig.use_redis()
    server, _ = rig.use_peers()
    rig.worker()
    for place in ("//oauth2//token", "/token/", "/Token?api-version=1.0&x=%2f", "/a;b=c/token"):
        with Front({place: "/token"}, server.base) as front:
            rig.apply(rig.conn("crm", token_url=front.base + place), code=0)
            rig.ctl("conn", "refresh", "crm")
            assert set(front.asked) == {place}


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
    with Front({}, "", to=f"{rig.auth.base}/token") as front:
        before = len(rig.auth.log())
        rig.worker()
        rig.apply(rig.conn("other", token_url=front.base + "/token"))
        shown = lambda: rig.ctl("conn", "show", "other", "-o", "json").json()
        wait_until(lambda: shown()["state"] == "BACKOFF", 10, "its failure")
        assert front.asked and shown()["why"] == "http_307"
        assert len(rig.auth.log()) == before, "where it pointed to got nothing"
