"""awq-ctl conn: what it writes, what it keeps, what it says; secrets stay where they belong."""
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml

from procs import wait_until


def record(rig, conn_id="acct"):
    return rig.redis.client.hgetall(f"{rig.prefix}:{{c:{conn_id}}}")


def everything_in_redis(rig):
    """All bytes that Redis keeps, keys and values."""
    r, out = rig.redis.client, []
    for key in r.scan_iter("*"):
        kind = r.type(key)
        out.append(key)
        if kind == b"hash":
            out += [x for pair in r.hgetall(key).items() for x in pair]
        elif kind == b"string":
            out.append(r.get(key))
        elif kind == b"zset":
            out += r.zrange(key, 0, -1)
        elif kind == b"stream":
            out += [v for _, f in r.xrange(key) for v in f.values()]
    return b"\0".join(out)


def refresh_file(rig, token, conn_id="acct", **more):
    """A refresh_token connection with this token in its file; nothing is applied."""
    path = rig.folder / f"{conn_id}.refresh"
    path.write_text(token + "\n")
    path.chmod(0o600)
    conn = rig.conn(conn_id, "refresh_token", "basic", "basic", refresh_token={"file": str(path)},
                    **more)
    rig.need(keys=True)
    return conn


def apply_json(rig, conn, *flags):
    path = rig.folder / f"{conn['id']}.yaml"
    path.write_text(yaml.safe_dump(conn))
    return rig.ctl("conn", "apply", "-f", path, "-o", "json", *flags).json()


def test_a_new_connection(rig):
    conn = refresh_file(rig, "first-refresh-token-0123456789")
    seconds = rig.redis.client.time()[0]
    done = rig.apply(conn)
    assert "linked (new); its first token" in done.out
    r = record(rig)
    assert (r[b"ver"], r[b"state"], r[b"exp"]) == (b"0", b"DUE", b"0")
    assert int(r[b"gen"]) >= seconds * 1_000_000, "a number that is not handed out twice, whatever Redis forgets"
    assert r[b"grant"] == b"refresh_token"
    assert b"at" not in r and r[b"rt"] and r[b"cs"] and r[b"lh"] and r[b"cm"]
    assert rig.redis.client.zscore("awq:conns", "acct") < 0  # asked for, at that time
    meta = rig.redis.client.hgetall("awq:meta")
    assert meta[b"shards"] == b"1" and len(meta[b"install"]) == 16

    # nothing in clear, neither there nor in anything that is printed
    secrets = ["first-refresh-token-0123456789", "basic-secret"]
    kept = everything_in_redis(rig)
    said = ""
    for args in (["conn", "show", "acct"], ["conn", "show", "acct", "-o", "json"], ["conn", "ls"],
                 ["conn", "test", "acct"], ["doctor"]):
        answer = rig.run_ctl(*args)
        said += answer.out + answer.err
    for s in secrets:
        assert s.encode() not in kept and s not in said
    for field in (b"at", b"rt", b"cs", b"cm", b"lh"):
        assert field not in r or r[field].hex() not in said


def test_the_same_file_again_changes_nothing(rig):
    conn = refresh_file(rig, "token-a")
    assert apply_json(rig, conn)["change"] == "linked"
    before = record(rig)
    assert apply_json(rig, conn)["change"] == "unchanged"
    assert record(rig) == before
    # written in another way, it is the same still
    conn["scopes"] = "write   read"
    conn["policy"]["methods"] = [m.lower() for m in reversed(conn["policy"]["methods"])]
    assert apply_json(rig, conn)["change"] == "unchanged"
    assert record(rig) == before


