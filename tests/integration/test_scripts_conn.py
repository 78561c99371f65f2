"""The moves of connections (common/scripts/): at most one renewal, nothing stored by who lost the lease."""
import pytest
import redis as redispy

from moves import HOUR
from procs import wait_until


@pytest.fixture
def linked(m):
    assert m.apply() == ["OK", 1, 0]
    return m


def lease(m, nonce="n1", ver=0, **more):
    got = m.acquire(nonce, 1, ver, **more)
    assert got[0] == "LEASE", got
    return got[1]


def no_lease(m):
    """The lease ran out."""
    m.r.delete(m.conn + ":lease")


def back_in_time(m, field, ms):
    m.r.hset(m.conn, field, m.now() - ms)


# ---- acquire ----------------------------------------------------------------------------------------

def test_first_lease(linked):
    m = linked
    got = m.acquire("n1", 0, 0)
    assert got == ["LEASE", "1", 1, 0, 0, "cfg", "cm", "cd1", "RT", "CS", 0, "", ""]
    record = m.record()
    assert record["state"] == "RENEWING" and record["if"] == "1" and len(record["ih"]) == 40
    assert abs(int(record["it"]) - m.now()) < 5000, "the intent is there before anything is sent"
    assert 0 < m.r.pttl(m.conn + ":lease") <= 60000


def test_asking_again_is_the_same_lease(linked):
    m = linked
    first = m.acquire("n1", 1, 0)
    before = m.dump()
    assert m.acquire("n1", 1, 0) == first
    assert m.dump() == before


def test_asking_again_after_the_lease(linked):
    """The answer was lost for longer than the lease (Redis away): nothing was sent, so it is ours again."""
    m = linked
    first = m.acquire("n1", 1, 0)
    no_lease(m)
    assert m.acquire("n2", 1, 0)[0] == "GRACE"
    assert m.acquire("n1", 1, 0) == first
    assert m.acquire("n2", 1, 0)[0] == "BUSY"
    assert m.store("1", "n1", 1, 0)[0] == "STORED"


def test_busy(linked):
    m = linked
    lease(m)
    before = m.dump()
    got = m.acquire("n2", 1, 0)
    assert got[0] == "BUSY" and 0 < got[1] <= 60000
    assert m.dump() == before


def test_have(linked):
    m = linked
    m.store(lease(m), "n1", 1, 0)
    before = m.dump()
    assert m.acquire("n2", 1, 0) == ["HAVE", 1], "what I used is older"
    assert m.acquire("n2", 0, 0) == ["HAVE", 1], "I used none"
    m.r.hset(m.conn, "gen", 7)
    assert m.acquire("n2", 1, 9) == ["HAVE", 1], "mine was of the link before this"
    m.r.hset(m.conn, "gen", 1)
    assert m.acquire("n2", 7, 0) == ["BEHIND", 1], "mine is of a later link: Redis forgot it"
    assert m.dump() == before
    assert m.acquire("n2", 1, 1)[0] == "LEASE", "I used this one: renew it"


def test_have_not_when_expired(linked):
    m = linked
    m.store(lease(m), "n1", 1, 0, life=1)
    wait_until(lambda: m.now() > int(m.record()["exp"]), 5)
    assert m.acquire("n2", 0, 0)[:4] == ["LEASE", "2", 1, 1]


def test_behind(linked):
    m = linked
    before = m.dump()
    assert m.acquire("n1", 1, 3) == ["BEHIND", 0]
    assert m.dump() == before


def test_gone(m):
    assert m.acquire("n1") == ["GONE", "unknown"]
    m.apply()
    m.r.hset(m.conn, "state", "DISABLED")
    assert m.acquire("n1") == ["GONE", "DISABLED"]
    m.remove()
    assert m.acquire("n1") == ["GONE", "REMOVED"]


def forget_to(m, before):
    """Redis goes back to an older copy of the record, without a lease."""
    m.r.delete(m.conn, m.conn + ":lease")
    m.r.hset(m.conn, mapping=before)


def silent(m):
    """The holder of the lease was not heard of, past lease and grace."""
    no_lease(m)
    back_in_time(m, "it", 70001)


def test_grace_then_replay(linked):
    """A holder went silent: for a while nobody knows, and nothing is changed; then the next one sends again."""
    m = linked
    lease(m)
    no_lease(m)
    before = m.dump()
    got = m.acquire("n2", 1, 0, lease=60000, grace=10000)
    assert got[0] == "GRACE" and 60000 < got[1] - m.now() <= 70000
    assert m.dump() == before
    back_in_time(m, "it", 70001)
    got = m.acquire("n2", 1, 0)
    assert (got[:2], got[10]) == (["LEASE", "2"], 1), "a replay, and it is told so"
    assert m.acquire("n2", 1, 0) == got, "asking again is the same replay, not a second one"
    assert m.acquire("n3", 1, 0)[0] == "BUSY"
    no_lease(m)
    assert m.acquire("n3", 1, 0)[0] == "GRACE", "its answer may be on the way as well"
    back_in_time(m, "it", 70001)
    got = m.acquire("n3", 1, 0)
    assert (got[:2], got[10]) == (["LEASE", "3"], 2), "the count is what its policy looks at"
    assert m.store("3", "n3", 1, 0)[:2] == ["STORED", 1]
    assert not {"pf", "rn", "if", "it"} & set(m.record()), "the next version begins without"


