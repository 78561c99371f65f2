"""A worker dies between the answer and the commit: the call is repeated with the same key, the
commit and the next step happen once."""
import pytest

from between import script_sha
from procs import wait_until


def two_steps(rig):
    job = rig.job("acct", "/idempotent", body={"n": 1})
    job["then"] = [rig.call("acct", f"/effect/{job['id']}")]
    return job


def assert_committed_once(rig, api, job, calls):
    keys = api.idempotency()
    assert [(k["hits"], k["effects"], k["conflicts"]) for k in keys.values()] == [(calls, 1, 0)], \
        "every attempt carried the same Idempotency-Key and the same body"
    assert len({e["idem"] for e in api.log() if "effect" in e}) == 1, "one next step"
    assert [(r["step"], r["state"]) for r in rig.all_results()] == [(0, "done"), (1, "done")]
    wait_until(lambda: rig.places() == {}, 5, "nothing to be left on the queue")


def test_killed_before_the_commit_left(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    between = rig.between()
    first = rig.worker(redis_url=between.url, lease="2s")
    job = two_steps(rig)
    between.hold(script_sha("commit"))
    rig.enqueue(job)
    between.wait_held()
    assert len(api.idempotency()) == 1, "the answer is there"
    first.kill()
    between.cut()
    between.release()
    rig.worker(lease="2s")
    rig.results([job["id"]], 20)
    assert_committed_once(rig, api, job, calls=2)


@pytest.mark.parametrize("killed", [False, True], ids=["link lost", "killed"])
def test_committed_but_the_answer_is_lost(rig, killed):
    _, api = rig.use_peers()
    rig.link("acct")
    between = rig.between()
    first = rig.worker(redis_url=between.url, lease="2s")
    rig.results(rig.enqueue(rig.job("acct", "/echo", env={"out": "warm"})), out="warm")
    job = two_steps(rig)
    between.swallow(script_sha("commit"))
    rig.enqueue(job)
    wait_until(lambda: between.swallowed, 10, "the commit's answer to be lost")
    if killed:
        first.kill()
        rig.worker(lease="2s")
    rig.results([job["id"]], 20)
    assert_committed_once(rig, api, job, calls=1)
