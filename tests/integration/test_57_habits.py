"""Each way in which a provider may differ from the standards: with the lines of a profile that say so an
account is linked, used and renewed at a provider that insists on it (dialect.py); without them it is not."""
import copy
import datetime
import shutil
import tempfile
import time
import urllib.parse
from pathlib import Path

import pytest

from dialect import Dialect
from rig import Rig
from walk import Fails, Walk, merged

LIFE_S = 7200  # of a token, as these providers say it; not the hour that is taken when nothing is understood


@pytest.fixture(scope="module")
def town(peers):
    """One Redis and one worker, for all accounts of this file."""
    folder = Path(tempfile.mkdtemp(prefix="awq-"))
    rig = Rig(folder, peers)
    rig.use_redis()
    rig.use_peers()
    rig.worker()
    yield rig
    try:
        rig.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def here(request, town):
    """The town, for a test that is over when its providers are gone."""
    request.node.awq_rig = town
    town.dialects = []
    yield town
    for d in town.dialects:
        d.end()


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
        "token_request.headers.User-Agent", "token: the header User-Agent is not shop"),
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
