"""deploy/kubernetes: each manifest is what its API server takes, and says what awq needs it to say."""
import ipaddress
import json
import re
import subprocess

import pytest
import yaml

from procs import ROOT, built
from rig import clean_env
from units import span_s, worker_settings

FOLDER = ROOT / "deploy/kubernetes"


class Strict(yaml.SafeLoader):
    """YAML in which a key that is there twice is an error, as kubectl has it."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(k, deep=True) for k, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key is there twice: {keys}"
        return super().construct_mapping(node, deep)


def load(name):
    with open(FOLDER / name, encoding="utf-8") as f:
        return list(yaml.load_all(f, Strict))  # noqa: S506 - a SafeLoader


OBJECTS = {(o["kind"], o["metadata"]["name"]): o
           for f in sorted(FOLDER.glob("*.yaml")) if f.name != "kustomization.yaml"
           for o in load(f.name)}
DEPLOYMENT = OBJECTS["Deployment", "awq-worker"]["spec"]
POD = DEPLOYMENT["template"]["spec"]
WORKER = POD["containers"][0]
SETTINGS = OBJECTS["ConfigMap", "awq-worker"]["data"]
TRIGGER = OBJECTS["ScaledObject", "awq-worker"]["spec"]["triggers"][0]
LABELS = {"app.kubernetes.io/name": "awq-worker"}


def check_closed(objects):
    node = ROOT / ".deps/bin/node"
    assert node.exists(), "no Node: make deps"
    done = subprocess.run([node, ROOT / "tests/integration/closed_schemas.mjs"], text=True,
                          input=json.dumps(objects), capture_output=True, check=True)
    return json.loads(done.stdout)


def test_every_member_is_of_its_type():
    assert len(OBJECTS) == 10
    assert check_closed(list(OBJECTS.values())) == []


@pytest.mark.parametrize("path, value, complaint", [
    (("spec", "template", "spec", "enableServiceLink"), False, "enableServiceLink: no such member"),
    (("spec", "replicas"), "2", "/spec/replicas: type"),
    (("spec", "template", "spec", "containers", 0, "livenessProbe", "httpGet", "pth"), "/", "pth"),
    (("spec", "selector"), None, "selector"),
], ids=["unknown", "type", "deep", "missing"])
def test_what_is_not_of_its_type_is_seen(path, value, complaint):
    wrong = json.loads(json.dumps(OBJECTS["Deployment", "awq-worker"]))
    at = wrong
    for name in path[:-1]:
        at = at[name]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    assert complaint in "\n".join(check_closed([wrong]))


def test_every_setting_exists_and_has_a_good_value():
    known = worker_settings()
    for name in SETTINGS:
        assert name in known, f"{name} is not in awq-worker --help"
    for name in re.findall(r"AWQ_[A-Z_]+\b", "".join(f.read_text() for f in FOLDER.glob("*.yaml"))):
        assert name in known or name == "AWQ_", f"{name} is not in awq-worker --help"
    shown = subprocess.run([built("awq-worker"), "--print-config"], text=True, check=False,
                           capture_output=True, env={**clean_env(), **SETTINGS})
    assert shown.returncode == 0, shown.stderr
    assert "warn" not in shown.stderr and "unknown" not in shown.stderr


def test_files_named_in_settings_are_mounted():
    mounts = {m["name"]: m for m in WORKER["volumeMounts"]}
    volumes = {v["name"]: v for v in POD["volumes"]}
    assert set(mounts) == set(volumes)
    files = {f"{mounts[name]['mountPath']}/{item['path']}"
             for name, v in volumes.items() if "secret" in v for item in v["secret"]["items"]}
    wanted = {SETTINGS[n] for n in ("AWQ_KEYS", "AWQ_REDIS_PASSWORD_FILE", "AWQ_REDIS_TLS_CA")}
    assert wanted == files
    for name, v in volumes.items():
        if "secret" in v:
            assert v["secret"]["defaultMode"] == 0o440, "the worker refuses what others can read"
            assert mounts[name]["readOnly"] is True
    journal = [v for v in volumes.values() if "emptyDir" in v]
    assert len(journal) == 1 and journal[0]["emptyDir"]["sizeLimit"]
    assert mounts[journal[0]["name"]]["mountPath"] == SETTINGS["AWQ_JOURNAL"]


def test_no_secret_is_in_the_environment_or_in_these_files():
    assert "env" not in WORKER and WORKER["envFrom"] == [{"configMapRef": {"name": "awq-worker"}}]
    assert not [kind for kind, _ in OBJECTS if kind == "Secret"]


def test_security_is_what_restricted_asks():
    """Kubernetes, Pod Security Standards, policy `restricted`."""
    labels = OBJECTS["Namespace", "awq"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pod, worker = POD["securityContext"], WORKER["securityContext"]
    assert pod["runAsNonRoot"] is True
    assert pod["runAsUser"] == pod["runAsGroup"] == pod["fsGroup"] == 65532
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert worker["allowPrivilegeEscalation"] is False
    assert worker["capabilities"] == {"drop": ["ALL"]}
    assert worker["readOnlyRootFilesystem"] is True
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        assert name not in POD
    assert {k for v in POD["volumes"] for k in v} == {"name", "secret", "emptyDir"}
    assert POD["automountServiceAccountToken"] is False
    account = OBJECTS["ServiceAccount", POD["serviceAccountName"]]
    assert account["automountServiceAccountToken"] is False
    assert POD["enableServiceLinks"] is False


def test_the_user_is_the_image_s():
    words = (ROOT / "deploy/image/Containerfile").read_text()
    assert re.findall(r"^USER (.*)$", words, re.M) == ["65532:65532"]


def test_a_drain_fits_into_the_grace_period():
    known = worker_settings()
    drain = span_s(SETTINGS["AWQ_DRAIN"])
    assert drain > span_s(known["AWQ_STEP_TIMEOUT"]), "else a drain cuts calls off"
    assert POD["terminationGracePeriodSeconds"] >= drain + 15
    assert "lifecycle" not in WORKER, "a hook would eat of the same time"
    rollout = DEPLOYMENT["strategy"]["rollingUpdate"]
    assert rollout["maxUnavailable"] == 0 and rollout["maxSurge"] >= 1
    assert DEPLOYMENT["minReadySeconds"] >= span_s(known["AWQ_LEASE"])
    assert DEPLOYMENT["revisionHistoryLimit"] and DEPLOYMENT["progressDeadlineSeconds"]


def test_probes_and_metrics_are_where_the_worker_answers(rig):
    w = rig.worker()
    port = {p["name"]: p["containerPort"] for p in WORKER["ports"]}
    assert SETTINGS["AWQ_PROBE_LISTEN"] == f":{port['probes']}"
    probes = {n: WORKER[n] for n in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {n: p["httpGet"]["path"] for n, p in probes.items()} == {
        "startupProbe": "/startupz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    for name, probe in probes.items():
        assert probe["httpGet"]["port"] == "probes"
        assert w.get(probe["httpGet"]["path"])[0] == 200, name
    assert probes["startupProbe"]["periodSeconds"] * probes["startupProbe"]["failureThreshold"] >= 120
    monitor = OBJECTS["PodMonitor", "awq-worker"]["spec"]
    assert monitor["selector"]["matchLabels"] == LABELS
    [end] = monitor["podMetricsEndpoints"]
    assert end["port"] == "probes" and "awq_slots 64" in w.get(end["path"])[1]


def test_ctl_finds_its_files_and_ends_by_itself():
    pod = OBJECTS["Pod", "awq-ctl"]["spec"]
    [ctl] = pod["containers"]
    assert ctl["image"] == WORKER["image"] and pod["activeDeadlineSeconds"] <= 28800 and pod["restartPolicy"] == "Never"
    env = {e["name"]: e.get("value") or SETTINGS[e["valueFrom"]["configMapKeyRef"]["key"]] for e in ctl["env"]}
    mounts = {m["name"]: m for m in ctl["volumeMounts"]}
    files = {f"{mounts[v['name']]['mountPath']}/{item['path']}"
             for v in pod["volumes"] if "secret" in v for item in v["secret"]["items"]}
    assert {env[n] for n in ("AWQ_KEYS", "AWQ_REDIS_PASSWORD_FILE", "AWQ_REDIS_TLS_CA")} == files
    assert all(v["secret"]["defaultMode"] == 0o440 for v in pod["volumes"] if "secret" in v)
    shown = subprocess.run([built("awq-ctl"), "--print-config"], text=True, check=False, capture_output=True,
                           env={**clean_env(), **env})
    assert shown.returncode == 0 and "warn" not in shown.stderr, shown.stderr
    assert {k: v for k, v in ctl["securityContext"].items()} == WORKER["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
    labels = OBJECTS["Pod", "awq-ctl"]["metadata"]["labels"]
    assert OBJECTS["NetworkPolicy", "awq-worker"]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_resources():
    r = WORKER["resources"]
    assert r["requests"]["memory"] and r["requests"]["cpu"] and r["limits"]["memory"]
    assert "cpu" not in r["limits"], "a throttled loop looks like a dead worker"
    slots, mib = int(SETTINGS["AWQ_SLOTS"]), int(re.fullmatch(r"(\d+)Mi", r["limits"]["memory"])[1])
    assert mib >= 64 + 2 * slots, "a job and an answer of 1 MiB in every slot"


def test_spread_over_zones_and_nodes():
    spread = {c["topologyKey"]: c for c in POD["topologySpreadConstraints"]}
    assert set(spread) == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    for c in spread.values():
        assert c["labelSelector"]["matchLabels"] == LABELS
        assert c["whenUnsatisfiable"] == "ScheduleAnyway"


def test_selectors_select_the_pods():
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    pdb = OBJECTS["PodDisruptionBudget", "awq-worker"]["spec"]
    policy = OBJECTS["NetworkPolicy", "awq-worker"]["spec"]
    for selector in (DEPLOYMENT["selector"], pdb["selector"], policy["podSelector"]):
        assert selector["matchLabels"].items() <= labels.items()
    assert {o["metadata"].get("namespace") for (k, _), o in OBJECTS.items() if k != "Namespace"} \
        == {"awq"}


def test_disruption_budget():
    spec = OBJECTS["PodDisruptionBudget", "awq-worker"]["spec"]
    assert spec["maxUnavailable"] == 1 and "minAvailable" not in spec
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def open_to(rules, port, protocol="TCP"):
    return [to for r in rules for to in r["to"]
            if {"protocol": protocol, "port": port} in r["ports"]]


def test_network_policy_lets_out_what_is_needed_and_no_more():
    spec = OBJECTS["NetworkPolicy", "awq-worker"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    [way_in] = spec["ingress"]
    assert way_in["ports"] == [{"protocol": "TCP", "port": "probes"}] and way_in["from"]
    rules = spec["egress"]
    assert all(r.get("to") and r.get("ports") for r in rules), "a rule without them opens all"
    assert {(p["protocol"], p["port"]) for r in rules for p in r["ports"]} \
        == {("UDP", 53), ("TCP", 53), ("TCP", 6379), ("TCP", 443)}
    blocks = [ipaddress.ip_network(t["ipBlock"]["cidr"]) for t in open_to(rules, 443)]
    assert [str(b) for b in blocks] == ["0.0.0.0/0", "::/0"]
    closed = [ipaddress.ip_network(e) for t in open_to(rules, 443) for e in t["ipBlock"]["except"]]
    for address in ("169.254.169.254", "10.1.2.3", "172.20.0.1", "192.168.1.1", "127.0.0.1",
                    "100.100.100.200", "0.0.0.0", "::1", "fd00:ec2::254", "fe80::1",
                    "::ffff:169.254.169.254"):
        assert any(ipaddress.ip_address(address) in n for n in closed), address
    assert not any(ipaddress.ip_address("93.184.216.34") in n for n in closed)
    host = re.match(r"rediss://[^.]+\.([^.]+)\.svc[^:]*:(\d+)$", SETTINGS["AWQ_REDIS_URL"])
    [redis] = open_to(rules, int(host[2]))
    assert redis["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == host[1]


def test_scaling_counts_ready_and_in_flight(rig):
    """XLEN of the stream that jobs are really in; KEDA takes that mode when no group is named."""
    metadata = TRIGGER["metadata"]
    assert TRIGGER["type"] == "redis-streams"
    assert int(metadata["streamLength"]) > int(SETTINGS["AWQ_SLOTS"])
    assert not {"consumerGroup", "lagCount", "pendingEntriesCount"} & set(metadata)
    assert all(isinstance(v, str) for v in metadata.values())
    assert f"rediss://{metadata['address']}" == SETTINGS["AWQ_REDIS_URL"]
    assert metadata["enableTLS"] == "true"
    between = rig.between()
    rig.link("acct")
    rig.worker(redis_url=between.url, slots=2)
    between.hold(b"EVALSHA")  # what is answered is not committed
    rig.enqueue([rig.job("acct", "/echo") for _ in range(10)])
    between.wait_held()
    assert rig.pending() > 0
    assert rig.redis.client.xlen(metadata["stream"]) == 10
    between.release()


def test_scaling_never_goes_to_none_and_slowly_down():
    spec = OBJECTS["ScaledObject", "awq-worker"]["spec"]
    assert spec["scaleTargetRef"]["name"] == "awq-worker"
    assert 1 <= spec["minReplicaCount"] < spec["maxReplicaCount"], "someone must keep house"
    assert "idleReplicaCount" not in spec
    assert spec["fallback"]["replicas"] >= spec["minReplicaCount"]
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert down["stabilizationWindowSeconds"] >= 60
    auth = OBJECTS["TriggerAuthentication", TRIGGER["authenticationRef"]["name"]]["spec"]
    assert {r["parameter"] for r in auth["secretTargetRef"]} == {"username", "password", "ca"}


def test_kustomization_names_what_needs_no_other_operator():
    [k] = load("kustomization.yaml")
    assert k["kind"] == "Kustomization"
    kinds = {o["apiVersion"].split("/")[0] for f in k["resources"] for o in load(f)}
    assert kinds == {"v1", "apps", "policy", "networking.k8s.io"}
    left = {f.name for f in FOLDER.glob("*.yaml")} - set(k["resources"]) - {"kustomization.yaml"}
    assert left == {"scaledobject.yaml", "podmonitor.yaml", "ctl.yaml"}
    [image] = k["images"]
    assert WORKER["image"] == f"{image['name']}:{image['newTag']}"
    version = re.search(r'AWQ_VERSION "(.*)"', (ROOT / "common/version.h").read_text())[1]
    assert image["newTag"] == version
