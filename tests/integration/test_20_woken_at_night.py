"""What goes wrong between two instructions: answers lost, processes stopped, records spoilt."""
import signal

import pytest

from between import script_sha
from procs import wait_until

ACCT = "awq:{c:acct}"


def warm(rig, **more):
    """One step through, so that the worker knows the connection and has its token."""
    rig.results(rig.enqueue(rig.job("acct", "/echo", env={"out": "warm"}, **more)), out="warm")


def alive_until(rig, worker):
    return rig.redis.client.zscore(rig.key("workers"), worker.id) or 0


def half_life_ms(rig):
    born, exp = map(int, rig.redis.client.hmget(ACCT, "born", "exp"))
    return born + (exp - born) // 2


def redis_ms(rig):
    s, us = rig.redis.client.time()
    return s * 1000 + us // 1000


def no_fetch(rig, worker):
    """Pause it, and wait until it does not ask for jobs any more."""
    worker.send(signal.SIGTSTP)
    worker.wait_log("worker.paused")
    wait_until(lambda: not [c for c in rig.redis.client.client_list()
                            if c["cmd"].startswith("xreadgroup") and "b" in c["flags"]], 10,
               "no fetch to be on its way")


# ---- tokens ----------------------------------------------------------------------------------------

def test_a_worker_that_leaves_takes_no_lease_along(rig):
    """TERM comes while the lease was asked for: it is given back, not left to the account's owner."""
    r = rig.use_redis()
    auth, _ = rig.use_peers()
    rig.link_refresh("acct")
    between = rig.between()
    w = rig.worker(redis_url=between.url)
    warm(rig)
    w.wait_log("house.elected")
    no_fetch(rig, w)  # else its end would wait for that one's, and the lease would be seen by chance
    auth.reset()
    auth.faults({"grant": "refresh_token", "delay_ms": 2000})
    between.hold(script_sha("acquire"))
    r.client.zadd("awq:conns", {"acct": -redis_ms(rig)})  # as awq-ctl conn refresh asks
    r.client.publish("awq:changed", "acct")
    between.wait_held()
    w.term()
    w.wait_log("worker.drain")
    r.note_commands()
    between.release()
    assert w.wait(10) == 0, w.tail()
    assert r.client.hget(ACCT, "if") is None, "no intent is left behind"
    scripts = [c.split()[1] for c in r.noted() if c.startswith(b"EVALSHA")]
    assert scripts.index(script_sha("fail")) < scripts.index(script_sha("leave"))
    assert auth.requests_of("acct") == 0
    auth.clear_faults()
    rig.worker()
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"


def test_a_refused_token_is_not_tried_again_while_it_is_renewed(rig):
    """A renewal takes longer than the attempts of a step would last."""
    auth, api = rig.use_peers(auth={"AT_TTL": 20})
    rig.link_refresh("acct")
    rig.worker()
    warm(rig)
    # A 401 is believed once half of the token's life is over; a shorter one would be renewed ahead.
    wait_until(lambda: redis_ms(rig) > half_life_ms(rig), 15, "half the token's life to be over")
    assert auth.expire(account="acct") > 0
    auth.faults({"grant": "refresh_token", "delay_ms": 1500})
    got = rig.results(rig.enqueue([rig.job("acct", "/echo", retry={"max": 1}) for _ in range(20)]))
    assert {x[-1]["state"] for x in got.values()} == {"done"}
    assert auth.requests_of("acct") == 2
    assert len([e for e in api.log() if e.get("status") == 401]) <= 20, "once for each step at most"


def test_settings_that_changed_meanwhile_are_asked_before_a_replay(rig):
    """401, and the account was linked anew with a narrower policy: the new token does not go there."""
    _, api = rig.use_peers()
    rig.link_refresh("acct")
    rig.worker()
    warm(rig)
    api.reset()
    old = rig.enqueue(rig.job("acct", "/refuse?n=1&delay=2000"))
    wait_until(api.log, 10, "the call to be on the wire")
    rig.link_refresh("acct", policy={"paths": ["/echo"]})
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done", "the new token is there"
    got = rig.results(old)[old[0]][-1]
    assert (got["state"], got["error"]["code"]) == ("dead", "path_not_allowed")
    assert len([e for e in api.log() if e["path"].startswith("/refuse")]) == 1


def test_a_late_long_output_leaves_nothing_for_ever(rig):
    """Kept for a next step that is not this worker's to queue any more: the run is over and forgotten."""
    rig.use_peers()
    rig.link("acct")
    between = rig.between()
    w = rig.worker(redis_url=between.url)
    warm(rig)
    between.hold(b"HELDMARK")
    ids = rig.enqueue(rig.job("acct", "/echo", body="HELDMARK" + "x" * 70000,
                              then=[rig.call("acct", "/echo")]))
    between.wait_held()
    r, queue = rig.redis.client, rig.key("q:default")
    (entry,) = [e["message_id"] for e in r.xpending_range(queue, "w", "-", "+", 10)]
    r.xack(queue, "w", entry)
    r.xdel(queue, entry)
    assert not r.exists(rig.key(f"run:{ids[0]}"))
    between.release()
    w.wait_log("job.lost", job=f"{ids[0]}.0.0")
    assert not r.exists(rig.key(f"run:{ids[0]}"))


