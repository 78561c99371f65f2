"""Fair turns between tenants: a bound, in jobs of others, on how long a tenant's job waits."""
import json

import msgpack

from procs import wait_until

SLOTS = 4
SHARE = 32   # worker/fair.h
AHEAD = 64   # jobs so near the front of a queue are left where they are
CALL_MS = 20


def jobs_of(rig, tenant, count, first=0, **more):
    return [rig.job("acct", f"/echo?delay={CALL_MS}", job_id=f"{tenant}-{n}", env={"tenant": tenant, **more})
            for n in range(first, first + count)]


def order(rig):
    """Runs in the order in which they ended."""
    return [r["run"] for r in rig.all_results()]


def others_before(rig, ids, since=0):
    """How many other jobs ended after the since-th result and before the last of these."""
    ended = order(rig)[since:]
    assert set(ids) <= set(ended)
    last = max(ended.index(i) for i in ids)
    return last + 1 - len(ids)


def start(rig, **settings):
    rig.link("acct")
    return rig.worker(slots=SLOTS, **settings)


def lane(rig):
    return rig.key("q:default~")


def test_ten_behind_thousands(rig):
    """All of them are put at once: ten jobs behind 3,000 of another tenant. Found within a second or so of work."""
    start(rig)
    rig.enqueue(jobs_of(rig, "big", 3000))
    few = rig.enqueue(jobs_of(rig, "small", 10))
    rig.results(few, 60)
    waited = others_before(rig, few)
    # 0.2 s until the queue counts as full, 0.5 until that is said again, as much for a busy machine
    most = AHEAD + 2 * SHARE + SLOTS + 2 * 1000 * SLOTS // CALL_MS
    assert waited <= most, f"{waited} jobs of the other tenant came first, {most} may"
    assert len(order(rig)) < 1500, "the 3,000 are still being worked on"


def test_the_bound_between_three(rig):
    """Two tenants with thousands each. Once turns are taken, a third one's ten wait for a share of each at most."""
    start(rig)
    rig.enqueue([job for n in range(0, 2000, 500) for t in ("big", "huge") for job in jobs_of(rig, t, 500, n)])
    rig.enqueue(jobs_of(rig, "huge", 500, 2000))
    wait_until(lambda: rig.redis.client.exists(lane(rig)) and rig.redis.client.xlen(lane(rig)), 30, "turns to be taken")
    settled = len(order(rig)) + 200
    wait_until(lambda: len(order(rig)) >= settled, 30, "the lane to be as full as it gets")
    done = len(order(rig))
    few = rig.enqueue(jobs_of(rig, "small", 10))
    rig.results(few, 60)
    waited = others_before(rig, few, done)
    # one tenant has the queue, the other a share of the lane; each lane job comes with one of the queue
    most = 2 * (SHARE + len(few)) + 2 * SLOTS + 2 * 100 * SLOTS // CALL_MS
    assert waited <= most, f"{waited} jobs of others came first, {most} may"


def test_each_queue_has_turns(rig):
    """Two queues with a backlog: neither's jobs have to wait until the other's is gone."""
    start(rig, queues="alpha,beta")
    for queue in ("alpha", "beta"):
        rig.enqueue(jobs_of(rig, f"big{queue}", 3000), queue=queue)
    few = [i for q in ("alpha", "beta") for i in rig.enqueue(jobs_of(rig, f"small{q}", 10), queue=q)]
    rig.results(few, 60)
    assert len(order(rig)) < 3000, "both are still being worked on"


def test_more_stretches_than_are_known(rig):
    """Among and behind 70,000 jobs of two tenants in turn: looked at when there is room, not passed over."""
    few = []
    both = jobs_of(rig, "a", 1)[0]
    pipe = rig.redis.client.pipeline(transaction=False)
    for n in range(70000):
        tenant = "ab"[n % 2] if n < 65000 or n % 25 else "small"
        few += [f"small-{n}"] if tenant == "small" else []
        pipe.xadd(rig.key("q:default"), {"j": msgpack.packb({**both, "id": f"{tenant}-{n}", "tenant": tenant})})
        if n % 5000 == 4999:
            pipe.execute()
    start(rig)
    wait_until(lambda: rig.redis.client.xlen(rig.key("q:default")) < 69000, 60, "some of it to be worked off")
    trimmed = rig.redis.client.xrange(rig.key("q:default"), count=10000)
    rig.redis.client.xdel(rig.key("q:default"), *[i for i, _ in trimmed[SLOTS * 2:]])
    rig.results(few, 90)
    assert len(order(rig)) < 20000


