"""awq-ctl for operators: keys, doctor, queue and worker lists, exit codes, one clear line each."""
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time

import pytest

from procs import BUILD, ROOT, free_port, wait_until
from servers import Redis

NOUNS = ["keys", "conn", "job", "queue", "dead", "worker"]
VERBS = ["keys new", "profile ls", "conn apply", "conn ls", "conn show", "conn register", "conn test", "conn refresh", "conn rm",
         "job enqueue", "job get", "job wait", "job cancel", "queue ls", "dead ls", "dead show",
         "dead replay", "dead purge", "worker ls", "doctor"]


def checks(rig, code, *args):
    """doctor -o json: {check: (result, found)}."""
    done = rig.run_ctl("doctor", "-o", "json", *args)
    assert code is None or done.code == code, done.out + done.err
    return {c["check"]: (c["result"], c["found"]) for c in done.json()}


# ---- usage ----


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb(rig, verb):
    done = rig.run_ctl(*verb.split(), "--help")
    assert done.code == 0 and done.out.startswith(f"awq-ctl {verb}") and done.err == ""


def test_help_lists_everything(rig):
    done = rig.run_ctl("--help")
    assert done.code == 0
    assert all(f"  {verb} " in done.out for verb in VERBS)
    assert rig.run_ctl("--version").out.startswith("awq-ctl ")
    for noun in NOUNS:
        done = rig.run_ctl(noun)
        assert done.code == 2 and f"  {noun} " in done.err


@pytest.mark.parametrize("args", [
    [], ["nope"], ["conn", "nope"], ["conn", "show"], ["conn", "show", "a", "b"],
    ["conn", "ls", "--nope"], ["conn", "ls", "-o", "xml"], ["--nope", "conn", "ls"],
    ["conn", "ls", "--limit"], ["conn", "apply", "--relink=yes"], ["conn", "show", "a b"],
    ["conn", "refresh", "a", "--timeout", "soon"], ["--prefix", "a b", "conn", "ls"],
    ["-o", "json"], ["dead", "purge"], ["keys", "new"], ["-o", "yaml", "conn", "ls"], ["-o"], ["doctor", "--nope"],
])
def test_usage_errors_need_no_redis(rig, args):
    done = rig.run_ctl(*args, env={"AWQ_REDIS_URL": "redis://127.0.0.1:9"})
    if args == ["conn", "show", "a b"]:  # asked only once the link is there
        assert done.code in (2, 5)
    else:
        assert done.code == 2, done.err
    assert done.err.startswith("awq-ctl") and done.out == ""


def test_an_option_before_the_noun_that_there_is_not(rig):
    said = rig.run_ctl("--redis-usr", "x", "queue", "ls").err
    assert "did you mean --redis-user?" in said and len(said.splitlines()) == 1
    said = rig.run_ctl("--zzz", "queue", "ls").err
    assert "--help" in said and len(said.splitlines()) == 1
    assert rig.run_ctl("doctor", "--zzz").err.startswith("awq-ctl doctor: no such flag")
    assert rig.run_ctl("doctor", "--help").out.startswith("awq-ctl doctor\n")


def test_a_flag_that_is_given_twice(rig):
    """One of the two would be dropped without a word."""
    rig.need(keys=True)
    a, b = (str(rig.folder / n) for n in ("a.yaml", "b.yaml"))
    for flags in (["-f", a, "-f", b], ["-f", a, f"--file={b}"]):
        done = rig.run_ctl("conn", "apply", *flags)
        assert done.code == 2 and "--file is given twice" in done.err
    done = rig.run_ctl("conn", "rm", "x", "--reason", "a", "--reason", "b")
    assert done.code == 2 and "--reason is given twice" in done.err


@pytest.mark.parametrize("time, says", [
    ("99d", "must be a number and ms, s, m or h (no more than 8784h)"), ("x", "must be a number and ms, s, m or h"),
    ("1", "must have a unit"), ("8785h", "must be at most 8784h"), ("99999999999999999999s", "must be at most 8784h"),
])
def test_a_time_that_is_none(rig, time, says):
    done = rig.run_ctl("conn", "enable", "x", "--timeout", time)
    assert done.code == 2 and says in done.err, done.err


