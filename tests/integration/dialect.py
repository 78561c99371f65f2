"""dialect.py - a provider that speaks OAuth 2.0 in its own way, and understands no other.

It stands before the real authorization server and the real API. What comes to it must be in its
dialect to the letter: a parameter that is missing, has another value, or that it does not know is
refused (400), with the reason in `refused`. What it understands is put to the real servers in the
words of the standards, and their answers are put into its own words.

    d = Dialect(auth, api, question={"need": {"access_type": "offline"}},
                token={"body": "json", "rename": {"client_id": "client_key"}},
                answer=lambda std, kind: {"data": std})
    d.authorize_url, d.token_url, d.renew_url, d.chain_url, d.api
    d.refused                 # ["question: access_type is missing", ...]
    d.say("renewal", 503)     # its next answer to a renewal

A request is a map:
    path       where it is asked
    method     POST or GET
    body       form, json or query
    client     how the client shows who it is: basic, raw (Basic, not form-encoded), post, id (its
               client_id alone), assertion (jwt_bearer's, as Authorization), none
    need       parameters beside the standard ones: {name: value}; None = any value
    rename     of standard parameters: {its name: the name here}
    leave      standard parameters that may not be there
    headers    that must be there: {name: value}; None = any
Its kinds: question (the browser's), token (a code, or the client itself), renewal (what is not said
is as in token), chain (a first token for the one that is kept).
"""
import base64
import hashlib
import http.client
import json
import secrets
import threading
import time
import urllib.parse

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from procs import PATIENCE, free_port
from smallserver import SmallServer

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
STANDARD = {"path": "/token", "method": "POST", "body": "form", "client": "basic", "need": {}, "rename": {},
            "leave": (), "headers": {}}


class Refuse(Exception):
    def __init__(self, why, status=400):
        super().__init__(why)
        self.why, self.status = why, status


