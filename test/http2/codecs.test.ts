import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeFrame,
  encodeFrame,
  type Frame,
  FrameReader,
  MAX_FRAME_BYTES,
} from "../../src/http2/frames.ts";
import { HpackDecoder, HpackWriter } from "../../src/http2/hpack.ts";
import { huffmanDecode, huffmanEncode, huffmanLength } from "../../src/http2/huffman.ts";

function read(chunks: readonly Buffer[]): { frames: Frame[]; oversize: number } {
  const frames: Frame[] = [];
  let oversize = 0;
  const reader = new FrameReader({
    halted: false,
    onFrame: (type, flags, streamId, bytes, start, end) =>
      frames.push({ type, flags, streamId, payload: Buffer.from(bytes.subarray(start, end)) }),
    onOversize: () => oversize++,
  });
  for (const chunk of chunks) reader.push(chunk);
  return { frames, oversize };
}

const latin1 = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString("latin1"));

describe("frames", () => {
  const frames = [
    encodeFrame(4, 0, 0, Buffer.alloc(12, 3)),
    encodeFrame(0, 1, 0x7fffffff, Buffer.from("some bytes")),
    encodeFrame(8, 0, 1, Buffer.from([0, 0, 1, 0])),
    encodeFrame(4, 1, 0),
    encodeFrame(0, 0, 5, Buffer.alloc(300, 9)),
  ];
  const whole = Buffer.concat(frames);

  test("split at every byte, and into single bytes, they come out the same", () => {
    const expected = read([whole]).frames;
    expect(expected.length).toBe(frames.length);
    for (let i = 0; i <= whole.length; i++)
      expect(read([whole.subarray(0, i), whole.subarray(i)]).frames).toEqual(expected);
    expect(read(Array.from(whole, (byte) => Buffer.from([byte]))).frames).toEqual(expected);
  });

  test("any frames, cut anywhere, come out the same", () => {
    const frame = fc.record({
      type: fc.nat(255),
      flags: fc.nat(255),
      streamId: fc.nat(0x7fffffff),
      payload: fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    });
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 20 }), fc.array(fc.nat(3000)), (list, cuts) => {
        const bytes = Buffer.concat(list.map((f) => encodeFrame(f.type, f.flags, f.streamId, f.payload)));
        const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
        const chunks = at.slice(1).map((end, i) => bytes.subarray(at[i], end));
        expect(read(chunks).frames).toEqual(list);
      }),
    );
  });

  test("a partial frame is undefined, one that is too long is told", () => {
    for (let i = 0; i < frames[1]!.length; i++)
      expect(decodeFrame(frames[1]!.subarray(0, i))).toBeUndefined();
    const long = encodeFrame(0, 0, 1, Buffer.alloc(MAX_FRAME_BYTES + 1));
    expect(read([long]).oversize).toBe(1);
    expect(read([long.subarray(0, 4), long.subarray(4)]).oversize).toBe(1);
  });
});

describe("Huffman", () => {
  const encode = (text: string): Buffer => {
    const bytes = Buffer.alloc(huffmanLength(text));
    expect(huffmanEncode(text, bytes, 0)).toBe(bytes.length);
    return bytes;
  };

  test("RFC 7541 Appendix C's strings", () => {
    expect(encode("www.example.com").toString("hex")).toBe("f1e3c2e5f23a6ba0ab90f4ff");
    expect(encode("no-cache").toString("hex")).toBe("a8eb10649cbf");
    expect(encode("foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1").toString("hex")).toBe(
      "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    );
  });

  test("any bytes survive the way there and back", () => {
    fc.assert(
      fc.property(latin1, (text) => {
        const bytes = encode(text);
        const out = Buffer.alloc(text.length * 2 + 8);
        const size = huffmanDecode(bytes, 0, bytes.length, out);
        expect(out.toString("latin1", 0, size)).toBe(text);
      }),
    );
  });

  test("noise throws a COMPRESSION_ERROR or decodes, and nothing else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
        try {
          huffmanDecode(noise, 0, noise.length, Buffer.alloc(200));
        } catch (error) {
          expect(error).toMatchObject({ http2Code: 9 });
        }
      }),
    );
  });
});

describe("HPACK", () => {
  const decode = (decoder: HpackDecoder, hex: string): string[] => {
    const bytes = Buffer.from(hex, "hex");
    const list: string[] = [];
    decoder.decode(bytes, 0, bytes.length, list, 1e6, 1e4);
    return list;
  };

  test("RFC 7541 Appendix C.4: requests with Huffman, one table", () => {
    const decoder = new HpackDecoder();
    const base = [":method", "GET", ":scheme", "http", ":path", "/", ":authority", "www.example.com"];
    expect(decode(decoder, "828684418cf1e3c2e5f23a6ba0ab90f4ff")).toEqual(base);
    expect(decode(decoder, "828684be5886a8eb10649cbf")).toEqual([...base, "cache-control", "no-cache"]);
    expect(decode(decoder, "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")).toEqual([
      ":method",
      "GET",
      ":scheme",
      "https",
      ":path",
      "/index.html",
      ":authority",
      "www.example.com",
      "custom-key",
      "custom-value",
    ]);
  });

  test("RFC 7541 Appendix C.5: entries are evicted from a table of 256 bytes", () => {
    const decoder = new HpackDecoder();
    expect(decode(decoder, "3fe101")).toEqual([]);
    const first = decode(
      decoder,
      "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
    );
    expect(first.slice(0, 4)).toEqual([":status", "302", "cache-control", "private"]);
    const second = decode(decoder, "4803333037c1c0bf");
    expect(second).toEqual([":status", "307", ...first.slice(2)]);
    expect(() => decode(decoder, "c2")).toThrow("beyond the table");
  });

  test("what the writer writes, the decoder reads", () => {
    const name = fc.stringMatching(/^[a-z0-9-]{1,30}$/);
    const value = fc.stringMatching(/^[!-~\xa0-\xff]{0,300}$/);
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 20 }), (pairs) => {
        const writer = new HpackWriter();
        for (const [n, v] of pairs) expect(writer.field(n, v)).toBe(true);
        const block = writer.take();
        const list: string[] = [];
        const result = new HpackDecoder().decode(block, 0, block.length, list, 1e6, 1e4);
        expect(list).toEqual(pairs.flat());
        expect(result).toEqual({ malformed: false, tooLarge: false, tooMany: false, mutated: false });
      }),
    );
  });

  test("noise throws a COMPRESSION_ERROR or decodes, and nothing else", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 10 }), (blocks) => {
        const decoder = new HpackDecoder();
        try {
          for (const noise of blocks) decoder.decode(Buffer.from(noise), 0, noise.length, [], 1e4, 100);
        } catch (error) {
          expect(error).toMatchObject({ http2Code: 9 });
        }
      }),
      { numRuns: 500 },
    );
  });

  test("a block cut anywhere throws or holds fewer fields", () => {
    const writer = new HpackWriter();
    for (const [n, v] of [
      [":method", "GET"],
      ["x-test", "value"],
      ["accept", "*/*"],
    ] as const)
      writer.field(n, v);
    const block = writer.take();
    for (let i = 0; i < block.length; i++) {
      const list: string[] = [];
      try {
        new HpackDecoder().decode(block, 0, i, list, 1e4, 100);
      } catch (error) {
        expect(error).toMatchObject({ http2Code: 9 });
      }
      expect(list.length).toBeLessThan(6);
    }
  });
});
