"""The roles of `awq-ctl acl print`: the pages say what it prints, each role may do its work (every other
test's workers and awq-ctl are these users, and rig.close asks whether Redis refused them anything), and
nothing else."""
import hashlib
import re

import pytest
import redis as redispy
from msgpack import packb

from procs import ROOT

ROLES = ("worker", "ctl", "producer", "reader", "inbox")
PAGES = {"worker": "deploy/README.md", "ctl": "deploy/README.md", "producer": "common/PROTOCOL.md",
         "reader": "common/PROTOCOL.md", "inbox": "common/PROTOCOL.md"}


def printed(rig, *args):
    return rig.run_ctl("acl", "print", *args).out.splitlines()


def test_the_pages_have_what_it_prints(rig):
    lines = printed(rig)
    assert len(lines) == len(ROLES)
    lines[ROLES.index("inbox")] = printed(rig, "--role", "inbox", "--inbox", "NAME")[0]
    for role, line in zip(ROLES, lines):
        assert line.startswith(f"user awq-{role} reset on ")
        assert f"\n{line}\n" in (ROOT / PAGES[role]).read_text(), f"{PAGES[role]} has another line for {role}"


def test_each_place_is_somebody_s(rig):
    """Whoever adds a place to common/key.h says who may touch it."""
    head = (ROOT / "common/key.h").read_text().split("*/")[0]
    places = set(re.findall(r"P:(\S+)", head)) - {""}
    assert len(places) > 15
    patterns = {w.lstrip("(")[w.lstrip("(").index("awq:") + 4:].rstrip(")")
                for line in printed(rig, "--role", "worker") + printed(rig, "--role", "ctl")
                for w in line.split() if "awq:" in w}
    for place in places:
        place = place.rstrip(",").replace("{sN}", "{s0}").replace("{c:ID}", "{c:*}")
        place = re.sub(r":(QUEUE|ID|NAME|R)\b", ":*", place)
        assert place in patterns, f"{place} is in no role's rights"


def test_the_password_is_read_from_a_file(rig):
    path = rig.folder / "pw"
    path.touch(0o600)
    path.write_text("hush-hush\n")
    done = rig.run_ctl("acl", "print", "--role", "reader", "--user", "crm.reader", "--password-file", path)
    digest = hashlib.sha256(b"hush-hush").hexdigest()
    assert done.code == 0 and done.out.startswith(f"user crm.reader reset on #{digest} resetchannels "), done.out
    assert "hush-hush" not in done.out + done.err and done.err == ""
    path.write_text("\n")
    assert rig.run_ctl("acl", "print", "--role", "reader", "--password-file", path).code == 1
    path.chmod(0o644)
    assert rig.run_ctl("acl", "print", "--role", "reader", "--password-file", path).code == 1


def test_without_a_password_nobody_gets_in(rig):
    rig.may_be_denied = True
    rig.use_redis(tcp=True)
    done = rig.run_ctl("acl", "print", "--role", "reader")
    assert "no password" in done.err
    _, user, *rules = done.out.split()
    rig.redis.client.execute_command("ACL", "SETUSER", user, *rules)
    with pytest.raises(redispy.exceptions.RedisError, match="WRONGPASS"):
        redispy.Redis(port=rig.redis.port, username=user, password="any").ping()


@pytest.mark.parametrize("args", [
    ["--role", "boss"], ["--user", "x"], ["--password-file", "x"], ["--queue", "a"],
    ["--role", "worker", "--queue", "a"], ["--role", "producer", "--out", "a"], ["--role", "producer", "--queue", "a,,b"],
    ["--role", "producer", "--queue", "a*"], ["--role", "reader", "--out", "*"], ["--role", "reader", "--user", "a b"],
    ["--role", "reader", "--user", "x)"], ["--redis", "8"], ["more"],
], ids=" ".join)
def test_bad_usage(rig, args):
    assert rig.run_ctl("acl", "print", *args).code == 2


def test_the_prefix_is_in_all_of_it(rig):
    for line in printed(rig, "--prefix", "other"):
        assert "awq" not in line and "~other:{s0}:" in line


def as_user(rig, line):
    """A client that is the user of this line."""
    _, user, *rules = line.split(" ")
    rig.redis.client.execute_command("ACL", "SETUSER", user, *rules)
    return redispy.Redis(unix_socket_path=rig.redis.socket, username=user, password=rig.roles.read_text())