class Dialect:
    """
    grant       authorization_code or refresh_token (and their renewals), client_credentials, or jwt_bearer
    client      of the real server, whose secret there is its name and -secret; here it is `secret`
    scopes      what must be asked for, with `separator` between
    pkce        True: a challenge must be there, and its verifier; False: neither may
    callback    what the browser brings back beside code and state
    answer      (the real answer, kind) -> its own: something for JSON, or bytes
    refusal     (error, text) -> (status, its own)
    claims      of jwt_bearer's assertions (RFC 7523 section 3): all of them but jti, iat and exp
    signer      the public key that they are signed with, RS256
    back        the only redirect_uri that is registered
    by_token    a token is renewed by itself: there are no refresh tokens
    lasting     a refresh token is good for ever, and the same again after a renewal
    dress       what its access tokens and its refresh tokens begin with
    where       of an API: {"base", "place" header|query|cookie, "name", "scheme", "headers"}
    """

    def __init__(self, auth, api, grant="authorization_code", client="basic", secret=None, scopes=("read", "write"), separator=" ", pkce=True,
                 back=None, callback=None, question=None, token=None, renewal=None, chain=None, answer=None, refusal=None, by_token=False,
                 lasting=False, dress=("", ""), where=None, claims=None, signer=None):
        self.auth, self.real_api = auth, api
        self.grant = grant
        self.secret = secret or f"{client}-secret"
        self.client, self.scopes, self.separator, self.pkce = client, list(scopes), separator, pkce
        self.lasting, self.dress, self._lasts = lasting, dress, {}
        self.claims, self.signer, self._jtis = claims, signer, set()
        self.back, self.port = back, free_port()  # the port is for who is to be called back
        self.callback, self.by_token = callback or {}, by_token
        self.kinds = {"question": {**STANDARD, "path": "/authorize", "method": "GET", "body": "query",
                                   "client": "id", **(question or {})}}
        self.kinds["token"] = {**STANDARD, **(token or {})}
        self.kinds["renewal"] = {**self.kinds["token"], **(renewal or {})}
        self.kinds["chain"] = {**STANDARD, "path": "/chain", "client": "none", **chain} if chain else None
        self.answer = answer or (lambda std, kind: std)
        self.refusal = refusal or (lambda error, text: (400, {"error": error, "error_description": text}))
        self.where = {"base": "/api", "place": "header", "name": "Authorization", "scheme": "Bearer", "headers": {},
                      **(where or {})}
        self.refused, self.log = [], []
        self._asked, self._codes, self._kept, self._told = {}, {}, {}, {}
        self._first = set()  # tokens that are good for a chained request only
        self._lock = threading.Lock()
        self._server = SmallServer(lambda asked: self.handle(Request(asked)))
        self.host, self.base, self.end = self._server.host, self._server.base, self._server.end

    def url(self, kind):
        return self.base + self.kinds[kind]["path"]

    authorize_url = property(lambda self: self.url("question"))
    token_url = property(lambda self: self.url("token"))
    renew_url = property(lambda self: self.url("renewal"))
    chain_url = property(lambda self: self.url("chain"))
    api = property(lambda self: self.base + self.where["base"])

    def say(self, kind, status, body=None, headers=None):
        """The next answer to a token, renewal, chain or api request, which is not looked at."""
        with self._lock:
            self._told.setdefault(kind, []).append((status, body or {}, headers or {}))

    def asked(self, kind):
        """What came of that kind, and was understood."""
        return [e for e in self.log if e["kind"] == kind]

    # ---- what it understands ---------------------------------------------------------------------

    def handle(self, request):
        """(status, headers, body) of the answer to one request."""
        kind = self.kind_of(request)
        try:
            with self._lock:
                told = self._told.get(kind, [])
                if told:
                    status, body, headers = told.pop(0)
                    self.log.append({"kind": kind, "told": status})
                    return answer_of(status, body, headers)
            if kind == "back":
                return self.came_back(request)
            if kind == "api":
                return self.call(request)
            if kind is None:
                raise Refuse(f"nothing is at {request.method} {request.path}", 404)
            params = self.read(kind, request)
            self.log.append({"kind": kind, "params": params, "headers": request.headers})
            return self.question(params) if kind == "question" else self.give(kind, params)
        except Refuse as refuse:
            why = f"{kind}: {refuse.why}"
            self.refused.append(why)
            if kind in ("token", "renewal", "chain"):
                return answer_of(*self.refusal("invalid_request", why))
            return answer_of(refuse.status, {"refused": why})

    def kind_of(self, request):
        if request.path == "/callback":
            return "back"
        here = [k for k in self.kinds if self.kinds[k] and self.kinds[k]["path"] == request.path]
        if not here:
            return "api" if request.path.startswith(self.where["base"] + "/") else None
        if self.grant == "refresh_token" and "renewal" in here:
            return "renewal"
        if len(here) == 1:
            return here[0]
        said = dict(request.query + request.fields()).get("grant_type")
        return next((k for k in here if said == self.grant_type(k)), "token")

    def grant_type(self, kind):
        usual = "refresh_token" if kind == "renewal" else JWT_BEARER if self.grant == "jwt_bearer" else self.grant
        return self.kinds[kind]["need"].get("grant_type", usual)

    def read(self, kind, request):
        """Its standard parameters, when all is as it must be."""
        spec = self.kinds[kind]
        check(request.method == spec["method"], f"{request.method} is not {spec['method']}")
        if spec["body"] == "query":
            check(not request.body, "it has a body")
            pairs = request.query
        else:
            check(not request.query, f"{request.query[0][0] if request.query else ''} stands in the address")
            pairs = request.fields(spec["body"])
        self.check_headers(spec["headers"], request)
        params = dict(pairs)
        check(len(params) == len(pairs), "a parameter is there twice")
        for name, value in spec["need"].items():
            check(name in params, f"{name} is missing")
            check(value in (None, params[name]), f"{name} is {params[name]!r}")
            if name not in self.standard(kind):
                del params[name]
        names = {spec["rename"].get(n, n): n for n in self.standard(kind) if n not in spec["leave"]}
        for name in params:
            check(name in names or name == "login_hint", f"{name} is not known")
        for name in names:
            check(name in params, f"{name} is missing")
        params = {names.get(k, k): v for k, v in params.items()}
        check(params.get("grant_type") in (None, self.grant_type(kind)), f"grant_type is {params.get('grant_type')!r}")
        self.check_client(spec, request, params)
        return params

    def standard(self, kind):
        """The parameters that a standard asks for."""
        spec = self.kinds[kind]
        client = {"post": ["client_id", "client_secret"], "id": ["client_id"]}.get(spec["client"], [])
        scope = ["scope"] if self.scopes else []
        if kind == "question":
            return ["response_type", "redirect_uri", "state", *scope, *client,
                    *(["code_challenge", "code_challenge_method"] if self.pkce else [])]
        if kind == "renewal":
            return ["grant_type", "refresh_token", *client]
        if kind == "chain":
            return ["access_token", *client]
        if self.grant == "client_credentials":
            return ["grant_type", *scope, *client]
        if self.grant == "jwt_bearer":
            return [*client] if spec["client"] == "assertion" else ["grant_type", "assertion", *client]
        return ["grant_type", "code", "redirect_uri", *(["code_verifier"] if self.pkce else []), *client]

    @staticmethod
    def check_headers(wanted, request):
        for name, value in wanted.items():
            given = request.headers.get(name.lower())
            check(given == value if value is not None else given, f"the header {name} is {given!r}")

    def check_client(self, spec, request, params):
        given = request.headers.get("authorization")
        if spec["client"] in ("basic", "raw"):
            check(given, "the client is not in Authorization")
            pair = base64.b64decode(given.partition(" ")[2]).decode().split(":", 1)
            plain = (str if spec["client"] == "raw" else urllib.parse.unquote_plus)
            check([plain(p) for p in pair] == [self.client, self.secret], f"Authorization has {pair}")
            return
        if spec["client"] == "assertion":
            check((given or "").startswith("Bearer "), f"Authorization is {given!r}")
            params["assertion"] = given.removeprefix("Bearer ")
            return
        check(given is None, "there is an Authorization header")
        for name, value in (("client_id", self.client), ("client_secret", self.secret)):
            check(params.get(name, value) == value, f"{name} is {params.get(name)!r}")

    # ---- the owner's browser ---------------------------------------------------------------------

    def question(self, params):
        check_scopes(self, params)
        back = params.get("redirect_uri")
        check(not self.back or back == filled(self.back, self), f"redirect_uri is {back!r}")
        verifier = None if self.pkce else secrets.token_urlsafe(32)
        mine = secrets.token_urlsafe(8)
        with self._lock:
            self._asked[mine] = (back, params["state"], verifier)
        standard = {"response_type": "code", "client_id": self.client, "redirect_uri": f"{self.base}/callback",
                    "scope": "read write", "state": mine, "login_hint": params.get("login_hint", "alice"),
                    "code_challenge_method": "S256",
                    "code_challenge": params["code_challenge"] if self.pkce else challenge(verifier)}
        return 302, {"Location": f"{self.auth.base}/auth?{urllib.parse.urlencode(standard)}"}, b""

    def came_back(self, request):
        """From the real server, on the way to who asked."""
        got = dict(request.query)
        back, state, verifier = self._asked[got["state"]]
        with self._lock:
            self._codes[got.get("code")] = (back, verifier)
        more = {k: v for k, v in got.items() if k in ("code", "error")}
        query = urllib.parse.urlencode({**more, "state": state, **self.callback})
        return 302, {"Location": f"{back}?{query}"}, b""

    # ---- tokens ----------------------------------------------------------------------------------

    def give(self, kind, params):
        if kind == "chain":
            sent = self.undressed(params["access_token"], 0)
            check(sent in self._first, "that token is not known")
            form = {"grant_type": "refresh_token", "refresh_token": self._kept[sent]}
        elif kind == "renewal":
            sent = self.undressed(params["refresh_token"], 0 if self.by_token else 1)
            known = self._kept.get(sent, "") if self.by_token else self._lasts.get(sent, sent)
            form = {"grant_type": "refresh_token", "refresh_token": known}
        elif "code" in params:
            check(params["code"] in self._codes, "that code is not known")
            back, verifier = self._codes[params["code"]]
            check(params.get("redirect_uri", back) == back, "redirect_uri is not the one of the question")
            form = {"grant_type": "authorization_code", "code": params["code"], "redirect_uri": f"{self.base}/callback",
                    "code_verifier": params["code_verifier"] if self.pkce else verifier}
        else:
            if self.grant == "jwt_bearer":
                self.check_assertion(params["assertion"])
            else:
                check_scopes(self, params)
            form = {"grant_type": "client_credentials", "scope": "read write"}
        status, _, data = self.real(self.auth, "POST", "/token", urllib.parse.urlencode(form), {
            "content-type": "application/x-www-form-urlencoded", "authorization": basic(self.client, f"{self.client}-secret")})
        std = json.loads(data)
        if status != 200:
            return answer_of(*self.refusal(std["error"], std.get("error_description", "")))
        with self._lock:
            self._kept[std["access_token"]] = std.get("refresh_token")
            if kind == "token" and self.kinds["chain"]:
                self._first.add(std["access_token"])
            if self.lasting and "refresh_token" in std:
                mine = sent if kind == "renewal" else std["refresh_token"]
                self._lasts[mine] = std["refresh_token"]
                std["refresh_token"] = mine
        if self.by_token:
            std.pop("refresh_token", None)
        for name, dress in zip(("access_token", "refresh_token"), self.dress):
            if name in std:
                std[name] = dress + std[name]
        return answer_of(200, filled(self.answer(std, kind), self))

    def check_assertion(self, assertion):
        head, claims, signature = (base64.urlsafe_b64decode(part + "==") for part in assertion.split("."))
        check(json.loads(head)["alg"] == "RS256", f"its header is {head}")
        try:
            self.signer.verify(signature, assertion.rpartition(".")[0].encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise Refuse("somebody else signed it") from None
        claims = json.loads(claims)
        jti, begins, ends = (claims.pop(n, 0) for n in ("jti", "iat", "exp"))
        check(claims == filled(self.claims, self), f"it says {claims}")
        check(begins - 5 <= time.time() < ends <= begins + 180, f"it is good from {begins} to {ends}")
        check(jti and jti not in self._jtis, "it has been here before")
        self._jtis.add(jti)

    def undressed(self, token, which):
        check(token.startswith(self.dress[which]), f"a token does not begin with {self.dress[which]}")
        return token[len(self.dress[which]):]

    # ---- its API ---------------------------------------------------------------------------------

    def call(self, request):
        w = self.where
        self.check_headers(w["headers"], request)
        token, query = self.token_of(request)
        token = self.undressed(token, 0)
        check(token not in self._first, "a first token is not for the API")
        headers = {k: v for k, v in request.headers.items()
                   if k not in ("host", "content-length", "cookie", "authorization", w["name"].lower())}
        path = request.path[len(w["base"]):] + (f"?{urllib.parse.urlencode(query)}" if query else "")
        self.log.append({"kind": "api", "path": request.path, "headers": request.headers, "token": token})
        status, got, data = self.real(self.real_api, request.method, path, request.body,
                                      {**headers, "authorization": f"Bearer {token}"})
        kept = {k: v for k, v in got.items() if k.lower() in ("content-type", "retry-after", "www-authenticate")}
        return status, kept, data

    def token_of(self, request):
        """(the token, the query without it)"""
        w, query = self.where, request.query
        if w["place"] == "query":
            tokens = [v for k, v in query if k == w["name"]]
            query = [(k, v) for k, v in query if k != w["name"]]
        elif w["place"] == "cookie":
            cookies = [c.partition("=") for c in request.headers.get("cookie", "").split("; ")]
            tokens = [v for k, _, v in cookies if k == w["name"]]
        else:
            given = request.headers.get(w["name"].lower())
            scheme, _, token = (given or "").rpartition(" ")
            check(given is None or scheme == w["scheme"], f"the scheme of {w['name']} is {scheme!r}")
            tokens = [token] if given else []
        if w["name"] != "Authorization":
            check("authorization" not in request.headers, "there is an Authorization header")
        check(len(tokens) == 1, f"no token in {w['place']} {w['name']}")
        return tokens[0], query

    def real(self, peer, method, path, body=None, headers=None):
        link = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=30 * PATIENCE)
        try:
            link.request(method, path, body, headers or {})
            answer = link.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            link.close()


