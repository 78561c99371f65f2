"""The rig itself: a test that trusts its servers must have seen them behave, and misbehave."""
import signal
import sys
import time

import pytest
import redis as redispy

from between import script_sha
from procs import BUILD, ROOT, free_port, wait_until
from records import Keys
from servers import Redis
from tls import Authority


def test_redis_keeps_acknowledged_writes_over_kill_9(rig):
    r = rig.use_redis(aof="always", tcp=True)
    r.client.xadd("s", {"j": b"\x00\xff"})
    before = r.pid
    r.restart(hard=True)
    assert r.pid != before
    assert [f for _, f in r.client.xrange("s")] == [{b"j": b"\x00\xff"}]
    assert redispy.Redis.from_url(r.tcp_url).ping()
    assert r.client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"


def test_redis_stopped_does_not_answer_and_goes_on(rig):
    r = rig.use_redis()
    quick = redispy.Redis(unix_socket_path=r.socket, socket_timeout=0.2)
    assert quick.ping()
    r.stop()
    with pytest.raises(redispy.TimeoutError):
        quick.ping()
    r.cont()
    wait_until(r.answers, 5, "Redis to go on")


def test_redis_that_cannot_start_is_a_failure(rig):
    bad = Redis(rig.folder, name="bad", options={"no-such-option": "1"})
    rig.things.append(bad)
    with pytest.raises(AssertionError, match="bad ended"):
        bad.start()


def test_children_end_with_the_rig(rig):
    r = rig.use_redis()
    pid = r.pid
    r.stop()  # also when stopped
    rig.close()
    assert not r.running
    assert r.wait() == -signal.SIGKILL
    assert pid == r.pid


def test_free_ports_are_in_a_row():
    first = free_port(3)
    assert 12000 <= first < 32000


def test_client_credentials_token_opens_the_api(rig):
    auth, api = rig.use_peers()
    status, token = auth.token("svc", scope="read write")
    assert status == 200 and token["expires_in"] > 0
    bearer = {"authorization": f"Bearer {token['access_token']}"}
    assert api.ask("GET", "/echo", headers=bearer)[0] == 200
    assert api.ask("POST", "/effect/e1", headers=bearer)[2] == {"id": "e1", "times": 1}
    assert api.ask("POST", "/effect/e1", headers=bearer)[2]["times"] == 2
    assert api.counters()["effects_repeated"] == 1
    assert api.ask("GET", "/echo")[0] == 401
    auth.expire(client_id="svc")
    status, headers, _ = api.ask("GET", "/echo", headers=bearer)
    assert status == 401 and 'error="invalid_token"' in headers["www-authenticate"]


def test_a_used_refresh_token_kills_the_grant_and_is_counted(rig):
    auth, api = rig.use_peers()
    minted = auth.mint("rig-reuse")
    status, first = auth.token("basic", "refresh_token", refresh_token=minted["refresh_token"])
    assert status == 200 and first["refresh_token"] != minted["refresh_token"]
    status, again = auth.token("basic", "refresh_token", refresh_token=minted["refresh_token"])
    assert (status, again["error"]) == (400, "invalid_grant")
    status, late = auth.token("basic", "refresh_token", refresh_token=first["refresh_token"])
    assert (status, late["error"]) == (400, "invalid_grant")
    c = auth.counters()["refresh"]
    assert (c["ok"], c["reuse_detected"], c["stale_after_revoke"]) == (1, 1, 1)
    assert auth.requests_of("rig-reuse") == 3
    bearer = {"authorization": f"Bearer {first['access_token']}"}
    assert api.ask("GET", "/echo", headers=bearer)[0] == 401


def test_minted_grants_carry_their_account(rig):
    auth, api = rig.use_peers()
    many = auth.mint("rig-{i}", count=3)
    assert [m["account"] for m in many] == ["rig-0", "rig-1", "rig-2"]
    bearer = {"authorization": f"Bearer {many[2]['access_token']}"}
    assert api.ask("GET", "/echo", headers=bearer)[2]["sub"] == "rig-2"


def test_faults_are_taken_once_and_reset(rig):
    auth, _ = rig.use_peers()
    auth.faults({"grant": "client_credentials", "status": 503, "headers": {"retry-after": "1"}})
    assert auth.token("svc")[0] == 503
    assert auth.token("svc")[0] == 200
    auth.faults({"status": 500, "count": -1})
    assert auth.token("svc")[0] == 500
    auth.reset()
    assert auth.token("svc")[0] == 200
    assert auth.counters()["token"]["arrived"] == 1, "counters start again at a reset"
    assert [e["client"] for e in auth.log()] == ["svc"]


