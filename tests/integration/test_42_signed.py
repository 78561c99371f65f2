"""Signed jobs: what a producer may put, what becomes of what it may not, and its inbox."""
import json

import msgpack
import pytest
import redis as redispy

from procs import wait_until
from records import Producer

MINUTE = 60000


def now(rig):
    s, us = rig.redis.client.time()
    return s * 1000 + us // 1000


class Shop:
    """A producer `shop`, let use connection acct, and how it puts jobs."""

    def __init__(self, rig, *more, connections="acct", worker=None):
        self.rig, self.me = rig, Producer("shop")
        rig.link("acct")
        self.add("--connections", connections, *more)
        self.worker = rig.worker(require_signed=True, lease="1s", **(worker or {}))
        self.made = 0

    def add(self, *more):
        return self.rig.ctl("producer", "add", "shop", "--key", self.me.public, *more)

    def job(self, conn="acct", job_id=None, then=None, **env):
        self.made += 1
        times = {"iat": now(self.rig), "deadline": now(self.rig) + 5 * MINUTE}
        return self.rig.job(conn, "/echo", job_id=job_id or f"shop:{self.made}", then=then, env={**times, **env})

    def put(self, job, queue="default", s=None, **how):
        j = job if isinstance(job, bytes) else msgpack.packb(job)
        fields = {"j": j, "s": self.me.signature(j, queue=queue, **how) if s is None else s}
        return self.rig.redis.client.xadd(self.rig.key(f"q:{queue}"), fields)

    def put_inbox(self, job, queue="default", client=None, **how):
        j = msgpack.packb(job)
        fields = {"q": queue, "j": j, "s": self.me.signature(j, queue=queue, **how)}
        return (client or self.rig.redis.client).xadd(self.rig.key("in:shop"), fields)

    def result(self, job, **how):
        self.put(job, **how)
        return self.rig.results([job["id"]])[job["id"]][-1]

    def letter(self, count=1):
        """The code of the one dead letter there is."""
        wait_until(lambda: self.rig.redis.client.zcard(self.rig.key("dead")) >= count, 15, "a dead letter")
        letters = self.rig.ctl("dead", "ls", "-o", "json").json()
        assert len(letters) == count, letters
        return letters[0]

    def refused(self, code):
        letter = self.letter()
        assert letter["code"] == code, letter
        good = self.job()
        assert self.result(good)["state"] == "done", "the next good job"
        self.rig.ctl("dead", "purge", "--all")
        return letter


@pytest.fixture
def shop(rig):
    rig.use_redis()
    return Shop(rig)


def test_a_signed_job_and_its_next_steps(shop):
    call = shop.rig.call("acct", "/echo")
    job = shop.job(then=[call, call])
    shop.put(job)
    got = shop.rig.results([job["id"]])[job["id"]]
    assert [(r["step"], r["state"]) for r in got] == [(0, "done"), (1, "done"), (2, "done")]


def test_unsigned_is_refused(shop):
    shop.rig.enqueue(shop.rig.job("acct", "/echo"))
    assert "require-signed" in shop.refused("unsigned")["text"]


def test_unsigned_is_taken_where_nobody_asks_for_more(rig):
    shop = Shop(rig)
    shop.worker.term()
    shop.worker.wait()
    rig.worker()
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"
    assert shop.result(shop.job())["state"] == "done"


@pytest.mark.parametrize("what", ["byte", "queue", "prefix", "name", "key", "short", "junk", "empty"])
def test_a_bad_signature(shop, what):
    job = shop.job()
    j = msgpack.packb(job)
    good = shop.me.signature(j)
    if what == "byte":  # the job was altered
        shop.put(j.replace(b"shop:1", b"shop:2"), s=good)
    elif what == "queue":
        shop.put(j, s=shop.me.signature(j, queue="other"))
    elif what == "prefix":
        shop.put(j, s=shop.me.signature(j, prefix="awq2"))
    elif what == "name":  # another producer's name behind a signature
        shop.rig.ctl("producer", "add", "shop2", "--key", Producer("shop2").public, "--connections", "*")
        shop.put(j, s=good[:64] + b"shop2")
    elif what == "key":
        shop.put(j, s=Producer("shop").signature(j))
    elif what == "short":
        shop.put(j, s=good[:50])
    elif what == "junk":
        shop.put(j, s=b"\xff" * 300)
    else:
        shop.put(j, s=b"")
    shop.refused("unsigned" if what == "empty" else "signature_bad")


