"""Profiles, and who would use them against awq: with Redis alone, as a producer, or as the provider."""
import json

import pytest

from procs import free_port
from test_57_habits import linked
from walk import Fails

COMPANY = {"api": {"base_url": "BASE/company/{callback.realmId}"}}
AT_4620 = {"callback": {"realmId": "4620"}, "where": {"base": "/company/4620"}}


def forged(w, **change):
    """Somebody writes into the record who has Redis, and no keys."""
    redis, key = w.rig.redis.client, f"awq:{{c:{w.id}}}"
    cfg = {**json.loads(redis.hget(key, "cfg")), "callback": {"realmId": "666"}}
    redis.hset(key, mapping={"cfg": json.dumps(cfg), **change})


def signed_callback(w):
    return json.loads(w.rig.redis.client.hget(f"awq:{{c:{w.id}}}", "cfg")).get("callback", {}).get("realmId")


@pytest.mark.parametrize("change, args", [({}, ["--relink"]), ({"state": "REMOVED"}, [])])
def test_an_edited_record_brings_no_company(here, change, args):
    """What the browser brought is kept when the file is applied again: of a record that is authentic, and no other."""
    w = linked(here, COMPANY, AT_4620, calling={"relative": True})
    w.works()
    forged(w, **change)
    here.ctl("conn", "apply", "-f", here.folder / f"{w.id}.yaml", *args)
    assert signed_callback(w) is None
    w.link()
    w.works()


def test_a_second_request_that_finds_nobody(here):
    with pytest.raises(Fails, match="chain.url") as failed:
        linked(here, {"chain": {"url": f"http://127.0.0.1:{free_port()}/long"}})
    assert "Sanitizer" not in str(failed.value) and "double free" not in str(failed.value)


