"""Bad jobs, each through a running worker: one dead letter with its code and id, and work goes on."""
import json
import re
import subprocess
import time

import msgpack
import pytest

from bad import Bad, all_rows
from procs import ROOT, SANITIZED, wait_until
from records import Keys
from rawserver import answer, http

MIB = 1 << 20
FORBIDDEN = ["Host", "Authorization", "Proxy-Authorization", "Proxy-Anything", "Cookie", "DPoP",
             "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Upgrade", "TE",
             "Trailer", "Expect", "aUTHORIZATION"]
NSS_WRAPPER = "libnss_wrapper.so"


@pytest.fixture
def bad(rig):
    return Bad(rig)


def check_letters(b, rows):
    """rows: {name: (run, id of the result or None for the run's own name, code)}."""
    got = b.last_results({run: name for name, (run, _, _) in rows.items()})
    with all_rows() as row:
        for name, (run, job_id, code) in rows.items():
            result = got[run]
            letter = b.letter(f"{run}.0.0") or {}
            row(name, (result["state"], result["error"]["code"], result["id"]),
                ("dead", code, job_id or run))
            row(name + ": letter", letter.get("code", b"none").decode(), code)
            row(name + ": letter's text", letter.get("text"), result["error"]["detail"].encode())
            if code != "commit_failed":
                row(name + ": status", result.get("status"), None)


def readable_id(raw):
    """The id that the dead letter must carry, if another decoder can read it from these bytes."""
    unpacker = msgpack.Unpacker(unicode_errors="surrogateescape", strict_map_key=False)
    unpacker.feed(raw)
    try:
        for _ in range(unpacker.read_map_header()):
            key, value = unpacker.unpack(), unpacker.unpack()
            if not isinstance(key, str):
                break
            if key == "id":
                return value if is_id(value) else None
    except Exception:
        pass
    return None


def is_id(value):
    return isinstance(value, str) and re.fullmatch("[A-Za-z0-9_:-]{1,64}", value) is not None


def test_every_bad_envelope_of_the_vectors(bad):
    """tests/vectors/bad.json, through Redis: each becomes a letter of a run of its own."""
    vectors = json.loads((ROOT / "tests/vectors/bad.json").read_text())
    assert len(vectors) > 90
    b = bad.start()
    rows = {}
    for v in vectors:
        raw = bytes.fromhex(v["hex"])
        rows[v["name"]] = (b.put_bad(raw), readable_id(raw), v["code"])
    check_letters(b, rows)
    assert b.server.count("/good") == b.made, "none of them was called"
    b.check()


def deep(n):
    return b"\x91" * n + b"\x01"


def with_body(raw):
    """An envelope whose body is these bytes."""
    head = msgpack.packb({"v": 1, "id": "deep"})
    call = msgpack.packb({"conn": "acct", "url": "https://a/", "method": "POST"})
    return bytes([head[0] + 1]) + head[1:] + b"\xa4call" + bytes([call[0] + 1]) + call[1:] \
        + b"\xa4body" + raw