def test_a_rotated_token_survives_the_old_file(rig):
    """GitOps applies the first refresh token all day; putting it back would kill the account."""
    conn = rig.conn("acct", "refresh_token", "basic", "basic")
    rig.apply(conn, refresh_token=rig.auth.mint("acct", "basic")["refresh_token"])
    rig.worker()
    rig.ctl("conn", "refresh", "acct")
    rig.ctl("conn", "refresh", "acct")
    assert rig.auth.counters()["refresh"]["ok"] >= 2  # rotated twice at least
    path = rig.folder / "acct.yaml"
    assert rig.ctl("conn", "apply", "-f", path, "-o", "json").json()["change"] == "unchanged"

    # other settings: tokens are sealed anew and kept, the next renewal uses the newest one
    ver, gen = record(rig)[b"ver"], record(rig)[b"gen"]
    text = path.read_text()
    path.write_text(text + "limits: {concurrency: 7}\n")
    assert rig.ctl("conn", "apply", "-f", path, "-o", "json").json()["change"] == "settings"
    r = record(rig)
    assert r[b"ver"] == ver and r[b"gen"] == gen and b"at" in r
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"
    rig.ctl("conn", "refresh", "acct")
    assert rig.auth.counters()["refresh"]["reuse_detected"] == 0
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"


def link_anew(rig, conn, gen, *flags):
    """Applied as a link with a later generation than gen; the new one."""
    done = apply_json(rig, conn, *flags)
    assert (done["id"], done["change"]) == ("acct", "linked") and done["generation"] > gen
    assert int(record(rig)[b"gen"]) == done["generation"]
    return done["generation"]


def test_what_links_anew(rig):
    conn = refresh_file(rig, "token-a")
    gen = link_anew(rig, conn, 0)
    (rig.folder / "acct.refresh").write_text("token-b")
    gen = link_anew(rig, conn, gen)
    conn = {**conn, "client": {**conn["client"], "id": "other"}}
    gen = link_anew(rig, conn, gen)
    gen = link_anew(rig, conn, gen, "--relink")
    del conn["refresh_token"]
    conn["grant"] = "client_credentials"
    link_anew(rig, conn, gen)
    assert record(rig)[b"rt"] == b""
    gen = int(record(rig)[b"gen"])
    link_anew(rig, {**conn, "token_url": conn["token_url"] + "/2"}, gen)


def test_another_token_url_does_not_send_a_used_token_again(rig):
    """The file still has the first refresh token; the server has moved. Sent again, it would end the grant."""
    conn = rig.conn("acct", "refresh_token", "basic", "basic")
    rig.apply(conn, refresh_token=rig.auth.mint("acct", "basic")["refresh_token"])
    rig.worker()
    rig.ctl("conn", "refresh", "acct")
    before = rig.auth.counters()["refresh"]["reuse_detected"]
    conn = {**conn, "refresh_token": {"file": str(rig.folder / "acct.refresh")}}
    assert apply_json(rig, {**conn, "token_url": conn["token_url"] + "?moved=1"})["change"] == "settings"
    rig.ctl("conn", "refresh", "acct")
    assert record(rig)[b"state"] == b"FRESH" and rig.auth.counters()["refresh"]["reuse_detected"] == before
    # another client could not use it either: nothing is sent
    done = rig.apply({**conn, "client": {**conn["client"], "id": "post"}}, code=1)
    assert "another client id" in done.err and "used since" in done.err
    rig.ctl("conn", "refresh", "acct")
    assert rig.auth.counters()["refresh"]["reuse_detected"] == before


@pytest.mark.parametrize("what", ["scopes", "policy", "limits", "secret"])
def test_what_changes_settings_only(rig, what):
    conn = refresh_file(rig, "token-a")
    apply_json(rig, conn)
    before = record(rig)
    if what == "scopes":
        conn["scopes"] = ["read"]
    elif what == "policy":
        conn["policy"]["paths"] = ["/v2"]
    elif what == "limits":
        conn["limits"] = {"concurrency": 3}
    else:
        (rig.folder / "acct.secret").write_text("another-secret")
    assert apply_json(rig, conn)["change"] == "settings"
    after = record(rig)
    assert (after[b"gen"], after[b"lh"]) == (before[b"gen"], before[b"lh"])
    assert after[b"cs"] != before[b"cs"]
    if what == "secret":
        assert after[b"rt"] == before[b"rt"]  # sealed for these settings already
    assert rig.run_ctl("conn", "test", "acct").out.count("opens with the key file") == 2


