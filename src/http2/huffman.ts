/** The Huffman code of RFC 7541 Appendix B, driven by tables in both directions. */
import { COMPRESSION_ERROR, Http2Error } from "./errors.ts";

/**
 * Code lengths of symbols 0–255 and EOS (256). The code is canonical: within a length, codes rise with the symbol, so
 * the lengths say everything.
 */
const LENGTHS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28,
  28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7,
  8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19,
  13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
  28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21,
  22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23,
  22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25,
  25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const EOS = 256;
const CODES = new Uint32Array(257);
const BITS = Uint8Array.from(LENGTHS);

/**
 * Decoding goes eight bits at a time. An entry is `symbol << 4 | bits used` for a code that ends within these bits,
 * -(next table) for one that goes on, and 0 for none.
 */
const TABLES: Int32Array[] = [];

build();

function build(): void {
  const order = LENGTHS.map((_, symbol) => symbol).sort((a, b) => LENGTHS[a]! - LENGTHS[b]! || a - b);
  let code = 0;
  let length = LENGTHS[order[0]!]!;
  TABLES.push(new Int32Array(256));
  for (const symbol of order) {
    code *= 2 ** (LENGTHS[symbol]! - length);
    length = LENGTHS[symbol]!;
    CODES[symbol] = code;
    enter(symbol, code, length);
    code++;
  }
}

function enter(symbol: number, code: number, length: number): void {
  let table = TABLES[0]!;
  let left = length;
  while (left > 8) {
    const byte = (code >>> (left - 8)) & 0xff;
    if (table[byte] === 0) {
      TABLES.push(new Int32Array(256));
      table[byte] = -(TABLES.length - 1);
    }
    table = TABLES[-table[byte]!]!;
    left -= 8;
  }
  const first = (code << (8 - left)) & 0xff;
  table.fill((symbol << 4) | left, first, first + (1 << (8 - left)));
}

/** How many bytes `text` (latin1) takes when encoded. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += BITS[text.charCodeAt(i) & 0xff]!;
  return (bits + 7) >>> 3;
}

/** Writes the code of `text` (latin1) at `at`; returns where it ends. The caller has made room by {@link huffmanLength}. */
export function huffmanEncode(text: string, into: Uint8Array, at: number): number {
  let held = 0;
  let bits = 0;
  let end = at;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i) & 0xff;
    let left = BITS[symbol]!;
    const code = CODES[symbol]!;
    // In two steps, since 7 bits held and 28 of code do not fit in 32.
    if (left > 16) {
      held = ((held << (left - 16)) | (code >>> 16)) >>> 0;
      bits += left - 16;
      left = 16;
      while (bits >= 8) {
        bits -= 8;
        into[end++] = held >>> bits;
      }
    }
    held = ((held << left) | (code & ((1 << left) - 1))) >>> 0;
    bits += left;
    while (bits >= 8) {
      bits -= 8;
      into[end++] = held >>> bits;
    }
  }
  // The rest is filled with the most significant bits of EOS, which are ones.
  if (bits > 0) into[end++] = (held << (8 - bits)) | (0xff >>> bits);
  return end;
}

/**
 * Decodes `bytes[start, end)` into `into` and returns the decoded length. `into` MUST have room for 8/5 of the input.
 * Throws COMPRESSION_ERROR for EOS within, padding longer than 7 bits or padding that is not all ones (RFC 7541 §5.2).
 */
export function huffmanDecode(bytes: Uint8Array, start: number, end: number, into: Uint8Array): number {
  const root = TABLES[0]!;
  let table = root;
  let held = 0;
  let bits = 0;
  let pending = 0; // bits since the last whole symbol
  let out = 0;
  for (let i = start; i < end; i++) {
    held = ((held << 8) | bytes[i]!) & 0xffff;
    bits += 8;
    pending += 8;
    while (bits >= 8) {
      const entry = table[(held >>> (bits - 8)) & 0xff]!;
      if (entry > 0) {
        if (entry >>> 4 === EOS) throw new Http2Error(COMPRESSION_ERROR, "EOS in a Huffman string");
        into[out++] = entry >>> 4;
        bits -= entry & 0xf;
        pending = bits;
        table = root;
      } else if (entry < 0) {
        table = TABLES[-entry]!;
        bits -= 8;
      } else throw new Http2Error(COMPRESSION_ERROR, "no such Huffman code");
    }
  }
  // What is left is less than a byte: more symbols that fit, or padding.
  while (bits > 0) {
    const entry = table[(held << (8 - bits)) & 0xff]!;
    if (entry <= 0 || (entry & 0xf) > bits || entry >>> 4 === EOS) break;
    into[out++] = entry >>> 4;
    bits -= entry & 0xf;
    pending = bits;
    table = root;
  }
  if (pending > 7) throw new Http2Error(COMPRESSION_ERROR, "Huffman padding longer than 7 bits");
  if ((held & ((1 << bits) - 1)) !== (1 << bits) - 1)
    throw new Http2Error(COMPRESSION_ERROR, "Huffman padding is not EOS");
  return out;
}
