"""Bad answers of a token endpoint, each through a running worker: what the connection's record says,
that its jobs are parked and not failed, and that they are done once the server behaves again."""
import json
import time
import urllib.parse

from bad import Bad, all_rows
from procs import wait_until
from rawserver import answer

JSON = "application/json"
SECRET = "what-a-server-repeats-of-a-request"


def token(**members):
    """An answer that is a token, but for what the members change; None leaves one out."""
    body = {"access_token": "a-good-token-of-a-kind", "token_type": "Bearer", "expires_in": 3600,
            **members}
    return answer(200, json.dumps({k: v for k, v in body.items() if v != "OMIT"}).encode(),
                  content_type=JSON)


def error(code, status=400, **more):
    return answer(status, json.dumps({"error": code, **more}).encode(), content_type=JSON)


def dropped(link):
    """It was processed; the answer never comes."""
    link.reset()


def text(body, status=200, kind=JSON, **headers):
    return answer(status, body if isinstance(body, bytes) else body.encode(), content_type=kind,
                  **headers)


# name: (route, state, why)
BAD = {
    "not-json": (text("hello", kind="text/plain"), "BACKOFF", "not_json"),
    "html": (text("<html>Sign in</html>", kind="text/html; charset=utf-8"), "BACKOFF", "not_json"),
    "html-500": (text("<h1>oops</h1>", 500, "text/html"), "BACKOFF", "http_500"),
    "empty-200": (text(""), "BACKOFF", "empty"),
    "empty-400": (text("", 400), "BACKOFF", "http_400"),
    "empty-401": (text("", 401), "BACKOFF", "http_401"),
    "empty-204": (answer(204), "BACKOFF", "empty"),
    "array": (text("[]"), "BACKOFF", "not_json"),
    "number": (text("1" * 1000), "BACKOFF", "not_json"),
    "cut-json": (text('{"access_token": "abc'), "BACKOFF", "not_json"),
    "two-values": (text('{"access_token":"abcdefgh"} {}'), "BACKOFF", "not_json"),
    "not-utf8": (text(b'{"access_token":"\xff\xfe"}'), "BACKOFF", "not_json"),
    "deep": (text("[" * 100000), "BACKOFF", "not_json"),
    "form-encoded": (text("access_token=abc&token_type=bearer",
                          kind="application/x-www-form-urlencoded"), "BACKOFF", "not_json"),
    "no-access-token": (token(access_token="OMIT"), "BACKOFF", "no_access_token"),
    "token-null": (token(access_token=None), "BACKOFF", "access_token_invalid"),
    "token-number": (token(access_token=7), "BACKOFF", "access_token_invalid"),
    "token-empty": (token(access_token=""), "BACKOFF", "access_token_invalid"),
    "token-list": (token(access_token=["a"]), "BACKOFF", "access_token_invalid"),
    "token-crlf": (token(access_token="abcdefgh\r\nEvil: 1"), "BACKOFF", "access_token_invalid"),
    "token-control": (token(access_token="abcdefgh\x01"), "BACKOFF", "access_token_invalid"),
    "token-nul": (token(access_token="abcdefgh\0"), "BACKOFF", "access_token_invalid"),
    "token-blank": (token(access_token="abc defgh"), "BACKOFF", "access_token_invalid"),
    "token-accent": (token(access_token="\u00e4bcdefgh"), "BACKOFF", "access_token_invalid"),
    "token-100k": (token(access_token="a" * 100000), "BACKOFF", "access_token_invalid"),
    "token-1m": (token(access_token="a" * 1000000), "BACKOFF", "no_answer"),
    "type-mac": (token(token_type="mac"), "BACKOFF", "token_type"),
    "type-number": (token(token_type=1), "BACKOFF", "token_type"),
    "refresh-number": (token(refresh_token=5), "BACKOFF", "refresh_token_invalid"),
    "refresh-control": (token(refresh_token="a\nb"), "BACKOFF", "refresh_token_invalid"),
    "error-in-200": (token(error="server_error"), "BACKOFF", "server_error"),
    "grant-error-in-200": (error("invalid_grant", 200), "NEEDS_CONSENT", "invalid_grant"),
    "grant-refused": (error("invalid_grant"), "NEEDS_CONSENT", "invalid_grant"),
    "grant-refused-500": (error("invalid_grant", 500), "BACKOFF", "invalid_grant"),
    "client-refused": (error("invalid_client", 401), "BACKOFF", "invalid_client"),
    "error-object": (error({"code": "x"}), "BACKOFF", "unnamed_error"),
    "error-of-secret": (error(SECRET + "\n", error_description=SECRET), "BACKOFF", "unnamed_error"),
    "error-long": (error("x" * 5000), "BACKOFF", "unnamed_error"),
    "status-500": (text("{}", 500), "BACKOFF", "http_500"),
    "status-503": (text("{}", 503), "BACKOFF", "http_503"),
    "status-429": (error("slow_down", 429), "BACKOFF", "slow_down"),
    "retry-after": (text("", 429, retry_after="3"), "BACKOFF", "http_429"),
    "retry-after-absurd": (text("", 503, retry_after="99999999999999999999"), "BACKOFF", "http_503"),
    "retry-after-year": (text("", 503, retry_after="31536000"), "BACKOFF", "http_503"),
    "redirect": (answer(302, location="/elsewhere"), "BACKOFF", "http_302"),
    "garbage": (lambda k: k.send(b"\x00\x01\x02\r\n\r\n"), "BACKOFF", "no_answer"),
    "cut-short": (lambda k: k.send(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"), "BACKOFF",
                  "no_answer"),
    "dropped": (dropped, "BACKOFF", "no_answer"),
    "slow": (lambda k: k.drip(b"", 0.05, 5), "BACKOFF", "no_answer"),
    "headers": (lambda k: k.flood(b"x-a: b\r\n"), "BACKOFF", "no_answer"),
}
# The same with a refresh token: a lost answer may have used it up. After the lease and its grace the
# owner is asked; until then nothing is sent.
LOST = {
    "lost-dropped": (dropped, "NEEDS_CONSENT", "answer_lost"),
    "lost-cut": (lambda k: k.send(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"),
                 "NEEDS_CONSENT", "answer_lost"),
    "lost-slow": (lambda k: k.drip(b"", 0.05, 5), "NEEDS_CONSENT", "answer_lost"),
    "kept-500": (text("", 500), "BACKOFF", "http_500"),
    "kept-html": (text("<html>", kind="text/html"), "BACKOFF", "not_json"),
    "refused": (error("invalid_grant"), "NEEDS_CONSENT", "invalid_grant"),
}


class Tokens(Bad):
    """A token endpoint per case, /t/CASE, that misbehaves until `behave` has its name."""

    def __init__(self, rig, cases, grant="client_credentials", **settings):
        super().__init__(rig, renew_lease="1s", renew_timeout="400ms", renew_grace="200ms",
                         **settings)
        self.behave = set()
        self.forms = {}
        self.grant = grant
        for name, (route, *_) in cases.items():
            self.server.routes[f"/t/{name}"] = self.until_told(name, route)
            self.relink(name)

    def relink(self, name, refresh="first-refresh-token", **more):
        self.link(name, refresh if self.grant == "refresh_token" else "", grant=self.grant,
                  token_path=f"/t/{name}", **more)

    def until_told(self, name, route):
        def ask(link):
            form = urllib.parse.parse_qs(link.body.decode())
            self.forms.setdefault(name, []).append({k: v[0] for k, v in form.items()})
            return self.give_token(link) if name in self.behave else route(link)
        return ask

    def record(self, name):
        return {k.decode(): v for k, v in
                self.rig.redis.client.hgetall(f"{self.rig.prefix}:{{c:{name}}}").items()}


def is_in(b, name, state, why):
    r = b.record(name)
    return (r["state"].decode(), r.get("why", b"").decode()) == (state, why)


def parked(b, name):
    return b.rig.redis.client.zscore(b.rig.key(f"park:conn:{name}"), f"{name}.0.0") is not None


def check_parked(b, cases):
    """Each in the state and for the reason that its row says, its job parked, nothing ended."""
    end = time.monotonic() + 20
    seen = {}  # a BACKOFF is over in a moment, and comes again
    while set(seen) != set(cases) and time.monotonic() < end:
        for name, (_, state, why) in cases.items():
            if name not in seen and is_in(b, name, state, why) and parked(b, name):
                seen[name] = b.record(name)
        time.sleep(0.01)
    with all_rows() as row:
        for name, (_, state, why) in cases.items():
            r = seen.get(name) or b.record(name)
            row(name, (r["state"].decode(), r.get("why", b"").decode(), name in seen),
                (state, why, True))
            row(name + ": says something", bool(r.get("fm")) or why == "answer_lost", True)
            row(name + ": no token", r.get("at", b""), b"")
            if state == "BACKOFF":
                row(name + ": tries", int(r["tries"]) >= 1, True)
                row(name + ": next is after it", 0 <= int(r["next"]) - int(r["ft"]) <= 87000000, True)
    ended = [r["id"] for r in b.rig.all_results() if not r["id"].startswith("good-")]
    assert ended == [], "parked, not failed"
    return seen


def test_token_answers_that_are_none(rig):
    b = Tokens(rig, BAD).start()
    for name in BAD:
        b.put(b.job(name, conn=name))
    seen = check_parked(b, BAD)
    wait = int(seen["retry-after"]["next"]) - int(seen["retry-after"]["ft"])
    assert 3000 <= wait <= 3000 + 60000, f"waits {wait} ms although 3 s were asked for"
    assert b.server.count("/elsewhere") == 0, "a token endpoint's redirect is not followed"
    called = {r.headers["idempotency-key"] for r in b.server.requests if r.path == "/good"}
    assert len(called) == b.made, "no call was made without a token"
    b.good()  # other connections are not held up
    b.behave = set(BAD)
    for name, (_, state, _) in BAD.items():
        if state == "NEEDS_CONSENT":
            b.relink(name)
    day = int(seen["retry-after-year"]["next"]) - int(seen["retry-after-year"]["ft"])
    assert 86400000 <= day <= 86400000 + 60000, "a year is cut to a day"
    b.relink("retry-after-year")  # what its owner can do meanwhile
    got = b.last_results(BAD, timeout=40)
    with all_rows() as row:
        for name, result in got.items():
            row(name, result["state"], "done")
    for path in rig.folder.glob("worker*.*"):
        assert SECRET not in path.read_text(errors="replace"), path
    for name in BAD:
        assert SECRET.encode() not in b"".join(b.record(name).values()), name
    b.check()


def test_a_refresh_token_whose_answer_was_lost_is_sent_once_more(rig):
    """The one sanctioned replay; its answer is lost as well, and then its owner must link again."""
    b = Tokens(rig, LOST, "refresh_token").start()
    for name in LOST:
        b.put(b.job(name, conn=name))
    check_parked(b, LOST)
    for name, sent in {"lost-dropped": 2, "lost-cut": 2, "lost-slow": 2, "refused": 1}.items():
        assert len(b.forms[name]) == sent, f"{name}: {len(b.forms[name])} token requests"
    b.behave = set(LOST)
    for name, (_, state, _) in LOST.items():
        if state == "NEEDS_CONSENT":
            b.relink(name, refresh="of-the-new-link")
    got = b.last_results(LOST, timeout=40)
    with all_rows() as row:
        for name, (_, state, _) in LOST.items():
            row(name, got[name]["state"], "done")
            row(name + ": sent last", b.forms[name][-1]["refresh_token"],
                "of-the-new-link" if state == "NEEDS_CONSENT" else "first-refresh-token")
    b.check()


DEFAULT_S = 1800
# name: (members of an answer that is odd, and a token all the same; its lifetime in seconds)
ODD = {
    "text": ({"expires_in": "3600"}, 3600),
    "float": ({"expires_in": 3600.9}, 3600),
    "none": ({"expires_in": "OMIT"}, DEFAULT_S),
    "null": ({"expires_in": None}, DEFAULT_S),
    "negative": ({"expires_in": -1}, DEFAULT_S),
    "zero": ({"expires_in": 0}, DEFAULT_S),
    "words": ({"expires_in": "an hour"}, DEFAULT_S),
    "list": ({"expires_in": [3600]}, DEFAULT_S),
    "true": ({"expires_in": True}, DEFAULT_S),
    "absurd": ({"expires_in": 9 * 10**18}, DEFAULT_S),
    "over-64-bits": ({"expires_in": 10**30}, DEFAULT_S),
    "float-absurd": ({"expires_in": 1e300}, DEFAULT_S),
    "text-absurd": ({"expires_in": "9" * 40}, DEFAULT_S),
    "lower": ({"token_type": "bearer"}, 3600),
    "upper": ({"token_type": "BEARER"}, 3600),
    "mixed": ({"token_type": "bEaReR"}, 3600),
    "no-type": ({"token_type": "OMIT"}, 3600),
    "null-type": ({"token_type": None}, 3600),
    "error-null": ({"error": None}, 3600),
    "error-empty": ({"error": ""}, 3600),
    "long": ({"access_token": "a" * 8000}, 3600),
    "odd-token": ({"access_token": "!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\""}, 3600),
    "scope": ({"scope": ["a", 1]}, 3600),
    "scope-long": ({"scope": "x " * 20000}, 3600),
    "members": ({f"m{n}": {"a": [n]} for n in range(500)}, 3600),
}


def test_token_answers_that_are_odd_and_good(rig):
    cases = {name: (token(**members),) for name, (members, _) in ODD.items()}
    b = Tokens(rig, cases)
    for name in cases:
        b.relink(name, default_lifetime_ms=DEFAULT_S * 1000)
    b.start()
    for name in ODD:
        b.put(b.job(name, conn=name))
    got = b.last_results(ODD)
    sent = [r.token.decode() for r in b.server.requests if r.path == "/good"]
    with all_rows() as row:
        for name, (members, life_s) in ODD.items():
            r = b.record(name)
            row(name, (got[name]["state"], r["state"]), ("done", b"FRESH"))
            told = round((int(r["exp"]) - int(r["born"])) / 1000)
            row(name + ": lifetime", life_s - 5 <= told <= life_s, True)
            row(name + ": asked", len(b.forms[name]), 1)
            row(name + ": sent", members.get("access_token", "a-good-token-of-a-kind") in sent, True)
    b.check()


def test_the_refresh_token_that_was_not_rotated_is_kept(rig):
    """None, null and "" keep the old one; a new one takes its place."""
    kinds = {"omitted": "OMIT", "null": None, "empty": "", "same": "first-refresh-token",
             "rotated": "second-refresh-token"}
    cases = {name: (token(refresh_token=value, expires_in=1),) for name, value in kinds.items()}
    b = Tokens(rig, cases, "refresh_token").start()
    for name in kinds:
        b.put(b.job(name, conn=name))
    got = b.last_results(kinds)
    assert {r["state"] for r in got.values()} == {"done"}
    now = int(time.time() * 1000)
    wait_until(lambda: time.time() * 1000 > now + 800, 5, "the tokens to be as good as dead")
    b.behave = set(kinds)
    for name in kinds:
        b.put(b.job(f"{name}-again", conn=name))
    b.last_results([f"{name}-again" for name in kinds])
    with all_rows() as row:
        for name in kinds:
            row(name, b.forms[name][-1]["refresh_token"],
                "second-refresh-token" if name == "rotated" else "first-refresh-token")
            row(name + ": asked again", len(b.forms[name]) >= 2, True)
    b.check()


def edits(b):
    """name: (fields to set in the record, or a command that makes a key of another type; what
    becomes of it: broken = a dead letter; BACKOFF, NEEDS_CONSENT = parked; done)."""
    donor = b.record("donor")

    def sealed(field):
        return {field: donor[field]}
    return {
        "rt-of-another": (sealed("rt"), "BACKOFF"),
        "rt-garbage": ({"rt": b"\x01garbage"}, "BACKOFF"),
        "rt-long": ({"rt": b"\x01" + b"r" * 100000}, "BACKOFF"),
        "cs-of-another": (sealed("cs"), "BACKOFF"),
        "cs-gone": ({"cs": ""}, "BACKOFF"),
        "rt-gone": ({"rt": ""}, "NEEDS_CONSENT"),
        "at-of-another": ({**sealed("at"), "ver": 1, "exp": 1 << 50, "state": "FRESH"}, "broken"),
        "at-garbage": ({"at": b"x", "ver": 1, "exp": 1 << 50, "state": "FRESH"}, "broken"),
        "at-long": ({"at": b"x" * 1000000, "ver": 1, "exp": 1 << 50, "state": "FRESH"},
                    "done"),  # no room for it: another is asked for
        "cfg-garbage": ({"cfg": b"\xff\x00"}, "broken"),
        "cfg-gone": ({"cfg": ""}, "broken"),
        "cfg-of-another": ({**sealed("cfg"), **sealed("cm"), **sealed("cd")}, "broken"),
        "cm-gone": ({"cm": ""}, "broken"),
        "cd-gone": ({"cd": ""}, "broken"),
        "cd-long": ({"cd": "a" * 1000}, "broken"),
        "gen-text": ({"gen": "one"}, "broken"),
        "ver-text": ({"ver": "x"}, "broken"),
        "ver-negative": ({"ver": -1}, "broken"),
        "exp-text": ({"exp": "soon"}, "broken"),
        "state-odd": ({"state": "WHATEVER"}, "done"),
        "more-fields": ({f"field{n}": "x" * 100 for n in range(2000)}, "done"),
        "a-string": ("SET", "broken"),
        "a-list": ("RPUSH", "broken"),
    }


def test_records_that_somebody_edited(rig):
    """Somebody with Redis and without the keys: nothing is called with what they wrote."""
    b = Tokens(rig, {"donor": (token(),)}, "refresh_token")
    b.behave.add("donor")
    b.start()
    b.put(b.job("donor", conn="donor"))
    b.last_results(["donor"])
    cases = edits(b)
    client = rig.redis.client
    for name, (change, _) in cases.items():
        b.server.routes[f"/t/{name}"] = b.until_told(name, b.give_token)
        b.relink(name)
        key = f"{rig.prefix}:{{c:{name}}}"
        if isinstance(change, dict):
            client.hset(key, mapping=change)
        else:
            client.delete(key)
            client.execute_command(change, key, "x")
        b.put(b.job(name, conn=name))
    ends = [n for n, (_, want) in cases.items() if want in ("broken", "done")]
    got = b.last_results(ends)
    with all_rows() as row:
        for name in ends:
            want = cases[name][1]
            code = got[name].get("error", {}).get("code")
            row(name, (got[name]["state"], code),
                ("done", None) if want == "done" else ("dead", "connection_broken"))
    for name, (_, want) in cases.items():
        if want in ("BACKOFF", "NEEDS_CONSENT"):
            wait_until(lambda: b.record(name)["state"].decode() == want and parked(b, name), 10,
                       lambda: f"{name} to be in {want}, is in {b.record(name)['state']}")
            assert b.record(name)["why"], name
            assert name not in b.forms, f"{name}: a token was asked for"
            b.relink(name)
    assert {r["state"] for r in b.last_results([n for n in cases if n not in got]).values()} == \
        {"done"}
    b.check()
