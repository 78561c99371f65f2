#!/usr/bin/python3
"""Write the vectors of PROTOCOL.md anew: envelopes.json, results.json, bad.json, signed.json.

The bytes are python3-msgpack's, so that awq is held against an implementation that is not its own.
Run it after a change of the protocol, and look at the difference before it is committed.
"""
import base64
import ctypes
import ctypes.util
import json
import os

import msgpack

HERE = os.path.dirname(os.path.abspath(__file__))
URL = "https://api.example.com/v1/leads"
TP = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def not_utf8(value):
    """The same, and "\\udcff" in a str becomes the byte 0xff."""
    return msgpack.packb(value, use_bin_type=True, unicode_errors="surrogateescape")


def as_msgpack(call):
    """A call as PROTOCOL.md's JSON form has it: body_base64 stands for a binary body."""
    return {("body" if k == "body_base64" else k): (base64.b64decode(v) if k == "body_base64" else v)
            for k, v in call.items()}


def envelope_bytes(job):
    job = dict(job)
    if "call" in job:
        job["call"] = as_msgpack(job["call"])
    if "then" in job:
        job["then"] = [as_msgpack(c) for c in job["then"]]
    return pack(job)


def job(**more):
    return {"v": 1, "id": "lead-1", "call": {"conn": "crm-1", "url": URL}, **more}


def call(**more):
    return {"v": 1, "id": "lead-1", "call": {"conn": "crm-1", "url": URL, **more}}


ENVELOPES = [
    ("smallest", "GET, all defaults", {"v": 1, "id": "a", "call": {"conn": "c", "url": URL}}),
    ("json-body", "a map goes out as JSON", call(method="POST", body={
        "name": "Ünal", "n": 9007199254740993, "big": 18446744073709551615, "low": -9223372036854775808,
        "half": 0.5, "ok": True, "none": None, "list": [1, [2, {"three": 3}], {}], "empty": ""})),
    ("array-body", "so does an array", call(method="PUT", body=[{"a": 1}, "b", 3])),
    ("text-body", "a str goes out as it is", call(
        method="POST", headers={"Content-Type": "text/csv"}, body="a,b\r\n1,2\r\n")),
    ("binary-body", "so does a bin", call(
        method="POST", headers={"Content-Type": "application/octet-stream"},
        body_base64=base64.b64encode(bytes([0, 255, 254, 10, 128])).decode())),
    ("empty-body", "an empty body is a body", call(method="POST", body="")),
    ("query-and-headers", "strings, integers and booleans", call(
        query={"q": "a b&c=d", "limit": 50, "since": -1, "all": True, "max": 18446744073709551615},
        headers={"Accept": "application/json", "X-Count": 3, "X-Flag": False})),
    ("all-of-a-call", "every key of a call", call(
        method="PATCH", query={"x": "1"}, headers={"If-Match": "\"abc\""}, body={"a": "b"},
        **{"as": "response"}, timeout_ms=15000, retry={"max": 3, "base_ms": 250, "cap_ms": 10000},
        idem="order-77", ambiguous="dead", token="bot_1", needs=["leads.read", "https://api.example.com/auth/leads"])),
    ("then", "three steps; each has the output before it as input", job(then=[
        {"conn": "crm-1", "method": "POST", "url": URL + "/{id}/notes", "query": {"as": "{kind}"},
         "headers": {"X-Lead": "{id}"}, "body": {"text": "about {name}", "lead": "{id}", "literal": "{{id}}"}},
        {"conn": "hooks", "url": "https://hooks.example.net/done", "method": "POST"}])),
    ("times", "not before, and not after", job(not_before=1767225600000, deadline=1767229200000)),
    ("earliest-times", "0 is as if not said; less than 10^11 would be seconds", job(not_before=0, deadline=10 ** 11)),
    ("out", "results to a stream of one's own", job(out="crm-results")),
    ("no-out", "results to the run record only", job(out="")),
    ("tenant-and-trace", "tenant; W3C trace context", job(tenant="acme", tp=TP, ts="vendor=1,other=x")),
    ("bad-trace", "a trace context that cannot be used is dropped", job(tp="00-xyz", ts="a\nb")),
    ("unknown-keys", "kept and passed on", job(x_mine={"a": [1, 2]}, ttl=5)),
    ("longest-id", "64 characters", {"v": 1, "id": "Az09_:-" + "x" * 57, "call": {"conn": "c", "url": URL}}),
]

