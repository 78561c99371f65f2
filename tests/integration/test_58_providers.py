"""Provider profiles: what each of deploy/providers leads to, and what is refused of them."""
import json
import re
import subprocess

import pytest

import golden
from golden import GOLDEN, PROVIDERS, names
from procs import BUILD, ROOT, built
from rig import clean_env

ORDER = ("title source checked grants variables authorize_url token_url device_url revoke_url introspect_url client assertion scopes "
         "scope_separator pkce authorize token_request refresh_url refresh_request chain answer token api limits policy by_grant").split()


@pytest.mark.parametrize("name", names())
def test_a_provider_is_asked_as_it_was_read(name):
    """Each request of each grant, byte for byte; golden.py says how that is written anew."""
    assert golden.golden(name) == (GOLDEN / f"{name}.txt").read_text()


RENEWED = {n: golden.profile(n).get("token", {}).get("renewal") != "none" for n in names()
           if "authorization_code" in golden.profile(n)["grants"]}


@pytest.mark.parametrize("name", [n for n, renewed in RENEWED.items() if not renewed])
def test_a_refresh_token_is_for_a_provider_that_renews(name, tmp_path):
    code, out, err = golden.explain(golden.connection(name, "refresh_token"), tmp_path)
    assert code == 1 and out == "" and "its profile is for grant: authorization_code" in err


@pytest.mark.parametrize("name", [n for n, renewed in RENEWED.items() if renewed])
def test_a_refresh_token_got_elsewhere_is_renewed_as_one_of_conn_link(name, tmp_path):
    renewal = "# the access token is renewed"

    def asked(grant):
        of = golden.connection(name, grant)
        if "{callback.realmId}" in str(golden.profile(name)):
            of["callback"] = {} if grant == "authorization_code" else {"realmId": "7"}
        code, out, err = golden.explain(of, tmp_path)
        assert code == 0, err
        return out.partition(renewal)[2].partition("\n# ")[0]

    got = asked("refresh_token")
    assert got and got == asked("authorization_code")


def test_no_golden_file_is_left_over():
    assert sorted(p.stem for p in GOLDEN.glob("*")) == names()
    assert len(names()) >= 45


@pytest.mark.parametrize("name", names())
def test_a_provider_says_where_it_was_read(name):
    p = golden.profile(name)
    assert p["title"] and p["grants"]
    sources = p["source"] if isinstance(p["source"], list) else [p["source"]]
    assert sources and all(s.startswith("https://") for s in sources)
    assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", str(p["checked"]))
    assert list(p) == sorted(p, key=ORDER.index)
    assert [n for n, d in p.get("variables", {}).items() if not (d or {}).get("about")] == []


def test_ls_lists_all_of_them(rig):
    rows = {r["profile"]: r for r in rig.ctl("profile", "ls", "--profiles", str(PROVIDERS), "-o", "json").json()}
    assert sorted(rows) == names()
    assert rows["zoho"] == {"profile": "zoho", "provider": "Zoho", "grants": "authorization_code", "values": "region",
                            "checked": str(golden.profile("zoho")["checked"])}
    if BUILD.parent == ROOT:  # not under a sanitizer: then they are beside the program, and it need not be told
        assert rig.ctl("profile", "ls").out.count("\n") == len(names()) + 1


# ---- what is refused ----

PROFILE = """\
title: Acme
source: https://acme.example/docs
checked: 2026-11-28
grants: [authorization_code, client_credentials, device_code]
variables:
  region: {one_of: [com, eu], default: com, about: the data centre}
  shop: {about: the part before .acme.example}
  place: {kind: host, default: api.acme.example, about: the host of the API}
  word: {kind: text, default: v1, about: the version}
authorize_url: https://{shop}.acme.example/authorize
token_url: https://{shop}.acme.example/{word}/token
device_url: https://{shop}.acme.example/{region}/device
client: {auth: post}
api:
  base_url: https://{place}
policy:
  hosts: ["{place}"]
"""
CONNECTION = """\
id: crm
profile: acme
grant: authorization_code
values: {shop: s1}
client: {id: client-id, secret: {env: S}}
"""


