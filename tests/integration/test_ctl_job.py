"""awq-ctl job and dead: put jobs, see where they are, stop them, mend dead letters."""
import json
import time
from concurrent.futures import ThreadPoolExecutor

import msgpack
import pytest

from between import script_sha
from procs import wait_until


def write(rig, *jobs):
    """A file of jobs: one as JSON over several lines, several as one a line."""
    path = rig.folder / "jobs.json"
    if len(jobs) == 1:
        path.write_text(json.dumps(jobs[0], indent=2))
    else:
        path.write_text("\n\n".join(j if isinstance(j, str) else json.dumps(j) for j in jobs) + "\n")
    return path


def enqueue(rig, *jobs, code=0, flags=()):
    return rig.ctl("job", "enqueue", "-f", write(rig, *jobs), "-o", "json", *flags, code=code)


def job(n=1, **more):
    """A job that nobody takes: these tests run no worker."""
    return {"v": 1, "id": f"j{n}", "call": {"conn": "acct", "url": "https://api.example/x"}, **more}


# ---- enqueue and wait ----


def test_enqueue_and_wait(rig):
    rig.link("acct")
    rig.worker()
    done = enqueue(rig, rig.job("acct", "/echo"), flags=["--wait"])
    result = json.loads(done.out)
    assert (result["state"], result["status"], result["end"]) == ("done", 200, True)
    # a refused call is an answer too, and exit 1
    done = enqueue(rig, rig.job("acct", "/status/404"), flags=["--wait"], code=1)
    assert json.loads(done.out)["state"] != "done"
    # several: each result on its line; partial when one of them is not done
    done = enqueue(rig, rig.job("acct", "/echo"), rig.job("acct", "/status/404"), flags=["--wait"],
                   code=4)
    assert [json.loads(x)["state"] == "done" for x in done.out.splitlines()] == [True, False]
    # a chain: the last step's result
    chain = rig.job("acct", "/echo", then=[rig.call("acct", "/echo")])
    done = enqueue(rig, chain, flags=["--wait"])
    assert json.loads(done.out)["step"] == 1
    done = rig.ctl("job", "wait", chain["id"])
    assert json.loads(done.out)["end"] is True
    got = rig.ctl("job", "get", chain["id"], "-o", "json").json()
    assert got["state"] == "done" and got["waits_for"] == "" and got["last_result"]["step"] == 1


def test_ids(rig):
    one = job()
    del one["id"]
    made = enqueue(rig, one).json()
    assert len(made) == 1 and len(made[0]["id"]) == 32 and made[0]["answer"] == "enqueued"
    entry = rig.redis.client.xrange(rig.key("q:default"))[0][1]
    assert msgpack.unpackb(entry[b"j"])["id"] == made[0]["id"]
    assert rig.redis.client.hget(rig.key(f"run:{made[0]['id']}"), "st") == b"ready"
    # the same id is the same job
    assert enqueue(rig, job(7)).json()[0]["answer"] == "enqueued"
    assert enqueue(rig, job(7)).json()[0]["answer"] == "already known"
    assert rig.redis.client.xlen(rig.key("q:default")) == 2


def test_standard_input_and_another_queue(rig):
    rig.need(keys=True)
    done = rig.ctl("job", "enqueue", "-f", "-", "--queue", "slow", input=json.dumps(job()))
    assert "enqueued" in done.out
    assert rig.redis.client.xlen(rig.key("q:slow")) == 1
    rig.ctl("job", "enqueue", "-f", "-", "--queue", "a b", input=json.dumps(job()), code=2)


BAD = [
    ('{"v":1', "JSON"),
    ('[]', "must be a JSON object"),
    ('{"v":1,"id":"a b","call":{"url":"https://x/"}}', "id"),
    ('{"v":1,"id":"a"}', "call"),
    ('{"v":1,"id":"a","call":{"url":"https://x/","timeout_ms":-1}}', "timeout_ms"),
    ('{"v":2,"id":"a","call":{"url":"https://x/"}}', "v"),
    ('{"v":1,"id":"a","flow":"ns/x"}', "flow"),
    ('', "no job"),
]


