#!/usr/bin/python3
"""seeds.py FOLDER - what the fuzz targets start from: the vectors, and some templates."""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def put(target, name, data):
    folder = os.path.join(sys.argv[1], target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


for file in ("envelopes", "results", "bad"):
    with open(os.path.join(HERE, "..", "vectors", file + ".json"), encoding="utf-8") as f:
        for v in json.load(f):
            put("wire", file + "-" + v["name"], bytes.fromhex(v["hex"]))
            if "json" in v:
                put("wire", file + "-json-" + v["name"], json.dumps(v["json"]).encode())

INPUT = b'{"a":"x/y","n":18446744073709551615,"f":1.5,"t":true,"z":null,"o":{"b":[1]},"u":"\\u00dc"}'
for i, template in enumerate((b"{a}", b"https://h/{a}/{n}?q={u}#{f}", b"{{a}} {t}{z}", b"{o}", b"<{a", b"{nope}")):
    put("expand", "t%d" % i, template + b"\0" + INPUT)
    put("expand", "first%d" % i, template)

ANSWER = {"access_token": "a.b-c", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "r", "scope": "x y"}
for i, answer in enumerate((ANSWER, {**ANSWER, "expires_in": "3600"}, {**ANSWER, "error": None}, {"error": "invalid_grant"},
                            {"error": {"a": [1]}}, {"access_token": 7})):
    put("oauth", "answer%d" % i, json.dumps(answer).encode())
for i, challenge in enumerate((b'Bearer realm="a\\"b", error="invalid_token"', b"Negotiate abc==, Bearer error=insufficient_scope",
                               b'Basic realm="x", DPoP algs="ES256", error="invalid_token"', b"120", b"Wed, 21 Oct 2015 07:28:00 GMT")):
    put("oauth", "challenge%d" % i, challenge)

for i, limits in enumerate((b'RateLimit: "a";r=0;t=30, "b";r=0', b'RateLimit-Policy: "b";q=9;w=60', b"RateLimit: limit=9, remaining=0, reset=5",
                            b"X-RateLimit-Remaining: 0\nX-RateLimit-Reset: 1790000045.5")):
    put("ratelimit", "limits%d" % i, limits)

SETTINGS = {"id": "crm", "grant": "client_credentials", "token_url": "https://h/t", "client_id": "c", "auth": "post",
            "scopes": "a b", "default_lifetime_ms": 3600000, "refresh_margin_ms": 0, "hosts": ["*.B.c:1", "a"],
            "methods": ["get"], "paths": ["/v1/"], "insecure_http": False, "allow_private": True, "concurrency": 3}
put("connection", "all", json.dumps(SETTINGS).encode())
put("connection", "certificate", json.dumps({**SETTINGS, "auth": "tls_client_auth", "certificate": "A" * 43}).encode())
put("connection", "least", json.dumps({k: SETTINGS[k] for k in ("id", "grant", "token_url", "client_id", "hosts")}).encode())