def test_an_unknown_producer(shop):
    shop.me.name = "nobody"
    shop.put(shop.job(job_id="nobody:1"))
    wait_until(lambda: shop.rig.redis.client.zcard(shop.rig.key("dead")), 15, "a dead letter")
    shop.me.name = "shop"
    assert "nobody" in shop.refused("producer_unknown")["text"]


@pytest.mark.parametrize("env, code", [
    ({"iat": 0}, "producer_time"), ({"deadline": 0}, "producer_time"),
    ({"deadline": 10 * MINUTE}, "producer_time"),  # after iat: a copy could outlive what is remembered of the run
    ({"iat": 5 * MINUTE, "deadline": 8 * MINUTE}, "producer_time"),
    ({"out": "theirs"}, "producer_out"),
])
def test_what_its_envelope_may_not_say(shop, env, code):
    times = {k: now(shop.rig) + v if v else 0 for k, v in env.items() if k != "out"}
    job = {k: v for k, v in shop.job(**{**env, **times}).items() if v != 0}
    shop.put(job)
    shop.refused(code)


def test_an_id_that_could_be_anothers(shop):
    shop.put(shop.job(job_id="lead-17"))
    shop.refused("producer_id")
    assert not shop.rig.redis.client.exists(shop.rig.key("run:lead-17"))


def test_a_queue_that_it_may_not_use(rig):
    shop = Shop(rig, "--queues", "default", worker={"queues": "default,fast"})
    shop.put(shop.job(), queue="fast")
    shop.refused("producer_queue")


def test_a_connection_that_it_may_not_use(shop):
    shop.rig.link("other")
    shop.put(shop.job("other"))
    shop.refused("producer_connection")


def test_a_later_step_s_connection_is_known_before_the_first_call(shop):
    shop.rig.link("other")
    call = shop.rig.call("acct", "/echo")
    shop.put(shop.job(then=[call, shop.rig.call("other", "/echo"), call]))
    assert "other" in shop.letter()["text"]
    assert not shop.rig.api.log()
    shop.refused("producer_connection")


def test_a_later_step_is_looked_at_again(shop):
    """The producer lost the connection while the first step ran: that call is made, the second is not."""
    shop.rig.link("other")
    shop.add("--connections", "acct,other")
    job = shop.job(then=[shop.rig.call("other", "/echo")])
    job["call"]["url"] += "?delay=1500"
    shop.put(job)
    wait_until(shop.rig.api.log, 15, "the first call")
    shop.add("--connections", "acct")
    assert shop.letter()["code"] == "producer_connection"
    assert [r["state"] for r in shop.rig.results([job["id"]])[job["id"]]] == ["done", "dead"]


# ---- a job that is refused, and its id ----

def put_by_script(rig, job, file="job.json", *more, code=0):
    (rig.folder / file).write_text(json.dumps(job))
    return rig.ctl("job", "enqueue", "-f", rig.folder / file, *more, code=code)


def test_who_waits_for_a_refused_job_hears_so(shop):
    """Put by the enqueue script without a signature: it ended under its own id, which the mended job may have."""
    rig = shop.rig
    job = shop.job()
    said = put_by_script(rig, job, "job.json", "--wait", "--timeout", "15s", code=1).json()
    assert (said["id"], said["state"], said["error"]["code"]) == (job["id"], "dead", "unsigned")
    letter = shop.letter()
    assert letter["id"] == job["id"] and letter["name"].startswith("bad~")
    got = rig.ctl("job", "get", job["id"], "-o", "json").json()
    assert got["state"] == "dead" and letter["name"] in got["waits_for"]
    assert "before its id was trusted" not in rig.ctl("job", "cancel", job["id"], code=1).err
    assert rig.redis.client.pttl(rig.key(f"run:{job['id']}")) > 0
    key = rig.folder / "shop.key"
    key.write_text(f"ed25519 {shop.me.seed.hex()}\n")
    key.chmod(0o600)
    said = put_by_script(rig, job, "job.json", "--sign", key, "--producer", "shop", "--wait", "--timeout", "15s").json()
    assert said["state"] == "done"


