"""moves.py - common/scripts/*.lua called by hand, each under the strictest conditions.

Every call runs as an ACL user that may touch exactly the keys it declares (so a script that touches
another one fails), each with the commands that `awq-ctl acl print` gives to the role whose script it is
(so a command without a row in common/acl.c fails), and all its keys must share one {tag} (so it runs in a cluster).
"""
import fnmatch
import re
import subprocess

import redis as redispy

from procs import ROOT, built
from servers import Redis

SCRIPTS = ROOT / "common/scripts"
P = "awq"
HOUR = 3600 * 1000
QUEUED = 1700000000000  # when a step that is set aside came onto its queue
WAKE = f"{P}:wake"
CHANGED = f"{P}:changed"


def text(answer):
    if isinstance(answer, bytes):
        return answer.decode("utf-8", "surrogateescape")
    return [text(a) for a in answer] if isinstance(answer, list) else answer


def key(rest, shard=0):
    return f"{P}:{{s{shard}}}:{rest}"


def run_of(name):
    return name.rsplit(".", 2)[0]


def next_name(name):
    run, branch, seq = name.rsplit(".", 2)
    return f"{run}.{branch}.{int(seq) + 1}"


def seq_of(name):
    return int(name.rsplit(".", 1)[1])


def selectors(role):
    """[(words, commands)] of a role: key patterns with their ~ or %R~, channels with their &."""
    line = subprocess.run([built("awq-ctl"), "acl", "print", "--role", role], check=True, text=True,
                          capture_output=True).stdout
    parts = [line.split(" (")[0].split("resetchannels")[1], *re.findall(r"\((.*?)\)", line)]
    return [([w for w in p.split() if w[0] in "~%&"], [w for w in p.split() if w[0] == "+"]) for p in parts]


def roles_of():
    """{script: the roles that call it}, by where the sources name it."""
    out = {}
    for role, files in (("worker", ROOT.glob("worker/*.c")), ("ctl", ROOT.glob("tools/ctl/*.c")),
                        ("producer", ROOT.glob("common/awq_*.c"))):
        for name in set(re.findall(r"SCRIPT_([a-z]+)", "".join(f.read_text() for f in files))):
            out.setdefault(name, []).append(role)
    return out


def matches(key, pattern):
    return fnmatch.fnmatchcase(key, pattern)


