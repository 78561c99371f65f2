"""deploy/systemd: the unit is hardened, and a worker can live under what it allows."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

import golden
from procs import ROOT, SANITIZED, built, program
from rig import clean_env
from units import UNIT, span_s, unit, worker_settings

SANITIZERS = ["-fsanitize=address,undefined"] if SANITIZED else []  # the library is built with them, then
USER = os.getuid() or 64123  # as DynamicUser= gives one: nobody's


def analyze(*args):
    done = subprocess.run([program("systemd-analyze"), "--no-pager", *map(str, args)], text=True,
                          capture_output=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def installed(tmp_path):
    """The unit as `make install` leaves it; the program is where it says."""
    prefix = tmp_path / "opt"
    subprocess.run(["make", "-s", "-C", ROOT, "install", f"PREFIX={prefix}"], check=True,
                   capture_output=True, timeout=100)
    return prefix


def test_exposure_is_low():
    rc, text = analyze("security", "--offline=true", "--threshold=20", UNIT)
    found = re.search(r"exposure level for \S+: (\S+)", text)
    assert found and float(found[1]) <= 2.0 and rc == 0, text


def test_an_unhardened_unit_is_seen(tmp_path):
    plain = tmp_path / "awq-worker@.service"
    plain.write_text("\n".join(line for line in UNIT.read_text().splitlines()
                               if not line.startswith(("SystemCall", "Restrict", "Protect"))))
    assert analyze("security", "--offline=true", "--threshold=20", plain)[0] != 0


def test_installed_unit_starts_the_installed_program(installed):
    there = installed / "lib/systemd/system/awq-worker@.service"
    start = re.search(r"^ExecStart=(.*)$", there.read_text(), re.M)[1]
    assert start == str(installed / "bin/awq-worker") and os.access(start, os.X_OK)
    for name in ("awq-ctl", "awq-sandbox"):
        assert os.access(installed / "bin" / name, os.X_OK)
    rc, text = analyze("verify", "--man=no", there)
    assert rc == 0 and "awq-worker" not in text, text


def test_the_installed_awq_ctl_has_the_provider_profiles(installed):
    done = subprocess.run([installed / "bin/awq-ctl", "profile", "ls", "-o", "json"], env=clean_env(), text=True,
                          capture_output=True, timeout=100, check=True)
    assert [row["profile"] for row in json.loads(done.stdout)] == golden.names() and done.stderr == ""
    assert (installed / "share/awq/providers/README.md").exists()


def test_a_program_is_built_with_what_is_installed(installed, tmp_path):
    """As the head of the example says: by pkg-config, outside the tree."""
    env = {**os.environ, "PKG_CONFIG_PATH": str(installed / "lib/pkgconfig")}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "awq"], env=env, check=True, text=True,
                           capture_output=True).stdout.split()
    shutil.copy(ROOT / "deploy/examples/producer.c", tmp_path)
    made = subprocess.run(["cc", "-o", "producer", "producer.c", *flags, *SANITIZERS], cwd=tmp_path, text=True,
                          capture_output=True, timeout=100, check=False)
    assert made.returncode == 0, made.stderr
    ran = subprocess.run([tmp_path / "producer", "redis://127.0.0.1:1"], text=True, capture_output=True, timeout=100,
                         check=False)
    assert ran.returncode == 2 and "127.0.0.1:1" in ran.stderr, ran.stderr


def test_settings_exist():
    known = worker_settings()
    named = re.findall(r"\bAWQ_[A-Z_]+", UNIT.read_text())
    assert {"AWQ_KEYS", "AWQ_JOURNAL", "AWQ_DRAIN"} <= set(named)
    for name in named:
        assert name in known or name == "AWQ_", f"{name} is not in awq-worker --help"
    for flag in re.findall(r"(?<!\S)\(?--([a-z-]+)", UNIT.read_text()):
        assert flag == "now" or "AWQ_" + flag.upper().replace("-", "_") in known, f"--{flag}"


def test_times_limits_and_credentials():
    u = unit()
    known = worker_settings()
    drain = span_s(re.search(r"AWQ_DRAIN=(\S+)", " ".join(u["Environment"]))[1])
    assert drain > span_s(known["AWQ_STEP_TIMEOUT"])
    assert span_s(u["TimeoutStopSec"][0]) >= drain + 15
    assert u["Type"] == ["exec"] and u["KillSignal"] == ["SIGTERM"]
    assert u["Restart"] == ["always"] and u["RestartPreventExitStatus"] == ["2"]
    assert u["StartLimitIntervalSec"] == ["0"]
    assert u["LimitCORE"] == ["0"]
    credential = u["LoadCredential"][0].split(":")
    assert f"AWQ_KEYS=%d/{credential[0]}" in u["Environment"][0].split()
    state = u["StateDirectory"][0]
    assert f"AWQ_JOURNAL=%S/{state}" in u["Environment"][0].split()
    assert "%i" in state, "two workers with one journal would take each other's"
    assert all(f.startswith("-/etc/awq/worker") for f in u["EnvironmentFile"])


def test_a_bad_setting_ends_with_2(tmp_path):
    """RestartPreventExitStatus=2 is what stops systemd from starting such a worker for ever."""
    done = subprocess.run([built("awq-worker"), "--keys", tmp_path / "none"], check=False,
                          capture_output=True, env=clean_env())
    assert done.returncode == 2, done.stderr


def under_unit(rig, **settings):
    """A worker under the unit's filters and limits, with its credentials and its state folder."""
    home = rig.folder / "unit"
    (home / "state").mkdir(parents=True)
    shutil.copy(rig.keys, home / "keys")
    shutil.copy(rig.roles, home / "password")
    for path in (home / "keys", home / "password"):
        path.chmod(0o400)
    for path in (home / "state", home / "keys", home / "password"):
        os.chown(path, USER, USER)
    rig.folder.chmod(0o755)
    shutil.copy(built("awq-worker"), home / "awq-worker")  # the tree may be root's alone
    (rig.redis.dir / "redis.sock").chmod(0o777)
    rig.redis.dir.chmod(0o755)
    # the leak check of the sanitizers traces the process, which no unit allows
    env = {"ASAN_OPTIONS": "detect_leaks=0"} if SANITIZED else None
    w = rig.worker(ready=False, keys=home / "keys", journal=home / "state", env=env,
                   redis_user="awq-worker", redis_password_file=home / "password", **settings)
    w.kill()
    w.log_path.write_text("")
    w.args = [sys.executable, ROOT / "tests/integration/under_unit.py", str(USER),
              home / "awq-worker"]
    w.start()
    return w.wait_ready()


