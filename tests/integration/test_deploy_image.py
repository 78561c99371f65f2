"""deploy/image: the image is really built, and the fleet works in it as a cluster would run it."""
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

import golden
from image import Box, Store, box_argv
from procs import ROOT, free_port, wait_until
from rig import Answer
from tls import Authority
from units import config_map, worker_settings

pytestmark = [
    pytest.mark.image,
    pytest.mark.timeout(1500),
]
PASSWORD = "a-password-of-redis"


@pytest.fixture(scope="module")
def images():
    assert os.geteuid() == 0, "building a root needs root; LABEL='not long and not image' leaves it out"
    s = Store(tempfile.mkdtemp(prefix="awq-image-", dir="/var/tmp"))
    try:
        s.take_base()
        yield s
    finally:
        s.end()


@pytest.fixture(scope="module")
def image(images):
    images.build("awq")
    return images.unpack("awq")


README = (ROOT / "deploy/README.md").read_text()


class Fleet:
    """A Redis with TLS and the users of the page, secrets laid out as a kubelet does, workers in boxes."""

    def __init__(self, rig, image):
        self.rig, self.image = rig, image
        self.user = int(image[0]["User"].split(":")[0])
        self.made = 0
        ca = Authority(rig.folder)
        cert, key = ca.issue("redis")
        self.port = free_port()
        users = [f"awq-{role} " + re.search(rf"^user awq-{role} (.*)$", README, re.M)[1].replace(
            " on ", f" on >{PASSWORD} ", 1) for role in ("worker", "ctl")]
        rig.use_redis(aof="everysec", options={
            "tls-port": self.port, "tls-cert-file": cert, "tls-key-file": key,
            "tls-ca-cert-file": ca.cert, "tls-auth-clients": "no",
            "user": [*users, "default on nopass ~* &* +@all"]})
        rig.need(peers=True, keys=True)
        self.mounts = rig.folder / "mounts"
        secrets = {"keys": {"keys": rig.keys.read_text()},
                   "redis": {"password": PASSWORD, "ca.crt": ca.cert.read_text()}}
        lines = [f"ro {self.volume(name, files)} run/awq/{name}" for name, files in secrets.items()]
        self.mounts.write_text("\n".join([*lines, f"rw {self.folder('journal')} var/lib/awq", ""]))
        self.env = {**config_map(), "AWQ_REDIS_URL": f"rediss://127.0.0.1:{self.port}"}

    def folder(self, name):
        path = self.rig.folder / name
        path.mkdir()
        os.chown(path, 0, self.user)
        path.chmod(0o2775)
        return path

    def volume(self, name, files):
        """As a kubelet lays a secret out: links to links, root's, and the group may read."""
        path = self.folder(f"volume-{name}")
        (path / "..1").mkdir()
        (path / "..data").symlink_to("..1")
        for file, text in files.items():
            real = path / "..1" / file
            real.write_text(text)
            os.chown(real, 0, self.user)
            real.chmod(0o440)
            (path / file).symlink_to(f"..data/{file}")
        return path

    def worker(self):
        probe = f"127.0.0.1:{free_port()}"
        self.made += 1
        w = Box(self.rig.folder, f"box{self.made}", self.image,
                {**self.env, "AWQ_PROBE_LISTEN": probe}, self.mounts)
        self.rig.things.append(w)
        w.start()
        return w.wait_ready()

    def ctl(self, *args, env=None, more_mounts=""):
        """awq-ctl of the image, in a box as well."""
        mounts = self.rig.folder / "ctl-mounts"
        mounts.write_text(self.mounts.read_text() + more_mounts)
        settings, root = self.image
        done = subprocess.run(
            [str(a) for a in box_argv(root, settings["User"], mounts,
                                      ["/usr/local/bin/awq-ctl", *args])],
            env={**{k: v for k, v in self.env.items() if "REDIS" in k or k == "AWQ_KEYS"},
                 "AWQ_REDIS_USER": "awq-ctl", "PATH": os.environ["PATH"], **(env or {})},
            text=True, capture_output=True, timeout=60, check=False)
        return Answer(done)


def test_the_image_says_who_runs_what(image):
    settings, root = image
    assert settings["Entrypoint"] == ["/usr/local/bin/awq-worker"] and not settings.get("Cmd")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", settings["User"])
    assert settings.get("StopSignal", "SIGTERM") == "SIGTERM"
    assert not [e for e in settings.get("Env") or [] if not e.startswith("PATH=")]
    ours = {p.name for p in (root / "usr/local/bin").iterdir()}
    assert ours == {"awq-worker", "awq-ctl"}
    profiles = {p.stem for p in (root / "usr/local/share/awq/providers").glob("*.yaml")}
    assert profiles == set(golden.names())
    for waste in ("usr/bin/gcc", "usr/bin/make", "src", "var/lib/apt/lists/lock"):
        assert not (root / waste).exists(), waste
    assert "trixie" in (root / "etc/os-release").read_text()


