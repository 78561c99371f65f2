#!/usr/bin/python3
"""chaos.py - a fleet of workers, short tokens, and everything that goes wrong at random.

    make chaos FOR=600 SEED=1      ten minutes; README.md says what happens and what is asked afterwards

One seed is one schedule: which trouble, when, to whom. The main thread does everything in turn (children
belong to it): it puts jobs, makes the trouble that is due, and links lost accounts again. What it did, and
what servers and workers wrote down, becomes one history, a JSON line per event; check.py judges that and nothing
else.
"""
import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]

import redis as redispy  # noqa: E402

import check  # noqa: E402
from procs import PATIENCE  # noqa: E402
from rig import Rig, Worker  # noqa: E402
from servers import Peers  # noqa: E402

TOKEN_S = 2
TICK_S = 0.02
FAST = {"lease": "2s", "renew_timeout": "1s", "renew_lease": "2s", "renew_grace": "500ms", "slots": 8,
        "drain": "2s", "log_level": "info"}
# What goes wrong, and how often beside the others.
TROUBLE = {"kill": 4, "kill_in_token_call": 8, "stop": 5, "redis": 1, "cut": 2, "token_fault": 14}
EVERY_S = 0.5  # on average
FAULTS = (
    {"drop": "before"}, {"drop": "after"}, {"drop": "half"}, {"status": 500}, {"status": 503},
    {"status": 429, "headers": {"retry-after": "1"}}, {"delay_ms": 400}, {"hold_ms": 600},
    {"hold_ms": 1500},  # longer than a token request may take
)


def schedule(seed, seconds, workers):
    """[(at second, what, how)]: all that the dice decide, before anything runs."""
    dice = random.Random(seed)
    at, events = 1.0, []
    while at < seconds:
        what = dice.choices(list(TROUBLE), list(TROUBLE.values()))[0]
        how = {"worker": dice.randrange(workers), "down_s": round(dice.uniform(0.1, 1.5), 2)}
        if what == "stop":
            how["down_s"] = round(dice.uniform(0.3, 5), 2)  # lease and grace are 2.5
        elif what == "redis":
            how = {"hard": dice.random() < 0.7, "down_s": round(dice.uniform(0, 1), 2)}
        elif what == "token_fault":
            how = {"server": dice.choice(("strict", "forgiving")), **dice.choice(FAULTS),
                   "count": dice.randrange(1, 5)}
        events.append((round(at, 2), what, how))
        at += dice.expovariate(1 / EVERY_S)
    return events


