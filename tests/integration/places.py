"""places.py - promise 1, checkable: every job is in exactly one place.

    seen = places.look(client, "awq")
    assert not seen.problems, seen.problems
    seen.where["r1.0.2"]     # ["pending:default:host-1"]

A place is ready:QUEUE, pending:QUEUE:CONSUMER, due, park:RESOURCE or dead; a job is called by its name
RUN.BRANCH.SEQ. All keys of the shard are read in one transaction, so that the picture is of one
moment also while workers run. `problems` names what breaks the rule, and what would stay in Redis for ever.
"""
from dataclasses import dataclass, field

import msgpack

ENDED = (b"done", b"failed", b"expired", b"cancelled")
PENDING_MAX = 1000000


@dataclass
class Places:
    where: dict = field(default_factory=dict)     # name -> [places]
    runs: dict = field(default_factory=dict)      # run -> its record
    results: dict = field(default_factory=dict)   # out stream -> [bytes of r, in order]
    problems: list = field(default_factory=list)

    def put(self, name, place):
        self.where.setdefault(name, []).append(place)


def name_in_envelope(j):
    """A job's name as its envelope tells it: before its first commit it has no `k`."""
    job = msgpack.unpackb(j, strict_map_key=False)
    k = job.get("k") or {}
    return f"{job['id']}.{k.get('branch', '0')}.{k.get('seq', 0)}"


def read(client, base):
    """{rest of key: (type, content, ttl in ms)} of one moment."""
    pattern = base.replace("{", "[{]").replace("}", "[}]") + "*"
    while True:
        keys = sorted(client.scan_iter(pattern, 1000))
        types = [client.type(k) for k in keys]
        pipe = client.pipeline(transaction=True)
        pipe.keys(pattern)
        for key, kind in zip(keys, types):
            pipe.type(key)
            pipe.pttl(key)
            if kind == b"stream":
                pipe.xrange(key)
                pipe.xinfo_groups(key)
            elif kind == b"zset":
                pipe.zrange(key, 0, -1, withscores=True)
            elif kind == b"hash":
                pipe.hgetall(key)
            else:
                pipe.execute_command("EXISTS", key)
            if b":q:" in key:
                pipe.xpending_range(key, "w", "-", "+", PENDING_MAX)
        got = pipe.execute(raise_on_error=False)
        if sorted(got[0]) == keys:
            break
    out, at = {}, 1
    for key, kind in zip(keys, types):
        ttl, content = got[at + 1], got[at + 2]
        at += 4 if kind == b"stream" else 3
        pending = None
        if b":q:" in key:
            pending = got[at]
            at += 1
        out[key.decode()[len(base):]] = (kind.decode(), content, ttl, pending)
    return out


def look(client, prefix="awq", shard=0, name_of=name_in_envelope):
    base = f"{prefix}:{{s{shard}}}:"
    keys = read(client, base)
    seen = Places()
    bad = seen.problems.append
    held = dict(keys.get("held", (0, {}, 0, 0))[1])
    lots = dict(keys.get("lots", (0, [], 0, 0))[1])
    members = {}
    for rest, (kind, content, ttl, pending) in keys.items():
        if rest.startswith("q:"):
            look_at_queue(seen, rest[2:], content, pending, name_of)
        elif rest in ("due", "dead") or rest.startswith("park:"):
            members[rest] = content
            for name, _ in content:
                seen.put(name.decode(), rest)
                if name not in held:
                    bad(f"{name.decode()} lies in {rest} without a body in held")
            if rest.startswith("park:") and rest[5:].encode() not in lots:
                bad(f"{rest} holds {len(content)} jobs and lots does not know it")
        elif rest.startswith("run:"):
            seen.runs[rest[4:]] = content
            look_at_run(seen, rest[4:], content, ttl)
        elif rest.startswith("id:") and ttl < 0:
            bad(f"{rest} has no TTL")
        elif rest.startswith("out:"):
            seen.results[rest[4:]] = [fields[b"r"] for _, fields in content]
    placed = {name for content in members.values() for name, _ in content}
    for name in held.keys() - placed:
        bad(f"held has {name.decode()}, which lies nowhere")
    for name, at in seen.where.items():
        if len(at) > 1:
            bad(f"{name} is in {len(at)} places: {at}")
    numbers = keys.get("w", (0, {}, 0, 0))[1]
    lines = dict(keys.get("workers", (0, [], 0, 0))[1])
    for who in numbers.keys() - lines.keys():
        bad(f"w has numbers of {who.decode()}, which has no line in workers")
    return seen


def look_at_queue(seen, queue, entries, pending, name_of):
    owner = {}
    if isinstance(pending, list):  # else there is no group yet: all is ready
        owner = {p["message_id"]: p["consumer"].decode() for p in pending}
    for entry, fields in entries:
        try:
            name = name_of(fields[b"j"])
        except Exception:  # bad input is a job too
            name = f"?{entry.decode()}"
        who = owner.pop(entry, None)
        seen.put(name, f"pending:{queue}:{who}" if who else f"ready:{queue}")
    for entry, who in owner.items():
        seen.problems.append(f"{who} has {entry.decode()} of {queue} pending, whose body is gone")


def look_at_run(seen, run, record, ttl):
    state = record.get(b"st")
    if state in ENDED and ttl < 0:
        seen.problems.append(f"run {run} is {state.decode()} and its record has no TTL")
    if state == b"dead" and ttl >= 0:
        seen.problems.append(f"run {run} has a dead letter and its record a TTL")