def test_one_tenant_needs_no_lane(rig):
    start(rig)
    ids = rig.enqueue(jobs_of(rig, "big", 400))
    rig.results(ids, 60)
    assert rig.redis.client.xlen(lane(rig)) == 0
    assert rig.redis.client.xinfo_stream(lane(rig))["last-generated-id"] == b"0-0", "nothing was ever in it"


def test_who_has_most_has_the_queue(rig):
    """Only jobs of the others are moved, each once."""
    w = start(rig)
    ids = rig.enqueue(jobs_of(rig, "big", 600) + jobs_of(rig, "small", 5) + jobs_of(rig, "big", 600, 600))
    rig.results(ids, 60)
    [said] = w.logged("house.turns")
    assert (said["queue"], said["most"], said["others"]) == ("default", "big", 5) and said["waiting"] > 100
    assert rig.redis.client.xinfo_stream(lane(rig))["entries-added"] == 5


def test_nothing_is_lost_when_workers_die(rig):
    """What lies in a lane, or was taken from it, is done by others; each step is committed once."""
    w = start(rig, lease="1s")
    ids = rig.enqueue(jobs_of(rig, "big", 600))
    ids += rig.enqueue(jobs_of(rig, "small", 60))
    wait_until(lambda: rig.redis.client.xlen(lane(rig)) > SLOTS, 30, "turns to be taken")
    wait_until(lambda: sum(c["pending"] for c in rig.redis.client.xinfo_consumers(lane(rig), "w")), 30,
               "some of them to be under way")
    w.kill()
    rig.worker(slots=32, lease="1s")
    got = rig.results(ids, 60)
    assert {len(r) for r in got.values()} == {1} and {r[0]["state"] for r in got.values()} == {"done"}
    assert rig.redis.client.xlen(lane(rig)) == 0
    rig.look()


def test_a_lane_is_emptied_by_who_comes_later(rig):
    """All workers have gone, and with them what they knew of lanes."""
    w = start(rig)
    ids = rig.enqueue(jobs_of(rig, "big", 600))
    ids += rig.enqueue(jobs_of(rig, "small", 60))
    wait_until(lambda: rig.redis.client.xlen(lane(rig)) > SLOTS, 30, "turns to be taken")
    w.term()
    assert w.wait() == 0
    left = rig.redis.client.xlen(lane(rig))
    said = rig.ctl("queue", "ls", "-o", "json").json()
    assert said[0]["ready"] == left + rig.redis.client.xlen(rig.key("q:default"))
    start(rig)
    rig.results(ids, 90)


def test_a_lane_is_emptied_without_hints(rig):
    """A worker that may not listen to channels finds what lies in a lane all the same, within half a minute."""
    w = start(rig)
    entry = rig.redis.client.xadd(lane(rig), {"j": msgpack.packb(jobs_of(rig, "small", 1)[0])})
    rig.results(["small-0"], 60)
    assert w.running and not rig.redis.client.xrange(lane(rig), entry, entry)


def test_when_a_job_was_queued_is_known_still(rig):
    w = start(rig)
    w.stop()  # or it has moved them before they are looked at
    rig.enqueue(jobs_of(rig, "big", 400))
    few = rig.enqueue(jobs_of(rig, "small", 5))
    put = {msgpack.unpackb(f[b"j"])["id"]: int(entry.split(b"-")[0])
           for entry, f in rig.redis.client.xrevrange(rig.key("q:default"), count=5)}
    w.cont()
    got = rig.results(few, 60)
    assert order(rig).index("small-4") < 380, "it was moved"
    assert {i: got[i][0]["times"]["queued"] for i in few} == put


def test_cancel_finds_a_job_in_a_lane(rig):
    w = start(rig)
    rig.enqueue(jobs_of(rig, "big", 600))
    rig.ctl("job", "enqueue", "-f", "-", input="\n".join(
        json.dumps(j) for j in jobs_of(rig, "small", 30)))
    wait_until(lambda: rig.redis.client.xlen(lane(rig)) > 2 * SLOTS, 30, "turns to be taken")
    w.stop()
    pending = {p["message_id"] for p in rig.redis.client.xpending_range(lane(rig), "w", "-", "+", 100)}
    last = [msgpack.unpackb(f[b"j"])["id"] for entry, f in rig.redis.client.xrange(lane(rig)) if entry not in pending][-1]
    rig.ctl("job", "cancel", last)
    assert rig.results([last])[last][-1]["state"] == "cancelled"
    w.cont()