@pytest.mark.parametrize("class_", ["not_sent", "transient", "throttled", "config"])
def test_replay_put_off(linked, class_):
    """It found nothing out: the answer is as lost as before, and the next try is this same replay."""
    m = linked
    lease(m)
    silent(m)
    assert m.acquire("n2", 1, 0)[10] == 1
    assert m.fail("2", "n2", 1, class_)[:2] == ["FAILED", "BACKOFF"]
    assert m.acquire("n3", 1, 0)[0] == "BACKOFF"
    m.r.hdel(m.conn, "next")
    got = m.acquire("n3", 1, 0)
    assert (got[:2], got[10]) == (["LEASE", "3"], 1)


def test_replay_refused(linked):
    """The grant was good until an answer got lost: that is what its owner is told."""
    m = linked
    lease(m)
    silent(m)
    m.acquire("n2", 1, 0)
    assert m.fail("2", "n2", 1, "consent")[:2] == ["FAILED", "NEEDS_CONSENT"]
    assert m.record()["why"] == "answer_lost"
    assert m.acquire("n3", 1, 0) == ["CONSENT", "answer_lost"]


def test_replay_unanswered(linked):
    m = linked
    lease(m)
    silent(m)
    m.acquire("n2", 1, 0)
    assert m.fail("2", "n2", 1, "unknown")[:2] == ["FAILED", "BACKOFF"]
    m.r.hdel(m.conn, "next")
    assert m.acquire("n3", 1, 0)[0] == "GRACE"
    back_in_time(m, "it", 70001)
    assert m.acquire("n3", 1, 0)[10] == 2


NOTHING_USED_UP = ["client_credentials", "jwt_bearer", "saml2_bearer", "token_exchange", "password"]


@pytest.mark.parametrize("grant", NOTHING_USED_UP)
def test_grants_that_use_nothing_up_need_no_grace(m, grant):
    """Nothing is used up by a token request of its own: the next one just renews, under a new fence."""
    m.apply(grant=grant, rt="")
    assert lease(m) == "1"
    no_lease(m)
    assert lease(m, "n2") == "2"
    assert m.store("1", "n1", 1, 0) == ["LOST"], "the older answer is not put over the newer one"
    assert m.fail("1", "n1", 1, "transient") == ["LOST"]
    assert m.store("2", "n2", 1, 0)[:2] == ["STORED", 1]


# ---- store ------------------------------------------------------------------------------------------

def test_store(linked):
    m = linked
    sub = m.r.pubsub(ignore_subscribe_messages=True)
    sub.subscribe("awq:changed")
    sub.get_message(timeout=1)
    fence = lease(m)
    got = m.store(fence, "n1", 1, 0, at="AT1", rt="RT1")
    assert got[:2] == ["STORED", 1] and abs(got[2] - m.now() - HOUR) < 5000
    record = m.record()
    assert (record["at"], record["rt"], record["ver"], record["state"]) == ("AT1", "RT1", "1", "FRESH")
    assert not {"if", "in", "ih", "it", "next", "tries", "why"} & set(record)
    assert not m.r.exists(m.conn + ":lease")
    assert sub.get_message(timeout=2)["data"] == b"a"
    before = m.dump()
    assert m.store(fence, "n1", 1, 0, at="AT1", rt="RT1") == ["STORED", "1", str(got[2])], "its answer was lost"
    assert m.dump() == before


def test_store_without_a_refresh_token_keeps_the_old_one(linked):
    m = linked
    m.store(lease(m), "n1", 1, 0, rt="")
    assert m.record()["rt"] == "RT"


@pytest.mark.parametrize("by", ["replay", "consent"])
def test_late_store(linked, by):
    """The lease ran out, also the grace, a replay was refused: no newer token is there, so the answer is good."""
    m = linked
    fence = lease(m)
    silent(m)
    assert m.acquire("n2", 1, 0)[0] == "LEASE"
    if by == "consent":
        m.fail("2", "n2", 1, "consent")
        assert m.acquire("n3", 1, 0)[0] == "CONSENT"
    assert m.store(fence, "n1", 1, 0, rt="RT1")[:2] == ["STORED", 1]
    assert m.state() == "FRESH" and m.record()["rt"] == "RT1"
    assert m.store("2", "n2", 1, 0, rt="RT2") == ["LOST"], "the replayer's answer is not put over it"
    assert m.acquire("n3", 1, 0) == ["HAVE", 1]


def test_store_after_redis_forgot_the_lease(linked):
    """Its record does not know the fence any more. The answer is good all the same: the old token is used up."""
    m = linked
    before = m.r.hgetall(m.conn)
    fence = lease(m)
    forget_to(m, before)
    assert m.store(fence, "n1", 1, 0, rt="RT1")[:2] == ["STORED", 1]
    assert m.record()["rt"] == "RT1"
    assert m.acquire("n2", 1, 1)[1] == "2", "fences go on from the highest that is known"


def test_store_after_redis_forgot_and_others_tried(linked):
    m = linked
    before = m.r.hgetall(m.conn)
    fence = lease(m)
    forget_to(m, before)
    for nonce in ("n2", "n3"):  # they get no further than a server that does not answer
        m.fail(lease(m, nonce), nonce, 1, "not_sent")
        m.r.hdel(m.conn, "next")
    assert int(m.record()["fence"]) > int(fence)
    assert m.store(fence, "n1", 1, 0, rt="RT1")[:2] == ["STORED", 1]
    assert m.record()["fence"] == "2"


