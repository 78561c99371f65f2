"""The audit streams: what is written at which level, and that a line which was touched is found."""
import hashlib
import json

import pytest
import redis as redispy

from procs import wait_until

ACTS, USES = "awq:{s0}:audit:acts", "awq:{s0}:audit"


def lines(rig, key=USES):
    return [(entry, fields, json.loads(fields[b"l"])) for entry, fields in rig.redis.client.xrange(key)]


def kinds(rig, key=USES):
    return [line["kind"] for _, _, line in lines(rig, key)]


def put_back(rig, key, entries):
    """The stream anew with these entries, as somebody would who has all of Redis in hand."""
    rig.redis.client.delete(key)
    for entry, fields, _ in entries:
        rig.redis.client.xadd(key, fields, id=entry)


def run_jobs(rig, count, **worker):
    rig.link("acct")
    w = rig.worker(**worker)
    ids = rig.enqueue([rig.job("acct", "/echo", job_id=f"{worker.get('name', 'job')}{n}") for n in range(count)])
    rig.results(ids)
    return w


def verify(rig, *logs, code=0):
    return rig.ctl("audit", "verify", *logs, code=code)


# ---- what is written --------------------------------------------------------------------------


def test_each_use_and_renewal_at_its_level(rig):
    w = run_jobs(rig, 3, audit_level="uses")
    w.term()
    assert w.wait() == 0, "it leaves once its lines are written"
    got = [line for _, _, line in lines(rig)]
    assert [g["kind"] for g in got] == ["renewal", "use", "use", "use"]
    renewal, use = got[:2]
    assert renewal["connection"] == "acct" and renewal["outcome"] == "renewed" and renewal["ver"] == 1
    assert renewal["host"] == rig.auth.base[7:] and renewal["fence"]
    assert use["connection"] == "acct" and use["ver"] == 1 and use["gen"] == renewal["gen"]
    assert use["run"].startswith("job") and use["job"] == use["run"] + ".0.0"
    assert use["method"] == "POST" and use["host"] == rig.api.base[7:] and use["status"] == 200
    assert {f[b"w"].decode() for _, f, _ in lines(rig)} == {w.logged("worker.ready")[0]["worker"]}
    assert "4 lines of 1 writers checked, 1 checkpoints compared: 0 problems" in verify(rig, w.log_path).out


@pytest.mark.parametrize("level, want", [("acts", []), ("renewals", ["renewal"])])
def test_less_at_lower_levels(rig, level, want):
    w = run_jobs(rig, 2, audit_level=level)
    w.term()
    w.wait()
    assert kinds(rig) == want


def test_an_answer_that_never_came_is_a_use_too(rig):
    rig.link("acct")
    rig.worker(audit_level="uses")
    rig.result(rig.job("acct", "/drop", retry={"max": 0}, job_id="j1", idem="none"))
    wait_until(lambda: "use" in kinds(rig), 10, "the use to be written")
    [use] = [line for _, _, line in lines(rig) if line["kind"] == "use"]
    assert "status" not in use and use["error"]


def test_failures_of_renewal(rig):
    rig.use_redis()
    auth, _ = rig.use_peers()
    rig.link_refresh("acct")
    auth.revoke(account="acct")
    w = rig.worker()
    rig.enqueue(rig.job("acct", "/echo"))
    w.wait_log("token.needs_consent")
    wait_until(lambda: kinds(rig), 10, "the renewal to be written")
    [(_, _, line)] = lines(rig)
    assert line["outcome"] == "needs_consent" and line["reason"] == "invalid_grant"


def test_an_act_is_written_before_it_is_done_and_how_it_ended_after(rig):
    rig.apply(rig.conn("crm"))
    rig.ctl("conn", "disable", "crm", "--reason", "asked by its owner", "--as", "ines")
    rig.ctl("conn", "rm", "nobody", code=3)
    got = [line for _, _, line in lines(rig, ACTS)]
    assert [(g["kind"], g["act"]) for g in got] == [
        ("act", "conn apply"), ("ended", "conn apply"), ("act", "conn disable"), ("ended", "conn disable"),
        ("act", "conn rm"), ("ended", "conn rm")]
    assert got[0]["connection"] == "crm" and got[0]["user"] == "root"
    assert got[2]["who"] == "ines" and got[2]["reason"] == "asked by its owner" and got[2]["args"] == ["crm"]
    assert got[3]["of"] == 3 and got[3]["exit"] == 0 and got[5]["exit"] == 3
    said = rig.ctl("audit", "tail", "--connection", "crm", "-o", "json").json()
    assert [(e["kind"], e["line"]["act"], e["connection"]) for e in said] == [
        ("act", "conn disable", "crm"), ("act", "conn apply", "crm")]
    assert "asked by its owner" in rig.ctl("audit", "tail").out
    assert verify(rig).code == 0


