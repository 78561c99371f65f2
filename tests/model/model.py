#!/usr/bin/python3
"""model.py - the lease protocol's model, checked by spin.

    make model            every variant to its end, every mutant, 1,000 traces on the real scripts
    model.py bounded      the smallest variants only, as part of `make check`
    model.py show DEFS    the shortest way to a violation, e.g. show lease -DCRASHES=1 -DLOST=1 -DM_NO_GRACE

A variant is a set of what may happen and how often; README.md says why it is cut into these. spin
visits every state that can be reached: no bit states, no partial order reduction. A mutant is the
model with one thing taken out of the protocol; the variant named with it must find a violation.
Ends with `awq model: states=N violations=0 mutants_killed=K/K`.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
JOBS = max(1, int(os.environ.get("JOBS") or 2))
MEGABYTES = 1900  # of one search; JOBS of them stay under 4 GB
TRACES = 1000

VARIANTS = {
    "crash": "lease -DCRASHES=1 -DLOST=1 -DFAILURES=1",
    "crash, forgiven": "lease -DCRASHES=1 -DLOST=1 -DFAILURES=1 -DFORGIVES=1",
    "three workers": "lease -DWORKERS=3 -DCRASHES=1 -DLOST=1 -DVER_MAX=1 -DFENCE_MAX=3",
    "two losses": "lease -DCRASHES=1 -DLOST=2 -DVER_MAX=1 -DFORGIVES=1",
    "linked anew": "lease -DLINKS_MAX=2 -DREMOVALS=1 -DSETTINGS=1 -DCRASHES=1 -DVER_MAX=1 -DFENCE_MAX=3",
    "disabled": "lease -DDISABLES=1 -DREVOKES=1 -DLINKS_MAX=2 -DLOST=1 -DVER_MAX=1 -DFENCE_MAX=3",
    "refused": "lease -DREFUSALS=1 -DLOST=1 -DFAILURES=1 -DFENCE_MAX=3",
    "forgets": "lease -DFORGETS=1 -DFAILURES=1 -DVER_MAX=1",
    "forgets, forgiven": "lease -DFORGETS=1 -DFORGIVES=1 -DFENCE_MAX=3",
    "forgets a link": "lease -DFORGETS=1 -DLINKS_MAX=2 -DVER_MAX=1 -DFENCE_MAX=2",
    "forgets a link, linked again": "lease -DFORGETS=1 -DLINKS_MAX=3 -DVER_MAX=1 -DFENCE_MAX=2",
    "forgets, disabled": "lease -DFORGETS=1 -DDISABLES=1 -DVER_MAX=1 -DFENCE_MAX=3",
    "wake": "wake -DJOBS=4 -DRENEWALS=3",
    "wake, crash": "wake -DJOBS=4 -DRENEWALS=3 -DCRASHES=2",
}
BOUNDED = {
    "small": "lease -DCRASHES=1 -DLOST=1 -DVER_MAX=1 -DFENCE_MAX=3",
    "small, forgets": "lease -DFORGETS=1 -DVER_MAX=1 -DFENCE_MAX=2",
    "wake": VARIANTS["wake"],
}

MUTANTS = {  # what is taken out: (its name in the model, what must find it)
    "no intent: who takes over does not know of the call before": ("NO_INTENT", VARIANTS["crash"]),
    "no grace": ("NO_GRACE", VARIANTS["crash"]),
    "the grace begins anew with each who asks": ("GRACE_STARTS_ANEW", VARIANTS["crash"]),
    "refresh on lock timeout": ("CALL_WHEN_BUSY", VARIANTS["crash"]),
    "replay without end": ("REPLAY_ALWAYS", VARIANTS["two losses"]),
    "the lease is not looked at before the request leaves": ("LEASE_NOT_LOOKED_AT", VARIANTS["crash"]),
    "no fence: store looks neither at it nor at the version": ("NO_VERSION", VARIANTS["crash, forgiven"]),
    "store takes no fence that Redis forgot": ("STORE_KNOWN_FENCE", VARIANTS["forgets, forgiven"]),
    "lock freed by plain DEL": ("PLAIN_DEL", VARIANTS["crash"]),
    "fail without the fence": ("FAIL_NO_FENCE", VARIANTS["crash"]),
    "fail without the nonce": ("FAIL_NO_NONCE", VARIANTS["forgets"]),
    "no answer is taken for nothing sent": ("UNKNOWN_CLEARS", VARIANTS["crash"]),
    "restore without gen": ("RESTORE_NO_GEN", VARIANTS["forgets a link"]),
    "a gen counted on from what Redis knows": ("GEN_FROM_RECORD", VARIANTS["forgets a link, linked again"]),
    "restore without ver": ("RESTORE_NO_VER", VARIANTS["forgets, forgiven"]),
    "token used before store": ("USE_BEFORE_STORE", VARIANTS["crash"]),
    "wake before store": ("WAKE_BEFORE_STORE", VARIANTS["wake"]),
    "no look after parking": ("NO_RECHECK", VARIANTS["wake"]),
    "a wake that leaves the score as it was": ("WAKE_SAME_SCORE", VARIANTS["wake"]),
    "a lot is closed over a wake": ("LOT_ANY_SCORE", VARIANTS["wake"]),
    "a drained lot is forgotten with who parked meanwhile": ("LOT_FORGETS", VARIANTS["wake"]),
}


def run(folder, *command, check=True):
    done = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if check and done.returncode != 0:
        sys.exit(f"{' '.join(command)}:\n{done.stdout}")
    return done.stdout


def search(defs, *gcc):
    """(states, violation or None), searched to the end."""
    with tempfile.TemporaryDirectory(prefix="awq-model-") as folder:
        return search_in(folder, defs, *gcc)


def search_in(folder, defs, *gcc):
    name, *flags = defs.split()
    shutil.copy(HERE / f"{name}.pml", folder)
    run(folder, "spin", *flags, "-a", f"{name}.pml")
    # SAFETY: assertions only. VECTORSZ, MEMLIM: room, in bytes and MB.
    run(folder, "gcc", "-O2", "-w", "-DSAFETY", "-DNOREDUCE", "-DVECTORSZ=2048", f"-DMEMLIM={MEGABYTES}", *gcc,
        "-o", "pan", "pan.c")
    out = run(folder, "./pan", "-n", "-E", "-m10000000", check=False)
    done = re.search(r"errors: (\d+)", out)
    states = re.search(r"^\s*([\d.e+]+) states, stored", out, re.M)
    if not done or not states or re.search("too small|out of memory|Search not completed", out) and done[1] == "0":
        sys.exit(f"the search of {defs} did not end:\n{out}")
    wrong = re.search(r"^pan:\d+: (.+?)(?: \(at depth.*)?$", out, re.M)
    return int(float(states[1])), wrong[1] if wrong else None if done[1] == "0" else "?"


def show(defs):
    with tempfile.TemporaryDirectory(prefix="awq-model-") as folder:
        name, *flags = f"{defs} -DSHORTEST".split()
        states, wrong = search_in(folder, f"{defs} -DSHORTEST", "-DBFS")
        print(f"{states} states: {wrong or 'no violation'}")
        if wrong:
            out = run(folder, "spin", *flags, "-t", f"{name}.pml")
            print(out.partition("#processes")[0])


def check(variants, mutants):
    total, bad, killed = 0, 0, 0
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        found = {name: pool.submit(search, defs) for name, defs in variants.items()}
        broken = {name: pool.submit(search, f"{defs} -DM_{flag}") for name, (flag, defs) in mutants.items()}
        for name, job in found.items():
            states, wrong = job.result()
            total, bad = total + states, bad + bool(wrong)
            print(f"model: {name}: {states} states, {wrong or 'no violation'}  {variants[name]}", flush=True)
        for name, job in broken.items():
            states, wrong = job.result()
            killed += bool(wrong)
            print(f"mutant: {name}: {wrong or 'SURVIVED'}", flush=True)
    return total, bad, killed


def replay(count):
    """Traces of the model on the real scripts; raises where they part."""
    sys.path.insert(0, str(HERE.parent / "integration"))
    from moves import Moves
    from traces import Replay, walk

    moves = 0
    with tempfile.TemporaryDirectory(prefix="awq-model-") as folder:
        m = Moves(Path(folder))
        try:
            for seed in range(count):
                try:
                    moves += Replay(m).run(walk(seed))
                except AssertionError as e:
                    sys.exit(f"trace {seed}: {e}")
        finally:
            m.server.stop()
    print(f"model: {count} traces, {moves} moves on the real scripts: the same states", flush=True)


def main():
    what, begun = sys.argv[1] if len(sys.argv) > 1 else "all", time.monotonic()
    if what == "show":
        return show(" ".join(sys.argv[2:]))
    variants, mutants = (BOUNDED, {}) if what == "bounded" else (VARIANTS, MUTANTS)
    states, bad, killed = check(variants, mutants)
    if what != "bounded":
        replay(TRACES)
    print(f"model: {time.monotonic() - begun:.0f} s")
    print(f"awq model: states={states} violations={bad} mutants_killed={killed}/{len(mutants)}")
    sys.exit(1 if bad or killed < len(mutants) else 0)


if __name__ == "__main__":
    main()
