"""The moves of jobs (common/scripts/): each promise of each script, on a real Redis."""
import msgpack
import pytest
import redis as redispy

import places
from moves import HOUR, QUEUED, WAKE, embedded, key, next_name, text
from procs import wait_until

Q = key("q:default")
LAST_ID = "18446744073709551615-18446744073709551615"


def look(m):
    return places.look(m.r, "awq", name_of=lambda j: j.decode().split("|")[0])


def where(m, name):
    """The one place of a job; a breach of any rule fails here."""
    seen = look(m)
    assert not seen.problems, seen.problems
    at = seen.where.get(name, [])
    assert len(at) <= 1
    return at[0] if at else None


def taken(m, name="r1.0.0", who="me"):
    """(entry, name) of a job that `who` has pending."""
    assert m.enqueue(name) == "OK"
    entry, j = m.one(who)
    assert j == name
    return entry, name


def run(m, run_id="r1"):
    return {text(k): text(v) for k, v in m.r.hgetall(key(f"run:{run_id}")).items()}


def exhaust(m, stream):
    """As a producer can: from now on every XADD * to it is an error."""
    m.r.execute_command("XSETID", stream, LAST_ID)


def hear(m, channel="awq:wake"):
    sub = m.r.pubsub(ignore_subscribe_messages=True)
    sub.subscribe(channel)
    sub.get_message(timeout=1)
    return sub


# ---- all of them ------------------------------------------------------------------------------------

def test_the_build_embeds_what_is_tested(m):
    """embed.sh's digests are those of the texts tested here: comment lines dropped, nothing else."""
    assert dict(embedded()) == m.sha


MOVES_OF_A_TAKEN_JOB = {
    "commit": lambda m, e, n: m.commit("me", (e, n))[0],
    "retry": lambda m, e, n: m.retry("me", e, n, HOUR),
    "park": lambda m, e, n: m.park("me", e, n, HOUR),
    "bury": lambda m, e, n: m.bury("me", e, n),
    "release": lambda m, e, n: m.release("me", e),
}
LOST = {"commit": 2, "retry": "LOST", "park": "LOST", "bury": "LOST", "release": 0}
DONE = {"commit": 1, "retry": "OK", "park": "OK", "bury": "OK", "release": 1}
AFTER = {"commit": "r1.0.1 ready:default", "retry": "r1.0.0 due", "park": "r1.0.0 park:conn:a",
         "bury": "r1.0.0 dead", "release": "r1.0.0 ready:default"}


@pytest.mark.parametrize("move", MOVES_OF_A_TAKEN_JOB)
class TestEveryMove:
    def test_moves_to_its_place(self, m, move):
        e, n = taken(m)
        assert MOVES_OF_A_TAKEN_JOB[move](m, e, n) == DONE[move]
        name, place = AFTER[move].split()
        assert where(m, name) == place
        assert len(look(m).where) == 1

    def test_fence(self, m, move):
        """Claimed by another one: LOST, and not a byte is touched. XACK alone would take it."""
        e, n = taken(m)
        m.r.xclaim(Q, "w", "other", 0, [e])
        before = m.dump()
        assert MOVES_OF_A_TAKEN_JOB[move](m, e, n) == LOST[move]
        assert m.dump() == before

    def test_reclaimed_is_lost(self, m, move):
        """Paused past its lease: the housekeeper moved the job on; a late move changes nothing."""
        e, n = taken(m)
        assert m.reclaim("me") == [1, 0, 1, 0]
        before = m.dump()
        assert MOVES_OF_A_TAKEN_JOB[move](m, e, n) == LOST[move]
        assert m.dump() == before
        assert where(m, n) == "ready:default"

    def test_never_delivered_is_lost(self, m, move):
        m.enqueue("r1.0.0")
        e = text(m.r.xrange(Q)[0][0])
        before = m.dump()
        assert MOVES_OF_A_TAKEN_JOB[move](m, e, "r1.0.0") == LOST[move]
        assert m.dump() == before

    @pytest.mark.parametrize("gone", ["group", "queue"])
    def test_nogroup_is_lost(self, m, move, gone):
        e, n = taken(m)
        m.r.xgroup_destroy(Q, "w") if gone == "group" else m.r.delete(Q)
        before = m.dump()
        assert MOVES_OF_A_TAKEN_JOB[move](m, e, n) == LOST[move]
        assert m.dump() == before

    def test_no_permission_is_not_lost(self, m, move):
        """What is not NOGROUP must be heard: a worker that is told LOST forgets the job."""
        e, n = taken(m)
        m.commands = "-xpending"
        try:
            answer = MOVES_OF_A_TAKEN_JOB[move](m, e, n)
        except redispy.ResponseError as err:
            answer = str(err)
        assert "can't run this command" in str(answer)
        assert where(m, n) == "pending:default:me"

    def test_under_oom(self, m, move):
        """A full Redis: the move goes through whole, for it removes before it adds."""
        e, n = taken(m)
        m.full()
        assert MOVES_OF_A_TAKEN_JOB[move](m, e, n) == DONE[move]
        m.roomy()
        name, place = AFTER[move].split()
        assert where(m, name) == place

    def test_without_a_right_to_publish(self, m, move):
        """Wakes are hints: an ACL user without channels still moves its jobs."""
        e, n = taken(m)
        m.channels = ""
        assert MOVES_OF_A_TAKEN_JOB[move](m, e, n) == DONE[move]

    def test_twice(self, m, move):
        """Repeated because the first answer got lost: nothing happens again."""
        e, n = taken(m)
        MOVES_OF_A_TAKEN_JOB[move](m, e, n)
        before = m.dump()
        assert MOVES_OF_A_TAKEN_JOB[move](m, e, n) == (1 if move == "commit" else LOST[move])
        assert m.dump() == before


@pytest.mark.parametrize("move", ["commit", "retry", "park", "bury"])
class TestPassed:
    def test_seq_has_passed(self, m, move):
        """A second copy of a step that was committed: DUPLICATE, its entry is gone, the run is as it was."""
        e, n = taken(m)
        m.commit("me", (e, n))
        m.r.xadd(Q, {"j": n})
        m.take("me", 1)  # r1.0.1
        e2, _ = m.one("me")
        record = run(m)
        assert MOVES_OF_A_TAKEN_JOB[move](m, e2, n) == (1 if move == "commit" else "DUPLICATE")
        assert run(m) == record
        assert list(look(m).where) == ["r1.0.1"]

    def test_name_is_placed(self, m, move):
        """Two copies, one set aside already: the other one goes (a commit may win: SEQ decides)."""
        e, n = taken(m)
        m.r.xadd(Q, {"j": n})
        e2, _ = m.one("me")
        m.retry("me", e, n, HOUR)
        before = m.r.hgetall(key("held"))
        if move != "commit":
            assert MOVES_OF_A_TAKEN_JOB[move](m, e2, n) == "DUPLICATE"
            assert m.r.hgetall(key("held")) == before
            assert where(m, n) == "due"

    @pytest.mark.parametrize("broken", ["run:r1", "held", "due", "dead", "lots", "park:conn:a"])
    def test_wrong_type_changes_nothing(self, m, move, broken):
        """Lua does not roll back: a key of a wrong type is seen before the first write."""
        e, n = taken(m)
        m.r.delete(key(broken))
        m.r.set(key(broken), "x")
        before = m.dump()
        try:
            answer = MOVES_OF_A_TAKEN_JOB[move](m, e, n)
        except redispy.ResponseError as err:
            answer = str(err)
        if "WRONGTYPE" in str(answer):
            after = m.dump()
            if move == "commit":  # acknowledged, and claimed back: a new delivery time
                del after[Q.encode()], before[Q.encode()]
            assert after == before
            m.r.delete(key(broken))
            assert where(m, n) == "pending:default:me"
        else:
            assert answer == DONE[move], "a key it does not use"

    def test_bad_numbers_change_nothing(self, m, move):
        e, n = taken(m)
        before = m.dump()
        bad = {"commit": [lambda: m.commit("me", (e, n, {"seq": "x"})), lambda: m.commit("me", (e, n, {"ttl": ""}))],
               "retry": [lambda: m.retry("me", e, n, "soon"), lambda: m.retry("me", e, n, "nan")],
               "park": [lambda: m.park("me", e, n, "soon"), lambda: m.park("me", e, n, HOUR, look="nan")],
               "bury": [lambda: m.bury("me", e, "r1.0.x")]}[move]
        if move == "bury":
            bad = [lambda: m.call("bury", [Q, key("held"), key("dead"), key("run:r1"), key("out:results")], "me", e, n,
                                  "x", n, "0", "", "default", "c", "t", "r", 10, 1, HOUR),
                   lambda: m.call("bury", [Q, key("held"), key("dead"), key("run:r1"), key("out:results")], "me", e, n,
                                  0, n, "0", "", "default", "c", "t", "r", 10, 1, 0)]
        for call in bad:
            try:
                assert "not a number" in call()[0]
            except redispy.ResponseError as err:
                assert "not a number" in str(err)
            assert m.dump() == before