def test_a_list_of_verbs_is_not_cut(rig):
    assert "[--grant GRANT] [--auth METHOD] ... Register a client" in rig.run_ctl("conn", "--help").out


@pytest.mark.parametrize("flags, says", [
    (["--redis-url", "foo://x"], "scheme"), (["--redis-password-file", "/none/here"], "/none/here"),
    (["--keys", "/none/here", "conn", "test", "x"], "/none/here"), (["--keys", "", "conn", "test", "x"], "key file"),
])
def test_settings_that_cannot_be_right_are_wrong_usage(rig, flags, says):
    rig.need(keys=False)
    done = rig.run_ctl(*(flags if len(flags) > 2 else [*flags, "queue", "ls"]))
    assert done.code == 2 and says in done.err, done.err


def test_what_redis_refuses_says_where(rig):
    rig.use_redis(tcp=True)
    where = rig.redis.tcp_url.split("//")[1]
    password = rig.folder / "pw"
    password.write_text("wrong")
    password.chmod(0o600)
    for flags, says in ((["--redis-url", f"redis://{where}/77"], "out of range"),
                        (["--redis-url", f"rediss://{where}"], "speak TLS"),
                        (["--redis-url", f"redis://{where}", "--redis-user", "x", "--redis-password-file", password], "WRONGPASS")):
        done = rig.run_ctl("queue", "ls", *flags)
        assert done.code == 5 and where in done.err and says in done.err, done.err


def test_settings_in_any_place(rig):
    rig.need()
    for args in (["-o", "json", "conn", "ls"], ["conn", "ls", "-o", "json"],
                 ["--output", "json", "conn", "ls"], ["conn", "ls", "--output=json"]):
        done = rig.run_ctl(*args)
        assert (done.code, done.out) == (0, "[]\n"), (args, done.err)
    done = rig.run_ctl("conn", "ls", env={"AWQ_OUTPUT": "json"})
    assert done.out == "[]\n"


# ---- keys ----


def test_keys_new(rig):
    path = rig.folder / "k"
    done = rig.run_ctl("keys", "new", path)
    assert done.code == 0
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    lines = [x.split() for x in path.read_text().splitlines() if not x.startswith("#")]
    assert [x[0] for x in lines] == ["run", "access", "grant"]
    assert len({x[1] for x in lines}) == 3 and len({x[2] for x in lines}) == 3
    for line in lines:  # no key on the terminal
        assert line[2] not in done.out + done.err
    before = path.read_text()
    done = rig.run_ctl("keys", "new", path)
    assert done.code == 1 and "exists" in done.err and path.read_text() == before
    assert rig.run_ctl("keys", "new", rig.folder / "no" / "k").code == 1


@pytest.mark.parametrize("what,want", [
    ("missing", "is not there"), ("open", "0644"), ("short", "64 hex digits"),
    ("empty", "no keys"), ("folder", "not a regular file"), ("none", "--keys FILE"),
])
def test_bad_key_files(rig, what, want):
    conn = rig.conn("acct")
    path = rig.folder / "bad-keys"
    if what == "open":
        rig.run_ctl("keys", "new", path)
        path.chmod(0o644)
    elif what == "short":
        path.write_text("run 00000001 0011\n")
        path.chmod(0o600)
    elif what == "empty":
        path.write_text("")
        path.chmod(0o600)
    elif what == "folder":
        path.mkdir()
    rig.keys = path
    if what != "none":
        rig.common["keys"] = path
    done = rig.apply(conn, code=2)
    assert want in done.err and done.err.count("\n") == 1


# ---- Redis that cannot be used: one line, exit 5 ----


def refused(rig, want, code=5, **env):
    done = rig.run_ctl("conn", "ls", env=env)
    assert done.code == code, done.out + done.err
    assert done.err.count("\n") == 1 and want in done.err, done.err
    assert done.out == ""
    return done


def test_no_redis(rig):
    refused(rig, "127.0.0.1:9", AWQ_REDIS_URL="redis://127.0.0.1:9")
    refused(rig, "no-such.sock", AWQ_REDIS_URL=f"unix://{rig.folder}/no-such.sock")
    # doctor says the same in its own way
    done = rig.run_ctl("doctor", env={"AWQ_REDIS_URL": "redis://127.0.0.1:9"})
    assert done.code == 5 and "BAD" in done.out


