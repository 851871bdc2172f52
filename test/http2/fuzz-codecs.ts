/**
 * Fuzzes the frame reader and the HPACK decoder: `node test/http2/fuzz-codecs.ts [CASES] [SEED]`.
 * Half of the cases are noise, half are well formed and then bent; each is also split at a drawn byte, and short ones at
 * every byte. What must hold: only typed errors with an RFC code, the same outcome however the bytes are cut, and no field
 * or frame that was not sent.
 */
import { pathToFileURL } from "node:url";
import { Http2Error } from "../../src/http2/errors.ts";
import { encodeFrame, FrameReader } from "../../src/http2/frames.ts";
import { HpackDecoder, HpackWriter } from "../../src/http2/hpack.ts";
import { huffmanDecode, huffmanEncode, huffmanLength } from "../../src/http2/huffman.ts";

/** A small generator of its own (mulberry32), so that a seed repeats a run anywhere. */
function draws(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

type Draw = (below: number) => number;

function noise(draw: Draw, most: number): Buffer {
  const bytes = Buffer.allocUnsafe(draw(most + 1));
  for (let i = 0; i < bytes.length; i++) bytes[i] = draw(256);
  return bytes;
}

/** Changes, drops or repeats a few bytes. */
function bend(draw: Draw, bytes: Buffer): Buffer {
  let bent = Buffer.from(bytes);
  for (let times = draw(4); times > 0 && bent.length > 0; times--) {
    const at = draw(bent.length);
    if (draw(3) > 0) bent[at] = draw(256);
    else bent = Buffer.concat([bent.subarray(0, at), bent.subarray(at + draw(2) * 2 - 1 < 0 ? 0 : at + 1)]);
  }
  return bent;
}

/** What a reader made of chunks, as text to compare. */
function read(chunks: readonly Buffer[]): string {
  let seen = "";
  const listener = {
    halted: false,
    onFrame(type: number, flags: number, id: number, bytes: Buffer, start: number, end: number): void {
      seen += `${type},${flags},${id},${bytes.toString("hex", start, end)};`;
    },
    onOversize(type: number, id: number, length: number): void {
      seen += `oversize ${type},${id},${length}`;
      this.halted = true;
    },
  };
  const reader = new FrameReader(listener);
  for (const chunk of chunks) if (!listener.halted) reader.push(chunk);
  return seen;
}

function same(left: string, right: string, what: string): void {
  if (left !== right) throw new Error(`${what}: ${left} is not ${right}`);
}

function frameCase(draw: Draw): void {
  let bytes: Buffer;
  if (draw(2) === 0) bytes = noise(draw, 60);
  else {
    const frames: Buffer[] = [];
    for (let n = 1 + draw(4); n > 0; n--)
      frames.push(encodeFrame(draw(12), draw(256), draw(2 ** 31), noise(draw, draw(8) === 0 ? 300 : 20)));
    bytes = bend(draw, Buffer.concat(frames));
  }
  const whole = read([bytes]);
  const cuts = bytes.length <= 40 ? Array.from({ length: bytes.length }, (_, i) => i) : [draw(bytes.length)];
  for (const cut of cuts) same(read([bytes.subarray(0, cut), bytes.subarray(cut)]), whole, `cut at ${cut}`);
  if (bytes.length <= 40) same(read(Array.from(bytes, (byte) => Buffer.from([byte]))), whole, "byte by byte");
}

function decode(decoder: HpackDecoder, bytes: Buffer): string {
  const fields: string[] = [];
  try {
    const block = decoder.decode(bytes, 0, bytes.length, fields, 4096, 50);
    if (fields.length > 100) throw new Error("more fields than allowed");
    return JSON.stringify([fields, block]);
  } catch (error) {
    if (error instanceof Http2Error && error.http2Code === 9) return "COMPRESSION_ERROR";
    throw error;
  }
}

const NAMES = [
  ":method",
  ":path",
  ":status",
  "cookie",
  "x-a",
  "content-type",
  "user-agent",
  "a-longer-name-of-a-field",
];

function hpackCase(draw: Draw): void {
  // Two alike, so that the second tells whether the first depended on anything but the bytes.
  const decoders = [new HpackDecoder(), new HpackDecoder()] as const;
  for (let blocks = 1 + draw(3); blocks > 0; blocks--) {
    let bytes: Buffer;
    if (draw(2) === 0) bytes = noise(draw, 80);
    else {
      const writer = new HpackWriter();
      const sent: string[] = [];
      for (let n = draw(6); n > 0; n--) {
        const name = NAMES[draw(NAMES.length)]!;
        let value = "";
        for (let k = draw(12); k > 0; k--) value += String.fromCharCode(33 + draw(94));
        writer.field(name, value);
        sent.push(name, value);
      }
      bytes = writer.take();
      const clean = JSON.parse(decode(new HpackDecoder(), bytes)) as [string[]];
      same(JSON.stringify(clean[0]), JSON.stringify(sent), "round trip");
      // With indexing, so that the dynamic table is at work.
      if (bytes.length > 0 && bytes[0]! < 0x10 && draw(2) === 0) bytes[0] = 0x40 | (bytes[0]! & 0x0f);
      bytes = bend(draw, bytes);
    }
    const [first, second] = decoders.map((decoder) => decode(decoder, bytes));
    same(first!, second!, "equal decoders");
    if (first === "COMPRESSION_ERROR") return;
  }
}

function huffmanCase(draw: Draw): void {
  const bytes = noise(draw, 40);
  const text = bytes.toString("latin1");
  const coded = Buffer.alloc(huffmanLength(text));
  if (huffmanEncode(text, coded, 0) !== coded.length) throw new Error("another length than foretold");
  const into = Buffer.alloc(((coded.length * 8) / 5 + 1) | 0);
  same(into.toString("latin1", 0, huffmanDecode(coded, 0, coded.length, into)), text, "Huffman");
  try {
    const size = huffmanDecode(bytes, 0, bytes.length, Buffer.alloc(((bytes.length * 8) / 5 + 1) | 0));
    if (size * 5 > bytes.length * 8) throw new Error("more symbols than bits");
  } catch (error) {
    if (!(error instanceof Http2Error)) throw error;
  }
}

/** Runs `cases`; throws, with the case's number in the message, at the first that does not hold. */
export function fuzzCodecs(cases: number, seed: number): void {
  const draw = draws(seed);
  for (let i = 0; i < cases; i++) {
    try {
      if (i % 8 < 3) frameCase(draw);
      else if (i % 8 < 7) hpackCase(draw);
      else huffmanCase(draw);
    } catch (error) {
      throw new Error(`seed ${seed}, case ${i}`, { cause: error });
    }
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [cases = 1_000_000, seed = 1] = process.argv.slice(2).map(Number);
  const started = performance.now();
  fuzzCodecs(cases, seed);
  process.stdout.write(`${cases} cases held in ${((performance.now() - started) / 1000).toFixed(1)} s\n`);
}