# ---- commit -----------------------------------------------------------------------------------------

def test_commit_queues_the_next_step_and_the_result(m):
    e, n = taken(m)
    assert m.commit("me", (e, n)) == [1]
    assert look(m).results == {"results": [b"res:r1.0.0"]}
    e, j, fields = m.take("me")[0]
    assert fields == {"j": "r1.0.1", "s": "s:r1.0.1"}
    assert m.commit("me", (e, j, {"last": 1})) == [1]
    seen = look(m)
    assert not seen.where and not seen.problems
    assert seen.results == {"results": [b"res:r1.0.0", b"res:r1.0.1"]}
    assert run(m)["st"] == "done" and run(m)["c0"] == "1:n-me"
    assert 0 < m.r.pttl(key("run:r1")) <= HOUR
    assert m.r.xlen(Q) == 0


def test_commit_without_an_out_stream(m):
    e, n = taken(m)
    assert m.commit("me", (e, n, {"write": 0, "last": 1})) == [1]
    assert not m.r.exists(key("out:results"))
    assert run(m)["r"] == "res:r1.0.0"


def test_commit_answers_per_job(m):
    """One call: committed, lost, duplicate, refused by its out stream, cancelled, repeated."""
    jobs = {f"r{i}.0.0": taken(m, f"r{i}.0.0")[0] for i in range(1, 7)}
    m.r.xclaim(Q, "w", "other", 0, [jobs["r2.0.0"]])
    m.r.hset(key("run:r3"), mapping={"c0": "0:somebody"})
    m.r.set(key("out:broken"), "x")
    m.cancel("r5")
    assert m.commit("me", (jobs["r6.0.0"], "r6.0.0")) == [1]
    got = m.commit("me", *((e, n, {"out": "broken"} if n == "r4.0.0" else {}) for n, e in jobs.items()))
    assert got[:3] + got[4:] == [1, 2, 3, 4, 1]
    assert "WRONGTYPE" in got[3]
    m.r.delete(key("out:broken"))
    seen = look(m)
    assert not seen.problems
    assert seen.where == {"r1.0.1": ["ready:default"], "r2.0.0": ["pending:default:other"],
                          "r4.0.0": ["pending:default:me"], "r6.0.1": ["ready:default"]}
    assert m.commit("me", (jobs["r4.0.0"], "r4.0.0")) == [1], "and once the stream is mended, it goes"


def test_commit_is_ours_only_with_our_nonce(m):
    e, n = taken(m)
    m.commit("me", (e, n, {"nonce": "a"}))
    assert m.commit("me", (e, n, {"nonce": "a"})) == [1]
    assert m.commit("me", (e, n, {"nonce": "b"})) == [2]


def test_commit_duplicate_of_anothers(m):
    """A job delivered twice (a failover): the second commit is refused, its entry gone, nothing queued."""
    e, n = taken(m)
    m.r.xadd(Q, {"j": n})
    e2, _ = m.one("you")
    assert m.commit("me", (e, n)) == [1]
    assert m.commit("you", (e2, n)) == [3]
    assert list(look(m).where) == ["r1.0.1"]
    assert len(look(m).results["results"]) == 1


@pytest.mark.parametrize("broken", ["out wrong type", "out exhausted", "next exhausted"])
@pytest.mark.parametrize("oom", [False, True])
def test_commit_add_fails(m, broken, oom):
    """An XADD inside a commit fails: that job is still pending and ours, whole, and only there; its
    result is not left behind; the others of the batch are committed."""
    e, n = taken(m)
    m.enqueue("r2.0.0")
    e2, n2 = m.one("me")
    if broken == "out wrong type":
        m.r.set(key("out:bad"), "x")
    elif broken == "out exhausted":
        m.r.xadd(key("out:bad"), {"r": "x"}, id=LAST_ID)
    else:
        exhaust(m, Q)
    record = run(m)
    m.full() if oom else None
    got = m.commit("me", (e, n, {"out": "bad"}), (e2, n2, {"last": 1}))
    m.roomy()
    assert ("WRONGTYPE" if "wrong" in broken else "exhausted") in got[0]
    assert got[1] == 1
    m.r.type(key("out:bad")) == b"stream" or m.r.delete(key("out:bad"))
    assert where(m, n) == "pending:default:me"
    assert where(m, n2) is None
    assert run(m) == record
    assert b"res:r1.0.0" not in sum(look(m).results.values(), [])
    assert m.r.xrange(Q, e, e)[0][1][b"j"] == b"r1.0.0"


def test_commit_of_a_cancelled_run(m):
    """No next step; the end is written where it was left by cancel, and the record gets its TTL."""
    e, n = taken(m)
    assert m.cancel("r1", ttl=5000) == "MARKED"
    assert m.commit("me", (e, n)) == [4]
    seen = look(m)
    assert not seen.where and not seen.problems
    assert seen.results == {"results": [b"res:r1.0.0", b"cancelled:r1"]}
    assert run(m)["st"] == "cancelled" and run(m)["r"] == "cancelled:r1"
    assert 0 < m.r.pttl(key("run:r1")) <= 5000
    assert m.commit("me", (e, n)) == [1], "a repeat is told that it was committed"
    assert m.cancel("r1") == "FINISHED"


def test_commit_of_the_last_step_of_a_cancelled_run(m):
    e, n = taken(m)
    m.cancel("r1")
    assert m.commit("me", (e, n, {"last": 1})) == [1]
    assert run(m)["st"] == "done"


def test_commit_two_copies_in_one_call(m):
    """The second of two copies sees what the first one did a moment before."""
    e, n = taken(m)
    m.r.xadd(Q, {"j": n})
    e2, _ = m.one("me")
    assert m.commit("me", (e, n, {"nonce": "a"}), (e2, n, {"nonce": "b"})) == [1, 3]
    seen = look(m)
    assert seen.where == {"r1.0.1": ["ready:default"]} and len(seen.results["results"]) == 1


def test_commit_on_several_queues(m):
    m.group("other")
    e, n = taken(m)
    m.enqueue("r2.0.0", queue="other")
    e2, n2 = m.one("me", "other")
    assert m.commit("me", (e, n), (e2, n2, {"queue": "other"})) == [1, 1]
    assert look(m).where == {"r1.0.1": ["ready:default"], "r2.0.1": ["ready:other"]}


def test_commit_caps_its_out_stream(m):
    m.r.xadd(key("out:results"), {"r": "old"})
    e, n = taken(m)
    m.call("commit", [Q, key("out:results"), key("run:r1")], "me", 0, HOUR, 1, e, "0:n", "res", "", "done")
    assert m.r.xlen(key("out:results")) <= 2
    for i in range(300):
        m.r.xadd(key("out:results"), {"r": "old"})
    e, n = taken(m, "r2.0.0")
    m.call("commit", [Q, key("out:results"), key("run:r2")], "me", 1, HOUR, 1, e, "0:n", "res", "", "done")
    assert m.r.xlen(key("out:results")) < 120


def test_commit_of_jobs_far_apart(m):
    """One look at the pending entries tells of jobs that lie together; the others are asked for alone."""
    names = [f"r{i}.0.0" for i in range(40)]
    for n in names:
        m.enqueue(n)
    got = {n: e for e, n, _ in m.take("me", 39)}
    got |= {n: e for e, n, _ in m.take("other", 1)}
    order = [names[38], names[0], names[39], names[20]]
    assert m.commit("me", *((got[n], n) for n in order)) == [1, 1, 2, 1]
    assert m.commit("other", (got[names[39]], names[39]), (got[names[5]], names[5])) == [1, 2]
    assert m.r.xpending(Q, "w")["pending"] == 36


def test_commit_sixteen(m):
    names = [f"r{i}.0.0" for i in range(16)]
    for n in names:
        m.enqueue(n)
    assert m.commit("me", *((e, j) for e, j, _ in m.take("me", 16))) == [1] * 16
    assert look(m).where == {next_name(n): ["ready:default"] for n in names}


# ---- enqueue ----------------------------------------------------------------------------------------

def test_enqueue_once(m):
    assert m.enqueue("r1.0.0", s="sig") == "OK"
    assert m.enqueue("r1.0.0") == "DUPLICATE"
    assert where(m, "r1.0.0") == "ready:default"
    assert m.take("me")[0][2] == {"j": "r1.0.0", "s": "sig"}
    assert run(m)["pl"] == "q:default"
    assert 0 < m.r.pttl(key("id:r1")) <= HOUR


