"""What a job can ask for: steps, inputs, delays, deadlines, queues, limits, cancelling."""
import json
import time

import msgpack
import pytest

from bad import Bad
from procs import wait_until
from rawserver import answer


def last(rig, ids, timeout=30):
    got = rig.results(ids, timeout)
    return [got[i][-1] for i in ids]


def test_steps_feed_each_other(rig):
    """{name} is a property of the step before: in url (encoded), query, header and body."""
    rig.use_peers()
    rig.link("acct")
    rig.worker()
    job = rig.job("acct", "/echo?n=1", body={"id": "a/b c", "n": 12345678901234567, "deep": {"x": [1]}},
                  then=[rig.call("acct", "/echo/{method}", query={"q": "{scope}"}, headers={"X-Was": "{path}"},
                                 body={"was": "{body}", "all": "{query}", "text": "<{method}>", "esc": "{{method}}"})])
    ids = rig.enqueue(job)
    first, second = rig.results(ids)[ids[0]]
    assert [first["state"], first["step"], first["end"]] == ["done", 0, False]
    assert [second["state"], second["step"], second["end"], second["seq"]] == ["done", 1, True, 1]
    seen = json.loads(second["output"])
    assert seen["path"] == "/echo/POST" and seen["query"] == {"q": "read write"}
    assert seen["headers"]["x-was"] == "/echo"
    body = json.loads(seen["body"])
    assert body["all"] == {"n": "1"} and body["text"] == "<POST>" and body["esc"] == "{method}"
    assert json.loads(body["was"])["n"] == 12345678901234567


def test_input_is_sent_when_a_step_has_no_body(rig):
    rig.use_peers()
    rig.link("acct")
    rig.worker()
    ids = rig.enqueue(rig.job("acct", "/status/200", then=[rig.call("acct", "/echo")]))
    got = last(rig, ids)[0]
    seen = json.loads(got["output"])
    assert json.loads(seen["body"]) == {"status": 200}
    assert seen["headers"]["content-type"] == "application/json"


