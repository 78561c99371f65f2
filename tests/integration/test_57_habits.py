"""Each way in which a provider may differ from the standards: with the lines of a profile that say so an
account is linked, used and renewed at a provider that insists on it (dialect.py); without them it is not."""
import copy
import datetime
import json
import time
import urllib.parse

import pytest

from dialect import Dialect
from procs import PATIENCE, free_port, wait_until
from walk import Fails, Walk, merged

LIFE_S = 7200  # of a token, as these providers say it; not the hour that is taken when nothing is understood


class Habit:
    """
    spec     what the provider insists on
    lines    of a profile, that say it
    without  those that are taken away (dotted names), or a map of what stands in their place
    fails    what is said then
    lives    seconds that a token lives, as awq is to understand it: from, to
    more     of the connection's file
    """

    def __init__(self, spec, lines, without, fails, lives=None, call=None, **more):
        self.spec, self.lines, self.without, self.fails = spec, lines, without, fails
        self.lives, self.call, self.more = lives, call or {}, more

    def walk(self, rig, whole=True):
        d = Dialect(rig.auth, rig.api, **self.spec)
        rig.dialects.append(d)
        return Walk(rig, d, self.lines if whole else less(self.lines, self.without), self.call, self.lives, **self.more)


def less(lines, without):
    if isinstance(without, dict):
        return merged(lines, without)
    lines = copy.deepcopy(lines)
    for place in [without] if isinstance(without, str) else without:
        *outer, last = place.split(".")
        at = lines
        for key in outer:
            at = at[key]
        del at[last]
    return lines


# ---- what their answers look like ----

def plain(std):
    """A standard answer without its end, which then is said in another way."""
    return {k: v for k, v in std.items() if k != "expires_in"}


def ends(**more):
    """An answer whose members are functions of the time."""
    return lambda std, _: {**plain(std), **{k: v(time.time()) for k, v in more.items()}}