def test_each_library_is_there(image):
    _, root = image
    for name in ("awq-worker", "awq-ctl"):
        said = subprocess.run(["chroot", root, "ldd", f"/usr/local/bin/{name}"], text=True,
                              capture_output=True, check=True).stdout
        assert "not found" not in said and "libhiredis" in said and "libyyjson" in said, said
    assert list((root / "etc/ssl/certs").glob("ca-certificates.crt")), "for servers of the world"


def test_the_same_settings_as_the_tree_s(rig, image):
    """The image's program is this tree's: its help says the same."""
    rig.need()
    mounts = rig.folder / "no-mounts"
    mounts.write_text("")
    settings, root = image
    argv = box_argv(root, settings["User"], mounts, [*settings["Entrypoint"], "--help"])
    said = subprocess.run([str(a) for a in argv], text=True, capture_output=True, check=True)
    assert {f"--{n[4:].lower().replace('_', '-')}" for n in worker_settings()} \
        <= set(re.findall(r"--[a-z0-9-]+", said.stdout))


def writable(pid):
    """Where process 1 of a box could write, as far as mounts say."""
    out = set()
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        at, options = line.split()[4:6]
        if "rw" in options.split(","):
            out.add(at)
    return out


def test_the_fleet_works_in_the_image(rig, image):
    fleet = Fleet(rig, image)
    one, two = fleet.worker(), fleet.worker()
    root = Path(f"/proc/{one.pid}/root")
    assert not os.path.lexists(root / "usr/bin/sh") and not (root / "bin/sh").exists()
    assert {p for p in writable(one.pid) if p not in ("/dev/null", "/dev/zero", "/dev/urandom")} \
        == {"/proc", "/var/lib/awq"}
    status = Path(f"/proc/{one.pid}/status").read_text()
    assert re.search(r"NSpid:\t\d+\t1\n", status), "the program itself is process 1"
    assert re.search(r"Uid:\t65532\t65532", status) and re.search(r"CapEff:\t0+\n", status)
    assert "NoNewPrivs:\t1" in status

    # link an account from inside, with a client secret that a file brings
    conn = rig.conn("acct")
    conn["client"]["secret"] = {"file": "/run/apply/secret"}
    volume = fleet.volume("apply", {"secret": "svc-secret"})
    (volume / "acct.yaml").write_text(yaml.safe_dump(conn))
    done = fleet.ctl("conn", "apply", "-f", "/run/apply/acct.yaml",
                     more_mounts=f"ro {volume} run/apply\n")
    assert done.code == 0, done.out + done.err

    jobs = [rig.job("acct", f"/idempotent?a={n}", then=[rig.call("acct", f"/idempotent?b={n}")])
            for n in range(300)]
    ids = rig.enqueue(jobs)
    wait_until(lambda: rig.pending(consumer=one.id) >= 5 and len(rig.all_results()) >= 20, 30,
               "a worker amid its work")
    one.may_fail = True  # unshare says 1 of a child that was killed
    one.kill()
    three = fleet.worker()
    results = rig.results(ids, 60)
    for job_id, got in results.items():
        assert [r["state"] for r in got] == ["done", "done"], (job_id, got)
    assert not rig.places(), rig.places_text()
    assert len(rig.api.idempotency()) == 600, "each step has one key, however often it was sent"

    done = fleet.ctl("doctor")
    assert done.code == 0, done.out + done.err
    denied = rig.redis.client.execute_command("ACL", "LOG")
    assert not denied, f"Redis refused something: {denied}"

    # rolling: TERM drains, and the worker leaves by itself
    slow = rig.enqueue([rig.job("acct", "/slow?ms=1500") for _ in range(4)])
    wait_until(lambda: rig.pending(consumer=three.id) + rig.pending(consumer=two.id) >= 4, 10, "slow")
    for w in (two, three):
        w.send(signal.SIGTERM)
    assert (two.wait(), three.wait()) == (0, 0), two.tail() + three.tail()
    assert {r[-1]["state"] for r in rig.results(slow).values()} == {"done"}
    logs = "".join("\n".join(w.lines()) + w.stderr() for w in (one, two, three))
    assert PASSWORD not in logs and "svc-secret" not in logs


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_everything_builds_and_passes_on_debian_13(images):
    """Warnings as errors with its compilers, every unit test, and the main job of `make run`."""
    said = images.build("awq-check", "--target", "check")
    assert re.search(r"^unit: \d+ passed, 0 failed$", said, re.M), said[-3000:]
    assert re.search(r"^awq demo: steps=4000 lost=0 .* killed=1 ", said, re.M), said[-3000:]