@pytest.mark.parametrize("moved", ["linked", "removed", "stored", "fence", "unknown"])
def test_store_lost(m, moved):
    m.apply(grant="client_credentials" if moved == "fence" else "refresh_token")
    fence = lease(m)
    if moved == "linked":
        m.apply("1", "0", rt="OTHER")
    elif moved == "removed":
        m.remove()
    elif moved == "stored":
        m.store(fence, "n1", 1, 0)
    elif moved == "fence":
        m.r.hset(m.conn, "fence", 2)
    else:
        m.r.delete(m.conn)
    before = m.dump()
    assert m.store(fence, "n9", 1, 0, at="EVIL") == ["LOST"]
    assert m.dump() == before


def test_store_after_new_settings(linked):
    """Told CFG, changing nothing: it seals for the new settings and stores again."""
    m = linked
    fence = lease(m)
    assert m.apply("1", "0", rt="RT-cd2", cd="cd2", link=0) == ["OK", 1, 0]
    before = m.dump()
    assert m.store(fence, "n1", 1, 0) == ["CFG"]
    assert m.dump() == before
    assert m.store(fence, "n1", 1, 0, cd="cd2")[:2] == ["STORED", 1]


@pytest.mark.parametrize("what", ["acquire", "store", "fail", "again", "cool", "apply", "remove", "admit", "outcome", "replay"])
def test_when_full(linked, what):
    """A full Redis drains only with tokens, and a rotated refresh token exists nowhere else."""
    m = linked
    fence = None if what == "acquire" else lease(m)
    if what in ("again", "replay"):
        no_lease(m)
        back_in_time(m, "it", 70001)
    m.full()
    got = {"acquire": lambda: m.acquire("n1", 1, 0)[0] == "LEASE",
           "again": lambda: m.acquire("n1", 1, 0)[0] == "LEASE",
           "replay": lambda: m.acquire("n2", 1, 0)[0] == "LEASE",
           "store": lambda: m.store(fence, "n1", 1, 0, rt="RT1")[0] == "STORED",
           "fail": lambda: m.fail(fence, "n1", 1, "consent")[:2] == ["FAILED", "NEEDS_CONSENT"],
           "cool": lambda: m.cool(1000) > m.now(), "outcome": lambda: m.outcome("failed", limit=1)[0] == "OPENED",
           "admit": lambda: m.admit("w/1") == [1, 0],
           "apply": lambda: m.apply("1", "0")[0] == "OK", "remove": lambda: m.remove() == "OK"}[what]()
    m.roomy()
    assert got
    assert what != "store" or m.record()["rt"] == "RT1"


def test_without_a_right_to_publish(linked):
    m = linked
    m.channels = ""
    assert m.store(lease(m), "n1", 1, 0)[0] == "STORED"
    assert m.cool(1000) and m.apply("1", "1")[0] == "OK"
    assert m.fail(lease(m, "n2", 0), "n2", 2, "transient")[0] == "FAILED"
    assert m.remove() == "OK"


# ---- fail -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind,state,intent,then", [
    ("not_sent", "BACKOFF", False, "BACKOFF"),
    ("transient", "BACKOFF", False, "BACKOFF"),
    ("consent", "NEEDS_CONSENT", False, "CONSENT"),
    ("unknown", "BACKOFF", True, "GRACE"),  # the refresh token may be used up
])
def test_fail(linked, kind, state, intent, then):
    m = linked
    fence = lease(m)
    now = m.now()
    got = m.fail(fence, "n1", 1, kind)
    assert got[:2] == ["FAILED", state] and got[3] == 1 and 900 <= got[2] - now <= 6000
    record = m.record()
    assert ("it" in record) == intent and record["why"] == "why-" + kind
    assert not m.r.exists(m.conn + ":lease")
    before = m.dump()
    assert m.fail(fence, "n1", 1, kind) == ["FAILED", state, str(got[2]), "1", "why-" + kind], "repeated: counted once"
    assert m.dump() == before
    assert m.acquire("n2", 1, 0)[0] == then
    assert m.acquire("n1", 1, 0)[0] == then, "its own nonce does not get the lease again"
    assert m.dump() == before


@pytest.mark.parametrize("grant", NOTHING_USED_UP)
def test_fail_unknown_of_a_grant_that_uses_nothing_up(m, grant):
    m.apply(grant=grant, rt="")
    m.fail(lease(m), "n1", 1, "unknown")
    assert "it" not in m.record()
    m.r.hset(m.conn, "next", m.now() - 1)
    assert m.acquire("n2", 1, 0)[0] == "LEASE"


def test_backoff_grows_to_its_cap(linked):
    m = linked
    waits = []
    for i in range(8):
        m.r.hdel(m.conn, "next")
        got = m.fail(lease(m, f"n{i}"), f"n{i}", 1, "transient", rnd=1000, base=1000, cap=60000)
        waits.append((got[2] - int(m.record()["ft"])) / 1000)  # by one look at the clock
        assert got[3] == i + 1
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    m.r.hdel(m.conn, "next")
    assert round((m.fail(lease(m, "a"), "a", 1, "transient", rnd=0, floor=90000)[2] - m.now()) / 1000) == 90
    assert m.acquire("b", 1, 0)[0] == "BACKOFF"
    m.r.hset(m.conn, "next", m.now() - 1)
    m.store(lease(m, "b"), "b", 1, 0)
    assert "tries" not in m.record()


