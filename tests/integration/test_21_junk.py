"""What somebody else wrote into awq's sets: set aside, told once, and nothing good waits behind it.

awq's own scripts write none of this. It comes from a person at redis-cli, from a restore of half a
backup, from another program under the same prefix.
"""

import msgpack
import pytest

from procs import wait_until

LONG = "x" * 200


def held(*texts):
    """The body of a job set aside, as cmsgpack.pack of several texts writes it."""
    return b"".join(msgpack.packb(t) for t in texts)


def raw_body(job, queue="default"):
    """j as str, its bytes as they are (cmsgpack knows no bin)."""
    j = msgpack.packb(job)
    assert 31 < len(j) < 65536
    return held(queue) + b"\xda" + len(j).to_bytes(2, "big") + j + held("0", "")


def scripts_run(r):
    return sum(v["calls"] for k, v in r.client.info("commandstats").items() if k == "cmdstat_evalsha")


def does_not_spin(r):
    """Some looks between two beats are fine; a look after each answer would be hundreds."""
    def beats():
        return max(until for _, until in r.client.zrange("awq:{s0}:workers", 0, -1, withscores=True))
    for _ in range(2):
        before, beat = scripts_run(r), beats()
        wait_until(lambda: beats() > beat, 10, "a beat")
        assert scripts_run(r) - before < 60


def ready(rig, **more):
    r = rig.use_redis()
    rig.use_peers()
    rig.link("acct")
    return r, lambda **again: rig.worker(**{"lease": "1s", **more, **again})


def put_due(rig, members):
    rig.redis.client.zadd(rig.key("due"), {m: n + 1 for n, m in enumerate(members)})


def delayed(rig, job_id="good"):
    """A good job behind all that: its time has just come."""
    job = rig.job("acct", "/echo", job_id=job_id)
    r = rig.redis.client
    r.hset(rig.key("held"), f"{job_id}.0.0", raw_body(job))
    r.hset(rig.key(f"run:{job_id}"), mapping={"st": "due", "pl": "due"})
    r.zadd(rig.key("due"), {f"{job_id}.0.0": 10 ** 6})
    return job_id


def letters(rig):
    return {x["name"]: x for x in rig.ctl("dead", "ls", "--limit", 1000, "-o", "json").json()}


def test_names_that_are_none_among_the_due(rig):
    r, worker = ready(rig)
    put_due(rig, [f"junk {n}" for n in range(120)] + [b"\xff\x00odd", LONG])
    good = delayed(rig)
    w = worker()
    assert rig.results([good], 15)[good][-1]["state"] == "done"
    wait_until(lambda: r.client.zcard(rig.key("due")) == 0, 10, "the due set to be clean")
    told = [e["name"] for e in w.logged("house.junk")]
    assert len(told) == len(set(told)) == 122, "each once"
    assert w.metric("awq_house_junk_total", fate="dropped") == 122
    assert letters(rig) == {}
    does_not_spin(r)


def test_a_job_under_a_name_that_is_none(rig):
    """It has a body: a dead letter, which a person can send on its way."""
    r, worker = ready(rig)
    jobs = [rig.job("acct", "/echo", job_id=f"real{n}") for n in range(60)]
    for n, job in enumerate(jobs):
        r.client.hset(rig.key("held"), f"junk {n}", raw_body(job))
    put_due(rig, [f"junk {n}" for n in range(60)])
    good = delayed(rig)
    w = worker()
    assert rig.results([good], 15)[good][-1]["state"] == "done"
    wait_until(lambda: len(letters(rig)) == 60, 10, "60 letters")
    assert w.metric("awq_house_junk_total", fate="buried") == 60
    one = next(iter(letters(rig).values()))
    assert one["code"] == "job_misplaced" and "due held a job under" in one["text"], one
    assert rig.ctl("dead", "replay", "--all", "--limit", 1000).code == 0
    got = rig.results([j["id"] for j in jobs], 20)
    assert {x[-1]["state"] for x in got.values()} == {"done"}


def test_a_due_job_whose_body_is_gone(rig):
    """Nothing can be called any more: its run says so, instead of waiting for ever."""
    r, worker = ready(rig)
    ids = [f"lost{n}" for n in range(60)]
    for i in ids:
        r.client.hset(rig.key(f"run:{i}"), mapping={"st": "due", "pl": "due"})
    r.client.hset(rig.key("run:other"), mapping={"st": "ready", "pl": "q:default"})
    put_due(rig, [f"{i}.0.0" for i in ids] + ["other.0.0", "never.0.0"])
    good = delayed(rig)
    worker()
    got = rig.results(ids + [good], 15)
    assert got[good][-1]["state"] == "done"
    assert {(got[i][-1]["state"], got[i][-1]["error"]["code"]) for i in ids} == {("failed", "job_lost")}
    assert r.client.pttl(rig.key("run:lost0")) > 0
    assert r.client.hget(rig.key("run:other"), "st") == b"ready", "it lies elsewhere: not touched"
    assert not r.client.exists(rig.key("run:never")) and letters(rig) == {}


