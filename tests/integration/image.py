"""image.py - deploy/image/Containerfile built for real, and its programs run as a container is.

No daemon and no registry: debootstrap makes a Debian 13 root, buildah takes it for the base image
that the file names, and builds. A Box is what a container runtime makes of the image, from its
parts: namespaces of its own for processes and mounts, a read-only root in which all that is not
mounted is as the image has it, the image's user, no capability, the image's entry as process 1. The
network is this machine's, where the test's servers are.
"""
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

from procs import ROOT, Process, program, wait_until
from rig import Worker

BASE_TAR = ROOT / ".deps/trixie-slim.tar"
BASE_NAME = "docker.io/library/debian:trixie-slim"
BASE_KEPT_S = 7 * 24 * 3600


def run(*args, timeout=900, **more):
    done = subprocess.run([str(a) for a in args], text=True, stdout=subprocess.PIPE, check=False,
                          stderr=subprocess.STDOUT, timeout=timeout, **more)
    assert done.returncode == 0, f"{args[0]}: exit {done.returncode}\n{done.stdout[-6000:]}"
    return done.stdout


def mirror():
    """The Debian mirror that this machine installs from; debootstrap's own where it does not say."""
    got = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
              "Label: Debian")
    return got.split()[:1]


def base_tar(scratch):
    """A Debian 13 root as a tar file, kept for a week."""
    if BASE_TAR.exists() and time.time() - BASE_TAR.stat().st_mtime < BASE_KEPT_S:
        return BASE_TAR
    root = scratch / "trixie"
    run(program("debootstrap"), "--variant=minbase", "trixie", root, *mirror())
    for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
        shutil.rmtree(root / waste, ignore_errors=True)
    fresh = BASE_TAR.with_suffix(f".{os.getpid()}")
    run("tar", "-C", root, "--one-file-system", "-cf", fresh, ".")
    fresh.rename(BASE_TAR)
    shutil.rmtree(root)
    return BASE_TAR


class Store:
    """Images and containers in a folder of their own."""

    def __init__(self, folder):
        self.folder = Path(folder)
        # vfs: plain copies; overlays cannot always be mounted inside a container.
        self.tool = [program("buildah"), "--root", self.folder / "images", "--runroot",
                     self.folder / "run", "--storage-driver", "vfs"]

    def do(self, *args, **more):
        return run(*self.tool, *args, **more).strip()

    def take_base(self):
        made = self.do("from", "scratch")
        self.do("add", "--quiet", made, base_tar(self.folder))
        self.do("commit", "--quiet", "--rm", made, BASE_NAME)

    def build(self, name, *args):
        """What the build said. Packages come from the machine's mirror, over its network."""
        return self.do("bud", "--isolation", "chroot", "--network", "host", "--pull-never", "-t",
                       name, *args, "-f", ROOT / "deploy/image/Containerfile", ROOT)

    def unpack(self, name):
        """(its settings, the folder of its root) of a container made from that image."""
        settings = json.loads(self.do("inspect", "--type", "image", name))["OCIv1"]["config"]
        return settings, Path(self.do("mount", self.do("from", "--pull-never", name)))

    def end(self):
        for args in (("umount", "--all"), ("rm", "--all"), ("rmi", "--all", "--force")):
            subprocess.run([str(a) for a in (*self.tool, *args)], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


BOX = """
set -eu
root=$1 user=$2 mounts=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for d in null zero urandom; do : >"$root/dev/$d"; mount --bind "/dev/$d" "$root/dev/$d"; done
while read -r how outside inside; do
    mkdir -p "$root/$inside"
    mount --bind "$outside" "$root/$inside"
    mount -o "remount,bind,$how" "$root/$inside"
done <"$mounts"
# Nothing to run but what is under /usr/local: no shell, no tool.
for d in usr/bin usr/sbin; do mount -t tmpfs -o ro,mode=755 none "$root/$d"; done
mount -o remount,ro "$root/dev"
mount -o remount,bind,ro "$root"
cd "$root"
exec setpriv --no-new-privs chroot --userspec="$user" --groups= "$root" "$@"
"""


def box_argv(root, user, mounts, command):
    """mounts: a file of lines `ro|rw OUTSIDE INSIDE`."""
    return [program("unshare"), "--mount", "--pid", "--ipc", "--uts", "--fork",
            "--kill-child=KILL", "sh", "-c", BOX, "box", root, user, mounts, *command]


class Box(Worker):
    """A worker in a container of an image, as its entry; all that a Worker is asked it answers."""

    def __init__(self, folder, name, image, env, mounts):
        Process.__init__(self, name, folder)
        self.image, self.env, self.mounts = image, env, mounts
        self.settings = {"probe_listen": env["AWQ_PROBE_LISTEN"]}
        self.may_fail = False

    def start(self):
        settings, root = self.image
        argv = box_argv(root, settings["User"], self.mounts, settings["Entrypoint"])
        Process.start(self, argv, {**self.env, "PATH": os.environ["PATH"]}, only_env=True)
        wait_until(lambda: self.inside() or not self.running, 10, f"{self.name} to start")
        return self

    def inside(self):
        """The pid, out here, of the box's process 1, once that is the program itself."""
        try:
            pid = int(Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text())
            exe = Path(f"/proc/{pid}/comm").read_text().strip()
        except (OSError, ValueError):
            return None
        return pid if exe == "awq-worker" else None

    @property
    def pid(self):
        return self.inside() or self.child.pid
