"""Bad answers of the API, each through a running worker: what becomes of the job, how often it was
sent, that the worker goes on, and that no token ends up anywhere."""
import gzip
import json
import zlib

import msgpack
import pytest

from bad import Bad, all_rows
from rawhttp2 import CANCEL, INTERNAL_ERROR, WINDOW, RawHttp2, data, head, reset
from rawserver import KEEP, RawServer, answer, http
from tls import Authority, openssl

MIB = 1 << 20
ONCE = {"max": 0}
TWICE = {"max": 1, "base_ms": 1, "cap_ms": 1}


def bomb(mib=64):
    """mib MiB of zeros, gzipped to a thousandth."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(mib)) + packer.flush()


def then_reset(data):
    def route(link):
        link.send(data)
        link.reset()
    return route


def flood(head, piece):
    def route(link):
        link.send(head)
        link.flood(piece)
    return route


def drip(head, piece):
    def route(link):
        link.send(head)
        link.drip(piece)
    return route


# Every whole answer says that its link ends with it: else the next job may be sent on a link that
# the server is just closing, and counts as sent where the server never saw it.
CLOSE = b"connection: close\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n" + CLOSE
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
# name: (route, call, (state, code), times sent, words of the detail)
EXHAUSTED, UNKNOWN = ("dead", "retries_exhausted"), ("dead", "unknown_outcome")
TOO_BIG, HEADERS = ("dead", "answer_too_big"), ("dead", "answer_headers_too_big")
DONE, FAILED = ("done", None), ("failed", "answered")
ANSWERS = {
    # ---- cut short, or not HTTP at all: nobody knows what was done; the key makes a repeat safe
    "cut-body": (then_reset(HEAD + b"content-length: 100\r\n\r\nhalf"), {"retry": TWICE},
                 EXHAUSTED, 2, ""),
    "closed-body": (lambda k: k.send(HEAD + b"content-length: 100\r\n\r\nhalf"), {"retry": TWICE},
                    EXHAUSTED, 2, ""),
    "cut-chunk": (lambda k: k.send(CHUNKED + b"ff\r\nhalf"), {"retry": TWICE}, EXHAUSTED, 2, ""),
    "no-last-chunk": (lambda k: k.send(CHUNKED + b"4\r\nhalf\r\n"), {"retry": TWICE},
                      EXHAUSTED, 2, ""),
    "cut-head": (lambda k: k.send(HEAD + b"content-le"), {"retry": TWICE}, EXHAUSTED, 2, ""),
    "nothing": (lambda k: None, {"retry": TWICE}, EXHAUSTED, 2, ""),
    "reset": (then_reset(b""), {"retry": TWICE}, EXHAUSTED, 2, ""),
    "garbage": (lambda k: k.send(b"\x00\x01\xff garbage \r\n\r\n" * 10), {"retry": TWICE},
                EXHAUSTED, 2, ""),
    "http-0-9": (lambda k: k.send(b"<html>hello</html>"), {"retry": TWICE}, EXHAUSTED, 2, ""),
    "another-protocol": (lambda k: k.send(b"SSH-2.0-OpenSSH_9.2\r\n"), {"retry": TWICE},
                         EXHAUSTED, 2, ""),
    "bad-chunk-size": (lambda k: k.send(CHUNKED + b"zz\r\nhalf\r\n0\r\n\r\n"), {"retry": TWICE},
                       EXHAUSTED, 2, ""),
    "huge-chunk-size": (lambda k: k.send(CHUNKED + b"f" * 40 + b"\r\nhalf"), {"retry": TWICE},
                        EXHAUSTED, 2, ""),
    "bad-gzip": (answer(200, b"this is not gzip", content_encoding="gzip"), {"retry": TWICE},
                 EXHAUSTED, 2, ""),
    "status-99": (lambda k: k.send(b"HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n" + CLOSE + b"\r\n"),
                  {"retry": TWICE}, EXHAUSTED, 2, ""),
    "status-600": (lambda k: k.send(b"HTTP/1.1 666 Odd\r\ncontent-length: 0\r\n" + CLOSE + b"\r\n"),
                   {"retry": TWICE}, EXHAUSTED, 2, ""),
    "status-text": (lambda k: k.send(b"HTTP/1.1 abc Odd\r\ncontent-length: 0\r\n" + CLOSE + b"\r\n"),
                    {"retry": TWICE}, EXHAUSTED, 2, ""),
    # ---- the same where a repeat is not safe
    "reset-no-key": (then_reset(b""), {"idem": "none"}, UNKNOWN, 1, "not repeated"),
    "reset-dead": (then_reset(b""), {"ambiguous": "dead"}, UNKNOWN, 1, "not repeated"),
    "cut-dead": (then_reset(HEAD + b"content-length: 9\r\n\r\n"), {"ambiguous": "dead"}, UNKNOWN,
                 1, "not repeated"),
    "reset-get": (then_reset(b""), {"idem": "none", "method": "GET", "retry": TWICE}, EXHAUSTED, 2,
                  ""),
    "reset-put-dead": (then_reset(b""), {"method": "PUT", "ambiguous": "dead", "retry": TWICE},
                       UNKNOWN, 1, "not repeated"),
    "reset-get-dead": (then_reset(b""), {"method": "GET", "ambiguous": "dead", "retry": TWICE},
                       UNKNOWN, 1, "not repeated"),
    "reset-no-key-retry": (then_reset(b""), {"idem": "none", "ambiguous": "retry", "retry": TWICE}, EXHAUSTED, 2, ""),
    # ---- too much
    "endless-body": (flood(HEAD + b"\r\n", b"x" * 65536), {}, TOO_BIG, 1, "bytes"),
    "endless-chunks": (flood(CHUNKED, b"1\r\nx\r\n" * 10000), {}, TOO_BIG, 1, "bytes"),
    "2-mib": (answer(200, b"x" * 2 * MIB), {}, TOO_BIG, 1, "bytes"),
    "claims-1-tib": (lambda k: k.send(HEAD + b"content-length: 1099511627776\r\n\r\nx"), {},
                     TOO_BIG, 1, "bytes"),
    "gzip-bomb": (answer(200, bomb(), content_encoding="gzip"), {}, TOO_BIG, 1, "bytes"),
    "gzip-in-gzip": (answer(200, gzip.compress(bomb(16)), content_encoding="gzip, gzip"), {},
                     TOO_BIG, 1, "bytes"),
    "endless-headers": (flood(HEAD, b"x-a: " + b"y" * 1000 + b"\r\n"), {}, HEADERS, 1, "bytes"),
    "many-headers": (flood(HEAD, b"a: b\r\n"), {}, HEADERS, 1, "bytes"),
    "endless-header": (flood(HEAD + b"x-a: ", b"y" * 65536), {}, HEADERS, 1, ""),
    "endless-status-line": (flood(b"HTTP/1.1 200 ", b"O" * 65536), {}, HEADERS, 1, ""),
    "endless-trailers": (flood(CHUNKED + b"0\r\n", b"x-a: " + b"y" * 1000 + b"\r\n"), {}, HEADERS,
                         1, "bytes"),
    "1xx-flood": (flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), {}, HEADERS, 1, "bytes"),
    "102-flood": (flood(b"", b"HTTP/1.1 102 Wait\r\nx-a: b\r\n\r\n" * 100), {}, HEADERS, 1, "bytes"),
    # ---- lengths that do not agree
    "length-short": (lambda k: k.send(HEAD + b"content-length: 4\r\n\r\nbodyMORE"), {}, DONE, 1, ""),
    "length-negative": (lambda k: k.send(HEAD + b"content-length: -4\r\n\r\nbody"),
                        {"retry": TWICE}, EXHAUSTED, 2, ""),
    "length-text": (lambda k: k.send(HEAD + b"content-length: four\r\n\r\nbody"),
                    {"retry": TWICE}, EXHAUSTED, 2, ""),
    "length-twice": (lambda k: k.send(HEAD + b"content-length: 4\r\ncontent-length: 9\r\n\r\nbody"),
                     {"retry": TWICE}, EXHAUSTED, 2, ""),
    "length-and-chunked": (lambda k: k.send(HEAD + b"content-length: 3\r\ntransfer-encoding: chunked"
                                            b"\r\n\r\n4\r\nbody\r\n0\r\n\r\n"), {}, DONE, 1, ""),
    # ---- slow
    "slow-body": (drip(HEAD + b"content-length: 1000000\r\n\r\n", b"x"),
                  {"timeout_ms": 300, "retry": TWICE}, EXHAUSTED, 2, "time"),
    "slow-head": (drip(HEAD, b"x-a: b\r\n"), {"timeout_ms": 300, "retry": TWICE}, EXHAUSTED, 2,
                  "time"),
    "silent": (drip(b"", b""), {"timeout_ms": 300, "retry": TWICE}, EXHAUSTED, 2, "time"),
    "silent-dead": (drip(b"", b""), {"timeout_ms": 300, "ambiguous": "dead"}, UNKNOWN, 1, "time"),
    "1xx-drip": (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), {"timeout_ms": 300, "retry": TWICE},
                 EXHAUSTED, 2, "time"),
    # ---- redirects
    "loop": (answer(302, location="/loop"), {}, ("dead", "too_many_redirects"), 6, ""),
    "ping": (answer(307, location="/pong"), {}, ("dead", "too_many_redirects"), 3, ""),
    "pong": (answer(308, location="/ping"), None, None, None, None),
    "other-host": (answer(302, location="http://other.test/"), {}, ("dead", "host_not_allowed"), 1,
                   "redirect"),
    "other-port": (answer(302, location="http://127.0.0.1:1/"), {}, ("dead", "host_not_allowed"), 1,
                   "redirect"),
    "metadata": (answer(307, location="http://169.254.169.254/latest"), {},
                 ("dead", "host_not_allowed"), 1, ""),
    "to-file": (answer(302, location="file:///etc/passwd"), {}, ("dead", "scheme_not_allowed"), 1, ""),
    "to-script": (answer(302, location="javascript:alert(1)"), {}, ("dead", "url_invalid"), 1, ""),
    "to-userinfo": (answer(302, location="http://me:pw@127.0.0.1/"), {}, ("dead", "url_userinfo"),
                    1, ""),
    "to-dots": (answer(302, location="/a/%2e%2e/b"), {}, ("dead", "path_dot_segment"), 1, ""),
    "to-separator": (answer(302, location="/a%2fb"), {}, ("dead", "path_encoded_separator"), 1, ""),
    "to-garbage": (answer(302, location="http://[::"), {}, ("dead", "url_invalid"), 1, ""),
    "to-bytes": (lambda k: k.send(b"HTTP/1.1 302 Found\r\nlocation: /\x01\xff\x7f\r\n" + CLOSE
                                  + b"content-length: 0\r\n\r\n"), {}, ("dead", "url_invalid"), 1, ""),
    "to-nothing": (answer(302), {}, FAILED, 1, ""),
    "to-empty": (answer(302, b"", "location:"), {}, FAILED, 1, ""),
    "to-long": (answer(302, location="/" + "x" * 30000), {}, ("dead", "url_invalid"), 1, ""),
    # ---- strange, but answers
    "204-with-body": (answer(204, b"body"), {}, DONE, 1, ""),
    "bad-type": (answer(200, b"x", content_type="\xe4" * 300), {}, DONE, 1, ""),
    "not-utf8": (answer(200, b"\xff\xfe\x00", content_type="application/json"), {}, DONE, 1, ""),
    "empty-header-name": (answer(200, b"x", ": odd"), {}, DONE, 1, ""),
    "401-odd": (answer(401, b"", "www-authenticate: Bearer error=\"insufficient_scope\", \"\\"), {},
                FAILED, 1, ""),
    "429-absurd": (answer(429, b"", retry_after="99999999999999999999"),
                   {"retry": ONCE}, EXHAUSTED, 1, "429"),
    "503-negative": (answer(503, b"", retry_after="-5"), {"retry": TWICE}, EXHAUSTED, 2, "503"),
}


def test_answers(rig):
    b = Bad(rig, http_ca=None).start()
    for name, (route, *_) in ANSWERS.items():
        b.server.routes["/" + name] = route
    b.link("slow")  # a lane that a 429 closes is not the others'
    for name, (_, call, *_) in ANSWERS.items():
        if call is not None:
            b.put(b.job(name, "/" + name, conn="slow" if name.startswith("429") else "acct",
                        **call))
    names = [n for n, row in ANSWERS.items() if row[1] is not None]
    got = b.last_results(names, timeout=40)
    with all_rows() as row:
        for name in names:
            _, _, want, sent, words = ANSWERS[name]
            result = got[name]
            code = result.get("error", {}).get("code")
            row(name, (result["state"], code), want)
            row(name + ": id", result["id"], name)
            row(name + ": sent", b.server.count("/" + name), sent)
            if want in (TOO_BIG, HEADERS):
                headless = name in ("endless-status-line", "1xx-flood", "102-flood")
                row(name + ": status", result.get("status"), None if headless else 200)
                row(name + ": answered", "answered" in result["times"], not headless)
            detail = result.get("error", {}).get("detail", "")
            row(name + ": says " + words, words in detail, True)
            letter = b.letter(f"{name}.0.0")
            row(name + ": letter", letter and letter["code"].decode(),
                code if result["state"] == "dead" else None)
    assert got["length-short"]["output"] == "body", "what follows the length belongs to nobody"
    b.check()


def test_keys_of_repeats(rig):
    """A repeat after a broken answer carries the Idempotency-Key of the first; without, none."""
    b = Bad(rig).start()
    b.server.routes["/reset"] = then_reset(b"")
    b.put(b.job("keyed", "/reset", retry={"max": 2, "base_ms": 1, "cap_ms": 1}))
    assert b.last_results(["keyed"])["keyed"]["attempts"] == 3
    keys = [r.headers.get("idempotency-key") for r in b.server.requests if r.path == "/reset"]
    assert len(keys) == 3 and len(set(keys)) == 1 and keys[0]
    b.put(b.job("unkeyed", "/reset", "GET", idem="none", retry=TWICE))
    b.last_results(["unkeyed"])
    assert [r.headers.get("idempotency-key") for r in b.server.requests[-2:]] == [None, None]
    b.check()


def test_nobody_there(rig):
    """Not sent: always repeated, also where a repeat after sending would not be safe."""
    b = Bad(rig)
    b.link("gone", policy={"hosts": ["127.0.0.1:1", "no.such.host.invalid"]})
    b.start()
    cases = {
        "refused": ("http://127.0.0.1:1/", {}, "Failed to connect"),
        "refused-dead": ("http://127.0.0.1:1/", {"ambiguous": "dead"}, "Failed to connect"),
        "refused-no-key": ("http://127.0.0.1:1/", {"idem": "none"}, "Failed to connect"),
        "no-name": ("http://no.such.host.invalid/", {"idem": "none"}, "resolve"),
    }
    for name, (url, call, _) in cases.items():
        b.server.routes.setdefault("/token", b.give_token)
        job = b.job(name, url, conn="gone", retry=TWICE, **call)
        job["call"]["url"] = url.replace("http://no.such.host.invalid/",
                                         "http://no.such.host.invalid:80/")
        b.put(job)
    got = b.last_results(cases)
    with all_rows() as row:
        for name, (_, _, words) in cases.items():
            row(name, (got[name]["state"], got[name]["error"]["code"], got[name]["attempts"]),
                ("dead", "retries_exhausted", 2))
            row(name + ": says", words.lower() in got[name]["error"]["detail"].lower(), True)
    b.check()


def test_tls_that_cannot_be_trusted(rig):
    """A wrong name, an expired or foreign certificate, no TLS at all: nothing is sent, ever."""
    ca, foreign = Authority(rig.folder), Authority(rig.folder, "foreign")
    servers = {
        "fine": RawServer(ca.issue("fine")),
        "wrong-name": RawServer(ca.issue("wrong", "DNS:other.test")),
        "foreign": RawServer(foreign.issue("stranger")),
        "expired": RawServer(expired(ca)),
        "no-tls": RawServer(),
    }
    b = Bad(rig, http_ca=ca.cert, connect_timeout="500ms")
    for name, server in servers.items():
        rig.things.append(server)
        server.routes["/"] = answer(200, b"{}")
        server.routes["/down"] = answer(302, location=f"http://127.0.0.1:{server.port}/")
        b.link(f"to-{name}", policy={"hosts": [f"127.0.0.1:{server.port}"], "insecure_http": True})
    fine = servers["fine"]
    b.link("https", server=fine, policy={"insecure_http": False},
           token_url=fine.base + "/token")
    fine.routes["/token"] = b.give_token
    b.start()
    for name, server in servers.items():
        b.put(b.job(name, f"https://127.0.0.1:{server.port}/", conn=f"to-{name}", retry=TWICE,
                    ambiguous="dead"))
    b.put(b.job("downgrade", f"{fine.base}/down", conn="https"))
    got = b.last_results([*servers, "downgrade"])
    assert got["fine"]["state"] == "done"
    assert (got["downgrade"]["state"], got["downgrade"]["error"]["code"]) == \
        ("dead", "scheme_not_allowed")
    with all_rows() as row:
        for name in list(servers)[1:]:
            row(name, (got[name]["state"], got[name]["error"]["code"], got[name]["attempts"]),
                ("dead", "retries_exhausted", 2))
            row(name + ": requests", len(servers[name].requests), 0)
            row(name + ": not sent", got[name]["times"].get("sent"), None)
    b.check()


# name: (frames of the answer, (state, code), times sent)
STREAMS = {
    "fine": (head(200) + data(b"fine", end=True), DONE, 1),
    # ---- all of it was there: an answer, although the stream then ended with an error
    "whole": (head(200, 5) + data(b"whole") + reset(INTERNAL_ERROR), DONE, 1),
    "no-content": (head(204) + reset(INTERNAL_ERROR), DONE, 1),
    "refused": (head(413, 7) + data(b"too big") + reset(CANCEL), FAILED, 1),
    # ---- not all of it, or nobody can tell
    "cut": (head(200, 9) + data(b"whole") + reset(INTERNAL_ERROR), EXHAUSTED, 2),
    "no-length": (head(200) + data(b"whole") + reset(INTERNAL_ERROR), EXHAUSTED, 2),
    "no-body": (head(200, 5) + reset(INTERNAL_ERROR), EXHAUSTED, 2),
    "nothing": (reset(INTERNAL_ERROR), EXHAUSTED, 2),
}


@pytest.fixture
def h2(rig):
    """(a server of HTTP/2, a worker that may call it by the connection h2)."""
    ca = Authority(rig.folder)
    server = RawHttp2(ca.issue("h2"))
    rig.things.append(server)
    b = Bad(rig, http_ca=ca.cert)
    b.link("h2", policy={"hosts": [server.host], "insecure_http": True})
    return server, b.start()


def test_http2_streams_that_are_reset(h2):
    """RFC 9113 section 8.1: a server may answer in full and then reset the stream."""
    server, b = h2
    with all_rows() as row:
        for name, (frames, want, times) in STREAMS.items():
            # One at a time: some libcurls forget an answer whose reset another stream read.
            server.routes[name] = frames
            b.put(b.job(name, f"https://{server.host}/", conn="h2", retry=TWICE, body=f"{name} "))
            got = b.last_results([name])[name]
            row(name, (got["state"], got.get("error", {}).get("code")), want)
            row(f"{name}: sent", server.requests.count(("h2", name)), times)
            if name == "whole":
                row(name, (got["status"], got["output"]), (200, "whole"))
    b.check()


def test_long_bodies_do_not_wait_for_an_http2_window(h2):
    """There libcurl would turn round and round on a whole core, and miss an early answer."""
    server, b = h2
    server.routes["long"] = server.routes["short"] = head(200, 0, end=True)
    for name, size in ("short", 16 * 1024), ("long", WINDOW + 1):
        b.put(b.job(name, f"https://{server.host}/", conn="h2", retry=ONCE,
                    body=f"{name} ".ljust(size, "x")))
        assert b.last_results([name])[name]["state"] == "done"
    assert server.requests == [("h2", "short"), ("http/1.1", "long")]
    b.check()


def expired(ca):
    """A certificate of that authority that was good until last year."""
    key, request, cert = (ca.folder / f"expired.{x}" for x in ("key", "csr", "pem"))
    ext, index = ca.folder / "expired.ext", ca.folder / "index.txt"
    ext.write_text("subjectAltName=IP:127.0.0.1\n")
    index.write_text("")
    conf = ca.folder / "ca.conf"
    conf.write_text("[ca]\ndefault_ca=d\n[d]\n"
                    f"database={index}\nnew_certs_dir={ca.folder}\nserial={ca.folder}/serial\n"
                    f"certificate={ca.cert}\nprivate_key={ca.key}\ndefault_md=sha256\npolicy=p\n"
                    "[p]\ncommonName=supplied\n")
    (ca.folder / "serial").write_text("99\n")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
            "/CN=expired", "-keyout", key, "-out", request)
    openssl("ca", "-batch", "-notext", "-config", conf, "-extfile", ext, "-startdate",
            "20200101000000Z", "-enddate", "20210101000000Z", "-in", request, "-out", cert)
    return cert, key


@pytest.mark.parametrize("ambiguous", ["dead", None])
def test_once_on_a_kept_link(rig, ambiguous):
    """A kept link that ends without an answer: libcurl repeats a GET by itself, but not one that must not be."""
    b = Bad(rig, slots=1)

    def kept(link):
        link.send(http(200, b"", connection="keep-alive"))
        return KEEP
    b.server.routes["/kept"] = kept
    b.server.routes["/ends"] = lambda link: link.send(http(200)) if b.server.count("/ends") > 1 else None
    b.start()
    assert rig.result(b.job("first", "/kept", "GET"))["state"] == "done"
    more = {"ambiguous": ambiguous} if ambiguous else {}
    got = rig.result(b.job("second", "/ends", "GET", **more))
    assert (got["state"], b.server.count("/ends")) == (("dead", 1) if ambiguous else ("done", 2)), got


def test_answers_that_echo_the_token(rig):
    """The token comes back, in every way there is: taken out of the result, and found nowhere."""
    b = Bad(rig, redis={"aof": "always"}, log_level="debug")

    def echo(make):
        return lambda link: link.send(make(link.token))
    routes = {
        "body": lambda t: http(200, b"you sent " + t + b"!"),
        "twice": lambda t: http(200, t + t + b" and " + t),
        "json": lambda t: http(200, json.dumps({"t": t.decode()}).encode(),
                               content_type="application/json"),
        "gzipped": lambda t: http(200, gzip.compress(b"[" + t + b"]"), content_encoding="gzip"),
        "chunked": lambda t: CHUNKED + b"".join(b"1\r\n%c\r\n" % c for c in t) + b"0\r\n\r\n",
        "binary": lambda t: http(200, b"\xff\x00" + t + b"\xff"),
        "escaped": lambda t: http(200, b"%s \\u%04x%s\\%c%%%02X%s" % (t, t[0], t[1:-2], t[-2], t[-1], b"!")),
        "header": lambda t: http(200, b"body", x_echo=t.decode()),
        "type": lambda t: http(200, b"body", content_type="text/" + t.decode()),
        "reason": lambda t: b"HTTP/1.1 200 " + t + b"\r\ncontent-length: 2\r\n\r\nok",
        "error": lambda t: http(400, b"bad token " + t),
        "denied": lambda t: http(401, t, "www-authenticate: Bearer error=\"insufficient_scope\", "
                                 f"error_description=\"{t.decode()}\""),
        "busy": lambda t: http(503, t, retry_after="0", x_echo=t.decode()),
        "location": lambda t: http(302, t, location=f"/landing?access_token={t.decode()}"),
        "location-host": lambda t: http(302, location=f"http://{t.decode()}.test/"),
        "location-path": lambda t: http(302, location=f"/a/../{t.decode()}/%2e%2e/"),
        "garbage": lambda t: t + b" is what you sent\r\n\r\n",
        "bad-length": lambda t: HEAD + b"content-length: " + t + b"\r\n\r\n",
        "bad-chunk": lambda t: CHUNKED + t + b"\r\n" + t,
        "cut": lambda t: HEAD + b"content-length: 9999\r\n\r\n" + t,
        "cookie": lambda t: http(200, b"body", set_cookie=f"t={t.decode()}"),
        "too-big": lambda t: http(200, t * 50000),
        "type-then": lambda t: http(200, json.dumps({"t": t.decode()}).encode(),
                                    content_type="application/json"),
    }
    for name, make in routes.items():
        b.server.routes["/" + name] = echo(make)
    b.server.routes["/landing"] = lambda link: link.send(http(200, link.target.encode()))
    b.server.routes["/echo"] = lambda link: link.send(http(200, link.body))
    b.start()
    runs = {}
    for name in routes:
        for kind in ("content", "raw", "response"):
            run = f"{name}-{kind}"
            then = [b.job("-", "/echo", "POST")["call"]] if name == "type-then" else None
            b.put(b.job(run, "/" + name, **{"as": kind}, retry=TWICE, env={"then": then}))
            runs[run] = name
    got = b.last_results(runs, timeout=40)
    token = b.tokens[0].encode()
    marked = {"body", "escaped", "twice", "json", "gzipped", "chunked", "binary", "error", "denied",
              "location", "busy"}
    with all_rows() as row:
        for run, name in runs.items():
            row(run + ": has the token", token in msgpack.packb(got[run]), False)
            if name in marked:
                row(run + ": marked", got[run].get("redacted"), True)
        row("body", got["body-content"]["output"], "you sent [redacted]!")
        row("twice", got["twice-raw"]["output"], b"[redacted][redacted] and [redacted]")
        row("escaped", got["escaped-content"]["output"], "[redacted] [redacted]!")
        row("header", got["header-response"].get("redacted"), True)
    b.check()
    assert len(b.tokens) == 1, "the one that was looked for is the one that was sent"
    assert found_anywhere(rig, token) == []


def found_anywhere(rig, token):
    """Where the bytes are: in any value of Redis, in what Redis ever wrote, in any log."""
    client, found = rig.redis.client, []
    for key in client.scan_iter("*", 1000):
        kind = client.type(key)
        value = {b"hash": client.hgetall, b"string": client.get,
                 b"stream": client.xrange, b"set": client.smembers,
                 b"zset": lambda k: client.zrange(k, 0, -1)}[kind](key)
        if token.decode() in str(value) or token in client.dump(key):
            found.append(key)
    for path in rig.folder.rglob("*"):
        if path.is_file() and token in path.read_bytes():
            found.append(path)
    return found