def test_backoff_leaves_a_valid_token(linked):
    m = linked
    m.store(lease(m), "n1", 1, 0)
    m.fail(lease(m, "n2", 1), "n2", 1, "transient")
    assert m.acquire("n3", 0, 0) == ["HAVE", 1]
    assert m.acquire("n3", 1, 1)[0] == "BACKOFF"


@pytest.mark.parametrize("moved", ["linked", "removed", "stored", "fence", "gen", "busy"])
@pytest.mark.parametrize("kind", ["transient", "consent", "unknown"])
def test_fail_lost(m, moved, kind):
    """A late word of who lost the lease, or whose token was stored, marks nothing as broken."""
    m.apply(grant="client_credentials" if moved == "busy" else "refresh_token")
    fence = lease(m)
    if moved == "linked":
        m.apply("1", "0")
    elif moved == "removed":
        m.remove()
    elif moved == "stored":
        m.store(fence, "n1", 1, 0)
    elif moved == "fence":
        m.r.hset(m.conn, "fence", 2)
    elif moved == "gen":
        m.r.hset(m.conn, "gen", 2)
    else:
        no_lease(m)
        lease(m, "n2")
    before = m.dump()
    assert m.fail(fence, "n1", 1, kind) == ["LOST"]
    assert m.dump() == before


def test_fail_of_the_same_fence_before_redis_forgot(linked):
    """Redis forgot the lease and gave its number to another, who went silent: its call stays written down."""
    m = linked
    before = m.r.hgetall(m.conn)
    fence = lease(m)
    forget_to(m, before)
    assert lease(m, "n2") == fence
    no_lease(m)
    before = m.dump()
    assert m.fail(fence, "n1", 1, "not_sent") == ["LOST"]
    assert m.dump() == before
    back_in_time(m, "it", 70001)
    assert m.acquire("n3", 1, 0)[10] == 1, "the next one is a replay"


def test_late_fail_says_that_nothing_was_sent(linked):
    """Slow, but it knows: the grant is as good as before."""
    m = linked
    fence = lease(m)
    silent(m)
    assert m.fail(fence, "n1", 1, "not_sent")[1] == "BACKOFF"
    m.r.hdel(m.conn, "next")
    assert m.acquire("n2", 1, 0)[0] == "LEASE"


# ---- restore ----------------------------------------------------------------------------------------

def forgotten(m):
    """Version 1 was stored, and Redis forgot it."""
    fence = lease(m)
    before = m.r.hgetall(m.conn)
    m.store(fence, "n1", 1, 0, rt="RT1")
    forget_to(m, before)


def test_restore(linked):
    m = linked
    forgotten(m)
    assert m.restore(1, 1, rt="RT1", exp=m.now() + HOUR, fence=7) == ["RESTORED"]
    record = m.record()
    assert (record["ver"], record["at"], record["rt"], record["state"]) == ("1", "AT", "RT1", "FRESH")
    assert not {"if", "in", "it"} & set(record)
    assert m.acquire("n2", 1, 0) == ["HAVE", 1]
    assert m.acquire("n2", 1, 1)[:2] == ["LEASE", "8"], "fences go on from the highest that is known"


def test_restore_over_a_renewal(linked):
    """Somebody who did not know renews the old version: its answer comes too late."""
    m = linked
    forgotten(m)
    no_lease(m)
    back_in_time(m, "it", 70001)
    fence = m.acquire("n2", 1, 0)[1]
    assert m.restore(1, 1) == ["RESTORED"]
    assert m.store(fence, "n2", 1, 0, rt="OLD") == ["LOST"]
    assert m.acquire("n3", 1, 0) == ["HAVE", 1]


@pytest.mark.parametrize("why", ["newer", "same", "linked", "removed", "unknown", "settings"])
def test_restore_refused(linked, why):
    """A whole record or nothing: only over the same link with a lower version, and nothing is made by it."""
    m = linked
    want = ["GONE"] if why in ("removed", "unknown") else ["MOVED"]
    if why in ("newer", "same"):
        m.store(lease(m), "n1", 1, 0)
        if why == "newer":
            m.store(lease(m, "n2", 1), "n2", 1, 1)
    elif why == "linked":
        m.apply("1", "0", rt="OTHER")
    elif why == "removed":
        m.remove()
    elif why == "unknown":
        m.r.delete(m.conn)
    else:
        assert m.apply("1", "0", rt="RT-cd2", cd="cd2", link=0)[0] == "OK"
        want = ["CFG"]
    before = m.dump()
    assert m.restore(1, 1) == want
    assert m.dump() == before


# ---- apply, remove ----------------------------------------------------------------------------------