@pytest.mark.parametrize("state", ["running", "due", "dead", "done"])
def test_enqueue_again_after_the_window(m, state):
    """The id's key is gone, the run is not: a second job would be executed and then refused."""
    e, n = taken(m)
    {"running": lambda: None, "due": lambda: m.retry("me", e, n, HOUR), "dead": lambda: m.bury("me", e, n),
     "done": lambda: m.commit("me", (e, n, {"last": 1}))}[state]()
    m.r.delete(key("id:r1"))
    before = m.dump()
    assert m.enqueue(n) == "DUPLICATE"
    if state == "dead":
        m.r.delete(key("run:r1"))
        before = m.dump()
        assert m.enqueue(n, at=m.now() + HOUR) == "DUPLICATE", "it would replace the letter"
    assert m.dump() == before


def test_enqueue_for_later(m):
    sub = hear(m)
    at = m.now() + HOUR
    assert m.enqueue("r1.0.0", at=at) == "OK"
    assert where(m, "r1.0.0") == "due" and run(m)["pl"] == "due"
    assert sub.get_message(timeout=2)["data"] == str(at).encode(), "the housekeeper is told of an earlier one"
    assert m.enqueue("r2.0.0", at=at + 1) == "OK"
    assert sub.get_message(timeout=0.05) is None
    assert m.enqueue("r3.0.0", at=m.now() - 1) == "OK"
    assert where(m, "r3.0.0") == "ready:default"


def test_backlog(m):
    """Ready, in flight, due and parked count; dead letters do not."""
    for n in ("r1.0.0", "r2.0.0", "r3.0.0", "r4.0.0"):
        taken(m, n)
    (e1, e2, e3) = (p["message_id"].decode() for p in m.r.xpending_range(Q, "w", "-", "+", 3))
    m.retry("me", e1, "r1.0.0", HOUR)
    m.park("me", e2, "r2.0.0", HOUR)
    m.bury("me", e3, "r3.0.0")
    before = m.dump()
    assert m.enqueue("r5.0.0", limit=3) == "BACKLOG_FULL"
    assert m.dump() == before, "and its id can be tried again"
    assert m.enqueue("r5.0.0", limit=4) == "OK"


@pytest.mark.parametrize("broken", ["q:default", "held", "due", "dead", "oom", "exhausted"])
@pytest.mark.parametrize("later", [False, True])
def test_enqueue_fails_whole(m, broken, later):
    if broken == "oom":
        m.full()
    elif broken == "exhausted":
        exhaust(m, Q)
        if later:
            return
    else:
        m.r.delete(key(broken))
        m.r.set(key(broken), "x")
    before = m.dump()
    with pytest.raises(redispy.ResponseError):
        m.enqueue("r1.0.0", at=m.now() + HOUR if later else 0)
    assert m.dump() == before


def test_a_long_output_is_kept_while_the_job_is_ours(m):
    e, n = taken(m)
    assert m.keep("me", e, n) == 1 and m.keep("me", e, n) == 1
    assert run(m)["i:d"] == "long"
    assert m.commit("me", (e, n)) == [1] and run(m)["i:d"] == "long"
    m.r.delete(key("run:r1"))
    before = m.dump()
    assert m.keep("me", e, n) == 0, "committed"
    assert m.dump() == before, "a record made after its run's end would have no TTL"
    e, n = m.one("me")
    before = m.dump()
    assert m.keep("other", e, n) == 0, "somebody else's"
    assert m.dump() == before


def test_a_long_output_that_cannot_be_kept(m):
    """Refused in Redis' own words: full is waited for, a record of a wrong type is not."""
    e, n = taken(m)
    m.full()
    with pytest.raises(redispy.ResponseError, match="OOM"):
        m.keep("me", e, n)
    m.roomy()
    m.r.delete(key("run:r1"))
    m.r.set(key("run:r1"), "x")
    with pytest.raises(redispy.ResponseError, match="WRONGTYPE"):
        m.keep("me", e, n)


# ---- set aside and back -----------------------------------------------------------------------------

def test_retry_and_promote(m):
    e, n = taken(m)
    sub = hear(m)
    at = m.now() + 20
    assert m.retry("me", e, n, at, d="2") == "OK"
    assert sub.get_message(timeout=2)["data"] == str(at).encode()
    assert run(m)["pl"] == "due" and run(m)["tm"] == str(QUEUED)
    assert m.peek("due")[1:] == (str(at), []) or m.now() >= at
    wait_until(lambda: m.now() >= at, 5)
    names = m.peek("due")[2]
    assert names == [(n, "default")]
    assert m.promote("due", names) == [1, 0, 0]
    assert m.promote("due", names) == [0, 0, 0], "a second housekeeper moves nothing"
    assert where(m, n) == "ready:default" and run(m)["pl"] == "q:default"
    assert m.take("me")[0][2] == {"j": n, "d": "2", "s": "s:" + n}, "counted reclaims go along"


def test_what_failed_last_stays_with_the_run(m):
    """A wait that is no attempt leaves it; a person finds it while the job lies aside and after."""
    e, n = taken(m)
    assert m.retry("me", e, n, m.now() - 1, er="0 1 503 answered the server answered 503") == "OK"
    m.promote("due", [(n, "default")])
    e, _ = m.one("me")
    assert m.park("me", e, n, HOUR) == "OK"
    assert run(m)["er"] == "0 1 503 answered the server answered 503" and run(m)["tm"] == str(QUEUED)
    m.promote("park:conn:a", [(n, "default")])
    e, _ = m.one("me")
    assert m.park("me", e, n, HOUR, er="0 2 401 answered no") == "OK"
    assert run(m)["er"] == "0 2 401 answered no"


def test_peek_is_bounded(m):
    now = m.now()
    for i in range(60):
        m.enqueue(f"r{i}.0.0", at=now + 10 ** 6 + i)
    _, left, names = m.peek("due", "+inf", 1000)
    assert [n for n, _ in names] == [f"r{i}.0.0" for i in range(50)]
    assert left == str(now + 10 ** 6 + 50)
    assert m.peek("due", "+inf", 10)[1] == str(now + 10 ** 6 + 10)
    assert m.peek("due")[1:] == (str(now + 10 ** 6), [])


def test_big_bodies_are_moved_in_portions(m):
    """256 KiB a call, whatever the count: Redis does nothing else meanwhile."""
    names = [f"r{i}.0.0" for i in range(6)]
    for n in names:
        m.enqueue(n, at=m.now() + HOUR, j=n + "|" + "x" * 100000)
    left = m.peek("due", "+inf")[2]
    assert len(left) == 3
    assert m.promote("due", [(n, "default") for n in names]) == [3, 0, 0]
    assert m.promote("due", [(n, "default") for n in names]) == [3, 0, 0]
    entries = [e for e, _, _ in m.take("me", 10)]
    assert m.release("me", *entries) == 3
    assert m.release("me", *entries) == 3
    assert m.release("me", *entries) == 0
    m.take("me", 10)
    assert m.reclaim("me") == [3, 3, 0, 0]
    assert m.reclaim("me") == [3, 0, 1, 0]
    assert len(look(m).where) == 6 and not look(m).problems


def test_promote_without_a_body(m):
    """Left where it is and counted: the housekeeper sets it aside by junk.lua."""
    m.enqueue("r1.0.0", at=m.now() + HOUR)
    m.enqueue("r2.0.0", at=m.now() + HOUR)
    m.enqueue("r3.0.0", at=m.now() + HOUR)
    m.enqueue("r4.0.0", at=m.now() + HOUR)
    m.r.hdel(key("held"), "r1.0.0")
    m.r.hset(key("held"), "r2.0.0", b"\xc1garbage")
    m.r.hset(key("held"), "r4.0.0", b"\xa7default\x05\xa10\xa0")  # a number for an envelope
    names = m.peek("due", "+inf")[2]
    assert sorted(names) == [("r1.0.0", ""), ("r2.0.0", "?"), ("r3.0.0", "default"), ("r4.0.0", "?")]
    assert m.promote("due", names) == [1, 3, 0]
    assert m.r.zcard(key("due")) == 3


# ---- what is no job, and lies among them --------------------------------------------------------------