class Files:
    """A connection file and the profile that it names, each with a part of it changed or something added."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "p").mkdir()

    def explain(self, connection=CONNECTION, profile=PROFILE):
        (self.folder / "crm.yaml").write_text(connection)
        (self.folder / "p" / "acme.yaml").write_text(profile)
        return subprocess.run([built("awq-ctl"), "conn", "explain", "-f", "crm.yaml", "--profiles", "p"], cwd=self.folder,
                              env={**clean_env(), "S": "s3cret"}, capture_output=True, text=True, timeout=30)

    def explained(self, *what):
        done = self.explain(*what)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *what):
        done = self.explain(*what)
        assert done.returncode in (1, 2) and done.stdout == "", done.stdout
        return done.stderr.removeprefix("awq-ctl: crm.yaml: ").rstrip("\n")


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def changed(text, old, new):
    assert text.count(old) == 1, (old, text.count(old))
    return text.replace(old, new)


LABEL = "is no part of a host name (letters, digits, - and _): see variables in the profile"
TEXT = r"is no text without blanks, quotes and / ? # & = % \ @ { }: see variables in the profile"
HOST = "is no host name, as api.example.com or api.example.com:8443: see variables in the profile"
OWNS = "belongs into a connection's file"

# In the connection's file: what is changed, to what, and the message.
OF_CONNECTION = [
    ("values: {shop: s1}\n", "", "line 1, column 1: values.shop is missing: the part before .acme.example"),
    ("{shop: s1}", "{shop: s1, planet: mars}", "line 4, column 20: its profile has no variable planet"),
    ("{shop: s1}", "{shop: s1, region: us}", "line 4, column 28: values.region must be one of com, eu"),
    ("{shop: s1}", "{shop: evil.com/x}", f"line 4, column 16: values.shop {LABEL}"),
    ("{shop: s1}", "{shop: a.b}", f"line 4, column 16: values.shop {LABEL}"),
    ("{shop: s1}", "{shop: a@b}", f"line 4, column 16: values.shop {LABEL}"),
    ("{shop: s1}", '{shop: ""}', f"line 4, column 16: values.shop {LABEL}"),
    ("{shop: s1}", "{shop: %s}" % ("x" * 64), f"line 4, column 16: values.shop {LABEL}"),
    ("{shop: s1}", "{shop: [a]}", "line 4, column 16: values.shop must be a text"),
    ("{shop: s1}", "{shop: s1, place: evil.com/x}", f"line 4, column 27: values.place {HOST}"),
    ("{shop: s1}", "{shop: s1, place: me@evil.com}", f"line 4, column 27: values.place {HOST}"),
    *(("{shop: s1}", "{shop: s1, place: %s}" % v, f"line 4, column 27: values.place {HOST}")
      for v in ("10", "1.2.3", "'-'", "a..b", "a.", "-a.example", "'a.example:'", "a.example:0", "a.example:65536", "a:b", "'::1'")),
    ("{shop: s1}", "{shop: s1, word: a/b}", f"line 4, column 26: values.word {TEXT}"),
    ("{shop: s1}", "{shop: s1, word: 'a?b'}", f"line 4, column 26: values.word {TEXT}"),
    ("{shop: s1}", "{shop: s1, word: a%2fb}", f"line 4, column 26: values.word {TEXT}"),
    ("{shop: s1}", "{shop: s1, word: 'a b'}", f"line 4, column 26: values.word {TEXT}"),
    ("{shop: s1}", "{shop: s1, word: 'a{shop}'}", f"line 4, column 26: values.word {TEXT}"),
    ("profile: acme\n", "", "line 3, column 9: values are of a profile's variables; none is named"),
    ("profile: acme", "profile: acne",
     "line 2, column 10: profile: there is no acne (did you mean acme?)"),
    ("profile: acme", "profile: ./acne.yaml",
     "line 2, column 10: profile: there is no file ./acne.yaml"),
    ("profile: acme", "profile: planets", "line 2, column 10: profile: there is no planets (awq-ctl profile ls lists those that are)"),
    ("profile: acme", "profile: acme.yaml", "line 2, column 10: profile: a name goes without .yaml; a path has a /"),
    (CONNECTION, PROFILE, "line 1, column 8: this is a profile; a connection's file names it: profile: crm (or its path)"),
    ("profile: acme", "profile: ..", "line 2, column 10: profile: there is no .. (awq-ctl profile ls lists those that are)"),
    ("profile: acme", "profile: a b", "line 2, column 10: profile: a name has letters, digits, - _ . only; a path has a /"),
    ("grant: authorization_code", "grant: jwt_bearer",
     "line 3, column 8: its profile is for grant: authorization_code, client_credentials, device_code"),
    # what the connection itself says must have a use; the profile's is left out
    ("grant: authorization_code\n", "grant: client_credentials\nrefresh_request: {params: {a: b}}\n",
     "line 4, column 27: refresh_request.params has no use with this grant"),
    ("grant: authorization_code\n", "grant: client_credentials\npkce: false\n", "line 4, column 7: pkce has no use with this grant"),
    ("grant: authorization_code\n", "grant: client_credentials\nauthorize: {params: {a: b}}\n",
     "line 4, column 21: authorize.params has no use with this grant"),
    ("grant: authorization_code\n", "grant: client_credentials\ntoken: {renewal: none}\n",
     "line 4, column 18: token.renewal has no use with this grant"),
    ("id: crm\n", "id: crm\ntoken: {renewal: none}\nrefresh_request: {params: {a: b}}\n",
     "line 3, column 27: refresh_request.params has no use with token.renewal: none"),
    # null
    ("id: crm\n", "id: crm\nrefresh_url: ~\n",
     "line 2, column 14: null takes a key of the profile away, and it does not have this one for this grant"),
    ("id: crm\n", "id: crm\nauthorize: {params: {a: }}\n",
     "line 2, column 25: null takes a key of the profile away, and it does not have this one for this grant"),
    ("id: crm\n", "id: crm\ntoken_url: ~\n", "line 1, column 1: token_url is missing"),
    (CONNECTION, "id: crm\nauthorize: {params: {a: ~}}\n", 'line 2, column 25: authorize.params.a: null is no text; an empty one is ""'),
]


@pytest.mark.parametrize("old,new,message", OF_CONNECTION)
def test_refused_in_a_connection(files, old, new, message):
    assert files.refused(changed(CONNECTION, old, new)) == message


# In the profile, which the message names: the same; what has no old part stands at the end, in line 18.
OF_PROFILE = [
    (None, "colour: red", "line 18, column 1: unknown key 'colour'"),
    ("  base_url:", "  base_uri:", "line 15, column 3: unknown key 'base_uri' (did you mean 'base_url'?)"),
    (None, "a: &a red", "line 18, column 4: anchors (&name) are not allowed; write it out"),
    ("title: Acme\n", "", "line 1, column 1: title is missing"),
    ("source: https://acme.example/docs\n", "", "line 1, column 1: source is missing: the page that it was read from"),
    ("source: https:", "source: http:", "line 2, column 9: source must be an https:// address, or a list of them"),
    ("source: https://acme.example/docs", "source: []", "line 2, column 9: source is empty"),
    ("checked: 2026-11-28\n", "", "line 1, column 1: checked is missing: the day on which it was, as 2026-11-28"),
    ("2026-11-28", "28.11.2026", "line 3, column 10: checked must be the day on which it was, as 2026-11-28"),
    ("2026-11-28", "2026-13-28", "line 3, column 10: checked must be the day on which it was, as 2026-11-28"),
    ("2026-11-28", "2026-00-28", "line 3, column 10: checked must be the day on which it was, as 2026-11-28"),
    ("2026-11-28", "2026-11-32", "line 3, column 10: checked must be the day on which it was, as 2026-11-28"),
    ("2026-11-28", "2026-11-00", "line 3, column 10: checked must be the day on which it was, as 2026-11-28"),
    ("grants: [authorization_code, client_credentials, device_code]\n", "",
     "line 1, column 1: grants is missing: a list of those that it is for"),
    ("[authorization_code, client_credentials, device_code]", "[]", "line 4, column 9: grants is empty"),
    ("[authorization_code, client_credentials, device_code]", "[authorization_code, implicit]",
     "line 4, column 30: grants: implicit must be client_credentials, refresh_token, authorization_code, device_code, jwt_bearer, "
     "saml2_bearer, token_exchange or password"),
    # what is a connection's own
    (None, "id: crm", f"line 18, column 5: id {OWNS}"),
    (None, "values: {shop: a}", f"line 18, column 9: values {OWNS}"),
    (None, "profile: x", f"line 18, column 10: profile {OWNS}"),
    (None, "refresh_token: {env: S}", f"line 18, column 16: refresh_token {OWNS}"),
    (None, "login: {username: u, password: {env: S}}", f"line 18, column 8: login {OWNS}"),
    ("{auth: post}", "{auth: post, id: x}", f"line 13, column 26: client.id {OWNS}"),
    ("{auth: post}", "{auth: post, secret: {env: S}}", f"line 13, column 30: client.secret {OWNS}"),
    ("{auth: post}", "{auth: post, key: {file: x}}", f"line 13, column 27: client.key {OWNS}"),
    (None, "assertion: {key: {file: x}}", f"line 18, column 18: assertion.key {OWNS}"),
    (None, "dpop: {alg: ES256, key: {file: x}}", f"line 18, column 25: dpop.key {OWNS}"),
    (None, "tls: {certificate: {file: x}}", f"line 18, column 20: tls.certificate {OWNS}"),
    # lines of one grant
    (None, "by_grant: [a]", "line 18, column 11: 'by_grant' must be a map"),
    (None, "by_grant: {password: {scopes: [a]}}", "line 18, column 12: by_grant: password is none of its grants"),
    (None, "by_grant: {client_credentials: a}", "line 18, column 32: 'lines of a grant' must be a map"),
    (None, "by_grant: {client_credentials: {client: {secret: {env: S}}}}", f"line 18, column 50: client.secret {OWNS}"),
    (None, "by_grant: {client_credentials: {title: x}}", "line 18, column 40: title is the same for all grants"),
    (None, "by_grant: {client_credentials: {by_grant: {}}}", "line 18, column 43: by_grant is the same for all grants"),
    (None, "by_grant: {authorization_code: {revoke_url: ~}}", "line 18, column 45: null takes away what is not there"),
    (None, "by_grant: {authorization_code: {colour: red}}", "line 18, column 33: unknown key 'colour'"),
    (None, "by_grant: {authorization_code: {revoke_url: 'https://{planet}/'}}",
     "line 18, column 45: {planet} is none of its variables"),
    # variables
    ("kind: host", "kind: url", "line 8, column 17: kind must be label, host or text"),
    ("kind: host", "sort: host", "line 8, column 11: unknown key 'sort'"),
    ("kind: host", "grants: client_credentials", "line 8, column 19: 'grants' must be a list"),
    ("kind: host", "grants: [jwt_bearer]", "line 8, column 20: grants: jwt_bearer is none of its grants"),
    ("one_of: [com, eu]", "kind: label, one_of: [com, eu]", "line 6, column 18: kind has no use beside one_of"),
    ("/{region}/", "/", "line 6, column 3: variables.region has no use: no line has {region}"),
    ("one_of: [com, eu]", "one_of: com", "line 6, column 20: 'one_of' must be a list"),
    ("{word}/token", "{word}/{planet}/token", "line 11, column 12: {planet} is none of its variables"),
    ("{word}/token", "{word}/{word/token", "line 11, column 12: a { without its }, or a name that is too long"),
    ("{word}/token", "{word}/{answer.x}/token", "line 11, column 12: {answer.x} has a use in api.base_url only"),
    ("{word}/token", "{word}/{callback.x}/token", "line 11, column 12: {callback.x} has a use in api.base_url only"),
    ("base_url: https://{place}", "base_url: https://{place}/{answers.x}", "line 15, column 13: {answers.x} is none of its variables"),
    # requests
    (None, "chain: {params: {a: b}}", "line 18, column 17: chain.params has no use without chain.url"),
    (None, "authorize: {params: {state: x}}", "line 18, column 22: authorize.params.state may not be set: state, response_type, "
     "a code, a challenge, a token and the client's id and secret are not for it to say"),
    (None, "token_request: {params: {client_secret: x}}", "line 18, column 26: token_request.params.client_secret may not be "
     "set: state, response_type, a code, a challenge, a token and the client's id and secret are not for it to say"),
    (None, "token_request: {rename: {colour: hue}}",
     "line 18, column 26: token_request.rename.colour is a parameter that no request of a standard has"),
    (None, "token_request: {rename: {code: ''}}",
     "line 18, column 26: token_request.rename.code must say the new name (omit leaves a parameter out)"),
    (None, "authorize: {rename: {scope: state}}",
     "line 18, column 22: authorize.rename.scope may not be called state: that name is taken"),
    (None, "authorize: {rename: {client_id: who, scope: who}}",
     "line 18, column 38: authorize.rename.scope has a new name that another parameter of the same request has"),
    (None, "authorize: {params: {perms: all}, rename: {scope: perms}}",
     "line 18, column 44: authorize.rename.scope has a new name that another parameter of the same request has"),
    (None, "token_request: {rename: {client_id: code}}",
     "line 18, column 26: token_request.rename.client_id has a new name that another parameter of the same request has"),
    (None, "refresh_request: {rename: {client_id: refresh_token}}",
     "line 18, column 28: refresh_request.rename.client_id has a new name that another parameter of the same request has"),
    (None, "token_request: {omit: [assertion]}",
     "line 18, column 24: token_request.omit: assertion must be there: it is what the request is about"),
    (None, "token_request: {omit: [hue]}", "line 18, column 24: token_request.omit: hue is a parameter that no request of a standard has"),
    (None, "token_request: {omit: [code]}",
     "line 18, column 24: token_request.omit: code must be there: it is what the request is about"),
    (None, "token_request: {omit: [scope], rename: {scope: s}}",
     "line 18, column 24: token_request.omit: scope is renamed or set as well"),
    (None, "token_request: {method: PUT}", "line 18, column 25: token_request.method must be POST or GET"),
    (None, "token_request: {body: xml}", "line 18, column 23: token_request.body must be form, json or query"),
    (None, "token_request: {method: GET, body: form}", "line 18, column 36: token_request.body must be query where method is GET"),
    (None, "token_request: {headers: {Authorization: x}}",
     "line 18, column 27: token_request.headers.Authorization is a header that is not for it to set (as Authorization, Host ...)"),
    (None, "redirect_uri: http://evil.example/",
     "line 18, column 15: redirect_uri must be https://, or http:// of 127.0.0.1 or localhost, without a fragment"),
    (None, "refresh_url: http://acme.example/",
     "line 18, column 14: refresh_url must begin with https:// (http:// needs policy.insecure_http: true)"),
    (None, "chain: {url: /token}", "line 18, column 14: chain.url must begin with https:// (http:// needs policy.insecure_http: true)"),
    (None, "scope_separator: '+'", "line 18, column 18: scope_separator must be one of , ; | : or a blank"),
    # answers
    (None, "answer: {access_token: a..b}",
     "line 18, column 24: answer.access_token must be a path: names with dots between, as data.access_token"),
    (None, "answer: {access_token: $.data.token}",
     "line 18, column 24: answer.access_token must be a path: names with dots between, as data.access_token"),
    (None, "answer: {access_token: 'data[0]'}",
     "line 18, column 24: answer.access_token must be a path: names with dots between, as data.access_token"),
    (None, "answer: {access_token: a.b.}", "line 18, column 24: answer.access_token must not end with a dot"),
    (None, "answer: {expiry: e, expiry_kind: never}", "line 18, column 18: answer.expiry has no use with expiry_kind: never or fixed"),
    (None, "answer: {expiry: e, expiry_kind: fixed}", "line 18, column 18: answer.expiry has no use with expiry_kind: never or fixed"),
    (None, "answer: {expiry_kind: weeks}", "line 18, column 23: answer.expiry_kind must be seconds, milliseconds, minutes, epoch, "
     "epoch_ms, date, never or fixed"),
    (None, "answer: {success: {at: ok}}", "line 18, column 24: answer.success.at needs both: at (a path) and is (what stands there)"),
    (None, "answer: {tokens: {User: a.b}}", "line 18, column 19: answer.tokens.User must be a name (1-32 of a-z 0-9 _) with a path"),
    (None, "answer: {scope_separator: ab}", "line 18, column 27: answer.scope_separator must be one of , ; | : or a blank"),
    # calls
    ("api:\n", "api:\n  token_in: query\n", "line 15, column 3: api.token_name is missing: of the parameter or cookie"),
    ("api:\n", "api:\n  token_in: query\n  token_name: t\n  token_scheme: Bearer\n",
     "line 17, column 17: api.token_scheme has no use unless the token goes in a header"),
    ("api:\n", "api:\n  token_name: Host\n", "line 15, column 15: api.token_name is a header that is not for it to set"),
    ("api:\n", "api:\n  headers: {Authorization: x}\n",
     "line 15, column 13: api.headers.Authorization is a header that is not for it to set (as Authorization, Host ...)"),
    ("base_url: https:", "base_url: http:", "line 15, column 13: api.base_url must begin with https:// or {answer.PATH} "
     "(http:// needs policy.insecure_http: true)"),
    ("base_url: https://", "base_url: https://me@", "line 15, column 13: api.base_url has a character that it may not have"),
    (None, "limits: {signals: [{wait_header: x}]}", "line 18, column 20: limits.signals.1 needs status, header or body"),
    (None, "limits: {signals: [{status: 42}]}", "line 18, column 20: limits.signals.1 has a status that is not 100 to 599"),
    (None, "limits: {signals: [{status: 403, wait: x}]}", "line 18, column 34: unknown key 'wait'"),
    (None, "limits: {signals: [{status: 403, wait_kind: epoch}]}",
     "line 18, column 20: limits.signals.1 has a wait_kind and no wait_header"),
    (None, "limits: {signals: [{status: 403, wait_header: x, wait_kind: weeks}]}",
     "line 18, column 20: limits.signals.1 has a wait_kind that is not seconds, milliseconds, epoch or epoch_ms"),
]


@pytest.mark.parametrize("old,new,message", OF_PROFILE)
def test_refused_in_a_profile(files, old, new, message):
    profile = PROFILE + new + "\n" if old is None else changed(PROFILE, old, new)
    said = files.refused(CONNECTION, profile)
    assert said.replace("p/acme.yaml: line", "p/acme.yaml, line") == f"p/acme.yaml, {message}"


def test_refused_of_the_two_together(files):
    assert files.refused(changed(CONNECTION, ", secret: {env: S}", ""), changed(PROFILE, "{auth: post}", "{auth: none}\npkce: false")) \
        == "p/acme.yaml, line 14, column 7: pkce must not be false for a client without a secret (RFC 9700 section 2.1.1)"
    assert files.refused(changed(CONNECTION, "authorization_code", "client_credentials"),
                         changed(PROFILE, "https://{place}", "https://{place}/{callback.id}")) \
        == "p/acme.yaml, line 15, column 13: api.base_url has {callback.NAME}, which comes with grant: authorization_code only; " \
           "say it: callback: {NAME: ...}"
    assert files.refused(changed(CONNECTION, "id: client-id, ", ""), changed(PROFILE, "https://{place}", "https://{place}/{client_id}")) \
        == "p/acme.yaml, line 15, column 13: {client_id}: client.id is missing"


# ---- what the two make together ----

FULL = PROFILE + """\
refresh_url: https://{shop}.acme.example/renew
revoke_url: https://{shop}.acme.example/revoke
scopes: [read]
pkce: false
authorize: {params: {prompt: consent, tone: warm}}
chain: {url: "https://{shop}.acme.example/longer"}
"""


def test_what_is_another_grant_s_is_left_out(files):
    text = files.explained(changed(CONNECTION, "authorization_code", "client_credentials"), FULL)
    assert "/authorize" not in text and "/renew" not in text and "/longer" not in text and "/device" not in text
    assert "grant_type=client_credentials&scope=read" in text
    text = files.explained(changed(CONNECTION, "authorization_code", "device_code"), FULL)
    assert "/authorize" not in text and "/longer" not in text
    assert "POST https://s1.acme.example/com/device\n" in text and "POST https://s1.acme.example/renew\n" in text
    assert "/renew" not in files.explained(CONNECTION + "token: {renewal: none}\n", FULL)


def test_the_first_grant_is_taken(files):
    assert "/authorize?" in files.explained(changed(CONNECTION, "grant: authorization_code\n", ""), FULL)


def test_lines_of_a_grant_go_before_those_for_all(files):
    by = FULL + """\