def test_what_cannot_be_written_down_is_not_done(rig):
    rig.apply(rig.conn("crm"))
    rig.redis.client.delete(ACTS)
    rig.redis.client.set(ACTS, "in the way")
    said = rig.ctl("conn", "rm", "crm", code=1)
    assert "the audit stream was not written, and nothing was done" in said.err
    assert rig.ctl("conn", "show", "crm").code == 0


def test_a_full_redis_can_be_emptied(rig):
    rig.need(keys=True)
    rig.ctl("dead", "purge", "--all", code=0)
    rig.redis.client.config_set("maxmemory", 1)
    rig.ctl("dead", "purge", "--all", code=0)
    rig.redis.client.config_set("maxmemory", 0)
    assert len(lines(rig, ACTS)) == 4 and verify(rig).code == 0


def test_reasons_and_names_are_checked(rig):
    for args in (["conn", "disable", "crm"], ["conn", "rm", "crm", "--reason", "x" * 201],
                 ["conn", "rm", "crm", "--as", ""]):
        rig.ctl(*args, code=2)
    assert not rig.redis.client.exists(ACTS)


def test_acts_without_the_key_file_are_vouched_for_by_the_next(rig):
    rig.need(keys=True)
    rig.ctl("dead", "purge", "--all", env={"AWQ_KEYS": ""})
    rig.ctl("dead", "purge", "--all")
    assert "every line is as it was written" in verify(rig).out
    rig.ctl("dead", "purge", "--all", env={"AWQ_KEYS": ""})
    assert "lines 5 to 6 of acts are written without the key file" in verify(rig, code=1).out
    rig.ctl("dead", "purge", "--all")
    verify(rig)
    entries = lines(rig, ACTS)
    entries[0][1][b"l"] = entries[0][1][b"l"].replace(b"dead purge", b"dead ls")
    put_back(rig, ACTS, entries)
    assert "altered" in verify(rig, code=1).out


def test_lines_wait_for_redis(rig):
    """Redis goes away and comes back: the lines of that time are written then, in order."""
    rig.use_redis(aof="always")
    w = run_jobs(rig, 2, audit_level="uses")
    rig.redis.restart(hard=True)
    ids = rig.enqueue([rig.job("acct", "/echo", job_id=f"more{n}") for n in range(5)])
    rig.results(ids)
    w.term()
    assert w.wait() == 0
    assert kinds(rig).count("use") >= 7
    assert verify(rig, w.log_path).code == 0


def test_too_many_lines_are_counted(rig):
    """A stream that cannot be written keeps the worker from nothing; how many lines are missing is a line."""
    rig.link("acct")
    rig.redis.client.set(USES, "in the way")
    w = rig.worker(audit_level="uses")
    ids = rig.enqueue([rig.job("acct", "/echo", job_id=f"job{n}") for n in range(3)])
    rig.results(ids)
    assert w.logged("redis.error", what="audit")
    rig.redis.client.delete(USES)
    wait_until(lambda: len(lines(rig)) >= 4, 15, "the lines to be written after all")
    assert verify(rig).code == 0


def test_a_worker_leaves_once_its_lines_are_written(rig):
    rig.use_redis().client.set(USES, "in the way")
    w = run_jobs(rig, 1, audit_level="uses", lease="1s")

    def refused():
        return rig.redis.client.info("commandstats")["cmdstat_xadd"]["failed_calls"]
    w.term()
    w.wait_log("worker.drain")
    before = refused()
    wait_until(lambda: not w.running or refused() > before + 2, 10, "it to try again")
    rig.redis.client.delete(USES)
    assert w.wait() == 0
    assert kinds(rig) == ["renewal", "use"]


