#!/usr/bin/env python3
"""A complete awq producer in Python: redis-py and msgpack, nothing of awq's.

    producer.py put < job.json             by the enqueue script; prints OK, DUPLICATE or BACKLOG_FULL
    producer.py put --bare < job.json      by XADD alone
    producer.py wait ID [--timeout 30]     prints the run's last result, as JSON
    producer.py results GROUP [--count 10] reads the result stream with a group of one's own
    producer.py encode < job.json          prints the envelope in hex, puts nothing (of an array: each)
    producer.py put --producer NAME --sign KEYFILE [--inbox] < job.json      signed (needs `cryptography`)

A job is the JSON form of the envelope (common/PROTOCOL.md); body_base64 stands for a binary body.
Options: --redis redis://127.0.0.1:6379 --prefix awq --queue default --out results --shards 1
         --script FILE (enqueue.lua: common/scripts/ of the tree, PREFIX/share/awq/ where awq is installed)
"""
import argparse
import base64
import hashlib
import json
import pathlib
import random
import re
import sys
import time

import msgpack
import redis

SCRIPT = pathlib.Path(__file__).resolve().parent / "../../common/scripts/enqueue.lua"
ENDED = {b"done", b"failed", b"dead", b"expired", b"cancelled"}
BACKLOG_LIMIT = 1_000_000
DEDUP_MS = 600_000
ID, QUEUE = re.compile("[A-Za-z0-9_:-]{1,64}"), re.compile("[A-Za-z0-9_-]{1,64}")


def envelope(job):
    """The bytes of the field j."""
    def call(c):
        c = dict(c)
        if "body_base64" in c:
            c["body"] = base64.b64decode(c.pop("body_base64"))
        return c

    job = {"v": 1, **job, "call": call(job["call"])}
    if "then" in job:
        job["then"] = [call(c) for c in job["then"]]
    return msgpack.packb(job, use_bin_type=True)


class Signer:
    """A producer's key, as `awq-ctl producer keygen` writes it: "ed25519 HEX64"."""

    def __init__(self, name, path):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        kind, seed = pathlib.Path(path).read_text().split()
        assert kind == "ed25519"
        self.name, self.key = name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))

    def sign(self, prefix, queue, j):
        """The field s."""
        signed = f"awq job 1\n{prefix}\n{queue}\n{self.name}\n".encode() + j
        return self.key.sign(signed) + self.name.encode()

    def complete(self, job):
        """A signed job has times, and an id that is this producer's."""
        if not job["id"].startswith(self.name + ":"):
            sys.exit(f"job {job['id']}: the ids of producer {self.name} begin with \"{self.name}:\"")
        now = int(time.time() * 1000)
        return {"iat": now, "deadline": now + 300_000, **job}