def test_link_again(linked):
    """Another gen; what the old account left (token, failure, lease, cool-down) is gone."""
    m = linked
    m.store(lease(m), "n1", 1, 0)
    m.fail(lease(m, "n2", 1), "n2", 1, "consent")
    m.cool(HOUR)
    assert m.apply("1", "1", rt="RT2") == ["OK", 2, 0]
    record = m.record()
    assert (record["gen"], record["ver"], record["state"], record["rt"]) == ("2", "0", "DUE", "RT2")
    assert not {"at", "why", "next", "tries", "cool", "if", "it", "born", "sf", "ff"} & set(record)
    assert m.acquire("n3", 1, 1)[:3] == ["LEASE", "3", 2], "fences go on: none is given out twice"


def test_link_while_renewing(linked):
    m = linked
    fence = lease(m)
    m.apply("1", "0", rt="RT2")
    assert m.acquire("n2", 2, 0)[0] == "LEASE", "the new account does not wait for the old one's lease"
    assert m.store(fence, "n1", 1, 0, rt="OLD") == ["LOST"]
    assert m.fail(fence, "n1", 1, "consent") == ["LOST"]
    assert m.record()["rt"] == "RT2"
    assert m.store("2", "n2", 2, 0)[0] == "STORED"


def test_settings_keep_the_tokens(linked):
    m = linked
    m.store(lease(m), "n1", 1, 0, at="AT1", rt="RT1")
    assert m.apply("1", "1", rt="", at="", link=0) == ["OK", 1, 1], "the same cd: they still open"
    assert m.apply("1", "1", rt="RT1b", at="AT1b", link=0, cd="cd2") == ["OK", 1, 1]
    record = m.record()
    assert (record["at"], record["rt"], record["state"], record["cd"]) == ("AT1b", "RT1b", "FRESH", "cd2")
    assert m.acquire("n2", 0, 0) == ["HAVE", 1]


def test_settings_never_strand_a_token(linked):
    """Under a new cd the old ciphertexts do not open: an access token is renewed, a grant must be given."""
    m = linked
    m.store(lease(m), "n1", 1, 0)
    before = m.dump()
    with pytest.raises(redispy.ResponseError, match="refresh token must be sealed"):
        m.apply("1", "1", rt="", link=0, cd="cd2")
    assert m.dump() == before
    assert m.apply("1", "1", rt="RT2", link=0, cd="cd2") == ["OK", 1, 1]
    assert "at" not in m.record() and m.state() == "DUE"
    assert m.acquire("n2", 0, 0)[0] == "LEASE"


def test_settings_end_a_backoff(linked):
    m = linked
    m.fail(lease(m), "n1", 1, "transient")
    m.apply("1", "0", rt="", link=0)
    assert m.state() == "DUE"
    assert m.acquire("n2", 1, 0)[0] == "LEASE"


@pytest.mark.parametrize("gen,ver", [("", ""), ("1", "0"), ("0", "1"), ("2", "1")])
def test_apply_moved(linked, gen, ver):
    m = linked
    m.store(lease(m), "n1", 1, 0)
    before = m.dump()
    assert m.apply(gen, ver) == ["MOVED"]
    assert m.dump() == before


def test_a_link_has_a_gen_of_its_own(m):
    """Redis forgets a link and another account is linked: what is under way to the first is not taken for it."""
    now = m.now() * 1000
    assert m.apply(new=now) == ["OK", now, 0]
    fence = m.acquire("n1", now, 0)[1]
    m.r.flushall()
    assert m.apply(new=now + 1, rt="OTHER") == ["OK", now + 1, 0]
    m.acquire("n2", now + 1, 0)
    before = m.dump()
    assert m.store(fence, "n1", now, 0, at="FIRST", rt="FIRST") == ["LOST"]
    assert m.restore(now, 1) == ["MOVED"]
    assert m.apply(str(now + 1), "0", new=now + 1) == m.apply(str(now + 1), "0", new=now) == ["MOVED"]
    with pytest.raises(redispy.ResponseError, match="gen"):
        m.apply(str(now + 1), "0", new="x")
    assert m.dump() == before


def test_a_new_connection_is_a_link(m):
    assert m.apply("3", "0") == ["MOVED"]
    assert m.apply(link=0) == ["OK", 1, 0]
    assert m.state() == "DUE"


def test_remove(linked):
    """A tombstone stays, nothing of value does, and nothing old comes back."""
    m = linked
    m.store(lease(m), "n1", 1, 0)
    fence = lease(m, "n2", 1)
    m.admit("w/1")
    now = m.now()
    assert m.remove() == "OK"
    gen = int(m.record()["gen"])
    assert gen >= now * 1000 and m.record() == {"gen": str(gen), "ver": "0", "state": "REMOVED"}
    assert not m.r.exists(m.conn + ":lease", m.conn + ":lane")
    assert m.remove() == "NONE"
    assert m.store(fence, "n2", 1, 1) == ["LOST"] and m.fail(fence, "n2", 1, "transient") == ["LOST"]
    assert m.cool(1000) == 0
    assert m.apply(gen, "0") == ["OK", gen + 1, 0], "read as a tombstone"
    m.remove()
    gen = int(m.record()["gen"])
    assert m.apply(new=gen) == ["MOVED"], "sealed for a gen that is past"
    assert m.apply() == ["OK", gen + 1, 0], "or not read at all"
    assert m.acquire("n1", 1, 1)[:3] == ["LEASE", "1", gen + 1]
    assert m.store("1", "n1", 1, 0) == ["LOST"], "the same fence number, another gen"