class Moves:
    """A job's envelope is its name here (`NAME` or `NAME|padding`); its signature is s:NAME."""

    def __init__(self, folder, **options):
        self.server = Redis(folder, options=options)
        self.server.start()
        self.r = self.server.client
        self.sha = {}
        for f in sorted(SCRIPTS.glob("*.lua")):
            # comment and blank lines go, as in the build (embed.sh)
            body = re.sub(r"(?m)^[ \t]*(--.*)?\n", "", f.read_text())
            self.sha[f.stem] = self.r.script_load(body)
        self.user = redispy.Redis(unix_socket_path=self.server.socket, username="mover", password="x")
        self.channels, self.commands = "allchannels", ""
        self.roles, self.turn = roles_of(), 0
        self.rights = {role: selectors(role) for role in ("worker", "ctl", "producer")}

    def now(self):
        s, us = self.r.time()
        return s * 1000 + us // 1000

    def fresh(self):
        self.r.config_set("maxmemory", 0)
        self.r.flushall()
        self.channels, self.commands = "allchannels", ""
        self.r.execute_command("ACL", "LOG", "RESET")
        self.group("default")

    def group(self, queue):
        self.r.xgroup_create(key(f"q:{queue}"), "w", "0", mkstream=True)

    def full(self):
        """From now on Redis refuses what needs memory."""
        self.r.config_set("maxmemory", 1)

    def roomy(self):
        self.r.config_set("maxmemory", 0)

    def dump(self):
        """Everything in Redis, byte for byte, with expiry times."""
        keys = sorted(self.r.keys("*"))
        return {k: (self.r.dump(k), self.r.execute_command("PEXPIRETIME", k)) for k in keys}

    def call(self, name, keys, *args):
        tags = {re.search(r"\{(.+?)\}|$", k).group(1) for k in keys}
        assert len(tags) == 1, f"{name}: keys in more than one slot: {keys}"
        self.r.execute_command("ACL", "SETUSER", "mover", "reset", "on", ">x", *self.rules(name, sorted(set(keys))))
        answer = text(self.user.evalsha(self.sha[name], len(keys), *keys, *args))
        if self.channels and not self.commands:
            refused = self.r.execute_command("ACL", "LOG", 1)  # also what the script lived through by pcall
            assert not refused, f"{name}: {refused}"
        return answer

    def rules(self, name, keys):
        """What one role's user may do, but only with these keys. Whose script it is takes turns."""
        self.turn += 1
        roles = self.roles[name]
        out = []
        for n, (words, commands) in enumerate(self.rights[roles[self.turn % len(roles)]]):
            mine = [f"~{k}" for k in keys if any(w[0] != "&" and matches(k, w[w.index("~") + 1:]) for w in words)]
            mine += [w for w in words if w[0] == "&" and self.channels]
            rules = [*mine, *commands, *self.commands.split()]
            out += rules if n == 0 else ["(" + " ".join(rules) + ")"] if mine else []
        return out

    # ---- jobs ----

    def enqueue(self, name, at=0, queue="default", limit=1000, dedup=HOUR, j=None, s=""):
        run = run_of(name)
        return self.call("enqueue", [key(f"q:{queue}"), key(f"id:{run}"), key(f"run:{run}"), key("held"),
                                     key("due"), key("dead")],
                         name, j or name, s, at, limit, dedup, queue, WAKE)

    def take(self, who, count=1, queue="default"):
        got = self.r.xreadgroup("w", who, {key(f"q:{queue}"): ">"}, count=count)
        return [(e.decode(), text(f[b"j"]), {text(k): text(v) for k, v in f.items()})
                for e, f in (got[0][1] if got else [])]

    def one(self, who, queue="default"):
        return self.take(who, 1, queue)[0][:2]

    def commit(self, who, *steps):
        """steps: (entry, name, dict of what differs). The next step is the name after unless last.

        A call of the script is for one queue and one result stream: steps of another go in a call
        of their own, as a worker does it.
        """
        calls = []
        for entry, name, *more in steps:
            o = {"nonce": "n-" + who, "result": "res:" + name, "next": next_name(name), "state": "ready",
                 "ttl": HOUR, "write": 1, "queue": "default", "out": "results", "seq": seq_of(name), **(more[0] if more else {})}
            if o.get("last"):
                o.update(next="", state="done", ttl=HOUR)
            all_of = ([key(f"q:{o['queue']}"), key(f"out:{o['out']}")], [who, 1000, o["ttl"], o["write"]])
            if not calls or calls[-1][:2] != all_of:
                calls.append((*all_of, [], []))
            calls[-1][2].append(key(f"run:{run_of(name)}"))
            calls[-1][3].extend([entry, f"{o['seq']}:{o['nonce']}", o["result"], o["next"],
                             "s:" + o["next"] if o["next"] else o["state"]])
        return [a for keys, args, runs, more in calls for a in self.call("commit", keys + runs, *args, *more)]

    def keep(self, who, entry, name, field="i:d", data="long"):
        return self.call("keep", [key("q:default"), key(f"run:{run_of(name)}")], who, entry, field, data)

    def retry(self, who, entry, name, at, queue="default", d="0", j=None, er=""):
        return self.call("retry", [key(f"q:{queue}"), key("held"), key("due"), key(f"run:{run_of(name)}"),
                                   key("out:results")],
                         who, entry, name, seq_of(name), at, j or name, d, "s:" + name, queue, WAKE, 1000, 1, QUEUED, er)

    def park(self, who, entry, name, till, what="conn:a", look=None, limit=100, queue="default", d="0", er=""):
        return self.call("park", [key(f"q:{queue}"), key("held"), key(f"park:{what}"), key("lots"),
                                  key(f"run:{run_of(name)}"), key("out:results")],
                         who, entry, name, seq_of(name), till, name, d, "s:" + name, queue, what,
                         till if look is None else look, limit, WAKE, 1000, 1, QUEUED, er)

    def peek(self, where, top="now", limit=50):
        now, left, *flat = self.call("peek", [key(where), key("held")], top, limit)
        return now, left, list(zip(flat[::2], flat[1::2]))

    def promote(self, where, names):
        keys = [key(where), key("held")]
        for name, queue in names:
            keys += [key(f"q:{queue}"), key(f"run:{run_of(name)}")]
        return self.call("promote", keys, *(n for n, _ in names))

    def junk(self, where, *members):
        """members: (member, name of its letter or None = its own, bare)"""
        keys = [key(where), key("held"), key("dead"), key("out:results")]
        args = [HOUR, 1000]
        for member, letter, bare in members:
            keys.append(key(f"run:{run_of(letter or member)}"))
            args += [member, letter or member, "code", "text", f"result:{member}", int(bare)]
        return self.call("junk", keys, *args)

    def adrift(self, *names):
        flat = self.call("adrift", [key("due"), key("dead"), *(key(f"run:{run_of(n)}") for n in names)], *names)
        return list(zip(flat[::2], flat[1::2]))

    def settle(self, *found):
        keys = [key("held"), key("due"), key("dead")]
        for name, place in found:
            keys += [key(f"run:{run_of(name)}"), key(place if place.startswith("park:") else "due")]
        return self.call("settle", keys, *(n for n, _ in found), *(p for _, p in found))

    def lot(self, what, again, had):
        return self.call("lot", [key("lots"), key(f"park:{what}")], what, again, had)

    def wake(self, what):
        return self.call("wake", [key("lots")], what, WAKE)

    def reclaim(self, who, limit=50, idle=0, queue="default"):
        return self.call("reclaim", [key(f"q:{queue}"), key("workers")], who, limit, idle)

    def skipped(self, queue="default"):
        return self.call("skipped", [key(f"q:{queue}")], "(skipped)")

    def release(self, who, *entries, queue="default"):
        return self.call("release", [key(f"q:{queue}")], who, *entries)

    def bury(self, who, entry, name, write=1, out="results", queue="default", d="0", named=None, stream=None):
        """named: the id of a job that is refused before that was trusted; stream: where its entry is (a lane)."""
        more = [key(f"q:{queue}"), key(f"id:{named}"), key(f"run:{named}")] if named else []
        return self.call("bury", [key(stream or f"q:{queue}"), key("held"), key("dead"), key(f"run:{run_of(name)}"),
                                  key(f"out:{out}"), *more],
                         who, entry, name, seq_of(name), name, d, "s:" + name, queue, "code", "text",
                         "dead:" + name, 1000, write, HOUR)

    def replay(self, name, queue="default", named="none"):
        return self.call("replay", [key("dead"), key("held"), key(f"q:{queue}"), key(f"run:{run_of(name)}"),
                                    key(f"run:{named}")], name)

    def purge(self, name, ttl=HOUR):
        return self.call("purge", [key("dead"), key("held"), key(f"run:{run_of(name)}")], name, ttl)

    def cancel(self, run, name="", where="due", entry="", ttl=HOUR, write=1, queue="default"):
        return self.call("cancel", [key(f"run:{run}"), key("held"), key(where), key(f"q:{queue}"), key("out:results"),
                                     key(f"q:{queue}~")],
                         name, entry, f"cancelled:{run}", 1000, ttl, write)

    def beat(self, who, lease=HOUR, boss=0, *more):
        return self.call("beat", [key("workers"), key("w"), key("boss")], who, lease, "{}", boss, *more)

    def leave(self, who, *queues):
        return self.call("leave", [key("workers"), key("w"), key("boss"), *(key(f"q:{q}") for q in queues)], who)

    def sweep(self, who):
        return self.call("sweep", [key("workers"), key("w")], who)

    def agenda(self, limit=50):
        return self.call("agenda", [key("due"), key("lots"), key("workers"), key("held"), key("queues")], limit)

    def stats(self, *queues):
        return self.call("stats", [key("due"), key("held"), key("dead"), *(key(f"q:{q}") for q in queues)])

    # ---- connections ----

    conn = f"{P}:{{c:a}}"

    def acquire(self, nonce, gen=0, ver=0, lease=60000, grace=10000):
        return self.call("acquire", [self.conn, self.conn + ":lease"], gen, ver, nonce, lease, grace)

    def store(self, fence, nonce, gen, ver, at="AT", rt="", life=HOUR, cd="cd1"):
        return self.call("store", [self.conn, self.conn + ":lease"], fence, nonce, gen, ver, cd, at, rt, life, "read",
                         CHANGED, "a")

    def restore(self, gen, ver, at="AT", rt="RT", exp=None, fence=1, cd="cd1"):
        now = self.now()
        return self.call("restore", [self.conn, self.conn + ":lease"], gen, ver, cd, at, rt, exp or now + HOUR, now,
                         "read", fence, CHANGED, "a")

    def fail(self, fence, nonce, gen, kind, floor=0, rnd=1000, base=1000, cap=60000):
        return self.call("fail", [self.conn, self.conn + ":lease"], fence, nonce, gen, kind, "why-" + kind, "words",
                         base, cap, floor, rnd, CHANGED, "a")

    def apply(self, gen="", ver="", grant="refresh_token", rt="RT", at="", link=1, cd="cd1", cs="CS",
              new=None, dk="", tk="", life="", scope=""):
        """new: the gen of a link; awq-ctl takes the time, here they are counted for the reader."""
        new = new or int(self.r.hget(self.conn, "gen") or 0) + 1
        return self.call("apply", [self.conn, self.conn + ":lease"], gen, ver, "cfg", "cm", cd, grant, cs, rt, at,
                         "lh", link, CHANGED, "a", new, dk, tk, life, scope)

    def remove(self):
        return self.call("remove", [self.conn, self.conn + ":lease", self.conn + ":lane"], CHANGED, "a")[0]

    def disable(self, on=1):
        return self.call("disable", [self.conn], on, "they asked", CHANGED, "a")

    def enable(self):
        return self.disable(0)

    def revoke(self):
        return self.call("revoke", [self.conn, self.conn + ":lease"], "words", CHANGED, "a")[:2]

    def reseal(self, gen, *fields):
        return self.call("reseal", [self.conn], gen, *(x for f in fields for x in f))

    def admit(self, member, limit=1, ms=60000, every=0, burst=1):
        return self.call("admit", [self.conn + ":lane", self.conn], limit, member, ms, every, burst)

    def depart(self, member):
        return self.call("depart", [self.conn + ":lane"], member)

    def outcome(self, what, member="w/1", limit=3, rnd=1000):
        return self.call("outcome", [self.conn], what, member, limit, 1000, 60000, rnd, CHANGED, "a")

    def cool(self, ms):
        return self.call("cool", [self.conn], ms, CHANGED, "a", 429)

    def refuse(self, gen, ver):
        return self.call("refuse", [self.conn], gen, ver, CHANGED, "a")

    def record(self):
        return {text(k): text(v) for k, v in self.r.hgetall(self.conn).items()}

    def state(self):
        return text(self.r.hget(self.conn, "state"))


def embedded():
    """[(name, sha)] as the build writes them."""
    files = sorted(map(str, SCRIPTS.glob("*.lua")))
    rows = subprocess.run(["sh", SCRIPTS / "embed.sh", *files], check=True, capture_output=True, text=True).stdout
    return re.findall(r'SCRIPT\((\w+), "([0-9a-f]{40})"', rows)