# ---- calls that must not be made twice -------------------------------------------------------------

def test_a_lost_answer_to_the_mark_is_not_a_death(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    between = rig.between()
    rig.worker(redis_url=between.url, lease="1s")
    warm(rig)
    api.reset()
    between.swallow(b"m0.0")
    ids = rig.enqueue(rig.job("acct", "/effect/marked", ambiguous="dead"))
    assert rig.results(ids, 15)[ids[0]][-1]["state"] == "done"
    assert api.effects() == {"marked": 1} and between.swallowed == 1


def test_a_letter_of_unknown_outcome_can_be_sent_back(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    first = rig.worker(lease="1s")
    ids = rig.enqueue(rig.job("acct", "/effect/again?delay=2000", ambiguous="dead"))
    wait_until(api.log, 10, "the call")
    first.kill()
    rig.worker(lease="1s")
    assert rig.results(ids)[ids[0]][-1]["error"]["code"] == "unknown_outcome"
    rig.ctl("dead", "replay", f"{ids[0]}.0.0")
    wait_until(lambda: rig.redis.client.hget(rig.key(f"run:{ids[0]}"), "st") == b"done", 10,
               rig.places_text)
    assert len(api.log()) == 2


def stop_with_a_job_delivered(rig, worker, job):
    """Stop it while it waits for work, and have Redis give it this job: it holds it and does not know."""
    for n in range(20):
        worker.stop()
        ids = rig.enqueue({**job, "id": f"{job['id']}-{n}"})
        if rig.pending(consumer=worker.id):
            return ids
        worker.cont()  # it was between two fetches
        rig.results(ids)
    raise AssertionError("it was never caught in its fetch")


@pytest.mark.parametrize("ambiguous", ["retry", "dead"])
def test_no_call_before_life_is_confirmed_again(rig, ambiguous):
    """Stopped past its lease with a job in its hands, then Redis does not hear its beat."""
    _, api = rig.use_peers()
    rig.link("acct")
    between = rig.between()
    w = rig.worker(redis_url=between.url, lease="3s")
    warm(rig)
    ids = stop_with_a_job_delivered(rig, w, rig.job("acct", "/echo", ambiguous=ambiguous))
    wait_until(lambda: alive_until(rig, w) < redis_ms(rig), 10, "its lease to end")
    api.reset()
    between.hold(script_sha("beat"))
    w.cont()
    between.wait_held()
    w.turn()
    assert api.log() == [], "nobody knows that it lives: others may have its job"
    between.release()
    got = rig.results(ids, 20)[ids[0]][-1]
    assert (got["state"], got["attempts"]) == ("done", 1), "given back, and not counted"
    assert len(api.log()) == 1


def test_what_was_given_to_others_meanwhile_is_not_called(rig):
    """Stopped past its lease with a job in its hands that another worker has done since."""
    _, api = rig.use_peers()
    rig.link("acct")
    late = rig.worker(lease="2s")
    warm(rig)
    ids = stop_with_a_job_delivered(rig, late, rig.job("acct", "/effect/mine?delay=1500"))
    other = rig.worker(lease="2s")
    wait_until(lambda: [e for e in api.log() if "effect" in e], 20, "the other one to call")
    late.cont()
    late.wait_log("job.lost", 10)
    assert rig.results(ids)[ids[0]][-1]["worker"] == other.id
    assert sum(n for i, n in api.effects().items() if i == "mine") == 1, "called once"


# ---- what was delivered is not forgotten -----------------------------------------------------------

def test_what_a_lost_link_had_brought_is_read_back(rig):
    rig.use_peers()
    rig.link("acct")
    between = rig.between()
    w = rig.worker(redis_url=between.url)
    warm(rig)
    no_fetch(rig, w)
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(10)])
    between.swallow(b"XREADGROUP")
    w.send(signal.SIGCONT)
    wait_until(lambda: between.swallowed, 15, "the fetch that brought them to be lost")
    got = rig.results(ids, 20)
    assert {x[-1]["state"] for x in got.values()} == {"done"}