@pytest.mark.parametrize("bad", [
    pytest.param(b"\xc1garbage", id="not msgpack"),
    pytest.param(held("default"), id="too short"),
    pytest.param(held("no queue!", "j", "0", ""), id="no queue"),
    pytest.param(b"\x93" * 5000, id="deep"),
    pytest.param(b"\x81" + held("a", "b", "j", "0", ""), id="a map for a queue"),
    pytest.param(held("default") + b"\x05" + held("0", ""), id="a number for an envelope"),
])
def test_a_body_that_cannot_be_read(rig, bad):
    r, worker = ready(rig)
    r.client.hset(rig.key("held"), "odd.0.0", bad)
    r.client.hset(rig.key("run:odd"), mapping={"st": "due", "pl": "due"})
    put_due(rig, ["odd.0.0"])
    good = delayed(rig)
    worker()
    got = rig.results([good, "odd"], 15)
    assert got[good][-1]["state"] == "done"
    assert (got["odd"][-1]["state"], got["odd"][-1]["error"]["code"]) == ("dead", "job_unreadable")
    assert letters(rig)["odd.0.0"]["code"] == "job_unreadable"
    rig.ctl("dead", "show", "odd.0.0")
    does_not_spin(r)


def test_bodies_that_lie_nowhere(rig):
    """Jobs whose names are in no set go on, letters are letters again, and who is parked stays parked."""
    r, worker = ready(rig)
    rig.link_refresh("later")
    for n in range(20):
        r.client.hset(rig.key("held"), f"adrift{n}.0.0", raw_body(rig.job("acct", "/echo", job_id=f"adrift{n}")))
        r.client.hset(rig.key(f"run:adrift{n}"), mapping={"st": "parked", "pl": "park:conn:acct"})
    r.client.hset(rig.key("held"), "letter.0.0", raw_body(rig.job("acct", "/echo")) + held("code", "text", 12345))
    r.client.hset(rig.key("held"), "strange name", raw_body(rig.job("acct", "/echo")))
    r.client.hset(rig.key("held"), "waits.0.0", raw_body(rig.job("later", "/echo", job_id="waits")))
    r.client.hset(rig.key("run:waits"), mapping={"st": "parked", "pl": "park:conn:later"})
    r.client.zadd(rig.key("park:conn:later"), {"waits.0.0": 10 ** 15})
    r.client.zadd(rig.key("lots"), {"conn:later": 10 ** 15})
    w = worker()
    ids = [f"adrift{n}" for n in range(20)]
    assert {x[-1]["state"] for x in rig.results(ids, 20).values()} == {"done"}
    wait_until(lambda: len(letters(rig)) == 2, 10, lambda: letters(rig))
    assert {x["code"] for x in letters(rig).values()} == {"code", "job_misplaced"}
    assert r.client.zscore(rig.key("dead"), "letter.0.0") == 12345
    assert r.client.zrange(rig.key("park:conn:later"), 0, -1) == [b"waits.0.0"]
    assert w.metric("awq_house_junk_total", fate="settled") == 22


def test_junk_that_redis_refuses_to_set_aside(rig):
    """The dead letters' key is of another type: told with each look, and no look without pause."""
    r, worker = ready(rig)
    r.client.set(rig.key("dead"), "x")
    put_due(rig, [f"junk {n}" for n in range(60)])
    w = worker()
    w.wait_log("redis.error", what="junk")
    does_not_spin(r)
    assert r.client.zcard(rig.key("due")) == 60
    r.client.delete(rig.key("dead"))
    good = delayed(rig)
    assert rig.results([good], 15)[good][-1]["state"] == "done"


def test_junk_in_a_parking_lot(rig):
    r, worker = ready(rig)
    job = rig.job("acct", "/echo", job_id="parked")
    r.client.hset(rig.key("held"), "parked.0.0", raw_body(job))
    r.client.hset(rig.key("run:parked"), mapping={"st": "parked", "pl": "park:conn:acct"})
    r.client.zadd(rig.key("park:conn:acct"), {"parked.0.0": 10 ** 6, **{f"junk {n}": n for n in range(120)}})
    r.client.zadd(rig.key("lots"), {"conn:acct": 1})
    w = worker()
    assert rig.results(["parked"], 15)["parked"][-1]["state"] == "done"
    wait_until(lambda: not r.client.exists(rig.key("park:conn:acct"), rig.key("lots")), 10, "an empty lot")
    assert len(w.logged("house.junk")) == 120
    does_not_spin(r)