def test_a_refused_job_that_is_sent_back(shop):
    """The producer was not there yet. Its letter is replayed, and its record ends as any other."""
    rig = shop.rig
    other = Producer("crm")
    job = {**shop.job(), "id": "crm:1"}
    key = rig.folder / "crm.key"
    key.write_text(f"ed25519 {other.seed.hex()}\n")
    key.chmod(0o600)
    put_by_script(rig, job, "job.json", "--sign", key, "--producer", "crm")
    name = shop.letter()["name"]
    rig.ctl("producer", "add", "crm", "--key", other.public, "--connections", "acct")
    rig.ctl("dead", "replay", name)
    assert rig.ctl("job", "wait", "crm:1").json()["state"] == "done"
    assert not rig.redis.client.exists(rig.key(f"run:{name.rsplit('.', 2)[0]}"))


def test_nobody_ends_another_s_job(shop):
    """An entry of somebody's with the id of a job that waits: its record stays as it is."""
    rig = shop.rig
    job = {**shop.job(), "not_before": now(rig) + 4 * MINUTE}
    key = rig.folder / "shop.key"
    key.write_text(f"ed25519 {shop.me.seed.hex()}\n")
    key.chmod(0o600)
    put_by_script(rig, job, "job.json", "--sign", key, "--producer", "shop")
    before = rig.redis.client.hgetall(rig.key(f"run:{job['id']}"))
    rig.redis.client.xadd(rig.key("q:default"), {"j": msgpack.packb(job)})
    assert shop.letter()["code"] == "unsigned"
    assert rig.redis.client.hgetall(rig.key(f"run:{job['id']}")) == before
    assert rig.ctl("job", "cancel", job["id"], "-o", "json").json()["answer"] == "CANCELLED"


@pytest.mark.parametrize("what", ["id", "deadline"])
def test_what_every_worker_would_refuse_is_not_signed(shop, what):
    rig = shop.rig
    job = shop.job(job_id="crm:1") if what == "id" else {**shop.job(), "deadline": now(rig) + 20 * MINUTE}
    key = rig.folder / "shop.key"
    key.write_text(f"ed25519 {shop.me.seed.hex()}\n")
    key.chmod(0o600)
    said = put_by_script(rig, job, "job.json", "--sign", key, "--producer", "shop", code=1)
    assert ("begin with" if what == "id" else "deadline") in said.err
    assert not rig.redis.client.xlen(rig.key("q:default"))


def test_a_key_that_others_could_sign_for(shop):
    """Points of small order: a signature by nobody's secret would fit."""
    for key in ("01" + "00" * 31, "00" * 32, "ec" + "ff" * 30 + "7f"):
        assert "public key" in shop.rig.ctl("producer", "add", "weak", "--key", key, "--connections", "x", code=2).err


def test_a_copy_does_not_run_again(shop):
    job = shop.job()
    assert shop.result(job)["state"] == "done"
    entry = shop.put(job)
    wait_until(lambda: not shop.rig.redis.client.xrange(shop.rig.key("q:default"), entry, entry), 15, "the copy to go")
    assert len(shop.rig.all_results()) == 1 and len(shop.rig.api.log()) == 1


