"""A worker that must not start says why in one clear line, and ends with the right code.

0 clean; 1 failed; 2 settings or key file; 3 Redis must not be used. A Redis that is merely away is
no reason to end: the worker keeps trying, and is not ready.
"""
import os
import secrets
import socket
import time

from bad import all_rows
from fakeredis import FakeRedis
from procs import PATIENCE, free_port, wait_until
from rawserver import RawServer
from rig import write_keys
from servers import Redis


def run_all(rig, cases):
    """Start every case's worker, then wait for each: {name: (exit code, lines on stderr)}."""
    workers = {}
    for name, case in cases.items():
        w = rig.worker(ready=False, name=name, **case)
        w.may_fail = True
        workers[name] = w
    end = time.monotonic() + 10 * PATIENCE
    while any(w.running for w in workers.values()) and time.monotonic() < end:
        time.sleep(0.01)
    return {name: (w.child.poll(), w.stderr().splitlines()) for name, w in workers.items()}


def check(rig, cases):
    """cases: {name: (worker keywords, exit code, words that the line must have)}."""
    got = run_all(rig, {name: kw for name, (kw, _, _) in cases.items()})
    with all_rows() as row:
        for name, (_, code, words) in cases.items():
            row(name + ": exit code", got[name][0], code)
            row(name + ": lines on stderr", len(got[name][1]), 1)
            line = " ".join(got[name][1])
            row(name + ": begins with the program's name", line.startswith("awq-worker: "), True)
            for word in [words] if isinstance(words, str) else words:
                if word.lower() not in line.lower():
                    row(name + ": says", line, word)


def key_file(rig, name, text=None, mode=0o600):
    path = rig.folder / name
    if text is None:
        write_keys(path)
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_key_files(rig):
    def line(kind, size=32):
        return f"{kind} {secrets.token_hex(4)} {secrets.token_hex(size)}\n"
    key = secrets.token_hex(32)
    good = line("run") + line("access") + line("grant")
    os.mkfifo(rig.folder / "fifo", 0o600)
    (rig.folder / "folder").mkdir()
    files = {
        "missing": (rig.folder / "nowhere", "nowhere"),
        "world-readable": (key_file(rig, "world", good, 0o604), "world"),
        "group-writable": (key_file(rig, "group", good, 0o620), "chmod 600"),
        "empty": (key_file(rig, "empty", ""), "key"),
        "short-key": (key_file(rig, "short", line("run", 31) + line("access")), "line 1"),
        "long-key": (key_file(rig, "long", line("run", 33) + line("access")), "line 1"),
        "odd-hex": (key_file(rig, "odd", line("run") + f"access abcdef01 {key[:-1]}g\n"), "line 2"),
        "odd-kind": (key_file(rig, "kind", good + line("rune")), "line 4"),
        "odd-id": (key_file(rig, "id", f"run xyz {key}\n" + line("access")), "line 1"),
        "words": (key_file(rig, "words", "run\n"), "line 1"),
        "no-run": (key_file(rig, "no-run", line("access") + line("grant")), "run key"),
        "no-access": (key_file(rig, "no-access", line("run") + line("grant")), "access key"),
        "binary": (key_file(rig, "binary", b"\xff" + os.urandom(4096)), "line 1"),
        "long-line": (key_file(rig, "long-line", "r" * 200000), ""),
        "folder": (rig.folder / "folder", "folder"),
        "fifo": (rig.folder / "fifo", "fifo"),
    }
    check(rig, {name: ({"keys": path}, 2, words) for name, (path, words) in files.items()})
    # a mounted Kubernetes secret is readable by its group
    assert rig.worker(keys=key_file(rig, "mounted", good, 0o440)).running
    for path in rig.folder.glob("*.err"):
        assert key not in path.read_text() and key[:-1] not in path.read_text()


def test_the_key_file_of_another_install(rig):
    """It would take genuine continuations for forged ones, and bury them as fast as it fetches."""
    first = rig.worker()
    other = key_file(rig, "other")
    old = rig.keys.read_text()
    check(rig, {"foreign": ({"keys": other}, 2, ["key file", "other", "this install"])})
    # new keys before the old ones, as a rotation goes on; then without the old ones
    both = key_file(rig, "both", other.read_text() + old)
    second = rig.worker(keys=both)
    third = rig.worker(keys=other)
    check(rig, {"left-behind": ({"keys": rig.keys}, 2, ["key file", "this install"])})
    assert first.running and second.running and third.running
    # a restart of Redis that forgot everything is a new install: whoever comes first says
    for w in (first, second, third):
        w.kill()
    rig.redis.client.flushall()
    assert rig.worker(keys=rig.keys).running