def test_junk(m):
    """One of each: what is BURIED keeps its body; what is good is not touched, whatever we are told."""
    for i in range(1, 5):
        m.enqueue(f"r{i}.0.0", at=m.now() + HOUR)
    m.r.hdel(key("held"), "r1.0.0")
    m.r.hset(key("held"), "r2.0.0", b"\xc1garbage")
    m.r.hset(key("held"), "odd", m.r.hget(key("held"), "r4.0.0"))
    m.r.zadd(key("due"), {"odd": 1, "bare": 1})
    m.full()
    got = m.junk("due", ("r1.0.0", None, True), ("r2.0.0", None, False), ("r3.0.0", None, True), ("r4.0.0", None, False),
                 ("odd", "bad-1.0.0", False), ("bare", "bad-2.0.0", True), ("never", "bad-3.0.0", True))
    m.roomy()
    assert got == ["r1.0.0", "r1.0.0", "DROPPED", "r2.0.0", "r2.0.0", "BURIED", "odd", "bad-1.0.0", "BURIED",
                   "bare", "bad-2.0.0", "DROPPED"]
    assert run(m, "r1")["st"] == "failed" and m.r.pttl(key("run:r1")) > 0
    assert run(m, "r2")["st"] == "dead" and run(m, "r2")["r"] == "result:r2.0.0"
    assert not m.r.exists(key("run:bad-2"), key("run:bad-3"))
    seen = look(m)
    assert {n: p for n, p in seen.where.items()} == {
        "r2.0.0": ["dead"], "r3.0.0": ["due"], "r4.0.0": ["due"], "bad-1.0.0": ["dead"]} and not seen.problems
    assert [text(f[b"r"]) for _, f in m.r.xrange(key("out:results"))] == ["result:r1.0.0", "result:r2.0.0", "result:odd"]
    assert m.replay("bad-1.0.0") == "OK"
    assert m.take("me")[0][1] == "r4.0.0", "its envelope, unharmed"


def test_junk_is_taken_in_portions(m):
    for i in range(60):
        m.r.zadd(key("due"), {f"odd {i}": i})
        m.r.hset(key("held"), f"odd {i}", b"x" * 20000)
    all_of = [(f"odd {i}", f"bad-{i}.0.0", False) for i in range(50)]
    assert len(m.junk("due", *all_of)) == 3 * 14, "256 KiB of bodies a call"
    assert m.r.zcard(key("due")) == 46 and m.r.zcard(key("dead")) == 14
    m.r.hdel(key("held"), *(f"odd {i}" for i in range(60)))
    assert len(m.junk("due", *((f"odd {i}", f"bad-{i}.0.0", True) for i in range(60)))) == 3 * 36


def test_junk_where_its_run_is_spoilt(m):
    m.enqueue("r1.0.0", at=m.now() + HOUR)
    m.r.hset(key("held"), "r1.0.0", b"\xc1garbage")
    m.r.set(key("run:r1"), "x")
    assert m.junk("due", ("r1.0.0", None, False)) == ["r1.0.0", "r1.0.0", "BURIED"]
    assert m.r.zcard(key("dead")) == 1 and m.r.hlen(key("held")) == 1


def test_bodies_adrift(m):
    """Only who lies nowhere is given a place; who moved between the two looks is left alone."""
    for i in range(1, 4):
        m.enqueue(f"r{i}.0.0", at=m.now() + HOUR)
    m.r.zrem(key("due"), "r1.0.0")
    m.enqueue("r5.0.0")
    e, n = m.one("me")
    m.bury("me", e, n)
    m.enqueue("r6.0.0")
    e, n = m.one("me")
    m.park("me", e, n, m.now() + HOUR)
    names = [f"r{i}.0.0" for i in range(1, 7)]
    found = m.adrift(*names)
    assert found == [("r1.0.0", "due"), ("r4.0.0", ""), ("r6.0.0", "park:conn:a")]
    before = m.r.zscore(key("park:conn:a"), "r6.0.0")
    assert m.settle(*found) == ["r1.0.0"]
    assert m.settle(*found) == []
    assert where(m, "r1.0.0") == "due" and m.r.zscore(key("due"), "r1.0.0") <= m.now()
    assert m.r.zscore(key("park:conn:a"), "r6.0.0") == before and not look(m).problems
    letter = m.r.zscore(key("dead"), "r5.0.0")
    m.r.zrem(key("dead"), "r5.0.0")
    m.r.zrem(key("park:conn:a"), "r6.0.0")
    found = m.adrift("r5.0.0", "r6.0.0")
    m.r.hset(key("run:r6"), "pl", "park:conn:b")  # it moved on meanwhile
    assert m.settle(*found) == ["r5.0.0"]
    assert m.settle(*m.adrift("r6.0.0")) == ["r6.0.0"], "and it is not there either"
    assert where(m, "r5.0.0") == "dead" and m.r.zscore(key("dead"), "r5.0.0") == letter


def test_purge_of_a_name_that_is_none(m):
    m.r.zadd(key("dead"), {"odd one": 1})
    m.r.hset(key("held"), "odd one", "x")
    assert m.call("purge", [key("dead"), key("held")], "odd one", HOUR) == "OK"
    assert m.call("purge", [key("dead"), key("held")], "odd one", HOUR) == "NONE"
    assert set(m.r.keys("*")) == {key("q:default").encode()}


@pytest.mark.parametrize("broken", ["exhausted", "wrong type"])
def test_promote_to_a_broken_queue(m, broken):
    """The queue refuses: its jobs stay, a minute later, and those of other queues are not held up."""
    m.group("other")
    m.enqueue("r1.0.0", at=m.now() + 2 * HOUR, queue="other")
    m.r.zadd(key("due"), {"r1.0.0": 1})
    m.enqueue("r2.0.0", at=m.now() + HOUR)
    if broken == "exhausted":
        exhaust(m, key("q:other"))
    else:
        m.r.set(key("q:other"), "x")
    m.full()
    assert m.promote("due", m.peek("due", "+inf")[2]) == [1, 0, 1]
    m.roomy()
    assert m.r.zscore(key("due"), "r1.0.0") > m.now() + 50000
    m.r.delete(key("q:other"))
    assert where(m, "r1.0.0") == "due" and where(m, "r2.0.0") == "ready:default"


def test_promote_at_most_fifty(m):
    names = [(f"r{i}.0.0", "default") for i in range(60)]
    for n, _ in names:
        m.enqueue(n, at=m.now() + HOUR)
    m.full()
    assert m.promote("due", names) == [50, 0, 0]
    m.roomy()
    assert m.r.zcard(key("due")) == 10 and len(look(m).where) == 60


def test_park_and_wake(m):
    e, n = taken(m)
    sub = hear(m)
    till = m.now() + HOUR
    assert m.wake("conn:a") == 0, "nobody waits: nothing to wake"
    assert m.park("me", e, n, till, look=till - 5) == "OK"
    assert sub.get_message(timeout=2)["data"] == str(till - 5).encode()
    assert where(m, n) == "park:conn:a" and run(m)["pl"] == "park:conn:a"
    assert m.r.zscore(key("lots"), "conn:a") == till - 5
    m.full()
    assert m.wake("conn:a") == 1, "also when Redis is full"
    assert m.r.zscore(key("lots"), "conn:a") == 0
    assert sub.get_message(timeout=2)["data"] == b"0"
    names = m.peek("park:conn:a", "+inf")[2]
    assert m.promote("park:conn:a", names) == [1, 0, 0]
    assert m.lot("conn:a", till, 0) == 0
    m.roomy()
    assert not m.r.exists(key("lots"))
    assert where(m, n) == "ready:default"


def test_wake_while_somebody_looks(m):
    """15: store and wake exactly between the look at the connection and the new look-at time. Two wakes
    in a row must differ, or the second is lost until the next look."""
    e, n = taken(m)
    m.park("me", e, n, m.now() + HOUR)
    m.wake("conn:a")
    had = m.r.zscore(key("lots"), "conn:a")  # the housekeeper looks: nothing has changed yet ...
    m.wake("conn:a")                         # ... now it has
    assert m.lot("conn:a", m.now() + HOUR, had) == 1
    assert m.r.zscore(key("lots"), "conn:a") < 0
    had = m.r.zscore(key("lots"), "conn:a")
    again = m.now() + 1000
    m.full()
    m.lot("conn:a", again, had)
    m.roomy()
    assert m.r.zscore(key("lots"), "conn:a") == again
    m.lot("conn:a", again + 5, had)
    assert m.r.zscore(key("lots"), "conn:a") == again, "another housekeeper's older look does not count"


def test_park_while_somebody_looks(m):
    """A job parked between the look and `lot`, with an earlier deadline, is not looked at too late."""
    e, n = taken(m)
    now = m.now()
    m.park("me", e, n, now + HOUR, look=now)
    had = m.r.zscore(key("lots"), "conn:a")
    e, n = taken(m, "r2.0.0")
    m.park("me", e, n, now + 300)
    m.lot("conn:a", now + 5000, had)
    assert m.r.zscore(key("lots"), "conn:a") == now + 300


def test_park_keeps_the_earlier_look(m):
    """A later arrival does not put off a lot that was woken; nobody is looked at after its deadline."""
    now = m.now()
    e, n = taken(m)
    m.park("me", e, n, now + 1000, look=now + 5000)
    assert m.r.zscore(key("lots"), "conn:a") == now + 1000
    m.wake("conn:a")
    e, n = taken(m, "r2.0.0")
    m.park("me", e, n, now + HOUR)
    assert m.r.zscore(key("lots"), "conn:a") == 0


