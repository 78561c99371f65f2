"""Redis goes away exactly when the answers come: they are committed later, not called again."""
import time

from procs import wait_until

AWAY_S = 10


def jobs_on_the_wire(rig, api, count):
    ids = rig.enqueue([rig.job("acct", f"/effect/e{i}?delay=1000", job_id=f"e{i}")
                       for i in range(count)])
    wait_until(lambda: len(api.log()) >= count, 10, "all calls to be on the wire")
    return ids


def records_in(path):
    """How many whole records: each has its length in four bytes, then eight more, then its text."""
    data, count = path.read_bytes(), 0
    while len(data) >= 12 and len(data) >= 12 + (n := int.from_bytes(data[:4], "big")):
        data, count = data[12 + n:], count + 1
    return count


def test_recommit_without_a_second_call(rig):
    r = rig.use_redis(aof="always")
    _, api = rig.use_peers()
    rig.link("acct")
    workers = rig.workers(2, slots=32)
    ids = jobs_on_the_wire(rig, api, 40)
    r.kill()
    time.sleep(AWAY_S)  # the outage itself, longer than the lease: time is what is tested
    r.start()
    results = rig.results(ids, 30)
    assert {x[-1]["state"] for x in results.values()} == {"done"}
    assert api.effects() == {i: 1 for i in ids}, "no second call"
    assert not any(w.logged("house.reclaimed") for w in workers), "nobody was called gone"
    assert len(rig.all_results()) == 40
    rig.look()


def test_the_worker_is_killed_meanwhile_and_has_a_journal(rig):
    r = rig.use_redis(aof="always")
    _, api = rig.use_peers()
    rig.link("acct")
    journal = rig.folder / "journal"
    journal.mkdir(0o700)
    first = rig.worker(slots=32, journal=journal)
    ids = jobs_on_the_wire(rig, api, 20)
    r.kill()
    wait_until(lambda: len(api.effects()) == 20 and all(e.get("ms") for e in api.log()), 10,
               "the answers to be there")
    wait_until(lambda: records_in(journal / f"{first.id}.journal") == 20, 10, "all to be written")
    first.kill()
    r.start()
    other = rig.worker(slots=32)
    again = rig.worker(slots=32, journal=journal)
    again.wait_log("journal.replayed", 20)
    results = rig.results(ids, 30)
    assert {x[-1]["state"] for x in results.values()} == {"done"}
    assert api.effects() == {i: 1 for i in ids}, "no second call"
    assert len(rig.all_results()) == 20
    assert other.running
    rig.look()
