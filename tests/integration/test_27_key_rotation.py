"""awq-ctl keys: new keys for all connections under load, each worker with a copy of the file of its own."""
import os
import shutil

import pytest

import records
from procs import wait_until
from test_25_disable_revoke import Stream


def key_ids(path):
    return {line.split()[1] for line in path.read_text().splitlines() if line and line[0] != "#"}


class Fleet:
    """Workers, each with its own copy of the operator's file."""

    def __init__(self, rig, count, **settings):
        rig.need(keys=True)
        self.rig, self.copies, self.workers = rig, [], []
        for n in range(count):
            copy = rig.folder / f"keys.{n}"
            shutil.copy2(rig.keys, copy)
            self.copies.append(copy)
            self.workers.append(rig.worker(keys=copy, **settings))

    def give(self, only=None):
        """The file to every worker, and a HUP, as the page says."""
        for n, (copy, w) in enumerate(zip(self.copies, self.workers)):
            if only is None or n in only:
                before = len(w.logged("keys.reloaded"))
                shutil.copy2(self.rig.keys, str(copy) + ".new")
                os.rename(str(copy) + ".new", copy)
                w.hup()
                w.wait_log("keys.reloaded", count=before + 1)

    def wait_known(self):
        def known():
            rows = self.rig.ctl("keys", "ls", "-o", "json").json()
            return all(r["workers_know"] == f"{len(self.workers)} of {len(self.workers)}" for r in rows)
        wait_until(known, 10, "beats to tell of the keys", every=0.1)


def rows(rig):
    return {r["key"]: r for r in rig.ctl("keys", "ls", "-o", "json").json()}


def test_rotation_under_load(rig):
    auth, api = rig.use_peers(auth={"AT_TTL": 2})
    for name in ("a", "b", "c"):
        rig.link_refresh(name)
    rig.link("svc")
    fleet = Fleet(rig, 2)
    before = key_ids(rig.keys)
    streams = [Stream(rig, name) for name in ("a", "b", "c", "svc")]
    wait_until(lambda: len(api.log()) > 20, 15, "calls to flow")
    rig.keys.chmod(0o640)

    rig.ctl("keys", "rotate", "--stage")
    assert "staged keys already" in rig.ctl("keys", "rotate", "--stage", code=1).err
    fleet.give()
    fleet.wait_known()
    assert "re-sealed" in rig.ctl("keys", "rotate").out
    assert oct(rig.keys.stat().st_mode & 0o777) == "0o640"
    assert "Nothing was changed" in rig.ctl("keys", "retire", code=1).err, "the workers still seal with them"
    fleet.give()
    wait_until(lambda: not any(r["workers_seal"] for r in rows(rig).values() if r["state"] == "old"), 10,
               "beats to tell")

    def retired():
        rig.ctl("keys", "rotate")
        return rig.run_ctl("keys", "retire").code == 0
    wait_until(retired, 15, "jobs of the old run key to be done", every=0.2)
    fleet.give()
    assert not before & key_ids(rig.keys)
    mark = len(api.log())
    wait_until(lambda: len(api.log()) > mark + 100, 15, "calls to go on")
    ids = [i for s in streams for i in s.end()]
    results = rig.results(ids, 30)
    assert {r[-1]["state"] for r in results.values()} == {"done"}, "not one failed step"
    assert rig.redis.client.zcard(rig.key("dead")) == 0
    assert auth.counters()["refresh"]["reuse_detected"] == 0
    new = records.Keys(rig.keys)
    for name in ("a", "b", "c", "svc"):
        h = {k.decode(): v for k, v in rig.redis.client.hgetall(f"awq:{{c:{name}}}").items()}
        place = ("awq", name, "cs", int(h["gen"]), 0, h["cd"].decode())
        assert new.open("grant", place, h["cs"]) and h["cm"][:4].hex() in key_ids(rig.keys)


def test_jobs_signed_with_the_old_key_hold_it(rig):
    rig.link("acct")
    fleet = Fleet(rig, 1)
    rig.link("off")
    rig.ctl("conn", "disable", "off", "--reason", "its jobs are to wait")
    ids = rig.enqueue(rig.job("acct", "/echo", then=[rig.call("off", "/echo")]))  # the second carries k
    wait_until(lambda: rig.redis.client.zcard(rig.key("park:conn:off")) == 1, 15, rig.places_text)
    rig.ctl("keys", "rotate", "--stage")
    fleet.give()
    fleet.wait_known()
    rig.ctl("keys", "rotate")
    fleet.give()
    wait_until(lambda: not any(r["workers_seal"] for r in rows(rig).values() if r["state"] == "old"), 10, "beats")
    assert sum(r["jobs"] for r in rows(rig).values() if r["state"] == "old") == 1
    assert "1 jobs, ready or set aside" in rig.ctl("keys", "retire", code=1).err
    rig.ctl("conn", "enable", "off")
    assert rig.results(ids)[ids[0]][-1]["state"] == "done"
    rig.ctl("keys", "rotate")  # what was renewed before the worker had the file
    wait_until(lambda: rig.run_ctl("keys", "retire").code == 0, 10, "it to be free", every=0.1)


