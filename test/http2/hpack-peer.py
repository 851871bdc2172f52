"""HPACK by another implementation (python3-hpack): encodes or decodes header lists, one JSON line in, one out.

{"encode": [[name, value], ...], "huffman": bool} → {"block": hex}
{"decode": hex} → {"fields": [[name, value], ...]}
One encoder and one decoder for the whole run, so that their dynamic tables live on from line to line.
"""

import json
import sys

import hpack

encoder = hpack.Encoder()
decoder = hpack.Decoder(max_header_list_size=1 << 24)

for line in sys.stdin:
    asked = json.loads(line)
    if "encode" in asked:
        fields = [(name.encode("latin1"), value.encode("latin1")) for name, value in asked["encode"]]
        print(json.dumps({"block": encoder.encode(fields, huffman=asked["huffman"]).hex()}), flush=True)
    else:
        fields = decoder.decode(bytes.fromhex(asked["decode"]), raw=True)
        print(json.dumps({"fields": [[name.decode("latin1"), value.decode("latin1")] for name, value, *_ in fields]}), flush=True)