def test_without_its_refresh_token(rig):
    conn = refresh_file(rig, "token-a")
    token = conn.pop("refresh_token")
    done = rig.apply(conn, code=1)
    assert "refresh_token is missing" in done.err
    apply_json(rig, {**conn, "refresh_token": token})
    # a machine that does not have it (any more) may still change settings
    assert apply_json(rig, {**conn, "scopes": ["read"]})["change"] == "settings"
    done = rig.apply({**conn, "client": {**conn["client"], "id": "other"}}, code=1)
    assert "another client id" in done.err and "refresh_token is missing" in done.err
    assert "line 6, column 8: " in done.err


def test_explain_says_what_apply_may_refuse(rig):
    """Whether the account is linked already a file does not know."""
    conn = refresh_file(rig, "token-a")
    path = rig.folder / "x.yaml"
    for linked in (True, False):
        path.write_text(yaml.safe_dump(conn))
        done = rig.ctl("conn", "explain", "-f", path)
        assert ("refresh_token is missing: conn apply takes the file only for" in done.err) is not linked, done.err
        conn.pop("refresh_token", None)


def test_apply_says_that_it_is_still_disabled(rig):
    rig.apply(rig.conn("crm"))
    rig.ctl("conn", "disable", "crm", "--reason", "asked by its owner")
    for conn in (rig.conn("crm"), rig.conn("crm", scopes=["other"])):
        assert "It is still disabled (asked by its owner)" in rig.apply(conn).out


def test_needs_consent(rig):
    conn = refresh_file(rig, "token-a")
    gen = link_anew(rig, conn, 0)
    rig.redis.client.hset("awq:{c:acct}", mapping={"state": "NEEDS_CONSENT", "why": "invalid_grant"})
    done = rig.ctl("conn", "refresh", "acct", code=1)
    assert "needs consent" in done.err
    done = rig.ctl("conn", "test", "acct", code=1)
    assert "link the account again" in done.out
    # the token that was refused is no news; a new one is
    done = rig.apply(conn)
    assert "unchanged" in done.out and "still needs consent" in done.out
    assert record(rig)[b"state"] == b"NEEDS_CONSENT"
    (rig.folder / "acct.refresh").write_text("token-b")
    rig.apply(conn)
    assert record(rig)[b"state"] == b"DUE" and b"why" not in record(rig)


def test_a_refused_client_is_asked_for_again(rig):
    """client_credentials has no refresh token to lose: applying links it anew."""
    conn = rig.conn("acct")
    rig.need(keys=True)
    gen = link_anew(rig, conn, 0)
    rig.redis.client.hset("awq:{c:acct}", mapping={"state": "NEEDS_CONSENT", "why": "invalid_grant"})
    link_anew(rig, conn, gen)
    assert record(rig)[b"state"] == b"DUE"


def test_an_edited_record(rig):
    conn = refresh_file(rig, "token-a")
    gen = link_anew(rig, conn, 0)
    cfg = json.loads(record(rig)[b"cfg"])
    cfg["token_url"] = "https://evil.example/token"
    rig.redis.client.hset("awq:{c:acct}", "cfg", json.dumps(cfg))
    assert "edited" in rig.ctl("conn", "test", "acct", code=1).out
    done = rig.apply(conn, code=1)
    assert "edited" in done.err and "--relink" in done.err
    link_anew(rig, conn, gen, "--relink")
    assert "BAD" not in rig.run_ctl("conn", "test", "acct").out


def test_other_keys(rig):
    apply_json(rig, refresh_file(rig, "token-a"))
    other = rig.folder / "other-keys"
    assert rig.run_ctl("keys", "new", other).code == 0
    done = rig.ctl("conn", "test", "acct", "--keys", other, code=1)
    assert done.out.count("BAD") >= 3
    assert "is not there" in rig.ctl("conn", "test", "acct", "--keys", rig.folder / "nope",
                                     code=2).err


