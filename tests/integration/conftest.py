"""Fixtures of the integration tests; rig.py tells what a rig can do."""
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from moves import Moves  # noqa: E402
from rig import Rig  # noqa: E402
from servers import Peers  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the logs of a test's processes with its failure, and remember that it failed."""
    outcome = yield
    report = outcome.get_result()
    rig = getattr(item, "awq_rig", None)
    if report.failed and rig is not None and call.when == "call":
        report.sections.append(("processes", rig.report()))


@pytest.fixture(scope="session")
def peers():
    folder = tempfile.mkdtemp(prefix="awq-peers-")
    p = Peers(folder)
    yield p
    p.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def rig(request, peers):
    # A short folder: the path of a Unix socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="awq-"))
    r = Rig(folder, peers)
    request.node.awq_rig = r
    yield r
    try:
        r.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def town(peers):
    """One Redis and one worker, for all accounts of a file."""
    folder = Path(tempfile.mkdtemp(prefix="awq-"))
    r = Rig(folder, peers)
    r.use_redis()
    r.use_peers()
    r.worker()
    yield r
    try:
        r.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def here(request, town):
    """The town, for a test that is over when its providers (dialect.py) are gone."""
    request.node.awq_rig = town
    town.dialects = []
    yield town
    for d in town.dialects:
        d.end()


@pytest.fixture(scope="module")
def moves():
    folder = Path(tempfile.mkdtemp(prefix="awq-"))
    m = Moves(folder)
    yield m
    m.server.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def m(moves):
    """The scripts, on a Redis that has nothing in it."""
    moves.fresh()
    return moves