def test_lots_that_are_none(rig):
    """Names too long for a lot, lots with nobody in them, and lots that are of another type."""
    r, worker = ready(rig)
    job = rig.job("acct", "/echo", job_id="parked")
    r.client.hset(rig.key("held"), "parked.0.0", raw_body(job))
    r.client.hset(rig.key("run:parked"), mapping={"st": "parked", "pl": "park:conn:acct"})
    r.client.zadd(rig.key("park:conn:acct"), {"parked.0.0": 10 ** 6})
    r.client.zadd(rig.key("lots"), {"conn:acct": 10, **{f"conn:{n}{LONG}": -5 for n in range(25)},
                                    "a\0b": -4, **{f"nonsense{n}": -3 for n in range(25)},
                                    **{f"conn:set{n}": -2 for n in range(25)}})
    for n in range(25):
        r.client.set(rig.key(f"park:conn:set{n}"), "x")
    w = worker()
    assert rig.results(["parked"], 15)["parked"][-1]["state"] == "done"
    left = {m.decode() for m in r.client.zrange(rig.key("lots"), 0, -1)}
    assert {m for m in left if not m.startswith("conn:set")} <= {"conn:acct"}, left
    assert len(w.logged("house.junk")) >= 26
    does_not_spin(r)


def test_workers_that_are_none(rig):
    """Ten lines of no worker's length stand before one that is truly gone."""
    r, worker = ready(rig)
    r.client.zadd(rig.key("workers"), {**{f"{n}{LONG}": n + 1 for n in range(10)}, "a\0b": 1})
    api = rig.api
    first = worker()
    ids = rig.enqueue(rig.job("acct", "/effect/e?delay=500"))
    wait_until(api.log, 10, "the call")
    first.kill()
    second = worker()
    assert rig.results(ids, 15)[ids[0]][-1]["state"] == "done"
    wait_until(lambda: r.client.zrange(rig.key("workers"), 0, -1) == [second.id.encode()], 15,
               lambda: f"their lines to go: {r.client.zrange(rig.key('workers'), 0, -1)}")
    does_not_spin(r)


def test_dead_letters_that_are_none(rig):
    """Old lines of somebody else's do not keep old letters from ageing out."""
    r, worker = ready(rig)
    r.client.zadd(rig.key("dead"), {**{f"junk {n}": n + 1 for n in range(60)}, "old.0.0": 1000})
    r.client.hset(rig.key("held"), "old.0.0", raw_body(rig.job("acct", "/echo")))
    r.client.hset(rig.key("run:old"), mapping={"st": "dead", "pl": "dead"})
    for _ in range(2):  # fifty at a look, soon after an election; the next one is half a minute later
        w = worker()
        w.wait_log("house.purged", 20)
        w.term()
        assert w.wait(10) == 0
    assert r.client.zcard(rig.key("dead")) == 0
    assert r.client.hget(rig.key("run:old"), "st") == b"expired"
    assert not r.client.exists(rig.key("run:-"))


def test_awq_ctl_with_letters_that_are_none(rig):
    """A line of somebody else's, and one whose body is gone: listed, not replayed, forgotten when asked to."""
    r = rig.use_redis()
    r.client.zadd(rig.key("dead"), {"junk 1": 1, "bare.0.0": 2})
    assert set(letters(rig)) == {"junk 1", "bare.0.0"}
    for name in ("junk 1", "bare.0.0"):
        assert "dead purge forgets" in rig.ctl("dead", "replay", name, code=3).err
    rig.ctl("dead", "purge", "junk 1", "bare.0.0")
    assert letters(rig) == {} and not r.client.exists(rig.key("run:none"))
    rig.ctl("dead", "purge", "junk 1", code=3)


def test_renewals_asked_for_no_connection(rig):
    """`conn refresh` asks in awq:conns, which others may have written to."""
    r = rig.use_redis()
    auth, _ = rig.use_peers()
    rig.link_refresh("acct")
    w = rig.worker(lease="1s")
    rig.results(rig.enqueue(rig.job("acct", "/echo")))
    w.wait_log("house.elected")
    r.client.zadd("awq:conns", {f"{n}{LONG}": -10 ** 15 for n in range(25)})
    auth.reset()
    now = r.client.time()[0] * 1000
    r.client.zadd("awq:conns", {"acct": -now - 1000})
    wait_until(lambda: auth.requests_of("acct") > 0, 40, "the renewal that was asked for")
