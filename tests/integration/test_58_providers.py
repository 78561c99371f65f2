"""Provider profiles: what each of deploy/providers leads to, and what is refused of them."""
import re

import pytest

import golden
from golden import GOLDEN, PROVIDERS, names

ORDER = ("title source checked grants variables authorize_url token_url device_url revoke_url introspect_url client scopes "
         "scope_separator pkce authorize token_request refresh_url refresh_request chain answer token api limits policy").split()


@pytest.mark.parametrize("name", names())
def test_a_provider_is_asked_as_it_was_read(name):
    """Each request of each grant, byte for byte; golden.py says how that is written anew."""
    assert golden.golden(name) == (GOLDEN / f"{name}.txt").read_text()


def test_no_golden_file_is_left_over():
    assert sorted(p.stem for p in GOLDEN.glob("*")) == names()
    assert len(names()) >= 45


@pytest.mark.parametrize("name", names())
def test_a_provider_says_where_it_was_read(name):
    p = golden.profile(name)
    assert p["title"] and p["grants"]
    sources = p["source"] if isinstance(p["source"], list) else [p["source"]]
    assert sources and all(s.startswith("https://") for s in sources)
    assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", str(p["checked"]))
    assert list(p) == sorted(p, key=ORDER.index)
    assert [n for n, d in p.get("variables", {}).items() if not (d or {}).get("about")] == []


def test_ls_lists_all_of_them(rig):
    rows = {r["profile"]: r for r in rig.ctl("profile", "ls", "--profiles", str(PROVIDERS), "-o", "json").json()}
    assert sorted(rows) == names()
    assert rows["zoho"] == {"profile": "zoho", "provider": "Zoho", "grants": "authorization_code", "values": "region",
                            "checked": str(golden.profile("zoho")["checked"])}
    assert rig.ctl("profile", "ls").out.count("\n") == len(names()) + 1  # beside the program, without being told