def test_passwords(rig):
    server = Redis(rig.folder, options={"user": ["default on >other-password ~* &* +@all",
                                                 "ctl on >s3cret-password ~* &* +@all"]})
    server.auth = {"username": "ctl", "password": "s3cret-password"}
    rig.things.append(server)
    rig.redis = server.start()
    rig.common["redis-url"] = server.url
    path = rig.folder / "password"
    path.write_text("wrong-password")
    path.chmod(0o600)
    refused(rig, "NOAUTH")
    done = refused(rig, "WRONGPASS", AWQ_REDIS_USER="ctl", AWQ_REDIS_PASSWORD_FILE=str(path))
    assert "wrong-password" not in done.err
    path.write_text("s3cret-password\n")
    done = rig.run_ctl("conn", "ls", env={"AWQ_REDIS_USER": "ctl",
                                          "AWQ_REDIS_PASSWORD_FILE": str(path)})
    assert done.code == 0, done.err
    assert server.running


def test_a_server_that_must_not_be_used(rig):
    server = rig.use_redis(options={"cluster-enabled": "yes", "cluster-port": str(free_port())})
    refused(rig, "cluster")
    assert server.running


# ---- doctor ----


def test_doctor_on_a_fresh_redis(rig):
    rig.use_redis(aof="everysec")
    got = checks(rig, 1)
    assert {k for k, v in got.items() if v[0] == "bad"} == {"workers"}
    assert got["append-only file"] == ("ok", "on")
    assert got["key file"][0] == "warn"
    assert rig.redis.client.dbsize() == 0  # it looked, no more


def test_doctor_with_a_worker(rig):
    rig.use_redis(aof="everysec")
    rig.worker()
    got = checks(rig, 0)
    assert {v[0] for v in got.values()} == {"ok"}, got
    assert got["workers"] == ("ok", "1 alive")


def test_doctor_finds_what_is_wrong(rig):
    rig.use_redis(options={"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"})
    r = rig.redis.client
    r.zadd(rig.key("due"), {"x.0.0": 1})
    r.zadd(rig.key("dead"), {"y.0.0": 1})
    r.xadd(rig.key("q:default"), {"j": b"x"})
    r.xgroup_create(rig.key("q:default"), "w", "0")
    r.xreadgroup("w", "gone", {rig.key("q:default"): ">"})
    r.execute_command("XCLAIM", rig.key("q:default"), "w", "gone", 0,
                      r.xrange(rig.key("q:default"))[0][0], "IDLE", 3600_000)
    r.hset("awq:meta", mapping={"install": "x", "shards": 4})
    got = checks(rig, 1)
    for check in ("eviction", "workers", "due jobs", "install"):
        assert got[check][0] == "bad", (check, got)
    for check in ("append-only file", "dead letters", "queue default"):
        assert got[check][0] == "warn", (check, got)
    assert "allkeys-lru" in got["eviction"][1]
    rig.common["keys"] = rig.folder / "nope"
    assert checks(rig, 1)["key file"][0] == "bad"
    # an install that was made for more shards is not written to
    conn = rig.conn("acct")
    rig.run_ctl("keys", "new", rig.folder / "nope")
    rig.keys = rig.folder / "nope"
    assert "4 shards" in rig.apply(conn, code=1).err


def test_doctor_sees_accounts_in_trouble(rig):
    rig.use_redis(aof="everysec")
    rig.worker()
    r = rig.redis.client
    assert checks(rig, 0)["accounts"] == ("ok", "0, none in trouble")
    for n, state in enumerate(("FRESH", "NEEDS_CONSENT", "BACKOFF")):
        r.hset(f"awq:{{c:a{n}}}", "state", state)
        r.zadd("awq:conns", {f"a{n}": 9e15 + n})
    r.zadd("awq:conns", {"no} id": 9e15 - 1})
    assert checks(rig, 0)["accounts"] == ("warn", "1 need consent: a1; 1 cannot renew: a2")