def test_bad_envelopes_keep_their_id(bad):
    """What is wrong is said under the id that could be read, in a run that is not that id's."""
    b = bad.start()
    good = b.job("x")
    cases = {
        "text": (b"hello, this is not MessagePack", None, "envelope_not_msgpack"),
        "json": (json.dumps(good).encode(), None, "envelope_not_msgpack"),
        "every byte 0xff": (b"\xff" * 4096, None, "envelope_not_msgpack"),
        "nothing": (b"", None, "envelope_truncated"),
        "cut": (msgpack.packb(b.job("cut"))[:-3], "cut", "envelope_truncated"),
        "cut in the id": (msgpack.packb({"v": 1, "id": "half"})[:-2], None, "envelope_truncated"),
        "a number": (msgpack.packb(17), None, "envelope_not_a_map"),
        "v 2": (b.job("v-2", env={"v": 2}), "v-2", "envelope_version"),
        "v text": (b.job("v-text", env={"v": "1"}), "v-text", "envelope_version"),
        "v 2^63": (b.job("v-big", env={"v": 1 << 63}), "v-big", "envelope_version"),
        "no call": ({"v": 1, "id": "no-call"}, "no-call", "call_missing"),
        "flow": ({"v": 1, "id": "flow", "flow": "a/b"}, "flow", "flow_not_supported"),
        "flow and call": (b.job("both", env={"flow": "a/b"}), "both", "flow_not_supported"),
        "id of 65": (b.job("x" * 65), None, "envelope_id_invalid"),
        "id of 1 MB": (b.job("x" * 1000000), None, "envelope_id_invalid"),
        "id with a blank": (b.job("a b"), None, "envelope_id_invalid"),
        "id with NUL": (b.job("a\0b"), None, "envelope_id_invalid"),
        "id with a newline": (b.job("a\nb"), None, "envelope_id_invalid"),
        "id with a brace": (b.job("a{s0}"), None, "envelope_id_invalid"),
        "id not ASCII": (b.job("ä"), None, "envelope_id_invalid"),
        "id as bytes": (b.job(b"abc"), None, "envelope_id_invalid"),
        "id a number": (b.job(7), None, "envelope_id_invalid"),
        "call a list": ({"v": 1, "id": "call-list", "call": [1]}, "call-list", "call_type"),
        "url of the wrong type": (b.job("url-bin", url=b"http://x/"), "url-bin", "call_url_invalid"),
        "2 MiB": (b.job("big", body=b"x" * 2 * MIB), "big", "envelope_too_big"),
        "100,000 arrays deep": (with_body(deep(100000)), "deep", "envelope_too_deep"),
        "1,000,000 arrays deep": (with_body(deep(1000000)), "deep", "envelope_too_deep"),
        "100,000 keys": ({"v": 1, "id": "keys", "call": {f"k{i}": 1 for i in range(100000)}},
                         "keys", "call_url_missing"),
        "header with a newline": (b.job("h-nl", headers={"X-A": "a\r\nEvil: 1"}), "h-nl",
                                  "call_header_invalid"),
        "header name with a newline": (b.job("h-name", headers={"X\r\nEvil": "1"}), "h-name",
                                       "call_header_invalid"),
        "url with a newline": (b.job("url-nl", path="/a\r\nHost: evil"), "url-nl",
                               "call_url_invalid"),
        "method with a newline": (b.job("m-nl", method="GET / HTTP/1.1\r\nX: "), "m-nl",
                                  "call_method_invalid"),
        "idem with a newline": (b.job("idem-nl", idem="a\r\nb"), "idem-nl", "call_value_invalid"),
        "out with odd bytes": (b.job("out-odd", env={"out": "a}b"}), "out-odd", "out_invalid"),
        "a bad call in then": (b.job("then-bad", env={"then": [{"conn": "acct", "url": "x y"}]}),
                               "then-bad", "call_url_invalid"),
        "k of nobody": (b.job("k-empty", env={"k": {}}), "k-empty", "k_forged"),
        "k forged": (b.job("k-forged", env={"k": k_of(position=0, seq=7)}), "k-forged", "k_forged"),
    }
    rows = {}
    for name, (job, job_id, code) in cases.items():
        rows[name] = (b.put_bad(job), job_id, code)
    check_letters(b, rows)
    assert b.server.count("/good") == b.made, "none of them was called"
    b.check()


def k_of(**more):
    return {"b": "0", "s": 1, "p": 0, "n": 0, "a": 0, **more}