def test_each_step_goes_to_whoever_is_free_and_has_a_key_of_its_own(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    rig.workers(2, slots=2)
    ids = rig.enqueue([rig.job("acct", "/echo", then=[rig.call("acct", "/echo")] * 3) for _ in range(30)])
    got = rig.results(ids)
    assert all([r["step"] for r in got[i]] == [0, 1, 2, 3] for i in ids)
    assert len({r["worker"] for i in ids for r in got[i]}) == 2
    keys = [e["idem"] for e in api.log()]
    assert len(set(keys)) == len(keys) == 120, "one Idempotency-Key for each call, none twice"


def test_a_failed_step_ends_the_run(rig):
    rig.use_peers()
    rig.link("acct")
    rig.worker()
    ids = rig.enqueue(rig.job("acct", "/status/404", then=[rig.call("acct", "/effect/never")]))
    got = rig.results(ids)[ids[0]]
    assert [(r["state"], r["status"], r["end"]) for r in got] == [("failed", 404, True)]
    assert got[0]["error"]["code"] == "answered" and got[0]["output"] == '{"status":404}'
    assert rig.api.effects() == {}


def test_a_long_output_is_the_next_steps_input(rig):
    """Over 64 KiB it lies in the run record and travels by digest."""
    rig.use_peers()
    rig.link("acct")
    rig.worker(answer_max="4MiB")
    ids = rig.enqueue(rig.job("acct", "/echo", body="x" * 60000,
                              then=[rig.call("acct", "/echo", body={"a": "{body}", "b": "{body}"}),
                                    rig.call("acct", "/echo", body={"c": "{body}"}),
                                    rig.call("acct", "/echo", body={"d": "{path}"})]))
    got = rig.results(ids)[ids[0]]
    assert [r["state"] for r in got] == ["done"] * 4, got[-1].get("error")
    assert rig.redis.client.pttl(rig.key(f"run:{ids[0]}")) > 0, "the run record, inputs and all, is forgotten in time"


def test_a_long_output_that_redis_has_no_room_for_is_kept_until_it_has(rig):
    """Out of memory: the step's outcome waits in the worker, it is neither lost nor made again."""
    rig.use_peers()
    rig.link("acct")
    w = rig.worker(answer_max="4MiB")
    rig.results(rig.enqueue(rig.job("acct", "/echo", then=[rig.call("acct", "/echo")])))  # scripts are known, token is there
    ids = rig.enqueue(rig.job("acct", "/big?bytes=2000000&delay=700", method="GET",
                              then=[rig.call("acct", "/echo?x=1", body="done")]))
    wait_until(lambda: any(e["path"] == "/big" for e in rig.api.log()), 10, "the call")
    rig.redis.client.config_set("maxmemory", rig.redis.client.info("memory")["used_memory"] - 100000)
    wait_until(lambda: w.logged("redis.error", error_rule="OOM"), 15, "Redis to refuse it")
    rig.redis.client.config_set("maxmemory", 0)
    got = rig.results(ids)[ids[0]]
    assert [r["state"] for r in got] == ["done", "done"], got[-1].get("error")
    assert sum(e["path"] == "/big" for e in rig.api.log()) == 1


def test_an_input_that_is_gone_is_said(rig):
    rig.use_peers()
    rig.link("acct")
    rig.worker()
    ids = rig.enqueue(rig.job("acct", "/big?bytes=100000", method="GET",
                              then=[rig.call("acct", "/echo?delay=0", retry={"max": 0})]))
    assert last(rig, ids)[0]["state"] == "done"
    rig.api.reset()
    ids = rig.enqueue(rig.job("acct", "/big?bytes=100000", method="GET",
                              then=[rig.call("acct", "/rate?n=1&after=2", method="POST")]))
    run = rig.key(f"run:{ids[0]}")
    field = wait_until(lambda: [f for f in rig.redis.client.hkeys(run) if f.startswith(b"i:")], 10, "the long input")
    wait_until(lambda: rig.redis.client.hget(run, "st") in (b"due", b"parked"), 10, "the second step to be set aside")
    rig.redis.client.hset(run, field[0], "somebody else's input")
    got = last(rig, ids)[0]
    assert (got["state"], got["error"]["code"]) == ("dead", "input_lost")


def test_not_before_holds_a_job_and_counts_no_attempt(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    rig.worker()
    at = int(time.time() * 1000) + 1500
    ids = rig.enqueue(rig.job("acct", "/effect/later", env={"not_before": at}))
    got = last(rig, ids)[0]
    assert got["state"] == "done" and got["attempts"] == 1
    assert got["times"]["sent"] >= at
    assert api.effects() == {"later": 1}


def test_deadline_passes_while_parked(rig):
    """A job that waits for a consent ends at its deadline, not before and not never."""
    auth, _ = rig.use_peers()
    rig.link_refresh("acct")
    auth.revoke(account="acct")
    rig.worker()
    at = int(time.time() * 1000) + 2500
    ids = rig.enqueue(rig.job("acct", "/effect/x", env={"deadline": at}))
    wait_until(lambda: rig.redis.client.hget(rig.key(f"run:{ids[0]}"), "st") == b"parked", 10, "it to be parked")
    got = last(rig, ids)[0]
    assert (got["state"], got["error"]["code"]) == ("expired", "expired")
    assert got["times"]["committed"] >= at


def test_queues_have_weights(rig):
    """Three to one while both are full; the light one is not starved."""
    rig.use_peers()
    rig.link("acct")
    ids = rig.enqueue([rig.job("acct", "/echo", method="GET") for _ in range(300)], "heavy")
    ids += rig.enqueue([rig.job("acct", "/echo", method="GET") for _ in range(300)], "light")
    rig.worker(queues="heavy:3,light:1", slots=16)
    rig.results(ids, 60)
    order = [r["id"] for r in rig.all_results()]
    first = order[:200]
    heavy = sum(i in set(ids[:300]) for i in first)
    assert 120 <= heavy <= 180, f"{heavy} of the first 200 were heavy ones"


def test_concurrency_of_a_connection_is_kept_by_all_workers(rig):
    """Never more than two at once at the API, and yet all are done."""
    rig.use_peers()
    rig.link("acct", limits={"concurrency": 2})
    rig.workers(3, slots=8)
    ids = rig.enqueue([rig.job("acct", "/echo?delay=40") for _ in range(30)])
    got = last(rig, ids, 60)
    assert {r["state"] for r in got} == {"done"} and {r["attempts"] for r in got} == {1}
    log = rig.api.log()  # one clock
    edges = sorted([(e["t"], 1) for e in log] + [(e["t"] + e["ms"], -1) for e in log])
    now = most = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    assert most <= 2, f"{most} calls at once"


def test_a_full_slot_table_of_slow_calls_leaves_room_for_quick_ones(rig):
    """Few free slots are filled too, not only when sixteen are free."""
    rig.use_peers()
    rig.link("acct")
    rig.worker(slots=20)
    slow = rig.enqueue([rig.job("acct", "/slow?ms=4000", method="GET") for _ in range(18)])
    wait_until(lambda: len(rig.api.log()) >= 18, 10, "the slow calls to be on the wire")
    quick = rig.enqueue([rig.job("acct", "/echo", method="GET") for _ in range(20)])
    got = rig.results(quick)
    assert not {r["id"] for r in rig.all_results()} & set(slow), "the quick ones did not wait for the slow ones"
    assert all(got[i][-1]["state"] == "done" for i in quick)


def test_result_streams_and_none(rig):
    rig.use_peers()
    rig.link("acct")
    rig.worker()
    a = rig.enqueue(rig.job("acct", "/echo", env={"out": "mine"}))
    b = rig.enqueue(rig.job("acct", "/echo", env={"out": ""}))
    rig.results(a, out="mine")
    wait_until(lambda: rig.redis.client.hget(rig.key(f"run:{b[0]}"), "st") == b"done", 10, "the quiet one")
    assert rig.all_results() == []
    kept = msgpack.unpackb(rig.redis.client.hget(rig.key(f"run:{b[0]}"), "r"))
    assert kept["state"] == "done" and kept["status"] == 200


def test_as_raw_and_response(rig):
    rig.use_peers()
    rig.link("acct")
    rig.worker()
    raw = rig.enqueue(rig.job("acct", "/echo", **{"as": "raw"}))
    full = rig.enqueue(rig.job("acct", "/headers?count=2&size=3", method="GET", **{"as": "response"}))
    got = rig.results(raw + full)
    assert isinstance(got[raw[0]][-1]["output"], bytes)
    seen = json.loads(got[full[0]][-1]["output"])
    assert seen["statusCode"] == 200 and seen["headers"]["x-h1"] == "vvv"
    assert json.loads(seen["content"]) == {"ok": True}


def test_headers_of_one_name_are_joined(rig):
    b = Bad(rig)
    b.server.routes["/two"] = answer(200, b"", "X-Two: 1", "Link: <a>", "x-two: 2", "Set-Cookie: a=1")
    rig.worker()
    seen = json.loads(rig.result(b.job("two", "/two", **{"as": "response"}))["output"], object_pairs_hook=list)
    headers = dict(seen)["headers"]
    assert ["X-Two", "1, 2"] in [list(h) for h in headers] and len(headers) == len({n.lower() for n, _ in headers})
    assert "cookie" not in str(seen).lower()


def test_trace_context_and_the_key_travel(rig):
    rig.use_peers()
    rig.link("acct")
    rig.worker()
    tp = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ids = rig.enqueue(rig.job("acct", "/echo", env={"tp": tp, "ts": "a=b"}, idem="my-key",
                              then=[rig.call("acct", "/echo", idem="none")]))
    got = rig.results(ids)[ids[0]]
    one, two = (json.loads(r["output"])["headers"] for r in got)
    assert one["traceparent"] == two["traceparent"] == tp and one["tracestate"] == "a=b"
    assert one["idempotency-key"] == "my-key" and "idempotency-key" not in two
    assert got[1]["tp"] == tp


@pytest.mark.parametrize("env,state", [({"ts": "???"}, None), ({"ts": "=b"}, None), ({"ts": "A=b"}, None), ({"ts": "a=b=c"}, None),
                                       ({"ts": "a=b,t@v/1=x y"}, "a=b,t@v/1=x y"), ({"ts": "a=b", "tp": "nonsense"}, None)])
def test_what_is_no_trace_state_is_dropped(rig, env, state):
    """And one without a parent to belong to (W3C Trace Context 3.3)."""
    rig.use_peers()
    rig.link("acct")
    rig.worker()
    tp = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    got = rig.result(rig.job("acct", "/echo", env={"tp": tp, **env}))
    assert json.loads(got["output"])["headers"].get("tracestate") == state


def test_retries_keep_the_key_and_end_in_a_dead_letter_that_can_be_replayed(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    w = rig.worker()
    call = {"retry": {"max": 2, "base_ms": 1, "cap_ms": 5}}
    ids = rig.enqueue(rig.job("acct", "/flaky?n=5&status=503&key=f", **call))
    got = last(rig, ids)[0]
    assert (got["state"], got["error"]["code"], got["status"], got["attempts"]) == ("dead", "retries_exhausted", 503, 3)
    assert [e["attempt"] for e in w.logged("job.retry", status=503, connection="acct")] == [1, 2], "a provider in trouble is news"
    name = f"{ids[0]}.0.0"
    assert rig.redis.client.zscore(rig.key("dead"), name)
    assert rig.ctl("dead", "show", name, "-o", "json").json()["attempts"] == 3
    rig.ctl("dead", "replay", name)
    wait_until(lambda: rig.redis.client.hget(rig.key(f"run:{ids[0]}"), "st") == b"done", 10, "the replayed job")
    log = api.log()
    assert [e["status"] for e in log] == [503] * 5 + [200]
    assert len({e["idem"] for e in log}) == 1, "attempts and replays are one call to the far side"


def test_ambiguous_dead_is_not_sent_again_after_a_crash(rig):
    """A worker dies with the call on the wire: nobody knows, so nobody repeats it."""
    _, api = rig.use_peers()
    rig.link("acct")
    first = rig.worker(lease="1s")
    ids = rig.enqueue(rig.job("acct", "/effect/once?delay=3000", ambiguous="dead"))
    wait_until(lambda: api.log(), 10, "the call")
    first.kill()
    rig.worker(lease="1s")
    got = last(rig, ids)[0]
    assert (got["state"], got["error"]["code"]) == ("dead", "unknown_outcome")
    assert len(api.log()) == 1


def test_a_run_can_be_cancelled_wherever_it_is(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    due = rig.enqueue(rig.job("acct", "/effect/due", env={"not_before": int(time.time() * 1000) + 60000}))
    worker = rig.worker(slots=1)
    wait_until(lambda: rig.redis.client.hget(rig.key(f"run:{due[0]}"), "st") == b"due", 10, "it to be set aside")
    flying = rig.enqueue(rig.job("acct", "/slow?ms=1500", method="GET", then=[rig.call("acct", "/effect/next")]))
    wait_until(lambda: api.log(), 10, "the slow call")
    job = rig.job("acct", "/effect/waiting")
    rig.ctl("job", "enqueue", "-f", "-", input=json.dumps(job))
    waiting = [job["id"]]
    rig.ctl("job", "cancel", due[0])
    rig.ctl("job", "cancel", waiting[0])
    rig.ctl("job", "cancel", flying[0])
    got = rig.results(due + waiting + flying)
    assert {r[-1]["state"] for r in got.values()} == {"cancelled"}
    assert not {"due", "waiting", "next"} & set(api.effects()) and worker.running


def test_a_deadline_between_attempts(rig):
    """An attempt was made and may have been acted on: who reads `expired` must not think that nothing was sent."""
    _, api = rig.use_peers()
    rig.link("acct")
    rig.worker()
    job = rig.job("acct", "/status/503", retry={"max": 5, "base_ms": 60000, "cap_ms": 60000},
                  env={"deadline": int(time.time() * 1000) + 2000})
    rig.enqueue(job)
    wait_until(api.log, 10, "the first attempt")
    got = rig.results([job["id"]])[job["id"]][-1]
    assert got["state"] == "expired" and " 1 was made, which may have been acted on" in got["error"]["detail"], got["error"]