def test_the_key_file_must_be_the_workers(rig):
    rig.use_redis(aof="everysec")
    rig.worker()
    conn = rig.conn("acct")
    rig.keys = rig.common["keys"] = rig.folder / "other"
    rig.run_ctl("keys", "new", rig.folder / "other")
    result, found = checks(rig, 1)["key file"]
    assert (result, "not the workers'" in found) == ("bad", True), found
    assert "not the workers'" in rig.apply(conn, code=1).err
    assert not rig.redis.client.exists("awq:{c:acct}")  # nothing was sealed with it


def test_doctor_sees_what_somebody_else_wrote(rig):
    r = rig.use_redis()
    r.client.zadd(rig.key("due"), {f"junk {n}": n for n in range(60)})
    r.client.hset(rig.key("held"), "nowhere.0.0", "x")
    got = checks(rig, 1)
    assert got["due jobs"][0] == "bad" and "late" in got["due jobs"][1], "nobody keeps house"
    assert got["set aside"] == ("warn", "59 names have no body")
    r.client.set(rig.key("dead"), "x")  # now the housekeeper cannot set them aside
    w = rig.worker(lease="1s")
    w.wait_log("redis.error", what="junk")
    got = checks(rig, 1)
    assert got["due jobs"] == ("bad", "50 of the first 50 have no job behind them: junk 0")
    assert got["key types"] == ("bad", "awq:{s0}:dead is a string and must be a zset")
    r.client.delete(rig.key("dead"))
    wait_until(lambda: checks(rig, None)["due jobs"][0] == "ok", 10, "the housekeeper to have mended it")
    wait_until(lambda: checks(rig, 0)["set aside"] == ("ok", "each job has one place"), 40, "and the body too")
    assert "key types" not in checks(rig, 0)


def test_doctor_sees_queues_that_cannot_be(rig):
    """By bare XADD: `queue ls` passes over them, and what a worker has sorted by tenant is none of them."""
    rig.use_redis(aof="everysec")
    rig.worker()
    r = rig.redis.client
    r.xadd(rig.key("q:default~"), {"j": b"x"})
    assert "queue names" not in checks(rig, 0)
    for name in "a b", "x" * 65:
        r.xadd(rig.key(f"q:{name}"), {"j": b"x"})
    level, said = checks(rig, 0)["queue names"]
    assert level == "warn" and said.endswith("with such a name: 2") and said.split('"')[1] in ("a b", "x" * 64), said


def test_doctor_sees_what_nobody_takes(rig):
    """Ready, and slots are free: the workers are paused, or hang."""
    r = rig.use_redis(aof="everysec").client
    rig.use_peers()
    rig.link("acct")
    worker = rig.worker(lease="1s")
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"
    worker.send(signal.SIGTSTP)
    wait_until(lambda: checks(rig, None).get("paused", ("",))[0] == "bad", 20, "its beat to say so")
    now = int(r.time()[0]) * 1000
    r.delete(rig.key("q:default"))
    r.execute_command("XADD", rig.key("q:default"), f"{now - 20000}-1", "j", b"x")
    r.xgroup_create(rig.key("q:default"), "w", "0")
    got = checks(rig, 1)
    assert got["queue default"][0] == "warn" and "although slots are free" in got["queue default"][1], got
    assert got["paused"] == ("bad", "1 of 1 workers take no jobs (worker ls)")


def test_a_queue_that_has_used_up_its_ids(rig):
    """Somebody with XADD ends it: everybody who comes near says so, and what mends it."""
    r = rig.use_redis(aof="everysec").client
    rig.use_peers()
    rig.link("acct")
    worker = rig.worker()
    rig.enqueue(rig.job("acct", "/echo", job_id="later", env={"not_before": int(time.time() * 1000) + 4000}))
    wait_until(lambda: r.zcard(rig.key("due")) == 1, 10, "it to be set aside")
    r.xadd(rig.key("q:default"), {"j": b"x"}, id="18446744073709551615-18446744073709551615")
    worker.wait_log("house.refused", 20, jobs=1)
    got = checks(rig, 1)
    assert got["queue default"][0] == "bad" and "last id is the last that there is" in got["queue default"][1]
    path = rig.folder / "job.json"
    path.write_text(json.dumps({"v": 1, "id": "j", "call": {"conn": "acct", "url": "https://x.example/"}}))
    done = rig.run_ctl("job", "enqueue", "-f", path)
    assert done.code == 1 and "exhausted its ids" in done.err and "DEL it" in done.err
    wait_until(lambda: r.xlen(rig.key("q:default")) == 0, 10, "it to be drained")
    r.delete(rig.key("q:default"))
    assert rig.result(rig.job("acct", "/echo", job_id="other"))["state"] == "done"