RESULT = {"id": "lead-1", "run": "lead-1", "step": 0, "seq": 0, "end": True, "state": "done"}
TIMES = {"queued": 1767225600000, "started": 1767225600010, "sent": 1767225600012,
         "answered": 1767225600090, "committed": 1767225600091}
REST = {"attempts": 1, "times": TIMES, "worker": "host-00112233aabbccdd"}


def result(**more):
    return {**RESULT, **more}


def problem(code, title, detail, status=None, step=0):
    p = {"type": "urn:awq:error:" + code, "title": title}
    if status:
        p["status"] = status
    return {**p, "detail": detail, "instance": "lead-1/%d" % step, "code": code}


RESULTS = [
    ("done-json", "output is the body's text", result(
        status=200, output={"id": 7, "name": "Ünal"}, type="application/json", **REST)),
    ("done-text", "any other text", result(status=200, output="hello", type="text/plain", **REST)),
    ("done-binary", "a body that is not text", result(
        status=200, output_base64=base64.b64encode(bytes([255, 216, 255, 0])).decode(),
        type="image/jpeg", **REST)),
    ("done-empty", "no body, so no output", result(status=204, **REST)),
    ("not-the-last", "a step in the middle of a run", {
        **result(status=201, output={"id": 7}, type="application/json", **REST), "end": False}),
    ("failed", "the far side said no", {
        **result(), "step": 1, "seq": 1, "state": "failed", "status": 422, "output": {"why": "x"},
        "type": "application/json", "error": problem(
            "http_status", "the answer was 422", "POST api.example.com answered 422", 422, 1), **REST}),
    ("dead", "a person is needed; nothing was sent", {
        **result(), "state": "dead", "error": problem(
            "host_not_allowed", "a policy says no", "host evil.example is not in the policy of crm-1"),
        "attempts": 0, "times": {"queued": 1767225600000, "committed": 1767225600091},
        "worker": "host-00112233aabbccdd"}),
    ("expired", "the deadline was past", {
        **result(), "state": "expired", "error": problem(
            "expired", "the deadline has passed", "the deadline was 1767225600000"),
        "attempts": 0, "times": {"committed": 1767225600091}}),
    ("cancelled", "somebody took it back", {
        **result(), "state": "cancelled", "attempts": 0, "times": {}}),
    ("redacted-and-traced", "the answer held the token; it was taken out", result(
        status=200, output="[redacted]", type="text/plain", **REST, tp=TP, redacted=True)),
]


def result_bytes(r):
    r = dict(r)
    out = {}
    for k, v in r.items():
        if k == "output" and r.get("type") == "application/json":
            v = json.dumps(v, ensure_ascii=False, separators=(",", ":"))
        if k == "output_base64":
            k, v = "output", base64.b64decode(v)
        out[k] = v
    return pack(out)


def nested(depth):
    v = 1
    for _ in range(depth):
        v = [v]
    return v