NOBODY = [  # what no role may
    "FLUSHALL", "FLUSHDB", "CONFIG GET *", "CONFIG SET maxmemory 1", "KEYS *", "ACL LIST", "ACL SETUSER x on", "SHUTDOWN",
    "SAVE", "BGSAVE", "DEBUG SLEEP 0", "MONITOR", "REPLICAOF NO ONE", "CLIENT KILL TYPE normal", "CLIENT LIST",
    "MODULE LIST", "SCRIPT FLUSH", "SCRIPT LOAD x", "FUNCTION LIST", "SLOWLOG GET", "SWAPDB 0 1", "MIGRATE h 1 k 0 1",
    "RESTORE awq:{c:a} 0 x", "DUMP awq:{c:a}", "COPY awq:{c:a} awq:{s0}:run:x", "RENAME awq:{c:a} awq:{s0}:run:x",
    "OBJECT ENCODING awq:{c:a}", "GET other:key", "SET other:key x", "EVAL return 1 other:key",
    "XTRIM awq:{s0}:q:default MAXLEN 0", "XGROUP DESTROY awq:{s0}:q:default w",
    "XGROUP SETID awq:{s0}:q:default w $", "UNLINK awq:{s0}:q:default", "DEL awq:{s0}:q:default", "DEL awq:meta",
    "DEL awq:{s0}:held", "EXPIRE awq:{c:a} 1", "HGETALL awq:{c:a}", "PUBLISH other x", "SUBSCRIBE other",
    "PSUBSCRIBE *", "SORT awq:{s0}:due GET awq:*", "LATENCY RESET", "MEMORY USAGE awq:{c:a}", "CLUSTER RESET",
]
WORKER_NOT = ["SCAN 0", "DEL awq:{c:a}", "HSET awq:{s0}:id:x a b", "HSCAN awq:{s0}:held 0", "XADD awq:conns * a b"]
CTL_NOT = ["XREADGROUP GROUP w me STREAMS awq:{s0}:q:default >", "XACK awq:{s0}:q:default w 1-1",
           "SET awq:{c:a}:lease x", "SET awq:{s0}:boss x", "HSET awq:{s0}:w a b", "SUBSCRIBE awq:changed",
           "XRANGE awq:{s0}:out:results - +", "ZADD awq:{s0}:workers 1 a"]
PRODUCER_NOT = ["HGET awq:{c:a} at", "HMGET awq:{c:a} at rt", "HSET awq:{c:a} ver 9", "GET awq:{c:a}:lease",
                "XRANGE awq:{s0}:q:default - +", "XREAD STREAMS awq:{s0}:q:default 0", "XDEL awq:{s0}:q:default 1-1",
                "XREADGROUP GROUP w me STREAMS awq:{s0}:q:default >", "XGROUP CREATE awq:{s0}:q:default w 0",
                "XADD awq:{s0}:out:results * r x", "XRANGE awq:{s0}:out:results - +", "HGET awq:{s0}:held x",
                "HMGET awq:{s0}:held x", "HDEL awq:{s0}:held x", "ZREM awq:{s0}:due x", "ZADD awq:{s0}:dead 1 x",
                "HMGET awq:meta install", "ZRANGE awq:conns 0 -1", "SMEMBERS awq:{s0}:queues", "PUBLISH awq:changed x",
                "SUBSCRIBE awq:changed", "SCAN 0", "HSET awq:{s0}:id:x a b", "SET awq:{s0}:run:x y",
                "EVAL return#1 1 awq:{c:a}", "EVAL return#redis.call('HGET','awq:{c:a}','at') 0"]
READER_NOT = ["XADD awq:{s0}:out:results * r x", "XDEL awq:{s0}:out:results 1-1", "XTRIM awq:{s0}:out:results MAXLEN 0",
              "XGROUP DESTROY awq:{s0}:out:results mine", "HSET awq:{s0}:run:x r y", "HGET awq:{c:a} at",
              "XRANGE awq:{s0}:q:default - +", "XADD awq:{s0}:q:default * j x", "EVAL return#1 0",
              "XREADGROUP GROUP w me STREAMS awq:{s0}:q:default >", "PUBLISH awq:wake x", "SUBSCRIBE awq:wake"]
# Narrowed: what the role may do elsewhere, and this user not.
NARROW_PRODUCER_NOT = ["XADD awq:{s0}:q:other * j x", "XLEN awq:{s0}:q:other", "XADD awq:{s0}:q:mine2 * j x",
                       "HSET awq:{s0}:held x y", "ZADD awq:{s0}:due 1 x"]
NARROW_READER_NOT = ["XREADGROUP GROUP g me STREAMS awq:{s0}:out:other >", "XGROUP CREATE awq:{s0}:out:other g 0 MKSTREAM",
                     "XACK awq:{s0}:out:other g 1-1"]
CASES = [
    ("worker", [], NOBODY + WORKER_NOT), ("ctl", [], NOBODY + CTL_NOT),
    ("producer", [], NOBODY + PRODUCER_NOT), ("reader", [], NOBODY + READER_NOT),
    ("producer", ["--queue", "default,mine"], NOBODY + PRODUCER_NOT + NARROW_PRODUCER_NOT),
    ("reader", ["--out", "results"], NOBODY + READER_NOT + NARROW_READER_NOT),
]


def refused(link, words):
    """What Redis says to it; a # in a word is a space."""
    try:
        return f"answered {link.execute_command(*[w.replace('#', ' ') for w in words.split()])!r}"
    except redispy.exceptions.NoPermissionError:
        return "NOPERM"
    except redispy.exceptions.ResponseError as e:
        return "NOPERM" if "can't run this command" in str(e) or "No permissions" in str(e) \
            or "can't access" in str(e) else str(e)