def test_remove_nothing(m):
    assert m.remove() == "NONE"
    assert not m.r.exists(m.conn)


# ---- lane -------------------------------------------------------------------------------------------

def test_admit(m):
    assert m.admit("w/1", 2) == [1, 0] and m.admit("w/2", 2) == [1, 0]
    no, wait = m.admit("w/3", 2)
    assert no == 0 and 0 < wait <= 60000
    assert m.admit("w/1", 2) == [1, 0], "the same entry again is no second slot"
    assert m.depart("w/1") == 1 and m.depart("w/1") == 0
    assert m.admit("w/3", 2) == [1, 0]
    assert m.admit("w/4", 0) == [1, 0], "no limit"
    assert m.admit("", 3) == [1, 0] and m.admit("", 2) == [0, 1000], "a look takes nothing"
    assert m.admit("", 3) == [1, 0] and m.r.zcard(m.conn + ":lane") == 2


def test_rate(m):
    """GCRA: a call each 10 minutes, three at once; the fourth is told when, to the millisecond."""
    every = 600000
    began = m.now()
    assert m.admit("", 0, every=every, burst=3)[0] == 3
    assert [m.admit(f"w/{n}", 0, every=every, burst=3) for n in range(3)] == [[1, 0]] * 3
    no, wait = m.admit("w/4", 0, every=every, burst=3)
    passed = m.now() - began
    assert no == 0 and every - passed - 2 <= wait <= every
    assert m.r.zrange(m.conn + ":lane", 0, -1) == [b"rate"], "no slot is taken where none is counted"
    assert -2 <= 3 * every - m.r.pttl(m.conn + ":lane") <= passed + 5000
    room, wait = m.admit("", 0, every=every, burst=3)
    assert room == 0 and every - 5000 <= wait <= every
    at = float(m.r.zscore(m.conn + ":lane", "rate"))
    m.r.zadd(m.conn + ":lane", {"rate": at - every})  # ten minutes later
    assert m.admit("w/5", 0, every=every, burst=3) == [1, 0]
    assert m.admit("w/6", 0, every=every, burst=3)[0] == 0, "one in ten minutes, no more"
    room, wait = m.admit("", 0, every=1000, burst=1)
    assert room == 0 and wait <= 1000, "a limit that was raised counts from now on"


def test_rate_after_idle(m):
    """What was not used for long does not add up over the burst."""
    assert m.admit("w/1", 0, every=1, burst=2) == [1, 0]
    wait_until(lambda: not m.r.exists(m.conn + ":lane"), 5)
    got = [m.admit(f"w/{n}", 0, every=600000, burst=2)[0] for n in range(4)]
    assert got == [1, 1, 0, 0]


def test_rate_and_slots(m):
    """Both must agree; a refusal takes from neither."""
    assert m.admit("w/1", 1, every=600000, burst=2) == [1, 0]
    spent = m.r.zscore(m.conn + ":lane", "rate")
    assert m.admit("w/2", 1, every=600000, burst=2) == [0, 1000], "no slot"
    assert m.r.zscore(m.conn + ":lane", "rate") == spent
    assert m.admit("w/1", 1, every=600000, burst=2) == [1, 0], "asked again: paid once"
    assert m.r.zscore(m.conn + ":lane", "rate") == spent
    m.depart("w/1")
    assert m.admit("w/2", 1, every=600000, burst=2) == [1, 0]
    m.depart("w/2")
    no, wait = m.admit("w/3", 1, every=600000, burst=2)
    assert no == 0 and wait > 500000, "a slot, and no rate"
    assert m.r.zrange(m.conn + ":lane", 0, -1) == [b"rate"]


def test_admit_frees_itself(m):
    assert m.admit("w/1", 1, 30) == [1, 0]
    wait_until(lambda: m.admit("w/2", 1) == [1, 0], 5)


def test_a_short_slot_does_not_end_a_long_one(m):
    m.admit("w/1", 2, HOUR)
    m.admit("w/2", 2, 20)
    assert m.r.pttl(m.conn + ":lane") > HOUR - 5000


@pytest.fixture
def held(linked):
    """Three failures in a row, and the time that calls are held for is over."""
    m = linked
    assert [m.outcome("failed", f"w/{n}")[0] for n in range(3)] == ["NONE", "NONE", "OPENED"]
    m.r.hset(m.conn, "cool", m.now() - 1)
    return m


def breaker_of(m):
    return {k: v for k, v in m.record().items() if k in ("bo", "bp", "bu", "bf", "bl")}


def test_breaker_opens(linked):
    m = linked
    assert m.outcome("failed", "w/1") == ["NONE"] and m.outcome("failed", "w/2") == ["NONE"]
    assert m.outcome("fine", "w/3") == ["NONE"] and breaker_of(m) == {}, "not in a row"
    assert [m.outcome("failed", "w/4")[0] for _ in range(2)] == ["NONE"] * 2
    said, until, times = m.outcome("failed", "w/5", rnd=1000)
    assert (said, times) == ("OPENED", 1) and 0 < until - m.now() <= 1000
    assert m.record()["cool"] == str(until)
    assert m.admit("w/6", 0)[0] == 0 and m.admit("", 5)[0] == 0, "nobody calls"
    before = m.dump()
    for what in ("failed", "fine", "none"):
        assert m.outcome(what, "w/7") == ["NONE"], "it began before: no news"
    assert m.dump() == before