@pytest.mark.parametrize("end", ["cancel", "purge"])
def test_a_copy_of_what_never_ran_does_not_run(shop, end):
    """The first became a dead letter, or waited, and somebody ended it: its signature is still good."""
    rig = shop.rig
    job = shop.job("acct" if end == "cancel" else "nobody")
    if end == "cancel":
        job["not_before"] = now(rig) + 4 * MINUTE
    else:
        shop.add("--connections", "*")
    shop.put(job)
    wait_until(lambda: rig.redis.client.exists(rig.key("held")), 15, "the first to be set aside")
    if end == "cancel":
        rig.ctl("job", "cancel", job["id"])
    else:
        rig.ctl("dead", "purge", "--all")
        rig.link("nobody")
        rig.ctl("conn", "refresh", "nobody")  # else it would wait for a token, and be found there
    assert rig.redis.client.hget(rig.key(f"run:{job['id']}"), "pl") == b""
    entry = shop.put(job)
    wait_until(lambda: not rig.redis.client.xrange(rig.key("q:default"), entry, entry), 15, "the copy to go")
    assert not rig.redis.client.exists(rig.key("held")) and not rig.api.log()


def test_something_else_where_its_run_would_be(shop):
    """It is refused, and holds no slot: to ask again would give the same."""
    job = shop.job()
    shop.rig.redis.client.set(shop.rig.key(f"run:{job['id']}"), "in the way")
    shop.put(job)
    assert job["id"] in shop.refused("run_broken")["text"]


def test_past_its_deadline(shop):
    made = now(shop.rig)
    assert shop.result(shop.job(iat=made - 2 * MINUTE, deadline=made - MINUTE))["state"] == "expired"


def test_a_removed_producer(shop):
    """Neither its next job nor the next step of what it put is made."""
    rig = shop.rig
    rig.link("slow", limits={"rate": "1/1h", "burst": 1})
    shop.add("--connections", "*")
    one, two = shop.job("slow"), shop.job("slow")
    assert shop.result(one)["state"] == "done"
    shop.put(two)
    wait_until(lambda: rig.redis.client.zcard(rig.key("park:lane:slow")), 15, "the second to wait for its turn")
    rig.ctl("producer", "rm", "shop")
    rig.ctl("producer", "rm", "shop", code=3)
    shop.put(shop.job())
    assert shop.letter()["code"] == "producer_unknown"
    rig.apply(rig.conn("slow"))  # no limit any more: what waited goes on, and is not made
    wait_until(lambda: rig.redis.client.zcard(rig.key("dead")) == 2, 15, "the one that waited to be refused too")
    assert [x["code"] for x in rig.ctl("dead", "ls", "-o", "json").json()] == ["producer_unknown"] * 2
    assert len([e for e in rig.api.log() if e["path"] == "/echo"]) == 1


def test_a_record_that_somebody_altered(shop):
    key = "awq:producers"
    record = shop.rig.redis.client.hget(key, "shop")
    shop.rig.redis.client.hset(key, "shop", record.replace(b'"acct"', b'"*"'))
    shop.rig.redis.client.hincrby("awq:meta", "rev", 1)
    shop.rig.redis.client.publish("awq:changed", "*")
    shop.worker.wait_log("producer.broken") if shop.put(shop.job()) else None
    assert shop.letter()["code"] == "producer_unknown"
    assert "was altered" in shop.rig.ctl("producer", "show", "shop", code=1).err


def test_a_connection_for_certain_producers(rig):
    """policy.producers: other producers' jobs and unsigned ones are refused, before anything is sent."""
    shop = Shop(rig)
    rig.link("acct", policy={"producers": ["crm"]})
    shop.put(shop.job())
    assert shop.letter()["code"] == "policy_producer"
    rig.link("acct", policy={"producers": ["crm", "shop"]})
    assert shop.result(shop.job())["state"] == "done"
    shop.worker.term()
    shop.worker.wait()
    rig.worker()
    rig.enqueue(rig.job("acct", "/echo"))
    assert "nobody signed" in shop.letter(2)["text"]
    assert len(rig.api.log()) == 1