def test_doctor_on_a_full_redis(rig):
    r = rig.use_redis(aof="everysec").client
    rig.worker()
    r.config_set("maxmemory", 1 << 20)
    r.set("filler", b"x" * (4 << 20)) if r.info("memory")["used_memory"] < 1 << 20 else None
    assert checks(rig, 1)["memory"][0] == "bad"


def test_doctor_without_rights_claims_nothing(rig):
    rig.use_redis()
    rig.worker()
    password = rig.folder / "pw"
    password.write_text("some-password")
    password.chmod(0o600)
    rig.redis.client.acl_setuser("few", enabled=True, passwords=["+some-password"], keys="x:*",
                                 commands=["+ping", "+info", "+client|setname", "+eval", "+select", "+time"])
    got = checks(rig, 1, "--redis-user", "few", "--redis-password-file", password)
    assert got["workers"][1].startswith("not known: ") and got["install"][1].startswith("not known: "), got
    rig.may_be_denied = True


def test_doctor_on_a_replica(rig):
    primary = rig.use_redis(tcp=True)
    primary.client.config_set("repl-diskless-sync-delay", 0)
    replica = Redis(rig.folder, "replica", options={"replicaof": f"127.0.0.1 {primary.port}"})
    rig.things.append(replica)
    replica.start()
    wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up", 20,
               "the replica to follow")
    wait_until(lambda: primary.client.info("replication").get("slave0", {}).get("state") == "online", 20,
               "the primary to count it")
    got = checks(rig, 1, "--redis-url", replica.url)
    assert got["role"] == ("bad", "read-only replica")
    assert checks(rig, 1)["role"] == ("ok", "primary, 1 replicas")


# ---- lists ----


def test_queue_ls(rig):
    rig.need(keys=True)
    r = rig.redis.client
    for n in range(5):
        r.xadd(rig.key("q:bulk"), {"j": b"x"})
    r.xgroup_create(rig.key("q:bulk"), "w", "0")
    r.xreadgroup("w", "somebody", {rig.key("q:bulk"): ">"}, count=2)
    r.set("awq:{s0}:q", "not a queue")
    got = {q["queue"]: q for q in rig.ctl("queue", "ls", "-o", "json").json()}
    assert set(got) == {"bulk", "default"}
    assert (got["bulk"]["ready"], got["bulk"]["in_flight"]) == (3, 2)
    assert got["bulk"]["oldest_age_ms"] >= 0 and got["default"]["oldest_age_ms"] is None
    out = rig.ctl("queue", "ls").out
    assert "bulk" in out and "set aside: 0 due later, 0 parked, 0 dead letters" in out
    assert [q["queue"] for q in rig.ctl("queue", "ls", "bulk", "-o", "json").json()] == ["bulk"]
    rig.ctl("queue", "ls", "a b", code=2)
    # another prefix sees nothing of it
    assert "bulk" not in rig.ctl("queue", "ls", "--prefix", "other").out


def test_queue_ls_where_there_are_too_many_keys_to_look_at(rig):
    rig.need(keys=True)
    rig.redis.client.xadd(rig.key("q:alone"), {"j": b"x"})
    pipe = rig.redis.client.pipeline(transaction=False)
    for n in range(60000):
        pipe.set(f"somebody-elses-{n}", "")
    pipe.execute()
    assert "queue ls NAME" in rig.ctl("queue", "ls").out
    assert [q["ready"] for q in rig.ctl("queue", "ls", "alone", "-o", "json").json()] == [1]


def test_queue_ls_knows_what_workers_work_on(rig):
    rig.worker(queues="fast:3,slow")
    got = {q["queue"] for q in rig.ctl("queue", "ls", "-o", "json").json()}
    assert got == {"default", "fast", "slow"}