def test_park_limit(m):
    e, n = taken(m)
    m.r.xadd(Q, {"j": n})
    assert m.park("me", e, n, HOUR, limit=1) == "OK"
    e, n = m.one("me")
    assert m.park("me", e, n, HOUR, limit=1) == "DUPLICATE", "a second copy needs no room"
    e, n = taken(m, "r2.0.0")
    before = m.dump()
    assert m.park("me", e, n, HOUR, limit=1) == "FULL"
    assert m.dump() == before


def test_park_without_a_deadline(m):
    e, n = taken(m)
    assert m.park("me", e, n, "inf", look=m.now() + 1000) == "OK"
    assert where(m, n) == "park:conn:a"
    m.lot("conn:a", m.now() + 7000, m.r.zscore(key("lots"), "conn:a"))
    assert m.r.zscore(key("lots"), "conn:a") < m.now() + 8000


# ---- workers ----------------------------------------------------------------------------------------

def test_reclaim(m):
    """A gone worker's jobs are ready again, counted, and its consumer goes with the last of them."""
    for i in range(3):
        taken(m, f"r{i}.0.0", "gone")
    m.beat("gone")
    assert m.reclaim("gone") == [-1, 0, 0, 0], "it lives"
    m.r.zadd(key("workers"), {"gone": m.now() - 1})
    m.full()
    assert m.reclaim("gone", limit=2) == [2, 0, 0, 0]
    assert m.reclaim("gone", limit=2) == [1, 0, 1, 0]
    m.roomy()
    assert m.r.xinfo_consumers(Q, "w") == []
    got = m.take("me", 5)
    assert sorted(j for _, j, _ in got) == ["r0.0.0", "r1.0.0", "r2.0.0"]
    assert {f["d"] for _, _, f in got} == {"1"}
    m.reclaim("me")
    assert {f["d"] for _, _, f in m.take("me2", 5)} == {"2"}
    assert not look(m).problems


def test_reclaim_by_two_housekeepers(m):
    e, n = taken(m, who="gone")
    assert m.reclaim("gone") == [1, 0, 1, 0]
    assert m.reclaim("gone") == [0, 0, 1, 0]
    assert where(m, n) == "ready:default"
    assert m.take("me")[0][2]["d"] == "1"


@pytest.mark.parametrize("size, died, left", [(100, 9, 100), (1 << 20, 9, 1 << 20), ((1 << 20) + 1, 3, (1 << 20) + 1),
                                              ((1 << 20) + 1, 4, 4096), ((64 << 20) + 1, 0, 4096)])
def test_what_workers_die_of_is_cut(m, size, died, left):
    """A body that no worker can hold would kill the next one too, before it is looked at."""
    m.r.xadd(Q, {"j": b"x" * size, "d": died})
    m.take("him")
    assert m.reclaim("him")[0] == 1
    (_, j, fields), = m.take("me")
    assert len(j) == left and fields["d"] == str(died + 1)


def test_reclaim_of_what_is_stuck(m):
    """A living owner's entry, idle too long; its younger ones and its consumer stay."""
    e, n = taken(m)
    m.beat("me")
    wait_until(lambda: m.r.xpending_range(Q, "w", "-", "+", 1)[0]["time_since_delivered"] > 60, 5)
    e2, n2 = taken(m, "r2.0.0")
    assert m.reclaim("me", idle=50) == [1, 0, 0, 0]
    assert where(m, n) == "ready:default" and where(m, n2) == "pending:default:me"


def test_reclaim_without_a_body(m):
    e, n = taken(m)
    m.r.xdel(Q, e)
    assert m.reclaim("me") == [1, 0, 1, 1]
    assert m.r.xpending(Q, "w")["pending"] == 0


def test_skipped(m):
    """What is in work, and what is still to be taken, is not skipped; what was acknowledged and lies there is."""
    e, n = taken(m)
    gone, other = taken(m, "r2.0.0")
    assert m.enqueue("r3.0.0") == "OK"
    m.r.xack(Q, "w", gone)
    assert m.skipped() == 1
    assert (where(m, n), where(m, other)) == ("pending:default:me", "pending:default:(skipped)")
    assert m.skipped() == 0
    assert m.reclaim("(skipped)") == [1, 0, 1, 0]
    assert where(m, other) == "ready:default"
    m.r.delete(Q)
    with pytest.raises(redispy.ResponseError, match="no such key"):
        m.skipped()


@pytest.mark.parametrize("back", ["reclaim", "release"])
def test_a_broken_queue_keeps_its_pending_entries(m, back):
    """The id space is used up: what cannot be put back is not taken away."""
    e, n = taken(m)
    exhaust(m, Q)
    m.full()
    with pytest.raises(redispy.ResponseError, match="exhausted"):
        m.reclaim("me") if back == "reclaim" else m.release("me", e)
    m.roomy()
    assert where(m, n) == "pending:default:me"


@pytest.mark.parametrize("back", ["reclaim", "release"])
def test_strange_entries_are_put_back(m, back):
    """What a producer can write by bare XADD: thousands of fields, none of ours, ours twice."""
    m.r.xadd(Q, {"j": "r1.0.0", "x": "1", "s": "sig", **{f"f{i}": "" for i in range(9000)}})
    m.r.xadd(Q, {"foo": "bar"})
    m.r.execute_command("XADD", Q, "*", "j", "r2.0.0", "j", "other", "d", "many")
    entries = [e for e, _, _ in [(e, 0, 0) for e, _ in m.r.xreadgroup("w", "me", {Q: ">"})[0][1]]]
    (m.reclaim("me") if back == "reclaim" else m.release("me", *entries))
    got = [f for _, _, f in m.take("me", 5)]
    d = {"d": "1"} if back == "reclaim" else {}
    assert got == [{"j": "r1.0.0", "s": "sig", "x": "1", **d}, {"j": "", **d},
                   {"j": "r2.0.0", "d": "1" if d else "many"}]


def test_release(m):
    """Not counted, and only what is ours and asked for."""
    e, n = taken(m)
    e2, n2 = taken(m, "r2.0.0")
    e3, n3 = taken(m, "r3.0.0", "you")
    assert m.release("me", e, e3, "1-1") == 1
    assert (where(m, n), where(m, n2), where(m, n3)) == ("ready:default", "pending:default:me", "pending:default:you")
    assert m.take("me")[0][2] == {"j": n}


def test_beat_and_boss(m):
    now, boss, late = m.beat("w1", HOUR, 5000)
    assert abs(now - m.now()) < 1000 and (boss, late) == (1, 0)
    assert m.beat("w2", HOUR, 5000)[1:] == [0, 0]
    assert m.beat("w1", HOUR, 5000)[1:] == [1, 0]
    assert m.beat("w1", HOUR, 0)[1:] == [0, 0], "does not stand any more: the seat is free at once"
    assert m.beat("w2", HOUR, 5000)[1:] == [1, 0]
    assert 0 < m.r.pttl(key("boss")) <= 5000
    m.r.zadd(key("workers"), {"w2": m.now() - 5})
    assert m.beat("w2")[2] == 1, "its line had run out: whoever it held jobs from may have taken them back"
    m.beat("w1", HOUR, 0, "old-1", "old-2")
    assert m.r.zcount(key("workers"), m.now(), "+inf") == 4


def test_beat_when_full(m):
    """A full Redis must not make living workers look dead."""
    m.full()
    m.beat("w1", HOUR, 5000)
    m.roomy()
    assert m.r.zscore(key("workers"), "w1") > m.now()
    assert m.reclaim("w1") == [-1, 0, 0, 0]


def test_leave(m):
    m.beat("w1", HOUR, 5000)
    m.group("other")
    taken(m, who="w1")
    m.r.xgroup_createconsumer(key("q:other"), "w", "w1")
    assert m.leave("w1", "default", "other", "none") == 1
    assert len(m.r.xinfo_consumers(Q, "w")) == 1, "not with entries pending: they would be dropped"
    assert m.r.xinfo_consumers(key("q:other"), "w") == []
    assert not m.r.exists(key("workers"), key("w"), key("boss"))
    assert m.reclaim("w1") == [1, 0, 1, 0], "at once, no lease to wait for"
    m.beat("w2", HOUR, 5000)
    m.beat("w3")
    m.leave("w3", "default")
    assert m.r.get(key("boss")) == b"w2"


def test_sweep(m):
    m.beat("w1")
    assert m.sweep("w1") == 0, "it came back"
    m.r.zadd(key("workers"), {"w1": m.now() - 1})
    assert m.sweep("w1") == 1
    assert not m.r.exists(key("workers"), key("w"))
    assert m.sweep("w1") == 1