def test_policy_producers_of_a_file(rig):
    rig.apply(rig.conn("crm", policy={"producers": ["shop"]}))
    assert json.loads(rig.redis.client.hget("awq:{c:crm}", "cfg"))["producers"] == ["shop"]
    assert "producers" in rig.apply(rig.conn("crm", policy={"producers": ["a b"]}), code=1).err


# ---- awq-ctl ------------------------------------------------------------------------------------


def test_ctl(rig):
    rig.need(keys=True)
    key = rig.folder / "shop.key"
    made = rig.ctl("producer", "keygen", key)
    public = made.out.strip()
    assert made.err.count("\n") == 1 and "?" not in made.err
    assert len(public) == 64 and key.stat().st_mode & 0o777 == 0o600 and public not in key.read_text()
    rig.ctl("producer", "keygen", key, code=1)
    for bad in (["--key", public], ["--connections", "a"], ["--key", public, "--connections", "a b"],
                ["--key", "00", "--connections", "a"], ["--key", public.upper() + "G", "--connections", "a"]):
        rig.ctl("producer", "add", "shop", *bad, code=2)
    rig.ctl("producer", "add", "a:b", "--key", public, "--connections", "a", code=2)
    rig.ctl("producer", "add", "shop", "--key", public, "--connections", "acct,crm-*", "--queues", "fast", "--inbox")
    assert rig.ctl("producer", "show", "shop", "-o", "json").json() == {
        "name": "shop", "queues": ["fast"], "connections": ["acct", "crm-*"], "outs": ["results", "shop"],
        "inbox": True, "key": public}
    assert [p["name"] for p in rig.ctl("producer", "ls", "-o", "json").json()] == ["shop"]
    assert "crm-*" in rig.ctl("producer", "ls").out
    rig.ctl("producer", "show", "other", code=3)
    acts = [json.loads(f[b"l"]) for _, f in rig.redis.client.xrange("awq:{s0}:audit:acts")]
    assert [a["act"] for a in acts] == ["producer add"] * 2


def test_ctl_signs(rig):
    rig.need(keys=True)
    key = rig.folder / "shop.key"
    public = rig.ctl("producer", "keygen", key).out.strip()
    rig.link("acct")
    rig.ctl("producer", "add", "shop", "--key", public, "--connections", "acct")
    rig.worker(require_signed=True)
    job = json.dumps({"call": rig.call("acct", "/echo")})
    said = rig.ctl("job", "enqueue", "-f", "-", "--sign", key, "--producer", "shop", "--wait", input=job).json()
    assert said["state"] == "done" and said["id"].startswith("shop:")
    rig.ctl("job", "enqueue", "-f", "-", "--sign", key, input=job, code=2)
    key.chmod(0o644)
    assert "shop.key" in rig.ctl("job", "enqueue", "-f", "-", "--sign", key, "--producer", "shop", input=job, code=1).err


def test_new_keys_for_all(rig):
    """keys rotate signs the records of producers anew; an old key that one needs stays."""
    shop = Shop(rig)
    first = rig.redis.client.hget("awq:producers", "shop")
    rig.ctl("keys", "rotate", "--stage")
    shop.worker.hup()
    shop.worker.wait_log("keys.reloaded")
    wait_until(lambda: rig.run_ctl("keys", "rotate").code == 0, 15, "the worker to know the new keys")
    shop.worker.hup()
    shop.worker.wait_log("keys.reloaded", count=2)
    assert shop.result(shop.job())["state"] == "done"
    rows = rig.ctl("keys", "ls", "-o", "json").json()
    assert [r["producers"] for r in rows if r["kind"] == "run" and r["state"] == "seals"] == [1]
    old = rig.redis.client.hget("awq:producers", "shop")
    assert old != first
    rig.redis.client.hset("awq:producers", "shop", first)
    wait_until(lambda: "1 producers need it" in rig.run_ctl("keys", "retire").err, 20, "nothing else to need the old key")
    rig.ctl("keys", "rotate")
    rig.ctl("keys", "retire")
    assert rig.redis.client.hget("awq:producers", "shop") == old


# ---- the inbox ----------------------------------------------------------------------------------