by_grant:
  client_credentials:
    scopes: ~
    token_url: https://{shop}.acme.example/machines
    token_request: {params: {audience: "https://{place}/"}}
    api: {headers: {V: "2"}}
"""
    machine = changed(CONNECTION, "authorization_code", "client_credentials")
    text = files.explained(machine, by)
    assert "POST https://s1.acme.example/machines\n" in text and "/v1/token" not in text
    assert "&audience=https%3A%2F%2Fapi.acme.example%2F\n" in text and "scope" not in text
    assert "GET https://api.acme.example/..." in text and "V: 2" in text  # of a map in both, key by key
    text = files.explained(CONNECTION, by)
    assert "POST https://s1.acme.example/v1/token\n" in text and "/machines" not in text and "audience" not in text
    # the connection's own go before both
    text = files.explained(machine + "scopes: [own]\ntoken_url: https://own.example/token\n"
                           "token_request: {params: {audience: mine}}\n", by)
    assert "POST https://own.example/token\n" in text and "scope=own&" in text and "audience=mine" in text
    assert "audience" not in files.explained(machine + "token_request: ~\n", by)
    assert files.refused(machine + "token_url: ~\n", by) == "line 1, column 1: token_url is missing"  # not the other one's


def test_a_variable_of_one_grant(files):
    profile = changed(FULL, "  word:", "  robot: {grants: [client_credentials], about: the name of the machine}\n  word:") + """\
