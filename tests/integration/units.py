"""units.py - what deploy/ says, held against the worker itself: its settings and its unit file."""
import re
import subprocess

import yaml

from procs import ROOT, built
from rig import clean_env

UNIT = ROOT / "deploy/systemd/awq-worker@.service"


def worker_settings():
    """{AWQ_NAME: default} of every setting that awq-worker --help lists."""
    text = subprocess.run([built("awq-worker"), "--help"], text=True, capture_output=True,
                          check=True, env=clean_env()).stdout
    out = {}
    for name, rest in re.findall(r"^  --([a-z0-9-]+)((?:.*\n(?!  --|\n))*.*)", text, re.M):
        default = re.search(r"\(default ([^)]*)\)", rest)
        out["AWQ_" + name.upper().replace("-", "_")] = default[1] if default else None
    assert len(out) > 20 and out["AWQ_LEASE"] == "6s", out
    return out


def span_s(text):
    """Seconds of "35s", "2m", "1h", "500ms", or of a bare number as systemd has it."""
    n, unit = re.fullmatch(r"(\d+)(ms|s|m|h|)", text).groups()
    return int(n) * {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}[unit]


def unit():
    """{Key: [values in order]} of the unit file."""
    out = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            out.setdefault(key, []).append(value)
    return out


def config_map():
    """The settings that deploy/kubernetes gives a worker."""
    with open(ROOT / "deploy/kubernetes/config.yaml", encoding="utf-8") as f:
        return yaml.safe_load(f)["data"]
