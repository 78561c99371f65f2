"""Somebody with Redis and without the keys moves, mixes or puts back what is sealed: it is noticed, and named."""
import records
from procs import wait_until

FIELDS = ("at", "rt", "cs", "cfg", "cm", "cd", "gen", "ver", "exp", "state", "born", "scope", "lh")


def conn_key(name):
    return f"awq:{{c:{name}}}"


class Two:
    """Two linked accounts, each with a token that was used."""

    def __init__(self, rig):
        self.rig = rig
        self.auth, self.api = rig.use_peers()
        self.r = rig.use_redis().client
        for name in ("a", "b"):
            rig.link_refresh(name)
        first = rig.worker()
        for name in ("a", "b"):
            assert rig.result(rig.job(name, "/echo"))["state"] == "done"
        first.term()
        first.wait()
        self.good = {name: self.r.hgetall(conn_key(name)) for name in ("a", "b")}
        self.api.reset()
        self.auth.reset()

    def set(self, name, **fields):
        self.r.hset(conn_key(name), mapping=fields)

    def field(self, name, field):
        return self.good[name][field.encode()]

    def mend(self):
        for name, record in self.good.items():
            self.r.delete(conn_key(name))
            self.r.hset(conn_key(name), mapping=record)


def swap_at(t):
    t.set("a", at=t.field("b", "at"))
    t.set("b", at=t.field("a", "at"))


def whole_other(t):
    t.set("a", **{f: t.field("b", f) for f in FIELDS if f.encode() in t.good["b"]})


def other_host(t):
    cfg = t.field("a", "cfg").replace(b"127.0.0.1", b"127.0.0.9")
    t.set("a", cfg=cfg, cd=records.blake(cfg).hex())


def renewing(**fields):
    """The same, where the refresh token is what would be used next."""
    def change(t):
        t.set("a", exp=1, **{k: v(t) if callable(v) else v for k, v in fields.items()})
    return change


ATTACKS = {
    "at of two accounts swapped": (swap_at, "sealed access token does not open"),
    "rt in the place of at": (lambda t: t.set("a", at=t.field("a", "rt")), "sealed access token"),
    "cs in the place of at": (lambda t: t.set("a", at=t.field("a", "cs")), "sealed access token"),
    "another account's whole record": (whole_other, "do not match their authentication"),
    "settings with another host, and their digest": (other_host, "do not match their authentication"),
    "another account's settings with their authentication":
        (lambda t: t.set("a", cfg=t.field("b", "cfg"), cm=t.field("b", "cm"), cd=t.field("b", "cd")),
         "do not match their authentication"),
    "a digest of other settings": (lambda t: t.set("a", cd=records.blake(b"{}").hex()),
                                   "do not match their authentication"),
    "a later generation": (lambda t: t.set("a", gen=int(t.field("a", "gen")) + 1), "sealed access token does not open"),
    "a later version": (lambda t: t.set("a", ver=int(t.field("a", "ver")) + 1), "sealed access token does not open"),
    "one bit of at": (lambda t: t.set("a", at=t.field("a", "at")[:-1] + bytes([t.field("a", "at")[-1] ^ 1])),
                      "sealed access token does not open"),
    "at in the place of rt": (renewing(rt=lambda t: t.field("a", "at")), "sealed refresh token"),
    "the other account's rt": (renewing(rt=lambda t: t.field("b", "rt")), "sealed refresh token does not open"),
    "rt as client secret": (renewing(cs=lambda t: t.field("a", "rt")), "sealed client secret does not open"),
}


def test_moved_and_edited(rig):
    t = Two(rig)
    wrong = []
    for name, (change, text) in ATTACKS.items():
        t.mend()
        change(t)
        w = rig.worker()  # that has seen nothing of it before
        job = rig.enqueue(rig.job("a", "/echo"))[0]

        def said():
            ended = [x["error"]["detail"] for x in rig.all_results() if x["run"] == job and "error" in x]
            return ended or [e["error"] for e in w.logged("token.failed", connection="a")]
        texts = wait_until(said, 10, name)
        if not any(text in x and "a" in x for x in texts):
            wrong.append(f"{name}: {texts}")
        if t.api.log() or t.auth.requests_of("a"):
            wrong.append(f"{name}: something was sent with it")
        w.kill()
        rig.redis.client.delete(*rig.redis.client.keys("awq:{s0}:*"))
    assert not wrong, "\n".join(wrong)


def test_an_old_record_put_back_as_a_whole(rig):
    """Its token and its refresh token open, and are used up: whoever remembers a newer version says so."""
    auth, _ = rig.use_peers()
    r = rig.use_redis().client
    rig.link_refresh("a")
    w = rig.worker()
    rig.result(rig.job("a", "/echo"))
    old = r.hgetall(conn_key("a"))
    rig.ctl("conn", "refresh", "a")
    assert r.hget(conn_key("a"), "ver") == b"2"
    r.delete(conn_key("a"))
    r.hset(conn_key("a"), mapping=old)
    r.publish("awq:changed", "a")
    rig.result(rig.job("a", "/echo"))
    w.wait_log("token.forgotten", 10)
    wait_until(lambda: r.hget(conn_key("a"), "ver") == b"2", 10, "the newer one to be put back")
    assert auth.counters()["refresh"]["reuse_detected"] == 0