def test_agenda(m):
    """All that is due, in one look: jobs, lots, workers whose time has passed; and when to look again."""
    now = m.now()
    for i in range(60):
        m.enqueue(f"r{i}.0.0", at=now + HOUR)
    m.r.zadd(key("due"), {f"r{i}.0.0": now - 100 + i for i in range(55)})
    e, n = taken(m, "p.0.0")
    m.park("me", e, n, now + HOUR)
    m.wake("conn:a")
    e, n = taken(m, "p2.0.0")
    m.park("me", e, n, now + HOUR, what="lane:b", look=now + 500000)
    m.beat("w1")
    m.beat("w2")
    m.r.zadd(key("workers"), {"w2": now - 1})
    m.r.sadd(key("queues"), "default")
    got = m.agenda()
    assert abs(got[0] - now) < 5000
    assert got[1:3] == [str(now - 50), str(now + 500000)]
    assert got[3] == sum(([f"r{i}.0.0", "default"] for i in range(50)), [])
    assert got[4:] == [["conn:a", "0"], ["w2"], ["default"]]


def test_agenda_is_bounded_and_survives_bad_bodies(m):
    now = m.now()
    for i in range(5):
        m.enqueue(f"r{i}.0.0", at=now + HOUR, j=f"r{i}" + "x" * 100000)
    m.r.zadd(key("due"), {f"r{i}.0.0": i for i in range(5)})
    m.r.hset(key("held"), "r0.0.0", b"\xc1garbage")
    got = m.agenda()
    assert got[1] == "4" and got[3] == ["r0.0.0", "?", "r1.0.0", "default", "r2.0.0", "default", "r3.0.0", "default"]


def test_stats(m):
    e, n = taken(m)
    m.park("me", e, n, HOUR)
    e, n = taken(m, "r2.0.0")
    m.bury("me", e, n)
    m.enqueue("r3.0.0", at=m.now() + HOUR)
    m.enqueue("r4.0.0")
    _, due, parked, dead, first, length, oldest, added, none, empty, _ = m.stats("default", "none")
    assert (due, parked, dead, length, added, none, empty) == (1, 1, 1, 1, 3, 0, "")
    assert float(first) > m.now() and abs(int(oldest) - m.now()) < 5000


# ---- dead letters and cancel ------------------------------------------------------------------------

def test_bury_replay_purge(m):
    e, n = taken(m)
    assert m.bury("me", e, n, d="5") == "OK"
    assert where(m, n) == "dead" and run(m)["st"] == "dead" and run(m)["r"] == "dead:r1.0.0"
    assert look(m).results == {"results": [b"dead:r1.0.0"]}
    buried = int(run(m)["tm"])
    wait_until(lambda: m.now() > buried, 5)
    m.full()
    assert m.replay(n) == "OK"
    m.roomy()
    assert m.replay(n) == "NONE"
    assert where(m, n) == "ready:default" and run(m)["st"] == "ready"
    assert int(run(m)["tm"]) > buried, "queued now"
    e, j, fields = m.take("me")[0]
    assert fields == {"j": n, "s": "s:" + n, "x": "1"}, "begun anew"
    m.bury("me", e, n)
    assert m.purge(n) == "OK"
    assert m.purge(n) == "NONE" and m.replay(n) == "NONE"
    assert where(m, n) is None and run(m)["st"] == "expired"
    assert 0 < m.r.pttl(key("run:r1")) <= HOUR


@pytest.mark.parametrize("j", ["", "{\"id\":\"r1\"}", "of another"])
def test_what_is_no_envelope_of_the_id_is_not_put(m, j):
    """JSON, nothing, or another's: a worker would refuse it, and could not say whose it is."""
    with pytest.raises(redispy.ResponseError, match="must be the MessagePack envelope"):
        m.call("enqueue", [Q, key("id:r1"), key("run:r1"), key("held"), key("due"), key("dead")],
               "r1.0.0", j, "", 0, 1000, HOUR, "default", "awq:wake")
    assert not m.r.keys("*{s0}:run*") and m.r.xlen(Q) == 0


@pytest.mark.parametrize("act", ["replay", "purge"])
def test_a_letter_whose_step_was_done_since(m, act):
    """A mended job was put by bare XADD under the same id: its end is not undone by what becomes of the letter."""
    e, n = taken(m)
    m.bury("me", e, n)
    m.r.xadd(Q, {"j": n})
    e, _ = m.one("me")
    assert m.commit("me", (e, n, {"last": 1})) == [1]
    before = run(m)
    if act == "replay":
        assert m.replay(n) == "PASSED"
        assert m.r.zscore(key("dead"), n) and not m.take("me")
    else:
        assert m.purge(n) == "OK" and m.r.zscore(key("dead"), n) is None
    assert run(m) == before and before["st"] == "done"


BAD = "bad~1-1-default.0.0"  # the name of a letter whose id could not be trusted


def refused(m, **more):
    """A job r1 by the enqueue script, refused at its first look."""
    m.enqueue("r1.0.0")
    e, _ = m.one("me")
    assert m.bury("me", e, BAD, named="r1", **more) == "OK"
    return e


def test_a_refused_job_ends_its_own_record(m):
    refused(m)
    said = run(m)
    assert (said["st"], said["pl"], said["r"], said["lt"]) == ("dead", "", f"dead:{BAD}", BAD)
    assert 0 < m.r.pttl(key("run:r1")) <= HOUR
    assert m.enqueue("r1.0.0", s="mended") == "OK", "it has not taken the id"
    assert m.r.pttl(key("run:r1")) == -1 and run(m)["st"] == "ready" and "lt" not in run(m) and "r" not in run(m)
    assert m.enqueue("r1.0.0") == "DUPLICATE"


@pytest.mark.parametrize("other", ["unknown", "waits", "runs", "due", "promoted", "went_on", "done", "queue", "broken"])
def test_a_refused_job_ends_nobody_else_s_record(m, other):
    """Anybody can write another's id into a job."""
    if other not in ("unknown", "broken"):
        m.enqueue("r1.0.0", at=m.now() + HOUR if other in ("due", "promoted") else 0,
                  queue="other" if other == "queue" else "default")
    if other in ("runs", "went_on", "done"):
        e, n = m.one("him")
    if other == "went_on":
        m.commit("him", (e, n))
    if other == "done":
        m.commit("him", (e, n, {"last": 1}))
    if other == "promoted":
        m.promote("due", [("r1.0.0", "default")])
    if other == "broken":
        m.r.set(key("run:r1"), "mine")
    before, kept = m.r.dump(key("run:r1")), m.r.exists(key("id:r1"))
    forged = m.r.xadd(Q, {"j": "forged"}).decode()
    while (e := m.one("me")[0]) != forged:
        pass
    assert m.bury("me", forged, BAD, named="r1") == "OK"
    assert m.r.dump(key("run:r1")) == before and m.r.exists(key("id:r1")) == kept
    assert m.r.zscore(key("dead"), BAD)


@pytest.mark.parametrize("way", ["released", "reclaimed", "lane"])
def test_a_refused_job_that_was_moved_ends_its_record_too(m, way):
    m.enqueue("r1.0.0")
    if way == "lane":
        m.r.xgroup_create(key("q:default~"), "w", mkstream=True)
        m.call("favor", [Q, key("q:default~")], "0-0", "+", 10)
        e = m.r.xreadgroup("w", "me", {key("q:default~"): ">"})[0][1][0][0].decode()
    else:
        e, _ = m.one("him")
        m.release("him", e) if way == "released" else m.reclaim("him")
        e, _ = m.one("me")
    assert m.bury("me", e, BAD, named="r1", stream="q:default~" if way == "lane" else None) == "OK"
    assert run(m)["st"] == "dead" and run(m)["lt"] == BAD
    assert m.enqueue("r1.0.0") == "DUPLICATE", "it may be another's: the id stays taken for its time"
    m.r.delete(key("id:r1"))
    assert m.enqueue("r1.0.0") == "OK"


def test_promoted_job_s_record_names_its_entry(m):
    """Where it lies now: a refused entry is told from another's by that."""
    m.enqueue("r1.0.0", at=m.now() + HOUR)
    m.promote("due", [("r1.0.0", "default")])
    e, _ = m.one("me")
    assert run(m)["en"] == e
    assert m.bury("me", e, BAD, named="r1") == "OK" and run(m)["st"] == "dead"


def test_a_refused_job_that_was_cancelled(m):
    m.enqueue("r1.0.0")
    assert m.cancel("r1") == "MARKED"
    e, _ = m.one("me")
    m.bury("me", e, BAD, named="r1")
    assert run(m)["st"] == "dead" and m.cancel("r1") == "FINISHED"


def test_a_refused_job_is_sent_back(m):
    refused(m)
    m.full()
    assert m.replay(BAD, named="r1") == "OK"
    m.roomy()
    said = run(m)
    assert (said["st"], said["pl"]) == ("ready", "q:default") and "lt" not in said
    assert m.r.pttl(key("run:r1")) == -1, "it must last as long as the run"
    assert not m.r.exists(key("run:bad~1-1-default"))
    e, _ = m.one("me")
    assert e == said["en"] and m.bury("me", e, BAD, named="r1") == "OK" and run(m)["st"] == "dead"