def test_more_jobs_than_slots_from_several_queues(rig):
    """COUNT is per stream: one slot, four queues, four jobs in one answer."""
    rig.use_peers()
    rig.link("acct")
    between = rig.between()
    queues = ("a", "b", "c", "d")
    rig.worker(redis_url=between.url, slots=1, queues=",".join(queues))
    between.hold(b"BLOCK")
    between.wait_held()
    ids = [i for q in queues for i in rig.enqueue(rig.job("acct", "/echo"), queue=q)]
    between.release()
    got = rig.results(ids, 20)
    assert {x[-1]["state"] for x in got.values()} == {"done"}


def test_one_suspect_at_a_time(rig):
    """Jobs whose workers died twice are not on the wire together: only the guilty one is counted."""
    r = rig.use_redis()
    _, api = rig.use_peers()
    rig.link("acct")
    import msgpack
    ids = []
    for n in range(3):
        job = rig.job("acct", f"/slow?ms=400&n={n}", method="GET")
        r.client.xadd(rig.key("q:default"), {"j": msgpack.packb(job), "d": "2"})
        ids.append(job["id"])
    rig.worker()
    rig.results(ids, 30)
    times = sorted((e["t"], e["t"] + e["ms"]) for e in api.log() if e["path"].startswith("/slow"))
    assert len(times) == 3
    assert all(end <= begin for (_, end), (begin, _) in zip(times, times[1:])), times


# ---- one bad thing does not stop the rest ----------------------------------------------------------

@pytest.mark.parametrize("spoilt", ["a wrong type", "no number"])
def test_a_connection_record_that_cannot_be_read(rig, spoilt):
    r = rig.use_redis()
    rig.use_peers()
    rig.link("acct")
    rig.link("odd")
    if spoilt == "a wrong type":
        r.client.delete("awq:{c:odd}")
        r.client.set("awq:{c:odd}", "x")
    else:
        r.client.hset("awq:{c:odd}", "gen", "x")
    rig.worker(slots=2)
    bad = rig.enqueue([rig.job("odd", "/echo") for _ in range(3)])
    good = rig.enqueue([rig.job("acct", "/echo") for _ in range(3)])
    got = rig.results(bad + good, 15)
    assert {got[i][-1]["error"]["code"] for i in bad} == {"connection_broken"}
    assert {got[i][-1]["state"] for i in good} == {"done"}


def test_a_spoilt_lot_does_not_hold_up_the_others(rig):
    r = rig.use_redis()
    auth, _ = rig.use_peers()
    rig.link_refresh("acct")
    r.client.set("awq:{c:odd}", "x")
    auth.faults({"grant": "refresh_token", "delay_ms": 1000})
    w = rig.worker()
    w.wait_log("house.elected")
    ids = rig.enqueue(rig.job("acct", "/echo"))
    wait_until(lambda: rig.places().get(ids[0]) == ["park:conn:acct"], 10, rig.places_text)
    for name in ("conn:odd", "nonsense", "conn:" + "x" * 40 + "/"):
        r.client.zadd(rig.key(f"park:{name}"), {"gone.0.0": 1})
        r.client.zadd(rig.key("lots"), {name: -1000})
    assert rig.results(ids, 15)[ids[0]][-1]["state"] == "done"


def test_a_queue_of_a_wrong_type_does_not_hold_up_the_dead(rig):
    r = rig.use_redis()
    _, api = rig.use_peers()
    rig.link("acct")
    for n in range(8):
        r.client.sadd(rig.key("queues"), f"odd{n}")
        r.client.set(rig.key(f"q:odd{n}"), "x")
    first = rig.worker(lease="1s")
    ids = rig.enqueue(rig.job("acct", "/effect/e?delay=500"))
    wait_until(api.log, 10, "the call")
    first.kill()
    rig.worker(lease="1s")
    assert rig.results(ids, 15)[ids[0]][-1]["state"] == "done"


def test_a_long_input_that_redis_refuses_is_kept_until_it_does_not(rig):
    r = rig.use_redis()
    _, api = rig.use_peers()
    rig.link("acct")
    w = rig.worker()
    job = rig.job("acct", "/big?bytes=200000&delay=1000", method="GET",
                  then=[rig.call("acct", "/effect/next")])
    ids = rig.enqueue(job)
    wait_until(api.log, 10, "the call")
    r.client.config_set("maxmemory", 1)
    w.wait_log("redis.error", 10, error_rule="OOM")
    r.client.config_set("maxmemory", 0)
    assert [x["state"] for x in rig.results(ids, 20)[ids[0]]] == ["done", "done"]
    assert api.effects() == {"next": 1}


# ---- the end ---------------------------------------------------------------------------------------

def test_stopped_while_the_numbers_of_the_shard_are_on_their_way(rig):
    """(A use after free, seen by the sanitizer build.)"""
    between = rig.between()
    w = rig.worker(redis_url=between.url)
    w.wait_log("house.elected")
    between.hold(script_sha("stats"))
    assert w.get("/metrics")[0] == 200
    between.wait_held()
    w.term()
    w.wait_log("worker.drain")
    w.term()
    w.may_fail = True
    assert w.wait(10) == 1, w.tail()
    w.may_fail = False
    w.sane()
    between.release()