def test_settings(rig):
    rig.need(keys=True)
    taken = RawServer()
    rig.things.append(taken)
    conf = rig.folder / "awq.conf"
    conf.write_text("slots = 8\nslotz = 9\n")
    no_eq = rig.folder / "no-eq.conf"
    no_eq.write_text("# fine\nslots 8\n")
    twice = rig.folder / "twice.conf"
    twice.write_text("slots = 8\nslots = 9\n")
    binary = rig.folder / "binary.conf"
    binary.write_bytes(b"\xff" + os.urandom(1000))
    a_file = rig.folder / "file"
    a_file.write_text("not PEM\n")
    cases = {
        "unknown-flag": ({"args": ["--slotz=8"]}, ["--slotz", "--slots"]),
        "short-flag": ({"args": ["-x"]}, "-x"),
        "flag-without-value": ({"args": ["--slots"]}, ["slots", "missing"]),
        "slots-text": ({"slots": "many"}, ["slots", "many"]),
        "slots-zero": ({"slots": 0}, "slots"),
        "slots-huge": ({"slots": 10**30}, "slots"),
        "slots-float": ({"slots": "1.5"}, "slots"),
        "lease-unit": ({"lease": "6 parsecs"}, "lease"),
        "lease-bare": ({"lease": "6"}, "lease"),
        "lease-over": ({"lease": "1h"}, "lease"),
        "bool": ({"http2": "maybe"}, "http2"),
        "size": ({"job_max": "1 banana"}, "job-max"),
        "level": ({"log_level": "loud"}, ["log-level", "debug"]),
        "queue-odd": ({"queues": "default,a b"}, "queues"),
        "queue-weight": ({"queues": "default:0"}, "queues"),
        "queue-weight-text": ({"queues": "default:x"}, "queues"),
        "queues-17": ({"queues": ",".join(f"q{i}" for i in range(17))}, "queues"),
        "prefix-odd": ({"args": ["--prefix=a{b"]}, "prefix"),
        "prefix-long": ({"args": ["--prefix=" + "a" * 33]}, "prefix"),
        "no-keys": ({"keys": None}, ["keys", "awq-ctl keys new"]),
        "url-scheme": ({"redis_url": "http://127.0.0.1/"}, "redis"),
        "url-port": ({"redis_url": "redis://127.0.0.1:99999"}, "port"),
        "url-db": ({"redis_url": "redis://127.0.0.1/x"}, "redis"),
        "url-socket": ({"redis_url": "unix://" + "/x" * 200}, "redis"),
        "timeout-over-max": ({"step_timeout": "50s", "step_max": "40s"}, ["step-timeout", "step-max"]),
        "renew-lease": ({"renew_lease": "3s", "renew_timeout": "2s"}, "renew-lease"),
        "conf-missing": ({"args": ["--config", rig.folder / "none.conf"]}, "none.conf"),
        "conf-unknown": ({"args": ["--config", conf]}, ["line 2", "slotz", "slots"]),
        "conf-no-eq": ({"args": ["--config", no_eq]}, "line 2"),
        "conf-twice": ({"args": ["--config", twice]}, "line 2"),
        "conf-binary": ({"args": ["--config", binary]}, "line 1"),
        "probe-odd": ({"probe_listen": "everywhere"}, "probe"),
        "probe-port": ({"probe_listen": "127.0.0.1:99999"}, "probe"),
        "probe-taken": ({"probe_listen": f"127.0.0.1:{taken.port}"}, "in use"),
        "journal-file": ({"journal": a_file}, "journal"),
        "journal-nowhere": ({"journal": rig.folder / "no" / "such" / "folder"}, "journal"),
        "http-ca-missing": ({"http_ca": rig.folder / "none.pem"}, "none.pem"),
        "http-ca-not-pem": ({"http_ca": a_file}, "file"),
        "positional": ({"args": ["start"]}, "start"),
    }
    check(rig, {name: (kw, 2, words) for name, (kw, words) in cases.items()})


def fill(rig, **facts):
    server = FakeRedis(**facts)
    rig.things.append(server)
    return server.url


def server(rig, name, **options):
    r = Redis(rig.folder, name, options={k.replace("_", "-"): v for k, v in options.items()})
    rig.things.append(r)
    return r


