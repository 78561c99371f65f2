"""traces.py - random traces of lease.pml, made again on the real scripts in a real Redis.

spin's simulator walks through the model at random and prints each move with what the worker knew and
what the record is afterwards. Each move is made here with the script of the same name, and its answer
and the whole record are compared: where they differ, either the model is not the code or the code is
not what was proven.
"""
import subprocess
from pathlib import Path

MODEL = Path(__file__).resolve().parent / "lease.pml"
TICK = 100_000  # ms; so long that the time a test takes does not count
LEASE, GRACE, LIFE, LATER = 2, 1, 2, 1  # as in lease.pml
OLD = LEASE + GRACE

# What may happen in a trace, and how often.
KINDS = [
    dict(WORKERS=3, CRASHES=6, LOST=9, FAILURES=9, DISABLES=2, REVOKES=1, REMOVALS=2, SETTINGS=4, REFUSALS=5,
         LINKS_MAX=6, FORGETS=4),
    dict(WORKERS=2, CRASHES=3, LOST=5, FAILURES=9, REFUSALS=5, SETTINGS=2, FORGETS=6, DISABLES=2, FORGIVES=1),
    dict(WORKERS=3, FAILURES=5, FORGETS=6, REFUSALS=9),
]
COMMON = dict(FENCE_MAX=60, VER_MAX=40)

STATES = ["", "DUE", "RENEWING", "FRESH", "BACKOFF", "NEEDS_CONSENT", "DISABLED", "REMOVED"]
CLASSES = ["", "not_sent", "transient", "consent", "unknown"]
ANSWERS = ["", "HAVE", "LEASE", "BUSY", "GRACE", "BACKOFF", "CONSENT", "BEHIND", "GONE", "STORED", "CFG", "LOST",
           "FAILED", "RESTORED", "MOVED", "OK", "NONE"]
ARGS = "kg kv rg rv rf rr rcd rrt rof why mg mv mf mcd mrt mof mx".split()
RECORD = ("gen ver st ds exp rt own fence iff inn ita pf rn nxt sff sfn fff ffn cd lsf lsn lsl").split()
IDLE = 0


def walk(seed, steps=3000):
    """One trace: [(move, worker, answer, fence, pc, args, record)] and ("m_ends", worker) between them."""
    kind = {**COMMON, **KINDS[seed % len(KINDS)]}
    out = subprocess.run(["spin", *(f"-D{k}={v}" for k, v in kind.items()), f"-n{seed}", f"-u{steps}", str(MODEL)],
                         capture_output=True, text=True, check=True, cwd="/tmp").stdout
    assert "assertion violated" not in out, f"seed {seed}: the model itself fails"
    trace = []
    for words in map(str.split, out.splitlines()):
        if words[:2] == ["NOTE", "m_ends"]:
            trace.append((words[1], int(words[2])))
        elif words[:1] == ["MOVE"]:
            trace.append([words[1], *map(int, words[2:])])
        elif words[:1] == ["ARGS"]:
            trace[-1].append(dict(zip(ARGS, map(int, words[1:]))))
        elif words[:1] == ["REC"]:
            trace[-1].append(dict(zip(RECORD, map(int, words[1:]))))
    # the walk may end in the middle of a print
    return trace if not trace or len(trace[-1]) in (2, 7) else trace[:-1]


def rt_of(own, rt):
    return f"RT:{own}:{rt}"


