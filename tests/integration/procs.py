"""procs.py - child processes of a test: started with their own log, stopped by their own pid.

A child dies with the test runner (PR_SET_PDEATHSIG, by setpriv), so that an interrupted run leaves
nothing behind. Children are therefore started from the main thread only: the signal comes when the
starting thread ends.
"""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("AWQ_BUILD", "build")
SANITIZED = "asan" in BUILD.name or "tsan" in BUILD.name
PATIENCE = 4 if SANITIZED else 1  # every wait is this much longer


def wait_until(cond, timeout=10, what=None, every=0.01):
    """Return cond()'s first true answer; fail after timeout seconds, saying what was waited for."""
    end = time.monotonic() + timeout * PATIENCE
    while True:
        got = cond()
        if got:
            return got
        if time.monotonic() > end:
            text = what() if callable(what) else what
            raise AssertionError(f"waited {timeout * PATIENCE} s for {text or 'a condition'}")
        time.sleep(every)


def free_port(count=1):
    """A loopback port (the first of `count` in a row) outside the range the kernel gives out."""
    for _ in range(1000):
        port = random.randrange(12000, 32000 - count)
        socks = []
        try:
            for i in range(count):
                s = socket.socket()
                socks.append(s)
                s.bind(("127.0.0.1", port + i))
            return port
        except OSError:
            continue
        finally:
            for s in socks:
                s.close()
    raise AssertionError("no free port")


def program(name):
    """A server of the system; missing is a failure, never a skip."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    assert path, f"{name} is not installed: make deps"
    return path


def built(name):
    path = BUILD / name
    assert path.exists(), f"{path} is not built: make build"
    return str(path)


class Process:
    """One child. Its stdout and stderr go to files, so that no pipe can fill up and block it."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = Path(folder)
        self.log_path = self.folder / f"{name}.log"
        self.err_path = self.folder / f"{name}.err"
        self.child = None
        self._read = 0  # bytes of log_path parsed so far
        self._lines = []

    def start(self, argv, env=None, only_env=False):
        """env is added to the environment, or is all of it."""
        assert threading.current_thread() is threading.main_thread(), "start from the main thread"
        assert self.child is None or self.child.poll() is not None, f"{self.name} runs already"
        with open(self.log_path, "ab") as out, open(self.err_path, "ab") as err:
            self.child = subprocess.Popen(
                [program("setpriv"), "--pdeathsig", "KILL", *map(str, argv)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.folder,
                env=env if only_env else {**os.environ, **(env or {})})
        return self

    @property
    def pid(self):
        return self.child.pid

    @property
    def running(self):
        return self.child is not None and self.child.poll() is None

    def send(self, sig):
        if self.running:
            os.kill(self.pid, sig)

    def term(self):
        self.send(signal.SIGTERM)

    def hup(self):
        self.send(signal.SIGHUP)

    def stop(self):
        """SIGSTOP, and wait until it has: a process in a system call stops a moment later."""
        self.send(signal.SIGSTOP)
        wait_until(lambda: self.stat()[0] in "TtZ", 5, f"{self.name} to stop")

    def cont(self):
        self.send(signal.SIGCONT)

    def kill(self):
        self.send(signal.SIGKILL)
        self.wait()

    def wait(self, timeout=20):
        """Its exit code; -N when signal N ended it."""
        if self.child is None:
            return None
        try:
            return self.child.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} (pid {self.pid}) did not end in {timeout} s") from None

    def stat(self):
        """Fields of /proc/PID/stat from the state on."""
        return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()

    def cpu_s(self):
        f = self.stat()
        return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kib(self, peak=False):
        key = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1])
        return 0

    def lines(self):
        """Whole lines of stdout so far."""
        try:
            with open(self.log_path, "rb") as f:
                f.seek(self._read)
                new = f.read()
        except FileNotFoundError:
            return self._lines
        whole = new.rfind(b"\n") + 1
        self._read += whole
        self._lines += new[:whole].decode("utf-8", "replace").splitlines()
        return self._lines

    def json_lines(self):
        out = []
        for line in self.lines():
            if line.startswith("{"):
                try:
                    out.append(json.loads(line))
                except ValueError:
                    pass
        return out

    def stderr(self):
        return self.err_path.read_text(errors="replace") if self.err_path.exists() else ""

    def tail(self, count=40):
        text = [f"---- {self.name}: " + ("running" if self.running else
                f"exit {self.child.poll()}" if self.child else "not started")]
        text += self.lines()[-count:]
        err = self.stderr().splitlines()
        text += [f"  stderr: {line}" for line in (err[:count] if SANITIZED else err[-count:])]
        return "\n".join(text)

    def end(self):
        """Make sure it is gone, however it is: continued, killed, reaped."""
        if self.running:
            self.cont()
            self.kill()