GOOD = envelope_bytes(job())
BAD = [
    ("empty", "no bytes at all", b"", "envelope_truncated"),
    ("json-text", "JSON is not MessagePack", b'{"v":1,"id":"a"}', "envelope_not_msgpack"),
    ("never-used-head", "0xc1 stands for nothing", b"\xc1", "envelope_not_msgpack"),
    ("never-used-inside", "nor inside a map", b"\x81\xa1v\xc1", "envelope_not_msgpack"),
    ("cut-short", "the last byte is missing", GOOD[:-1], "envelope_truncated"),
    ("cut-in-half", "half of it is missing", GOOD[:len(GOOD) // 2], "envelope_truncated"),
    ("map-of-2-to-32", "a map that claims 4294967295 members", b"\xdf\xff\xff\xff\xff\xa1v\x01",
     "envelope_truncated"),
    ("array-of-2-to-32", "inside a known key", b"\x81\xa4then\xdd\xff\xff\xff\xff", "envelope_truncated"),
    ("string-of-2-to-32", "a str longer than the bytes", b"\x81\xa2id\xdb\xff\xff\xff\xffa",
     "envelope_truncated"),
    ("bin-of-2-to-32", "a bin longer than the bytes", b"\x81\xa2id\xc6\xff\xff\xff\xff",
     "envelope_truncated"),
    ("ext-of-2-to-32", "an ext longer than the bytes", b"\x81\xa2id\xc9\xff\xff\xff\xff\x01",
     "envelope_truncated"),
    ("two-values", "something follows", GOOD + b"\xc0", "envelope_trailing_bytes"),
    ("array", "not a map", pack([1, 2]), "envelope_not_a_map"),
    ("nil", "not a map", pack(None), "envelope_not_a_map"),
    ("too-deep", "40 arrays inside each other", pack(job(x=nested(40))), "envelope_too_deep"),
    ("integer-key", "keys are strings", pack({1: 2, **job()}), "envelope_key_type"),
    ("binary-key", "keys are strings", pack({b"v": 1, "id": "a"}), "envelope_key_type"),
    ("id-twice", "two ids", b"\x84\xa1v\x01\xa2id\xa1a\xa2id\xa1b\xa4call" + pack({"url": URL}),
     "envelope_duplicate_key"),
    ("url-twice", "two urls", b"\x83\xa1v\x01\xa2id\xa1a\xa4call\x82" + 2 * (pack("url") + pack(URL)),
     "envelope_duplicate_key"),
    ("no-version", "v is required", pack({"id": "a", "call": {"url": URL}}), "envelope_version"),
    ("version-2", "unknown", pack({**job(), "v": 2}), "envelope_version"),
    ("version-text", "v is an integer", pack({**job(), "v": "1"}), "envelope_version"),
    ("version-null", "v is an integer", pack({**job(), "v": None}), "envelope_version"),
    ("no-id", "id is required", pack({"v": 1, "call": {"url": URL}}), "envelope_id_missing"),
    ("id-empty", "1 character at least", pack({**job(), "id": ""}), "envelope_id_invalid"),
    ("id-too-long", "64 at most", pack({**job(), "id": "x" * 65}), "envelope_id_invalid"),
    ("id-odd-bytes", "a blank", pack({**job(), "id": "a b"}), "envelope_id_invalid"),
    ("id-not-utf8", "a byte over 127", b"\x82\xa1v\x01\xa2id\xa1\xff", "envelope_id_invalid"),
    ("id-binary", "id is a str", pack({**job(), "id": b"a"}), "envelope_id_invalid"),
    ("id-number", "id is a str", pack({**job(), "id": 7}), "envelope_id_invalid"),
    ("id-null", "id is a str", pack({**job(), "id": None}), "envelope_id_invalid"),
    ("no-call", "call is required", pack({"v": 1, "id": "a"}), "call_missing"),
    ("call-text", "call is a map", pack({**job(), "call": URL}), "call_type"),
    ("call-null", "call is a map", pack({**job(), "call": None}), "call_type"),
    ("flow", "not in this version", pack({"v": 1, "id": "a", "flow": "ns/name"}), "flow_not_supported"),
    ("flow-and-call", "not in this version", pack(job(flow="ns/name")), "flow_not_supported"),
    ("no-conn", "whose policy would say where it may go?", pack({"v": 1, "id": "a", "call": {"url": URL}}),
     "connection_missing"),
    ("then-no-conn", "found before the first call is made", pack(job(then=[{"url": URL}])),
     "connection_missing"),
    ("conn-empty", "leave it out, or name one", pack(call(conn="")), "call_conn_invalid"),
    ("no-url", "url is required", pack({"v": 1, "id": "a", "call": {}}), "call_url_missing"),
    ("url-empty", "url is not empty", pack(call(url="")), "call_url_invalid"),
    ("url-number", "url is a str", pack(call(url=1)), "call_url_invalid"),
    ("url-newline", "no control characters", pack(call(url=URL + "\r\nX: y")), "call_url_invalid"),
    ("url-blank", "no blanks", pack(call(url=URL + "/a b")), "call_url_invalid"),
    ("url-too-long", "8192 bytes at most", pack(call(url=URL + "x" * 8192)), "call_url_invalid"),
    ("method-lower", "upper case", pack(call(method="get")), "call_method_invalid"),
    ("method-injection", "letters only", pack(call(method="GET / HTTP/1.1\r\n")), "call_method_invalid"),
    ("method-connect", "not through awq", pack(call(method="CONNECT")), "call_method_invalid"),
    ("method-number", "method is a str", pack(call(method=1)), "call_method_invalid"),
    ("conn-odd", "a slash", pack(call(conn="a/b")), "call_conn_invalid"),
    ("conn-too-long", "64 at most", pack(call(conn="c" * 65)), "call_conn_invalid"),
    ("conn-null", "leave it out instead", pack(call(conn=None)), "call_conn_invalid"),
    ("headers-array", "a map", pack(call(headers=[["A", "b"]])), "call_header_invalid"),
    ("header-newline", "no CR or LF", pack(call(headers={"A": "b\r\nC: d"})), "call_header_invalid"),
    ("header-nul", "no NUL", pack(call(headers={"A": "b\0c"})), "call_header_invalid"),
    ("header-name-blank", "a token (RFC 9110)", pack(call(headers={"A B": "c"})), "call_header_invalid"),
    ("header-name-colon", "a token (RFC 9110)", pack(call(headers={"A:": "c"})), "call_header_invalid"),
    ("header-name-empty", "a token (RFC 9110)", pack(call(headers={"": "c"})), "call_header_invalid"),
    ("header-twice", "names have no case", pack(call(headers={"Accept": "a", "accept": "b"})),
     "call_header_invalid"),
    ("header-float", "floats have no one spelling", pack(call(headers={"A": 1.5})), "call_header_invalid"),
    ("header-null", "leave it out instead", pack(call(headers={"A": None})), "call_header_invalid"),
    ("header-list", "a scalar", pack(call(headers={"A": ["b"]})), "call_header_invalid"),
    ("headers-65", "64 at most", pack(call(headers={"h%d" % i: i for i in range(65)})),
     "call_header_invalid"),
    ("query-text", "a map", pack(call(query="a=b")), "call_query_invalid"),
    ("query-float", "floats have no one spelling", pack(call(query={"a": 1.5})), "call_query_invalid"),
    ("query-null", "leave it out instead", pack(call(query={"a": None})), "call_query_invalid"),
    ("query-map", "a scalar", pack(call(query={"a": {"b": 1}})), "call_query_invalid"),
    ("query-integer-key", "keys are strings", pack(call(query={1: "a"})), "call_query_invalid"),
    ("body-number", "bin, str, map or array", pack(call(body=5)), "call_value_invalid"),
    ("body-null", "leave it out instead", pack(call(body=None)), "call_value_invalid"),
    ("body-bin-inside", "JSON has no binary", pack(call(body={"a": b"b"})), "call_value_invalid"),
    ("body-integer-key", "JSON keys are strings", pack(call(body={"a": {1: 2}})), "call_value_invalid"),
    ("body-nan", "JSON has no NaN", pack(call(body=[float("nan")])), "call_value_invalid"),
    ("body-ext-inside", "JSON has no extensions", pack(call(body=[msgpack.ExtType(5, b"x")])),
     "call_value_invalid"),
    ("body-not-utf8", "a str that is not UTF-8", b"\x83\xa1v\x01\xa2id\xa1a\xa4call\x82\xa3url" + pack(URL)
     + b"\xa4body\x91\xa1\xff", "call_value_invalid"),
    ("text-body-not-utf8", "bytes are for a bin", not_utf8(call(body="\udcff")), "call_value_invalid"),
    ("url-not-utf8", "text is UTF-8", not_utf8(call(url=URL + "/\udcff")), "call_url_invalid"),
    ("header-not-utf8", "text is UTF-8", not_utf8(call(headers={"A": "b\udcff"})), "call_header_invalid"),
    ("query-not-utf8", "text is UTF-8", not_utf8(call(query={"a": "b\udcff"})), "call_query_invalid"),
    ("query-name-not-utf8", "text is UTF-8", not_utf8(call(query={"a\udcff": "b"})), "call_query_invalid"),
    ("as-unknown", "content, raw or response", pack(call(**{"as": "json"})), "call_value_invalid"),
    ("timeout-zero", "1 at least", pack(call(timeout_ms=0)), "call_value_invalid"),
    ("timeout-negative", "1 at least", pack(call(timeout_ms=-5)), "call_value_invalid"),
    ("timeout-float", "an integer", pack(call(timeout_ms=1.5)), "call_value_invalid"),
    ("timeout-text", "an integer", pack(call(timeout_ms="5")), "call_value_invalid"),
    ("timeout-two-days", "a day at most", pack(call(timeout_ms=172800000)), "call_value_invalid"),
    ("retry-number", "a map", pack(call(retry=3)), "call_value_invalid"),
    ("retry-max-negative", "0 at least", pack(call(retry={"max": -1})), "call_value_invalid"),
    ("retry-cap-under-base", "cap_ms >= base_ms", pack(call(retry={"base_ms": 500, "cap_ms": 100})),
     "call_value_invalid"),
    ("idem-empty", "1 character at least", pack(call(idem="")), "call_value_invalid"),
    ("idem-newline", "visible ASCII", pack(call(idem="a\nb")), "call_value_invalid"),
    ("ambiguous-unknown", "retry or dead", pack(call(ambiguous="maybe")), "call_value_invalid"),
    ("token-empty", "1 character at least", pack(call(token="")), "call_value_invalid"),
    ("token-long", "32 characters", pack(call(token="a" * 33)), "call_value_invalid"),
    ("token-upper-case", "a-z: no setting has another name", pack(call(token="Bot")), "call_value_invalid"),
    ("token-blank", "letters, digits and _", pack(call(token="bot 1")), "call_value_invalid"),
    ("token-number", "a string", pack(call(token=1)), "call_value_invalid"),
    ("needs-text", "an array", pack(call(needs="read")), "call_value_invalid"),
    ("needs-integer", "of strings", pack(call(needs=["read", 1])), "call_value_invalid"),
    ("needs-nested", "of strings", pack(call(needs=[["read"]])), "call_value_invalid"),
    ("needs-empty", "1 character at least", pack(call(needs=[""])), "call_value_invalid"),
    ("needs-blank", "one scope each", pack(call(needs=["read write"])), "call_value_invalid"),
    ("needs-quote", "no scope has one", pack(call(needs=['re"ad'])), "call_value_invalid"),
    ("needs-long", "128 characters at most", pack(call(needs=["x" * 129])), "call_value_invalid"),
    ("needs-17", "16 at most", pack(call(needs=["read"] * 17)), "call_value_invalid"),
    ("then-map", "an array", pack(job(then={"url": URL})), "then_type"),
    ("then-null", "an array", pack(job(then=None)), "then_type"),
    ("then-of-text", "of maps", pack(job(then=[URL])), "then_type"),
    ("then-64", "63 at most", pack(job(then=[{"url": "u"}] * 64)), "then_too_many"),
    ("then-third-bad", "found before the first call is made", pack(
        job(then=[{"conn": "c", "url": URL}, {"conn": "c", "url": URL}, {"conn": "c", "url": URL, "timeout_ms": 0}])), "call_value_invalid"),
    ("then-no-url", "url is required", pack(job(then=[{"method": "POST"}])), "call_url_missing"),
    ("out-odd", "a colon", pack(job(out="a:b")), "out_invalid"),
    ("out-null", "leave it out instead", pack(job(out=None)), "out_invalid"),
    ("tenant-odd", "a blank", pack(job(tenant="a b")), "envelope_value_invalid"),
    ("deadline-text", "an integer", pack(job(deadline="soon")), "envelope_value_invalid"),
    ("deadline-negative", "Unix milliseconds", pack(job(deadline=-1)), "envelope_value_invalid"),
    ("deadline-seconds", "milliseconds", pack(job(deadline=1795850634)), "envelope_value_invalid"),
    ("not-before-seconds", "milliseconds", pack(job(not_before=99999999999)), "envelope_value_invalid"),
    ("iat-seconds", "milliseconds", pack(job(iat=1795850634)), "envelope_value_invalid"),
    ("not-before-absurd", "the year 9999 at most", pack(job(not_before=2 ** 62)), "envelope_value_invalid"),
    ("tp-number", "a str", pack(job(tp=1)), "envelope_value_invalid"),
    ("k-text", "k is awq's own", pack(job(k="x")), "k_invalid"),
    ("k-past-the-end", "k is awq's own", pack(job(k={"b": "0", "s": 1, "p": 1, "n": 1, "a": 0})), "k_invalid"),
    ("k-wrong-types", "k is awq's own", pack(job(k={"b": 0, "s": "1"})), "k_invalid"),
]


# seed (RFC 8032 section 7.1, tests 1 and 2), prefix, queue, producer, envelope
SIGNED = [
    ("default", "the least", "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", "awq", "default", "shop",
     job(id="shop:1", iat=1700000000000, deadline=1700000300000)),
    ("elsewhere", "another prefix, queue and producer", "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
     "awq2", "fast", "crm-2", job(id="crm-2:lead-17", iat=1700000000000, deadline=1700000300000, out="")),
]


def signed(seed, prefix, queue, producer, j):
    """(public key, the field s), by libsodium."""
    sodium = ctypes.CDLL(ctypes.util.find_library("sodium"))
    public, secret, out = (ctypes.create_string_buffer(n) for n in (32, 64, 64))
    sodium.crypto_sign_seed_keypair(public, secret, bytes.fromhex(seed))
    data = f"awq job 1\n{prefix}\n{queue}\n{producer}\n".encode() + j
    sodium.crypto_sign_detached(out, None, data, ctypes.c_ulonglong(len(data)), secret)
    return public.raw, out.raw + producer.encode()


def signed_row(name, why, seed, prefix, queue, producer, envelope):
    j = envelope_bytes(envelope)
    public, s = signed(seed, prefix, queue, producer, j)
    return {"name": name, "why": why, "seed": seed, "key": public.hex(), "prefix": prefix, "queue": queue,
            "producer": producer, "j": j.hex(), "s": s.hex()}


def write(name, rows):
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n")


if __name__ == "__main__":
    write("envelopes.json", [{"name": n, "why": w, "json": j, "hex": envelope_bytes(j).hex()}
                             for n, w, j in ENVELOPES])
    write("results.json", [{"name": n, "why": w, "json": j, "hex": result_bytes(j).hex()}
                           for n, w, j in RESULTS])
    write("bad.json", [{"name": n, "why": w, "hex": b.hex(), "code": c} for n, w, b, c in BAD])
    write("signed.json", [signed_row(*row) for row in SIGNED])