class Request:
    def __init__(self, asked):
        self.method, self.headers, self.body = asked.method, asked.headers, asked.body
        self.path, _, query = asked.target.partition("?")
        self.query = urllib.parse.parse_qsl(query, True)

    def fields(self, body="any"):
        """What a body says; of that kind, or of the one that it says it is."""
        kind = self.headers.get("content-type", "")
        if body == "any" and not self.body:
            return []
        if "json" in kind and body in ("json", "any"):
            pairs = json.loads(self.body, object_pairs_hook=list)
            check(all(isinstance(v, str) for _, v in pairs), "a value is no text")
            return pairs
        check(body != "json" and kind == "application/x-www-form-urlencoded", f"the body is {kind or 'of no type'}")
        return urllib.parse.parse_qsl(self.body.decode(), True)


def check(good, why):
    if not good:
        raise Refuse(why)


def check_scopes(d, params):
    check(not d.scopes or sorted(params["scope"].split(d.separator)) == sorted(d.scopes), f"scope is {params.get('scope')!r}")


def filled(value, dialect):
    """BASE, HOST and PORT in its texts are the dialect's."""
    if isinstance(value, dict):
        return {k: filled(v, dialect) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(v, dialect) for v in value]
    return value.replace("BASE", dialect.base).replace("HOST", dialect.host).replace("PORT", str(dialect.port)) \
        if isinstance(value, str) else value


def answer_of(status, body, headers=None):
    if isinstance(body, bytes):
        return status, {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}, body
    return status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(body).encode()


def basic(name, secret):
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


def challenge(verifier):
    import hashlib
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
