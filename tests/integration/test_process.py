"""awq-worker as a process: signals, probes, reload, leaving nothing behind."""
import os
import signal
import socket
from datetime import datetime

from procs import wait_until


def test_pause_and_go_on(rig):
    rig.use_peers()
    rig.link("acct")
    w = rig.worker()
    w.send(signal.SIGTSTP)
    w.wait_log("worker.paused")
    rig.redis.client.xadd(rig.key("q:default"), {"j": "x"})  # may still be taken by the fetch on its way
    wait_until(lambda: rig.redis.client.zcard(rig.key("dead")) == 1 or rig.redis.client.xlen(rig.key("q:default")) == 1,
               10, "the last fetch")
    wait_until(lambda: not [c for c in rig.redis.client.client_list() if c["cmd"].startswith("xreadgroup")
                            and "b" in c["flags"]], 10, "no fetch to be on its way")
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(5)])
    beats = rig.redis.client.zscore(rig.key("workers"), w.id)
    wait_until(lambda: rig.redis.client.zscore(rig.key("workers"), w.id) > beats, 10, "it to beat on")
    assert not rig.all_results() or all(r["id"] not in ids for r in rig.all_results())
    assert w.get("/livez")[0] == 200, "paused is not stuck"
    w.send(signal.SIGCONT)
    w.wait_log("worker.resumed")
    rig.results(ids)


def test_term_finishes_what_is_on_the_wire_and_leaves_no_trace(rig):
    rig.use_peers()
    rig.link("acct")
    w = rig.worker()
    ids = rig.enqueue([rig.job("acct", "/slow?ms=700", method="GET") for _ in range(3)])
    wait_until(lambda: len(rig.api.log()) == 3, 10, "the calls")
    w.send(signal.SIGTERM)
    w.wait_log("worker.drain")
    assert w.get("/readyz")[0] == 503
    assert w.wait(15) == 0
    got = rig.results(ids)
    assert {(r[-1]["state"], r[-1]["attempts"]) for r in got.values()} == {("done", 1)}
    r = rig.redis.client
    assert r.zcard(rig.key("workers")) == 0 and r.hlen(rig.key("w")) == 0 and not r.exists(rig.key("boss"))
    assert r.xinfo_consumers(rig.key("q:default"), "w") == []


def test_second_term_stops_at_once_and_the_job_is_given_back(rig):
    rig.use_peers()
    rig.link("acct")
    w = rig.worker(lease="1s")
    ids = rig.enqueue(rig.job("acct", "/slow?ms=2500", method="GET"))
    wait_until(lambda: rig.api.log(), 10, "the call")
    w.send(signal.SIGTERM)
    w.wait_log("worker.drain")
    w.send(signal.SIGTERM)
    assert w.wait(5) == 1
    rig.worker(lease="1s")
    assert rig.results(ids)[ids[0]][-1]["state"] == "done"


def test_drain_time_is_bounded(rig):
    """What is on the wire longer than --drain is cut; a call that may be repeated goes back to the queue."""
    rig.use_peers()
    rig.link("acct")
    w = rig.worker(drain="300ms")
    ids = rig.enqueue(rig.job("acct", "/slow?ms=20000&key=a", method="GET", timeout_ms=1000,
                              retry={"max": 0}))
    wait_until(lambda: rig.api.log(), 10, "the call")
    w.send(signal.SIGTERM)
    w.may_fail = True
    assert w.wait(10) == 0
    assert rig.redis.client.hget(rig.key(f"run:{ids[0]}"), "st") in (b"due", b"dead")


def test_reload(rig):
    rig.need(keys=True)
    conf = rig.folder / "worker.conf"
    conf.write_text("log-level = info\nslots = 4\n")
    w = rig.worker(args=["--config", str(conf)])
    conf.write_text("log-level = debug\nslots = 8\n")
    w.send(signal.SIGHUP)
    e = w.wait_log("config.reloaded")
    assert e["applied"] == "log-level" and e["needs_restart"] == "slots"
    conf.write_text("log-level = loud\n")
    w.send(signal.SIGHUP)
    assert "loud" in w.wait_log("config.bad")["error"]
    assert w.running


def test_probes_do_not_depend_on_redis_being_up(rig):
    rig.use_peers()
    w = rig.worker(lease="1s")
    assert [w.get(p)[0] for p in ("/livez", "/readyz", "/startupz")] == [200, 200, 200]
    rig.redis.kill()
    wait_until(lambda: w.get("/readyz")[0] == 503, 15, "not ready")
    assert w.get("/livez")[0] == 200 and w.get("/startupz")[0] == 200
    rig.redis.start()
    wait_until(lambda: w.get("/readyz")[0] == 200, 15, "ready again")


def test_livez_sees_a_fetch_that_never_ends(rig):
    """A link that is up for scripts and stuck for fetches: the process must be restarted."""
    between = rig.between()
    w = rig.worker(redis_url=between.url, lease="1s")
    assert w.get("/livez")[0] == 200
    assert w.get("/metrics")[0] == 200 and w.get("/nothing")[0] == 404
    between.hold(b"XREADGROUP")
    between.wait_held()
    wait_until(lambda: w.get("/livez")[0] == 503, 10, "the probe to see it")
    assert w.logged("probe.failed", probe="livez", redis=True, confirmed=True)
    between.release()
    wait_until(lambda: w.get("/livez")[0] == 200, 10, "a fetch to be answered")


