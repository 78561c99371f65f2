"""What a person on call reads when an account's jobs stand still: every view names the cause, and what mends it."""
import re

import pytest

from procs import wait_until
from test_ctl_ops import checks

ACCT = "awq:{c:acct}"


def words(text):
    """Of a table whose cells are as wide as they are."""
    return " ".join(text.split())


def rows(rig, conn="acct"):
    """conn test -o json: {check: (result, found, what_to_do)}, the last of each."""
    return {c["check"]: (c["result"], c["found"], c["what_to_do"])
            for c in rig.run_ctl("conn", "test", conn, "-o", "json").json()}


def listed(rig):
    [row] = rig.ctl("conn", "ls", "-o", "json").json()
    return row["state"], row["why"]


def waits_in_the_lane(rig):
    """One job, before a lane that opens in a day."""
    rig.redis.client.hset(ACCT, mapping={"cool": 99999999999999, "cw": "401"})
    rig.redis.client.publish("awq:changed", "acct")
    [job] = rig.enqueue([rig.job("acct", "/echo")])
    wait_until(lambda: rig.places().get(job) == ["park:lane:acct"], 15, rig.places_text)
    assert "the lane of connection acct" in rig.ctl("job", "get", job).out
    assert listed(rig) == ("FRESH", "held: the API answered 401")
    return job


@pytest.mark.parametrize("cause", ["consent", "disabled"])
def test_what_a_person_has_to_do_is_said_before_the_lane(rig, cause):
    auth, _ = rig.use_peers()
    rig.link_refresh("acct")
    rig.worker()
    rig.result(rig.job("acct", "/echo"))
    job = waits_in_the_lane(rig)
    if cause == "consent":
        auth.revoke(account="acct")
        assert "invalid_grant" in rig.ctl("conn", "refresh", "acct", code=1).err
        state, why, cure = "NEEDS_CONSENT", "invalid_grant", "what is said of the access token"
    else:
        rig.ctl("conn", "disable", "acct", "--reason", "seen in a log")
        state, why, cure = "DISABLED", "seen in a log", "once it is enabled"
    assert listed(rig) == (state, why)
    assert f"a token of connection acct: {state}, {why}" in rig.ctl("job", "get", job).out
    got = rows(rig)
    assert got["access token"][0] == "bad" and "lane" not in got, got
    assert cure in got["waiting jobs"][2], got


def test_a_lane_that_no_renewal_opens_is_not_sent_to_one(rig):
    auth, _ = rig.use_peers()
    rig.link_refresh("acct")
    rig.worker()
    rig.result(rig.job("acct", "/echo"))
    rig.redis.client.hset(ACCT, mapping={"cool": 99999999999999, "cw": "401"})
    assert "conn refresh asks" in rows(rig)["lane"][2]
    auth.faults({"on": "token", "count": -1, "status": 500})
    rig.ctl("conn", "refresh", "acct", code=1)
    assert "conn refresh" not in rows(rig)["lane"][2]


def test_a_good_access_token_is_said_of_a_renewal_that_fails(rig):
    auth, _ = rig.use_peers()
    rig.use_redis(aof="everysec")
    rig.link("acct")
    rig.worker()
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"
    auth.faults({"on": "token", "client": "svc", "count": -1, "status": 400, "body": {"error": "invalid_client"}})
    rig.ctl("conn", "refresh", "acct", code=1)
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"
    result, found, _ = rows(rig)["access token"]
    assert result == "warn" and re.match(r"good for \d+ s; renewal failed, try 1: invalid_client", found), found
    said = rig.run_ctl("doctor").out
    assert re.search(r"1 cannot renew, and have an access token yet \(for \d+ s\): acct", said), said
    assert "go on as long as" in said and "their jobs wait" not in said
    rig.redis.client.hset(ACCT, "exp", 1)
    assert rows(rig)["access token"][1].startswith("expired; renewal failed")
    assert "1 cannot renew: acct" in (said := rig.run_ctl("doctor").out) and "their jobs wait" in said


def test_doctor_names_five(rig):
    r = rig.use_redis(aof="everysec").client
    rig.worker()
    for n in range(7):
        r.hset(f"awq:{{c:a{n}}}", "state", "NEEDS_CONSENT" if n == 0 else "BACKOFF")
        r.zadd("awq:conns", {f"a{n}": 9e15 + n})
    assert checks(rig, 0)["accounts"] == ("warn", "1 need consent: a0; 6 cannot renew: a1, a2, a3, a4 and 2 others")


def test_a_slow_token_endpoint_is_named(rig):
    auth, _ = rig.use_peers()
    rig.link("acct")
    w = rig.worker()
    rig.result(rig.job("acct", "/echo"))
    auth.faults({"on": "token", "count": 1, "status": 500})
    rig.ctl("conn", "refresh", "acct", code=1)
    assert listed(rig)[1] == "server_error"
    rig.redis.client.hset(ACCT, "next", 1)
    auth.faults({"on": "token", "count": 1, "delay_ms": 6000})
    said = rig.ctl("conn", "refresh", "acct", "--timeout", "2s", code=1).err
    waited = rf"worker {w.id} has waited \d+ s for the token endpoint 127\.0\.0\.1"
    assert re.search(waited, said), said
    assert re.search(waited, rows(rig)["renewal"][1])
    assert listed(rig) == ("RENEWING", ""), "an older failure is none of this renewal's"
    wait_until(lambda: listed(rig)[0] == "FRESH", 20, "the answer")
    assert "renewal" not in rows(rig)
    assert "Is a worker" not in said


@pytest.mark.parametrize("grant", ["client_credentials", "refresh_token"])
def test_scopes_that_are_not_in_force(rig, grant):
    auth, _ = rig.use_peers()
    conn = rig.conn("acct", grant, *(("basic", "basic") if grant == "refresh_token" else ()), scopes=["read"])
    secret = auth.mint("acct", "basic", scope="read")["refresh_token"] if grant == "refresh_token" else None
    rig.apply(conn, refresh_token=secret)
    rig.worker()
    rig.result(rig.job("acct", "/echo"))
    assert "scopes" not in rows(rig)
    said = rig.apply({**conn, "scopes": ["read", "write"]}, refresh_token=secret).out
    cure = "conn refresh asks for them" if grant == "client_credentials" else "Have its owner link the account again"
    assert "Its scopes have changed" in said and cure in said
    tested = rig.ctl("conn", "test", "acct")
    assert "asked: read write; granted: read; missing: write" in words(tested.out) and cure in words(tested.out)
    assert rows(rig)["scopes"][0] == "warn"
    rig.ctl("conn", "refresh", "acct")
    assert ("scopes" in rows(rig)) == (grant == "refresh_token"), "a refresh widens nothing"
    assert "scopes" not in rig.apply({**conn, "scopes": ["read", "write"]}, refresh_token=secret).out


def test_disabled_while_no_worker_is_alive(rig):
    rig.link("acct")
    assert "no worker is alive" in rig.ctl("conn", "disable", "acct", "--reason", "night").out
