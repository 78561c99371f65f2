"""conn disable, enable, revoke: no call uses the token a second later; jobs wait, and none is lost."""
import threading
import time

import pytest

from procs import wait_until


class Stream:
    """Jobs that keep coming, each of them a call of its own."""

    def __init__(self, rig, conn):
        self.rig, self.conn = rig, conn
        self.ids, self.stop = [], threading.Event()
        self.thread = threading.Thread(target=self.feed, daemon=True)
        self.thread.start()

    def feed(self):
        while not self.stop.wait(0.02):
            self.ids += self.rig.enqueue([self.rig.job(self.conn, "/echo") for _ in range(2)])

    def end(self):
        self.stop.set()
        self.thread.join()
        return self.ids


def calls_after(api, ms):
    return [e for e in api.log() if e["t"] > ms]


def parked(rig, conn="acct"):
    return rig.redis.client.zcard(rig.key(f"park:conn:{conn}"))


def test_disabled_within_a_second_and_nothing_lost(rig):
    _, api = rig.use_peers()
    rig.link_refresh("acct")
    rig.workers(2)
    stream = Stream(rig, "acct")
    wait_until(lambda: len(api.log()) > 20, 15, "calls to flow")
    said = rig.ctl("conn", "disable", "acct", "--reason", "token seen in a log")
    known = time.time() * 1000
    assert "disabled; all 2 living workers know it" in said.out
    wait_until(lambda: parked(rig) > 20, 10, "jobs to be set aside")
    assert calls_after(api, known + 300) == [], "awq-ctl said that everybody knows"
    shown = rig.ctl("conn", "show", "acct", "-o", "json").json()
    assert (shown["state"], shown["disabled_because"]) == ("DISABLED", "token seen in a log")
    assert "is disabled" in rig.ctl("conn", "refresh", "acct", code=1).err
    tested = rig.ctl("conn", "test", "acct", code=1).out
    assert "conn enable" in tested and "token seen in a log" in tested and "once it is enabled" in tested
    ids = stream.end()
    assert rig.ctl("conn", "enable", "acct").out == "connection acct: enabled; all 2 living workers know it\n"
    results = rig.results(ids, 30)
    assert {r[-1]["state"] for r in results.values()} == {"done"}
    assert rig.ctl("conn", "enable", "acct").out == "connection acct: enabled already; all 2 living workers know it\n"
    assert "removed; all 2 living workers know it" in rig.ctl("conn", "rm", "acct").out


def test_the_second_does_not_rest_on_hints(rig):
    """As awq-ctl writes it, but nobody publishes a word."""
    _, api = rig.use_peers()
    r = rig.use_redis().client
    rig.link_refresh("acct")
    rig.workers(2)
    stream = Stream(rig, "acct")
    wait_until(lambda: len(api.log()) > 20, 15, "calls to flow")
    r.hset("awq:{c:acct}", "state", "DISABLED")
    r.hincrby("awq:meta", "rev", 1)
    done = time.time() * 1000
    wait_until(lambda: parked(rig) > 20, 10, "jobs to be set aside")
    wait_until(lambda: time.time() * 1000 > done + 1500, 5, "the second to be over")
    assert calls_after(api, done + 1000) == []
    ids = stream.end()
    rig.ctl("conn", "enable", "acct")
    rig.results(ids, 30)


def test_a_worker_that_was_idle_looks_first(rig):
    """What it knew is old news, and it heard nothing since."""
    _, api = rig.use_peers()
    r = rig.use_redis().client
    rig.link_refresh("acct")
    rig.worker()
    for _ in range(3):  # the second reads the record: it heard that it changed, when the token came
        rig.result(rig.job("acct", "/echo"))
    wait_until(lambda: not rig.pending(), 5, "it to be idle")
    idle = time.monotonic()
    wait_until(lambda: time.monotonic() - idle > 1, 3, "a second to pass")
    r.hset("awq:{c:acct}", "state", "DISABLED")
    rig.enqueue([rig.job("acct", "/echo")])
    wait_until(lambda: parked(rig) == 1, 10, rig.places_text)
    assert len(api.log()) == 3