def test_a_letter_that_is_sent_back_is_not_another_s_record(m):
    refused(m)
    m.enqueue("r1.0.0")
    before = run(m)
    assert m.replay(BAD, named="r1") == "OK"
    assert run(m) == before


def test_bury_keeps_the_record(m):
    """A run record with a TTL (a mark on an unknown run) must outlive its letter."""
    m.r.xadd(Q, {"j": "r1.0.0"})
    e, n = m.one("me")
    assert m.cancel("r1") == "MARKED"
    assert m.r.pttl(key("run:r1")) > 0
    m.bury("me", e, n)
    assert m.r.pttl(key("run:r1")) == -1
    assert where(m, n) == "dead"


def test_bury_when_out_is_broken(m):
    e, n = taken(m)
    m.r.set(key("out:results"), "x")
    assert m.bury("me", e, n) == "OK_NO_RESULT"
    m.r.delete(key("out:results"))
    assert where(m, n) == "dead"


def test_replay_to_a_broken_queue(m):
    e, n = taken(m)
    m.bury("me", e, n)
    score = m.r.zscore(key("dead"), n)
    exhaust(m, Q)
    with pytest.raises(redispy.ResponseError, match="exhausted"):
        m.replay(n)
    assert where(m, n) == "dead" and m.r.zscore(key("dead"), n) == score


@pytest.mark.parametrize("aside", ["due", "park:conn:a", "dead"])
def test_cancel_what_lies_aside(m, aside):
    e, n = taken(m)
    {"due": lambda: m.retry("me", e, n, HOUR), "park:conn:a": lambda: m.park("me", e, n, HOUR),
     "dead": lambda: m.bury("me", e, n)}[aside]()
    assert m.cancel("r1", n, aside) == "CANCELLED"
    assert where(m, n) is None and run(m)["st"] == "cancelled"
    assert look(m).results["results"][-1] == b"cancelled:r1"
    assert m.r.pttl(key("run:r1")) > 0
    assert m.cancel("r1", n, aside) == "FINISHED"
    assert m.promote(aside, [(n, "default")]) == [0, 0, 0]
    if aside.startswith("park"):
        assert m.lot("conn:a", HOUR, m.r.zscore(key("lots"), "conn:a")) == 0
        assert not m.r.exists(key("lots"))


@pytest.mark.parametrize("cn", ["abc", "-5", "1e300", "nan", ""])
def test_a_mark_that_somebody_else_wrote_loses_nothing(m, cn):
    """Who may use the enqueue script may write to any record: the commit of his jobs and of those beside them goes through."""
    entries = [taken(m, f"r{i}.0.0") for i in range(3)]
    m.r.hset(key("run:r1"), mapping={"c0": "x", "cn": cn})
    assert m.commit("me", *entries) == [1, 4, 1]
    assert m.r.xpending(Q, "w")["pending"] == 0 and m.r.xlen(Q) == 2
    assert run(m, "r1")["st"] == "cancelled" and 0 < m.r.pttl(key("run:r1")) <= HOUR


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("move", ["retry", "park"])
def test_what_is_set_aside_after_the_mark_ends_there(m, move, full):
    """Cancelled in flight: no other attempt is made for it, and a lot that is full is no matter."""
    e, n = taken(m)
    assert m.cancel("r1", ttl=5000) == "MARKED"
    if full:
        m.full()
    assert (m.retry("me", e, n, HOUR) if move == "retry" else m.park("me", e, n, HOUR, limit=0)) == "CANCELLED"
    m.roomy()
    assert where(m, n) is None and run(m)["st"] == "cancelled" and run(m)["r"] == "cancelled:r1"
    assert look(m).results == {"results": [b"cancelled:r1"]}
    assert 0 < m.r.pttl(key("run:r1")) <= 5000
    assert m.cancel("r1") == "FINISHED"
    assert MOVES_OF_A_TAKEN_JOB[move](m, e, n) == "LOST", "once more: nothing"


def test_cancel_against_promote(m):
    """It was promoted between the look and the cancel: marked, and the commit ends it."""
    m.enqueue("r1.0.0", at=m.now() + HOUR)
    m.promote("due", [("r1.0.0", "default")])
    assert m.cancel("r1", "r1.0.0", "due") == "MARKED"
    e, n = m.one("me")
    assert m.commit("me", (e, n)) == [4]
    assert where(m, n) is None


def test_cancel_what_waits_in_the_queue(m):
    m.enqueue("r1.0.0")
    e = text(m.r.xrange(Q)[0][0])
    assert m.cancel("r1", entry=e) == "CANCELLED"
    assert where(m, "r1.0.0") is None and m.r.xlen(Q) == 0
    e, n = taken(m, "r2.0.0")
    assert m.cancel("r2", entry=e) == "MARKED", "a call may be in flight"
    assert where(m, n) == "pending:default:me"


def test_cancel_an_unknown_run_leaves_nothing_for_ever(m):
    assert m.cancel("typo", ttl=5000) == "MARKED"
    assert 0 < m.r.pttl(key("run:typo")) <= 5000


def test_cancel_finished(m):
    e, n = taken(m)
    m.commit("me", (e, n, {"last": 1}))
    before = m.dump()
    assert m.cancel("r1") == "FINISHED"
    assert m.dump() == before


def test_act_follows_the_line_that_its_writer_saw(m):
    acts = key("audit:acts")

    def add(after, text):
        return m.call("act", [acts], after, 1000, "acts", 1, "b" * 32, text, "m" * 36)
    said, first = add("", "one")
    assert said == "ADDED"
    assert add("", "two") == ["MOVED"] and add("1-1", "two") == ["MOVED"]
    said, second = add(first, "two")
    assert said == "ADDED" and add(first, "three") == ["MOVED"]
    m.full()
    assert add(second, "three")[0] == "ADDED"
    m.roomy()
    assert [fields[b"l"] for _, fields in m.r.xrange(acts)] == [b"one", b"two", b"three"]


class TestFavor:
    """favor: jobs of a stretch of a queue onto its lane."""

    QUEUE, LANE = key("q:default"), key("q:default~")

    def favor(self, m, after, last, count=10):
        return m.call("favor", [self.QUEUE, self.LANE], after, last, count)

    def put(self, m, *names):
        return [m.r.xadd(self.QUEUE, {"j": n, "s": f"s:{n}", "d": "1"}).decode() for n in names]

    def lane(self, m):
        return [fields for _, fields in m.r.xrange(self.LANE)]

    def test_moves_a_stretch_as_it_is(self, m):
        ids = self.put(m, "a", "b", "c", "d")
        moved, looked, last = self.favor(m, ids[0], ids[2])
        assert (moved, looked) == (2, ids[2]) and last == m.r.xrange(self.LANE)[-1][0].decode()
        assert [f[b"j"] for _, f in m.r.xrange(self.QUEUE)] == [b"a", b"d"]
        assert self.lane(m) == [{b"j": n, b"s": b"s:" + n, b"d": b"1", b"t": i.split("-")[0].encode()}
                                for n, i in ((b"b", ids[1]), (b"c", ids[2]))]

    def test_leaves_what_a_worker_has(self, m):
        ids = self.put(m, "a", "b")
        m.r.xreadgroup("w", "me", {self.QUEUE: ">"}, count=1)
        assert self.favor(m, "0-0", ids[1])[0] == 1
        assert [f[b"j"] for _, f in m.r.xrange(self.QUEUE)] == [b"a"]

    def test_as_many_as_it_may(self, m):
        ids = self.put(m, *[str(n) for n in range(100)])
        assert self.favor(m, "0-0", ids[-1], 3)[0] == 3
        assert self.favor(m, ids[2], ids[-1], 1000)[0] == 64

    def test_keeps_the_first_time(self, m):
        m.r.xadd(self.QUEUE, {"j": "a", "t": "5"})
        assert self.favor(m, "0-0", "+")[0] == 1 and self.lane(m)[0][b"t"] == b"5"

    def test_a_full_redis_loses_nothing(self, m):
        ids = self.put(m, "a", "b")
        m.full()
        with pytest.raises(Exception, match="OOM"):
            self.favor(m, "0-0", ids[1])
        m.roomy()
        assert m.r.xlen(self.QUEUE) == 2 and not m.r.exists(self.LANE)

    def test_nothing_there(self, m):
        assert self.favor(m, "0-0", "5-0") == [0, "", ""]


    def test_so_many_bytes_at_once(self, m):
        ids = self.put(m, *["x" * 100000] * 5)
        assert self.favor(m, "0-0", ids[-1])[:2] == [2, ids[1]]


class TestProducer:
    """producer: a record is written by one operator at a time."""

    def test_only_over_what_was_read(self, m):
        def write(old, new):
            return m.call("producer", ["awq:producers"], "shop", old, new)
        assert write("", "one") == "OK"
        assert write("", "two") == "MOVED" and write("other", "two") == "MOVED" and write("two", "") == "MOVED"
        assert m.r.hget("awq:producers", "shop") == b"one"
        assert write("one", "two") == "OK" and write("two", "") == "OK"
        assert not m.r.exists("awq:producers")