# ---- what is found ----------------------------------------------------------------------------


@pytest.fixture
def written(rig):
    return write_some(rig)


def write_some(rig, apart_ms=0):
    """Two workers' lines and some acts, all sound."""
    rig.apply(rig.conn("crm"))
    run_jobs(rig, 5, audit_level="uses").term()
    first = lines(rig)[0][2]["t"]
    wait_until(lambda: rig.redis.client.time()[0] * 1000 > first + apart_ms, 10, "some time between the two")
    run_jobs(rig, 5, audit_level="uses", name="second").term()
    for w in rig.things[-2:]:
        w.wait()
    rig.ctl("conn", "rm", "crm")
    rig.logs = [t.log_path for t in rig.things if hasattr(t, "settings")]
    assert verify(rig, *rig.logs).code == 0
    return rig


def found(rig, key, change):
    entries = lines(rig, key)
    change(entries)
    put_back(rig, key, entries)
    return verify(rig, *rig.logs, code=1).out


def test_a_changed_line(written):
    def change(entries):
        entries[3][1][b"l"] = entries[3][1][b"l"].replace(b"200", b"204")
    assert "was altered" in found(written, USES, change)


@pytest.mark.parametrize("key", [USES, ACTS])
def test_a_missing_line(written, key):
    out = found(written, key, lambda entries: entries.pop(2))
    assert "is missing" in out and key in out


def test_missing_first_lines(rig):
    """A writer's first lines are gone, and older ones of another are still there: clocks may differ by a second."""
    written = write_some(rig, 2000)
    second = written.redis.client.xrange(USES)[-1][1][b"w"]

    def change(entries):
        at = next(n for n, e in enumerate(entries) if e[1][b"w"] == second)
        del entries[at:at + 2]
    out = found(written, USES, change)
    assert "lines 1 to 2" in out


def test_missing_last_lines_need_the_log(written):
    def change(entries):
        del entries[-2:]
    assert "its newest were taken off" in found(written, USES, change)
    assert "only workers' logs can tell" in verify(written).out


def test_two_lines_swapped(written):
    def change(entries):
        a, b = entries[2], entries[3]
        entries[2], entries[3] = (a[0], b[1], b[2]), (b[0], a[1], a[2])
    entries = lines(written, USES)
    change(entries)
    put_back(written, USES, entries)
    verify(written, *written.logs)  # each has its number: nothing was changed


def test_a_line_of_another_writer(written):
    def change(entries):
        entries[2][1][b"w"] = b"somebody-else"
    out = found(written, USES, change)
    assert "was altered" in out and "is missing" in out


def test_a_line_put_in(written):
    def change(entries):
        entries.append((b"9999999999999-0", {b"w": b"x", b"n": b"1", b"b": b"0" * 32, b"l": b'{"t":1,"kind":"use"}',
                                             b"m": b"y" * 36}, None))
    assert "of x are signed with run key 79797979, which is not in" in found(written, USES, change)


def forge(entries, key_id):
    """Every line under a key that nobody has, its digests as they must be: who has all of Redis can do that."""
    before = {}
    for _, f, _ in entries:
        f[b"l"] = f[b"l"].replace(b"200", b"204")
        f[b"m"] = key_id + b"m" * 32
        f[b"b"] = before.get(f[b"w"], bytes(32))
        parts = [b"%d:%s" % (len(f[k]), f[k]) for k in (b"w", b"b", b"l", b"m")]
        parts[1:1] = [f[b"n"] + b":"]
        before[f[b"w"]] = hashlib.blake2b(b"".join(parts), digest_size=32).digest()


def test_all_lines_under_an_unknown_key(written):
    def change(entries):
        forge(entries, b"\x0a\x0b\x0c\x0d")
    assert "is not the one of its audit.checkpoint" in found(written, USES, change)
    out = verify(written, code=1).out
    assert "signed with run key 0a0b0c0d, which is not in" in out and "as it was written" not in out
    said = verify(written, "--retired", "0a0b0c0d").out
    assert f"{len(lines(written))} lines were taken without proof" in said and "every line is as it was written" not in said


def test_with_another_key_file(written):
    other = written.folder / "other.keys"
    written.ctl("keys", "new", other)
    assert "which is not in the file of --keys" in verify(written, "--keys", other, code=1).out