@pytest.mark.parametrize("text,want", BAD)
def test_bad_jobs(rig, text, want):
    path = rig.folder / "bad.json"
    path.write_text(text)
    done = rig.ctl("job", "enqueue", "-f", path, code=1)
    assert want in done.err
    assert rig.redis.client.xlen(rig.key("q:default")) == 0


def test_one_bad_line(rig):
    done = enqueue(rig, job(1), '{"v":1,"id":"x"}', job(2), code=4)
    assert [j["id"] for j in done.json()] == ["j1", "j2"]
    assert "line 3" in done.err
    assert rig.redis.client.xlen(rig.key("q:default")) == 2


def test_members_that_nobody_knows_are_named(rig):
    """They are put (a worker of another version may know them), and a slip of the pen is seen at once."""
    text = '{"v":1,"id":"%s","call":{"conn":"a","url":"https://x/"%s},"then":[{"conn":"a","url":"https://x/"%s}]%s}'
    done = enqueue(rig, *(text % row for row in (
        ("j1", ',"bdy":1', "", ""), ("j2", "", ',"retry":{"mx":1}', ""), ("j3", "", "", ',"team":1'), ("j4", "", "", ""))))
    said = done.err.splitlines()
    assert [len(done.json()), len(said)] == [4, 3], done.err
    for line, (no, name, member) in zip(said, ((1, "j1", "call.bdy"), (3, "j2", "then[0].retry.mx"), (5, "j3", "team"))):
        assert f"line {no}: job {name}: no member is called {member}:" in line


def test_a_full_queue(rig):
    enqueue(rig, job(1))
    done = enqueue(rig, job(2), flags=["--backlog", "1"], code=1)
    assert "full" in done.err


def test_nobody_there(rig):
    rig.need(keys=True)
    rig.ctl("job", "get", "nope", code=3)
    rig.ctl("job", "wait", "nope", "--timeout", "100ms", code=3)
    rig.ctl("job", "cancel", "nope", code=3)
    rig.ctl("job", "get", "a b", code=2)
    enqueue(rig, job(1))
    assert "has not ended" in rig.ctl("job", "wait", "j1", "--timeout", "100ms", code=1).err


# ---- where it is, and stopping it ----


def test_cancel_what_is_due(rig):
    rig.need(keys=True)
    now = int(rig.redis.client.time()[0]) * 1000
    enqueue(rig, job(1, not_before=now + 3600_000, out="mine"))
    got = rig.ctl("job", "get", "j1", "-o", "json").json()
    assert (got["state"], got["place"], got["waits_for"]) == ("due", "due", "its time")
    assert got["due"] == now + 3600_000
    assert rig.ctl("job", "cancel", "j1", "-o", "json").json()["answer"] == "CANCELLED"
    assert rig.redis.client.zcard(rig.key("due")) == 0
    assert rig.redis.client.hlen(rig.key("held")) == 0
    done = rig.ctl("job", "wait", "j1", code=1)
    assert json.loads(done.out)["state"] == "cancelled"
    # told where its envelope said
    (entry,) = rig.redis.client.xrange(rig.key("out:mine"))
    assert msgpack.unpackb(entry[1][b"r"])["state"] == "cancelled"
    assert "ended already" in rig.ctl("job", "cancel", "j1", code=1).err


def test_cancel_what_is_ready_or_taken(rig):
    enqueue(rig, *[job(n) for n in range(1, 151)])  # more than one page
    assert rig.ctl("job", "cancel", "j140", "-o", "json").json()["answer"] == "CANCELLED"
    assert rig.redis.client.xlen(rig.key("q:default")) == 149
    # somebody has it in hand: it is not stopped, but marked
    r = rig.redis.client
    r.xgroup_create(rig.key("q:default"), "w", "0")
    r.xreadgroup("w", "somebody", {rig.key("q:default"): ">"}, count=1)
    assert rig.ctl("job", "cancel", "j1", "-o", "json").json()["answer"] == "MARKED"
    assert r.xlen(rig.key("q:default")) == 149
    assert rig.ctl("job", "get", "j1", "-o", "json").json()["cancel_asked"] is True