class Chaos:
    def __init__(self, folder, peers, seed, workers, accounts, rate):
        self.rig = Rig(folder, peers)
        self.history = open(folder / "history.jsonl", "w", encoding="utf-8")
        self.begun = time.time()
        self.dice = random.Random(seed + 1)  # of the jobs, beside the schedule's
        self.rate = rate
        self.put_ids = []
        self.secrets = []  # what must be found nowhere
        self.later = []    # (when, call): what ends a trouble
        self.fleet = [None] * workers
        self.lives = 0
        self.aimed = 0     # kills that wait for a token call
        strict, api = peers.get({"AT_TTL": TOKEN_S, "LOG_MAX": 1000000}, {"LOG_MAX": 2000000})
        kind, kind_api = peers.get({"AT_TTL": TOKEN_S, "LOG_MAX": 1000000, "REUSE_GRACE_MS": 3600000},
                                   {"LOG_MAX": 2000000})
        self.servers = {"strict": (strict, api), "forgiving": (kind, kind_api)}
        self.accounts = {f"{name}{n}": name for n in range(accounts // 2) for name in self.servers}

    def note(self, what, **more):
        self.history.write(json.dumps({"t": round(time.time() * 1000, 1), "what": what, **more}) + "\n")

    # ---- what there is -----------------------------------------------------------------------

    def start(self, seed, seconds):
        self.rig.use_redis(aof="always")
        self.note("begin", seed=seed, seconds=seconds, workers=len(self.fleet), accounts=self.accounts)
        for account in self.accounts:
            self.link(account)
        for n in range(len(self.fleet)):
            self.begin(n, wait=False)
        for w in self.fleet:
            w.wait_ready(60)

    def link(self, account):
        """As its owner does: a new grant at the server, and a new generation here."""
        server = self.accounts[account]
        self.rig.auth, self.rig.api = self.servers[server]
        minted = self.rig.auth.mint(account)
        self.secrets.append(minted["refresh_token"])
        conn = self.rig.conn(account, "refresh_token", "basic", "basic",
                             replay="always" if server == "forgiving" else "once")
        gen = self.rig.link_by_hand(conn, minted["refresh_token"])
        self.note("link", account=account, gen=gen, grant=minted["grant_id"])

    def begin(self, n, wait=True):
        """A worker in place n. The even ones have a journal that outlives them."""
        more = {}
        if n % 2 == 0:
            more["journal"] = self.rig.folder / f"journal{n}"
            more["journal"].mkdir(exist_ok=True)
        self.lives += 1
        w = self.rig.worker(ready=False, name=f"w{n}-{self.lives}", **FAST, **more)
        w.stopped = False
        w.asking = set()  # accounts whose token endpoint it waits for
        self.fleet[n] = w
        self.note("start", worker=w.name)
        return w.wait_ready(60) if wait else w

    # ---- trouble -----------------------------------------------------------------------------

    def make(self, what, how):
        if what in ("kill", "stop"):
            w = self.fleet[how["worker"]]
            if w.running and not w.stopped:
                getattr(self, what)(how["worker"], how["down_s"])
        elif what == "kill_in_token_call":
            self.aimed += 1
        elif what == "redis":
            self.note("redis", up=False, **how)
            self.rig.redis.kill() if how["hard"] else self.rig.redis.end_cleanly()
            self.at(how["down_s"], self.redis_up)
        elif what == "cut":
            self.note("cut")
            try:
                self.rig.redis.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            except redispy.RedisError:
                pass  # it is away already
        else:
            fault = {k: v for k, v in how.items() if k != "server"}
            self.note("fault", server=how["server"], fault=fault)
            self.servers[how["server"]][0].faults({"grant": "refresh_token", **fault})

    def at(self, seconds, call):
        self.later.append((time.monotonic() + seconds, call))

    def kill(self, n, down_s, **more):
        w = self.fleet[n]
        self.note("kill", worker=w.name, **more)
        w.kill()
        self.at(down_s, lambda: self.begin(n, wait=False))

    def stop(self, n, down_s):
        w = self.fleet[n]
        w.stop()
        w.stopped = True
        self.note("stop", worker=w.name)

        def go_on():
            w.stopped = False
            self.note("cont", worker=w.name)
            w.cont()
        self.at(down_s, go_on)

    def redis_up(self):
        self.rig.redis.start()
        self.note("redis", up=True)

    def is_asking(self, w):
        """By its own log this worker waits for a token endpoint."""
        for e in lines_since(w):
            if e["event"] == "token.renewing":
                w.asking.add(e.get("connection"))
            else:
                w.asking.discard(e.get("connection"))
        return bool(w.asking)

    def aim(self):
        """Kill whoever is in a token call now."""
        busy = [n for n, w in enumerate(self.fleet)
                if w.running and not w.stopped and self.is_asking(w)]
        if busy and self.aimed:
            self.aimed -= 1
            self.kill(self.dice.choice(busy), round(self.dice.uniform(0.1, 1), 2), aimed=True)

    # ---- work --------------------------------------------------------------------------------

    def put(self, count):
        jobs = []
        for _ in range(count):
            account = self.dice.choice(list(self.accounts))
            self.rig.auth, self.rig.api = self.servers[self.accounts[account]]
            job_id = f"{account}-{len(self.put_ids) + len(jobs)}"
            path = "/redirect?to=cross" if self.dice.random() < 0.05 else f"/effect/{job_id}"
            then = [self.rig.call(account, f"/effect/{job_id}-2")] if self.dice.random() < 0.25 else None
            jobs.append(self.rig.job(account, path, job_id=job_id, then=then,
                                     retry={"max": 100, "base_ms": 100, "cap_ms": 2000}))
        try:
            self.rig.enqueue(jobs)
        except redispy.RedisError:
            return False  # not acknowledged: put again, under the same ids
        for job in jobs:
            self.note("put", id=job["id"], steps=1 + len(job.get("then") or []))
        self.put_ids += [j["id"] for j in jobs]
        return True

    def link_lost(self):
        """Who needs consent gets it; that is noted as a loss."""
        try:
            pipe = self.rig.redis.client.pipeline(transaction=False)
            for account in self.accounts:
                pipe.hmget(self.key(account), "state", "gen", "ver", "why", "pf")
            records = pipe.execute()
        except redispy.RedisError:
            return
        for account, (state, gen, ver, why, _) in zip(self.accounts, records):
            if state == b"NEEDS_CONSENT":
                self.note("lost", account=account, gen=int(gen), ver=int(ver or 0),
                          why=(why or b"").decode())
                self.link(account)

    def key(self, account):
        return f"{self.rig.prefix}:{{c:{account}}}"

    # ---- the run -----------------------------------------------------------------------------

    def turn(self):
        """What is due in this moment."""
        now = time.monotonic()
        due = [e for e in self.later if e[0] <= now]
        self.later = [e for e in self.later if e[0] > now]
        for _, call in due:
            call()
        self.aim()

    def go(self, seed, seconds):
        events = schedule(seed, seconds, len(self.fleet))
        begun = time.monotonic()
        jobs, looked = 0, begun
        while time.monotonic() - begun < seconds:
            now = time.monotonic() - begun
            while events and events[0][0] <= now:
                _, what, how = events.pop(0)
                if what != "redis" or self.rig.redis.running:
                    self.make(what, how)
            self.turn()
            if self.rig.redis.running:
                if now * self.rate > jobs:
                    count = int(now * self.rate) - jobs + 1
                    jobs += count if self.put(count) else 0
                if time.monotonic() - looked > 0.3:
                    looked = time.monotonic()
                    self.link_lost()
            time.sleep(TICK_S)

    def settle(self, limit_s):
        """No more trouble, and everybody up: what was put must come to its end."""
        self.note("calm")
        self.aimed = 0
        for auth, _ in self.servers.values():
            auth.clear_faults()
        end = time.monotonic() + limit_s * PATIENCE
        want, done, last = set(self.put_ids), set(), "-"
        while time.monotonic() < end and (self.later or want - done):
            self.turn()
            self.link_lost()
            page = []
            if self.rig.redis.running:
                page, last = self.results_after(last)
            done |= {r["run"] for r in page if r.get("end")}
            time.sleep(TICK_S if page else 0.2)

    def results_after(self, last):
        page = self.rig.redis.client.xrange(self.rig.key("out:results"), last, "+", 5000)
        results = [check.unpack(fields[b"r"]) for _, fields in page]
        for (entry, _), r in zip(page, results):
            self.note("result", entry=entry.decode(), run=r["run"], step=r["step"], state=r["state"],
                      status=r.get("status"), end=bool(r.get("end")), job=r["id"],
                      error=(r.get("error") or {}).get("title"))
        return results, b"(" + page[-1][0] if page else last

    def write_down(self):
        """What the servers and the workers know, into the history."""
        for name, (auth, api) in self.servers.items():
            for e in auth.log(grant="refresh_token"):
                self.note("token_request", server=name, **{k: v for k, v in e.items() if k != "ua"})
            for e in api.log():
                if e.get("sub"):
                    self.note("call", server=name, path=e["path"], sub=e["sub"], status=e.get("status"))
            self.note("leaks", server=name, count=api.counters().get("leaks_seen", len(api.counters()["leaks"])))
        for w in self.rig.things:
            if isinstance(w, Worker):
                for e in w.logged():
                    if e.get("event", "").startswith("token."):
                        self.note("said", worker=w.name, **{("at" if k == "t" else k): v for k, v in e.items()
                                                            if k not in ("worker", "what")})
                self.note("ended", worker=w.name, code=w.child.poll())
        self.note("in_clear", count=self.in_clear())
        self.history.close()

    def in_clear(self):
        """Secrets of this run that stand in a file or in Redis' own: workers' logs, journals, the AOF."""
        found = 0
        for path in self.rig.folder.rglob("*"):
            if path.is_file() and path.suffix not in (".secret", ".refresh", ".jsonl") and path.name != "keys":
                data = path.read_bytes()
                found += sum(s.encode() in data for s in [*self.secrets, "basic-secret"])
        return found


def lines_since(w):
    """What it said of tokens since the last look."""
    lines = w.lines()
    seen, w.seen = getattr(w, "seen", 0), len(lines)
    return [json.loads(line) for line in lines[seen:] if '"event":"token.' in line]


def run(seconds, seed, workers=16, accounts=50, rate=60, folder=None):
    """One run; the path of its history. The folder is the caller's to remove."""
    folder = Path(folder or tempfile.mkdtemp(prefix="awq-chaos-"))
    peers = Peers(folder)
    chaos = Chaos(folder, peers, seed, workers, accounts, rate)
    try:
        chaos.start(seed, seconds)
        chaos.go(seed, seconds)
        chaos.settle(90)
        chaos.write_down()
    finally:
        chaos.rig.close()
        peers.end()
    return folder / "history.jsonl"


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--for", type=int, default=600, dest="seconds")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--keep", action="store_true", help="leave the folder, with the history in it")
    got = args.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="awq-chaos-"))
    verdict = check.judge(run(got.seconds, got.seed, folder=folder))
    for problem in verdict.problems[:50]:
        print(problem)
    print(verdict.line())
    if got.keep or verdict.problems:
        print(f"history: {folder}/history.jsonl")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if verdict.problems else 0)


if __name__ == "__main__":
    main()