class TestRekey:
    """rekey: the install goes by other keys, if it still goes by those that were read."""

    def test_only_over_what_was_read(self, m):
        def write(old, new):
            return m.call("rekey", ["awq:meta"], old, new)
        assert write("", "one") == "MOVED" and not m.r.exists("awq:meta")
        m.r.hset("awq:meta", mapping={"keys": "one", "install": "i"})
        assert write("other", "two") == "MOVED" and m.r.hget("awq:meta", "keys") == b"one"
        assert write("one", "two") == "OK" and write("one", "three") == "MOVED"
        assert m.r.hgetall("awq:meta") == {b"keys": b"two", b"install": b"i"}


class TestInbox:
    """inbox: one job of an inbox onto its queue, or away."""

    IN = key("in:shop")

    def move(self, m, entry, job_id="shop:1", limit=100, j="j"):
        return m.call("inbox", [self.IN, Q, key("held"), key("dead"), key(f"id:{job_id}"), key(f"run:{job_id}")],
                      entry, limit, j, "s", HOUR, "default")

    def put(self, m):
        return m.r.xadd(self.IN, {"j": "j"}).decode()

    def queued(self, m):
        return m.r.xlen(Q), m.r.xlen(self.IN)

    def test_moved_once(self, m):
        entry = self.put(m)
        assert self.move(m, entry) == "MOVED" and self.queued(m) == (1, 0)
        assert self.move(m, entry) == "GONE" and self.queued(m) == (1, 0)
        assert run(m, "shop:1")["pl"] == "q:default"

    def test_an_id_that_is_known(self, m):
        assert self.move(m, self.put(m)) == "MOVED"
        assert self.move(m, self.put(m)) == "DUPLICATE" and self.queued(m) == (1, 0)

    def test_a_full_queue(self, m):
        assert self.move(m, self.put(m), "shop:1", 1) == "MOVED"
        entry = self.put(m)
        assert self.move(m, entry, "shop:2", 1) == "FULL" and self.queued(m) == (1, 1)
        assert not m.r.exists(key("run:shop:2"))
        assert self.move(m, entry, "shop:2", 2) == "MOVED" and self.queued(m) == (2, 0)

    def test_refused(self, m):
        entry = self.put(m)
        assert self.move(m, entry, j="") == "REFUSED" and self.queued(m) == (0, 0)
        assert self.move(m, entry, j="") == "GONE"


class TestInboxes:
    """inboxes: what lies in each, none of which can hold up another."""

    def put(self, m, who, *sizes):
        for size in sizes:
            m.r.xadd(key(f"in:{who}"), {"j": b"x" * size})

    def look(self, m, *who, count=50, job_max=1 << 20):
        answer = m.call("inboxes", [key(f"in:{w}") for w in who], count, job_max)
        return {k[len(key("in:")):]: [len(entry[1]) for entry in entries] for k, entries in answer}

    def test_each_with_something_is_read(self, m):
        self.put(m, "a", *[10] * 80)
        self.put(m, "c", 10, 10)
        assert self.look(m, "a", "b", "c") == {"a": [2] * 50, "c": [2, 2]}

    def test_a_full_one_takes_no_others_share(self, m):
        self.put(m, "a", *[1 << 20] * 5)
        self.put(m, "b", *[1000] * 5)
        assert self.look(m, "a", "b") == {"a": [2], "b": [2] * 5}

    def test_what_is_too_big_is_not_given_and_ends_the_turn(self, m):
        self.put(m, "a", 4 << 20, 4 << 20, 10)
        assert self.look(m, "a") == {"a": [0]}


# ---- what somebody else may have written ----

@pytest.mark.parametrize("d,then", [("nan", "1"), ("inf", "1"), ("-1e15", "1"), ("", "1"), ("7", "8"), ("9" * 30, "1000001")])
def test_deaths_are_counted_from_whatever_stands_there(m, d, then):
    m.r.xadd(Q, {"j": "r1.0.0", "d": d})
    m.r.xreadgroup("w", "me", {Q: ">"})
    m.reclaim("me")
    assert [f["d"] for _, _, f in m.take("me", 5)] == [then]


@pytest.mark.parametrize("cn", ["1.5", "1e3", "nan", "-1", "1e300", "x"])
@pytest.mark.parametrize("how", ["retry", "park"])
def test_a_cancelled_run_ends_whatever_its_time_says(m, how, cn):
    e, n = taken(m)
    m.r.hset(key("run:r1"), mapping={"c0": "x", "cn": cn, "cr": "left"})
    said = m.retry("me", e, n, m.now() + 1000) if how == "retry" else m.park("me", e, n, m.now() + 1000)
    assert said == "CANCELLED"
    assert run(m)["st"] == "cancelled" and 0 < m.r.pttl(key("run:r1")) <= 600000 and not where(m, n)


@pytest.mark.parametrize("ms", [float("nan"), float("inf"), -1.0, 1e300])
def test_a_letter_of_no_time_is_found_a_place(m, ms):
    """And the others beside it are too; a name that is no job's goes where it gets one."""
    def letter(ms):
        return b"".join(msgpack.packb(x) for x in ("default", "j", "0", "", "c", "t", ms))
    good = letter(1700000000000)
    m.r.hset(key("held"), mapping={"r1.0.0": letter(ms), "odd": good, "r2.0.0": good})
    found = m.adrift("r1.0.0", "odd", "r2.0.0")
    assert len(m.settle(*found)) == 3
    assert m.r.zrange(key("dead"), 0, -1) == [b"r2.0.0"]
    assert set(m.r.zrange(key("due"), 0, -1)) == {b"r1.0.0", b"odd"}


@pytest.mark.parametrize("args", [{"at": "inf"}, {"at": "nan"}, {"at": "-1"}, {"at": "1.5"}, {"at": str(2**63)}, {"dedup": "600000.5"},
                                  {"dedup": "inf"}, {"dedup": str(2**63)}, {"dedup": "0"}, {"name": "a b.0.0"}, {"name": ".0.0"},
                                  {"name": "x" * 65 + ".0.0"}, {"name": "a.b.0.0"}, {"name": "a.0.1"}])
def test_the_enqueue_script_refuses_before_it_writes(m, args):
    name, at, dedup = (args.get(k, v) for k, v in (("name", "r1.0.0"), ("at", "0"), ("dedup", "600000")))
    before = m.r.dbsize()
    with pytest.raises(redispy.ResponseError, match="ARGV 1 must be|is not a time"):
        m.call("enqueue", [Q, key("id:r1"), key("run:r1"), key("held"), key("due"), key("dead")],
               name, name.removesuffix(".0.0"), "", at, 100, dedup, "default", WAKE)
    assert m.r.dbsize() == before


@pytest.mark.parametrize("odd, why", [
    ({0: "q:other"}, "KEYS"), ({1: "id:r2"}, "KEYS"), ({2: "run:r2"}, "KEYS"), ({2: "run:x:r1"}, "KEYS"), ({3: "due"}, "KEYS"),
    ({4: "held"}, "KEYS"), ({5: "due"}, "KEYS"), ({6: "defualt"}, "KEYS"),
    ({0: "q:a.b", 6: "a.b"}, "ARGV 7"), ({0: "q:", 6: ""}, "ARGV 7"), ({0: "q:" + "x" * 65, 6: "x" * 65}, "ARGV 7"),
    ({7: "many"}, "backlog limit"), ({7: ""}, "backlog limit"), ({7: "nan"}, "backlog limit"), ({7: "-1"}, "backlog limit"),
    ({8: 1795850634}, "not-before is 1795850634: it looks like seconds"),
], ids=str)
def test_the_enqueue_script_wants_its_keys_to_be_those_of_its_arguments(m, odd, why):
    """What lies elsewhere nobody would find: the job would run under a record that is another's, or never."""
    told = dict(enumerate(["q:default", "id:r1", "run:r1", "held", "due", "dead", "default", 100, 0])) | odd
    before = m.r.dbsize()
    with pytest.raises(redispy.ResponseError, match=why):
        m.call("enqueue", [key(told[i]) for i in range(6)], "r1.0.0", "r1", "", told[8], told[7], HOUR, told[6], WAKE)
    assert m.r.dbsize() == before


def test_cancel_of_what_lies_on_another_queue(m):
    """Only the queue that its record names can say that it is gone."""
    assert m.enqueue("r1.0.0", queue="other") == "OK"
    assert m.cancel("r1") == "MARKED"
    assert m.r.xlen(key("q:other")) == 1
    assert m.enqueue("r2.0.0") == "OK"
    m.r.xtrim(Q, maxlen=0)
    assert m.cancel("r2") == "CANCELLED"
