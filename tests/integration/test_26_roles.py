"""--role: step workers never touch a refresh token, renewers do nothing else, and both together work."""
from procs import wait_until


def without_grant(rig):
    """A key file as step workers get it: no grant key in it."""
    rig.need(keys=True)
    path = rig.folder / "step-keys"
    path.touch(0o600)
    path.write_text("".join(line + "\n" for line in rig.keys.read_text().splitlines()
                            if not line.startswith("grant")))
    return path


def test_both_kinds_together(rig):
    auth, api = rig.use_peers(auth={"AT_TTL": 3})
    rig.link_refresh("acct")
    steps = [rig.worker(role="step", keys=without_grant(rig)) for _ in range(2)]
    renewer = rig.worker(role="renew")
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(200)])
    results = rig.results(ids, 20)
    assert {r[-1]["state"] for r in results.values()} == {"done"}
    assert auth.requests_of("acct") == 1, "one renewal for all that asked"
    assert {r[-1]["worker"] for r in results.values()} <= {w.id for w in steps}
    # Until well after its end: the next token is asked for while this one is still good.
    wait_until(lambda: rig.result(rig.job("acct", "/echo"))["state"] == "done"
               and auth.requests_of("acct") >= 3, 15, "two more renewals", every=0.1)
    assert renewer.logged("token.renewed") and not renewer.logged("job.started")
    assert not any(w.logged("token.renewing") for w in steps)
    assert auth.counters()["refresh"]["reuse_detected"] == 0


def test_a_step_worker_never_renews_also_with_the_key(rig):
    auth, api = rig.use_peers()
    rig.link_refresh("acct")
    auth.reset()
    step = rig.worker(role="step")
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(20)])
    wait_until(lambda: rig.redis.client.zcard(rig.key("park:conn:acct")) == 20, 10, rig.places_text)
    assert rig.redis.client.zscore("awq:conns", "acct") < 0, "asked for"
    assert auth.requests_of("acct") == 0 and not step.logged("token.renewing")
    rig.worker(role="renew")  # comes late, and finds what was asked
    rig.results(ids, 20)
    assert auth.requests_of("acct") == 1


def test_what_was_renewed_since_is_not_asked_for_again(rig):
    """Thousands of jobs meet the same end of a token: one ask now and then, one renewal."""
    auth, api = rig.use_peers()
    r = rig.use_redis().client
    rig.link_refresh("acct")
    auth.reset()
    steps = [rig.worker(role="step") for _ in range(3)]
    rig.redis.note_commands()
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(300)])
    wait_until(lambda: r.zcard(rig.key("park:conn:acct")) == 300, 10, rig.places_text)
    asks = [c for c in rig.redis.noted() if c.startswith(b"ZADD awq:conns")]
    assert 1 <= len(asks) <= 12, "not one for each job"
    rig.workers(2, role="renew")
    rig.results(ids, 20)
    assert auth.requests_of("acct") == 1 and steps


def test_a_renewer_takes_no_jobs(rig):
    rig.link("acct")
    w = rig.worker(role="renew", lease="1s")
    rig.enqueue([rig.job("acct", "/echo")])
    beats = w.metric("awq_redis_roundtrips_total")
    wait_until(lambda: w.metric("awq_redis_roundtrips_total") > beats + 5, 15, "some beats", every=0.1)
    assert rig.pending() == 0 and list(rig.places().values()) == [["q:default"]]
    assert w.get("/livez")[0] == 200 and w.get("/readyz")[0] == 200
    row = rig.ctl("worker", "ls", "-o", "json").json()[0]
    assert (row["role"], row["queues"]) == ("renew", "")


def test_a_renewer_needs_a_grant_key(rig):
    rig.need()
    w = rig.worker(ready=False, role="renew", keys=without_grant(rig))
    w.may_fail = True
    assert w.wait(10) == 2
    assert "needs" in w.stderr() and "grant key" in w.stderr()


def test_doctor_misses_a_renewer(rig):
    rig.link("acct")
    rig.worker(role="step")

    def found():
        got = {c["check"]: c for c in rig.run_ctl("doctor", "-o", "json").json()}
        return got["renewers"]
    assert found()["result"] == "bad" and "0 of 1" in found()["found"]
    rig.worker(role="renew")
    wait_until(lambda: found()["result"] == "ok", 10, "a beat")


def test_a_lost_grant_key_is_said(rig):
    """The default role without a grant key works as a step worker does, and says so; a step worker does not."""
    rig.need(keys=True)
    keys = without_grant(rig)
    assert rig.worker(keys=keys).wait_log("config.bad")["error"].count("has no grant key: this worker renews no token") == 1
    assert rig.worker(keys=keys, role="step").logged("config.bad") == []
