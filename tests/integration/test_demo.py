"""awq-demo, which `make run` starts: what it ends with, and that it leaves nothing behind."""
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from procs import BUILD, Process, built, wait_until
from rig import SAN_ENV

LAST = re.compile(r"awq demo: steps=(\d+) lost=(\d+) duplicate_commits=(\d+) renewals=(\d+) "
                  r"token_versions=(\d+) killed=(\d+) recovered_s=([\d.]+) steps_per_s=(\d+)$")


def children(folder):
    """Processes with this folder in their environment (AWQ_KEYS=FOLDER/keys) or arguments; Redis
    writes its title over its environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit():
                continue
            text = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            if f"{folder}/".encode() in text:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class Demo(Process):
    def begin(self, program=None, *args):
        env = {**SAN_ENV, "AWQ_SLOTS": "1"}  # of somebody who has workers of their own: must not matter
        self.start(["env", *(f"{k}={v}" for k, v in env.items()), program or built("awq-demo"), *args])
        return self

    @property
    def site(self):
        """Its folder, from the line that tells of its Redis."""
        for line in self.lines():
            if m := re.search(r"unix://(/tmp/awq-demo-\w+)/redis.sock", line):
                return m[1]
        return None


@pytest.fixture
def demo(tmp_path):
    d = Demo("demo", tmp_path)
    yield d
    site = d.site
    d.end()
    if site:
        for pid in children(site):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(site, ignore_errors=True)


def test_demo(demo):
    demo.begin()
    site = wait_until(lambda: demo.site, 20, "the demo to be set up")
    assert len(children(site)) >= 4, "a Redis, a sandbox and two workers"
    code = demo.wait(180)
    text = "\n".join(demo.lines())
    assert code == 0, demo.tail()
    assert "OFF" not in text and "SIGKILL" in text and "recovered" in text
    got = LAST.match(demo.lines()[-1])
    assert got, demo.lines()[-1]
    steps, lost, duplicates, renewals, versions, killed = map(int, got.groups()[:6])
    assert (steps, lost, duplicates, killed) == (4000, 0, 0, 1)
    assert renewals == versions >= 8
    assert 0 < float(got[7]) <= 10 and int(got[8]) > 0
    assert not Path(site).exists() and children(site) == []


def test_interrupt(demo):
    """^C on the way: all of it ends, the folder goes."""
    demo.begin()
    wait_until(lambda: any("1000 of" in line for line in demo.lines()), 30, "a quarter of the work")
    site = demo.site
    demo.send(signal.SIGINT)
    assert demo.wait(10) == 1
    assert "interrupted" in demo.stderr()
    assert not Path(site).exists() and children(site) == []


def test_killed(demo):
    """kill -9 for the demo itself: what it started dies with it."""
    demo.begin()
    site = wait_until(lambda: demo.site, 20, "the demo to be set up")
    wait_until(lambda: any("jobs" in line for line in demo.lines()), 20, "the work to begin")
    demo.kill()
    wait_until(lambda: not children(site), 10, "everything to end")


def with_fake(tmp_path, name, script):
    """A folder with the demo and all it needs, one program of it replaced."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("awq-demo", "awq-sandbox", "awq-ctl", "awq-worker"):
        shutil.copy(BUILD / program, folder)
    (folder / name).write_text("#!/bin/sh\n" + script)
    return folder / "awq-demo"


@pytest.mark.parametrize("name, script, words", [
    ("awq-worker", "echo not today; exit 3", "worker1"),
    ("awq-ctl", "echo no keys for you >&2; exit 1", "no keys for you"),
    ("awq-sandbox", "exit 0", "sandbox"),
])
def test_a_part_that_does_not_start(demo, tmp_path, name, script, words):
    demo.begin(with_fake(tmp_path, name, script))
    assert demo.wait(30) == 1
    said = demo.stderr().splitlines()
    assert words in said[0] and said[0].startswith("awq-demo: "), said
    logs = re.search(r"logs are in (\S+)", said[-1])[1]
    assert list(Path(logs).glob("*.log")) and children(logs) == []
    shutil.rmtree(logs)


def test_usage():
    done = subprocess.run([built("awq-demo"), "--frob"], capture_output=True, text=True, timeout=20,
                          check=False, env={**os.environ, **SAN_ENV})
    assert done.returncode == 2 and "usage" in done.stderr
    done = subprocess.run([built("awq-demo"), "--help"], capture_output=True, text=True, timeout=20,
                          check=False, env={**os.environ, **SAN_ENV})
    assert done.returncode == 0 and "--keep" in done.stdout
