"""golden.py - what awq-ctl sends to each provider of deploy/providers, written down in
tests/vectors/providers/NAME.txt: every request, of every grant that the profile is for.

    make build && /usr/bin/python3 tests/integration/golden.py            rewrites all of them
    /usr/bin/python3 tests/integration/golden.py zoho slack               these

Read what changed (git diff) before it is committed: a line here is a line that a provider gets.
The connection is the same for all: client-id, the profile's own scopes and a and b, and for each
variable that has no default a value that is made of its name.
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from procs import ROOT, built

PROVIDERS = ROOT / "deploy" / "providers"
GOLDEN = ROOT / "tests" / "vectors" / "providers"


GRANTS = ["authorization_code", "device_code", "client_credentials", "jwt_bearer"]


def names():
    return sorted(p.stem for p in PROVIDERS.glob("*.yaml"))


def profile(name):
    return yaml.safe_load((PROVIDERS / f"{name}.yaml").read_text())


def value(name, declared):
    if "one_of" in declared:
        return declared["one_of"][0]
    word = name.replace("_", "-")
    return f"{word}.example" if declared.get("kind") == "host" else f"my-{word}"


def connection(name, grant):
    """The connection file; what a grant needs beside the profile. Keys are in key.pem beside it."""
    p = profile(name)
    lines = {**p, **p.get("by_grant", {}).get(grant, {})}
    values = {n: value(n, d) for n, d in p.get("variables", {}).items()
              if "default" not in d and ("authorization_code" if grant == "refresh_token" else grant) in d.get("grants", GRANTS)}
    key = {"file": "key.pem"}
    auth = {**p.get("client", {}), **lines.get("client", {})}.get("auth")
    proof = {"private_key_jwt": {"key": key}, "none": {}}.get(auth, {"secret": {"env": "GOLDEN_SECRET"}})
    return {
        "id": "crm", "profile": name, "grant": grant,
        "client": {"id": "client-id", **proof},
        "scopes": [*(lines.get("scopes") or []), "a", "b"],
        **({"values": values} if values else {}),
        **({"refresh_token": {"env": "GOLDEN_SECRET"}} if grant == "refresh_token" else {}),
        **({"assertion": {"key": key}} if grant == "jwt_bearer" else {}),
    }


def explain(of, folder):
    """What awq-ctl answers: (exit code, standard output, standard error)."""
    Path(folder, "crm.yaml").write_text(yaml.safe_dump(of, sort_keys=False))
    if "key.pem" in str(of):
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-out", "key.pem"], cwd=folder,
                       check=True, capture_output=True, timeout=60)
    env = {k: v for k, v in os.environ.items() if not k.startswith("AWQ_")}
    done = subprocess.run([built("awq-ctl"), "conn", "explain", "-f", "crm.yaml", "--profiles", PROVIDERS], cwd=folder,
                          env={**env, "GOLDEN_SECRET": "s3cret"}, capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


def golden(name):
    text = ""
    with tempfile.TemporaryDirectory(prefix="awq-golden-") as folder:
        for grant in profile(name)["grants"]:
            code, out, err = explain(connection(name, grant), folder)
            assert code == 0, f"{name}, {grant}: {err}"
            out = re.sub(r'"(iat|exp)":\d+', r'"\1":TIME', out)
            text += f"## grant: {grant}\n\n{out.rstrip()}\n\n"
    return text.rstrip() + "\n"


def main(asked):
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name in asked or names():
        (GOLDEN / f"{name}.txt").write_text(golden(name))
    for path in [] if asked else GOLDEN.glob("*.txt"):
        if path.stem not in names():
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