def test_cancel_deep_in_a_queue(rig):
    """More entries lie before it than cancel looks through from the front."""
    rig.need(keys=True)
    r = rig.redis.client
    with r.pipeline() as many:
        for n in range(1500):
            many.xadd(rig.key("q:default"), {"j": msgpack.packb({"v": 1, "id": f"before{n}"})})
        many.execute()
    enqueue(rig, job(1))
    assert rig.ctl("job", "cancel", "j1", "-o", "json").json()["answer"] == "CANCELLED"
    assert r.xlen(rig.key("q:default")) == 1500


def second_step_set_aside(rig, **more):
    """A chain whose second call is answered 503 and is to be tried again within a day."""
    rig.use_peers()
    rig.link("acct")
    rig.worker()
    later = {"base_ms": 86400_000, "cap_ms": 86400_000}
    chain = rig.job("acct", "/echo", then=[rig.call("acct", "/status/503", retry=later)], **more)
    rig.enqueue(chain)
    run = rig.key(f"run:{chain['id']}")
    wait_until(lambda: rig.redis.client.hget(run, "st") == b"due", 10, "the second step to be due")
    return chain["id"]


def test_a_known_job_is_not_taken_for_a_new_one(rig):
    """--wait with an id that was there before prints the old result, and says that it is one."""
    rig.link("acct")
    rig.worker()
    job = rig.folder / "job.json"
    job.write_text(json.dumps(rig.job("acct", "/echo", job_id="same")))
    done = rig.ctl("job", "enqueue", "-f", job, "--wait")
    assert done.json()["state"] == "done" and done.err == ""
    done = rig.ctl("job", "enqueue", "-f", job, "--wait")
    assert done.json()["state"] == "done" and "same is known already" in done.err


def test_a_later_step_is_found_and_taken_back(rig):
    job_id = second_step_set_aside(rig)
    (name, at), = rig.redis.client.zrange(rig.key("due"), 0, -1, withscores=True)
    got = rig.ctl("job", "get", job_id, "-o", "json").json()
    assert (got["state"], got["seq"], got["due"]) == ("due", 1, int(at)), name
    assert rig.ctl("job", "cancel", job_id, "-o", "json").json()["answer"] == "CANCELLED"
    assert rig.redis.client.zcard(rig.key("due")) == 0
    assert rig.results([job_id])[job_id][-1]["state"] == "cancelled"
    calls = [e["path"] for e in rig.api.log()]
    assert calls == ["/echo", "/status/503"], "not called again"
    assert rig.ctl("job", "get", job_id, "-o", "json").json()["state"] == "cancelled"


def test_a_job_that_is_tried_again_says_why(rig):
    """Which attempt it waits for, since when, until when, and what became of the last one."""
    before = int(time.time() * 1000)
    job_id = second_step_set_aside(rig)
    got = rig.ctl("job", "get", job_id, "-o", "json").json()
    assert (got["attempts"], got["last_error"]["code"], got["last_error"]["status"]) == (1, "answered", 503)
    assert "answered 503" in got["last_error"]["detail"]
    assert before - 2000 < got["queued"] < time.time() * 1000 + 2000 < got["due"]
    text = rig.ctl("job", "get", job_id).out
    assert "\nattempts: 1\nlast error: answered (503): " in text and "\ndue: " in text
    # a call that did not get through
    rig.link("shut", policy={"hosts": ["127.0.0.1:1"]})
    (other,) = rig.enqueue(rig.job("shut", "http://127.0.0.1:1/", retry={"base_ms": 1, "cap_ms": 1, "max": 2}))
    rig.results([other])
    run = rig.key(f"run:{other}")
    assert rig.redis.client.hget(run, "er").startswith(b"0 2 0 connect_failed "), "of the last retry"
    got = rig.ctl("job", "get", other, "-o", "json").json()
    assert got["state"] == "dead" and "last_error" not in got, "its result says more"


