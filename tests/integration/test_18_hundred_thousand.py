"""Many jobs of mixed outcomes: afterwards every id is accounted for exactly once."""
import os

import pytest

from procs import wait_until

KINDS = {  # path, further members of the call, what becomes of it
    0: ("/echo", {}, "done"),
    1: ("/effect/{id}", {}, "done"),
    2: ("/idempotent", {"body": {"a": 1}}, "done"),
    3: ("/status/404", {}, "failed"),
    4: ("/flaky?n=1&status=503&key={id}", {"retry": {"base_ms": 10, "cap_ms": 50}}, "done"),
    5: ("/../etc", {}, "dead"),
}


def mixed(rig, count):
    jobs, want = [], {}
    for i in range(count):
        path, more, state = KINDS[i % len(KINDS)]
        job_id = f"n{i}"
        job = rig.job("acct", path.format(id=job_id), job_id=job_id, **more)
        if i % 7 == 0 and state == "done":
            job["then"] = [rig.call("acct", "/echo")]
        jobs.append(job)
        want[job_id] = state
    return jobs, want


def run_all(rig, count, timeout):
    rig.use_redis()
    _, api = rig.use_peers(api={"CACHE_MS": 60000})
    rig.link("acct")
    workers = rig.workers(2, slots=64, results_max=10000000)
    jobs, want = mixed(rig, count)
    rig.enqueue(jobs)
    repeats = rig.enqueue(jobs[::50])  # a repeated id changes nothing
    assert repeats
    results = rig.results(want, timeout)
    assert {i: r[-1]["state"] for i, r in results.items()} == want
    wait_until(lambda: set(map(tuple, rig.places().values())) <= {("dead",)}, 20, rig.places_text)
    steps = sorted((x["run"], x["step"]) for x in rig.all_results())
    assert len(steps) == len(set(steps)), "each step has one result"
    dead = {i for i, at in rig.places().items() if at == ["dead"]}
    assert dead == {i for i, state in want.items() if state == "dead"}
    assert all(v == 1 for v in api.effects().values())
    assert all(w.running for w in workers)
    rig.look()


def test_two_thousand_of_mixed_outcomes(rig):
    run_all(rig, 2000, 60)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_hundred_thousand_of_mixed_outcomes(rig):
    run_all(rig, int(os.environ.get("AWQ_MANY", "100000")), 1200)
