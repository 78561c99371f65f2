"""One run with everything in it; then every place that awq writes to is searched for every secret of it."""
import base64
import json
import os
import resource
import secrets
import signal
import threading
import urllib.parse

from procs import built, wait_until
from rawserver import RawServer, http
from rig import clean_env, settings_env

ODD = "+/=~"  # may stand in a token, and look different in each encoding


def forms_of(secret):
    """The spellings that are searched for: as it is, and as base64, a URL, JSON or hex would have it."""
    raw = secret.encode()
    out = {raw, raw.hex().encode(), urllib.parse.quote(secret, safe="").encode(),
           urllib.parse.quote(secret, safe="").lower().encode(), urllib.parse.quote_plus(secret).encode(),
           secret.replace("/", "\\/").encode()}
    for pad in range(3):  # it may begin at any place of a longer text
        whole = base64.b64encode(b"x" * pad + raw)
        middle = whole[(0, 2, 3)[pad]:len(whole) // 4 * 4 - 4]
        out |= {middle, middle.translate(bytes.maketrans(b"+/", b"-_"))}
    return out


def find(haystacks, words):
    return [f"{word!r} in {where}" for where, data in haystacks.items()
            for word in words for form in forms_of(word) if form in data]


def test_the_search_finds_each_spelling():
    word = "tok+en/with=odd~ends-0123456789"
    raw = word.encode()
    for hay in (raw, b"..." + raw, base64.b64encode(b"Bearer " + raw), base64.urlsafe_b64encode(b"id:" + raw + b"!"),
                urllib.parse.quote_plus(word).encode(), json.dumps({"a": word}).encode(), raw.hex().encode()):
        assert find({"there": hay}, [word]), hay
    assert not find({"there": b"something else"}, [word])


class World:
    """A token server and an API that know every secret they gave out, and repeat them at each occasion."""

    def __init__(self):
        self.server, self.other = RawServer(), RawServer()
        self.given = []  # every token
        self.lock = threading.Lock()
        self.hits = {}
        self.redis_is_gone = threading.Event()
        self.dead = set()  # tokens that stopped working
        routes = self.server.routes
        routes["/token"] = self.token
        routes["/echo"] = lambda link: link.send(self.repeat(link, 200))
        routes["/bad"] = lambda link: link.send(self.repeat(link, 422))
        routes["/flaky"] = self.flaky
        routes["/refuse"] = self.refuse
        routes["/slow"] = self.slow
        routes["/drop"] = lambda link: None
        routes["/cross"] = lambda link: link.send(http(302, b"", location=self.other.base + "/landed"))
        self.other.routes["/landed"] = lambda link: link.send(http(200, b"{}", content_type="application/json"))

    def new(self, kind):
        with self.lock:
            self.given.append(f"{kind}-{secrets.token_hex(12)}{ODD}{len(self.given)}-{secrets.token_hex(6)}")
            return self.given[-1]

    def hit(self, what):
        with self.lock:
            self.hits[what] = self.hits.get(what, 0) + 1
            return self.hits[what]

    def token(self, link):
        form = dict(urllib.parse.parse_qsl(link.body.decode()))
        if self.hit("token") in (2, 5):  # an error that repeats what it was sent
            text = json.dumps({"error": "temporarily_unavailable", "error_description": link.body.decode()
                               + link.headers.get("authorization", "")})
            return link.send(http(503, text.encode(), content_type="application/json"))
        answer = {"access_token": self.new("at"), "token_type": "Bearer", "expires_in": 3}
        if form["grant_type"] == "refresh_token":
            answer["refresh_token"] = self.new("rt")
        return link.send(http(200, json.dumps(answer).encode(), content_type="application/json"))

    def repeat(self, link, status):
        token = link.token.decode()
        body = json.dumps({"you": token, "url": urllib.parse.quote(token, safe=""), "all": link.headers})
        return http(status, body.encode(), content_type="application/json", x_token=token)

    def flaky(self, link):
        link.send(self.repeat(link, 503 if self.hit(link.target) < 3 else 200))

    def refuse(self, link):
        if self.hit(link.target) == 1:
            self.dead.add(link.token)
        if link.token in self.dead:
            return link.send(http(401, link.token, www_authenticate='Bearer error="invalid_token"'))
        return link.send(self.repeat(link, 200))

    def slow(self, link):
        self.hit("slow")
        assert self.redis_is_gone.wait(30)
        link.send(self.repeat(link, 200))


def conn(rig, world, name, grant, auth, secret):
    return {"id": name, "grant": grant, "token_url": world.server.base + "/token",
            "client": {"id": f"client-{name}", "secret": {"file": secret_file(rig, f"{name}.secret", secret)},
                       "auth": auth},
            "scopes": ["read"],
            "policy": {"hosts": [world.server.base[7:], world.other.base[7:]], "insecure_http": True,
                       "allow_private": True}}


def secret_file(rig, name, text):
    path = rig.folder / "given" / name
    path.parent.mkdir(exist_ok=True)
    path.touch(0o600)
    path.write_text(text)
    return str(path)


def everything(rig, world, workers, said):
    """{place: bytes} of all that awq wrote or sent to anybody who is not to have it."""
    out = {"awq-ctl": "".join(said).encode()}
    out["other origin"] = b"".join(
        f"{r.method} {r.target} {r.headers}".encode() + r.body for r in world.other.requests)
    for w in workers:
        if w.running:
            out[f"metrics of {w.name}"] = w.get("/metrics")[1].encode()
            for name in ("cmdline", "environ"):
                with open(f"/proc/{w.pid}/{name}", "rb") as f:
                    out[f"{name} of {w.name}"] = f.read()
    for path in rig.folder.rglob("*"):
        mine = path.parent.name == "given" or path.name.startswith("keys") or path.suffix == ".yaml"
        if path.is_file() and not mine:
            out[str(path.relative_to(rig.folder))] = path.read_bytes()
    return out


def test_no_secret_anywhere(rig):
    r = rig.use_redis(aof="always", options={"rdbcompression": "no", "aof-use-rdb-preamble": "no"})
    world = World()
    rig.things += [world.server, world.other]
    words = [f"client-secret-{n}{ODD}{secrets.token_hex(8)}" for n in range(3)]
    said = []

    def ctl(*args, code=0):
        done = rig.ctl(*args, code=code)
        said.extend([done.out, done.err])
        return done
    rig.need(keys=True)
    for name, grant, auth, word in (("post", "refresh_token", "post", words[0]),
                                    ("basic", "refresh_token", "basic", words[1]),
                                    ("cc", "client_credentials", "basic", words[2])):
        c = conn(rig, world, name, grant, auth, word)
        if grant == "refresh_token":
            c["refresh_token"] = {"file": secret_file(rig, f"{name}.refresh", world.new("rt"))}
        done = rig.apply(c)
        said += [done.out, done.err]
    journal = rig.folder / "journal"
    journal.mkdir(0o700)
    workers = [rig.worker(journal=journal, log_level="debug", lease="1s", audit_level="uses") for _ in range(2)]

    def job(name, path, **more):
        return rig.job(name, world.server.base + path, **more)

    def round_of(n):
        quick = {"retry": {"max": 4, "base_ms": 20, "cap_ms": 50}}
        out = []
        for name in ("post", "basic", "cc"):
            out += [job(name, "/echo"), job(name, "/bad"), job(name, f"/flaky?{name}{n}", **quick),
                    job(name, f"/refuse?{name}{n}", **quick), job(name, "/cross", method="GET"),
                    job(name, "/drop", ambiguous="dead"), job(name, "/echo", then=[rig.call(name, world.server.base
                                                                                           + "/echo")]),
                    job(name, "/x", method="GET", then=None) | {"call": rig.call(name, "http://127.0.0.9:1/")}]
        return out
    def versions(use=False):
        if use:  # a token that nobody uses is not renewed
            rig.results(rig.enqueue([job(name, "/echo") for name in ("post", "basic", "cc")]), 30)
        return {name: int(r.client.hget(f"{rig.prefix}:{{c:{name}}}", "ver") or 0) for name in ("post", "basic", "cc")}
    for n in range(3):  # the tokens live for 3 s: each round has other ones
        rig.results(rig.enqueue(round_of(n)), 30)
        old = versions()
        wait_until(lambda: all(v > old[name] for name, v in versions(use=True).items()), 20, "other tokens", every=0.2)
    for name in ("post", "basic", "cc"):
        ctl("conn", "show", name)
        done = rig.run_ctl("conn", "test", name)  # what it says, whatever that is
        said.extend([done.out, done.err])
    for args in (("conn", "ls"), ("dead", "ls"), ("keys", "ls"), ("worker", "ls")):
        ctl(*args)
    for name in r.client.zrange(rig.key("dead"), 0, 3):
        ctl("dead", "show", name.decode())
    # Answers come while Redis is away, and a worker dies with them in its journal.
    slow = world.hits.get("slow", 0)
    ids = rig.enqueue([job(name, "/slow") for name in ("post", "basic", "cc") for _ in range(3)])
    wait_until(lambda: world.hits.get("slow", 0) >= slow + 9, 10, "calls to be on the wire")
    r.kill()
    world.redis_is_gone.set()
    wait_until(lambda: sum(len(w.logged("journal.kept")) for w in workers) > 0, 10, "outcomes to be kept")
    found = find(everything(rig, world, workers, said), words + world.given)
    assert not found, "\n".join(found[:20])
    workers[0].kill()
    r.start()
    workers.append(rig.worker(journal=journal, log_level="debug", lease="1s", audit_level="uses"))
    rig.results(ids, 30)
    r.client.save()
    assert len(world.given) >= 12 and world.other.requests and r.client.zcard(rig.key("dead")) > 0
    redacted = [x for x in rig.all_results() if x.get("redacted")]
    assert len(redacted) > 10, "the API did repeat the tokens"
    said.append(repr(rig.all_results()))
    keys = [line.split()[2] for line in rig.keys.read_text().splitlines()]
    places = everything(rig, world, workers, said)
    assert any("appendonly" in p for p in places) and any("dump.rdb" in p for p in places) \
        and any("journal" in p for p in places), sorted(places)
    found = find(places, words + world.given + keys)
    found += [f"a key, raw, in {where}" for where, data in places.items() for k in keys if bytes.fromhex(k) in data]
    assert not found, "\n".join(found[:20])


def test_an_abort_leaves_no_core(rig):
    """Also when whoever starts it allows cores without limit."""
    rig.need(keys=True)
    folder = rig.folder / "cwd"
    folder.mkdir()
    env = {**clean_env(), **settings_env({**rig.common, "prefix": rig.prefix})}
    before = resource.getrlimit(resource.RLIMIT_CORE)
    program = built("awq-worker")
    log = rig.folder / "aborted.log"
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        out = [(os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT, 0o600)]
        here = os.getcwd()
        os.chdir(folder)
        try:
            pid = os.posix_spawn(program, [str(program)], env, file_actions=out)
        finally:
            os.chdir(here)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    wait_until(lambda: log.exists() and "worker.ready" in log.read_text(), 15, "it to be ready")
    with open(f"/proc/{pid}/limits", encoding="ascii") as f:
        core = next(line for line in f if line.startswith("Max core file size"))
    os.kill(pid, signal.SIGABRT)
    _, status = os.waitpid(pid, 0)
    assert core.split()[4:6] == ["0", "0"], core
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT and not os.WCOREDUMP(status)
    assert list(folder.iterdir()) == []