def test_the_error_of_an_earlier_step_is_not_shown(rig):
    job_id = second_step_set_aside(rig)
    rig.redis.client.hset(rig.key(f"run:{job_id}"), "er", "0 3 500 answered of the first step")
    got = rig.ctl("job", "get", job_id, "-o", "json").json()
    assert got["attempts"] == 0 and "last_error" not in got
    for odd in ("", "1", "1 x", "x 1 500 a b", "1 1", "1 2 3"):
        rig.redis.client.hset(rig.key(f"run:{job_id}"), "er", odd)
        assert "last_error" not in rig.ctl("job", "get", job_id, "-o", "json").json(), odd


def test_a_parked_job_says_since_when_and_why(rig):
    """Put by bare XADD: its entry's time. Parked for a token that was refused: that answer."""
    auth, _ = rig.use_peers(auth={"AT_TTL": 20})
    rig.link_refresh("acct")
    rig.worker()
    rig.results(rig.enqueue(rig.job("acct", "/echo")))
    wait_until(lambda: redis_ms(rig) >= int(rig.redis.client.hget("awq:{c:acct}", "exp")) - 9000, 30,
               "half the token's life: only then is a 401 believed")
    auth.faults({"grant": "refresh_token", "status": 503, "count": 1000})
    assert auth.expire(account="acct") > 0
    (job_id,) = rig.enqueue(rig.job("acct", "/echo"))
    run = rig.key(f"run:{job_id}")
    wait_until(lambda: rig.redis.client.hget(run, "st") == b"parked", 10, "it to be parked")
    got = rig.ctl("job", "get", job_id, "-o", "json").json()
    assert (got["attempts"], got["last_error"]["status"]) == (1, 401)
    assert abs(got["queued"] - redis_ms(rig)) < 15000 and "due" not in got


def redis_ms(rig):
    s, us = rig.redis.client.time()
    return s * 1000 + us // 1000


def test_what_is_set_aside_after_the_mark_ends_there(rig):
    """Cancelled while its call is on the wire: an answer that asks for another attempt gets none."""
    _, api = rig.use_peers()
    rig.link("acct")
    w = rig.worker()
    ids = rig.enqueue(rig.job("acct", "/rate?n=9&delay=1500&after=0", retry={"base_ms": 10, "cap_ms": 20}))
    wait_until(api.log, 10, "the call")
    assert rig.ctl("job", "cancel", ids[0], "-o", "json").json()["answer"] == "MARKED"
    assert rig.results(ids)[ids[0]][-1]["state"] == "cancelled"
    w.wait_log("job.cancelled", job=f"{ids[0]}.0.0")
    assert len(api.log()) == 1 and not rig.look().where


def test_what_goes_aside_while_it_is_cancelled(rig):
    """Set aside between the look and the mark: a second look finds it there."""
    job_id = second_step_set_aside(rig)
    between = rig.between()
    r, run = rig.redis.client, rig.key(f"run:{job_id}")
    real = r.hmget(run, "pl", "st")
    r.hset(run, mapping={"pl": "", "st": "ready"})  # as awq-ctl sees it while the job is in hand
    between.hold(script_sha("cancel"))
    with ThreadPoolExecutor() as pool:
        done = pool.submit(rig.ctl, "job", "cancel", job_id, "--redis-url", between.url, "-o", "json")
        between.wait_held()
        r.hset(run, mapping=dict(zip(("pl", "st"), real)))
        between.release()
        assert done.result().json()["answer"] == "CANCELLED"
    assert r.zcard(rig.key("due")) == 0 and not rig.look().where


