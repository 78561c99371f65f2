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


def kind_of(rest):
    """What is read of a key, told by its name; of others only the TTL."""
    if rest.startswith(("q:", "out:")):
        return "stream"
    if rest in ("due", "dead", "lots", "workers") or rest.startswith("park:"):
        return "zset"
    return "hash" if rest in ("held", "w") or rest.startswith("run:") else ""


def read(client, base):
    """{rest of key: (content, ttl in ms, pending entries)} of one moment."""
    pattern = base.replace("{", "[{]").replace("}", "[}]") + "*"
    while True:
        keys = sorted(client.scan_iter(pattern, 1000))
        pipe = client.pipeline(transaction=True)
        pipe.keys(pattern)
        for key in keys:
            kind = kind_of(key.decode()[len(base):])
            pipe.pttl(key)
            if kind == "stream":
                pipe.xrange(key)
                pipe.xpending_range(key, "w", "-", "+", PENDING_MAX)
            elif kind == "zset":
                pipe.zrange(key, 0, -1, withscores=True)
            elif kind == "hash":
                pipe.hgetall(key)
        got = iter(pipe.execute(raise_on_error=False))
        if sorted(next(got)) == keys:
            break  # else keys came or went meanwhile: look again
    out = {}
    for key in keys:
        rest = key.decode()[len(base):]
        kind, ttl = kind_of(rest), next(got)
        content = next(got) if kind else None
        out[rest] = (content, ttl, next(got) if kind == "stream" else None)
    return out


def look(client, prefix="awq", shard=0, name_of=name_in_envelope):
    base = f"{prefix}:{{s{shard}}}:"
    keys = read(client, base)
    seen = Places()
    bad = seen.problems.append
    for rest in [r for r, (content, _, _) in keys.items() if isinstance(content, Exception)]:
        if not rest.startswith("out:"):
            bad(f"{rest} is not a {kind_of(rest)}")
        del keys[rest]
    held, lots, numbers, lines = (dict(keys.get(k, ((),))[0]) for k in ("held", "lots", "w", "workers"))
    members = {}
    for rest, (content, ttl, pending) in keys.items():
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
