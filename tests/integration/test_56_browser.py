"""conn link in a real browser: the server's own login and consent pages, through to "linked"."""
from browser import Browser
from procs import ROOT, free_port
from test_50_consent import Link, state


def asked(rig):
    """A connection that waits for its owner, and the question."""
    rig.use_redis()
    auth, _ = rig.use_peers({"INTERACTIONS": "dev"})
    rig.worker()
    rig.apply(rig.conn("crm", "authorization_code", "basic", "basic", authorize_url=f"{auth.base}/auth", issuer=auth.base))
    return Link(rig)


def log_in(browser, link):
    browser.open(link.url)
    browser.find("input[name=login]").type("alice")
    browser.find("input[name=password]").type("any")
    browser.find("button[type=submit]").click()


def test_from_the_question_to_a_call(rig):
    link = asked(rig)
    with Browser(rig.folder, free_port()) as browser:
        log_in(browser, link)
        browser.find("input[name=prompt][value=consent] ~ button[type=submit]").click()
        browser.wait_title("Thank you")
        page = browser.source()
    code, out, err = link.end()
    assert code == 0 and "linked" in out, out + err
    assert "You can close this page" in page and link.query["state"] not in page and "code=" not in page
    assert state(rig)["has_refresh_token"]
    assert rig.result(rig.job("crm", "/echo"))["state"] == "done"


def test_the_connection_that_the_readme_tries_it_on(rig):
    rig.use_redis()
    auth, api = rig.use_peers({"INTERACTIONS": "dev"})
    rig.worker()
    path = rig.folder / "crm.yaml"
    text = (ROOT / "tests/peers/crm.yaml").read_text()
    path.write_text(text.replace("127.0.0.1:9400", f"127.0.0.1:{auth.port}").replace("127.0.0.1:9410", f"127.0.0.1:{api.port}"))
    rig.ctl("conn", "apply", "-f", path)
    link = Link(rig)
    with Browser(rig.folder, free_port()) as browser:
        log_in(browser, link)
        browser.find("input[name=prompt][value=consent] ~ button[type=submit]").click()
        browser.wait_title("Thank you")
    code, out, err = link.end()
    assert code == 0 and "linked" in out, out + err
    rig.ctl("conn", "test", "crm")
    rig.ctl("conn", "refresh", "crm")
    assert rig.result(rig.job("crm", "/echo"))["state"] == "done"


def test_the_owner_says_no(rig):
    link = asked(rig)
    with Browser(rig.folder, free_port()) as browser:
        log_in(browser, link)
        browser.find("body:has(input[value=consent]) a[href$=abort]").click()  # not the one of the page before
        browser.wait_title("The account was not linked")
    code, _, err = link.end()
    assert code == 1 and "the owner said no" in err, err
    assert state(rig)["state"] == "NEEDS_CONSENT"