def test_breaker_forgets_old_failures(linked):
    m = linked
    assert [m.outcome("failed") for _ in range(2)] == [["NONE"]] * 2
    back_in_time(m, "bl", 600001)
    assert m.outcome("failed") == ["NONE"] and m.record()["bf"] == "1"


def test_breaker_lets_one_probe_through(held):
    m = held
    assert m.admit("", 0) == [1, 0] and m.admit("", 8)[0] == 1, "a look takes nothing"
    assert m.admit("w/8", 0) == [2, 0]
    assert m.admit("w/9", 0) == [0, 1000] and m.admit("", 0) == [0, 1000]
    assert m.admit("w/8", 0) == [2, 0], "asked again"
    assert m.outcome("fine", "w/8") == ["CLOSED"] and breaker_of(m) == {}
    assert m.admit("w/9", 0) == [1, 0]


def test_breaker_probe_with_a_slot(held):
    m = held
    assert m.admit("w/8", 4) == [2, 0] and m.admit("w/8", 4) == [2, 0], "asked again: still the probe"
    assert m.admit("w/9", 4)[0] == 0


def test_breaker_probe_fails(held):
    """Held for longer each time, up to a minute."""
    m = held
    holds = []
    for n in range(2, 10):
        assert m.admit(f"w/{n}", 0) == [2, 0]
        said, until, times = m.outcome("failed", f"w/{n}", rnd=1000)
        assert (said, times) == ("OPENED", n)
        holds.append(round((until - m.now()) / 1000))
        m.r.hset(m.conn, "cool", m.now() - 1)
    assert holds == [2, 4, 8, 16, 32, 60, 60, 60]
    m.admit("w/x", 0)
    assert 25000 < m.outcome("failed", "w/x", rnd=0)[1] - m.now() <= 30000, "half of it at least"


def test_breaker_probe_that_was_not_made(held):
    m = held
    assert m.admit("w/8", 0, HOUR) == [2, 0]
    assert m.outcome("none", "w/8") == ["NONE"]
    assert m.admit("w/9", 0, HOUR) == [2, 0], "the next one at once"
    back_in_time(m, "bu", 1)
    assert m.admit("w/10", 0) == [2, 0], "its worker died"
    assert m.outcome("fine", "w/9") == ["NONE"] and m.outcome("fine", "w/10") == ["CLOSED"]


def test_breaker_of_a_new_link(held):
    m = held
    m.apply("1", "0")
    assert breaker_of(m) == {}
    m.remove()
    assert m.outcome("failed") == ["NONE"] and breaker_of(m) == {}


def test_cool(linked):
    m = linked
    until = m.cool(60000)
    assert abs(until - m.now() - 60000) < 5000
    assert m.cool(10) == until, "never earlier than it was"
    assert m.cool(120000) > until


def test_refuse_ends_one_version_for_everybody(linked):
    m = linked
    assert m.store(lease(m), "n1", 1, 0)[0] == "STORED"
    before = m.record()
    gen, ver = before["gen"], before["ver"]
    assert m.refuse(gen, int(ver) + 1) == 0 and m.refuse(int(gen) + 1, ver) == 0, "another version is not ended"
    assert m.record() == before
    assert m.refuse(gen, ver) == 1
    after = m.record()
    assert int(after["exp"]) <= m.now() < int(before["exp"])
    assert {k: v for k, v in after.items() if k != "exp"} == {k: v for k, v in before.items() if k != "exp"}
    assert m.refuse(gen, ver) == 0, "once is enough"


def test_refuse_of_nothing(m):
    assert m.refuse(1, 1) == 0 and not m.r.exists(m.conn)


def test_cool_of_nothing(m):
    assert m.cool(1000) == 0 and not m.r.exists(m.conn)


# ---- disable, enable, revoke ------------------------------------------------------------------------

def test_disabled_and_enabled_again(linked):
    m = linked
    m.store(lease(m), "n1", 1, 0)
    before = m.record()
    assert m.disable() == "OK" and m.disable() == "SAME"
    assert (m.state(), m.record()["dr"]) == ("DISABLED", "they asked")
    assert m.acquire("n2", 1, 1) == ["GONE", "DISABLED"]
    assert m.enable() == "OK" and m.enable() == "SAME"
    assert m.record() == before, "nothing of its grant was touched"


def test_restore_while_disabled(linked):
    """The token that Redis forgot comes back, and stays out of use."""
    m = linked
    assert m.disable() == "OK"
    assert m.restore(1, 5, rt="RT5", exp=m.now() + HOUR) == ["RESTORED"]
    assert (m.state(), m.record()["rt"], m.record()["ver"]) == ("DISABLED", "RT5", "5")
    assert m.acquire("n2", 1, 1)[0] == "GONE"
    assert m.enable() == "OK" and m.state() == "FRESH"


@pytest.mark.parametrize("was,comes_back", [("NEEDS_CONSENT", "NEEDS_CONSENT"), ("BACKOFF", "BACKOFF"),
                                            ("DUE", "DUE"), ("RENEWING", "DUE")])
def test_what_a_disabled_connection_comes_back_to(linked, was, comes_back):
    m = linked
    m.r.hset(m.conn, "state", was)
    m.disable()
    m.enable()
    assert m.state() == comes_back


