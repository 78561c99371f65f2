#!/usr/bin/python3
"""mutants.py - break awq in one place at a time, and see that a test notices.

    make mutants                   every row of tests/mutants.txt
    make mutants T='fence|lease'   those whose name matches
    make mutants JOBS=4            four at once (2)

Each row is a fault somebody could write: a text that stands exactly once in its source file, what
it becomes, and the test that must turn red. Copies of the tree under build/mutants, one for each of
JOBS, are broken, built, tested and mended again; the tree itself is not touched. The tests must be
green in a copy first, or their red would mean nothing. A mutant that survives is a missing test;
one that does not build, or does not fit any more, is a missing mutant: both are failures.

Rows of tests/mutants.txt, blank lines between them:

    name   what is broken, in a few words
    file   common/scripts/commit.lua | worker/step*.c (the one of them that has the text)
    old    text, \\n and \\t as in C
    new    text
    test   unit test_seal | integration test_04_stopped_past_lease [and EXPR as pytest's -k]
"""
import collections
import concurrent.futures
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIES = ROOT / "build/mutants"
LIMIT_S = 600  # of one build or test; a test that hangs is red

NOTICED, SURVIVED, MISFIT = "noticed", "survived", "does not fit"


def read_rows(text):
    rows, row = [], {}
    for line in text.splitlines() + [""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if row:
                rows.append(row)
            row = {}
            continue
        key, _, value = line.partition(" ")
        assert key not in row, f"no blank line before it: {line}"
        value = value.strip()
        if key in ("old", "new"):
            value = value.replace("\\n", "\n").replace("\\t", "\t")
        row[key] = value
    for r in rows:
        assert set(r) == {"name", "file", "old", "new", "test"}, f"not a whole row: {r}"
    names = [r["name"] for r in rows]
    assert len(names) == len(set(names)), "two mutants of one name"
    return rows


class Copy:
    """One copy of the tree, used by one row at a time."""

    running = set()  # process groups of all copies, for an end in the middle
    lock = threading.Lock()

    def __init__(self, number):
        self.folder = COPIES / str(number)

    def take(self):
        """What is committed or changed here, with what make deps made; the copy's build/ is kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True,
                               check=True, capture_output=True).stdout.splitlines()
        files = [name for name in files if (ROOT / name).is_file()]
        taken = self.folder / ".taken"  # a source that is gone must not be compiled any more
        if taken.exists():
            for name in set(taken.read_text().splitlines()) - set(files):
                (self.folder / name).unlink(missing_ok=True)
        for name in files:
            source, target = ROOT / name, self.folder / name
            data = source.read_bytes()
            if not target.exists() or target.read_bytes() != data:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                target.chmod(source.stat().st_mode)
        taken.write_text("\n".join(files))
        for shared in (".deps", "tests/node_modules"):
            if (ROOT / shared).exists() and not (self.folder / shared).exists():
                (self.folder / shared).symlink_to(ROOT / shared)

    def take_from(self, other):
        """The same by copying what another one has built; modification times stay, so make is done."""
        if not self.folder.exists():
            shutil.copytree(other.folder, self.folder, symlinks=True)

    def run(self, *command, **env):
        """(succeeded, output); a command that hangs is killed with its children and counts as failed."""
        with subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              start_new_session=True, env={**os.environ, **env}) as p:
            with Copy.lock:
                Copy.running.add(p.pid)
            try:
                out, _ = p.communicate(timeout=LIMIT_S)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                out, p.returncode = f"took longer than {LIMIT_S} s", 124
            finally:
                with Copy.lock:
                    Copy.running.discard(p.pid)
        return p.returncode == 0, out

    def build(self, test):
        """Only what that test runs. MAKEFLAGS of the make that runs us would pass its settings on."""
        kind, _, name = test.partition(" ")
        what = f"build/tests/{name}" if kind == "unit" else "build"
        return self.run("make", "-s", "-j2", what, "BUILD=build", MAKEFLAGS="")

    def test(self, test):
        kind, _, name = test.partition(" ")
        return self.pytest(name) if kind == "integration" else self.started(
            self.run("sh", "tests/run", "build", kind, name), name)

    def pytest(self, *exprs, jobs=0):
        """Tests by tests/run; only their files are read."""
        files = sorted({f"tests/integration/{e.split()[0]}.py" for e in exprs})
        missing = [f for f in files if not (self.folder / f).exists()]
        assert not missing, f"no such file: {missing}"
        expr = " or ".join(f"({e})" for e in exprs)
        return self.started(self.run("sh", "tests/run", "build", "integration", expr,
                                     FILES=" ".join(files), JOBS=str(jobs), PYTEST_ADDOPTS="-x"), expr)

    @staticmethod
    def started(done, what):
        assert "no test matches" not in done[1], f"no such test: {what}"
        return done


def without_mutants(copy, tests):
    """{test: its output} of those that are red although nothing is broken."""
    exprs = [t.partition(" ")[2] for t in tests if t.startswith("integration ")]
    bad, one_by_one = {}, [t for t in tests if t.startswith("unit ")]
    if exprs and not (copy.build("integration")[0] and copy.pytest(*exprs, jobs=2)[0]):
        one_by_one = tests
    for test in one_by_one:
        ok, out = copy.build(test)
        if ok:
            ok, out = copy.test(test)
        if not ok:
            bad[test] = out
    return bad


def judge(copy, row):
    """(NOTICED, which test was red) or what is wrong with the row."""
    paths = [p for p in sorted(copy.folder.glob(row["file"])) if row["old"] in p.read_text()]
    if len(paths) != 1 or paths[0].read_text().count(row["old"]) != 1:
        return MISFIT, f"its text does not stand once in {row['file']}, but in {len(paths)} files"
    text = paths[0].read_text()
    try:
        paths[0].write_text(text.replace(row["old"], row["new"]))
        ok, out = copy.build(row["test"])
        if not ok:
            return MISFIT, "it does not build:\n" + out[-2000:]
        passed, out = copy.test(row["test"])
        if passed:
            return SURVIVED, row["test"]
        red = re.findall(r"^(?:FAILED|ERROR) \S*?::(.+?)(?: - |$)|\[  FAILED  \] (\w+)$", out, re.M)
        return NOTICED, next((a or b for a, b in red), out.strip().rpartition("\n")[2])
    finally:
        paths[0].write_text(text)


def run_rows(rows, copies):
    """Judge them all, one row to a copy at a time; {verdict: [row names]}."""
    free = queue.Queue()
    for copy in copies:
        free.put(copy)
    found = collections.defaultdict(list)

    def one(row):
        copy, begun = free.get(), time.monotonic()
        try:
            verdict, more = judge(copy, row)
        except AssertionError as e:
            verdict, more = MISFIT, str(e)
        finally:
            free.put(copy)
        found[verdict].append(row["name"])
        print(f"{'ok  ' if verdict == NOTICED else 'FAIL'} {row['name']} "
              f"({time.monotonic() - begun:.0f} s): {verdict}: {more}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(len(copies)) as pool:
        try:
            for done in [pool.submit(one, row) for row in rows]:
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            with Copy.lock:
                for group in Copy.running:
                    os.killpg(group, signal.SIGTERM)
            raise
    return found


def main():
    expr = sys.argv[1] if len(sys.argv) > 1 else ""
    jobs = max(1, int(os.environ.get("JOBS") or 2))
    begun = time.monotonic()
    rows = [r for r in read_rows((ROOT / "tests/mutants.txt").read_text())
            if re.search(expr, r["name"])]
    if not rows:
        sys.exit(f"mutants: none whose name matches '{expr}'")
    copies = [Copy(n) for n in range(min(jobs, len(rows)))]
    copies[0].take()
    bad = without_mutants(copies[0], sorted({r["test"] for r in rows}))
    for test, out in bad.items():
        print(f"FAIL {test}: red although nothing is broken:\n{out[-3000:]}", flush=True)
    for copy in copies[1:]:
        copy.take_from(copies[0])
        copy.take()
    found = run_rows([r for r in rows if r["test"] not in bad], copies)
    found["not judged"] = [r["name"] for r in rows if r["test"] in bad]
    failed = len(rows) - len(found[NOTICED])
    for verdict in (SURVIVED, MISFIT, "not judged"):
        for name in found[verdict]:
            print(f"{verdict}: {name}")
    print(f"mutants: {len(rows)} rows in {time.monotonic() - begun:.0f} s: "
          + ", ".join(f"{len(found[v])} {v}" for v in (NOTICED, SURVIVED, MISFIT, "not judged")))
    print(f"mutants: {len(rows) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