def test_removed_and_made_again(rig):
    conn = refresh_file(rig, "token-a")
    gen = link_anew(rig, conn, 0)
    done = rig.ctl("conn", "rm", "acct", "-o", "json")
    assert done.json() == {"id": "acct", "change": "removed", "workers": 0, "workers_know": 0}
    removed = int(record(rig)[b"gen"])
    assert removed > gen
    assert record(rig) == {b"gen": b"%d" % removed, b"ver": b"0", b"state": b"REMOVED"}  # a tombstone
    assert rig.redis.client.zscore("awq:conns", "acct") is None
    rig.ctl("conn", "rm", "acct", code=3)
    rig.ctl("conn", "show", "acct", code=3)
    rig.ctl("conn", "test", "acct", code=3)
    rig.ctl("conn", "refresh", "acct", code=3)
    assert rig.ctl("conn", "ls", "-o", "json").json() == []
    # nothing of the old one comes back: its generation is past
    link_anew(rig, conn, removed)
    assert rig.run_ctl("conn", "test", "acct").out.count("opens with the key file") == 2


def test_many_at_once_link_once(rig):
    conn = refresh_file(rig, "token-a")
    paths = []
    for n in range(6):
        path = rig.folder / f"c{n}.yaml"
        path.write_text(yaml.safe_dump(conn))
        paths.append(path)
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda p: rig.run_ctl("conn", "apply", "-f", p, "-o", "json"), paths))
    assert [d.code for d in done] == [0] * 6, [d.err for d in done]
    assert sum(d.json()["change"] == "linked" for d in done) == 1
    (gen,) = {d.json()["generation"] for d in done}
    assert int(record(rig)[b"gen"]) == gen


def test_bad_files(rig):
    conn = refresh_file(rig, "token-a")
    for broken, want in (({**conn, "polcy": {}}, "unknown key 'polcy'"),
                         ({**conn, "grant": "implicit"}, "grant must be"),
                         ({**conn, "id": "a b"}, "id must be"),
                         ({**conn, "token_url": "ftp://x/"}, "token_url"),
                         ({**conn, "refresh_token": "token-a"}, "must be {file: PATH}")):
        path = rig.folder / "bad.yaml"
        path.write_text(yaml.safe_dump(broken))
        done = rig.ctl("conn", "apply", "-f", path, code=1)
        assert want in done.err and "line " in done.err, done.err
        assert "token-a" not in done.err and done.err.count("\n") == 1
    assert not record(rig)
    rig.ctl("conn", "apply", code=2)
    rig.ctl("conn", "apply", "-f", rig.folder / "nope.yaml", code=1)
    # the secret's file is open to others
    (rig.folder / "acct.refresh").chmod(0o644)
    assert "acct.refresh" in rig.apply(conn, code=1).err


def test_ls_in_pages(rig):
    conn = rig.conn("c00")
    for n in range(5):
        apply_json(rig, {**conn, "id": f"c{n:02}"})
    first = rig.ctl("conn", "ls", "--limit", 3)
    assert "more: --cursor 3" in first.out
    one = rig.ctl("conn", "ls", "--limit", 3, "-o", "json").json()
    two = rig.ctl("conn", "ls", "--limit", 3, "--cursor", 3, "-o", "json").json()
    assert (len(one), len(two)) == (3, 2)
    assert sorted(c["id"] for c in one + two) == [f"c{n:02}" for n in range(5)]
    assert one[0]["state"] == "DUE" and one[0]["expires"] is None
    rig.ctl("conn", "ls", "--limit", 0, code=2)
    rig.ctl("conn", "ls", "--limit", "many", code=2)


def test_refresh(rig):
    rig.link("acct")
    done = rig.ctl("conn", "refresh", "acct", "--timeout", "300ms", code=1)
    assert "no worker renewed it in time" in done.err
    w = rig.worker()  # it stayed due
    wait_until(lambda: record(rig)[b"ver"] == b"1", 15, "the first token")
    rig.ctl("conn", "refresh", "acct")
    assert record(rig)[b"ver"] == b"2"
    rig.auth.faults({"on": "token", "client": "svc", "count": -1, "status": 400,
                     "body": {"error": "invalid_client"}})
    done = rig.ctl("conn", "refresh", "acct", code=1)
    assert "the renewal failed" in done.err and "invalid_client" in done.err
    rig.auth.clear_faults()
    w.sane()