@pytest.mark.parametrize("role, flags, commands", CASES, ids=[" ".join([r, *f]) for r, f, _ in CASES])
def test_nothing_else(rig, role, flags, commands):
    rig.may_be_denied = True
    rig.use_redis(options={"enable-debug-command": "yes"})
    rig.redis.client.xgroup_create(rig.key("q:default"), "w", "0", mkstream=True)
    rig.redis.client.hset("awq:{c:a}", mapping={"at": "token", "ver": 1})
    link = as_user(rig, rig.acl_line(role, *flags))
    assert link.ping()
    said = {c: refused(link, c) for c in commands}
    assert not {c: s for c, s in said.items() if s != "NOPERM"}
    assert rig.redis.client.hget("awq:{c:a}", "at") == b"token"


def test_narrowed_users_do_their_part(rig):
    rig.use_redis()
    rig.link("acct")
    rig.worker(queues="mine")
    link = as_user(rig, rig.acl_line("producer", "--queue", "mine", "--user", "narrow"))
    job = rig.job("acct", "/echo", job_id="a-1")
    link.xadd(rig.key("q:mine"), {"j": packb(job)})
    enqueue = (ROOT / "common/scripts/enqueue.lua").read_text()
    keys = [rig.key(k) for k in ("q:mine", "id:a-2", "run:a-2", "held", "due", "dead")]
    assert link.eval(enqueue, 6, *keys, "a-2.0.0", packb({**job, "id": "a-2"}), "", 0, 100, 60000, "mine", "awq:wake") == b"OK"
    rig.results(["a-1", "a-2"])
    assert link.hmget(rig.key("run:a-2"), "st") == [b"done"]
    reader = as_user(rig, rig.acl_line("reader", "--out", "results", "--user", "one"))
    out = rig.key("out:results")
    reader.xgroup_create(out, "mine", "0", mkstream=True)
    [[_, entries]] = reader.xreadgroup("mine", "me", {out: ">"})
    assert len(entries) == 2 and reader.xack(out, "mine", *[e for e, _ in entries]) == 2


def test_the_older_form_works_and_keeps_to_its_keys(rig):
    """Before 7.0 there are no selectors: the same commands, each for every key of the role."""
    rig.use_redis()
    for role in ("worker", "ctl"):
        _, user, *rules = rig.acl_line(role, "--redis", "6").split()
        assert not [r for r in rules if "(" in r or "%" in r]
        rig.redis.client.execute_command("ACL", "SETUSER", user, *rules)
    rig.link("acct")
    rig.worker(lease="1s")
    rig.result(rig.job("acct", "/echo"))
    rig.result(rig.job("acct", "/flaky?n=1", retry={"max": 3, "base_ms": 10}))
    assert rig.ctl("doctor").code == 0
    assert rig.denied() == []
    rig.may_be_denied = True
    for role in ("worker", "ctl"):
        link = as_user(rig, rig.acl_line(role, "--redis", "6"))
        for words in ("FLUSHALL", "CONFIG GET *", "KEYS *", "GET other:key", "XTRIM awq:{s0}:q:default MAXLEN 0", "ACL LIST"):
            assert refused(link, words) == "NOPERM", words


def test_doctor_names_the_right_that_is_missing(rig):
    rig.use_redis()
    assert ("ok", "all that awq-ctl needs") == rights(rig)
    rig.redis.client.execute_command("ACL", "SETUSER", "awq-ctl", "clearselectors", "~*", "+@all", "&*", "-hincrby", "-zcount")
    result, found = rights(rig)
    assert result == "bad" and "zcount" in found and "(2 in all)" in found
    assert rig.denied() == [] or all("zcount" in d for d in rig.denied())
    rig.may_be_denied = True


def test_doctor_and_lists_as_another_role(rig):
    """Whoever logs in as somebody else's user hears that, not a bare NOPERM."""
    rig.use_redis()
    password = rig.folder / "pw"
    password.write_text("some-password")
    password.chmod(0o600)
    line = rig.acl_line("reader").split(" (")
    rig.redis.client.execute_command("ACL", "SETUSER", "reader", *line[0].split()[2:], ">some-password")
    flags = ["--redis-user", "reader", "--redis-password-file", password]
    done = rig.run_ctl("doctor", "-o", "json", *flags)
    [last] = [c for c in done.json() if c["check"] == "rights"]
    assert done.code == 1 and done.err == "" and last["result"] == "bad" and "--role ctl" in last["what_to_do"], done.out
    for verb in (["queue", "ls"], ["worker", "ls"], ["conn", "ls"]):
        done = rig.run_ctl(*verb, *flags)
        assert done.code == 1 and "user reader" in done.err and "--role ctl" in done.err, done.err
    rig.may_be_denied = True


def rights(rig):
    [line] = [c for c in rig.run_ctl("doctor", "-o", "json").json() if c["check"] == "rights"]
    return line["result"], line["found"]
