"""Redis is restarted under load, politely and not."""
import pytest

from procs import wait_until


@pytest.mark.parametrize("hard", [False, True], ids=["SHUTDOWN", "kill -9"])
def test_restart_under_load_loses_and_doubles_nothing(rig, hard):
    r = rig.use_redis(aof="always")
    _, api = rig.use_peers()
    rig.link("acct")
    rig.workers(2, slots=16)
    jobs = [rig.job("acct", f"/effect/a{i}?delay=20", job_id=f"a{i}",
                    then=[rig.call("acct", f"/effect/b{i}?delay=20")]) for i in range(300)]
    ids = rig.enqueue(jobs)
    for share in (100, 300):
        wait_until(lambda: len(rig.all_results()) >= share, 20, f"{share} results")
        r.restart(hard=hard)
    rig.results(ids, 60)
    done = sorted((x["run"], x["step"]) for x in rig.all_results())
    assert done == sorted((i, step) for i in ids for step in (0, 1)), "each step committed once"
    assert {x["state"] for x in rig.all_results()} == {"done"}
    assert len(api.effects()) == 600
    wait_until(lambda: rig.places() == {}, 5, "an empty queue")
    rig.look()
