"""Workers are killed at random while tokens are renewed: no renewal without a reason. Without the replay
(token.replay: never), so that each token request is a version or a death; with it: test_22."""
import random
import time

KILLS = 20


def ver_of(rig):
    state, ver = rig.redis.client.hmget("awq:{c:acct}", "state", "ver")
    return state, int(ver or 0)


def link_again_if_needed(rig):
    """After a death inside a token call nobody knows whether the refresh token was used: its owner
    is asked. Answers the versions that the old link had."""
    state, ver = ver_of(rig)
    if state != b"NEEDS_CONSENT":
        return 0
    rig.link_refresh("acct", replay="never")
    return ver


def test_every_token_request_is_a_version_or_a_death(rig):
    rig.use_redis()
    auth, api = rig.use_peers(auth={"AT_TTL": 2})
    rig.link_refresh("acct", replay="never")
    auth.reset()
    auth.faults({"grant": "refresh_token", "delay_ms": 100, "hold_ms": 100, "count": -1})
    fast = dict(lease="1s", renew_timeout="1s", renew_lease="2s", renew_grace="500ms", slots=8)
    alive = rig.workers(3, **fast)
    dice = random.Random(2)
    kills, ids, versions = [], [], 0
    for n in range(KILLS):
        ids += rig.enqueue([rig.job("acct", f"/effect/k{n}-{i}", job_id=f"k{n}-{i}")
                            for i in range(30)])
        time.sleep(dice.uniform(0.1, 0.9))  # any moment will do: that is the test
        victim = alive.pop(dice.randrange(len(alive)))
        kills.append(time.time() * 1000)
        victim.kill()
        alive.append(rig.worker(**fast))
        versions += link_again_if_needed(rig)

    deadline = time.monotonic() + 60
    want = set(ids)
    while want - {r["run"] for r in rig.all_results() if r.get("end")}:
        assert time.monotonic() < deadline, rig.places_text()
        versions += link_again_if_needed(rig)
        time.sleep(0.2)
    versions += ver_of(rig)[1]

    log = auth.log(grant="refresh_token")
    inside = [k for k in kills if any(e["t"] - 50 <= k <= e["t"] + e["ms"] + 50 for e in log)]
    # A renewal that took longer than its second (a busy machine) is as unknown as a death.
    slow = sum(len(w.logged("token.failed", reason="no_answer")) for w in rig.things[1:])
    assert len(log) <= versions + len(inside) + slow, f"{len(log)} token requests, {versions} " \
        f"versions, {len(inside)} of {KILLS} deaths inside a token call, {slow} without an answer"
    assert auth.counters()["refresh"]["reuse_detected"] == 0, "a used token is never sent again"
    assert auth.counters()["refresh"]["max_in_flight_same_token"] == 1
    done = [(r["run"], r["step"]) for r in rig.all_results()]
    assert len(done) == len(set(done)) == len(ids), "each step committed once"
    assert [r for r in rig.all_results() if r["state"] != "done"] == []
    rig.look()
