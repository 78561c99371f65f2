#!/usr/bin/python3
"""check.py - read the history of a chaos run, and say what awq did wrong in it.

    check.py HISTORY.jsonl         prints the problems, then the line of `make chaos`

It knows nothing but the history: what was done to whom, each token request and call as the servers logged
them, each result as Redis had it, and what workers said of tokens.
"""
import collections
import json
import re
import sys
from datetime import datetime

import msgpack

LIFETIME_MS = 2000  # chaos.TOKEN_S
REQUEST_MS = 1000   # chaos.FAST: how long a token request may take
NEAR_MS = 150       # clocks of one machine, read by several processes


def unpack(raw):
    return msgpack.unpackb(raw, strict_map_key=False)


def read(path):
    """The events, each a map with `t` in ms and `what`, by time."""
    with open(path, encoding="utf-8") as f:
        events = [json.loads(line) for line in f]
    for e in events:
        if e["what"] == "said":
            e["t"] = datetime.fromisoformat(e["ts"].replace("Z", "+00:00")).timestamp() * 1000
    return sorted(events, key=lambda e: e["t"])


class Verdict:
    def __init__(self, events):
        self.problems = []
        self.by = collections.defaultdict(list)
        for e in events:
            self.by[e["what"]].append(e)
        [self.begin] = self.by["begin"]
        self.requests = collections.defaultdict(list)  # refresh token -> its requests
        for e in self.by["token_request"]:
            self.requests[e["rt"]].append(e)
        self.said_of = collections.defaultdict(list)  # account -> what workers said of its token
        for e in self.by["said"]:
            self.said_of[e.get("connection")].append(e)
        self.seconds = round((self.by["calm"][-1]["t"] - self.begin["t"]) / 1000)
        self.look_at_jobs()
        self.renewals = sum(is_ok(e) for e in self.by["token_request"])
        self.unsanctioned = sum(self.unsanctioned_of(rt) for rt in self.requests)
        self.look_for_leaks()
        self.look_at_losses()
        self.killed_in_call = sum(self.was_in_call(k) for k in self.by["kill"])
        if self.killed_in_call * 30 < self.seconds - 30:
            self.problems.append(f"only {self.killed_in_call} workers were killed in a token call: this proves little")
        for e in self.by["ended"]:
            if e["code"] not in (None, 0, -9):
                self.problems.append(f"worker {e['worker']} ended with {e['code']}")

    def line(self):
        return (f"awq chaos: seed={self.begin['seed']} seconds={self.seconds} jobs={len(self.by['put'])} "
                f"lost={self.lost} duplicate_commits={self.duplicates} renewals={self.renewals} "
                f"unsanctioned_renewals={self.unsanctioned} leaked={self.leaked} "
                f"accounts_lost={len(self.by['lost'])} explained={self.explained} "
                f"killed_in_token_call={self.killed_in_call}")

    # ---- jobs --------------------------------------------------------------------------------

    def look_at_jobs(self):
        steps = collections.defaultdict(list)
        for r in self.by["result"]:
            steps[r["run"]].append(r)
        self.lost = self.duplicates = 0
        for job in self.by["put"]:
            got = steps.get(job["id"], [])
            if not any(r["end"] for r in got):
                self.lost += 1
                self.problems.append(f"job {job['id']} has no last result")
            names = collections.Counter(r["step"] for r in got)
            twice = [s for s, n in names.items() if n > 1]
            self.duplicates += len(twice)
            self.problems += [f"job {job['id']} step {s} was committed {names[s]} times" for s in twice]
            self.problems += [f"job {job['id']} ended {r['state']} ({r['error']}, status {r['status']})"
                              for r in got if r["state"] != "done" and not self.is_of_a_dead_token(r)]

    def is_of_a_dead_token(self, result):
        """401 for a token that awq had just got, and which the server ended: it had killed the grant, or it
        counts lifetimes in whole seconds, so that of two seconds one may be over already."""
        account, at = result["run"].rsplit("-", 1)[0], int(result["entry"].split("-")[0])
        made = [e["t"] for e in self.by["token_request"]
                if e.get("account") == account and is_ok(e) and e["t"] < at]
        killed = any(e["account"] == account and abs(e["t"] - at) < 30000 for e in self.by["lost"])
        return result["state"] == "failed" and result["status"] == 401 and \
            (killed or bool(made) and at - made[-1] > LIFETIME_MS - 1000 - NEAR_MS)

    # ---- renewals ----------------------------------------------------------------------------

    def unsanctioned_of(self, rt):
        """How many requests with this refresh token should not have been."""
        tries = self.requests[rt]
        account = tries[0].get("account")
        forgiving = tries[0]["server"] == "forgiving"  # replay: always
        stored = min((self.requests[e["new_rt"]][0]["t"] for e in tries
                      if is_ok(e) and e["new_rt"] in self.requests), default=None)
        bad, maybe_used = 0, 0
        for n, e in enumerate(tries):
            before = tries[n - 1] if n else None
            why = None
            if stored is not None and e["t"] > stored:
                why = "although a newer one was in use"
            elif before and e["t"] < before["t"] + min(before["ms"], REQUEST_MS) - NEAR_MS and not is_refused(before):
                why = "while the request before was under way"
            elif maybe_used >= 2 and not forgiving:
                why = "after its one replay"
            maybe_used += not is_refused(e) or not self.was_heard(e)
            if why:
                bad += 1
                self.problems.append(f"{account}: a refresh token was sent once more at {e['t']:.0f}, {why}")
        return bad

    def holder_of(self, request):
        """Who made this token request: the last one before it to say so of this account."""
        said = [e for e in self.said_of[request.get("account")]
                if e["event"] == "token.renewing" and e["t"] <= request["t"] + NEAR_MS]
        return said[-1]["worker"] if said else None

    def was_heard(self, request):
        """Its holder said how it ended."""
        holder = self.holder_of(request)
        return any(e["worker"] == holder and e["event"] != "token.renewing" and e["t"] > request["t"] - NEAR_MS
                   and e["t"] < request["t"] + request["ms"] + REQUEST_MS
                   for e in self.said_of[request.get("account")])

    def holder_was_gone(self, request):
        """Its holder was killed or stopped before it can have stored the answer."""
        holder = self.holder_of(request)
        begin, end = request["t"] - NEAR_MS, request["t"] + request["ms"] + REQUEST_MS
        stopped = False
        for e in self.by["kill"] + self.by["stop"] + self.by["cont"]:
            if e["worker"] != holder:
                continue
            if e["what"] == "cont":
                stopped = stopped and e["t"] < begin
            elif e["what"] == "stop" and e["t"] < begin:
                stopped = True
            elif begin <= e["t"] <= end:
                return True
        return stopped

    # ---- leaks -------------------------------------------------------------------------------

    def look_for_leaks(self):
        self.leaked = sum(e["count"] for e in self.by["leaks"]) + sum(e["count"] for e in self.by["in_clear"])
        if self.leaked:
            self.problems.append(f"{self.leaked} tokens or secrets where none belongs")
        for e in self.by["call"]:
            of = re.match(r"/effect/([a-z]+\d+)-", e["path"])
            if of and of[1] != e["sub"]:
                self.leaked += 1
                self.problems.append(f"{e['path']} was called with the token of {e['sub']}")

    # ---- lost accounts -----------------------------------------------------------------------

    def look_at_losses(self):
        self.explained = 0
        for e in self.by["lost"]:
            kind = self.begin["accounts"][e["account"]]
            cause = self.cause_of(e)
            self.explained += cause is not None
            if kind == "forgiving":
                self.problems.append(f"{e['account']} was lost where repeats are forgiven ({e['why']}, {cause})")
            elif cause is None:
                self.problems.append(f"{e['account']} was lost at {e['t']:.0f} ({e['why']}) and nothing explains it")

    def cause_of(self, loss):
        """Why no living worker had the answer to a request of this grant; None when it should have had."""
        [link] = [e for e in self.by["link"] if e["account"] == loss["account"] and e["gen"] == loss["gen"]]
        for e in reversed(self.by["token_request"]):
            if e.get("grant_id") != link["grant"] or e["t"] > loss["t"] or is_refused(e):
                continue
            if is_ok(e) and e["new_rt"] in self.requests:
                return None  # everything after it was refused, and it was stored
            if "end" in e:
                return e["end"]
            if e["ms"] > REQUEST_MS - NEAR_MS:
                return "answered too late"
            if self.holder_was_gone(e):
                return "its holder was gone"
        return None

    def was_in_call(self, kill):
        """The killed worker was in a token call: by its own log, and by the server's."""
        asking = {}  # account -> its last word, while that is "renewing"
        for account, said in self.said_of.items():
            own = [e for e in said if e["worker"] == kill["worker"]]
            if own and own[-1]["event"] == "token.renewing":
                asking[account] = own[-1]
        return any(self.requests_at(account, e["t"], kill["t"]) for account, e in asking.items())

    def requests_at(self, account, since, at):
        return any(e.get("account") == account and since - NEAR_MS <= e["t"] <= at + NEAR_MS
                   and e["t"] + e["ms"] >= at - NEAR_MS for e in self.by["token_request"])


def is_ok(request):
    return request.get("status") == 200 and "new_rt" in request


def is_refused(request):
    """Answered, and with no token: whoever heard it knows that the refresh token is as good as before."""
    return "status" in request and request["status"] != 200 and request.get("end") in (None, "faulted")


def judge(path):
    return Verdict(read(path))


def main():
    verdict = judge(sys.argv[1])
    for problem in verdict.problems:
        print(problem)
    print(verdict.line())
    sys.exit(1 if verdict.problems else 0)


if __name__ == "__main__":
    main()
