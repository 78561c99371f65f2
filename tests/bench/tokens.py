#!/usr/bin/python3
"""tokens.py - two figures about tokens, with a certified authorization server and its logs.

    make tokens                 both, in about three minutes
    make tokens T=waiting       10,000 jobs wait for one connection's token
    make tokens T=short         tokens of five seconds under 1,000 steps a second, for two minutes

What is said comes from the servers' logs and from when a job was put, not from awq's own numbers.
"""
import argparse
import bisect
import collections
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))

from rig import Rig  # noqa: E402
from servers import Peers  # noqa: E402


def percentile(values, share):
    values = sorted(values)
    return values[int(share * (len(values) - 1))] if values else -1


class Figures:
    def __init__(self, folder, peers, workers, auth, **settings):
        self.rig = Rig(folder, peers)
        self.rig.use_redis()
        self.auth, self.api = self.rig.use_peers(auth={"LOG_MAX": 1000000, **auth},
                                                 api={"LOG_MAX": 2000000, "CACHE_MS": 1000})
        self.put_ms = {}  # job -> when it was put
        self.workers = [self.rig.worker(ready=False, slots=16, results_max=10000000, **settings) for _ in range(workers)]
        for w in self.workers:
            w.wait_ready(60)

    def put(self, conn, count):
        first = len(self.put_ms)
        jobs = [self.rig.job(conn, f"/effect/{conn}-{n}", job_id=f"{conn}-{n}") for n in range(first, first + count)]
        now = time.time() * 1000
        self.rig.enqueue(jobs)
        self.put_ms.update((j["id"], now) for j in jobs)
        return [j["id"] for j in jobs]

    def put_at(self, rate, seconds, conns, also=None):
        """Spread over the connections, `rate` a second."""
        begun, done, turn = time.monotonic(), 0, 0
        while time.monotonic() - begun < seconds:
            due = int((time.monotonic() - begun) * rate) - done
            for _ in range(min(due, len(conns))):
                self.put(conns[turn % len(conns)], max(1, due // len(conns)))
                done += max(1, due // len(conns))
                turn += 1
            if also:
                also()
            time.sleep(0.005)

    def arrivals(self):
        """job -> when its call was at the API."""
        return {e["path"][8:]: e["t"] for e in self.api.log() if e["path"].startswith("/effect/") and e.get("status") == 200}

    def wait(self, count, timeout):
        self.rig.results([], 1)
        end = time.monotonic() + timeout
        while self.rig.redis.client.xlen(self.rig.key("out:results")) < count:
            assert time.monotonic() < end, self.rig.places_text()
            time.sleep(0.1)


def waiting(folder, peers):
    """10,000 jobs for a connection whose token request takes three seconds; another one works on."""
    f = Figures(folder, peers, 16, {"AT_TTL": 3600})
    f.rig.link("other")
    f.rig.results([f.rig.enqueue(f.rig.job("other", "/echo", job_id="first"))[0]])
    f.put_at(200, 5, ["other"])
    f.rig.link_refresh("one", client="basic", auth="basic")
    f.auth.faults({"grant": "refresh_token", "delay_ms": 3000})
    calm = set(f.put_ms)
    ten_thousand = f.put("one", 10000)
    f.put_at(200, 2, ["other"])
    f.wait(1 + len(f.put_ms), 120)
    at = f.arrivals()
    [token] = f.auth.log(grant="refresh_token")
    answered = token["t"] + token["ms"]
    busy = [i for i in f.put_ms if i not in calm and i.startswith("other")]
    ones = sorted(at[i] for i in ten_thousand)
    per_100ms = collections.Counter(int(t // 100) for t in ones)
    waits = [[at[i] - f.put_ms[i] for i in ids] for ids in (calm, busy)]
    print(f"awq waiting: jobs=10000 workers=16 token_requests={f.auth.counters()['refresh']['arrived']} "
          f"before_the_token={sum(t < answered for t in ones)} last_sent_s={(ones[-1] - answered) / 1000:.1f} "
          f"peak_per_100ms={max(per_100ms.values())} other_jobs={len(busy)} "
          f"other_wait_ms_p50_p99={percentile(waits[1], .5):.0f},{percentile(waits[1], .99):.0f} "
          f"other_alone_ms_p50_p99={percentile(waits[0], .5):.0f},{percentile(waits[0], .99):.0f}")
    return f


def short(folder, peers, rate=1000, seconds=120, accounts=10):
    """Tokens of five seconds. A step waited for one if it came late, and a token was asked for meanwhile."""
    late_ms = 50
    f = Figures(folder, peers, 4, {"AT_TTL": 5})
    names = [f"a{n}" for n in range(accounts)]
    for name in names:
        f.rig.link_refresh(name)
    f.put_at(100, 3, names)
    begun = time.time() * 1000
    before = set(f.put_ms)
    f.put_at(rate, seconds, names)
    took = (time.time() * 1000 - begun) / 1000
    f.wait(len(f.put_ms), 120)
    at = f.arrivals()
    asked = collections.defaultdict(list)  # account -> begins of its token requests, and ends
    for e in f.auth.log(grant="refresh_token"):
        asked[e["account"]].append((e["t"], e["t"] + e["ms"]))
    steps = [i for i in f.put_ms if i not in before]
    late = [i for i in steps if at[i] - f.put_ms[i] > late_ms]
    waited = 0
    for i in late:
        times = asked[i.rsplit("-", 1)[0]]
        n = bisect.bisect(times, (at[i], float("inf")))
        waited += any(end >= f.put_ms[i] for _, end in times[max(0, n - 3):n])
    renewals = sum(t >= begun for times in asked.values() for t, _ in times)
    print(f"awq short: lifetime_s=5 seconds={took:.0f} steps={len(steps)} steps_per_s={len(steps) / took:.0f} "
          f"accounts={accounts} renewals={renewals} renewals_per_lifetime={renewals * 5 / took / accounts:.2f} "
          f"late={len(late)} waited_for_a_token={waited} waited_percent={100 * waited / len(steps):.3f} "
          f"put_to_arrival_ms_p50_p99={percentile([at[i] - f.put_ms[i] for i in steps], .5):.0f},"
          f"{percentile([at[i] - f.put_ms[i] for i in steps], .99):.0f}")
    return f


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("which", nargs="?", default="")
    which = args.parse_args().which
    for name, run in (("waiting", waiting), ("short", short)):
        if which and which != name:
            continue
        folder = Path(tempfile.mkdtemp(prefix="awq-"))
        peers = Peers(folder)
        f = None
        try:
            f = run(folder, peers)
        finally:
            if f:
                f.rig.close()
            peers.end()
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