def test_peers_with_other_settings_are_other_servers(rig):
    plain, _ = rig.use_peers()
    short, _ = rig.use_peers(auth={"AT_TTL": 3})
    assert short.base != plain.base
    assert short.token("svc")[1]["expires_in"] == 3
    assert plain.token("svc")[1]["expires_in"] == 3600


def test_the_other_origin_notices_a_token(rig):
    auth, api = rig.use_peers()
    token = auth.token("svc")[1]["access_token"]
    status, headers, _ = api.ask("GET", "/redirect?to=cross",
                                 headers={"authorization": f"Bearer {token}"})
    assert status == 302 and headers["location"].startswith(api.other)
    assert api.counters().get("leaks") == []
    port = int(api.other.rsplit(":", 1)[1])
    import http.client
    link = http.client.HTTPConnection("127.0.0.1", port)
    link.request("GET", "/landing", headers={"authorization": f"Bearer {token}"})
    assert link.getresponse().status == 200
    assert len(api.counters()["leaks"]) == 1


def test_rate_answers_have_a_date_ahead(rig):
    auth, api = rig.use_peers()
    bearer = {"authorization": f"Bearer {auth.token('svc', scope='read write')[1]['access_token']}"}
    status, headers, _ = api.ask("POST", "/rate?n=1&after=5&style=date&key=rig", headers=bearer)
    assert status == 429
    from email.utils import parsedate_to_datetime
    ahead = parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time()
    assert 3 <= ahead <= 6
    assert api.ask("POST", "/rate?n=1&key=rig", headers=bearer)[0] == 200


def test_between_holds_what_it_is_told_and_only_that(rig):
    r = rig.use_redis()
    b = rig.between()
    through = redispy.Redis(unix_socket_path=b.path, socket_timeout=0.3, retry=None)
    assert through.set("a", 1)
    b.hold(b"second")
    assert through.set("first", 1)
    with pytest.raises(redispy.TimeoutError):
        through.set("second", 1)
    b.wait_held()
    assert r.client.get("second") is None
    b.release()
    wait_until(lambda: r.client.get("second"), 5, "the held command to arrive")


def test_between_loses_an_answer(rig):
    r = rig.use_redis()
    b = rig.between()
    through = redispy.Redis(unix_socket_path=b.path, socket_timeout=2, retry=None)
    assert through.ping()
    b.swallow(b"lost-answer")
    with pytest.raises(redispy.ConnectionError):
        through.execute_command("SET", "lost-answer", 1)
    assert r.client.get("lost-answer") == b"1", "Redis did it all the same"
    assert b.swallowed == 1


def test_script_digests_are_those_of_the_build(rig):
    built_rows = (BUILD / "gen/scripts.inc").read_text()
    names = [p.stem for p in (ROOT / "common/scripts").glob("*.lua")]
    assert len(names) > 10
    for name in names:
        assert f'SCRIPT({name}, "{script_sha(name).decode()}"' in built_rows


def test_tls_redis_with_a_client_certificate(rig):
    ca = Authority(rig.folder)
    cert, key = ca.issue("redis")
    port = free_port()
    rig.use_redis(options={"tls-port": port, "tls-cert-file": cert, "tls-key-file": key,
                           "tls-ca-cert-file": ca.cert, "tls-auth-clients": "yes"})
    mine, mine_key = ca.issue("client")
    url = f"rediss://127.0.0.1:{port}"
    assert redispy.Redis.from_url(url, ssl_ca_certs=str(ca.cert), ssl_certfile=str(mine),
                                  ssl_keyfile=str(mine_key)).ping()
    with pytest.raises(redispy.ConnectionError):
        redispy.Redis.from_url(url, ssl_ca_certs=str(ca.cert)).ping()


def test_a_record_opens_only_in_its_place(rig):
    rig.use_peers()
    conn = rig.conn("acct", "refresh_token", "basic", "basic")
    gen = rig.link_by_hand(conn, "the-refresh-token")
    record = rig.redis.client.hgetall("awq:{c:acct}")
    keys = Keys(rig.keys)
    place = ("awq", "acct", "rt", gen, 0, record[b"cd"].decode())
    assert keys.open("grant", place, record[b"rt"]) == b"the-refresh-token"
    assert keys.open("grant", ("awq", "other", *place[2:]), record[b"rt"]) is None
    assert keys.open("grant", ("awq", "acct", "cs", *place[3:]), record[b"rt"]) is None
    assert rig.link_by_hand(conn, "another") > gen


def test_each_mutant_fits():
    """The faults of `make mutants` (which takes most of an hour): each text still stands where it is to be broken."""
    sys.path.insert(0, str(ROOT / "tests"))
    import mutants
    for row in mutants.read_rows((ROOT / "tests/mutants.txt").read_text()):
        found = sum(path.read_text().count(row["old"]) for path in ROOT.glob(row["file"]))
        assert found == 1, f"{row['name']}: its text stands {found} times in {row['file']}"
