"""awq-ctl keys replace-lost: the workers' key file is gone, and the install goes on with a new one."""
import os
import secrets

import pytest

from procs import wait_until
from records import Producer
from test_27_key_rotation import key_ids, rows
from test_50_consent import Link

REASON = ("--reason", "the disk and its copy are gone")


def install_keys(rig):
    return rig.redis.client.hget("awq:meta", "keys")


def acts(rig):
    return rig.redis.client.xlen(rig.key("audit:acts"))


def lose(rig):
    """The workers' file is away, the operator has a new one. Where the old one is kept for the test."""
    old = rig.folder / "old.keys"
    rig.keys.rename(old)
    rig.ctl("keys", "new", rig.folder / "keys2")
    rig.keys = rig.common["keys"] = rig.folder / "keys2"
    return old


def end(worker):
    worker.term()
    assert worker.wait() == 0


def replace(rig, code=0):
    return rig.ctl("keys", "replace-lost", *REASON, code=code)


def test_from_a_lost_file_to_calls(rig):
    """As the page says: replaced, linked again, producers added again, and then the workers."""
    rig.use_redis()
    auth, _ = rig.use_peers()
    rig.apply(rig.conn("svc"))
    rotating = rig.conn("rt", "refresh_token", "basic", "basic")
    rig.apply(rotating, refresh_token=auth.mint("rt", "basic")["refresh_token"])
    owned = rig.conn("crm", "authorization_code", "basic", "basic", authorize_url=f"{auth.base}/auth", issuer=auth.base)
    rig.apply(owned)
    rig.apply(rig.conn("gone"))
    shop = ("producer", "add", "shop", "--key", Producer("shop").public, "--connections", "svc")
    rig.ctl(*shop)
    w = rig.worker()
    assert rig.result(rig.job("rt", "/echo"))["state"] == "done"
    end(w)
    lost_run = [line.split()[1] for line in rig.keys.read_text().splitlines() if line.startswith("run")][0]
    lose(rig)

    for args in (["conn", "apply", "-f", "svc.yaml", "--relink"], ["keys", "ls"], ["keys", "rotate"], ["conn", "rm", "gone"]):
        said = rig.ctl(*args, code=1).err
        assert "copy their file here" in said and "lost for good: awq-ctl keys replace-lost" in said
    w = rig.worker(ready=False)
    w.exits_with(2, "redis.refused")
    assert "give this worker the file of the others; if it is lost for good: awq-ctl keys replace-lost" in w.stderr()

    said = replace(rig).out
    assert f"run key {lost_run}" in said and "conn apply --relink" in said and "producer add" in said
    missing = [r for r in rows(rig).values() if r["state"] == "missing"]
    assert sum(r["producers"] for r in missing) == 1 and max(r["connections"] for r in missing) >= 3
    assert "--relink writes it anew" in rig.apply(rig.conn("svc"), code=1).err
    rig.ctl("conn", "apply", "-f", "svc.yaml", "--relink")
    (rig.folder / "rt.refresh").write_text(auth.mint("rt", "basic")["refresh_token"])
    rig.ctl("conn", "apply", "-f", "rt.yaml", "--relink")
    rig.ctl("conn", "apply", "-f", "crm.yaml", "--relink")
    link = Link(rig)
    assert link.browse()[1] == 200 and link.end()[0] == 0
    rig.ctl(*shop)
    rig.worker()
    for name in ("svc", "rt", "crm"):
        assert rig.result(rig.job(name, "/echo"))["state"] == "done"
        rig.ctl("conn", "refresh", name)
    assert "shop" in rig.ctl("producer", "ls").out
    assert "Revoke the grant there by hand" in rig.ctl("conn", "rm", "gone", code=4).err
    rig.ctl("audit", "verify", "--retired", lost_run)
    assert not any(r["connections"] + r["producers"] for r in rows(rig).values() if r["state"] == "missing")
    assert auth.counters()["refresh"]["reuse_detected"] == 0


def test_not_while_a_worker_lives(rig):
    """It has the file. Nothing is written, also no line of the audit stream under keys that are no one's."""
    rig.need(peers=True, keys=True)
    w = rig.worker()
    lose(rig)
    kept, before = install_keys(rig), acts(rig)
    said = replace(rig, code=1).err
    assert w.id in said and os.uname().nodename in said and "Nothing was changed" in said
    assert install_keys(rig) == kept and acts(rig) == before
    w.kill()
    wait_until(lambda: rig.run_ctl("keys", "replace-lost", *REASON).code == 0, 15, "its beat to run out", every=0.2)
    assert install_keys(rig)[:4].hex() in key_ids(rig.keys)


def test_not_when_nothing_is_lost(rig):
    rig.use_redis()
    rig.need(keys=True)
    assert "goes by no keys" in replace(rig, code=1).err
    end(rig.worker())
    kept, before = install_keys(rig), acts(rig)
    assert "they are not lost" in replace(rig, code=1).err
    assert "--reason TEXT is missing" in rig.ctl("keys", "replace-lost", code=2).err
    del rig.common["keys"]
    assert "needs the key file" in replace(rig, code=2).err
    assert install_keys(rig) == kept and acts(rig) == before


def test_it_is_audited(rig):
    """Under the new keys; what was written under the lost ones is vouched for by the line after it."""
    rig.use_redis()
    rig.use_peers()
    rig.apply(rig.conn("acct"))
    w = rig.worker()
    end(w)
    lose(rig)
    replace(rig)
    act, ended = rig.ctl("audit", "tail", "--kind", "act", "-o", "json").out, rig.ctl("audit", "tail", "--kind", "ended", "-o", "json").out
    assert "keys replace-lost" in act and REASON[1] in act and '"exit":0' in ended.replace(" ", "").replace("\\", "")
    rig.ctl("audit", "verify", w.log_path)


def test_a_file_that_is_found_again(rig):
    """Nothing was deleted: the same command goes back to it."""
    rig.use_redis()
    rig.link("acct")
    end(rig.worker())
    old = lose(rig)
    replace(rig)
    rig.keys = rig.common["keys"] = old
    rig.worker(ready=False).exits_with(2, "redis.refused")
    replace(rig)
    rig.worker()
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done"


@pytest.mark.parametrize("program", ["awq-ctl", "awq-worker"])
def test_a_file_that_is_not_there(rig, program):
    """At night, in a running install, new keys are the wrong advice: a copy comes first."""
    rig.use_redis()
    nowhere = rig.folder / secrets.token_hex(4)
    if program == "awq-ctl":
        said = rig.ctl("keys", "ls", "--keys", nowhere, code=2).err
    else:
        w = rig.worker(ready=False, keys=nowhere)
        w.may_fail = True
        assert w.wait(15) == 2
        said = w.stderr()
    assert f"{nowhere} is not there: put a copy of the other workers' there; for a new install, make one" in said
