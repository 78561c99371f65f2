"""Half a minute of tests/chaos: workers killed and stopped, Redis restarted, answers lost, all at random.

`make chaos` does it for as long as you like, with a bigger fleet. A history that somebody spoiled must be
noticed as well: what the checker cannot see, the runs do not prove.
"""
import copy
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from procs import ROOT, SANITIZED

sys.path.insert(0, str(ROOT / "tests/chaos"))

import chaos  # noqa: E402
import check  # noqa: E402

SECONDS = 25


@pytest.fixture(scope="module")
def history():
    folder = Path(tempfile.mkdtemp(prefix="awq-"))
    yield check.read(chaos.run(SECONDS, seed=7, workers=6, accounts=16, rate=20 if SANITIZED else 40, folder=folder))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def spoiled(history):
    return copy.deepcopy(history)


def of(events, what):
    return [e for e in events if e["what"] == what]


def test_half_a_minute(history):
    verdict = check.Verdict(history)
    print(verdict.line())
    assert not verdict.problems, "\n".join([*verdict.problems, verdict.line()])
    assert verdict.renewals > SECONDS and verdict.killed_in_call and verdict.by["lost"], verdict.line()


def test_the_same_seed_is_the_same_schedule():
    assert chaos.schedule(3, 60, 16) == chaos.schedule(3, 60, 16) != chaos.schedule(4, 60, 16)


def test_a_missing_result_is_noticed(spoiled):
    last = next(e for e in spoiled if e["what"] == "result" and e["end"])
    verdict = check.Verdict([e for e in spoiled if e is not last])
    assert verdict.lost == 1 and verdict.problems == [f"job {last['run']} has no last result"]


def test_a_step_committed_twice_is_noticed(spoiled):
    twice = of(spoiled, "result")[5]
    verdict = check.Verdict([*spoiled, {**twice, "entry": "9-9"}])
    assert verdict.duplicates == 1 and verdict.problems == [
        f"job {twice['run']} step {twice['step']} was committed 2 times"]


def test_a_job_that_failed_is_noticed(spoiled):
    one = of(spoiled, "result")[3]
    one.update(state="failed", status=500, error="?")
    assert check.Verdict(spoiled).problems == [f"job {one['run']} ended failed (?, status 500)"]


def test_an_old_refresh_token_is_noticed(spoiled):
    requests = of(spoiled, "token_request")
    used = {e["rt"] for e in requests}
    old = next(e for e in requests if check.is_ok(e) and e["new_rt"] in used)
    verdict = check.Verdict(sorted([*spoiled, {**old, "t": spoiled[-1]["t"]}], key=lambda e: e["t"]))
    assert verdict.unsanctioned == 1 and "although a newer one was in use" in verdict.problems[0]


def test_two_at_the_same_time_are_noticed(spoiled):
    last = [e for e in of(spoiled, "token_request") if check.is_ok(e)][-1]
    last["ms"] = 900
    twin = {**last, "t": last["t"] + 100}
    verdict = check.Verdict(sorted([*spoiled, twin], key=lambda e: e["t"]))
    assert verdict.unsanctioned == 1 and "under way" in verdict.problems[0]


def test_a_second_replay_is_noticed(spoiled):
    last = [e for e in of(spoiled, "token_request") if check.is_ok(e) and e["server"] == "strict"][-1]
    more = [{**last, "t": last["t"] + n * 5000} for n in (1, 2)]
    verdict = check.Verdict(sorted([*spoiled, *more], key=lambda e: e["t"]))
    assert verdict.unsanctioned >= 1 and any("after its one replay" in p for p in verdict.problems)


def test_a_leak_is_noticed(spoiled):
    of(spoiled, "leaks")[0]["count"] = 1
    call = next(e for e in of(spoiled, "call") if e["path"].startswith("/effect/strict1-"))
    call["sub"] = "strict2"
    assert check.Verdict(spoiled).leaked == 2


def test_a_loss_without_a_reason_is_noticed(spoiled):
    lost = {(e["account"], e["gen"]) for e in of(spoiled, "lost")}
    for server in ("strict", "forgiving"):
        link = [e for e in of(spoiled, "link") if e["account"].startswith(server) and (e["account"], e["gen"]) not in lost][-1]
        at = next(e["t"] for e in spoiled if e["what"] == "calm")
        loss = {"t": at, "what": "lost", "account": link["account"], "gen": link["gen"], "ver": 1, "why": "refused"}
        alone = [e for e in spoiled if e["what"] not in ("kill", "stop") and e.get("account") != link["account"]]
        verdict = check.Verdict(sorted([*alone, link, loss], key=lambda e: e["t"]))
        assert any(p.startswith(f"{link['account']} was lost") for p in verdict.problems)
        assert verdict.explained < len(verdict.by["lost"])