def test_entries_with_odd_fields(bad):
    b = bad.start()
    job = msgpack.packb
    rows = {}
    bad_rows = {
        "no field j": ({"x": "1"}, "envelope_field_missing"),
        "only unknown fields": ({f"f{i}": "x" for i in range(5000)}, "envelope_field_missing"),
        "j in capitals": ({"J": job(b.job("capital"))}, "envelope_field_missing"),
        "empty name": ({"": job(b.job("empty-name"))}, "envelope_field_missing"),
        "j empty": ({"j": b""}, "envelope_truncated"),
        "j and 100 KB of s": ({"j": b"\xc1", "s": b"s" * 100000}, "envelope_not_msgpack"),
    }
    for name, (fields, code) in bad_rows.items():
        rows[name] = (b.bad_run(b.add(fields)), None, code)
    unsigned = b.add({"j": job(b.job("s-of-nobody")), "s": b"\0" * 64})
    rows["s that nobody made"] = (b.bad_run(unsigned), "s-of-nobody", "signature_bad")
    for d in ("5", "1000", "999999999999999999", "18446744073709551615"):
        b.add({"j": job(b.job(f"d-{d}")), "d": d})
        rows[f"d {d}"] = (f"d-{d}", f"d-{d}", "poison")
    good = {
        "d-text": {"d": "abc"}, "d-negative": {"d": "-1"}, "d-empty": {"d": ""},
        "d-over-64-bits": {"d": "99999999999999999999999"}, "d-float": {"d": "9.5"},
        "d-four": {"d": "4"},  # a suspect, but not yet poison
        "s-long": {"s": b"s" * 100000},
        "x-odd": {"x": b"\xff" * 1000},
        "many-fields": {f"f{i}": "x" * 10 for i in range(5000)},
    }
    for job_id, fields in good.items():
        b.add({**fields, "j": job(b.job(job_id))})
    # redis-py cannot say a field twice: of two the first one counts
    for first, second in (("first-of-two", "second-of-two"), (None, "after-a-bad-one")):
        j = [job(b.job(x)) if x else b"\xc1" for x in (first, second)]
        entry = xadd(b, "j", j[0], "j", j[1])
        if first:
            good[first] = None
        else:
            rows["bad, then good"] = (b.bad_run(entry), None, "envelope_not_msgpack")
    check_letters(b, rows)
    done = b.last_results(good)
    with all_rows() as row:
        for job_id, result in done.items():
            row(job_id, result["state"], "done")
    assert not {"second-of-two", "after-a-bad-one"} & {r["id"] for r in b.rig.all_results()}
    b.check()


def xadd(b, *fields):
    key = b.rig.key("q:default")
    return b.rig.redis.client.execute_command("XADD", key, "*", *fields).decode()


def test_no_producer_can_take_a_bad_jobs_name(bad):
    """Whatever id a good job had before: the bad one still becomes a letter of its own."""
    b = bad.start()
    ms = int(b.rig.redis.client.time()[0]) * 1000 + 3600_000
    entries = [f"{ms + n}-7" for n in range(3)]
    taken = [f"bad{c}{e}-default" for c, e in zip("-:_", entries)]
    for name in taken:
        b.put(b.job(name))
    b.last_results(taken)
    for e in entries:
        b.rig.redis.client.xadd(b.rig.key("q:default"), {"j": b"\xc1"}, id=e)
    check_letters(b, {e: (b.bad_run(e), None, "envelope_not_msgpack") for e in entries})
    name = b.bad_run(entries[0])
    check_letters(b, {"its name": (b.put_bad(b.job(name)), None, "envelope_id_invalid")})
    # its name goes wherever a job's does
    assert b.rig.ctl("job", "get", name, "-o", "json").json()["state"] == "dead"
    assert b.rig.ctl("dead", "purge", f"{name}.0.0", "-o", "json").json()["purged"] == 1
    assert json.loads(b.rig.ctl("job", "wait", name, code=1).out)["run"] == name
    b.check()


