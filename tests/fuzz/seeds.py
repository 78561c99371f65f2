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
