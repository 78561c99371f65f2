"""Where Redis has replicas, one must have a renewal's lease before the token request, and its token before use."""
from datetime import datetime

from between import script_sha
from procs import wait_until
from servers import Redis


def replica_of(rig, wait=True):
    r = Redis(rig.folder, "replica", options={"replicaof": f"127.0.0.1 {rig.redis.port}"})
    rig.things.append(r)
    r.start()
    wait_until(lambda: rig.redis.client.info("replication").get("slave0", {}).get("state") == "online",
               20, "the replica to follow")
    return r


def start(rig):
    rig.use_redis(tcp=True)
    auth, api = rig.use_peers()
    rig.link_refresh("acct")
    return auth, api


def version(rig):
    return int(rig.redis.client.hget(f"{rig.prefix}:{{c:acct}}", "ver") or 0)


def links(rig):
    return sorted(c["name"] for c in rig.redis.client.client_list())


def ms(event):
    return datetime.fromisoformat(event["ts"]).timestamp() * 1000


def test_no_replica_has_the_lease(rig):
    """No token request leaves; once one has it, exactly one does."""
    auth, _ = start(rig)
    replica = replica_of(rig)
    w = rig.worker(lease="2s")
    replica.stop()
    ids = rig.enqueue(rig.job("acct", "/echo"))
    failed = w.wait_log("token.failed", connection="acct")
    assert (failed["class"], failed["reason"]) == ("not_sent", "not_copied")
    assert auth.requests_of("acct") == 0
    replica.cont()
    assert rig.results(ids)[ids[0]][-1]["state"] == "done"
    assert auth.requests_of("acct") == 1
    assert "renew" in links(rig)


def test_no_replica_has_the_token(rig):
    """It is used all the same, but not before they had their time, and the alarm says so."""
    auth, api = start(rig)
    replica = replica_of(rig)
    between = rig.between()
    w = rig.worker(redis_url=between.url)
    between.hold(script_sha("store"))
    ids = rig.enqueue(rig.job("acct", "/echo"))
    between.wait_held()
    replica.stop()
    between.release()
    alarm = w.wait_log("token.not_copied", connection="acct", ver=1)
    rig.results(ids)
    assert api.log()[0]["t"] >= int(ms(alarm))
    assert w.metric("awq_token_not_copied_total") == 1
    assert auth.requests_of("acct") == 1


def test_many_wait_together(rig):
    """A replica that stands still costs each renewal two waits, not those of all before it."""
    auth, _ = start(rig)
    names = [f"c{i}" for i in range(30)]
    for name in names:
        rig.link_refresh(name)
    replica = replica_of(rig)
    w = rig.worker(renew_at_once=64)
    replica.stop()
    rig.enqueue([rig.job(name, "/echo") for name in names])
    for name in names:
        w.wait_log("token.failed", timeout=5, connection=name, reason="not_copied")
    assert auth.counters()["refresh"]["ok"] == 0


def test_the_setting_says_how_many(rig):
    auth, _ = start(rig)
    w = rig.worker(renew_replicas=1, queues="strict")
    ids = rig.enqueue(rig.job("acct", "/echo"), queue="strict")
    w.wait_log("token.failed", connection="acct", reason="not_copied")
    assert auth.requests_of("acct") == 0
    w.term()
    assert w.wait() == 0
    replica_of(rig).stop()
    rig.worker(renew_replicas=0, queues="strict")
    assert rig.results(ids)[ids[0]][-1]["state"] == "done"
    assert "renew" not in links(rig)


def test_replicas_come_and_go(rig):
    """One that came after the worker counts with the next renewal; one that is gone is not waited for."""
    _, _ = start(rig)
    w = rig.worker(lease="2s")
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"
    assert "renew" not in links(rig), "without replicas there is nothing to say there"
    replica = replica_of(rig)
    replica.stop()
    w.turn()
    rig.ctl("conn", "refresh", "acct", code=1)
    assert w.logged("token.failed", reason="not_copied")
    replica.kill()
    wait_until(lambda: rig.run_ctl("conn", "refresh", "acct").code == 0, 20, "a renewal without it")
    assert version(rig) == 2
