"""Redis over TLS, with an ACL user, a password file and a client certificate."""
from procs import free_port
from tls import Authority


def test_tls_redis_with_acl_user(rig):
    ca = Authority(rig.folder)
    cert, key = ca.issue("redis")
    mine, mine_key = ca.issue("worker")
    port = free_port()
    rig.use_redis(options={
        "tls-port": port, "tls-cert-file": cert, "tls-key-file": key, "tls-ca-cert-file": ca.cert,
        "tls-auth-clients": "yes"})
    rig.common.update({"redis-url": f"rediss://127.0.0.1:{port}", "redis-user": "awq-worker",
                       "redis-password-file": rig.roles, "redis-tls-ca": ca.cert,
                       "redis-tls-cert": mine, "redis-tls-key": mine_key})
    rig.link("acct")
    w = rig.worker()
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(50)])
    assert {x[-1]["state"] for x in rig.results(ids).values()} == {"done"}
    users = {c["user"] for c in rig.redis.client.client_list() if c.get("name", "") != ""}
    assert "awq-worker" in users and "default" not in users
    # a lost link is made again, with everything it needs
    rig.redis.client.execute_command("CLIENT", "KILL", "USER", "awq-worker")
    ids = rig.enqueue([rig.job("acct", "/echo") for _ in range(10)])
    rig.results(ids)
    assert rig.roles.read_text() not in "\n".join(w.lines()) + w.stderr()


def test_a_server_with_another_authority_is_refused(rig):
    ca, other = Authority(rig.folder), Authority(rig.folder, "other")
    cert, key = ca.issue("redis")
    port = free_port()
    rig.use_redis(options={"tls-port": port, "tls-cert-file": cert, "tls-key-file": key,
                           "tls-ca-cert-file": ca.cert, "tls-auth-clients": "no"})
    w = rig.worker(ready=False, redis_url=f"rediss://127.0.0.1:{port}", redis_tls_ca=other.cert)
    w.exits_with(3, "redis.refused", error_rule="redis_tls_untrusted")
