"""A worker that was stopped past its lease has lost its steps, and notices."""
from procs import wait_until


def test_late_commits_are_lost_and_change_nothing(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    late = rig.worker(lease="2s", slots=8)
    jobs = [rig.job("acct", f"/effect/late{i}?delay=300", job_id=f"late{i}",
                    then=[rig.call("acct", f"/effect/next{i}")]) for i in range(5)]
    ids = rig.enqueue(jobs)
    wait_until(lambda: len(api.effects()) >= 0 and len(api.log()) >= 5, 10, "five calls on the wire")
    late.stop()
    other = rig.worker(lease="2s")
    rig.results(ids, 20)
    before = rig.all_results()
    assert {r["worker"] for r in before if r["step"] == 0} == {other.id}

    late.cont()
    late.wait_log("job.lost", 10, count=5)
    assert rig.all_results() == before, "the late commits wrote nothing"
    assert all(api.effects()[f"next{i}"] == 1 for i in range(5)), "one next step each"
    keys = {}
    for call in api.log():
        keys.setdefault(call["path"], set()).add(call["idem"])
    assert all(len(k) == 1 for k in keys.values()), "repeats carried the same Idempotency-Key"

    # and it is a good worker again
    other.stop()
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(3)])
    assert {r[-1]["worker"] for r in rig.results(ids, 20).values()} == {late.id}
