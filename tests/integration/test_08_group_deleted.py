"""The consumer group is deleted under load: it is made again from the start of the stream."""
from procs import wait_until


def test_group_deleted_under_load(rig):
    r = rig.use_redis()
    _, api = rig.use_peers()
    rig.link("acct")
    workers = rig.workers(2, slots=16)
    ids = rig.enqueue([rig.job("acct", f"/idempotent?delay=10&i={i}", job_id=f"g{i}", body={"i": i})
                       for i in range(300)])
    for share in (40, 120, 200):
        wait_until(lambda: len(rig.all_results()) >= share, 30, f"{share} results")
        r.client.xgroup_destroy(rig.key("q:default"), "w")
    results = rig.results(ids, 60)
    assert {x[-1]["state"] for x in results.values()} == {"done"}
    assert len(rig.all_results()) == 300, "each step committed once"
    keys = api.idempotency()
    assert len(keys) == 300 and all(k["conflicts"] == 0 for k in keys.values())
    assert sum(len(w.logged("house.group_recreated")) for w in workers) >= 1
    wait_until(lambda: rig.places() == {}, 5, "an empty queue")
    rig.look()
