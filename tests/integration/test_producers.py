"""The producer examples of deploy/examples/, and that common/PROTOCOL.md is enough to write one."""
import json
import os
import re
import shutil
import subprocess
import sys

import msgpack
import pytest

from records import Producer as Signer
from procs import BUILD, PATIENCE, ROOT, SANITIZED, Process, wait_until

sys.path.insert(0, str(ROOT / "deploy/examples"))

LANGUAGES = ["python", "node"]
VECTORS = json.loads((ROOT / "tests/vectors/envelopes.json").read_text())


def biggest(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return max(map(biggest, value), default=0)
    return abs(value) if isinstance(value, int) else 0


class Producer:
    """One of the examples, run as a user would."""

    def __init__(self, language, rig):
        self.rig = rig
        self.language = language
        self.script = ROOT / "common/scripts/enqueue.lua"
        if language == "python":
            self.args = ["/usr/bin/python3", ROOT / "deploy/examples/producer.py"]
            return
        # The example finds its packages beside itself; here they are those that the tests installed.
        node = ROOT / ".deps/bin/node"
        assert node.exists() and (ROOT / "tests/node_modules/ioredis").is_dir(), "run: make deps"
        shutil.copy(ROOT / "deploy/examples/producer.mjs", rig.folder)
        (rig.folder / "node_modules").symlink_to(ROOT / "tests/node_modules")
        self.args = [node, rig.folder / "producer.mjs", "--script", self.script]

    def command(self, *args):
        more = ["--redis", self.rig.redis.url, "--prefix", self.rig.prefix] if self.rig.redis else []
        return [str(a) for a in [*self.args, *more, *args]]

    def run(self, *args, job=None, code=0):
        done = subprocess.run(self.command(*args), input=json.dumps(job) if job else "", text=True,
                              capture_output=True, timeout=30 * PATIENCE, check=False)
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()


@pytest.fixture(params=LANGUAGES)
def producer(request, rig):
    return Producer(request.param, rig)


def entries(rig, queue="default", shard=0):
    return [fields for _, fields in rig.redis.client.xrange(rig.key(f"q:{queue}", shard))]


def test_vectors(producer):
    """JSON.parse knows doubles only, so that Node cannot be given the biggest integers."""
    some = [v for v in VECTORS if biggest(v["json"]) < 2 ** 53 or producer.language == "python"]
    lines = producer.run("encode", job=[v["json"] for v in some]).splitlines()
    assert dict(zip([v["name"] for v in some], lines)) == {v["name"]: v["hex"] for v in some}


@pytest.mark.parametrize("how", ["script", "--bare", "--inbox"])
@pytest.mark.parametrize("vector", json.loads((ROOT / "tests/vectors/signed.json").read_text()), ids=lambda v: v["name"])
def test_signed_vectors(producer, rig, vector, how):
    rig.prefix = vector["prefix"]
    rig.use_redis()
    key = rig.folder / "producer.key"
    key.write_text(f"ed25519 {vector['seed']}\n")
    job = msgpack.unpackb(bytes.fromhex(vector["j"]))
    del job["v"]
    producer.run("put", *([how] if how != "script" else []), "--queue", vector["queue"], "--producer", vector["producer"],
                 "--sign", key, job={k: job[k] for k in sorted(job, key="id call iat deadline out".split().index)})
    [put] = entries(rig, vector["queue"]) if how != "--inbox" else \
        [fields for _, fields in rig.redis.client.xrange(rig.key(f"in:{vector['producer']}"))]
    assert msgpack.unpackb(put[b"j"]) == msgpack.unpackb(bytes.fromhex(vector["j"]))
    me = Signer(vector["producer"], bytes.fromhex(vector["seed"]))
    assert me.public == vector["key"]
    assert put[b"s"] == me.signature(put[b"j"], vector["prefix"], vector["queue"])
    assert me.signature(bytes.fromhex(vector["j"]), vector["prefix"], vector["queue"]).hex() == vector["s"]


def test_what_would_be_refused_is_not_put(producer, rig):
    rig.use_redis()
    key = rig.folder / "producer.key"
    key.write_text("ed25519 " + "11" * 32 + "\n")
    job = {"id": "crm:1", "call": {"conn": "c", "url": "https://a.example/"}}
    producer.run("put", "--producer", "shop", "--sign", key, job=job, code=1)
    producer.run("put", "--sign", key, job=job, code=2)
    producer.run("put", "--producer", "shop", job=job, code=2)
    producer.run("put", "--inbox", job=job, code=2)
    assert not rig.redis.client.exists(rig.key("q:default"))


@pytest.mark.parametrize("text, queue, says", [
    ("{\"id\":", "default", "not JSON"), ("[]", "default", "id and call"), ("{\"id\":\"a\"}", "default", "id and call"),
    ("{\"id\":7,\"call\":{}}", "default", "id is a string"), ("{\"id\":\"a b\",\"call\":{}}", "default", "id is a string"),
    ("{\"id\":\"a\",\"call\":{}}", "a b", "queue's name"), ("{\"id\":\"a\",\"call\":{}}", "", "queue's name")])
@pytest.mark.parametrize("how", [[], ["--bare"]], ids=["script", "bare"])
def test_what_is_no_job_is_said_in_a_line(producer, rig, how, text, queue, says):
    rig.use_redis()
    done = subprocess.run(producer.command("put", *how, "--queue", queue), input=text, text=True, capture_output=True,
                          timeout=30 * PATIENCE, check=False)
    last = done.stderr.splitlines()[-1]
    assert done.returncode in (1, 2) and says in last and "Traceback" not in done.stderr, done.stderr
    assert rig.redis.client.dbsize() == 0


def test_the_script_can_be_elsewhere(producer, rig):
    """A copy of the example, and the script where `make install` puts it; who does not need it does not read it."""
    rig.use_redis()
    copy = shutil.copy(producer.args[-1] if producer.language == "python" else producer.args[1], rig.folder / "elsewhere")
    if producer.language == "node":
        copy = shutil.move(copy, rig.folder / "elsewhere.mjs")
    producer.args = [producer.args[0], copy]
    job = {"id": "x1", "call": {"conn": "c", "url": "https://a.example/"}}
    producer.run("put", "--bare", job=job)
    script = shutil.copy(ROOT / "common/scripts/enqueue.lua", rig.folder / "put.lua")
    assert producer.run("put", "--script", script, job={**job, "id": "x2"}) == "OK"


def test_page_and_vectors_agree_with_the_tree():
    page = (ROOT / "common/PROTOCOL.md").read_text()
    script = re.search(r"```lua\n(.*?)```", page, re.S).group(1)
    assert script == (ROOT / "common/scripts/enqueue.lua").read_text(), \
        "common/PROTOCOL.md prints the enqueue script; put the new one there"
    rules = set(re.findall(r"^ \*\s+((?:[a-z_]+, )*[a-z_]+)[,.]$",
                           (ROOT / "common/wire.h").read_text(), re.M))
    named = {r for line in rules for r in line.split(", ") if "_" in r} - {"result_invalid"}
    assert len(named) > 20
    head = (ROOT / "common/producer.h").read_text().split("*/")[0]
    named |= set(re.findall(r"unsigned|signature_bad|producer_[a-z]+(?=[,.])", head)) - {"producer_check"}
    missing = {r for r in named if f"`{r}`" not in page}
    assert not missing, f"codes that PROTOCOL.md does not name: {missing}"
    for source in (ROOT / "worker").glob("step*.c"):
        for code in re.findall(r'(?:rule = |err_rule\([^"]*)"([a-z_]+)"', source.read_text()):
            assert f"`{code}`" in page, f"{source.name} buries with {code}; PROTOCOL.md does not name it"
    results = page[page.index("## Results"):]
    packs = re.findall(r'pack_(?:key|member|time)\(&?pk, "([a-z]+)"', (ROOT / "common/wire_result.c").read_text())
    assert len(packs) > 20
    unnamed = {member for member in packs if f"`{member}`" not in results}
    assert not unnamed, f"members of a result that PROTOCOL.md does not name: {unnamed}"
    bad = {v["code"] for v in json.loads((ROOT / "tests/vectors/bad.json").read_text())}
    assert bad - named == set(), "vectors with codes that wire.h does not name"


def as_user(rig, role, *more):
    """The address of this Redis for a user with just the rights of this role."""
    _, user, *rules = rig.acl_line(role, *more).split(" ")
    rig.redis.client.execute_command("ACL", "SETUSER", user, *rules)
    return rig.redis.tcp_url.replace("//", f"//{user}@"), rig.roles


def with_password(url, password):
    return url.replace("@", f":{password.read_text()}@")


def test_rights_of_the_roles_are_enough(rig):
    rig.use_redis(tcp=True)
    p = Producer("python", rig)
    job = {"id": "a-1", "not_before": 4102444800000, "call": {"conn": "c", "url": "https://api.example.com/"}}
    url = with_password(*as_user(rig, "producer"))
    assert p.run("put", "--redis", url, job=job) == "OK"
    assert p.run("put", "--redis", url, job={**job, "id": "a-2", "not_before": 0}) == "OK"
    assert p.run("wait", "--redis", url, "--timeout", "0", "a-1", code=1) == "a-1: not ended yet"
    rig.redis.client.xadd(rig.key("out:results"), {"r": msgpack.packb({"id": "a-1"})})
    url = with_password(*as_user(rig, "reader", "--out", "results"))
    assert p.run("results", "--redis", url, "mine", "--count", "1") == '{"id": "a-1"}'


def test_rights_of_the_c_client_are_enough(c_producer, rig):
    rig.use_redis(tcp=True)
    job = {"id": "a-1", "call": {"conn": "c", "url": "https://api.example.com/"}}
    rig.redis.client.hset(rig.key("run:a-1"), mapping={"st": "done", "r": msgpack.packb({"id": "a-1", "state": "done"})})
    url, _ = as_user(rig, "producer")
    rig.redis.client.execute_command("ACL", "SETUSER", "awq-producer", "nopass")
    done = subprocess.run([c_producer, url, "-"], input=json.dumps(job), text=True, capture_output=True,
                          timeout=60 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert rig.denied() == []


def test_crc_is_redis_clusters():
    import producer as python
    assert python.crc16(b"123456789") == 0x31C3


def test_put_once(producer, rig):
    rig.use_redis()
    job = {"id": "a-1", "call": {"conn": "c", "url": "https://api.example.com/"}}
    assert producer.run("put", job=job) == "OK"
    assert producer.run("put", job=job) == "DUPLICATE"
    assert [msgpack.unpackb(e[b"j"]) for e in entries(rig)] == [{"v": 1, **job}]
    assert set(entries(rig)[0]) == {b"j"}


def test_put_after_script_flush(producer, rig):
    rig.use_redis()
    for n in range(2):
        rig.redis.client.script_flush()
        job = {"id": f"a-{n}", "call": {"conn": "c", "url": "https://api.example.com/"}}
        assert producer.run("put", job=job) == "OK"
    assert len(entries(rig)) == 2


def test_put_for_later(producer, rig):
    rig.use_redis()
    at = int(rig.redis.client.time()[0]) * 1000 + 3_600_000
    job = {"id": "a-1", "not_before": at, "call": {"conn": "c", "url": "https://api.example.com/"}}
    assert producer.run("put", job=job) == "OK"
    assert entries(rig) == []
    assert rig.redis.client.zscore(rig.key("due"), "a-1.0.0") == at


def test_put_bare_on_another_queue_and_shard(producer, rig):
    rig.use_redis()
    job = {"id": "123456789", "call": {"conn": "c", "url": "https://api.example.com/"}}
    producer.run("put", "--bare", "--queue", "slow", "--shards", "7", job=job)
    assert len(entries(rig, "slow", 0x31C3 % 7)) == 1


def test_results_are_read_again_until_acknowledged(producer, rig):
    rig.use_redis()
    out = rig.key("out:results")
    for n in range(3):
        rig.redis.client.xadd(out, {"r": msgpack.packb({"id": f"a-{n}", "state": "done"})})
    rig.redis.client.xgroup_create(out, "mine", "0")
    rig.redis.client.xreadgroup("mine", "reader-1", {out: ">"}, count=2)  # and then it died
    lines = producer.run("results", "mine", "--count", "3").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a-0", "a-1", "a-2"]
    assert rig.redis.client.xpending(out, "mine")["pending"] == 0


def test_wait_does_not_take_an_earlier_step_for_the_end(producer, rig):
    rig.use_redis()
    run = rig.key("run:a-1")
    rig.redis.client.hset(run, mapping={"st": "ready", "r": msgpack.packb({"state": "done", "end": False})})
    waiting = Process("waiting", rig.folder)
    rig.things.append(waiting)
    waiting.start(producer.command("wait", "a-1"))
    wait_until(lambda: rig.redis.calls().get("hmget", 0) > 2, 10, "it to ask a few times")
    assert waiting.running
    rig.redis.client.hset(run, mapping={"st": "done", "r": msgpack.packb({"state": "done", "end": True})})
    assert waiting.wait(10) == 0


@pytest.fixture
def c_producer(rig):
    """deploy/examples/producer.c, compiled against the library as a user would."""
    flags = dict(line.split(" := ", 1) for line in (ROOT / ".deps/flags.mk").read_text().splitlines()
                 if " := " in line)
    sanitize = ["-fsanitize=address,undefined"] if SANITIZED else []
    out = rig.folder / "producer"
    done = subprocess.run(
        ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-I.", *sanitize, "-o", out,
         "deploy/examples/producer.c", BUILD / "libawq.a", *flags["DEPS_LIBS"].split(), "-lm"],
        cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def run_c(rig, program, job):
    done = subprocess.run([program, rig.redis.url, "-"], input=json.dumps(job), text=True, capture_output=True,
                          timeout=60 * PATIENCE, check=False, env={**os.environ, "AWQ_PREFIX": rig.prefix})
    return done.returncode, done.stdout, done.stderr


def test_c_client_from_put_to_result(c_producer, rig):
    rig.link("acct")
    rig.worker()
    job = rig.job("acct", "/echo", body={"name": "Ünal"},
                  then=[rig.call("acct", "/echo", body={"was": "{method}"})])
    for _ in range(2):  # the second time it is there already
        code, out, err = run_c(rig, c_producer, job)
        assert code == 0, err
        result = json.loads(out)
        assert (result["id"], result["step"], result["end"]) == (job["id"], 1, True)
        assert json.loads(result["output"]["body"]) == {"was": "POST"}
    refused = rig.job("acct", "https://evil.example/")
    code, out, err = run_c(rig, c_producer, refused)
    result = json.loads(out)
    assert code == 1 and (result["state"], result["error"]["code"]) == ("dead", "host_not_allowed")
    assert run_c(rig, c_producer, {"id": "a b"})[0] == 2


def test_c_client_by_sentinel(c_producer, rig):
    """The same before and after a failover: who asks the Sentinels is the link below it."""
    r = rig.use_failover()
    rig.link("acct")
    rig.worker(lease="2s")
    for kill in (True, False):
        code, out, err = run_c(rig, c_producer, rig.job("acct", "/echo"))
        assert (code, json.loads(out)["state"]) == (0, "done"), err
        if kill:
            r.copied()
            r.primary.kill()
            r.taken_over()


def test_from_put_to_result(producer, rig):
    rig.link("acct")
    rig.worker()
    job = rig.job("acct", "/echo", body={"name": "Ünal"},
                  then=[rig.call("acct", "/echo", body={"was": "{method}"})])
    assert producer.run("put", job=job) == "OK"
    result = json.loads(producer.run("wait", job["id"]))
    assert (result["id"], result["step"], result["end"]) == (job["id"], 1, True)
    assert json.loads(json.loads(result["output"])["body"]) == {"was": "POST"}
    lines = producer.run("results", "mine", "--count", "2").splitlines()
    assert [(json.loads(x)["step"], json.loads(x)["end"]) for x in lines] == [(0, False), (1, True)]
