"""429 with Retry-After, in seconds and as a date, holds every worker back."""
import pytest


@pytest.mark.parametrize("style", ["seconds", "date"])
def test_retry_after_holds_all_workers(rig, style):
    _, api = rig.use_peers()
    rig.link("acct")
    rig.workers(4, slots=4)
    warm = rig.enqueue([rig.job("acct", "/echo") for _ in range(8)])
    rig.results(warm)
    api.reset()
    path = f"/rate?n=1&after=3&style={style}&key=t9-{style}"
    first = rig.enqueue(rig.job("acct", path))
    # The others come while the lane is closed, for all workers alike.
    others = rig.enqueue([rig.job("acct", path) for _ in range(40)])
    results = rig.results(first + others, 40)
    assert {x[-1]["state"] for x in results.values()} == {"done"}

    log = api.log()
    refused = [e for e in log if e.get("status") == 429]
    assert len(refused) == 1
    closed = refused[0]["t"] + 300  # what was on its way already
    least = 2000 if style == "date" else 3000  # a date has whole seconds
    opened = refused[0]["t"] + least
    assert [e for e in log if closed < e["t"] < opened] == [], "nobody called meanwhile"
    assert results[first[0]][-1]["attempts"] == 2 or len(log) == 42
    after = sorted(e["t"] for e in log if e["t"] >= opened)
    assert after, "most had to wait"
