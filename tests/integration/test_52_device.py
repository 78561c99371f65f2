"""conn link by a device code: the owner enters it on any browser, and we ask until that is done."""
import pytest

from procs import wait_until


class Device:
    """An `awq-ctl conn link` that has shown its code."""

    def __init__(self, rig, *args, conn="tv"):
        self.process = rig.start_ctl("conn", "link", conn, *args)
        self.uri, self.code = (self.process.stdout.readline().strip() for _ in range(2))
        assert self.uri.startswith("http") and self.code, self.process.stderr.read()

    def end(self):
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


def owned(rig, peers=None, **more):
    rig.need()
    server, _ = rig.use_peers(peers)
    server.control("POST", "reset")
    conn = rig.conn("tv", "device_code", "basic", "basic", device_url=f"{server.base}/device/auth", **more)
    assert "awq-ctl conn link tv" in rig.apply(conn).out
    assert (show(rig)["state"], show(rig)["why"]) == ("NEEDS_CONSENT", "not_linked")
    return server, conn


def test_what_is_said_stands_alone(rig):
    """Standard output may be a pipe: there are the address and the code, and no sentence waits for them."""
    owned(rig, QUICK)
    process = rig.start_ctl("conn", "link", "tv", "--timeout", "2s")
    out, err = process.communicate(timeout=30)
    uri, code, whole = out.splitlines()
    assert uri.startswith("http") and whole.startswith(uri) and code in whole
    said = err.splitlines()[0]
    assert said.endswith(".") and "the address on standard output" in said and "the code in the line below it" in said
    assert "The last line is an address with the code in it" in said


def answer(server, device, action, account="alice"):
    server.control("POST", "device", {"user_code": device.code, "action": action, "account": account})


def show(rig):
    return rig.ctl("conn", "show", "tv", "-o", "json").json()


QUICK = {"DEVICE_INTERVAL": 1}


def test_from_the_code_to_a_call(rig):
    server, conn = owned(rig, QUICK)
    rig.worker()
    rig.enqueue(rig.job("tv", "/echo", job_id="waits"))
    wait_until(lambda: rig.redis.client.zcard(rig.key("park:conn:tv")), 15, "the job to wait for a consent")
    device = Device(rig)
    wait_until(lambda: server.counters()["device_polls"] > 0, 20, "a poll before the answer")
    answer(server, device, "approve")
    code, out, err = device.end()
    assert code == 0 and "linked" in out, out + err
    assert rig.results(["waits"])["waits"][-1]["state"] == "done"
    rig.ctl("conn", "refresh", "tv")
    assert show(rig)["state"] == "FRESH" and show(rig)["version"] >= 2
    assert "unchanged" in rig.apply(conn).out
    polls = [e["t"] for e in server.log() if e["grant"].endswith("device_code")]
    assert all(b - a >= 950 for a, b in zip(polls, polls[1:])), "not oftener than the server's interval"


def test_the_owner_says_no(rig):
    server, _ = owned(rig, QUICK)
    device = Device(rig)
    answer(server, device, "deny")
    code, _, err = device.end()
    assert code == 1 and "the owner said no" in err
    assert show(rig)["why"] == "not_linked" and not show(rig)["has_refresh_token"]


def test_the_code_expires(rig):
    _, _ = owned(rig, {"DEVICE_INTERVAL": 1, "DEVICE_TTL": 3})
    code, _, err = Device(rig).end()
    assert code == 1 and "nobody answered in time" in err


def test_our_own_patience(rig):
    owned(rig, QUICK)
    code, _, err = Device(rig, "--timeout", "2s").end()
    assert code == 1 and "nobody answered in time" in err


def test_slow_down_and_failures_are_not_the_end(rig):
    server, _ = owned(rig, QUICK)
    server.faults({"on": "token", "status": 400, "count": 1, "body": {"error": "slow_down"}},
                  {"on": "token", "status": 503, "count": 1}, {"on": "token", "drop": "before", "count": 1})
    device = Device(rig, "--timeout", "60s")
    answer(server, device, "approve")
    code, out, err = device.end()
    assert code == 0, out + err


def test_no_code_is_given(rig):
    server, _ = owned(rig, QUICK)
    server.faults({"on": "device_authorization", "status": 400, "count": 1, "body": {"error": "unauthorized_client"}})
    process = rig.start_ctl("conn", "link", "tv")
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1 and out == "" and "unauthorized_client" in err


def test_explain(rig):
    server, _ = owned(rig, QUICK)
    said = {r["what"].split(" (")[0]: r for r in rig.ctl("conn", "explain", "tv", "-o", "json").json()}
    assert said["a code is asked for"]["url"] == f"{server.base}/device/auth"
    assert "device_code=DEVICE_CODE" in said["until the owner has entered it"]["body"]
    assert "grant_type=refresh_token" in said["the access token is renewed"]["body"]


@pytest.mark.parametrize("wrong, says", [
    ({"device_url": None}, "device_url is missing"), ({"authorize_url": "https://a.example/"}, "authorize_url has no use"),
])
def test_settings(rig, wrong, says):
    conn = rig.conn("tv", "device_code", "basic", "basic", device_url="https://a.example/device")
    assert says in rig.apply({k: v for k, v in {**conn, **wrong}.items() if v is not None}, code=1).err


def test_by_device_where_a_browser_is_the_rule(rig):
    """The same account, linked from a machine without a browser: --device, where device_url says how."""
    rig.use_redis()
    server, _ = rig.use_peers(QUICK)
    rig.worker()
    conn = rig.conn("crm", "authorization_code", "basic", "basic", authorize_url=f"{server.base}/auth")
    rig.apply(conn)
    assert "its settings have no device_url" in rig.ctl("conn", "link", "crm", "--device", code=1).err
    rig.apply({**conn, "device_url": f"{server.base}/device/auth"})
    said = [r["what"] for r in rig.ctl("conn", "explain", "crm", "-o", "json").json()]
    assert "the owner is asked (conn link)" in said and "a code is asked for (conn link --device)" in said
    device = Device(rig, "--device", conn="crm")
    answer(server, device, "approve")
    code, out, err = device.end()
    assert code == 0, out + err
    assert rig.result(rig.job("crm", "/echo"))["state"] == "done"
    rig.ctl("conn", "refresh", "crm")
    rig.apply({**conn, "device_url": f"{server.base}/device/auth", "api": {"base_url": rig.api.base + "/{callback.realm}"}})
    assert "which only a browser brings" in rig.ctl("conn", "link", "crm", "--device", code=1).err


def test_no_poll_is_made_while_redis_is_away(rig):
    """The one that brings the tokens brings them once."""
    redis = rig.use_redis(aof="always")
    server, _ = owned(rig, QUICK)
    device = Device(rig, "--timeout", "60s")
    wait_until(lambda: server.counters()["device_polls"] > 0, 20, "a poll")
    redis.end_cleanly()
    said = ""
    while "is not asked until Redis is there" not in said:
        said = device.process.stderr.readline()
        assert said
    polls = server.counters()["device_polls"]
    answer(server, device, "approve")
    redis.start()
    code, out, err = device.end()
    assert code == 0 and "linked" in out, out + err
    assert server.counters()["device_polls"] == polls + 1