def test_what_a_parked_job_waits_for(rig):
    rig.link("acct")
    rig.redis.client.hset("awq:{c:acct}", mapping={"state": "NEEDS_CONSENT", "why": "invalid_grant"})
    rig.worker()
    (job_id,) = rig.enqueue(rig.job("acct", "/echo"))
    wait_until(lambda: rig.run_ctl("job", "get", job_id, "-o", "json").out.find("parked") > 0, 10,
               "the job to be parked")
    got = rig.ctl("job", "get", job_id, "-o", "json").json()
    assert got["place"] == "park:conn:acct"
    assert abs(got["queued"] - redis_ms(rig)) < 15000, "put by bare XADD: its entry's time"
    assert got["attempts"] == 0 and "last_error" not in got
    assert "NEEDS_CONSENT, invalid_grant" in got["waits_for"]
    assert "1 parked" in rig.ctl("conn", "test", "acct", code=1).out
    assert rig.ctl("job", "cancel", job_id, "-o", "json").json()["answer"] == "CANCELLED"
    assert rig.redis.client.zcard(rig.key("park:conn:acct")) == 0


# ---- dead letters ----


def bury(rig, count=1):
    """Jobs that egress refuses: dead at once, nothing is sent."""
    jobs = [rig.job("acct", "https://evil.example/x?token=QUERYSECRET",
                    headers={"X-Key": "HEADERSECRET"}, body="BODYSECRET") for _ in range(count)]
    ids = rig.enqueue(jobs)
    rig.results(ids)
    return ids


def test_dead_letters(rig):
    rig.link("acct")
    rig.worker()
    (a,) = bury(rig)
    letters = rig.ctl("dead", "ls", "-o", "json").json()
    assert [x["name"] for x in letters] == [f"{a}.0.0"]
    assert letters[0]["code"] == "host_not_allowed" and letters[0]["queue"] == "default"
    assert "host_not_allowed" in rig.ctl("dead", "ls").out

    shown = rig.ctl("dead", "show", f"{a}.0.0", "-o", "json")
    letter = shown.json()
    assert letter["url"] == "https://evil.example/x" and letter["connection"] == "acct"
    assert "SECRET" not in shown.out + rig.ctl("dead", "show", f"{a}.0.0").out

    got = rig.ctl("job", "get", a, "-o", "json").json()
    assert (got["state"], got["place"]) == ("dead", "dead") and "person" in got["waits_for"]

    # back on its queue: it dies again, for nothing was mended; a new result says so
    assert rig.ctl("dead", "replay", f"{a}.0.0", "-o", "json").json()["replayed"] == 1
    wait_until(lambda: len(rig.all_results()) == 2, 10, "the second burial")
    assert rig.ctl("dead", "ls", "-o", "json").json()[0]["name"] == f"{a}.0.0"
    assert rig.ctl("dead", "replay", f"{a}.0.0").out.splitlines() == [f"{a}.0.0", "1 put back on their queues"]
    wait_until(lambda: len(rig.all_results()) == 3, 10, "the third burial")

    assert rig.ctl("dead", "purge", f"{a}.0.0", "-o", "json").json()["purged"] == 1
    assert rig.ctl("dead", "ls", "-o", "json").json() == []
    assert rig.ctl("job", "get", a, "-o", "json").json()["state"] == "expired"
    rig.ctl("job", "wait", a, code=1)
    rig.ctl("dead", "show", f"{a}.0.0", code=3)


