"""deploy/README.md: what it says of Redis is enough for awq, and no more than it needs."""
import re

import pytest
import redis as redispy

from procs import ROOT
from units import config_map, unit, worker_settings

TEXT = (ROOT / "deploy/README.md").read_text()
SECRET = "a-password-of-redis"


@pytest.fixture
def strict(rig):
    """A Redis with the lines of the page, and awq as the user that they make."""
    [block] = [b for b in re.findall(r"^```\n(.*?)^```", TEXT, re.M | re.S) if "appendonly" in b]
    lines = [line.split(" ", 1) for line in block.replace("PASSWORD", SECRET).splitlines()]
    options = {name: value for name, value in lines if name != "user"}
    options["user"] = [v for n, v in lines if n == "user"] + ["default on nopass ~* &* +@all"]
    rig.use_redis(tcp=True, options=options)
    password = rig.folder / "redis-password"
    password.write_text(SECRET)
    password.chmod(0o600)
    rig.common.update({"redis-url": rig.redis.tcp_url, "redis-user": "awq",
                       "redis-password-file": password})
    return rig


def test_the_user_may_do_all_that_awq_does(strict):
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
    assert not rig.redis.client.execute_command("ACL", "LOG"), "Redis refused something"


@pytest.mark.parametrize("words", [
    ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("GET", "other:key"), ("SHUTDOWN",),
    ("ACL", "LIST"), ("DEBUG", "SLEEP", "0"), ("PUBLISH", "other", "x"), ("MONITOR",),
    ("CLIENT", "KILL", "TYPE", "normal"), ("REPLICAOF", "NO", "ONE"),
], ids=lambda w: w[0])
def test_the_user_may_do_nothing_else(strict, words):
    link = redispy.Redis(port=strict.redis.port, username="awq", password=SECRET)
    with pytest.raises(redispy.exceptions.NoPermissionError):
        link.execute_command(*words)


def test_settings_and_files_that_are_named_exist():
    known = worker_settings()
    for name in re.findall(r"\bAWQ_[A-Z_]+[A-Z]", TEXT):
        assert name in known, name
    flags = set(re.findall(r"`--([a-z-]+)", TEXT))
    assert len(flags) > 8
    for flag in flags - {"entrypoint"}:
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