def test_mended_settings_are_tried_at_once(rig):
    conn = rig.conn("acct")
    (rig.folder / "acct.secret").write_text("wrong-secret")
    rig.worker()
    apply_json(rig, conn)
    wait_until(lambda: record(rig)[b"state"] == b"BACKOFF", 15, "the secret to be refused")
    rig.redis.client.hset("awq:{c:acct}", "next", 99999999999999)  # a backoff that does not end here
    [listed] = rig.ctl("conn", "ls", "-o", "json").json()
    assert listed["next_try"] == 99999999999999 and listed["failed_at"] and listed["why"] == "invalid_client"
    done = rig.ctl("conn", "refresh", "acct", code=1)
    assert "held back" in done.err and "invalid_client" in done.err
    (rig.folder / "acct.secret").write_text("svc-secret")
    assert apply_json(rig, conn)["change"] == "settings"
    wait_until(lambda: record(rig)[b"state"] == b"FRESH", 5, "a token, at once")


def test_where_the_token_url_leads(rig):
    conn = rig.conn("acct")
    conn["policy"]["allow_private"] = False
    rig.need(keys=True)
    apply_json(rig, conn)
    done = rig.ctl("conn", "test", "acct", code=1)
    assert "token endpoint" in done.out and "BAD" in done.out
    conn["policy"]["allow_private"] = True
    conn["token_url"] = "http://127.0.0.1:9/token"  # nobody listens
    apply_json(rig, conn)
    assert "refused" in rig.ctl("conn", "test", "acct", code=1).out
    conn["token_url"] = "http://no-such-host.invalid/token"
    apply_json(rig, conn)
    assert "no-such-host.invalid" in rig.ctl("conn", "test", "acct", code=1).out


@pytest.mark.parametrize("fault,advice", [
    ({"status": 429, "headers": {"retry-after": "60"}}, "asked for a pause"),
    ({"status": 500}, "is in trouble, not the settings"),
    ({"status": 400, "body": '{"error":"invalid_scope"}'}, "Mend what the failure names (client secret"),
    ("nobody", "Nothing was sent: mend what the failure names"),
])
def test_what_to_do_about_a_failed_renewal(rig, fault, advice):
    auth, _ = rig.use_peers()
    conn = rig.conn("acct")
    if fault == "nobody":
        conn["token_url"] = "http://127.0.0.1:9/token"
    else:
        auth.faults({**fault, "count": -1})
    apply_json(rig, conn)
    rig.worker()
    rig.ctl("conn", "refresh", "acct", "--timeout", "5s", code=1)
    wait_until(lambda: record(rig)[b"state"] == b"BACKOFF", 10, "the failure")
    said = rig.run_ctl("conn", "test", "acct").out
    assert "renewal failed, try" in said and advice in " ".join(said.split()), said


def test_settings_change_in_the_middle_of_a_renewal(rig):
    """The answer was sealed for settings that are gone: the worker seals it for the new ones. The
    rotated token is in that answer only."""
    conn = rig.conn("acct", "refresh_token", "basic", "basic")
    rig.apply(conn, refresh_token=rig.auth.mint("acct", "basic")["refresh_token"])
    conn["refresh_token"] = {"file": str(rig.folder / "acct.refresh")}
    rig.worker()
    rig.ctl("conn", "refresh", "acct")
    for n in range(1, 6):
        asked = rig.auth.requests_of("acct")
        rig.auth.faults({"on": "token", "client": "basic", "count": 1, "hold_ms": 400})
        with ThreadPoolExecutor(1) as pool:
            refresh = pool.submit(rig.run_ctl, "conn", "refresh", "acct")
            wait_until(lambda: rig.auth.requests_of("acct") > asked, 10, "the token request")
            assert apply_json(rig, {**conn, "limits": {"concurrency": n}})["change"] == "settings"
            assert refresh.result().code == 0, refresh.result().err
        assert rig.run_ctl("conn", "test", "acct").code == 0
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"
    counters = rig.auth.counters()
    assert counters["refresh"]["reuse_detected"] == 0
    assert rig.auth.requests_of("acct") == int(record(rig)[b"ver"])


