"""Random traces of the model of the lease protocol (tests/model/), made again on the real scripts.

What spin proves, it proves of the model: here each move's answer, and the record after it, are those of
common/scripts/. `make model` does the same with 1,000 traces.
"""
import collections
import sys

import pytest

from procs import ROOT

sys.path.insert(0, str(ROOT / "tests/model"))

from traces import ANSWERS, Replay, walk  # noqa: E402

TRACES = 60


@pytest.mark.parametrize("part", range(3))
def test_scripts_do_what_the_model_says(m, part):
    seen = collections.Counter()
    for seed in range(part, TRACES, 3):
        trace = walk(seed)
        try:
            assert Replay(m).run(trace) > 10
        except AssertionError as e:
            raise AssertionError(f"trace {seed}: {e}") from e
        seen.update((step[0], ANSWERS[step[2]]) for step in trace if len(step) > 2)
    assert {("m_acquire", "LEASE"), ("m_acquire", "GRACE"), ("m_store", "STORED"), ("m_fail", "FAILED")} <= set(seen)