def test_redis_that_must_not_be_used(rig):
    rig.use_redis(tcp=True)
    locked = server(rig, "locked", requirepass="right")
    locked.auth = {"password": "right"}
    locked.start()
    locked.client.acl_setuser("weak", enabled=True, passwords=["+weak"], keys="awq:*",
                              commands=["+ping"])
    lru = server(rig, "lru", maxmemory_policy="allkeys-lru", maxmemory="50mb").start()
    cluster = server(rig, "cluster", port=free_port(), cluster_enabled="yes", cluster_port=free_port()).start()
    replica = server(rig, "replica", replicaof=f"127.0.0.1 {rig.redis.port}").start()
    wrong, weak = rig.folder / "wrong", rig.folder / "weak"
    wrong.write_text("wrong\n")
    weak.write_text("weak\n")
    for f in (wrong, weak):
        f.chmod(0o600)
    cases = {
        "no-auth": ({"redis_url": locked.url}, "password"),
        "wrong-password": ({"redis_url": locked.url, "redis_password_file": wrong}, "password"),
        "unknown-user": ({"redis_url": locked.url, "redis_user": "nobody",
                          "redis_password_file": wrong}, ["user", "password"]),
        "no-rights": ({"redis_url": locked.url, "redis_user": "weak",
                       "redis_password_file": weak}, "may not"),
        "password-not-asked-for": ({"redis_password_file": wrong}, "password"),
        "evicts": ({"redis_url": lru.url}, ["allkeys-lru", "noeviction", "--accept-eviction"]),
        "cluster": ({"redis_url": cluster.url}, "cluster"),
        "replica": ({"redis_url": replica.url}, ["replica", "primary"]),
        "old": ({"redis_url": fill(rig, version="5.0.14")}, ["5.0.14", "6.2"]),
        "nearly": ({"redis_url": fill(rig, version="6.0.16")}, ["6.0.16", "6.2"]),
        "no-version": ({"redis_url": fill(rig, version="x", run_id="")}, "version"),
        "sentinel": ({"redis_url": fill(rig, mode="sentinel")}, "Sentinel"),
        "fake-replica": ({"redis_url": fill(rig, role="slave")}, "replica"),
    }
    check(rig, {name: (kw, 3, words) for name, (kw, words) in cases.items()})


def test_files_for_redis(rig):
    """Our own files that keep us from a Redis that is there: settings, so 2."""
    not_pem, open_key = rig.folder / "not-pem", rig.folder / "open-key"
    not_pem.write_text("hello\n")
    open_key.write_text("hello\n")
    open_key.chmod(0o644)
    tls = {"redis_url": fill(rig).replace("redis://", "rediss://")}
    none = rig.folder / "none.pem"
    check(rig, {name: (kw, 2, words) for name, (kw, words) in {
        "ca": ({**tls, "redis_tls_ca": none}, "none.pem"),
        "ca-not-pem": ({**tls, "redis_tls_ca": not_pem}, "not-pem"),
        "cert-alone": ({**tls, "redis_tls_cert": not_pem}, "both"),
        "key-open": ({**tls, "redis_tls_cert": not_pem, "redis_tls_key": open_key}, "chmod 600"),
        "password": ({"redis_password_file": none}, "none.pem"),
        "password-open": ({"redis_password_file": open_key}, "chmod 600"),
        "password-folder": ({"redis_password_file": rig.folder}, str(rig.folder)),
    }.items()})


def test_eviction_can_be_accepted(rig):
    rig.use_redis(options={"maxmemory-policy": "allkeys-lru"})
    assert rig.worker(accept_eviction=True).running


def silent(rig):
    s = socket.create_server(("127.0.0.1", 0))
    rig.things.append(type("Silent", (), {"end": s.close, "tail": lambda self, n=0: "silent",
                                          "name": "silent"})())
    return f"redis://127.0.0.1:{s.getsockname()[1]}"


def test_redis_that_is_away(rig):
    """It keeps trying, is alive and not ready, says so in its log, ends cleanly, and starts to
    work when Redis is there."""
    rig.need(keys=True)
    port = free_port()
    urls = {
        "nobody": (f"redis://127.0.0.1:{port}", "refused"),
        "no-socket": (f"unix://{rig.folder}/nowhere.sock", "no such file"),
        "no-name": ("redis://no.such.host.invalid", ""),
        "silent": (silent(rig), ""),
        "not-redis": (fill(rig, says=b"HTTP/1.1 400 Bad Request\r\n\r\n"), ""),
        "garbage": (fill(rig, says=b"\x00\xff\x00\xff" * 1000), ""),
        "endless": (fill(rig, says=b"$500000000\r\n" + b"x" * 100000), ""),
        "loading": (fill(rig, says=b"-LOADING Redis is loading the dataset in memory\r\n"),
                    "loading"),
        "full": (fill(rig, says=b"-ERR max number of clients reached\r\n"), "clients"),
    }
    workers = {name: rig.worker(ready=False, name=name, redis_url=url, lease="1s")
               for name, (url, _) in urls.items()}
    with all_rows() as row:
        for name, w in workers.items():
            w.wait_log("probe.listening")
            if name != "silent":
                down = w.wait_log("redis.down", count=2)  # it has tried again
                words = urls[name][1]
                row(name + ": says", words in str(down).lower(), True)
            row(name + ": not ready", w.get("/readyz")[0], 503)
            row(name + ": running", w.running, True)
            row(name + ": quiet on stderr", w.stderr(), "")
    late = server(rig, "late", port=port).start()
    workers["nobody"].wait_ready()
    wait_until(lambda: workers["nobody"].get("/readyz")[0] == 200, 10, "ready once Redis is there")
    assert late.running
    for w in workers.values():
        w.term()
    with all_rows() as row:
        for name, w in workers.items():
            row(name + ": exit code", w.wait(10), 0)