def test_linked_anew_in_the_middle_of_a_renewal(rig):
    """The late answer belongs to the grant before: it is dropped, the new grant stays."""
    conn = rig.conn("acct", "refresh_token", "basic", "basic")
    rig.apply(conn, refresh_token=rig.auth.mint("first", "basic")["refresh_token"])
    rig.worker()
    rig.ctl("conn", "refresh", "acct")
    gen = int(record(rig)[b"gen"])
    rig.auth.faults({"on": "token", "client": "basic", "count": 1, "hold_ms": 600})
    with ThreadPoolExecutor(1) as pool:
        asked = rig.auth.requests_of("first")
        refresh = pool.submit(rig.run_ctl, "conn", "refresh", "acct")
        wait_until(lambda: rig.auth.requests_of("first") > asked, 10, "the token request")
        rig.apply(conn, refresh_token=rig.auth.mint("second", "basic")["refresh_token"])
        refresh.result()
    wait_until(lambda: record(rig)[b"state"] == b"FRESH", 15, "the second grant's token")
    assert int(record(rig)[b"gen"]) > gen
    rig.ctl("conn", "refresh", "acct")
    assert rig.auth.requests_of("second") >= 2
    assert rig.auth.counters()["refresh"]["reuse_detected"] == 0
    assert rig.run_ctl("conn", "test", "acct").code == 0


def test_keys_are_changed_over(rig):
    """New keys before the old ones: what is there opens, what is written is the new keys'."""
    conn = rig.conn("acct", "refresh_token", "basic", "basic")
    rig.apply(conn, refresh_token=rig.auth.mint("acct", "basic")["refresh_token"])
    conn["refresh_token"] = {"file": str(rig.folder / "acct.refresh")}
    old = rig.keys.read_text()
    new = rig.folder / "new-keys"
    assert rig.run_ctl("keys", "new", new).code == 0
    ids = {kind: bytes.fromhex(key_id) for kind, key_id, _ in
           (x.split() for x in new.read_text().splitlines() if not x.startswith("#"))}
    rig.keys.write_text(new.read_text() + old)

    rig.worker()
    wait_until(lambda: record(rig)[b"ver"] == b"1", 15, "the first token, by the old refresh token")
    r = record(rig)
    assert r[b"at"][1:5] == ids["access"] and r[b"rt"][1:5] == ids["grant"]  # it rotated
    assert r[b"cs"][1:5] != ids["grant"] and r[b"cm"][:4] != ids["access"]  # as they were
    assert apply_json(rig, conn)["change"] == "unchanged"  # the old keyed hash still counts
    assert apply_json(rig, {**conn, "scopes": ["read"]})["change"] == "settings"
    r = record(rig)
    assert r[b"cs"][1:5] == ids["grant"] and r[b"cm"][:4] == ids["access"]
    # without the old keys: all of it is the new ones' by now, but for the hash of the first link,
    # so that nobody can tell any more that the token in the file is that one, used up long ago
    rig.keys.write_text(new.read_text())
    assert rig.run_ctl("conn", "test", "acct").code == 0
    rig.ctl("conn", "refresh", "acct")
    before = record(rig)
    assert "cannot be told" in rig.apply({**conn, "scopes": ["read"]}, code=1).err
    assert record(rig) == before
    del conn["refresh_token"]
    assert apply_json(rig, {**conn, "scopes": ["write"]})["change"] == "settings"
    rig.ctl("conn", "refresh", "acct")
    assert rig.auth.counters()["refresh"]["reuse_detected"] == 0
