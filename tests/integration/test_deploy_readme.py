"""deploy/README.md: what it says of Redis is enough for awq, and no more than it needs."""
import re
import subprocess

import pytest

from procs import ROOT, built
from units import config_map, unit, worker_settings

TEXT = (ROOT / "deploy/README.md").read_text()


@pytest.fixture
def strict(rig):
    """A Redis with the lines of the page; worker and awq-ctl are the users that it has (test_acl.py)."""
    [block] = [b for b in re.findall(r"^```\n(.*?)^```", TEXT, re.M | re.S) if "appendonly" in b]
    options = dict(line.split(" ", 1) for line in block.splitlines())
    assert options.pop("aclfile")
    rig.use_redis(tcp=True, options=options)
    rig.common["redis-url"] = rig.redis.tcp_url
    return rig


def test_the_users_may_do_all_that_awq_does(strict):
    rig = strict
    rig.apply(rig.conn("acct"))
    rig.apply(rig.conn("gone", client="basic", auth="basic"))
    workers = rig.workers(2, lease="1s")
    ids = rig.enqueue([rig.job("acct", "/echo", then=[rig.call("acct", "/echo")])
                       for _ in range(50)])
    rig.results(ids)
    rig.result(rig.job("acct", "/flaky?n=1", retry={"max": 3, "base_ms": 10}))
    rig.enqueue(rig.job("acct", "http://elsewhere.test/", job_id="refused"))
    rig.results(["refused"])
    later = rig.job("acct", "/echo", job_id="later", env={"not_before": 4102444800000})
    rig.enqueue(later)
    for words in (["conn", "ls"], ["conn", "show", "acct"], ["conn", "test", "acct"],
                  ["conn", "refresh", "acct"], ["conn", "rm", "gone"], ["queue", "ls"],
                  ["dead", "ls"], ["dead", "show", "refused.0.0"], ["worker", "ls"],
                  ["job", "get", ids[0]], ["dead", "purge", "--all"]):
        done = rig.run_ctl(*words)
        assert "NOPERM" not in done.out + done.err and "may not" not in done.err, (words, done.err)
    assert rig.run_ctl("doctor").code == 0, rig.run_ctl("doctor").out
    slow = rig.enqueue([rig.job("acct", "/slow?ms=300") for _ in range(8)])
    rig.redis.client.execute_command("SCRIPT", "FLUSH")
    workers[0].kill()  # the other one reclaims
    rig.results(slow)
    workers[1].term()  # unblocks its fetch
    assert workers[1].wait() == 0
    users = {c["user"] for c in rig.redis.client.client_list() if c.get("name")}
    assert "default" not in users
    assert not rig.redis.client.execute_command("ACL", "LOG"), "Redis refused something"


def test_settings_and_files_that_are_named_exist():
    known = worker_settings()
    for name in re.findall(r"\bAWQ_[A-Z_]+[A-Z]", TEXT):
        assert name in known, name
    flags = set(re.findall(r"`--([a-z-]+)", TEXT))
    assert len(flags) > 8
    acl = subprocess.run([built("awq-ctl"), "acl", "print", "--help"], capture_output=True, text=True, check=True).stdout
    for flag in flags - {"entrypoint", "no-listen"} - set(re.findall(r"--([a-z-]+)", acl)):
        assert "AWQ_" + flag.upper().replace("-", "_") in known, flag
    for path in re.findall(r"deploy/[a-z]+/[A-Za-z.]+", TEXT):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`([a-z]+\.yaml)`", TEXT):
        assert (ROOT / "deploy/kubernetes" / name).exists(), name
    for folder in re.findall(r"^\| `([a-z]+)/`", TEXT, re.M):
        assert (ROOT / "deploy" / folder).is_dir(), folder


def test_figures_are_those_of_the_files():
    known = worker_settings()
    [times] = re.findall(r"\((\d+) > (\d+) > (\d+) s\)", TEXT)
    pod = (ROOT / "deploy/kubernetes/deployment.yaml").read_text()
    assert f"terminationGracePeriodSeconds: {times[0]}\n" in pod
    assert unit()["TimeoutStopSec"] == [times[0]]
    assert config_map()["AWQ_DRAIN"] == f"{times[1]}s"
    assert known["AWQ_STEP_TIMEOUT"] == f"{times[2]}s"
    for name, text in (("AWQ_SLOTS", "`--slots` steps in flight (64)"),
                       ("AWQ_LEASE", "after `--lease` (6 s)"), ("AWQ_DEDUP", "`--dedup` (10 minutes)"),
                       ("AWQ_RESULTS_MAX", "100,000 entries (`--results-max`)")):
        assert text in TEXT
        digits = re.sub(r"\D", "", re.sub(r"`.*?`", "", text))
        assert re.sub(r"\D", "", known[name]) == digits, name