def test_revoked_waits_for_a_link(rig):
    auth, api = rig.use_peers()
    rig.link_refresh("acct")
    rig.worker()
    rig.result(rig.job("acct", "/echo"))
    said = rig.ctl("conn", "revoke", "acct", "--reason", "laptop lost")
    assert "its jobs wait" in said.out and "all 1 living workers know it" in said.out
    record = rig.redis.client.hgetall("awq:{c:acct}")
    assert not {b"at", b"rt", b"cs"} & set(record)
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(5)])
    wait_until(lambda: parked(rig) == 5, 10, rig.places_text)
    assert len(api.log()) == 1, "no call with what was revoked"
    rig.apply(rig.conn("acct", "refresh_token", "basic", "basic"),
              refresh_token=auth.mint("acct", "basic")["refresh_token"])
    assert {x[-1]["state"] for x in rig.results(ids, 30).values()} == {"done"}


def test_applying_its_file_again_undoes_neither(rig):
    """GitOps applies all day: an emergency stop is not to be undone by it."""
    rig.use_peers()
    rig.need(keys=True)
    conn = rig.conn("acct")
    rig.apply(conn)
    rig.ctl("conn", "revoke", "acct", "--reason", "x")
    said = rig.apply(conn)
    assert "settings written; it has no tokens to keep" in said.out
    assert "(revoked): apply with --relink" in said.out
    assert rig.redis.client.hget("awq:{c:acct}", "state") == b"NEEDS_CONSENT"
    rig.ctl("conn", "disable", "acct", "--reason", "x")
    rig.ctl("conn", "apply", "-f", rig.folder / "acct.yaml", "--relink")
    assert rig.redis.client.hget("awq:{c:acct}", "state") == b"DISABLED"
    rig.ctl("conn", "enable", "acct")
    assert rig.redis.client.hget("awq:{c:acct}", "state") == b"DUE"


def test_a_worker_that_cannot_hear_is_named(rig):
    rig.link("acct")
    w = rig.worker()
    w.stop()
    said = rig.ctl("conn", "disable", "acct", "--reason", "x", "--timeout", "300ms", code=4)
    assert w.id in said.err and "0 of 1" in said.err
    w.cont()


def test_wrong_usage(rig):
    rig.link("acct")
    rig.ctl("conn", "disable", "acct", code=2)
    rig.ctl("conn", "revoke", "acct", "--reason", "y" * 201, code=2)
    rig.ctl("conn", "disable", "nobody", "--reason", "x", code=3)
    rig.ctl("conn", "enable", "nobody", code=3)
    rig.ctl("conn", "revoke", "nobody", "--reason", "x", code=3)


@pytest.mark.parametrize("verb", ["disable", "enable", "revoke"])
def test_an_emergency_stop_works_when_redis_is_full(rig, verb):
    """Done, known to the fleet, and said so: nobody may think at night that it failed."""
    rig.link_refresh("acct")
    rig.worker()
    if verb == "enable":
        rig.ctl("conn", "disable", "acct", "--reason", "x")
    rig.redis.client.config_set("maxmemory", 1)
    done = rig.run_ctl("conn", verb, "acct", *([] if verb == "enable" else ["--reason", "y"]))
    rig.redis.client.config_set("maxmemory", 0)
    assert done.code == 0 and "all 1 living workers know it" in done.out, done.out + done.err


# ---- the provider is told (RFC 7009) ----

def linked(rig, **more):
    """A connection with a rotating refresh token and a place to revoke it, its first token asked for."""
    auth, _ = rig.use_peers()
    auth.control("POST", "reset")
    rig.use_redis()
    rig.worker()
    given = auth.mint("alice")["refresh_token"]
    rig.apply({**rig.conn("acct", "refresh_token", "basic", "basic"), "revoke_url": f"{auth.base}/token/revocation", **more},
              refresh_token=given)
    wait_until(lambda: rig.ctl("conn", "show", "acct", "-o", "json").json()["state"] == "FRESH", 15, "its first token")
    return auth


def is_dead(rig, auth):
    """The grant at the server: its tokens call nothing any more."""
    return auth.revoke(account="alice") == 0