def test_rotate_waits_for_a_worker_that_does_not_know(rig):
    rig.link("acct")
    fleet = Fleet(rig, 2)
    rig.ctl("keys", "rotate", "--stage")
    text = rig.keys.read_text()
    fleet.give(only=[0])
    said = rig.ctl("keys", "rotate", code=1).err
    assert fleet.workers[1].id in said or "known to 0 of 2" in said
    assert rig.keys.read_text() == text
    fleet.give(only=[1])
    fleet.wait_known()
    rig.ctl("keys", "rotate")
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done", "the old ones still open"


def test_a_file_that_is_not_the_workers_is_not_staged(rig):
    """Given to them, as it would say, it would stop them."""
    rig.use_redis()
    rig.worker()
    rig.run_ctl("keys", "new", rig.folder / "foreign")
    before = (rig.folder / "foreign").read_text()
    done = rig.run_ctl("--keys", rig.folder / "foreign", "keys", "rotate", "--stage")
    assert done.code == 1 and "not the workers'" in done.err, done.err
    assert (rig.folder / "foreign").read_text() == before


def test_nothing_to_rotate(rig):
    rig.need(keys=True)
    assert "--stage" in rig.ctl("keys", "rotate", code=1).err
    assert "no old keys" in rig.ctl("keys", "retire").out


def test_applying_a_file_after_a_rotation_is_no_new_link(rig):
    auth, _ = rig.use_peers()
    conn = rig.conn("acct", "refresh_token", "basic", "basic")
    rig.apply(conn, refresh_token=auth.mint("acct", "basic")["refresh_token"])
    rig.ctl("keys", "rotate", "--stage")
    rig.ctl("keys", "rotate")
    rig.ctl("keys", "retire")
    assert "unchanged" in rig.ctl("conn", "apply", "-f", rig.folder / "acct.yaml").out
    w = rig.worker()
    assert rig.result(rig.job("acct", "/echo"))["state"] == "done" and w.running


@pytest.mark.parametrize("spoil", ["gone", "open", "other", "garbage"])
def test_a_bad_file_at_hup_changes_nothing(rig, spoil):
    rig.link("acct")
    w = rig.worker(lease="1s")
    good = rig.keys.read_text()
    if spoil == "gone":
        rig.keys.unlink()
    elif spoil == "open":
        rig.keys.chmod(0o644)
    else:
        rig.keys.write_text("".join(f"{kind} {os.urandom(4).hex()} {os.urandom(32).hex()}\n" for kind in
                                    ("run", "access", "grant")) if spoil == "other" else good + "run 1\n")
    w.hup()
    bad = w.wait_log("config.bad")
    assert str(rig.keys) in bad["error"] and len(w.logged("config.bad")) == 1
    assert rig.result(rig.job("acct", "/echo", then=[rig.call("acct", "/echo")]))["state"] == "done"
    assert not any(word in str(w.json_lines()) for line in good.splitlines() for word in line.split()[2:])


def test_an_unreadable_record_is_named_and_left(rig):
    rig.link("good")
    rig.link("bad")
    r = rig.redis.client
    r.hset("awq:{c:bad}", "cs", b"\x01" + os.urandom(90))
    rig.ctl("keys", "rotate", "--stage")
    before = r.hgetall("awq:{c:bad}")
    said = rig.ctl("keys", "rotate", code=4)
    assert "1 re-sealed" in said.out and "1 unreadable" in said.out and "connection bad" in said.err
    assert r.hgetall("awq:{c:bad}") == before
    assert "Nothing was changed" in rig.ctl("keys", "retire", code=1).err


def test_a_change_that_was_broken_off_is_said(rig):
    rig.need(keys=True)
    beside = rig.folder / "keys.new"
    beside.write_text("")
    text = rig.keys.read_text()
    assert "remove it if not" in rig.ctl("keys", "rotate", "--stage", code=1).err
    assert rig.keys.read_text() == text