@pytest.fixture
def boxed(rig):
    rig.use_redis()
    return Shop(rig, "--inbox")


def test_an_inbox_is_emptied(boxed):
    jobs = [boxed.job() for _ in range(120)]
    for job in jobs:
        boxed.put_inbox(job)
    got = boxed.rig.results([j["id"] for j in jobs])
    assert {r[-1]["state"] for r in got.values()} == {"done"}
    assert boxed.rig.redis.client.xlen(boxed.rig.key("in:shop")) == 0


@pytest.mark.parametrize("what, code", [
    ("signature", "signature_bad"), ("other", "signature_bad"), ("queue", "producer_queue"), ("none", "envelope_field_missing"),
    ("envelope", "envelope_not_msgpack"), ("connection", "producer_connection"), ("big", "envelope_too_big"), ("unsigned", "envelope_field_missing")])
def test_what_fails_is_deleted_and_said(boxed, what, code):
    rig, job = boxed.rig, boxed.job()
    j = msgpack.packb(job)
    inbox = rig.key("in:shop")
    if what == "signature":
        rig.redis.client.xadd(inbox, {"q": "default", "j": j, "s": b"x" * 64 + b"shop"})
    elif what == "other":
        rig.redis.client.xadd(inbox, {"q": "default", "j": j, "s": Producer("crm").signature(j)})
    elif what == "queue":
        boxed.put_inbox(job, queue="fast")
    elif what == "none":
        rig.redis.client.xadd(inbox, {"hello": "world"})
    elif what == "envelope":
        rig.redis.client.xadd(inbox, {"q": "default", "j": b"\xc1", "s": boxed.me.signature(b"\xc1")})
    elif what == "unsigned":
        rig.redis.client.xadd(inbox, {"q": "default", "j": j})
    elif what == "big":
        rig.redis.client.xadd(inbox, {"q": "default", "j": b"x" * (4 << 20), "s": b"s"})
    else:
        rig.link("other")
        boxed.put_inbox(boxed.job("other"))
    said = boxed.worker.wait_log("inbox.refused")
    assert said["error_rule"] == code and said["producer"] == "shop"
    wait_until(lambda: rig.redis.client.xlen(inbox) == 0, 15, "it to be deleted")
    good = boxed.job()
    boxed.put_inbox(good)
    assert rig.results([good["id"]])[good["id"]][-1]["state"] == "done"
    assert not rig.redis.client.exists(rig.key("dead")), "no dead letters for those who may write here"


def test_the_user_of_an_inbox_may_do_nothing_else(boxed):
    rig = boxed.rig
    line = rig.acl_line("inbox", "--inbox", "shop")
    rig.redis.client.execute_command("ACL", "SETUSER", *line.split(" (")[0].split()[1:],
                                     *[f"({s[:-1].rstrip(')')})" for s in (line + " ").split(" (")[1:]])
    client = redispy.Redis(unix_socket_path=rig.redis.socket, username="awq-inbox", password="a-role-s-password")
    job = boxed.job()
    boxed.put_inbox(job, client=client)
    assert rig.results([job["id"]])[job["id"]][-1]["state"] == "done"
    assert client.hmget(rig.key(f"run:{job['id']}"), "st")[0] == b"done"
    for command in (["XADD", rig.key("q:default"), "*", "j", "x"], ["XADD", rig.key("in:crm"), "*", "j", "x"],
                    ["XRANGE", rig.key("in:shop"), "-", "+"], ["HMGET", rig.key("run:lead-17"), "st"],
                    ["HGETALL", "awq:producers"], ["HGETALL", "awq:{c:acct}"], ["XDEL", rig.key("in:shop"), "0-1"]):
        with pytest.raises(redispy.exceptions.NoPermissionError):
            client.execute_command(*command)
    rig.may_be_denied = True


