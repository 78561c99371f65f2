"""cells.py - which grant works with which client authentication, as a table: each cell is two tests
against the real authorization server, without DPoP and with it, and each of them gets a token, uses
it, renews it and uses it again.

    make cells

A cell says what came of the two: "ok ok", FAILED, or - where there is no such test (a public client
has no client_credentials, and its refresh token is bound to its own key: test_55). A way is a
client.auth, or the key of private_key_jwt; odd is basic with an id and a secret that need its
form-encoding, mtls-ca and mtls-self the two of RFC 8705.
"""
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from test_51_client_auth import WAYS as SHOWN

HERE = Path(__file__).parent
WAYS = [*SHOWN, "mtls-ca", "mtls-self"]
GRANTS = ["client_credentials", "refresh_token", "authorization_code", "device_code", "jwt_bearer", "saml2_bearer",
          "token_exchange", "password"]
PLAIN = "client_credentials|refresh_token|authorization_code|device_code"
KINDS = [  # class and name of a test: (grant, way, with DPoP)
    (rf"test_51_client_auth test_({PLAIN})\[([^\]]+)\]", lambda m: (m[1], m[2], False)),
    (r"test_51_client_auth test_bearer\[(\w+?)-(.+)\]", lambda m: (m[1], m[2], False)),
    (r"test_55_dpop test_each_grant\[(\w+?)-(.+)\]", lambda m: (m[1], m[2], True)),
    (r"test_57_mtls test_each_grant\[(\w+?)-(mtls-\w+)-(None|ES256)\]", lambda m: (m[1], m[2], m[3] == "ES256")),
]


def run(report):
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "2", f"--junitxml={report}", "test_51_client_auth.py",
                           "test_55_dpop.py", "test_57_mtls.py", "-k", f"bearer or each_grant or test_{PLAIN.replace('|', ' or test_')}"],
                          cwd=HERE, stdout=sys.stderr, check=False).returncode


def cells(report):
    found = {}
    for case in ET.parse(report).iter("testcase"):
        name = f"{case.get('classname').rpartition('.')[2]} {case.get('name')}"
        good = case.find("failure") is None and case.find("error") is None
        for pattern, key in KINDS:
            m = re.fullmatch(pattern, name)
            if m:
                found[key(m)] = "ok" if good else "FAILED"
    return found


def main():
    with tempfile.TemporaryDirectory(prefix="awq-cells-") as folder:
        report = Path(folder, "report.xml")
        code = run(report)
        found = cells(report)
    ways = sorted({way for _, way, _ in found}, key=WAYS.index)
    print("| without DPoP, with it |", " | ".join(GRANTS), "|")
    print("|---" * (len(GRANTS) + 1) + "|")
    for way in ways:
        print(f"| {way} |", " | ".join(f"{found.get((g, way, False), '-')} {found.get((g, way, True), '-')}" for g in GRANTS), "|")
    print(f"\n{len(found)} cells, {list(found.values()).count('ok')} ok")
    return code


if __name__ == "__main__":
    sys.exit(main())
