"""An XADD inside a commit fails: the job is still in exactly one place, and finishes later."""
from procs import wait_until


def test_result_stream_of_a_wrong_type(rig):
    r = rig.use_redis()
    _, api = rig.use_peers()
    rig.link("acct")
    w = rig.worker()
    r.client.set(rig.key("out:odd"), "not a stream")
    job = rig.job("acct", "/effect/w17", env={"out": "odd"})
    ids = rig.enqueue(job)
    wait_until(lambda: api.effects().get("w17"), 10, "the call")

    def place():
        at = rig.look().where
        assert [len(p) for p in at.values()] == [1], "exactly one place at every moment"
        return at[f"{ids[0]}.0.0"]

    # No retry can mend a key of a wrong type: it waits for a person, with its answer unlost.
    wait_until(lambda: place() == ["dead"], 10, rig.places_text)
    assert r.client.get(rig.key("out:odd")) == b"not a stream"
    assert api.effects() == {"w17": 1}, "it is not called again meanwhile"
    w.wait_log("job.buried", code="commit_failed")
    good = rig.job("acct", "/echo")
    assert rig.result(good)["state"] == "done", "the worker goes on"


def test_redis_out_of_memory(rig):
    r = rig.use_redis()
    _, api = rig.use_peers()
    rig.link("acct")
    w = rig.worker(slots=16)
    ids = rig.enqueue([rig.job("acct", f"/effect/m{i}?delay=50", job_id=f"m{i}",
                               then=[rig.call("acct", f"/effect/n{i}")]) for i in range(100)])
    wait_until(lambda: len(rig.all_results()) >= 20, 20, "some results")
    r.client.config_set("maxmemory", 1)
    # Commits take away before they add, so Redis goes on doing them; but it refuses the beats, and
    # who hears that fetches no more.
    wait_until(lambda: len(rig.all_results()) == 200 or
               w.metric("awq_redis_errors_total", code="OOM") >= 3, 30, "it to come to rest")
    r.client.config_set("maxmemory", 0)
    for _ in range(20):
        rig.look()
    results = rig.results(ids, 40)
    assert {x[-1]["state"] for x in results.values()} == {"done"}
    done = sorted((x["run"], x["step"]) for x in rig.all_results())
    assert done == sorted((i, s) for i in ids for s in (0, 1))
    assert len(api.log()) == 200, "no call was made twice"
    assert w.running
