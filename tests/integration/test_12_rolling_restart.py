"""Every worker is replaced under load: nothing is counted, nothing waits for a lease."""
from between import script_sha
from procs import wait_until


def test_term_each_worker_in_turn(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    lease_ms = 30000
    workers = rig.workers(3, slots=8, lease="30s")
    ids = rig.enqueue([rig.job("acct", f"/effect/r{i}?delay=50", job_id=f"r{i}") for i in range(600)])
    for n, old in enumerate(workers):
        wait_until(lambda: len(rig.all_results()) >= 100 * (n + 1), 30, "some results")
        new = rig.worker(slots=8, lease="30s")
        old.term()
        assert old.wait(10) == 0, old.tail()
        assert rig.pending(consumer=old.logged("worker.ready")[0]["worker"]) == 0
        assert new.running
    results = rig.results(ids, 40)
    last = [x[-1] for x in results.values()]
    assert {r["state"] for r in last} == {"done"}
    assert {r["attempts"] for r in last} == {1}, "no attempt was counted"
    assert api.effects() == {i: 1 for i in ids}, "no call was made twice"
    slowest = max(r["times"]["committed"] - r["times"]["queued"] for r in last)
    assert slowest < lease_ms, "no job waited for a lease"


def test_a_stop_with_calls_on_the_wire_finishes_them(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    w = rig.worker(slots=4)
    ids = rig.enqueue([rig.job("acct", f"/effect/w{i}?delay=700", job_id=f"w{i}") for i in range(10)])
    wait_until(lambda: len(api.log()) >= 4, 10, "four calls on the wire")
    w.term()
    assert w.wait(10) == 0
    done = rig.all_results()
    assert len(done) == 4 and {r["state"] for r in done} == {"done"}
    assert len(rig.places()) == 6, "the others are on the queue"
    assert rig.pending() == 0
    rig.worker(slots=8)
    rig.results(ids, 20)
    assert set(api.effects().values()) == {1}


def test_what_was_not_sent_when_the_stop_came_is_given_back(rig):
    """TERM comes while a step has its token and waits for the lane to admit it."""
    _, api = rig.use_peers()
    rig.link("acct", limits={"concurrency": 8})
    between = rig.between()
    old = rig.worker(redis_url=between.url)
    rig.results(rig.enqueue(rig.job("acct", "/echo", env={"out": "warm"})), out="warm")
    api.reset()
    between.hold(script_sha("admit"))
    ids = rig.enqueue([rig.job("acct", f"/effect/n{i}") for i in range(3)])
    between.wait_held()
    old.term()
    old.wait_log("worker.drain")
    between.release()
    assert old.wait(10) == 0, old.tail()
    assert api.log() == [], "nothing was called after the stop"
    assert rig.places() == {i: ["q:default"] for i in ids} and rig.pending() == 0
    rig.worker()
    assert {x[-1]["attempts"] for x in rig.results(ids, 20).values()} == {1}, "none was counted"


def test_second_term_stops_now(rig):
    _, api = rig.use_peers()
    rig.link("acct")
    w = rig.worker(slots=2, drain="60s")
    rig.enqueue([rig.job("acct", "/slow?ms=20000") for _ in range(2)])
    wait_until(lambda: len(api.log()) >= 2, 10, "two calls on the wire")
    w.term()
    w.wait_log("worker.drain", 5)
    assert w.running
    w.term()
    w.exits_with(1, "worker.stop", left=2)
    assert rig.pending() == 2, "what it left is reclaimed by others"
