"""Records header blocks that Python's hpack has encoded, for test/http2/hpack.test.ts.

apt-get install python3-hpack && /usr/bin/python3 test/tools/record-hpack.py > test/http2/hpack-blocks.json
"""
import json
import random
import string

from hpack import Encoder

random.seed(7)
NAMES = ["x-a", "x-bb", "content-type", "user-agent", ":path", ":method", "cookie", "etag", "date", "grpc-status", "authorization",
         "x-a-long-header-name-of-forty-characters-"]
SAFE = string.ascii_letters + string.digits + " /;=-_.~%\"{}\xe9\xff"


def value():
    length = random.choice([0, 1, 5, 20, 60, 200])
    return "".join(random.choice(SAFE) for _ in range(length)).strip()


pool = [value() for _ in range(60)]
encoder = Encoder()
blocks = []
for i in range(150):
    if i % 50 == 49:
        encoder.header_table_size = random.choice([0, 64, 300, 4096])
    fields = []
    for _ in range(random.randint(1, 12)):
        fields.append((random.choice(NAMES), random.choice(pool) if random.random() < 0.7 else value()))
    fields.sort(key=lambda field: not field[0].startswith(":"))
    raw = [(name.encode("latin1"), text.encode("latin1")) for name, text in fields]
    blocks.append({"bytes": encoder.encode(raw, huffman=random.random() < 0.7).hex(), "fields": fields})
print("[\n" + ",\n".join(json.dumps(block) for block in blocks) + "\n]")