def up(ms):
    return max(0, -(-ms // TICK))


class Replay:
    """One connection in a real Redis (m: Moves), moved as the model moves."""

    def __init__(self, m):
        self.m, self.nonces, self.made, self.copy = m, {}, 0, None
        self.gens = {0: 0, 1: 1}  # the model counts them, the scripts take the time
        m.fresh()
        assert m.apply(rt=rt_of(1, 0), new=1) == ["OK", 1, 0]
        self.before = self.read()

    def nonce(self, w):
        return self.nonces[w]

    # ---- what Redis holds, in the model's words ----

    def mark(self, text):
        """FENCE:NONCE; a nonce that nobody asks with any more is none."""
        number, _, nonce = (text or "").partition(":")
        who = next((w + 1 for w, n in self.nonces.items() if n == nonce), 0)
        return (int(number), who) if who else (0, 0)

    def model_gen(self, real):
        return next((gen for gen, r in self.gens.items() if r == real), real)

    def read(self):
        m = self.m
        h, now = m.record(), m.now()
        lease = m.r.get(m.conn + ":lease")
        got = {"gen": self.model_gen(int(h["gen"])), "ver": int(h["ver"]), "st": STATES.index(h["state"]),
               "ds": STATES.index(h.get("ds", "")), "exp": up(int(h.get("exp", 0)) - now),
               "fence": int(h.get("fence", 0)), "iff": int(h.get("if", 0)), "pf": int(h.get("pf", 0)),
               "rn": int(h.get("rn", 0)), "nxt": up(int(h.get("next", 0)) - now),
               "ita": min(OLD, (now - int(h["it"])) // TICK) if "it" in h else 0,
               "inn": next((w + 1 for w, n in self.nonces.items() if n == h.get("in")), 0),
               "cd": int(h.get("cd", "cd0")[2:]), "lsf": 0, "lsn": 0, "lsl": 0}
        own, rt = h["rt"].split(":")[1:] if h.get("rt") else (0, 0)
        got.update(own=int(own), rt=int(rt))
        got["sff"], got["sfn"] = self.mark(h.get("sf"))
        got["fff"], got["ffn"] = self.mark(h.get("ff"))
        if lease:
            got["lsf"], got["lsn"] = int(lease.split(b":")[0]), self.mark(lease.decode())[1]
            got["lsl"] = up(m.r.pttl(m.conn + ":lease"))
        return got

    # ---- moves ----

    def make(self, name, w, fence, pc, a, want):
        """The script's first word."""
        m, gens = self.m, self.gens
        if name == "m_acquire":
            if pc == IDLE:
                self.made += 1
                self.nonces[w] = f"n{self.made}"
            got = m.acquire(self.nonce(w), gens[a["rg"]], a["rv"], LEASE * TICK, GRACE * TICK)
            if got[0] == "LEASE":
                assert (got[1], got[2], got[3], got[10]) == (str(fence), gens[want["gen"]], want["ver"],
                                                            want["rn"]), got
                assert (got[7], got[8]) == (f"cd{want['cd']}", rt_of(want["own"], want["rt"])), got
            return got[0]
        if name == "m_store":
            return m.store(a["rf"], self.nonce(w), gens[a["rg"]], a["rv"], rt=rt_of(a["rof"], a["rrt"]), life=LIFE * TICK,
                           cd=f"cd{a['rcd']}")[0]
        if name == "m_fail":
            wait = 0 if CLASSES[a["why"]] == "consent" else LATER * TICK
            return m.fail(a["rf"], self.nonce(w), gens[a["rg"]], CLASSES[a["why"]], base=wait, cap=wait)[0]
        if name == "m_restore":
            return m.restore(gens[a["mg"]], a["mv"], rt=rt_of(a["mof"], a["mrt"]), exp=m.now() + a["mx"] * TICK,
                             fence=a["mf"], cd=f"cd{a['mcd']}")[0]
        if name == "m_refuse":
            return "OK" if m.refuse(gens[a["kg"]], a["kv"]) == 1 else "0"
        return self.act(name, want)

    def act(self, name, want):
        m, now = self.m, self.before
        gen = self.gens[now["gen"]]
        if name == "m_link":
            at = ("", "") if STATES[now["st"]] == "REMOVED" else (gen, now["ver"])
            new = self.gens[want["gen"]] = max(self.gens.values()) + 1
            return m.apply(*at, rt=rt_of(want["own"], 0), cd=f"cd{want['cd']}", new=new)[0]
        if name == "m_settings":
            rt = rt_of(now["own"], now["rt"]) if now["own"] else ""
            return m.apply(gen, now["ver"], rt=rt, cd=f"cd{want['cd']}", link=0)[0]
        if name in ("m_remove", "m_revoke"):
            said = m.remove() if name == "m_remove" else m.revoke()[0]
            self.gens[want["gen"]] = int(m.record()["gen"])
            assert len(set(self.gens.values())) == len(self.gens), "a gen that was handed out before"
            return said
        return {"m_disable": m.disable,
                "m_enable": m.enable, "m_tick": self.tick, "m_copy": self.take_copy,
                "m_forget": self.forget, "m_crash": lambda: ""}[name]()

    def tick(self):
        m = self.m
        times = {f: int(v) - TICK for f, v in m.record().items() if f in ("it", "exp", "next", "born")}
        if times:
            m.r.hset(m.conn, mapping=times)
        self.set_lease(m.r.get(m.conn + ":lease"), m.r.pttl(m.conn + ":lease") - TICK)
        if self.copy:
            record, lease, left = self.copy
            for f in {b"it", b"exp", b"next", b"born"} & set(record):
                record[f] = int(record[f]) - TICK
            self.copy = (record, lease, left - TICK)
        return ""

    def set_lease(self, lease, left):
        self.m.r.delete(self.m.conn + ":lease")
        if lease and left > 0:
            self.m.r.set(self.m.conn + ":lease", lease, px=left)

    def take_copy(self):
        m = self.m
        self.copy = (m.r.hgetall(m.conn), m.r.get(m.conn + ":lease"), m.r.pttl(m.conn + ":lease"))
        return ""

    def forget(self):
        record, lease, left = self.copy
        self.copy = None
        self.m.r.delete(self.m.conn)
        self.m.r.hset(self.m.conn, mapping=record)
        self.set_lease(lease, left)
        return ""

    def run(self, trace):
        """How many moves were made; an assertion says at which one model and scripts part."""
        moves = 0
        for n, step in enumerate(trace):
            if step[0] == "m_ends":
                self.nonces.pop(step[1], None)
                continue
            name, w, answer, fence, pc, args, want = step
            said = self.make(name, w, fence, pc, args, want)
            got = self.read()
            if name in ("m_acquire", "m_store", "m_fail", "m_restore"):
                assert said == ANSWERS[answer], f"move {n}, {name} of {w}: {said}, the model says {ANSWERS[answer]}"
            differ = {k: (got[k], want[k]) for k in RECORD if got[k] != want[k]}
            assert not differ, f"move {n}, {name} of {w} {args}: (real, model) {differ}"
            self.before = got
            moves += 1
        return moves
