"""The consumer group is deleted under load: it is made again from the start of the stream."""
import signal
import threading

from bad import Bad
from between import script_sha
from procs import wait_until
from rawserver import http


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


def test_entries_that_the_group_passed_by(rig):
    """Acknowledged but not deleted, or before the id that a hand set the group to: done all the same."""
    r = rig.use_redis()
    _, api = rig.use_peers()
    rig.link("acct")
    queue = rig.key("q:default")
    r.client.xgroup_create(queue, "w", "$", mkstream=True)
    ids = rig.enqueue([rig.job("acct", f"/idempotent?i={i}", job_id=f"s{i}", body={"i": i}) for i in range(4)])
    first = r.client.xrange(queue)[0][0]
    r.client.xreadgroup("w", "somebody", {queue: ">"}, count=1)
    r.client.xack(queue, "w", first)
    r.client.execute_command("XGROUP", "SETID", queue, "w", "$")  # the other three
    (w,) = rig.workers(1, lease="1s")
    results = rig.results(ids, 60)
    assert {x[-1]["state"] for x in results.values()} == {"done"}
    assert len(rig.all_results()) == 4 == len(api.idempotency()), "each once"
    assert [e["jobs"] for e in w.logged("house.skipped")] == [4]
    wait_until(lambda: rig.places() == {}, 5, "an empty queue")
    rig.look()


def test_many_entries_that_the_group_passed_by(rig):
    """More than one look takes: the next comes at once, not half a minute later."""
    r = rig.use_redis()
    rig.use_peers()
    rig.link("acct")
    queue = rig.key("q:default")
    r.client.xgroup_create(queue, "w", "$", mkstream=True)
    ids = rig.enqueue([rig.job("acct", f"/echo?i={i}") for i in range(300)])
    r.client.execute_command("XGROUP", "SETID", queue, "w", "$")
    (w,) = rig.workers(1, lease="1s")
    assert {x[-1]["state"] for x in rig.results(ids, 25).values()} == {"done"}
    assert sum(e["jobs"] for e in w.logged("house.skipped")) >= 300


def test_a_delivery_while_the_step_before_is_being_lost(rig):
    """The entry comes again while the word that it is lost is still on its way: it is not taken for one in work for ever."""
    b, between, queue = Bad(rig), rig.between(), rig.key("q:default")
    r = rig.redis.client
    go = threading.Event()
    b.server.routes["/slow"] = lambda link: go.wait(30) and link.send(http(200, b"{}"))
    w = rig.worker(redis_url=between.url)
    assert rig.result(b.job("warm"))["state"] == "done"  # the scripts are known
    [job] = rig.enqueue(b.job("late", "/slow"))
    wait_until(lambda: b.server.count("/slow") == 1, 10, "its call")
    w.send(signal.SIGTSTP)
    w.wait_log("worker.paused", 10)
    [entry] = [e for e, _ in r.xrange(queue)]
    r.xclaim(queue, "w", "somebody", 0, [entry])
    between.hold_answer(script_sha("commit"))
    with r.monitor() as seen:
        go.set()
        said = (c["command"] for c in seen.listen())
        next(c for c in said if c.startswith("XPENDING") and entry.decode() in c)  # the commit, which is refused
    with r.pipeline(transaction=True) as t:
        t.xgroup_destroy(queue, "w")
        t.xgroup_create(queue, "w", "0")
        t.execute()
    w.send(signal.SIGCONT)
    wait_until(lambda: r.xpending(queue, "w")["pending"] == 1, 10, "it to be delivered again")
    between.release()
    assert rig.results([job], 20)[job][-1]["state"] == "done" and b.server.count("/slow") == 2
