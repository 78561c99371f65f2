"""Sentinels say where the primary is: worker, awq-ctl and the C client go there, also after a failover."""
from procs import free_port, wait_until


def test_the_primary_dies(rig):
    """Work goes on with the replica, on the same settings; nobody is started again."""
    r = rig.use_failover()
    rig.link("acct")
    w = rig.worker(lease="2s")
    assert rig.result(rig.job("acct", "/effect/one"))["state"] == "done"
    r.copied()
    ids = rig.enqueue([rig.job("acct", f"/effect/n{i}") for i in range(20)])
    r.copied()
    r.primary.kill()
    r.taken_over()
    assert all(got[-1]["state"] == "done" for got in rig.results(ids).values())
    assert rig.result(rig.job("acct", "/effect/two"))["state"] == "done"
    at = [e["at"] for e in w.logged("redis.up", link="main")]
    assert at == [f"127.0.0.1:{r.primary.port}", f"127.0.0.1:{r.replica.port}"]
    rig.ctl("queue", "ls")


def test_a_sentinel_is_away(rig):
    """The others are asked; and the database is the url's."""
    r = rig.use_failover()
    r.sentinels[0].kill()
    rig.common["redis-url"] = r.url.replace("redis+sentinel://", f"redis+sentinel://127.0.0.1:{free_port()},") + "/0"
    rig.link("acct")
    rig.worker()
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"


def test_what_goes_wrong_is_one_line(rig):
    r = rig.use_failover()
    rig.need(keys=True)
    nobody = f"redis+sentinel://127.0.0.1:{free_port()}/mymaster"
    for url, code, says in [
            (nobody, 5, "no Sentinel says where primary mymaster is, 1 asked; the last: redis at 127.0.0.1"),
            (r.url.replace("mymaster", "theirs"), 5, "no Sentinel knows a primary theirs (3 of 3 answered)"),
            (r.url.replace("redis+", "rediss+"), 5, "no Sentinel says where primary mymaster is"),
            (f"redis://127.0.0.1:{r.sentinels[0].port}", 5, "is a Sentinel; to have it asked")]:
        done = rig.run_ctl("queue", "ls", env={"AWQ_REDIS_URL": url})
        assert (done.code, says in done.err) == (code, True), done.err
        assert len(done.err.strip().splitlines()) == 1
    r.primary.stop()
    w = rig.worker(ready=False, redis_url=r.url.replace("mymaster", "theirs"))
    w.exits_with(3, "redis.refused", link="main")


def test_a_password_of_their_own(rig):
    r = rig.use_failover()
    secret = rig.folder / "sentinel-password"
    secret.write_text("hush-hush")
    secret.chmod(0o600)
    for s in r.sentinels:
        s.client.execute_command("ACL", "SETUSER", "default", "resetpass", ">hush-hush")
    done = rig.run_ctl("queue", "ls")
    assert done.code == 5 and "NOAUTH" in done.err, done.err
    rig.common["redis-sentinel-password-file"] = secret
    rig.link("acct")
    w = rig.worker()
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"
    assert "hush-hush" not in "\n".join(w.lines())


def test_the_primary_changes_its_role_under_us(rig):
    """SENTINEL FAILOVER: the old primary lives on as a replica. Nobody goes on writing to it."""
    r = rig.use_failover()
    rig.link("acct")
    w = rig.worker(lease="2s")
    assert rig.result(rig.job("acct", "/effect/one"))["state"] == "done"
    r.copied()
    r.sentinels[1].client.execute_command("SENTINEL", "FAILOVER", "mymaster")
    r.taken_over()
    assert rig.result(rig.job("acct", "/effect/two"))["state"] == "done"
    assert w.logged("redis.up", link="main")[-1]["at"] == f"127.0.0.1:{r.replica.port}"
    wait_until(lambda: r.primary.client.role()[0] == b"slave", 20, "the old primary to follow")