def test_a_signed_place_in_a_run_fits_nowhere_else(rig):
    """k as a worker wrote and signed it: on another call, queue, run or without its signature."""
    b = Bad(rig, queues="default,other").start()
    then = [b.job("-", conn="nobody")["call"], b.job("-")["call"]]
    b.put(b.job("source", env={"then": then}))
    assert b.last_results(["source"])["source"]["error"]["code"] == "connection_unknown"
    genuine = b.letter("source.0.1")
    j, s = genuine["j"], genuine["s"]
    envelope = msgpack.unpackb(j, strict_map_key=False)
    assert envelope["k"] and s, "step 1 carries a signed k"

    def changed(change):
        e = msgpack.unpackb(j, strict_map_key=False)
        change(e)
        return msgpack.packb(e)

    def other_url(e):
        e["then"][0]["url"] = b.server.base + "/stolen"

    def other_conn(e):
        e["then"][0]["conn"] = "acct"

    def other_id(e):
        e["id"] = "victim"

    # a second genuine one, whose signature is good for its own bytes only
    b.put(b.job("second", env={"then": then}))
    b.last_results(["second"])
    s2 = b.letter("second.0.1")["s"]
    forged = {
        "another url": ({"j": changed(other_url), "s": s}, "default", "source"),
        "another connection": ({"j": changed(other_conn), "s": s}, "default", "source"),
        "another run": ({"j": changed(other_id), "s": s}, "default", "victim"),
        "no signature": ({"j": j}, "default", "source"),
        "an empty signature": ({"j": j, "s": b""}, "default", "source"),
        "half a signature": ({"j": j, "s": s[: len(s) // 2]}, "default", "source"),
        "a longer signature": ({"j": j, "s": s + b"\0"}, "default", "source"),
        "one bit off": ({"j": j, "s": s[:-1] + bytes([s[-1] ^ 1])}, "default", "source"),
        "the signature of another": ({"j": j, "s": s2}, "default", "source"),
        "on another queue": ({"j": j, "s": s}, "other", "source"),
        "a byte more in j": ({"j": j + b"\xc0", "s": s}, "default", "source"),
    }
    rows = {}
    for name, (fields, queue, job_id) in forged.items():
        code = "k_forged" if name != "a byte more in j" else "envelope_trailing_bytes"
        rows[name] = (b.bad_run(b.add(fields, queue), queue), job_id, code)
    # the genuine one is in its letter already: put again it is a repeat, and touches nothing
    before = b.letter("source.0.1")
    b.add({"j": j, "s": s})
    b.worker.wait_log("job.duplicate", job="source.0.1")
    assert b.letter("source.0.1") == before
    check_letters(b, rows)
    # a second reading of the signature: what records.py signs is taken, with another key not
    keys = Keys(rig.keys)
    place = msgpack.packb({**envelope, "id": "signed-here"})

    def sign(queue, data):
        parts = [p if isinstance(p, bytes) else p.encode() for p in ("awq", queue, data)]
        return keys.mac("run", "k", b"".join(len(p).to_bytes(8, "big") + p for p in parts))
    b.add({"j": place, "s": sign("default", place)})
    got = b.last_results(["signed-here"])["signed-here"]
    assert got["error"]["code"] == "connection_unknown", "a good signature is believed"
    assert b.server.count("/stolen") == 0
    b.check()


def test_calls_that_policy_and_egress_refuse(rig):
    """One letter each, named after the rule; the far side hears nothing of it."""
    b = Bad(rig)
    other = "http://127.0.0.2:1/"
    b.link("strict", policy={"methods": ["GET"], "paths": ["/v1"]})
    b.link("https", policy={"insecure_http": False}, token_url="https://127.0.0.1:1/token")
    b.link("off")
    rig.redis.client.hset("awq:{c:off}", "state", "REMOVED")
    b.link("edited")
    cfg = rig.redis.client.hget("awq:{c:edited}", "cfg")
    rig.redis.client.hset("awq:{c:edited}", "cfg", cfg.replace(b"127.0.0.1", b"127.0.0.2"))
    rig.redis.client.set("awq:{c:text}", "not a hash")
    port = b.server.base.rsplit(":", 1)[1]
    cases = {
        "no-scheme": ({"path": "/", "url": f"127.0.0.1:{port}/"}, "url_invalid"),
        "ftp": ({"url": "ftp://127.0.0.1/"}, "scheme_not_allowed"),
        "file": ({"url": "file:///etc/passwd"}, "scheme_not_allowed"),
        "no-host": ({"url": "http:///x"}, "url_invalid"),
        "port-absurd": ({"url": "http://127.0.0.1:99999/"}, "url_invalid"),
        "broken-bracket": ({"url": "http://[::1/"}, "url_invalid"),
        "percent": ({"path": "/%zz"}, "url_invalid"),
        "userinfo": ({"url": f"http://me:pw@127.0.0.1:{port}/"}, "url_userinfo"),
        "dots": ({"path": "/v1/../admin"}, "path_dot_segment"),
        "dot-end": ({"path": "/v1/.."}, "path_dot_segment"),
        "one-dot": ({"path": "/./v1"}, "path_dot_segment"),
        "dots-encoded": ({"path": "/v1/%2e%2e/admin"}, "path_dot_segment"),
        "dots-mixed": ({"path": "/v1/.%2E/admin"}, "path_dot_segment"),
        "slash-encoded": ({"path": "/v1%2fadmin"}, "path_encoded_separator"),
        "backslash-encoded": ({"path": "/v1%5cadmin"}, "path_encoded_separator"),
        "backslash": ({"path": "/v1\\..\\admin"}, "path_encoded_separator"),
        "host": ({"url": other}, "host_not_allowed"),
        "host-suffix": ({"url": f"http://127.0.0.1.evil.test:{port}/"}, "host_not_allowed"),
        "host-port": ({"url": "http://127.0.0.1/"}, "host_not_allowed"),
        "host-number": ({"url": f"http://2130706434:{port}/"}, "url_invalid"),
        "method": ({"conn": "strict", "path": "/v1"}, "method_not_allowed"),
        "path": ({"conn": "strict", "method": "GET", "path": "/v2"}, "path_not_allowed"),
        "path-whole-segment": ({"conn": "strict", "method": "GET", "path": "/v10"},
                               "path_not_allowed"),
        "http-refused": ({"conn": "https"}, "scheme_not_allowed"),
        "conn-unknown": ({"conn": "nobody"}, "connection_unknown"),
        "conn-removed": ({"conn": "off"}, "connection_removed"),
        "conn-edited": ({"conn": "edited"}, "connection_broken"),
        "head-with-body": ({"method": "PATCH"}, "method_not_allowed"),
        **{f"header-{n}": ({"headers": {n: "x"}}, "header_forbidden") for n in FORBIDDEN},
    }
    b.start()
    rows = {}
    for name, (call, code) in cases.items():
        call = dict(call)
        path = call.pop("url", None) or call.pop("path", "/good")
        call.pop("path", None)
        job = b.job(name, path if "://" in path else "/", **call)
        job["call"]["url"] = path if not path.startswith("/") else b.server.base + path
        b.put(job)
        rows[name] = (name, name, code)
    check_letters(b, rows)
    assert {r.path for r in b.server.requests} <= {"/token", "/good"}
    assert b.server.count("/good") == b.made
    b.check()


def test_expressions_that_cannot_be_filled(bad):
    """`then` calls whose {name} is missing, of another kind, or turns into something forbidden."""
    b = bad.start()
    value = {"crlf": "a\r\nEvil: 1", "dots": "..", "slash": "a/b", "obj": {"a": 1}, "list": [1],
             "nul": "a\0b", "long": "x" * 20000, "host": "evil.test", "ok": "fine"}
    b.server.routes["/value"] = answer(200, json.dumps(value).encode(),
                                       content_type="application/json")
    b.server.routes["/list"] = answer(200, b"[1,2]", content_type="application/json")
    b.server.routes["/text"] = answer(200, b"plain text {x}", content_type="text/plain")
    b.server.routes["/nothing"] = answer(200)
    base = b.server.base
    cases = {
        "missing": ("/value", {"url": base + "/echo/{nope}"}, "expand_property_missing"),
        "missing-header": ("/value", {"headers": {"X": "{nope}"}}, "expand_property_missing"),
        "missing-body": ("/value", {"body": {"a": ["{nope}"]}}, "expand_property_missing"),
        "object-in-url": ("/value", {"url": base + "/echo/{obj}"}, "expand_value_not_scalar"),
        "list-in-query": ("/value", {"query": {"a": "{list}"}}, "expand_value_not_scalar"),
        "not-an-object": ("/list", {"url": base + "/echo/{ok}"}, "expand_input_not_object"),
        "text-input": ("/text", {"url": base + "/echo/{ok}"}, "expand_input_not_object"),
        "empty-input": ("/nothing", {"url": base + "/echo/{ok}"}, "expand_input_not_object"),
        "header-injected": ("/value", {"headers": {"X": "{crlf}"}}, "header_invalid"),
        "header-nul": ("/value", {"headers": {"X": "{nul}"}}, "header_invalid"),
        "dots-in-path": ("/value", {"url": base + "/a/{dots}/b"}, "path_dot_segment"),
        "slash-in-path": ("/value", {"url": base + "/a/{slash}"}, "path_encoded_separator"),
        "host-in-url": ("/value", {"url": "http://{host}/"}, "host_not_allowed"),
        "url-too-long": ("/value", {"url": base + "/a?x={long}"}, "url_invalid"),
    }
    for name, (first, call, _) in cases.items():
        second = {"conn": "acct", "method": "POST", "url": base + "/echo", **call}
        b.put(b.job(name, first, "GET", env={"then": [second]}))
    got = b.last_results(cases)
    with all_rows() as row:
        for name, (_, _, code) in cases.items():
            row(name, (got[name]["state"], got[name]["step"], got[name]["error"]["code"]),
                ("dead", 1, code))
            row(name + ": letter", (b.letter(f"{name}.0.1") or {}).get("code"), code.encode())
    assert not any(r.path.startswith(("/echo", "/a")) for r in b.server.requests)
    b.check()


def test_deadlines(bad):
    """Past it: not started, `expired`, no letter; absurdly far ahead: done."""
    b = bad.start()
    now = int(time.time() * 1000)
    b.put(b.job("gone", env={"deadline": now - 1}))
    b.put(b.job("long-gone", env={"deadline": 100000000000}))
    b.put(b.job("far", env={"deadline": 253402300799999}))
    got = b.last_results(["gone", "long-gone", "far"])
    for name in ("gone", "long-gone"):
        assert (got[name]["state"], got[name]["error"]["code"], got[name]["id"]) == \
            ("expired", "expired", name)
        assert b.letter(f"{name}.0.0") is None
    assert got["far"]["state"] == "done"
    assert b.server.count("/good") == b.made + 1, "what came too late was not called"
    b.check()


def named(rig, names, *preload):
    """The environment of a worker to which these {name: address} are what the DNS says."""
    hosts = rig.folder / "hosts"
    hosts.write_text("".join(f"{ip} {name}\n" for name, ip in names.items()))
    return {"LD_PRELOAD": ":".join([NSS_WRAPPER, *map(str, preload)]), "NSS_WRAPPER_HOSTS": str(hosts),
            "NSS_WRAPPER_DISABLE_DEEPBIND": "1",
            **({"ASAN_OPTIONS": "verify_asan_link_order=0:exitcode=99"} if SANITIZED else {})}


def test_private_addresses_behind_names(rig):
    """The address that a name leads to is judged, not the name; nothing is sent there."""
    names = {"loop.example.com": "127.0.0.1", "ten.example.com": "10.1.2.3",
             "meta.example.com": "169.254.169.254", "six.example.com": "::1",
             "mapped.example.com": "::ffff:127.0.0.1", "zero.example.com": "0.0.0.0"}
    literal = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:10.1.2.3]", "0.0.0.0"]
    b = Bad(rig, env=named(rig, names))
    port = b.server.port
    everywhere = [f"{n}:{port}" for n in [*names, *literal]]
    b.link("public", policy={"hosts": everywhere, "allow_private": False},
           token_path="/token")
    b.link("private", policy={"hosts": everywhere, "allow_private": True})
    # `public` gets a token without a call to its (private) token server: what is tested is the API
    give_token(rig, "public", b"opaque-access-token-of-public")
    b.start()
    b.put(b.job("control", f"http://loop.example.com:{port}/good", conn="private"))
    assert b.last_results(["control"])["control"]["state"] == "done", "names are wrapped"
    rows = {}
    for n, host in enumerate([*names, *literal]):
        b.put(b.job(f"host-{n}", f"http://{host}:{port}/good", conn="public"))
        rows[host] = (f"host-{n}", f"host-{n}", "address_not_allowed")
    check_letters(b, rows)
    assert b.server.count("/good") == b.made + 1
    b.check()


def test_a_redirect_to_a_name_with_a_private_address(rig):
    """The first hop is public and allowed, the next one's name is allowed and leads inside."""
    inside = {"loop.example.com": "127.0.0.1", "ten.example.com": "10.1.2.3",
              "meta.example.com": "169.254.169.254", "six.example.com": "::1"}
    library = rig.folder / "elsewhere.so"
    subprocess.run(["cc", "-D_GNU_SOURCE", "-shared", "-fPIC", "-o", library,
                    ROOT / "tests/integration/elsewhere.c", "-ldl"], check=True)
    b = Bad(rig, env=named(rig, {"api.example.com": "198.41.0.4", "www.example.com": "198.41.0.4",
                                 **inside}, library))
    port = b.server.port
    b.link("public", policy={"hosts": [f"{n}:{port}" for n in ("api.example.com", "www.example.com",
                                                                *inside)],
                             "allow_private": False})
    give_token(rig, "public", b"opaque-access-token-of-public")
    b.server.routes["/inside"] = answer(200, b"a secret")
    for host in ("www.example.com", *inside):
        b.server.routes[f"/to-{host}"] = answer(307, location=f"http://{host}:{port}/inside")
    b.start()
    b.put(b.job("control", f"http://api.example.com:{port}/to-www.example.com", conn="public"))
    assert b.last_results(["control"])["control"]["output"] == "a secret", \
        "a redirect from one public address to another is followed"
    rows = {}
    for host in inside:
        b.put(b.job(f"to-{host.split('.')[0]}", f"http://api.example.com:{port}/to-{host}",
                    conn="public"))
        rows[host] = (f"to-{host.split('.')[0]}", f"to-{host.split('.')[0]}", "address_not_allowed")
    check_letters(b, rows)
    with all_rows() as row:
        for host in inside:
            row(f"first hop to {host}", b.server.count(f"/to-{host}"), 1)
    assert b.server.count("/inside") == 1, "only the control's"
    b.check()


def give_token(rig, conn_id, token):
    """Put an access token into a record as a renewal would have."""
    client, key = rig.redis.client, f"{rig.prefix}:{{c:{conn_id}}}"
    gen, cd = int(client.hget(key, "gen")), client.hget(key, "cd").decode()
    now = int(time.time() * 1000)
    sealed = Keys(rig.keys).seal("access", (rig.prefix, conn_id, "at", gen, 1, cd), token)
    client.hset(key, mapping={"at": sealed, "ver": 1, "state": "FRESH", "exp": now + 3600000,
                              "born": now})


def test_a_flood_of_big_bad_jobs_is_bounded(rig):
    """24 envelopes of 2 MiB at once: letters all, and the memory comes back."""
    b = Bad(rig, slots=8).start()
    big = msgpack.packb(b.job("big", body=b"x" * 2 * MIB))
    runs = [b.put_bad(big) for _ in range(24)]
    got = b.last_results(runs, timeout=60)
    assert {r["error"]["code"] for r in got.values()} == {"envelope_too_big"}
    wait_until(lambda: b.rig.pending() == 0, 10, "all to be letters")
    peak = b.worker.rss_kib(peak=True)
    assert SANITIZED or peak < 128 * 1024, f"peak {peak} KiB"
    b.check()


def test_a_run_record_of_another_type(bad):
    """Whoever may write there can make a run that nothing can be recorded in. Its job leaves, under
    the name of its entry, and holds no slot."""
    b = bad.start()
    b.server.routes["/busy"] = answer(503)
    b.link("later", token_path="/nothing")  # never gets a token: its jobs are parked
    ways = {"done": {}, "refused": {"headers": {"Host": "x"}}, "tried-again": {"path": "/busy"},
            "parked": {"conn": "later"}}
    rows = {}
    for name, call in ways.items():
        b.rig.redis.client.set(b.rig.key(f"run:{name}"), "a string")
        rows[name] = (b.put_bad(b.job(name, **call)), name, "commit_failed")
    check_letters(b, rows)
    for name in ways:
        assert b.rig.redis.client.get(b.rig.key(f"run:{name}")) == b"a string"
    b.check()


def test_a_long_input_that_somebody_edited(bad):
    """An output too long to travel lies in the run record; what was put in its place is not sent."""
    b = bad.start()
    large = json.dumps({"who": "me", "pad": "x" * 100000}).encode()
    b.server.routes["/large"] = answer(200, large, content_type="application/json")
    b.server.routes["/echo"] = lambda link: link.send(http(200, b"%d" % len(link.body)))
    b.server.routes["/late-token"] = answer(503)
    b.link("late", token_path="/late-token")
    runs = {"whole": None, "edited": b'{"who": "somebody else"}', "emptied": b"", "removed": False}
    for run in runs:
        then = [b.job("-", "/echo", conn="late")["call"]]
        b.put(b.job(run, "/large", "GET", env={"then": then}))
    client = b.rig.redis.client
    for run in runs:
        wait_until(lambda run=run: client.zscore(b.rig.key("park:conn:late"), f"{run}.0.1"), 10,
                   f"{run}'s second step to be parked")
    for run, value in runs.items():
        key = b.rig.key(f"run:{run}")
        field = next(f for f in client.hkeys(key) if f.startswith(b"i:"))
        if value is False:
            client.hdel(key, field)
        elif value is not None:
            client.hset(key, field, value)
    b.server.routes["/late-token"] = b.give_token
    got = b.last_results(runs)
    assert (got["whole"]["state"], got["whole"]["output"]) == ("done", str(len(large)))
    with all_rows() as row:
        for run in list(runs)[1:]:
            row(run, (got[run]["state"], got[run]["error"]["code"]), ("dead", "input_lost"))
            row(run + ": letter", (b.letter(f"{run}.0.1") or {}).get("code"), b"input_lost")
    assert b.server.count("/echo") == 1
    b.check()


def test_of_a_huge_job_only_the_head_is_kept(rig):
    """40 MiB: neither copied nor sent back; the next good job is done."""
    b = Bad(rig, slots=4).start()
    huge = msgpack.packb(b.job("huge", body=b"x" * 40 * MIB))
    run = b.put_bad(huge)
    got = b.last_results([run], timeout=60)
    assert got[run]["error"]["code"] == "envelope_too_big" and f"{len(huge)} bytes" in got[run]["error"]["detail"]
    assert len(b.letter(f"{run}.0.0")["j"]) == 4096
    b.check()