def test_many_dead_letters(rig):
    rig.link("acct")
    rig.worker()
    ids = bury(rig, 5)
    done = rig.ctl("dead", "ls", "--limit", 2)
    assert "more: --cursor 2" in done.out
    rig.ctl("dead", "purge", code=2)
    rig.ctl("dead", "purge", "--all", f"{ids[0]}.0.0", code=2)
    done = rig.ctl("dead", "purge", f"{ids[0]}.0.0", "nope.0.0", "odd", code=4)
    assert done.err.count("no dead letter") == 2
    rig.ctl("dead", "purge", "nope.0.0", code=3)
    rig.ctl("dead", "replay", "nope.0.0", code=3)
    assert rig.ctl("dead", "purge", "--all", "--limit", 3, "-o", "json").json()["purged"] == 3
    assert rig.redis.client.zcard(rig.key("dead")) == 1
    assert rig.redis.client.hlen(rig.key("held")) == 1


def test_an_entry_that_was_deleted_by_hand(rig):
    """An XTRIM, or a producer's MAXLEN: the record says ready for ever; people are told, and cancel ends it."""
    enqueue(rig, job(1), job(2))
    r = rig.redis.client
    assert "its turn on queue default" in rig.ctl("job", "get", "j1").out
    r.xtrim(rig.key("q:default"), maxlen=0)
    assert "somebody deleted its entry" in rig.ctl("job", "get", "j1").out
    assert "cancelled" in rig.ctl("job", "cancel", "j1").out
    assert rig.ctl("job", "get", "j1", "-o", "json").json()["state"] == "cancelled"
    enqueue(rig, job(3))
    assert "its turn on queue default" in rig.ctl("job", "get", "j2").out, "what lies there may be it"
    assert "may be in flight" in rig.ctl("job", "cancel", "j2").out
    r.xtrim(rig.key("q:default"), maxlen=0)
    r.xadd(rig.key("q:default~"), {"j": "another's turn"})
    assert "may be in flight" in rig.ctl("job", "cancel", "j3").out


def test_all_dead_letters_are_all(rig):
    """More than one look takes, and what cannot be replayed does not stand before the others."""
    rig.link("acct")
    rig.worker()
    [good] = bury(rig, 1)
    r = rig.redis.client
    r.zadd(rig.key("dead"), {f"odd{n}": n for n in range(1100)})  # nobody's jobs, and older
    done = rig.ctl("dead", "replay", "--all", "-o", "json", code=4)
    assert done.json() == {"replayed": 1, "not_found": 1100, "failed": 0}
    wait_until(lambda: r.zscore(rig.key("dead"), f"{good}.0.0"), 10, "it to be dead again")
    assert "1 more lie there" in rig.ctl("dead", "purge", "--all", "--limit", 1100).out
    assert rig.ctl("dead", "purge", "--all", "-o", "json").json()["purged"] == 1


def test_controls_do_not_reach_a_terminal(rig):
    """A letter's text may come from a far side: it must not move anybody's cursor."""
    rig.need(keys=True)
    body = b"".join(msgpack.packb(x) for x in
                    ("default", b"\x80", "0", "", "c", "bad \x1b[2J\x07\nmore", 1700000000000))
    r = rig.redis.client
    r.hset(rig.key("held"), "x.0.0", body)
    r.zadd(rig.key("dead"), {"x.0.0": 1700000000000})
    for out in (rig.ctl("dead", "ls").out, rig.ctl("dead", "show", "x.0.0").out):
        assert "\x1b" not in out and "\x07" not in out and "bad ?[2J??more" in out
    assert rig.ctl("dead", "ls", "-o", "json").json()[0]["text"] == "bad \x1b[2J\x07\nmore"
    # its name, C1 controls as they are and in UTF-8, what turns the direction of writing, half a character
    r.zadd(rig.key("dead"), {b"y\x1b[31m": 1, b"z\x9b31m\xc2\x9b\xe2\x80\xae\xc3": 2})
    for done in (rig.run_ctl("dead", "ls"), rig.run_ctl("dead", "replay", "--all"), rig.run_ctl("dead", "purge", "y\x1b[2J")):
        for char in "\x1b\x9b\u202e":
            assert char not in done.out + done.err
    assert "z?31m???" in rig.run_ctl("dead", "ls").out and "y?[31m" in rig.run_ctl("dead", "replay", "--all").err