by_grant:
  client_credentials: {token_request: {params: {audience: "{robot}"}}}
"""
    machine = changed(CONNECTION, "authorization_code", "client_credentials")
    assert "audience" not in files.explained(CONNECTION, profile)
    assert files.refused(machine, profile) == "line 1, column 1: values.robot is missing: the name of the machine"
    with_it = changed(machine, "{shop: s1}", "{shop: s1, robot: r2}")
    assert "&audience=r2\n" in files.explained(with_it, profile)
    assert files.refused(changed(with_it, "client_credentials", "authorization_code"), profile) \
        == "line 4, column 27: values.robot has no use with grant: authorization_code"


def test_a_connection_s_own_value_wins(files):
    text = files.explained(CONNECTION + "token_url: https://own.example/token\nscopes: [write, share]\n", FULL)
    assert "POST https://own.example/token\n" in text and "/v1/token" not in text
    assert "&scope=share+write&" in text  # a list replaces a list
    text = files.explained(changed(CONNECTION, "{shop: s1}", "{shop: s2, word: v9, place: eu.acme.example}"), FULL)
    assert "POST https://s2.acme.example/v9/token\n" in text and "GET https://eu.acme.example/..." in text


def test_how_answers_are_read_is_shown(files):
    more = """\
answer: {access_token: data.token, expiry: data.at, expiry_kind: epoch_ms}
chain: {answer: {access_token: longer}}
limits: {signals: [{status: 403, body: slow}]}
"""
    text = files.explained(CONNECTION + more, FULL)
    read = '# its answer is read by {"access_token":"data.token","expiry":"data.at","expiry_kind":"epoch_ms"}\n'
    assert text.count(read) == 3  # to a code by browser, by device, and to a renewal
    assert text.count('# its answer is read by {"access_token":"longer"}\n') == 1
    assert text.count('# its answer is read by {"signals":[{"status":403,"body":"slow"}]}\n') == 1
    assert "is read by" not in files.explained(CONNECTION, FULL)


def test_names_may_be_exchanged(files):
    """What is called otherwise, or left out, leaves its name to others."""
    text = files.explained(CONNECTION + "token_request: {rename: {client_id: key, client_secret: client_id}}\n", FULL)
    assert "&key=client-id&client_id=CLIENT_SECRET" in text
    text = files.explained(CONNECTION + "refresh_request: {rename: {refresh_token: access_token}}\n", FULL)
    assert "&access_token=REFRESH_TOKEN" in text


def test_maps_merge_by_key(files):
    text = files.explained(CONNECTION + "authorize: {params: {tone: cold, colour: red}}\n", FULL)
    assert "&prompt=consent" in text and "&tone=cold" in text and "&colour=red" in text and "warm" not in text
    assert "client_secret=CLIENT_SECRET" in text  # client.auth of the profile, beside client.id of the connection


def test_null_takes_away(files):
    text = files.explained(CONNECTION + "refresh_url: ~\nrevoke_url: ~\nchain: ~\nauthorize: {params: {tone: ~}}\n", FULL)
    assert "/renew" not in text and "/revoke" not in text and "/longer" not in text
    assert "&prompt=consent" in text and "tone" not in text
    assert text.count("POST https://s1.acme.example/v1/token\n") == 3  # the renewal goes there then; the code, by browser and by device


def test_a_profile_of_one_s_own(files):
    (files.folder / "mine.yaml").write_text(changed(FULL, "title: Acme", "title: Mine").replace("acme.example", "mine.example"))
    assert "https://s1.mine.example/authorize?" in files.explained(changed(CONNECTION, "profile: acme", "profile: ./mine.yaml"))


def test_a_broken_profile_is_left_out_of_the_list(files):
    (files.folder / "p" / "good.yaml").write_text(PROFILE)
    (files.folder / "p" / "bad.yaml").write_text(changed(PROFILE, "title: Acme\n", ""))
    (files.folder / "p" / "notes.txt").write_text("not a profile\n")

    def ls(folder, **env):
        return subprocess.run([built("awq-ctl"), "profile", "ls", *(("--profiles", folder) if folder else ()), "-o", "json"],
                              cwd=files.folder, env={**clean_env(), **env}, capture_output=True, text=True, timeout=30)

    done = ls("p")
    assert done.returncode == 4 and [r["profile"] for r in json.loads(done.stdout)] == ["good"]
    assert done.stderr == "awq-ctl: p/bad.yaml, line 1, column 1: title is missing\n"
    assert ls(None, AWQ_PROFILES="p").stdout == done.stdout
    assert ls("p", AWQ_PROFILES="elsewhere").stdout == done.stdout
    done = ls("elsewhere")
    assert done.returncode == 3 and done.stderr == "awq-ctl: no profiles in elsewhere; say --profiles DIR\n"