def last_answer_long_ago(rig, w):
    """Three leases and more have passed for which no fetch was expected."""
    beats = rig.redis.client.zscore(rig.key("workers"), w.id)
    wait_until(lambda: rig.redis.client.zscore(rig.key("workers"), w.id) > beats + 4000, 15, "beats")
    assert w.get("/livez")[0] == 200


def fetch_is_held_and_that_is_no_failure_yet(w, between):
    between.wait_held()
    assert w.get("/livez")[0] == 200, "a fetch was not due before"
    between.release()


def test_livez_when_all_slots_were_busy_for_long(rig):
    """The first fetch afterwards has its whole time."""
    _, api = rig.use_peers()
    rig.link("acct")
    between = rig.between()
    w = rig.worker(redis_url=between.url, lease="1s", slots=1)
    ids = rig.enqueue(rig.job("acct", "/slow?ms=6000", method="GET"))
    wait_until(api.log, 10, "the slot to be taken")
    between.hold(b"XREADGROUP")
    last_answer_long_ago(rig, w)
    rig.results(ids)
    fetch_is_held_and_that_is_no_failure_yet(w, between)


def test_livez_when_it_was_paused_for_long(rig):
    between = rig.between()
    w = rig.worker(redis_url=between.url, lease="1s")
    w.send(signal.SIGTSTP)
    w.wait_log("worker.paused")
    last_answer_long_ago(rig, w)
    between.hold(b"XREADGROUP")
    w.cont()
    fetch_is_held_and_that_is_no_failure_yet(w, between)


def seconds_down(w):
    """From the first to the last try to reach Redis that failed, by the worker's own clock."""
    at = [datetime.fromisoformat(e["ts"]) for e in w.logged("redis.down")]
    return (at[-1] - at[0]).total_seconds()


def test_livez_when_redis_was_away_for_long(rig):
    rig.use_redis(aof="always")
    between = rig.between()
    w = rig.worker(redis_url=between.url, lease="1s")
    rig.redis.kill()
    w.wait_log("redis.down")
    wait_until(lambda: seconds_down(w) > 4, 20, "an outage of more than three leases")
    between.hold(b"XREADGROUP")
    rig.redis.start()
    fetch_is_held_and_that_is_no_failure_yet(w, between)


def test_only_the_housekeeper_shows_the_shards_numbers(rig):
    rig.use_peers()
    a, b = rig.workers(2)
    wait_until(lambda: a.logged("house.elected") or b.logged("house.elected"), 10, "a housekeeper")
    boss, other = (a, b) if a.logged("house.elected") else (b, a)
    boss.get("/metrics")
    text = wait_until(lambda: "awq_jobs_ready" in boss.get("/metrics")[1] and boss.get("/metrics")[1], 10, "its numbers")
    assert 'awq_jobs_ready{queue="default"} 0' in text and "awq_jobs_dead 0" in text
    other.get("/metrics")
    assert "awq_jobs_ready" not in other.get("/metrics")[1]


def test_an_idle_worker_asks_redis_for_little(rig):
    """Counted, not timed: commands between two beats of an idle worker."""
    w = rig.worker()
    def seen():
        return {k: v["calls"] for k, v in rig.redis.client.info("commandstats").items()}
    beats = lambda: rig.redis.client.zscore(rig.key("workers"), w.id)
    first = beats()
    wait_until(lambda: beats() > first, 10, "a beat")
    before, t0 = seen(), beats()
    wait_until(lambda: beats() >= t0 + 9000, 20, "nine seconds of beats")
    after = seen()
    spent = (beats() - t0) / 1000
    own = sum(after.get(c, 0) - before.get(c, 0) for c in ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_xreadgroup",
                                                          "cmdstat_ping", "cmdstat_xinfo|consumers"))
    assert own / spent <= 2.2, f"{own} commands in {spent} s of Redis' clock"


def test_nothing_secret_on_the_command_line_or_in_a_core(rig):
    w = rig.worker()
    line = open(f"/proc/{w.pid}/cmdline", "rb").read() + open(f"/proc/{w.pid}/environ", "rb").read()
    for text in rig.keys.read_text().split():
        if len(text) == 64:
            assert text.encode() not in line
    limits = open(f"/proc/{w.pid}/limits").read()
    core = [x for x in limits.splitlines() if x.startswith("Max core file size")][0].split()
    assert core[4] == "0" and core[5] == "0"
    assert os.stat(f"/proc/{w.pid}/mem").st_uid == 0, "not dumpable: its memory is root's alone"


def test_a_mistyped_variable_is_named(rig):
    """Not refused: Kubernetes puts AWQ_SERVICE_HOST there when a service is called awq."""
    w = rig.worker(env={"AWQ_SLOT": "3"})
    [e] = w.logged("config.bad")
    assert e["level"] == "warn" and "AWQ_SLOT," in e["error"]


def test_what_awq_ctl_goes_by_is_not_mistyped(rig):
    """One environment may have the settings of both."""
    w = rig.worker(env={"AWQ_PROFILES": "/usr/local/share/awq/providers", "AWQ_OUTPUT": "json"})
    assert w.logged("config.bad") == []


def test_probes_answer_after_a_flood_of_idle_links(rig):
    """As many links as it takes, silent, and closed again: who asks next is answered."""
    w = rig.worker()
    host, port = w.settings["probe_listen"].rsplit(":", 1)

    def alive():
        try:
            return w.get("/livez")[0] == 200
        except OSError:
            return False
    for _ in range(6):  # which of them are seen to close, and when, is another matter each time
        links = [socket.create_connection((host, int(port)), timeout=5) for _ in range(80)]
        for link in links:
            link.close()
        wait_until(alive, 20, "an answer")