def crc16(data):
    """CRC16/XMODEM, as Redis Cluster has it: b"123456789" gives 0x31C3."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


class Awq:
    def __init__(self, url, prefix="awq", shards=1, signer=None, script=SCRIPT):
        self.signer, self.path, self.script = signer, script, None
        self.redis = redis.Redis.from_url(url)
        self.prefix, self.shards = prefix, shards

    def key(self, run, rest):
        return f"{self.prefix}:{{s{crc16(run.encode()) % self.shards}}}:{rest}"

    def signed(self, job, queue):
        """The fields j and s; s is empty when nothing is signed."""
        if not self.signer:
            return envelope(job), b""
        j = envelope(self.signer.complete(job))
        return j, self.signer.sign(self.prefix, queue, j)

    def put_bare(self, job, queue="default"):
        """Enough to have it done. A repeated id is only noticed at its commit."""
        j, s = self.signed(job, queue)
        fields = {"j": j, "s": s} if s else {"j": j}
        return self.redis.xadd(self.key(job["id"], f"q:{queue}"), fields).decode()

    def put_inbox(self, job, queue="default"):
        """For a producer that may write to nothing else; a worker looks at it and moves it on."""
        j, s = self.signed(job, queue)
        return self.redis.xadd(self.key(job["id"], f"in:{self.signer.name}"), {"q": queue, "j": j, "s": s}).decode()

    def put(self, job, queue="default"):
        """OK, DUPLICATE or BACKLOG_FULL. Safe to repeat when the answer got lost."""
        if not self.script:
            self.script = pathlib.Path(self.path).read_text()
            self.sha = hashlib.sha1(self.script.encode()).hexdigest()
        run = job["id"]
        j, s = self.signed(job, queue)
        keys = [self.key(run, rest)
                for rest in (f"q:{queue}", f"id:{run}", f"run:{run}", "held", "due", "dead")]
        args = [f"{run}.0.0", j, s, job.get("not_before", 0), BACKLOG_LIMIT, DEDUP_MS,
                queue, f"{self.prefix}:wake"]
        try:
            return self.redis.evalsha(self.sha, len(keys), *keys, *args).decode()
        except redis.exceptions.NoScriptError:
            return self.redis.eval(self.script, len(keys), *keys, *args).decode()

    def wait(self, run, timeout):
        """The last result of a run, or None. The run record cannot miss it."""
        end, pause = time.monotonic() + timeout, 0.01
        while True:
            state, result = self.redis.hmget(self.key(run, f"run:{run}"), "st", "r")
            if state in ENDED and result:
                return msgpack.unpackb(result)
            if time.monotonic() > end:
                return None
            time.sleep(pause * random.uniform(0.5, 1))
            pause = min(pause * 1.5, 0.25)

    def results(self, group, count, out="results", reader="reader-1"):
        """Results as they come; each is acknowledged once the caller asks for the next one."""
        stream = f"{self.prefix}:{{s0}}:out:{out}"
        try:
            self.redis.xgroup_create(stream, group, "0", mkstream=True)
        except redis.exceptions.ResponseError as e:
            if "BUSYGROUP" not in str(e):
                raise
        start = "0"  # first what an earlier life of this reader left unacknowledged
        while count > 0:
            got = self.redis.xreadgroup(group, reader, {stream: start}, count=min(count, 100), block=5000)
            entries = got[0][1] if got else []
            if start == "0" and not entries:
                start = ">"
            for entry, fields in entries:
                yield msgpack.unpackb(fields[b"r"])
                self.redis.xack(stream, group, entry)
                count -= 1


def read_json():
    try:
        return json.load(sys.stdin)
    except ValueError as e:
        sys.exit(f"what came in is not JSON: {e}")


def read_job():
    """Without an id of its kind, or a call, there is nothing to put."""
    job = read_json()
    if not isinstance(job, dict) or not isinstance(job.get("call"), dict):
        sys.exit("a job is a JSON object with the members id and call")
    if not isinstance(job.get("id"), str) or not ID.fullmatch(job["id"]):
        sys.exit("a job's id is a string, 1-64 of A-Z a-z 0-9 _ : -")
    return job


def printable(value):
    """bytes as base64, so that a result can be shown as JSON."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", choices=["put", "wait", "results", "encode"])
    p.add_argument("name", nargs="?", help="the ID or the GROUP")
    p.add_argument("--redis", default="redis://127.0.0.1:6379")
    p.add_argument("--prefix", default="awq")
    p.add_argument("--queue", default="default")
    p.add_argument("--out", default="results")
    p.add_argument("--shards", type=int, default=1)
    p.add_argument("--script", default=SCRIPT)
    p.add_argument("--bare", action="store_true")
    p.add_argument("--inbox", action="store_true")
    p.add_argument("--producer")
    p.add_argument("--sign", metavar="KEYFILE")
    p.add_argument("--timeout", type=float, default=30)
    p.add_argument("--count", type=int, default=10)
    o = p.parse_intermixed_args()
    if bool(o.producer) != bool(o.sign):
        p.error("--producer and --sign go together")
    if o.inbox and not o.sign:
        p.error("--inbox is for signed jobs: --producer, --sign")
    if not QUEUE.fullmatch(o.queue):
        p.error("a queue's name is 1-64 of A-Z a-z 0-9 _ -")  # no worker looks at another
    if o.command == "encode":
        jobs = read_json()
        for job in jobs if isinstance(jobs, list) else [jobs]:
            print(envelope(job).hex())
        return 0
    awq = Awq(o.redis, o.prefix, o.shards, Signer(o.producer, o.sign) if o.sign else None, o.script)
    if o.command == "put":
        put = awq.put_bare if o.bare else awq.put_inbox if o.inbox else awq.put
        print(put(read_job(), o.queue))
        return 0
    if o.command == "results":
        for result in awq.results(o.name, o.count, o.out):
            print(json.dumps(result, default=printable), flush=True)
        return 0
    result = awq.wait(o.name, o.timeout)
    print(json.dumps(result, default=printable) if result else f"{o.name}: not ended yet")
    return 0 if result and result["state"] == "done" else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except redis.exceptions.RedisError as e:
        sys.exit(f"Redis: {e}")