def date(t):
    return datetime.datetime.fromtimestamp(t + LIFE_S, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def with_members(**more):
    return lambda std, _: {**std, **more}


def as_form(std, _):
    return urllib.parse.urlencode({**std, "expires_in": LIFE_S}).encode()


POST = {"client": {"auth": "post"}}
LIVES = {"lives": (LIFE_S - 300, LIFE_S)}
EXTRA = {"access_type": "offline", "prompt": "consent"}
KEY = {"client_id": "client_key"}

HABITS = {
    # ---- what is asked ----
    "values_in_addresses": Habit(
        {"question": {"path": "/acme/ask"}, "token": {"path": "/acme/token"}},
        {"variables": {"shop": {"about": "its name"}}, "authorize_url": "BASE/{shop}/ask", "token_url": "BASE/{shop}/token"},
        "variables", "its profile has no variable shop", values={"shop": "acme"}),
    "params_of_the_question": Habit(
        {"question": {"need": EXTRA}}, {"authorize": {"params": EXTRA}}, "authorize.params.prompt", "question: prompt is missing"),
    "params_of_a_token_request": Habit(
        {"token": {"need": {"audience": "api x&y"}}}, {"token_request": {"params": {"audience": "api x&y"}}},
        "token_request", "token: audience is missing"),
    "params_of_renewals_alone": Habit(
        {"renewal": {"need": {"reason": "again"}}}, {"refresh_request": {"params": {"reason": "again"}}},
        "refresh_request", "renewal: reason is missing"),
    "params_that_renewals_do_not_have": Habit(
        {"token": {"need": {"expiring": "1"}}, "renewal": {"need": {}}},
        {"token_request": {"params": {"expiring": "1"}}, "refresh_request": {"params": {}}},
        "refresh_request", "renewal: expiring is not known"),
    "a_scope_by_another_name": Habit(
        {"question": {"rename": {"scope": "user_scope"}}}, {"authorize": {"rename": {"scope": "user_scope"}}},
        "authorize", "question: scope is not known"),
    "a_client_by_another_name": Habit(
        {"question": {"rename": KEY}, "token": {"rename": KEY, "client": "post"}},
        {**POST, "authorize": {"rename": KEY}, "token_request": {"rename": KEY}}, "token_request", "token: client_id is not known"),
    "a_client_by_another_name_in_the_question": Habit(
        {"question": {"rename": KEY}}, {"authorize": {"rename": KEY}}, "authorize.rename", "question: client_id is not known"),
    "no_redirect_uri_in_the_exchange": Habit(
        {"token": {"leave": ["redirect_uri"]}}, {"token_request": {"omit": ["redirect_uri"]}}, "token_request.omit",
        "token: redirect_uri is not known"),
    "renewals_elsewhere": Habit(
        {"renewal": {"path": "/renew"}}, {"refresh_url": "BASE/renew"}, "refresh_url", "token: refresh_token is not known"),
    "renewals_by_get": Habit(
        {"token": {"client": "post"}, "renewal": {"path": "/renew", "method": "GET", "body": "query"}},
        {**POST, "refresh_url": "BASE/renew", "refresh_request": {"method": "GET"}}, "refresh_request", "renewal: POST is not GET"),
    "tokens_by_get": Habit(
        {"token": {"client": "post", "method": "GET", "body": "query"}}, {**POST, "token_request": {"method": "GET", "body": "query"}},
        "token_request", "token: POST is not GET"),
    "a_body_of_json": Habit(
        {"token": {"body": "json", "client": "post"}}, {**POST, "token_request": {"body": "json"}}, "token_request.body",
        "token: the body is application/x-www-form-urlencoded"),
    "parameters_in_the_address": Habit(
        {"token": {"body": "query"}}, {"token_request": {"body": "query"}}, "token_request.body", "token: it has a body"),
    "headers_of_a_token_request": Habit(
        {"token": {"headers": {"User-Agent": "shop (by acme)", "Accept": "application/vnd.acme"}}},
        {"token_request": {"headers": {"User-Agent": "shop (by acme)", "Accept": "application/vnd.acme"}}},
        "token_request.headers.User-Agent", "token: the header User-Agent is 'awq"),
    "a_secret_in_the_body": Habit(
        {"token": {"client": "post"}}, POST, "client", "token: client_id is missing"),
    "a_secret_in_basic": Habit(
        {"secret": "p%40ss:/w+rd"}, {"client": {"auth": "basic"}}, POST, "token: client_id is not known"),
    "a_secret_in_basic_as_it_is": Habit(
        {"secret": "p%40ss/w+rd", "token": {"client": "raw"}}, {"client": {"auth": "basic_raw"}}, {"client": {"auth": "basic"}},
        "token: Authorization has"),
    "scopes_with_commas": Habit(
        {"separator": ","}, {"scope_separator": ","}, "scope_separator", "question: scope is 'read write'"),
    "scopes_of_a_client_with_commas": Habit(
        {"grant": "client_credentials", "separator": ","}, {"scope_separator": ","}, "scope_separator", "token: scope is 'read write'"),
    "no_challenge": Habit({"pkce": False}, {"pkce": False}, "pkce", "question: code_challenge is not known"),

    # ---- what comes back ----
    "an_access_token_inside": Habit(
        {"answer": lambda std, _: {"data": [{"token": std["access_token"]}], **{k: v for k, v in std.items() if k != "access_token"}}},
        {"answer": {"access_token": "data.0.token"}}, "answer", "answered without an access token"),
    "a_refresh_token_inside": Habit(
        {"answer": lambda std, _: {"grant": {"renewal": std.pop("refresh_token")}, **std}},
        {"answer": {"refresh_token": "grant.renewal"}}, "answer", "the answer has no refresh token"),
    "scopes_in_the_answer_with_commas": Habit(
        {"answer": with_members(scope="read,write")}, {"answer": {"scope_separator": ","}}, "answer", "scope_not_granted",
        call={"needs": ["write"]}),
    "scopes_in_the_answer_elsewhere": Habit(
        {"answer": with_members(scope="none", granted=["read", "write"])}, {"answer": {"scope": "granted"}}, "answer",
        "scope_not_granted", call={"needs": ["write"]}),
    "an_answer_that_is_a_form": Habit({"answer": as_form}, {"answer": {"format": "form"}}, "answer", "no JSON object", **LIVES),
    "an_end_elsewhere": Habit(
        {"answer": ends(until=lambda t: LIFE_S)}, {"answer": {"expiry": "until"}}, "answer", "lives 3[56]..", **LIVES),
    "an_end_in_milliseconds": Habit(
        {"answer": ends(expires_in=lambda t: LIFE_S * 1000)}, {"answer": {"expiry_kind": "milliseconds"}}, "answer",
        "lives 7......", **LIVES),
    "an_end_in_minutes": Habit(
        {"answer": ends(expires_in=lambda t: str(LIFE_S // 60))}, {"answer": {"expiry_kind": "minutes"}}, "answer",
        "lives 1[012].", **LIVES),
    "an_end_as_a_time": Habit(
        {"answer": ends(expires_at=lambda t: int(t) + LIFE_S)}, {"answer": {"expiry": "expires_at", "expiry_kind": "epoch"}},
        "answer.expiry_kind", "lives 3[56]..", **LIVES),
    "an_end_as_a_time_in_milliseconds": Habit(
        {"answer": ends(expires_at=lambda t: int(t + LIFE_S) * 1000)}, {"answer": {"expiry": "expires_at", "expiry_kind": "epoch_ms"}},
        "answer.expiry_kind", "lives 3[56]..", **LIVES),
    "an_end_as_a_date": Habit(
        {"answer": ends(expires_at=date)}, {"answer": {"expiry": "expires_at", "expiry_kind": "date"}}, "answer.expiry_kind",
        "lives 3[56]..", **LIVES),
    "no_end": Habit(
        {"answer": ends(expires_in=lambda t: 0)}, {"answer": {"expiry_kind": "never"}}, "answer", "lives 3[56]..",
        lives=(9 * 365 * 86400, 11 * 365 * 86400)),
    "an_end_that_is_known_by_itself": Habit(
        {}, {"answer": {"expiry_kind": "fixed"}, "token": {"default_lifetime_s": LIFE_S}}, "answer", "lives 3[56]..", **LIVES),
    "a_token_of_any_type": Habit(
        {"answer": with_members(token_type="bot")}, {"answer": {"token_type": "any"}}, "answer", "another type than Bearer"),

    # ---- how it is used ----
    "a_token_in_a_header_of_its_own": Habit(
        {"where": {"name": "X-Acme-Token", "scheme": ""}}, {"api": {"token_name": "X-Acme-Token", "token_scheme": ""}}, "api",
        "api: there is an Authorization header"),
    "a_token_in_a_header_with_a_scheme": Habit(
        {"where": {"name": "X-Acme-Token", "scheme": "Token"}}, {"api": {"token_name": "X-Acme-Token", "token_scheme": "Token"}},
        "api.token_scheme", "api: the scheme of X-Acme-Token is"),
    "another_scheme": Habit(
        {"where": {"scheme": "Acme-oauthtoken"}}, {"api": {"token_scheme": "Acme-oauthtoken"}}, "api",
        "api: the scheme of Authorization is 'Bearer'"),
    "no_scheme": Habit(
        {"where": {"scheme": ""}}, {"api": {"token_scheme": ""}}, "api", "api: the scheme of Authorization is 'Bearer'"),
    "a_token_in_the_address": Habit(
        {"where": {"place": "query", "name": "auth"}}, {"api": {"token_in": "query", "token_name": "auth"}}, "api",
        "api: there is an Authorization header", call={"path": "/echo?page=2"}),
    "a_token_in_a_cookie": Habit(
        {"where": {"place": "cookie", "name": "session"}}, {"api": {"token_in": "cookie", "token_name": "session"}}, "api",
        "api: there is an Authorization header"),
    "headers_of_every_call": Habit(
        {"where": {"headers": {"Acme-Version": "2026-11-28"}}}, {"api": {"headers": {"Acme-Version": "2026-11-28"}}}, "api",
        "api: the header Acme-Version is None"),
    "an_api_below_an_address": Habit(
        {"where": {"base": "/rest/v3"}}, {"api": {"base_url": "BASE/rest/v3"}}, "api", "has no api.base_url",
        call={"relative": True}),
    "an_api_where_the_answer_says": Habit(
        {"answer": lambda std, _: {**std, "api_domain": "BASE/eu1/"}, "where": {"base": "/eu1"}},
        {"api": {"base_url": "{answer.api_domain}"}}, "api", "has no api.base_url", call={"relative": True}),
    "a_registered_address_to_come_back_to": Habit(
        {"back": "http://127.0.0.1:PORT/cb"}, {"redirect_uri": "http://127.0.0.1:PORT/cb"}, "redirect_uri", "question: redirect_uri is"),
    "a_second_request_for_the_token_that_is_kept": Habit(
        {"token": {"client": "post"}, "chain": {"path": "/long", "method": "GET", "body": "query", "client": "post",
                                               "rename": {"access_token": "first"}, "need": {"grant_type": "exchange"}},
         "answer": lambda std, kind: {"kept": std} if kind == "chain" else std},
        {**POST, "chain": {"url": "BASE/long", "method": "GET", "rename": {"access_token": "first"}, "params": {"grant_type": "exchange"},
                           "answer": {"access_token": "kept.access_token", "refresh_token": "kept.refresh_token",
                                      "expiry": "kept.expires_in"}}},
        "chain", "api: a first token is not for the API"),
    "what_the_second_request_leaves_out": Habit(
        {"token": {"client": "post"}, "chain": {"client": "post", "leave": ["client_id"], "need": {"grant_type": "exchange"}}},
        {**POST, "chain": {"url": "BASE/chain", "omit": ["client_id"], "params": {"grant_type": "exchange"}}},
        "chain.omit", "chain: client_id is not known"),
    "a_token_that_is_renewed_by_itself": Habit(
        {"by_token": True, "token": {"client": "post"}, "renewal": {"path": "/renew", "method": "GET", "body": "query", "client": "none",
                                       "rename": {"refresh_token": "access_token"}, "need": {"grant_type": "renew_me"}}},
        {**POST, "answer": {"refresh_token": "access_token"}, "refresh_url": "BASE/renew",
         "refresh_request": {"method": "GET", "params": {"grant_type": "renew_me"}, "rename": {"refresh_token": "access_token"},
                             "omit": ["client_id", "client_secret"]}},
        "answer", "the answer has no refresh token"),
    "an_api_where_the_browser_says": Habit(
        {"callback": {"realmId": "4620"}, "where": {"base": "/company/4620"}},
        {"api": {"base_url": "BASE/company/{callback.realmId}"}}, "api", "has no api.base_url", call={"relative": True}),
}


@pytest.mark.parametrize("name", HABITS)
def test_with_its_lines_it_works(here, name):
    HABITS[name].walk(here).whole()


@pytest.mark.parametrize("name", HABITS)
def test_without_them_it_does_not(here, name):
    with pytest.raises(Fails, match=HABITS[name].fails):
        HABITS[name].walk(here, whole=False).whole()


def linked(rig, lines, spec=None, **more):
    d = Dialect(rig.auth, rig.api, **(spec or {}))
    rig.dialects.append(d)
    w = Walk(rig, d, lines, **more)
    w.apply()
    w.link()
    return w


# ---- what a renewal is answered with ----

GONE = {"error": "app_uninstalled"}
BUSY = {"error": "internal_error"}

# the profile's lines, the answer, and as what it is taken with them and without
ANSWERS = {
    "refused": ({"refused": ["app_uninstalled"]}, 400, GONE, "consent", "config"),
    "refused_by_number": ({"error": "error.code", "refused": ["190"]}, 400, {"error": {"code": 190, "type": "OAuthException"}},
                          "consent", "config"),
    "refused_with_200": ({"refused": ["app_uninstalled"]}, 200, GONE, "consent", "transient"),
    "transient": ({"transient": ["internal_error"]}, 400, BUSY, "transient", "config"),
    "an_error_elsewhere": ({"error": "errors.0.type"}, 401, {"errors": [{"type": "invalid_grant"}]}, "consent", "config"),
    "no_success": ({"success": {"at": "ok", "is": "true"}, "error": "why", "refused": ["gone"]}, 200,
                   {"ok": False, "why": "gone", "access_token": "junk", "token_type": "Bearer"}, "consent", None),
    "no_success_by_number": ({"success": {"at": "code", "is": "0"}, "error": "code", "transient": ["7"]}, 200,
                             {"code": 7, "access_token": "junk", "token_type": "Bearer"}, "transient", None),
}


@pytest.mark.parametrize("lines", [True, False], ids=["with", "without"])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_renewal_is_answered(here, name, lines):
    """None: as a token, for nothing says that it is none."""
    shape, status, body, with_lines, without = ANSWERS[name]
    good = {"ok": True, "code": 0}
    w = linked(here, {"answer": shape} if lines else {}, {"answer": with_members(**good)})
    w.dialect.say("renewal", status, body)
    taken_as = with_lines if lines else without
    worker = here.things[-1]
    if taken_as is None:
        w.renew()
        with pytest.raises(Fails, match="401"):
            w.works()
        return
    with pytest.raises(Fails):
        w.renew()
    if taken_as == "consent":
        assert w.show()["state"] == "NEEDS_CONSENT"
        w.link()
        w.works()
        return
    assert w.show()["state"] == "BACKOFF"
    assert worker.wait_log("token.failed", connection=w.id)["class"] == taken_as
    if lines:
        wait_until(lambda: here.run_ctl("conn", "refresh", w.id).code == 0, 20, "a renewal after one that failed")


def test_a_token_that_is_elsewhere(here):
    """Whoever writes a profile is told where was looked, and what is there; and not that the provider is in trouble."""
    w = linked(here, {})
    w.dialect.say("renewal", 200, {"data": {"token": "a-secret"}, "status": "ok"})
    with pytest.raises(Fails, match="without an access token at access_token; it has data, status"):
        w.renew()
    said = here.run_ctl("conn", "test", w.id).out
    assert "otherwise than the settings say" in said and "not the settings" not in said and "a-secret" not in said


def test_an_expiry_that_cannot_be_read(here):
    """The token is good, and for how long is a guess: whoever links is told, and so is the log at each renewal."""
    d = Dialect(here.auth, here.api)
    here.dialects.append(d)
    w = Walk(here, d, {"answer": {"expiry": "data.expires_at"}})
    w.apply()
    says = "its end cannot be read: nothing stands at data.expires_at"
    assert says in w.link()
    w.works()
    w.renew()
    assert says in here.things[-1].wait_log("token.end_unread", connection=w.id)["text"]


def test_an_api_that_the_policy_does_not_allow_is_not_called(here):
    """The answer says where the API is; the file says where it may be."""
    lines = {"api": {"base_url": "{answer.api_domain}"}}
    for domain in ("http://evil.example", "http://HOST@evil.example", "http://HOST:1"):
        with pytest.raises(Fails, match="names no address of the API that policy.hosts allows"):
            linked(here, lines, {"answer": with_members(api_domain=domain)})


def test_an_api_that_moves_is_not_followed_out_of_the_policy(here):
    """At a renewal as at the link; what was stored stays."""
    moved = {}
    w = linked(here, {"api": {"base_url": "{answer.api_domain}"}},
               {"answer": lambda std, _: {**std, "api_domain": "BASE/api", **moved}}, calling={"relative": True})
    w.works()
    moved["api_domain"] = "http://evil.example"
    with pytest.raises(Fails, match="policy.hosts"):
        w.renew()
    w.works()


def test_an_api_that_moves_within_the_policy_is_followed(here):
    moving = {"at": "/old"}
    w = linked(here, {"api": {"base_url": "{answer.api_domain}"}},
               {"answer": lambda std, _: {**std, "api_domain": "BASE" + moving["at"]}, "where": {"base": "/old"}},
               calling={"relative": True})
    w.works()
    w.dialect.where["base"] = moving["at"] = "/new"
    w.renew()
    w.works()


def test_what_the_browser_brought_is_kept(here):
    """The same file again, another limit, and a renewal: the company is still known. A new link brings another."""
    w = linked(here, {"api": {"base_url": "BASE/company/{callback.realmId}"}},
               {"callback": {"realmId": "4620"}, "where": {"base": "/company/4620"}}, calling={"relative": True})
    w.works()
    assert "unchanged" in w.apply()
    w.works()
    w.more = merged(w.more, {"limits": {"concurrency": 3}})
    assert "settings written" in w.apply()
    w.works()
    w.renew()
    w.works()
    w.dialect.callback, w.dialect.where["base"] = {"realmId": "77"}, "/company/77"
    w.link()
    w.works()


def test_a_browser_that_brings_no_company_links_nothing(here):
    with pytest.raises(Fails, match="the answer has no realmId, which api.base_url needs"):
        linked(here, {"api": {"base_url": "BASE/company/{callback.realmId}"}})


@pytest.mark.parametrize("base, brought", [
    ("BASE/company/{callback.realmId}", "../../x"), ("BASE/company/{callback.realmId}", "1/users/2"),
    ("http://{callback.realmId}", "evil.example"), ("http://{callback.realmId}/x", "evil.example:80"),
])
def test_an_api_that_the_browser_may_not_say_links_nothing(here, base, brought):
    """Whoever sends the browser back chooses no host, and nothing but one part of a path."""
    with pytest.raises(Fails, match="was not linked: .*api.base_url"):
        linked(here, {"api": {"base_url": base}}, {"callback": {"realmId": brought}})


def test_a_calls_own_header_wins(here):
    w = linked(here, {"api": {"headers": {"Acme-Version": "1"}}}, {"where": {"headers": {"Acme-Version": "2"}}})
    with pytest.raises(Fails, match="Acme-Version is '1'"):
        w.works()
    assert w.call(headers={"acme-version": "2"})["state"] == "done"


def test_a_profiles_media_type_is_the_only_one(here):
    """Two of them in one request, and each server would take the one that it likes."""
    here.apply({**here.conn("crm"), "api": {"headers": {"Content-Type": "application/vnd.acme+json"}}})
    seen = [json.loads(here.result(here.job("crm", "/echo", body={"a": 1}, **more))["output"])["headers"]["content-type"]
            for more in ({}, {"headers": {"content-type": "text/x-own"}})]
    assert seen == ["application/vnd.acme+json", "text/x-own"]


@pytest.mark.parametrize("path, query", [
    ("/echo?auth=mine", {}), ("/echo?a=1&%61uth=mine", {}), ("/echo", {"auth": "mine"}), ("/echo?aut%68", {}), ("/echo?AUTH[]=mine", {}),
    ("/echo?auth%00x=mine", {}), ("/echo?+auth=mine", {}), ("/echo?a=1;auth=mine", {}), ("/echo", {"auth[0]": "mine"}),
])
def test_a_job_brings_no_token_of_its_own_in_a_query(here, path, query):
    """A server that reads the first of two would act for the job's account."""
    w = linked(here, {"api": {"token_in": "query", "token_name": "auth"}}, {"where": {"place": "query", "name": "auth"}})
    w.works()
    got = w.call(path, query=query)
    assert (got["state"], got["error"]["code"]) == ("dead", "call_query_invalid"), got
    assert len(w.dialect.asked("api")) == 1
    assert w.call("/echo?a=auth&b&xauth=1", query={"auth2": "x"})["state"] == "done"


def test_several_tokens_of_one_answer(here):
    """A call names the one that it wants; the name that nothing has is no call at all."""
    bobs = here.auth.mint("bob", "basic")["access_token"]
    answer = with_members(authed_user={"access_token": bobs})
    w = linked(here, {"answer": {"tokens": {"user": "authed_user.access_token"}}}, {"answer": answer})
    w.works()
    assert w.call(token="user")["state"] == "done"
    assert [e["token"] == bobs for e in w.dialect.asked("api")] == [False, True]
    got = w.call(token="owner")
    assert (got["state"], got["error"]["code"]) == ("dead", "token_unknown")
    w.renew()
    assert w.call(token="user")["state"] == "done"
    got = linked(here, {}, {"answer": answer}).call(token="user")
    assert (got["state"], got["error"]["code"]) == ("dead", "token_unknown")


def test_renewals_elsewhere_are_that_hosts(here):
    """What audit, conn test and the turns of a token endpoint go by is the server that is asked."""
    d = Dialect(here.auth, here.api, renewal={"path": "/renew"})
    here.dialects.append(d)
    w = Walk(here, d, {"refresh_url": f"{d.base}/renew".replace("127.0.0.1", "localhost")})
    w.apply()
    w.link()
    w.renew()
    assert len(d.asked("renewal")) == 1
    lines = here.ctl("audit", "tail", "--connection", w.id, "--kind", "renewal", "-o", "json").out
    assert f'"host":"localhost:{d.host.split(":")[1]}"' in lines, lines
    assert "localhost port" in here.ctl("conn", "test", w.id).out


def test_what_came_beside_a_token_has_room(here):
    """Three long tokens are sealed together; each command that opens them has room for all of it."""
    more = {f"t{i}": f"{i}" * 15000 for i in (1, 2)}
    w = linked(here, {"answer": {"tokens": {n: n for n in more}}, "introspect_url": f"{here.auth.base}/token/introspection"},
               {"answer": with_members(**more)})
    w.works()
    shown = here.ctl("conn", "test", w.id).out
    assert "active" in shown, shown
    w.renew()
    w.works()


def test_a_second_request_that_is_not_answered_links_nothing(here):
    spec = {"chain": {"path": "/long", "need": {"grant_type": "exchange"}}}
    lines = {"chain": {"url": f"http://127.0.0.1:{free_port()}/long", "params": {"grant_type": "exchange"}, "omit": ["client_id"]}}
    with pytest.raises(Fails, match="was not linked: chain.url: "):
        linked(here, lines, spec)
    with pytest.raises(Fails, match="no token for the first token: .* invalid_request"):
        linked(here, {"chain": {"url": "BASE/long"}}, spec)


# ---- tokens that nothing renews ----

def without_renewal(std, _):
    return {k: v for k, v in std.items() if k != "refresh_token"}


def of_life(seconds):
    return lambda std, _: {**without_renewal(std, _), "expires_in": seconds}


def waits(w, job_id):
    """A job of its own, that waits for its owner."""
    job = w.rig.job(w.id, "http:", job_id=job_id)
    job["call"]["url"] = w.dialect.api + "/echo"
    w.rig.enqueue(job)
    wait_until(lambda: w.show()["state"] == "NEEDS_CONSENT", 20, "its owner to be needed")


def test_without_a_line_a_token_that_nothing_renews_is_not_linked(here):
    with pytest.raises(Fails, match="renewal: none"):
        linked(here, {}, {"answer": without_renewal})


def test_a_token_that_nothing_renews_is_used_until_it_is_refused(here):
    """Its owner took it back at the provider: then he is asked again, and the jobs that waited go on."""
    w = linked(here, {"token": {"renewal": "none"}}, {"answer": of_life(8)})
    w.works()
    begun = time.monotonic()
    here.auth.revoke(account=w.id)
    here.auth.expire(account=w.id)
    waits(w, f"{w.id}-waits")
    assert time.monotonic() - begun < 8 * PATIENCE, "before its end"
    assert not w.dialect.asked("renewal")
    w.link()
    assert here.results([f"{w.id}-waits"])[f"{w.id}-waits"][-1]["state"] == "done"


def test_a_token_that_nothing_renews_is_used_until_it_ends(here):
    w = linked(here, {"token": {"renewal": "none"}}, {"answer": of_life(3)})
    w.works()
    wait_until(lambda: w.show()["expires"] < time.time() * 1000, 15, "its end")
    waits(w, f"{w.id}-waits")
    assert not w.dialect.asked("renewal") and not w.dialect.refused
    w.dialect.answer = without_renewal
    w.link()
    assert here.results([f"{w.id}-waits"])[f"{w.id}-waits"][-1]["state"] == "done"


# ---- limits that are said in the provider's own way ----

def epoch_in(seconds):
    return {"X-Rate-Reset": str(int(time.time()) + seconds)}


LIMITS = {
    "status_and_body": ({"status": 403, "body": "rateLimitExceeded"},
                        lambda: (403, {"errors": [{"reason": "rateLimitExceeded"}]}, {}), "failed"),
    "header_and_wait": ({"status": 403, "header": "X-Rate-Left: 0", "wait_header": "X-Rate-Reset", "wait_kind": "epoch"},
                        lambda: (403, {}, {"X-Rate-Left": "0", **epoch_in(2)}), "failed"),
    "an_error_with_200": ({"status": 200, "body": '"error": "ratelimited"'}, lambda: (200, {"ok": False, "error": "ratelimited"}, {}),
                          "done"),
}


@pytest.mark.parametrize("lines", [True, False], ids=["with", "without"])
@pytest.mark.parametrize("name", LIMITS)
def test_too_much(here, name, lines):
    """The lane is closed for everybody's calls, and the job done later, once; without the line it is an answer like another."""
    signal, answer, without = LIMITS[name]
    w = linked(here, {"limits": {"signals": [signal]}} if lines else {})
    status, body, headers = answer()
    w.dialect.say("api", status, body, headers)
    got = w.call(f"/effect/{w.id}", retry={"max": 5})
    if not lines:
        assert (got["state"], got["status"], got["attempts"]) == (without, status, 1)
        return
    assert (got["state"], got["status"], got["attempts"]) == ("done", 200, 2)
    assert here.api.effects()[w.id] == 1
    [retried] = [e for e in here.things[-1].logged("job.retry", connection=w.id) if e["status"]]
    assert retried["status"] == status
    if headers:
        assert time.time() >= int(headers["X-Rate-Reset"])


def test_no_signal_but_half_of_one_is_no_limit(here):
    w = linked(here, {"limits": {"signals": [{"status": 403, "header": "X-Rate-Left: 0", "body": "slow"}]}})
    for status, headers, body in ((403, {"X-Rate-Left": "1"}, "slow"), (403, {}, "slow"), (429 - 1, {"X-Rate-Left": "0"}, "slow"),
                                  (403, {"X-Rate-Left": "0"}, "fast")):
        w.dialect.say("api", status, {"so": body}, headers)
        assert w.call()["state"] == "failed"
    w.works()


def test_two_shops_of_one_profile(here):
    """The same lines, another value: another address."""
    lines = {"variables": {"shop": {"about": "its name"}}, "authorize_url": "BASE/{shop}/ask", "token_url": "BASE/{shop}/token"}
    for shop in ("acme", "bolt"):
        d = Dialect(here.auth, here.api, question={"path": f"/{shop}/ask"}, token={"path": f"/{shop}/token"})
        here.dialects.append(d)
        Walk(here, d, lines, values={"shop": shop}).whole()
