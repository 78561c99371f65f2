"""Redis forgets a renewal (a crash, a failover to a replica that had not copied it): it is put back."""
from procs import wait_until


def record(rig):
    return rig.redis.client.hgetall(f"{rig.prefix}:{{c:acct}}")


def version(rig):
    return int(record(rig).get(b"ver") or 0)


def do(rig, name):
    assert rig.result(rig.job("acct", f"/effect/{name}", job_id=name))["state"] == "done"


def forget(rig, during):
    """What `during` does is what Redis forgets."""
    rig.redis.client.save()
    snapshot = (rig.redis.dir / "dump.rdb").read_bytes()
    during()
    rig.redis.kill()
    (rig.redis.dir / "dump.rdb").write_bytes(snapshot)
    rig.redis.start()


def renew(rig):
    """A renewal that rotates the refresh token."""
    before = version(rig)
    rig.ctl("conn", "refresh", "acct")
    wait_until(lambda: version(rig) == before + 1, 20, "a renewal")


def start(rig, **more):
    rig.use_redis()
    auth, _ = rig.use_peers()
    rig.link_refresh("acct", **more)
    return auth, rig.worker(lease="2s", renew_lease="4s", renew_timeout="1s", renew_grace="500ms")


def test_what_redis_forgot_is_put_back(rig):
    """The worker that stored it puts it back before anybody renews; the used-up refresh token is not sent."""
    auth, w = start(rig)
    do(rig, "one")
    assert version(rig) == 1
    forget(rig, lambda: renew(rig))
    wait_until(lambda: version(rig) == 2, 20, "version 2 to be there again")
    assert w.logged("token.restored", connection="acct", ver=2)
    do(rig, "two")
    renew(rig)
    assert version(rig) == 3, "its refresh token is the newest one"
    do(rig, "three")
    assert auth.counters()["refresh"]["reuse_detected"] == 0
    w.sane()


def test_an_old_backup_and_new_workers(rig):
    """What deploy/README says of a restore: nobody has the newest token any more, and the audit streams look cut."""
    auth, w = start(rig)
    do(rig, "one")

    def all_end():
        renew(rig)
        w.term()
        assert w.wait() == 0
    forget(rig, all_end)
    rig.worker(lease="2s", renew_lease="4s", renew_timeout="1s", renew_grace="500ms")
    rig.run_ctl("conn", "refresh", "acct", "--timeout", "1s")
    wait_until(lambda: record(rig).get(b"state") == b"NEEDS_CONSENT", 20, "the used-up refresh token to be refused")
    assert record(rig)[b"why"] == b"invalid_grant"
    assert "its newest were taken off" in rig.ctl("audit", "verify", w.log_path, code=1).out
    rig.ctl("audit", "verify")


def test_it_is_sealed_for_the_settings_of_now(rig):
    """They were changed before it is put back: it is sealed anew, for them."""
    auth, w = start(rig)
    do(rig, "one")
    w.stop()  # nobody puts it back meanwhile

    def changed():
        w.cont()
        renew(rig)
        w.stop()
    forget(rig, changed)
    rig.apply(rig.conn("acct", "refresh_token", "basic", "basic", limits={"concurrency": 3}))
    assert version(rig) == 1
    w.cont()
    wait_until(lambda: version(rig) == 2, 20, "version 2 to be there again")
    do(rig, "two")
    renew(rig)
    assert auth.counters()["refresh"]["reuse_detected"] == 0


def test_nobody_has_it(rig):
    """Who stored it is dead. Those who knew of it wait for it, and say so; then they go by what there is."""
    auth, first = start(rig, replay="once")
    second = rig.worker(lease="2s", renew_lease="4s", renew_timeout="1s", renew_grace="500ms")
    for i in range(20):
        do(rig, f"one-{i}")

    def lost():
        renew(rig)
        for i in range(20):  # both have used version 2
            do(rig, f"two-{i}")
        holder = first if first.logged("token.renewed", ver=2) else second
        holder.kill()
    forget(rig, lost)
    alive = first if first.running else second
    do(rig, "three")  # the token that it knows is good
    assert alive.logged("token.forgotten", connection="acct", ver=2)
    alive.sane()