def test_stopped_at_once_while_redis_is_away_nothing_is_called_again(rig):
    """Two TERMs with outcomes that Redis has not taken: the journal has all of them."""
    r = rig.use_redis(aof="always")
    _, api = rig.use_peers()
    rig.link("acct")
    journal = rig.folder / "journal"
    journal.mkdir(0o700)
    w = rig.worker(slots=64, journal=journal)
    ids = rig.enqueue([rig.job("acct", f"/effect/e{i}?delay={800 + 10 * i}", job_id=f"e{i}")
                       for i in range(50)])
    wait_until(lambda: len(api.log()) >= 50, 10, "all calls to be on the wire")
    r.kill()
    wait_until(lambda: w.metric("awq_http_requests_total", **{"class": "2xx"}) == 50, 10, "the answers")
    w.send(signal.SIGTERM)
    w.wait_log("worker.drain")
    w.send(signal.SIGTERM)
    assert w.wait(10) == 1
    r.start()
    again = rig.worker(slots=64, journal=journal)
    again.wait_log("journal.replayed", 20)
    got = rig.results(ids, 30)
    assert {x[-1]["state"] for x in got.values()} == {"done"}
    assert api.effects() == {i: 1 for i in ids}, "no second call"


def outcomes_that_wait(rig, count, **settings):
    """A worker with that many answers whose commits wait behind one that Redis does not see."""
    _, api = rig.use_peers()
    rig.link("acct")
    between = rig.between()
    w = rig.worker(redis_url=between.url, slots=32, log_level="debug", **settings)
    warm(rig)
    api.reset()
    between.hold(script_sha("commit"))
    first = rig.enqueue(rig.job("acct", "/effect/first", job_id="first"))
    between.wait_held()
    ids = rig.enqueue([rig.job("acct", f"/effect/e{i}", job_id=f"e{i}") for i in range(count)])
    rig.enqueue(rig.job("acct", "/status/503", job_id="again", retry={"base_ms": 86400_000, "cap_ms": 86400_000}))
    names = {f"{i}.0.0" for i in [*first, *ids, "again"]}
    wait_until(lambda: names <= {e["job"] for e in w.logged("step.state", to="leaving")}, 10,
               "all outcomes to be ready")
    w.term()
    w.wait_log("worker.drain")
    w.term()
    assert w.wait(10) == 1, w.tail()
    between.cut()
    return w, api, first + ids


def test_stopped_at_once_what_was_not_sent_yet_is_in_the_journal(rig):
    journal = rig.folder / "journal"
    journal.mkdir(0o700)
    w, api, ids = outcomes_that_wait(rig, 10, journal=journal)
    assert not w.logged("job.dropped")
    again = rig.worker(journal=journal)
    again.wait_log("journal.replayed", 20)
    got = rig.results(ids, 30)
    assert {x[-1]["state"] for x in got.values()} == {"done"}
    assert api.effects() == {i: 1 for i in ids} and len(api.log()) == len(ids) + 1, "no second call"
    run = rig.redis.client.hgetall(rig.key("run:again"))
    assert run[b"st"] == b"due" and run[b"er"].startswith(b"0 1 503 answered "), "what is tried again, too"
    assert abs(int(run[b"tm"]) - redis_ms(rig)) < 60000


def test_stopped_at_once_without_a_journal_the_log_says_what_is_lost(rig):
    w, _, ids = outcomes_that_wait(rig, 10)
    assert [e["n"] for e in w.logged("job.dropped")] == [len(ids) + 1]
    rig.worker()
    got = rig.results(ids, 30)
    assert {x[-1]["state"] for x in got.values()} == {"done"}


def test_workers_that_start_together_share_a_journal_folder(rig):
    journal = rig.folder / "journal"
    journal.mkdir(0o700)
    for w in rig.workers(6, journal=journal):
        assert not w.logged("journal.bad")
    assert len(list(journal.glob("*.journal"))) == 6 and not list(journal.glob("*.new"))


def test_a_first_worker_on_a_full_redis_waits_and_does_not_spin(rig):
    r = rig.use_redis()
    rig.use_peers()
    rig.link("acct")
    r.client.hset("awq:meta", "install", "0123456789abcdef")  # known, but not yet by which keys
    r.client.config_set("maxmemory", 1)
    w = rig.worker(lease="1s")
    beats = alive_until(rig, w)
    wait_until(lambda: alive_until(rig, w) > beats + 1500, 10, "some beats")
    refused = [e for e in w.logged("redis.error") if e.get("error_rule") == "OOM"]
    assert 0 < len(refused) < 50, "asked with the beats, not without pause"
    r.client.config_set("maxmemory", 0)
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"
