"""under_unit.py USER_ID COMMAND... - run a command under what the systemd unit allows.

systemd itself is not run by the tests. What the kernel would enforce on its behalf, and could keep
a worker from working, is set up here from the unit file: system calls, address families, memory
that is both writable and executable, limits, no privileges. What systemd does with mounts and
namespaces is not.
"""
import ctypes
import errno
import os
import resource
import socket
import subprocess
import sys

from units import unit

seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
seccomp.seccomp_init.restype = ctypes.c_void_p
ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
EQ, MASKED_EQ = 4, 7  # enum scmp_compare
WRITE_EXEC = 0x2 | 0x4


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int),
                ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def calls_of(name, seen=None):
    """The system calls of a set like @system-service, as systemd-analyze prints them."""
    if not name.startswith("@"):
        return {name}
    out = set()
    lines = subprocess.run(["systemd-analyze", "syscall-filter", name], text=True, check=True,
                           capture_output=True, env={"PATH": os.environ["PATH"]}).stdout.splitlines()
    for line in lines[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            out |= calls_of(word)
    return out


def allowed_calls(lines):
    """SystemCallFilter= lines: the first says what is allowed, those with ~ take away."""
    out = calls_of("@default")
    for line in lines:
        for word in line.lstrip("~").split():
            out = out - calls_of(word) if line.startswith("~") else out | calls_of(word)
    return out


class Filter:
    def __init__(self, default):
        self.at = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(default)))

    def rule(self, action, call, *compares):
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        if number == -1:  # a call that this libseccomp does not know
            return
        row = (Compare * max(1, len(compares)))(*compares)
        rc = seccomp.seccomp_rule_add_array(self.at, ctypes.c_uint32(action), number,
                                            ctypes.c_uint(len(compares)), row)
        assert rc in (0, -errno.EDOM), f"{call}: {os.strerror(-rc)}"

    def load(self):
        rc = seccomp.seccomp_load(self.at)
        assert rc == 0, f"seccomp: {os.strerror(-rc)}"


def size(text):
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1])
    return int(text[:-1]) * factor if factor else int(text)


def main():
    user, command = int(sys.argv[1]), sys.argv[2:]
    u = unit()
    calls = allowed_calls(u["SystemCallFilter"])
    for name, which in (("LimitCORE", resource.RLIMIT_CORE), ("LimitNOFILE", resource.RLIMIT_NOFILE),
                        ("LimitMEMLOCK", resource.RLIMIT_MEMLOCK)):
        # Not over what this machine's own limit is: not every root may raise that.
        hard = resource.getrlimit(which)[1]
        value = size(u[name][0])
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))
    os.umask(int(u["UMask"][0], 8))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)

    assert u["MemoryDenyWriteExecute"] == ["yes"]
    no_code = Filter(ALLOW)
    for call in ("mmap", "mprotect", "pkey_mprotect"):
        no_code.rule(REFUSE, call, Compare(2, MASKED_EQ, WRITE_EXEC, WRITE_EXEC))
    main_filter = Filter(REFUSE)
    for call in calls - {"socket"}:
        main_filter.rule(ALLOW, call)
    for family in u["RestrictAddressFamilies"][0].split():
        main_filter.rule(ALLOW, "socket", Compare(0, EQ, getattr(socket, family), 0))
    no_code.load()
    main_filter.load()
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