def test_a_worker_works_under_the_unit(rig):
    rig.need(peers=True, keys=True)
    port = rig.api.base.rsplit(":", 1)[1]
    # by name: looking one up takes more system calls than an address
    rig.link("acct", policy={"hosts": [f"localhost:{port}", f"127.0.0.1:{port}"]})
    w = under_unit(rig)
    assert w.stat()[0] in "SR"
    job = rig.job("acct", f"http://localhost:{port}/echo",
                  then=[rig.call("acct", "/echo")])
    assert [r["state"] for r in rig.results(rig.enqueue(job))[job["id"]]] == ["done", "done"]
    status = open(f"/proc/{w.pid}/status", encoding="ascii").read()
    assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
    assert re.search(r"CapEff:\t0+\n", status) and re.search(rf"Uid:\t{USER}\t", status)
    locked = int(re.search(r"VmLck:\s+(\d+) kB", status)[1])
    assert locked >= 2048 or SANITIZED, "the secrets' pool is locked under LimitMEMLOCK"
    assert w.logged("journal.opened") and list((rig.folder / "unit/state").iterdir())
    w.send(signal.SIGHUP)
    w.term()
    assert w.wait() == 0, w.tail()


def test_the_filters_are_there():
    """What under_unit.py forbids does fail: else the test above would show nothing."""
    tried = "import ctypes, mmap, os, socket\n" \
        "def no(f, *a):\n" \
        "    try: f(*a)\n" \
        "    except OSError as e: return e.errno == 1\n" \
        "print(no(socket.socket, socket.AF_PACKET, socket.SOCK_RAW), no(os.nice, 1),\n" \
        "      no(os.chroot, '/'), no(mmap.mmap, -1, 4096, 34, 7))"
    done = subprocess.run([sys.executable, ROOT / "tests/integration/under_unit.py", str(USER),
                           sys.executable, "-c", tried], text=True, capture_output=True, check=True)
    assert done.stdout.split() == ["True"] * 4, done.stdout