def test_a_full_inbox_holds_up_no_other(boxed):
    """What anybody may put into his own is his own: megabytes of rubbish, which the worker is busy with for long."""
    rig = boxed.rig
    rig.ctl("producer", "add", "aaa", "--key", Producer("aaa").public, "--connections", "x", "--inbox")
    rig.ctl("producer", "add", "zzz", "--key", Producer("zzz").public, "--connections", "x", "--inbox")
    boxed.worker.kill()
    for _ in range(60):
        rig.redis.client.xadd(rig.key("in:aaa"), {"q": "default", "j": b"x" * 900000, "s": b"s"})
        rig.redis.client.xadd(rig.key("in:zzz"), {"q": "default", "j": b"x" * 900000, "s": b"s"})
    job = boxed.job()
    boxed.put_inbox(job)
    rig.worker(require_signed=True, lease="1s")
    assert rig.results([job["id"]])[job["id"]][-1]["state"] == "done"
    assert rig.redis.client.xlen(rig.key("in:aaa")) > 0 and rig.redis.client.xlen(rig.key("in:zzz")) > 0


def test_more_inboxes_than_one_look_has(rig):
    shop = Shop(rig, "--inbox")
    for n in range(70):
        rig.ctl("producer", "add", f"p{n}", "--key", Producer("p").public, "--connections", "x", "--inbox")
        rig.redis.client.xadd(rig.key(f"in:p{n}"), {"hello": "world"})
    wait_until(lambda: not any(rig.redis.client.xlen(rig.key(f"in:p{n}")) for n in range(70)), 20, "all to be emptied")
    job = shop.job()
    shop.put_inbox(job)
    assert rig.results([job["id"]])[job["id"]][-1]["state"] == "done"


def test_an_inbox_job_whose_id_is_known_is_said(boxed):
    job = boxed.job()
    boxed.put_inbox(job)
    assert boxed.rig.results([job["id"]])[job["id"]][-1]["state"] == "done"
    boxed.put_inbox(job)
    said = boxed.worker.wait_log("inbox.duplicate")
    assert (said["producer"], said["job"]) == ("shop", job["id"])


def test_doctor_says_of_an_inbox_that_nobody_reads(boxed):
    rig = boxed.rig
    boxed.add("--connections", "acct")  # without --inbox
    rig.redis.client.xadd(rig.key("in:shop"), {"q": "default", "j": "x", "s": "y"})
    found = [c for c in rig.run_ctl("doctor", "-o", "json").json() if c["check"] == "inboxes"]
    assert len(found) == 1 and found[0]["result"] == "warn" and "shop" in found[0]["found"]


def test_an_inbox_job_takes_its_id_back(boxed):
    """Somebody else put an unsigned job under it, which was refused."""
    rig, job = boxed.rig, boxed.job()
    (rig.folder / "job.json").write_text(json.dumps(job))
    rig.ctl("job", "enqueue", "-f", rig.folder / "job.json", "--wait", "--timeout", "15s", code=1)
    boxed.put_inbox(job)
    wait_until(lambda: rig.redis.client.hget(rig.key(f"run:{job['id']}"), "st") == b"done", 15, "the producer's own job")


def test_a_restarted_worker_goes_on_with_an_inbox(boxed):
    boxed.worker.kill()
    job = boxed.job()
    boxed.put_inbox(job)
    boxed.rig.worker(require_signed=True, lease="1s")
    assert boxed.rig.results([job["id"]])[job["id"]][-1]["state"] == "done"


def test_the_last_id_there_is_holds_up_no_other_inbox(boxed):
    rig = boxed.rig
    rig.ctl("producer", "add", "aaa", "--key", Producer("aaa").public, "--connections", "x", "--inbox")
    rig.redis.client.xadd(rig.key("in:aaa"), {"q": "x"}, id=f"{2 ** 64 - 1}-{2 ** 64 - 1}")
    for _ in range(2):
        job = boxed.job()
        boxed.put_inbox(job)
        assert rig.results([job["id"]])[job["id"]][-1]["state"] == "done"
    wait_until(lambda: rig.redis.client.xlen(rig.key("in:aaa")) == 0, 15, "that entry to go")
