#!/usr/bin/python3
"""mutants.py - break awq in one place at a time, and see that a test notices.

    make mutants            every row of tests/mutants.txt
    make mutants T=fence    those whose name contains "fence"

Each row is a fault somebody could write: a text in one source file that stands there exactly once,
what it becomes, and the test that must turn red. A copy of the tree under build/mutants is broken,
built, tested and mended again; the tree itself is not touched. Before the first mutant of a test
that test must be green in the copy, or its red would mean nothing. A mutant that survives is a
missing test; one that does not build, or does not fit any more, is a missing mutant: both are
failures.

Rows of tests/mutants.txt, blank lines between them:

    name   what is broken, in a few words
    file   common/scripts/commit.lua
    old    text, \\n and \\t as in C
    new    text
    test   unit test_seal | integration test_04_stopped_past_lease
"""
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / "build/mutants"


def read_rows():
    rows, row = [], {}
    for line in (ROOT / "tests/mutants.txt").read_text().splitlines() + [""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if row:
                rows.append(row)
            row = {}
            continue
        key, _, value = line.partition(" ")
        if key in ("old", "new"):
            value = value.strip().replace("\\n", "\n").replace("\\t", "\t")
        row[key] = value if key in ("old", "new") else value.strip()
    for r in rows:
        assert set(r) == {"name", "file", "old", "new", "test"}, f"not a whole row: {r}"
    names = [r["name"] for r in rows]
    assert len(names) == len(set(names)), "two mutants of one name"
    return rows


def run(*command, limit=900):
    """(exit code, output); a command that hangs is killed with its children and counts as failed."""
    with subprocess.Popen(command, cwd=COPY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, start_new_session=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PYTEST_ADDOPTS": "-x"}) as p:
        try:
            out, _ = p.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, 9)
            return 124, f"took longer than {limit} s"
    return p.returncode, out


def copy_tree():
    """What is committed or changed here, with what make deps made; build/ of the copy is kept."""
    COPY.mkdir(parents=True, exist_ok=True)
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split("\n")
    for name in filter(None, files):
        source, target = ROOT / name, COPY / name
        if not source.exists():
            target.unlink(missing_ok=True)
            continue
        data = source.read_bytes()
        if not target.exists() or target.read_bytes() != data:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            target.chmod(source.stat().st_mode)
    for shared in (".deps", "tests/node_modules"):
        if (ROOT / shared).exists() and not (COPY / shared).exists():
            (COPY / shared).symlink_to(ROOT / shared)


def build():
    code, out = run("make", "-s", "-j2", "build", "BUILD=build")
    return code == 0, out


def run_test(test):
    kind, _, name = test.partition(" ")
    if kind == "unit":
        code, out = run("make", "-s", "-j2", "unit", f"T={name}")
    else:
        code, out = run("sh", "tests/run", "build", "integration", name)
    assert "no test matches" not in out, f"no such test: {test}"
    return code == 0, out


def judge(row, green):
    """None when the fault was noticed, else what is wrong with that."""
    path = COPY / row["file"]
    text = path.read_text()
    if text.count(row["old"]) != 1:
        return f"its text stands {text.count(row['old'])} times in {row['file']}: mend the row"
    if row["test"] not in green:
        ok, out = build()
        if ok:
            ok, out = run_test(row["test"])
        green[row["test"]] = ok
        if not ok:
            print(out[-3000:])
    if not green[row["test"]]:
        return f"{row['test']} is red without it"
    try:
        path.write_text(text.replace(row["old"], row["new"]))
        ok, out = build()
        if not ok:
            return "does not build:\n" + out[-2000:]
        passed, _ = run_test(row["test"])
        return f"SURVIVED {row['test']}" if passed else None
    finally:
        path.write_text(text)


def main():
    expr = sys.argv[1] if len(sys.argv) > 1 else ""
    rows = [r for r in read_rows() if expr in r["name"]]
    copy_tree()
    failed, green = 0, {}
    for row in sorted(rows, key=lambda r: r["test"]):
        begun = time.monotonic()
        wrong = judge(row, green)
        failed += wrong is not None
        print(f"{'ok  ' if wrong is None else 'FAIL'} {row['name']} ({row['test']}, "
              f"{time.monotonic() - begun:.0f} s)" + (f": {wrong}" if wrong else ""), flush=True)
    build()
    print(f"mutants: {len(rows) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not rows else 0)


main()
