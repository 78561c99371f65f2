"""browser.py - Debian's Chromium without a screen, driven by chromedriver (W3C WebDriver, JSON over HTTP).

    with Browser(rig.folder, port) as b:
        b.open(url)
        b.find("input[name=login]").type("alice")
        b.find("button[type=submit]").click()
        b.wait_title("Thank you")
"""
import json
import shutil
import urllib.error
import urllib.request

from procs import Process, wait_until

ARGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--proxy-server=direct://"]
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver section 11


class Element:
    def __init__(self, browser, ref):
        self.browser, self.path = browser, f"element/{ref}"

    def click(self):
        self.browser.ask("POST", f"{self.path}/click", {})

    def type(self, text):
        self.browser.ask("POST", f"{self.path}/value", {"text": text})


class Browser(Process):
    def __init__(self, folder, port):
        super().__init__("chromedriver", folder)
        self.base = f"http://127.0.0.1:{port}"
        self.port, self.folder, self.session = port, folder, None
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self):
        driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
        assert driver and chromium, "no Chromium: make deps"
        self.start([driver, f"--port={self.port}"])
        wait_until(self.is_ready, 30, "chromedriver to answer")
        options = {"args": [*ARGS, f"--user-data-dir={self.folder}/chromium"], "binary": chromium}
        self.session = self.ask("POST", None, {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})["sessionId"]
        return self

    def __exit__(self, *_):
        if self.session:
            self.ask("DELETE", "", None)
        self.term()
        self.wait()

    def is_ready(self):
        try:
            with self.opener.open(self.base + "/status", timeout=5) as answer:
                return json.load(answer)["value"]["ready"]
        except OSError:
            return False

    def ask(self, method, path, body):
        """path None: a new session; else of ours."""
        url = self.base + "/session" + (f"/{self.session}/{path}".rstrip("/") if path is not None else "")
        request = urllib.request.Request(url, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"content-type": "application/json"})
        try:
            with self.opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as e:
            raise AssertionError(f"chromedriver: {json.load(e)['value']['message'].splitlines()[0]}") from None

    def open(self, url):
        self.ask("POST", "url", {"url": url})

    def find(self, css):
        """The element, waited for."""
        def found():
            try:
                return self.ask("POST", "element", {"using": "css selector", "value": css})[ELEMENT]
            except AssertionError:
                return None
        return Element(self, wait_until(found, 20, lambda: f"{css} in {self.source()[:2000]}"))

    def source(self):
        return self.ask("GET", "source", None)

    def wait_title(self, title):
        wait_until(lambda: self.ask("GET", "title", None) == title, 20, lambda: f"{title!r}: {self.source()[:2000]}")