@pytest.mark.parametrize("verb", ["revoke", "rm"])
def test_what_is_forgotten_here_is_revoked_there(rig, verb):
    auth = linked(rig)
    said = rig.ctl("conn", verb, "acct", "--reason", "they left")
    assert "revoked at the provider too" in said.out, said.out
    assert auth.counters()["revocation"] == 2, "its refresh token and its access token"
    assert is_dead(rig, auth)
    lines = rig.ctl("audit", "tail", "-o", "json").out
    assert "they left" in lines


def test_a_provider_that_is_busy_is_asked_again(rig):
    auth = linked(rig)
    # it takes longer to say so than it asks to be left alone: the wait begins with its answer
    auth.faults({"on": "revocation", "status": 503, "count": 1, "delay_ms": 3000, "headers": {"retry-after": "3"}})
    began = time.monotonic()
    assert "revoked at the provider too" in rig.ctl("conn", "revoke", "acct", "--reason", "x").out
    assert is_dead(rig, auth)
    assert time.monotonic() - began > 5.9


def test_an_access_token_is_revoked_also_when_its_refresh_token_is_not(rig):
    auth = linked(rig)
    auth.faults({"on": "revocation", "status": 400, "count": 1, "body": {"error": "unsupported_token_type"}})
    said = rig.run_ctl("conn", "revoke", "acct", "--reason", "x")
    assert said.code == 4 and "answered 400" in said.err
    assert auth.counters()["revocation"] == 2


@pytest.mark.parametrize("what", ["refuses", "away", "keys"])
def test_a_provider_that_does_not_revoke_is_said(rig, what):
    """It is gone from here in any case, and that nobody told the provider is no secret."""
    away = {"revoke_url": "http://127.0.0.1:1/revoke"} if what == "away" else {}
    auth = linked(rig, **away)
    if what == "refuses":
        auth.faults({"on": "revocation", "status": 400, "count": -1, "body": {"error": "unsupported_token_type"}})
    args = ["conn", "revoke", "acct", "--reason", "x"]
    said = rig.run_ctl(*args, env={"AWQ_KEYS": ""}) if what == "keys" else rig.run_ctl(*args)
    assert said.code == 4 and "not revoked at the provider" in said.err and "by hand" in said.err, said.err
    assert rig.ctl("conn", "show", "acct", "-o", "json").json()["why"] == "revoked"
    assert not any(rig.redis.client.hexists("awq:{c:acct}", f) for f in ("at", "rt", "cs"))
    auth.clear_faults()
    assert not is_dead(rig, auth)


def test_without_a_place_to_revoke_a_person_is_told(rig):
    rig.link_refresh("acct")
    assert "no revoke_url" in rig.ctl("conn", "rm", "acct").out


@pytest.mark.parametrize("verb", ["rm", "revoke"])
def test_where_there_was_no_token_the_provider_is_not_spoken_of(rig, verb):
    auth, _ = rig.use_peers()
    rig.need(keys=True)
    for revoke_url in ({}, {"revoke_url": f"{auth.base}/token/revocation"}):
        rig.apply(rig.conn("crm", "authorization_code", "basic", "basic", authorize_url=f"{auth.base}/auth", **revoke_url))
        said = rig.ctl("conn", verb, "crm", "--reason", "x")
        assert "the provider" not in said.out + said.err, said.out + said.err
        if verb == "revoke":
            assert "conn link crm asks its owner" in said.out


@pytest.mark.parametrize("grant, says", [("client_credentials", "conn apply --relink asks"),
                                         ("refresh_token", "links it with a new refresh token")])
def test_what_ends_a_revocation_is_the_grants(rig, grant, says):
    rig.link_by_hand(rig.conn("crm", grant))
    assert says in rig.ctl("conn", "revoke", "crm", "--reason", "x").out


def test_explain_says_how_it_is_revoked(rig):
    auth = linked(rig)
    [row] = [r for r in rig.ctl("conn", "explain", "acct", "-o", "json").json() if "revoked" in r["what"]]
    assert row["url"] == f"{auth.base}/token/revocation"
    assert row["body"] == "token=REFRESH_TOKEN&token_type_hint=refresh_token"