def test_a_renewal_under_way_is_kept_while_disabled(linked):
    """The refresh token has rotated: dropped here it would be gone for good."""
    m = linked
    fence = lease(m)
    m.disable()
    assert m.store(fence, "n1", 1, 0, at="AT1", rt="RT1")[:2] == ["STORED", 1]
    assert (m.state(), m.record()["rt"], m.record()["at"]) == ("DISABLED", "RT1", "AT1")
    m.enable()
    assert m.state() == "FRESH"


def test_a_refusal_is_known_when_it_is_enabled(linked):
    m = linked
    fence = lease(m)
    m.disable()
    assert m.fail(fence, "n1", 1, "consent")[0] == "FAILED"
    assert m.state() == "DISABLED"
    m.enable()
    assert m.state() == "NEEDS_CONSENT"


def test_a_link_does_not_enable(linked):
    m = linked
    m.disable()
    assert m.apply("1", "0", rt="RT2") == ["OK", 2, 0]
    assert m.state() == "DISABLED"
    m.enable()
    assert m.state() == "DUE"


def test_revoked(linked):
    m = linked
    m.store(lease(m), "n1", 1, 0, rt="RT1")
    fence = lease(m, "n2", 1)
    now = m.now()
    done, gen = m.revoke()
    record = m.record()
    assert done == "OK" and gen >= now * 1000 and record["gen"] == str(gen)
    assert not {"at", "rt", "cs", "if", "in", "it"} & set(record), "nothing of the grant stays"
    assert (record["state"], record["why"], record["ver"], record["lh"]) == ("NEEDS_CONSENT", "revoked", "0", "lh")
    assert m.store(fence, "n2", 1, 1) == ["LOST"] and m.restore(1, 9) == ["MOVED"]
    assert m.acquire("n3", gen, 0) == ["CONSENT", "revoked"]
    assert m.apply(gen, "0", rt="RT2") == ["OK", gen + 1, 0]
    assert m.state() == "DUE"


def test_revoked_while_disabled(linked):
    m = linked
    m.disable()
    m.revoke()
    assert m.state() == "DISABLED"
    m.enable()
    assert m.state() == "NEEDS_CONSENT"


def test_nothing_to_disable_or_revoke(m):
    assert m.disable() == "NONE" and m.enable() == "NONE" and m.revoke() == ["NONE"]
    m.apply()
    m.remove()
    before = m.record()
    assert m.disable() == "NONE" and m.revoke() == ["NONE"] and m.record() == before


# ---- reseal -----------------------------------------------------------------------------------------

def test_reseal(linked):
    m = linked
    m.store(lease(m), "n1", 1, 0, at="AT1", rt="RT1")
    before = m.record()
    assert m.reseal(1, ("at", "AT1", "AT1'"), ("rt", "RT1", "RT1'"), ("lh", "lh", "lh'")) == "OK"
    assert m.record() == {**before, "at": "AT1'", "rt": "RT1'", "lh": "lh'"}


@pytest.mark.parametrize("field", ["at", "rt", "cs", "cm"])
def test_reseal_never_undoes_a_renewal(linked, field):
    """The refresh token that it opened is used up by now: put back, it would kill the grant."""
    m = linked
    m.store(lease(m), "n1", 1, 0, at="AT1", rt="RT1")
    m.r.hset(m.conn, field, "newer")
    before = m.record()
    old = {"at": "AT1", "rt": "RT1", "cs": "CS", "cm": "cm"}
    assert m.reseal(1, *((f, old[f], old[f] + "'") for f in old)) == "MOVED"
    assert m.record() == before, "all of it or nothing"


def test_reseal_of_another_link(linked):
    m = linked
    m.apply("1", "0")
    assert m.reseal(1, ("cs", "CS", "x")) == "MOVED" and m.record()["cs"] == "CS"
    m.remove()
    before = m.record()
    assert m.reseal(2, ("cs", "CS", "x")) == "MOVED" and m.record() == before


def test_a_link_that_came_with_a_token(m):
    """It is version 1, as if it had been renewed already: nobody asks for another one before it is due."""
    assert m.apply(rt="RT", at="AT", life=60000, scope="a b", grant="authorization_code") == ["OK", 1, 1]
    h = m.record()
    assert (h["state"], h["ver"], h["at"], h["rt"], h["scope"]) == ("FRESH", "1", "AT", "RT", "a b")
    assert int(h["exp"]) - int(h["born"]) == 60000
    assert m.acquire("n1", 1, 0)[0] == "HAVE"


def test_a_token_that_nothing_renews_is_a_link(m):
    assert m.apply(rt="", at="AT", life=60000, grant="authorization_code") == ["OK", 1, 1]
    assert m.record()["state"] == "FRESH"


def test_a_link_with_a_token_and_no_lifetime(m):
    with pytest.raises(redispy.ResponseError, match="lifetime"):
        m.apply(rt="RT", at="AT", grant="authorization_code")
    assert not m.record()


def test_settings_keep_the_token_of_the_link(m):
    m.apply(rt="RT", at="AT", life=60000, scope="a", grant="authorization_code")
    m.apply("1", "1", grant="authorization_code", rt="", link=0, cs="CS2")
    h = m.record()
    assert (h["at"], h["scope"], h["state"], h["ver"]) == ("AT", "a", "FRESH", "1")
