"""records.py - connection records written and read by hand: a second reading of the format.

Python's own BLAKE2b and libsodium called directly, from the descriptions in common/seal.h and
common/connection.h. What this seals awq must open, and the other way round; and a test can link an
account in the time of one Redis command.
"""
import ctypes
import ctypes.util
import hashlib
import json
import secrets
import struct
import time

sodium = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")
assert sodium.sodium_init() >= 0
HEAD, NONCE, TAG = 5, 24, 16


class Keys:
    """A key file: {kind: [(key id, key), ...]}, the first of a kind seals."""

    def __init__(self, path):
        self.of = {}
        for line in path.read_text().splitlines():
            if line and not line.startswith("#"):
                kind, key_id, key, *staged = line.split()
                if staged:
                    continue
                self.of.setdefault(kind, []).append((bytes.fromhex(key_id), bytes.fromhex(key)))

    def mac(self, kind, purpose, data):
        key_id, key = self.of[kind][0]
        return key_id + blake(data, derive(key, "awq mac", purpose))

    def seal(self, kind, place, clear):
        key_id, key = self.of[kind][0]
        head = b"\x01" + key_id
        nonce = secrets.token_bytes(NONCE)
        ad = head + place_bytes(*place)
        out = ctypes.create_string_buffer(len(clear) + TAG)
        sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(
            out, None, clear, ctypes.c_ulonglong(len(clear)), ad, ctypes.c_ulonglong(len(ad)),
            None, nonce, derive(key, "awq seal", place[2]))
        return head + nonce + out.raw

    def open(self, kind, place, sealed):
        """The clear bytes; None when it does not open there."""
        head, nonce, text = sealed[:HEAD], sealed[HEAD:HEAD + NONCE], sealed[HEAD + NONCE:]
        ad = head + place_bytes(*place)
        for key_id, key in self.of[kind]:
            out = ctypes.create_string_buffer(max(1, len(text) - TAG))
            if head == b"\x01" + key_id and sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
                    out, None, None, text, ctypes.c_ulonglong(len(text)), ad,
                    ctypes.c_ulonglong(len(ad)), nonce, derive(key, "awq seal", place[2])) == 0:
                return out.raw[:len(text) - TAG]
        return None


def blake(data, key=b""):
    return hashlib.blake2b(data, digest_size=32, key=key).digest()


def derive(key, use, name):
    return blake(use.encode() + b"\0" + name.encode() + b"\0", key)


def place_bytes(prefix, conn, field, gen, ver, digest):
    def part(s):
        return struct.pack("<Q", len(s)) + s.encode()
    return part(prefix) + part(conn) + part(field) + struct.pack("<QQ", gen, ver) + part(digest)


def settings_json(conn):
    """The canonical settings of a connection file's map."""
    policy = conn["policy"]
    return json.dumps({
        "grant": conn["grant"], "token_url": conn["token_url"],
        "client_id": conn["client"]["id"], "auth": conn["client"]["auth"],
        "scopes": " ".join(sorted(set(conn.get("scopes", [])))),
        "default_lifetime_ms": conn.get("default_lifetime_ms", 3600000),
        "refresh_margin_ms": conn.get("refresh_margin_ms", 60000),
        "max_idle_ms": conn.get("max_idle_ms", 0),
        "replay": conn.get("replay", "once"),
        "hosts": sorted(h.lower() for h in policy["hosts"]),
        "methods": sorted(m.upper() for m in policy.get("methods", [])),
        "paths": sorted(policy.get("paths", [])),
        **({"producers": sorted(policy["producers"])} if policy.get("producers") else {}),
        "insecure_http": policy.get("insecure_http", False),
        "allow_private": policy.get("allow_private", False),
        "concurrency": conn.get("limits", {}).get("concurrency", 0),
        **{k: conn["limits"][k] for k in ("rate", "burst", "breaker") if k in conn.get("limits", {})},
    }, separators=(",", ":")).encode()


def link(client, keys, prefix, conn, secret, refresh_token=""):
    """Link an account as `awq-ctl conn apply` does; the record's gen."""
    name = conn["id"]
    key = f"{prefix}:{{c:{name}}}"
    cfg = settings_json(conn)
    digest = blake(cfg).hex()
    gen = max(int(client.hget(key, "gen") or 0) + 1, time.time_ns() // 1000)

    def seal(field, clear):
        if not clear:
            return b""
        return keys.seal("grant", (prefix, name, field, gen, 0, digest), clear.encode())
    signed = b"".join(b"%d:%s" % (len(s), s) for s in (prefix.encode(), name.encode(), cfg))
    lh = keys.seal("grant", (prefix, name, "lh", 0, 0, ""), blake(refresh_token.encode()).hex().encode()) \
        if refresh_token else b""
    client.delete(f"{key}:lease")
    pipe = client.pipeline(transaction=True)
    pipe.delete(key)
    pipe.hset(key, mapping={
        "cfg": cfg, "cm": keys.mac("access", "cfg", signed), "cd": digest, "grant": conn["grant"],
        "cs": seal("cs", secret), "rt": seal("rt", refresh_token), "lh": lh,
        "gen": gen, "ver": 0, "state": "DUE", "exp": 0})
    pipe.execute()
    client.publish(f"{prefix}:changed", name)
    for lots in client.scan_iter(f"{prefix}:[{{]s*[}}]:lots"):
        if client.zscore(lots, f"conn:{name}") is not None:
            client.zadd(lots, {f"conn:{name}": 0})
            client.publish(f"{prefix}:wake", "0")
    return gen


class Producer:
    """A producer as PROTOCOL.md, "Signed jobs", describes one: Ed25519 by libsodium."""

    def __init__(self, name, seed=None):
        self.name, self.seed = name, seed or secrets.token_bytes(32)
        public, self._secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(64)
        sodium.crypto_sign_seed_keypair(public, self._secret, self.seed)
        self.public = public.raw.hex()

    def signature(self, j, prefix="awq", queue="default", name=None):
        """The field `s` of a queue entry."""
        name = name or self.name
        data = f"awq job 1\n{prefix}\n{queue}\n{name}\n".encode() + j
        out = ctypes.create_string_buffer(64)
        sodium.crypto_sign_detached(out, None, data, ctypes.c_ulonglong(len(data)), self._secret)
        return out.raw + name.encode()
