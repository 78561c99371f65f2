"""Thousands of random moves by several workers, with a model beside them.

After every move: each acknowledged job is in exactly one place, the one that the model says (promise 1);
no step is committed twice, and each commit queued its next step once (promise 2). The workers are late,
paused past their lease, repeat what they did, and move jobs that are no longer theirs. The seed is
printed; AWQ_SEED repeats a walk, AWQ_WALK makes it longer.
"""
import os
import random

import redis as redispy

import places
from moves import HOUR, key, next_name, run_of, seq_of, text

MOVES = int(os.environ.get("AWQ_WALK", 1500))
STEPS = 3      # a run's
FORGET_EVERY = 100  # moves; finished runs go then, as by their TTL
QUEUES = ("default", "bulk")
RESOURCES = ("conn:a", "lane:b")


class Walk:
    def __init__(self, m, seed):
        self.m = m
        self.rnd = random.Random(seed)
        self.where = {}      # name -> place: what must be true
        self.queue = {}      # run -> its queue
        self.done = {}       # name -> how often its commit was acknowledged as new
        self.results = []    # names whose results are on the stream
        self.ended = {}      # run -> state
        self.ends = []       # runs whose cancelled end is on the stream
        self.forgotten = set()
        self.cancelled = set()
        self.hands = {}      # worker -> [(entry, name)], also what is no longer its own
        self.commits = []    # sent before; (worker, entry, name, nonce)
        self.entry_of = {}   # (queue, entry) -> (worker, name): pending now
        self.count = 0
        self.live = set()
        self.log = []

    def worker(self):
        if len(self.hands) < 4 or self.rnd.random() < 0.02:
            self.hands[f"w{len(self.hands)}"] = []
        who = self.rnd.choice(list(self.hands)[-5:])
        if who not in self.live:
            self.m.beat(who)
            self.live.add(who)
        return who

    def held(self):
        """Somebody with something in hand: (worker, entry, name, is it still its own)."""
        full = [w for w, h in self.hands.items() if h]
        if not full:
            return None
        who = self.rnd.choice(full)
        hand = self.hands[who]
        entry, name = hand.pop(self.rnd.randrange(len(hand)))
        if self.rnd.random() < 0.1:
            hand.append((entry, name))  # and will act on it once more: a lost answer, a late worker
        return who, entry, name, self.mine(who, entry, name)

    def mine(self, who, entry, name):
        return self.entry_of.get((self.queue[run_of(name)], entry)) == (who, name)

    def let_go(self, entry, name):
        del self.entry_of[self.queue[run_of(name)], entry]

    # ---- the moves; each answers what it did, for the log ----

    def enqueue(self):
        known = [r for r in self.queue if r not in self.forgotten]
        old = known and self.rnd.random() < 0.2
        run = self.rnd.choice(known) if old else f"r{self.count}"
        name = f"{run}.0.0"
        queue = self.queue.get(run) or self.rnd.choice(QUEUES)
        later = self.rnd.random() < 0.2
        got = self.m.enqueue(name, at=self.m.now() + HOUR if later else 0, queue=queue)
        if old:
            assert got == "DUPLICATE"
        else:
            assert got == "OK"
            self.count += 1
            self.queue[run] = queue
            self.where[name] = "due" if later else f"ready:{queue}"
        return name

    def take(self):
        who = self.worker()
        queue = self.rnd.choice(QUEUES)
        got = self.m.take(who, self.rnd.randrange(1, 6), queue)
        for entry, name, _ in got:
            assert self.where[name] == f"ready:{queue}", name
            self.where[name] = f"pending:{queue}:{who}"
            self.entry_of[queue, entry] = (who, name)
            self.hands[who].append((entry, name))
        return who, [n for _, n, _ in got]

    def commit(self):
        jobs, who = {}, None
        for _ in range(self.rnd.randrange(1, 5)):
            h = self.held()
            if h and (who is None or h[0] == who) and h[1] not in jobs:
                who = h[0]
                jobs[h[1]] = h
            elif h:
                self.hands[h[0]].append(h[1:3])
        if not jobs:
            return None
        steps = []
        for _, entry, name, _ in jobs.values():
            o = {"nonce": f"{who}-{self.rnd.randrange(10 ** 9)}", "queue": self.queue[run_of(name)]}
            if seq_of(name) == STEPS - 1:
                o["last"] = 1
            if self.rnd.random() < 0.1:
                o["out"] = "broken"
            steps.append((entry, name, o))
        self.check_commit(who, steps, [j[3] for j in jobs.values()])
        return who, [s[1] for s in steps]

    def check_commit(self, who, steps, mine):
        for step, own, got in zip(steps, mine, self.m.commit(who, *steps)):
            entry, name, o = step
            run = run_of(name)
            if isinstance(got, str):
                assert own and o.get("out") == "broken" and "WRONGTYPE" in got
                self.hands[who].append((entry, name))
                continue
            self.commits.append((who, step))
            if not own:
                assert got == 2, (name, got)
                continue
            assert got == (4 if run in self.cancelled and not o.get("last") else 1), (name, got)
            self.let_go(entry, name)
            del self.where[name]
            self.done[name] = self.done.get(name, 0) + 1
            self.results.append(name)
            if got == 4:
                self.ended[run] = b"cancelled"
                self.ends.append(run)
            elif o.get("last"):
                self.ended[run] = b"done"
            else:
                self.where[next_name(name)] = f"ready:{self.queue[run]}"

    def again(self):
        """A commit whose answer got lost, sent once more: COMMITTED or LOST, and nothing happens."""
        if not self.commits:
            return None
        who, step = self.rnd.choice(self.commits[-20:])
        if self.mine(who, *step[:2]):
            return None
        got = self.m.commit(who, step)
        assert got in ([1], [2])
        return who, step[1], got

    def aside(self):
        h = self.held()
        if not h:
            return None
        who, entry, name, mine = h
        queue = self.queue[run_of(name)]
        what = self.rnd.choice(("retry", "park", "bury", "release"))
        at = self.m.now() + self.rnd.randrange(HOUR)
        resource = self.rnd.choice(RESOURCES)
        out = self.rnd.choice(("results", "broken"))
        got, good, place = {
            "retry": lambda: (self.m.retry(who, entry, name, at, queue), "OK", "due"),
            "park": lambda: (self.m.park(who, entry, name, at, resource, limit=20, queue=queue), "OK", f"park:{resource}"),
            "bury": lambda: (self.m.bury(who, entry, name, out=out, queue=queue),
                             "OK" if out == "results" else "OK_NO_RESULT", "dead"),
            "release": lambda: (self.m.release(who, entry, queue=queue), 1, f"ready:{queue}"),
        }[what]()
        if got == "FULL":
            assert mine and what == "park"
            self.hands[who].append((entry, name))
        elif mine and what in ("retry", "park") and run_of(name) in self.cancelled:
            assert got == "CANCELLED", (what, name, got)
            self.let_go(entry, name)
            del self.where[name]
            self.ended[run_of(name)] = b"cancelled"
            self.ends.append(run_of(name))
        elif mine:
            assert got == good, (what, name, got)
            self.let_go(entry, name)
            self.where[name] = place
        else:
            assert got in ("LOST", 0), (what, name, got)
        return what, who, name, got

    def promote(self):
        where = self.rnd.choice(("due", *(f"park:{r}" for r in RESOURCES)))
        names = self.m.peek(where, "+inf", self.rnd.randrange(1, 8))[2]
        if self.rnd.random() < 0.3:
            names = names + names[:1] + [("r0.0.0", "default")]  # another housekeeper's older look
        want = [n for n, _ in dict(names).items() if self.where.get(n) == where]
        assert self.m.promote(where, names) == [len(want), 0, 0]
        for n in want:
            self.where[n] = f"ready:{self.queue[run_of(n)]}"
        if where != "due":
            score = self.m.r.zscore(key("lots"), where[5:])
            left = sum(1 for p in self.where.values() if p == where)
            assert self.m.lot(where[5:], self.m.now() + 1000, score or 0) == left
        return where, want

    def wake(self):
        self.m.wake(self.rnd.choice(RESOURCES))

    def die(self):
        """A worker is gone, or only looks so: its hand stays full, and it will try."""
        who = self.worker()
        self.m.r.zadd(key("workers"), {who: self.m.now() - 1})
        self.live.discard(who)
        return who

    def reclaim(self):
        who = self.rnd.choice(list(self.hands) or ["w0"])
        queue = self.rnd.choice(QUEUES)
        got = self.m.reclaim(who, self.rnd.randrange(1, 6), queue=queue)
        if who in self.live:
            assert got[0] == -1
            return who, "lives"
        now = {text(e) for e, _ in self.m.r.xrange(key(f"q:{queue}"))}
        lost = [(e, n) for (q, e), (w, n) in self.entry_of.items() if (w, q) == (who, queue) and e not in now]
        assert len(lost) == got[0]
        for entry, name in lost:
            self.where[name] = f"ready:{queue}"
            self.let_go(entry, name)
        return who, got

    def leave(self):
        who = self.worker()
        pending = {q for (q, _), (w, _) in self.entry_of.items() if w == who}
        assert self.m.leave(who, *QUEUES) == len(pending)
        self.live.discard(who)
        return who

    def dead(self):
        name = self.some("dead")
        if not name:
            return None
        run = run_of(name)
        if self.rnd.random() < 0.6:
            assert self.m.replay(name, self.queue[run]) == "OK"
            self.where[name] = f"ready:{self.queue[run]}"
            assert self.m.replay(name, self.queue[run]) == "NONE", "twice"
            return "replay", name
        assert self.m.purge(name) == "OK"
        assert self.m.purge(name) == "NONE"
        del self.where[name]
        self.ended[run] = b"expired"
        return "purge", name

    def some(self, place):
        names = [n for n, p in self.where.items() if p.startswith(place)]
        return self.rnd.choice(names) if names else None

    def cancel(self):
        if not self.count or self.rnd.random() < 0.7:
            return None
        run = f"r{self.rnd.randrange(max(0, self.count - 30), self.count)}"
        name, place = next(((n, p) for n, p in self.where.items() if run_of(n) == run), ("", ""))
        aside = not place.startswith(("ready", "pending")) and place
        if run in self.forgotten:
            return None
        got = self.m.cancel(run, name if aside else "", aside or "due")
        if run in self.ended:
            assert got == "FINISHED"
        elif aside:
            assert got == "CANCELLED"
            del self.where[name]
            self.ended[run] = b"cancelled"
            self.ends.append(run)
        else:
            assert got == "MARKED"
            self.cancelled.add(run)
        return run, got

    # ---- and the check ----

    def check(self):
        seen = places.look(self.m.r, "awq", name_of=lambda j: j.decode())
        assert not seen.problems, seen.problems
        assert {n: p[0] for n, p in seen.where.items()} == self.where
        assert max(self.done.values(), default=0) <= 1
        for run, state in self.ended.items():
            assert seen.runs[run][b"st"] == state, run
        results = [text(r) for r in seen.results.get("results", [])]
        steps = [r[4:] for r in results if r.startswith("res:")]
        assert sorted(steps) == sorted(self.results), "one result for each committed step"
        ends = [r[10:] for r in results if r.startswith("cancelled:")]
        assert sorted(ends) == sorted(self.ends)

    def forget(self):
        for run in self.ended:
            self.m.r.delete(key(f"run:{run}"), key(f"id:{run}"))
        self.m.r.delete(key("out:results"))
        self.forgotten |= set(self.ended)
        self.ended, self.results, self.ends = {}, [], []

    def step(self):
        move = self.rnd.choices(
            (self.enqueue, self.take, self.commit, self.again, self.aside, self.promote, self.wake, self.die,
             self.reclaim, self.leave, self.dead, self.cancel),
            (10, 25, 22, 4, 14, 8, 2, 3, 8, 1, 3, 4))[0]
        full = move not in (self.enqueue, self.cancel, self.die) and self.rnd.random() < 0.1
        if full:
            self.m.full()
        try:
            self.log.append((move.__name__, move()))
        finally:
            if full:
                self.m.roomy()


def test_random_walk(m):
    seed = int(os.environ.get("AWQ_SEED", random.randrange(10 ** 9)))
    print("AWQ_SEED =", seed)
    m.group("bulk")
    m.r.set(key("out:broken"), "a stream it is not")
    walk = Walk(m, seed)
    try:
        ways = set()
        for i in range(MOVES):
            walk.step()
            walk.check()
            ways |= set(walk.ended.values())
            if i % FORGET_EVERY == 0:
                walk.forget()
    except (AssertionError, redispy.RedisError):
        print("\n".join(map(str, walk.log[-15:])))
        raise
    kinds = {name for name, got in walk.log if got}
    assert len(walk.done) > MOVES / 20 and len(kinds) >= 10, "the walk went nowhere"
    assert ways == {b"done", b"cancelled", b"expired"}