def test_a_refused_key_file_writes_no_line(rig):
    """An act with keys that are not the workers' is refused before it is written down under them."""
    rig.link("acct")
    rig.worker()
    other = rig.folder / "other.keys"
    rig.ctl("keys", "new", other)
    before = rig.redis.client.xlen(rig.key("audit:acts"))
    said = rig.ctl("conn", "disable", "acct", "--reason", "x", "--keys", other, code=1)
    assert "not the workers'" in said.err
    assert rig.redis.client.xlen(rig.key("audit:acts")) == before
    rig.ctl("audit", "verify")


def test_the_stream_is_gone(written):
    written.redis.client.delete(USES)
    assert f"{USES} is empty" in verify(written, *written.logs, code=1).out


def test_all_of_a_writer_is_gone(written):
    last = lines(written)[-1][1][b"w"]

    def change(entries):
        entries[:] = [e for e in entries if e[1][b"w"] != last]
    assert f"has no line of {last.decode()}" in found(written, USES, change)


def test_a_writer_that_aged_out(rig):
    """Its checkpoints are older than all that is there: that is no fault."""
    written = write_some(rig, 2000)
    written.redis.client.xtrim(USES, maxlen=6, approximate=False)
    assert len({f[b"w"] for _, f, _ in lines(written)}) == 1
    verify(written, *written.logs)


def test_logs_that_say_nothing_of_a_writer(written):
    assert "Of 3 writers" in verify(written).out
    empty = written.folder / "empty.log"
    empty.write_text("")
    assert "Of 3 writers" in verify(written, empty).out
    assert "Of 2 writers (" in verify(written, written.logs[0]).out


def test_tail_of_a_kind_that_there_is_not(rig):
    rig.need(keys=True)
    rig.ctl("audit", "tail", "--kind", "bogus", code=2)


@pytest.mark.parametrize("number", [2 ** 62, 2 ** 63 - 1, 2 ** 64, -1, 0])
def test_an_absurd_number(written, number):
    """What stands in Redis may be anything."""
    fields = {**lines(written)[2][1], b"n": str(number)}
    written.redis.client.xadd(USES, fields)
    written.redis.client.xadd(USES, fields)
    out = verify(written, *written.logs, code=1).out
    assert "was altered" in out or "is no line of awq" in out


def test_a_second_line_with_its_number(written):
    """A line of before put in again under a new text cannot be signed; its copy is the same line."""
    entries = lines(written)
    written.redis.client.xadd(USES, entries[2][1])
    verify(written, *written.logs)  # as after an answer that got lost
    fields = {**entries[2][1], b"l": b"{}"}
    written.redis.client.xadd(USES, fields)
    assert "is a second line" in verify(written, *written.logs, code=1).out


def test_deleted_by_xdel(written):
    written.redis.client.xdel(USES, written.redis.client.xrange(USES)[-1][0])
    out = verify(written, code=1).out
    assert "deleted by XDEL" in out


def test_junk(written):
    written.redis.client.xadd(ACTS, {"hello": "world"})
    assert "is no line of awq" in verify(written, code=1).out
    written.ctl("dead", "purge", "--all")


def test_old_lines_age_out(rig):
    run_jobs(rig, 3, audit_level="uses", audit_max=1000)
    wait_until(lambda: len(lines(rig)) == 4, 10, "all lines to be written")
    rig.redis.client.xtrim(USES, maxlen=2, approximate=False)
    assert verify(rig).code == 0


def test_who_may_do_what(rig):
    """Neither a worker nor awq-ctl can take a line out: their Redis users have no command for it."""
    rig.need(keys=True)
    rig.ctl("dead", "purge", "--all")
    for role in ("worker", "ctl"):
        client = redispy.Redis(unix_socket_path=rig.redis.socket, username=f"awq-{role}", password="a-role-s-password")
        for command in (["XDEL", ACTS, "0-1"], ["DEL", ACTS], ["XTRIM", ACTS, "MAXLEN", "0"], ["XTRIM", USES, "MAXLEN", "0"]):
            with pytest.raises(redispy.exceptions.NoPermissionError):
                client.execute_command(*command)
    rig.may_be_denied = True
