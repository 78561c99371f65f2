"""Nobody heard what the token server answered: one sanctioned replay, by whoever comes after the grace."""
import time

import pytest

from procs import wait_until
from test_bad_tokens import Tokens, dropped, error

LEASE_S, GRACE_S = 1.0, 0.2  # as Tokens sets them


def hold(link):
    """Takes the request and does not answer: its sender is killed meanwhile."""
    link.drip(b"", 0.05, 600)


def until_asked(b, name, times=1, timeout=10):
    wait_until(lambda: len(b.forms.get(name, [])) >= times, timeout, f"{times} token requests of {name}")


def is_ended(b, name):
    return any(r["run"] == name and r["end"] for r in b.rig.all_results())


def test_a_dead_holder_is_replaced(rig):
    """SIGKILL while the request is with the server: another worker sends the same token once more, not
    before lease and grace are over, and the job that waited is done with what comes."""
    b = Tokens(rig, {"lost": (hold, "", "")}, "refresh_token").start()
    b.worker.kill()
    victim = rig.worker(**b.settings)
    b.put(b.job("lost", conn="lost"))
    until_asked(b, "lost")
    asked = time.monotonic()
    victim.kill()
    b.behave.add("lost")
    other = rig.worker(**b.settings)
    assert b.last_results(["lost"])["lost"]["state"] == "done"
    assert time.monotonic() - asked >= LEASE_S + GRACE_S - 0.5  # the lease began a little before
    assert [f["refresh_token"] for f in b.forms["lost"]] == ["first-refresh-token"] * 2
    assert [e["replays"] for e in other.logged("token.renewing", connection="lost")] == [1]
    record = b.record("lost")
    assert record["ver"] == b"1" and "pf" not in record


@pytest.mark.parametrize("replay, sent", [("never", 1), ("once", 2)])
def test_the_connection_says_how_often(rig, replay, sent):
    b = Tokens(rig, {}, "refresh_token").start()
    b.server.routes["/t/acct2"] = b.until_told("acct2", dropped)
    b.relink("acct2", replay=replay)
    b.put(b.job("job", conn="acct2"))
    wait_until(lambda: b.record("acct2")["state"] == b"NEEDS_CONSENT", 20, "its owner to be needed")
    assert b.record("acct2")["why"] == b"answer_lost"
    assert len(b.forms["acct2"]) == sent
    b.behave.add("acct2")
    b.relink("acct2", refresh="of-the-new-link", replay=replay)
    assert b.last_results(["job"])["job"]["state"] == "done"
    b.check()


def test_where_repeats_are_forgiven_nobody_is_asked(rig):
    b = Tokens(rig, {}, "refresh_token").start()
    b.server.routes["/t/acct2"] = b.until_told("acct2", dropped)
    b.relink("acct2", replay="always")
    b.put(b.job("job", conn="acct2"))
    until_asked(b, "acct2", times=4, timeout=40)
    b.behave.add("acct2")
    assert b.last_results(["job"], timeout=40)["job"]["state"] == "done"
    assert {f["refresh_token"] for f in b.forms["acct2"]} == {"first-refresh-token"}
    b.check()


def test_a_replay_that_is_refused_says_why(rig):
    """The server remembers the token as used: what its owner reads is that an answer got lost."""
    answers = [dropped, error("invalid_grant")]
    b = Tokens(rig, {}, "refresh_token").start()
    b.server.routes["/t/acct2"] = b.until_told("acct2", lambda link: answers.pop(0)(link))
    b.relink("acct2")
    b.put(b.job("job", conn="acct2"))
    wait_until(lambda: b.record("acct2")["state"] == b"NEEDS_CONSENT", 20, "its owner to be needed")
    assert (b.record("acct2")["why"], len(b.forms["acct2"])) == (b"answer_lost", 2)
    assert not is_ended(b, "job"), "parked, not failed"
    wait_until(lambda: b.worker.logged("token.needs_consent", connection="acct2"), 10, "its line in the log")
    [line] = b.worker.logged("token.needs_consent", connection="acct2")
    assert line["reason"] == "answer_lost" and "invalid_grant" in str(line)
    wait_until(lambda: "answer_lost" in rig.ctl("audit", "tail", "-o", "json").out, 10, "its line in the audit stream")
    assert '"reason":"invalid_grant"' not in rig.ctl("audit", "tail", "-o", "json").out.replace(" ", "")
    b.check()
