"""Redis is away when the token server answers: the answer is kept until it is stored, not asked again."""
from procs import wait_until
from test_06_redis_away_at_commit import records_in

LIFETIME_S = 600
HOLD_MS = 800


def answered_while_away(rig, **settings):
    """A refresh token was rotated by the server, and Redis went away before that could be stored."""
    r = rig.use_redis(aof="always")
    auth, _ = rig.use_peers(auth={"AT_TTL": LIFETIME_S})
    rig.link_refresh("acct")
    auth.reset()
    auth.faults({"grant": "refresh_token", "hold_ms": HOLD_MS, "count": -1})
    w = rig.worker(renew_lease="60s", **settings)
    rig.enqueue([rig.job("acct", "/effect/one", job_id="one")])
    wait_until(lambda: auth.counters()["refresh"]["arrived"] == 1, 10, "the token request")
    r.kill()
    w.wait_log("token.late", 10)
    return r, auth, w


def version_and_end(rig):
    ver, exp = rig.redis.client.hmget(f"{rig.prefix}:{{c:acct}}", "ver", "exp")
    return int(ver or 0), int(exp or 0)


def is_whole(rig, auth, asked=1):
    assert rig.results(["one"], 30)["one"][-1]["state"] == "done"
    assert len(auth.log(grant="refresh_token")) == asked
    assert auth.counters()["refresh"]["reuse_detected"] == 0
    assert version_and_end(rig)[0] == 1


def test_it_is_stored_when_redis_is_back(rig):
    """Its life counts from the request: the answer took HOLD_MS, and was stored only after that."""
    r, auth, w = answered_while_away(rig)
    r.start()
    is_whole(rig, auth)
    asked = auth.log(grant="refresh_token")[0]["t"]
    assert version_and_end(rig)[1] <= asked + LIFETIME_S * 1000 + HOLD_MS / 2
    w.sane()


def test_it_outlives_its_worker_in_the_journal(rig):
    journal = rig.folder / "journal"
    journal.mkdir(0o700)
    r, auth, first = answered_while_away(rig, journal=journal)
    wait_until(lambda: records_in(journal / f"{first.id}.journal") == 1, 10, "it to be written")
    first.kill()
    for path in journal.iterdir():
        assert b"eyJ" not in path.read_bytes(), "sealed"
    r.start()
    again = rig.worker(journal=journal, renew_lease="60s")
    again.wait_log("journal.replayed", 20)
    is_whole(rig, auth)
    assert list(journal.glob(f"{first.id}*")) == []
    again.sane()