def test_a_queue_that_grows(rig):
    """Why: nobody works on it, or who does is busy."""
    r = rig.use_redis()
    rig.use_peers()
    rig.link("acct")
    w = rig.worker(queues="fast", slots=2, lease="1s")
    rig.enqueue([rig.job("acct", "/echo") for _ in range(3)], queue="alone")
    got = {q["queue"]: q["workers"] for q in rig.ctl("queue", "ls", "-o", "json").json()}
    assert got == {"alone": 0, "default": 0, "fast": 1}
    assert checks(rig, 0)["queues"] == ("warn", "3 jobs on alone, and none of the workers alive works on it")
    assert "slots" not in checks(rig, 0)
    rig.enqueue([rig.job("acct", "/slow?ms=8000", method="GET") for _ in range(9)], queue="fast")
    wait_until(lambda: checks(rig, 0).get("slots") == ("warn", "2 of 2 are busy, and 7 jobs wait"), 10,
               lambda: checks(rig, 0))
    w.kill()
    wait_until(lambda: {q["queue"]: q["workers"] for q in rig.ctl("queue", "ls", "-o", "json").json()}["fast"] == 0,
               10, "the killed worker to be counted no more")
    assert r.client.hlen(rig.key("w")) == 1, "though its numbers are still there"


def test_worker_ls(rig):
    a = rig.worker(slots=7, lease="2s")
    b = rig.worker(lease="2s")
    got = {w["worker"]: w for w in rig.ctl("worker", "ls", "-o", "json").json()}
    assert set(got) == {a.id, b.id}
    assert got[a.id]["alive"] and got[a.id]["slots"] == 7 and got[a.id]["queues"] == "default"
    assert sum(w["housekeeper"] for w in got.values()) == 1
    assert [got[w.id]["pid"] for w in (a, b)] == [a.child.pid, b.child.pid]
    assert {w["host"] for w in got.values()} == {socket.gethostname()}
    for word in (str(a.child.pid), socket.gethostname()):
        assert word in rig.ctl("worker", "ls").out
    a.kill()
    wait_until(lambda: not {w["worker"]: w["alive"] for w in
                            rig.ctl("worker", "ls", "-o", "json").json()}.get(a.id, False), 15,
               "the killed worker to be taken for dead")
    assert len(rig.ctl("worker", "ls", "--limit", 1, "-o", "json").json()) == 1


# ---- the page ----


def blocks(kind):
    """The fenced blocks of tools/README.md of one kind."""
    text = (ROOT / "tools/README.md").read_text()
    return [b for k, b in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.S | re.M) if k == kind]


def test_the_page_names_every_command():
    text = (ROOT / "tools/README.md").read_text()
    assert [v for v in VERBS if f"`{v}" not in text] == []


def test_the_connection_file_of_the_page(rig):
    rig.need(keys=True)
    (yaml_text,) = blocks("yaml")
    for name in ("crm", "crm-refresh"):
        (rig.folder / name).write_text(f"{name}-value")
        (rig.folder / name).chmod(0o600)
    (rig.folder / "crm.yaml").write_text(yaml_text.replace("/run/secrets/", ""))
    assert "linked" in rig.ctl("conn", "apply", "-f", rig.folder / "crm.yaml").out


def test_the_sandbox_of_the_page(rig):
    """Typed in as it stands, on another port."""
    rig.worker()
    script = next(b for b in blocks("") if "awq-sandbox --port" in b)
    script = script.replace("9000", str(free_port())).replace("awq-sandbox --port",
                                                              "exec awq-sandbox --port", 1)
    first, rest = script.split("\n", 1)
    env = {**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}",
           "AWQ_REDIS_URL": rig.redis.url, "AWQ_KEYS": str(rig.keys)}
    sandbox = subprocess.Popen(["sh", "-c", first.rstrip(" &")], env=env, cwd=rig.folder,
                               stdout=subprocess.PIPE, text=True)
    try:
        assert "ready" in sandbox.stdout.readline()
        done = subprocess.run(["sh", "-e", "-c", rest], env=env, cwd=rig.folder, text=True,
                              capture_output=True, timeout=60, check=False)
    finally:
        sandbox.terminate()
        sandbox.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"state":"done"' in done.stdout.splitlines()[-1]
