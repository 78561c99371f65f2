"""401 on a token that looks good: at most one renewal, one replay, and no storm."""
import time

from procs import wait_until


def test_old_enough_token_is_renewed_and_the_call_replayed(rig):
    auth, api = rig.use_peers(auth={"AT_TTL": 20})
    rig.link_refresh("acct")
    rig.workers(2)
    rig.results(rig.enqueue(rig.job("acct", "/echo")))
    assert auth.requests_of("acct") == 1
    renewed = time.monotonic()
    wait_until(lambda: time.monotonic() - renewed > 10.5, 12, "half the token's life", every=0.2)
    assert auth.expire(account="acct") > 0  # it dies at the provider, five seconds early
    # The renewal takes its time: who was refused must wait for it, not be woken by the dead token.
    auth.faults({"grant": "refresh_token", "delay_ms": 1500, "count": -1})
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(50)])
    results = rig.results(ids)
    assert max(x[-1]["attempts"] for x in results.values()) <= 3
    assert {x[-1]["state"] for x in results.values()} == {"done"}
    assert auth.requests_of("acct") == 2, "one renewal for fifty refused calls"
    assert auth.counters()["refresh"]["reuse_detected"] == 0
    refused = [e for e in api.log() if e.get("status") == 401]
    # A job that was parked meanwhile may meet the old token once more in another worker's cache.
    assert 1 <= len(refused) <= 75
    assert len(api.log()) == 1 + 50 + len(refused), "one replay for each refusal"


def test_a_fresh_token_that_is_refused_is_not_renewed_per_step(rig):
    auth, api = rig.use_peers()
    rig.link_refresh("acct")
    rig.workers(2)
    ids = rig.enqueue([rig.job("acct", "/refuse?n=-1", retry={"max": 0}) for _ in range(20)])
    results = rig.results(ids, 30)
    assert {(x[-1]["state"], x[-1]["status"]) for x in results.values()} <= \
        {("failed", 401), ("dead", 401)}
    assert auth.requests_of("acct") == 1, "only the first, which everybody needed"
    assert len(api.log()) <= 40


def test_people_are_told_why_nothing_is_called(rig):
    """Each command says that the grant may be dead, while `state` still is FRESH."""
    rig.use_peers()
    rig.link_refresh("acct")
    rig.workers(1)
    rig.enqueue([rig.job("acct", "/refuse?n=-1", retry={"max": 0}) for _ in range(8)])
    wait_until(lambda: rig.redis.client.hget("awq:{c:acct}", "cw") == b"401", 10, "the lane to be shut")
    tested = rig.ctl("conn", "test", "acct", code=1).out
    assert "refuses fresh access tokens (401)" in tested and "conn refresh" in tested
    assert "held: the API answered 401" in rig.ctl("conn", "ls").out
    assert rig.ctl("conn", "show", "acct", "-o", "json").json()["held_back_by_status"] == "401"
    assert "1 have fresh tokens refused: acct" in rig.run_ctl("doctor").out


def test_a_job_waits_until_a_fresh_token_that_is_refused_may_be_renewed(rig):
    """Else its attempts are used up before anybody knows that the grant is gone, and all looks well afterwards."""
    auth, _ = rig.use_peers(auth={"AT_TTL": 20})
    rig.link_refresh("acct")
    rig.worker()
    rig.results(rig.enqueue(rig.job("acct", "/echo")))
    auth.revoke(account="acct")
    (job_id,) = rig.enqueue(rig.job("acct", "/echo", retry={"max": 2, "base_ms": 1, "cap_ms": 1}))
    shown = lambda: rig.ctl("conn", "show", "acct", "-o", "json").json()
    wait_until(lambda: shown()["state"] == "NEEDS_CONSENT", 30, "the renewal that finds out")
    wait_until(lambda: rig.places() == {job_id: ["park:conn:acct"]}, 10, "the job to wait for its owner")
    rig.apply(rig.conn("acct", "refresh_token", "basic", "basic"), refresh_token=auth.mint("acct", "basic")["refresh_token"])
    assert rig.results([job_id])[job_id][-1]["state"] == "done"


def test_jobs_outlive_a_grant_that_dies_while_its_token_looks_fresh(rig):
    """The provider revoked it: the API refuses a token that is seconds old. Nothing fails meanwhile; after a new link all is done."""
    auth, api = rig.use_peers(auth={"AT_TTL": 20})
    rig.link_refresh("acct")
    rig.workers(2)
    rig.results(rig.enqueue(rig.job("acct", "/echo")))
    auth.revoke(account="acct")
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(60)])
    wait_until(lambda: rig.redis.client.hget("awq:{c:acct}", "cw") == b"401", 10, "the lane to be shut")
    rig.apply(rig.conn("acct", "refresh_token", "basic", "basic"), refresh_token=auth.mint("acct", "basic")["refresh_token"])
    got = rig.results(ids, 60)
    assert {x[-1]["state"] for x in got.values()} == {"done"}
