"""One job kills every worker that runs it: it alone becomes a dead letter."""
from procs import wait_until


def test_only_the_poison_becomes_a_dead_letter(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    alive = [rig.worker(lease="1s", slots=8) for _ in range(2)]
    poison = rig.job("acct", "/stall", job_id="poison", headers={"X-Job-Id": "poison"})
    good = [rig.job("acct", f"/effect/g{i}?delay=30", job_id=f"g{i}") for i in range(60)]
    ids = rig.enqueue(good[:30] + [poison] + good[30:])

    def calls():
        return len(api.log(job="poison"))

    deaths = 0
    while deaths < 10:
        wait_until(lambda: calls() > deaths or rig.places().get("poison") == ["dead"], 30,
                   lambda: f"death {deaths + 1} or the dead letter\n" + rig.places_text())
        if calls() == deaths:
            break
        holder = next(w for w in alive if w.logged("job.started", run="poison")
                      or holds(rig, w, "poison"))
        holder.kill()
        deaths += 1
        alive.remove(holder)
        alive.append(rig.worker(lease="1s", slots=8))
    assert deaths == 5
    results = rig.results(ids, 40)
    assert results["poison"][-1]["state"] == "dead"
    assert {results[i][-1]["state"] for i in ids if i != "poison"} == {"done"}, \
        "its neighbours are innocent"
    assert rig.places() == {"poison": ["dead"]}
    rig.look()


def holds(rig, worker, job_id):
    """Is the job among the entries pending for this worker?"""
    r = rig.redis.client
    me = worker.logged("worker.ready")[0]["worker"]
    for p in r.xpending_range(rig.key("q:default"), "w", "-", "+", 200, me):
        entry = r.xrange(rig.key("q:default"), p["message_id"], p["message_id"])
        if entry and job_id.encode() in entry[0][1][b"j"]:
            return True
    return False
