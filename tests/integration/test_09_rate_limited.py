"""429 with Retry-After, in seconds and as a date, holds every worker back."""
import pytest

from procs import wait_until


@pytest.mark.parametrize("style", ["seconds", "date"])
def test_retry_after_holds_all_workers(rig, style):
    _, api = rig.use_peers()
    rig.link("acct")
    workers = rig.workers(4, slots=4)
    warm = rig.enqueue([rig.job("acct", "/echo") for _ in range(8)])
    rig.results(warm)
    api.reset()
    path = f"/rate?n=1&after=3&style={style}&key=t9-{style}"
    first = rig.enqueue(rig.job("acct", path))
    wait_until(lambda: any(w.logged("job.retry", status=429) for w in workers), 10, "the 429")
    # The others come while the lane is closed, for all workers alike.
    others = rig.enqueue([rig.job("acct", path) for _ in range(40)])
    results = rig.results(first + others, 40)
    assert {x[-1]["state"] for x in results.values()} == {"done"}

    log = api.log()
    assert [e.get("status") for e in log].count(429) == 1
    refused = next(e for e in log if e.get("status") == 429)
    opened = refused["t"] + (2000 if style == "date" else 3000)  # a date has whole seconds
    early = [e for e in log if e is not refused and e["t"] < opened]
    assert early == [], "nobody called meanwhile"
    assert results[first[0]][-1]["attempts"] == 2
