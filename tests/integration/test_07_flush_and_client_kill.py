"""Scripts are flushed and links are cut under load, again and again."""
from procs import wait_until


def test_script_flush_and_client_kill_under_load(rig):
    r = rig.use_redis()
    _, api = rig.use_peers()
    rig.link("acct")
    workers = rig.workers(2, slots=16)
    ids = rig.enqueue([rig.job("acct", f"/effect/a{i}?delay=10", job_id=f"a{i}",
                               then=[rig.call("acct", f"/effect/b{i}")]) for i in range(400)])
    mine = r.client.client_id()
    for share in range(50, 750, 70):
        wait_until(lambda: len(rig.all_results()) >= share, 30, f"{share} results")
        r.client.script_flush()
        for c in r.client.client_list():
            if int(c["id"]) != mine:
                r.client.client_kill_filter(_id=c["id"])
    rig.results(ids, 60)
    done = sorted((x["run"], x["step"]) for x in rig.all_results())
    assert done == sorted((i, step) for i in ids for step in (0, 1)), "each step committed once"
    assert set(api.effects().values()) == {1}, "a lost link is no reason to call again"
    assert not any(w.logged("worker.failed") for w in workers)
    rig.look()
