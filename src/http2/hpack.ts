/** HPACK (RFC 7541): a decoder with its dynamic table, and a stateless encoder. */
import type { HeaderList } from "../exchange/headers.ts";
import { COMPRESSION_ERROR, Http2Error } from "./errors.ts";
import { STATIC_COUNT, STATIC_INDEX, STATIC_NAMES, STATIC_VALUES } from "./hpack-static.ts";
import { huffmanDecode, huffmanEncode, huffmanLength } from "./huffman.ts";

/** RFC 7541 §4.1: what an entry costs beyond its bytes. */
const ENTRY_OVERHEAD = 32;

/** Bytes that a field name may have: tchar without upper case (RFC 9113 §8.2.1). */
const NAME_BYTE = new Uint8Array(256);
for (const c of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") NAME_BYTE[c.charCodeAt(0)] = 1;

const SPACE = 0x20;
const TAB = 0x09;
const COLON = 0x3a;

function isFieldName(bytes: Uint8Array, start: number, end: number): boolean {
  let i = start;
  if (bytes[i] === COLON) i++;
  if (i >= end) return false;
  for (; i < end; i++) if (NAME_BYTE[bytes[i]!] === 0) return false;
  return true;
}

function isFieldValue(bytes: Uint8Array, start: number, end: number): boolean {
  if (start === end) return true;
  const first = bytes[start]!;
  const last = bytes[end - 1]!;
  if (first === SPACE || last === SPACE || first === TAB || last === TAB) return false;
  for (let i = start; i < end; i++) {
    const c = bytes[i]!;
    if ((c < SPACE && c !== TAB) || c === 0x7f) return false;
  }
  return true;
}

/** Where Huffman strings are unpacked; shared, so that an idle connection holds none. */
let scratch: Buffer = Buffer.allocUnsafe(4096);

/** What one header block came to; the decoder reuses the object. */
export interface DecodedBlock {
  /** Some name or value has bytes that RFC 9113 §8.2.1 forbids: the message is malformed, the table is intact. */
  malformed: boolean;
  /** More fields or bytes than allowed; the list holds only what came before. */
  tooLarge: boolean;
  tooMany: boolean;
  /** Whether the dynamic table changed, so that equal bytes need not mean the same next time. */
  mutated: boolean;
}

/** Decodes header blocks of one connection, in order. Throws COMPRESSION_ERROR, after which the connection is over. */
export class HpackDecoder {
  readonly block: DecodedBlock = { malformed: false, tooLarge: false, tooMany: false, mutated: false };
  /** Changes whenever the dynamic table does. */
  generation = 0;
  #names: string[] = [];
  #values: string[] = [];
  #bad: boolean[] = [];
  #first = 0;
  #size = 0;
  #max: number;
  /** What our SETTINGS allow the peer's encoder. */
  #limit: number;
  #mustShrink = false;

  #at = 0;
  #text = "";
  #textOk = true;

  constructor(tableBytes: number = 4096) {
    // Until our SETTINGS are acknowledged the peer may use the default (RFC 7541 §4.2).
    this.#limit = Math.max(tableBytes, 4096);
    this.#max = 4096;
  }

  /** The peer has acknowledged a SETTINGS_HEADER_TABLE_SIZE of ours. */
  setLimit(tableBytes: number): void {
    this.#limit = tableBytes;
    if (tableBytes < this.#max) this.#mustShrink = true;
  }

  /**
   * Appends the fields of the block `bytes[start, end)` to `into`. Fields past `maxBytes` (names and values, plus 4 each
   * as in HTTP/1) or `maxFields` are decoded for the table's sake and dropped.
   */
  decode(
    bytes: Buffer,
    start: number,
    end: number,
    into: HeaderList,
    maxBytes: number,
    maxFields: number,
  ): DecodedBlock {
    const block = this.block;
    block.malformed = block.tooLarge = block.tooMany = block.mutated = false;
    let size = 0;
    let fields = 0;
    this.#at = start;
    while (this.#at < end) {
      const first = bytes[this.#at]!;
      let name: string;
      let value: string;
      let ok = true;
      if (first >= 0x80) {
        const index = this.#integer(bytes, end, 0x7f);
        if (index <= STATIC_COUNT) {
          if (index === 0) throw new Http2Error(COMPRESSION_ERROR, "index 0");
          name = STATIC_NAMES[index]!;
          value = STATIC_VALUES[index]!;
        } else {
          const slot = this.#slot(index);
          name = this.#names[slot]!;
          value = this.#values[slot]!;
          ok = !this.#bad[slot];
        }
      } else if ((first & 0xe0) === 0x20) {
        this.#resize(this.#integer(bytes, end, 0x1f), fields > 0);
        continue;
      } else {
        const indexing = first >= 0x40;
        const index = this.#integer(bytes, end, indexing ? 0x3f : 0x0f);
        if (index === 0) {
          this.#string(bytes, end, true);
          name = this.#text;
          ok = this.#textOk;
        } else if (index <= STATIC_COUNT) name = STATIC_NAMES[index]!;
        else name = this.#names[this.#slot(index)]!;
        this.#string(bytes, end, false);
        value = this.#text;
        ok = ok && this.#textOk;
        if (indexing) {
          this.#insert(name, value, !ok);
          block.mutated = true;
        }
      }
      if (this.#mustShrink)
        throw new Http2Error(COMPRESSION_ERROR, "no table size update after a smaller limit");
      fields++;
      size += name.length + value.length + 4;
      if (size > maxBytes) block.tooLarge = true;
      else if (fields > maxFields) block.tooMany = true;
      else {
        if (!ok) block.malformed = true;
        into.push(name, value);
      }
    }
    return block;
  }

  #integer(bytes: Buffer, end: number, mask: number): number {
    let value = bytes[this.#at++]! & mask;
    if (value < mask) return value;
    let scale = 1;
    for (;;) {
      if (this.#at >= end) throw new Http2Error(COMPRESSION_ERROR, "integer cut short");
      const byte = bytes[this.#at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
      // No length or index comes near 2^28; a longer one is an attack or noise.
      if (scale > 2 ** 28) throw new Http2Error(COMPRESSION_ERROR, "integer too long");
    }
  }

  #string(bytes: Buffer, end: number, isName: boolean): void {
    if (this.#at >= end) throw new Http2Error(COMPRESSION_ERROR, "string cut short");
    const coded = bytes[this.#at]! >= 0x80;
    const length = this.#integer(bytes, end, 0x7f);
    const start = this.#at;
    const stop = start + length;
    if (stop > end) throw new Http2Error(COMPRESSION_ERROR, "string cut short");
    this.#at = stop;
    if (!coded) {
      this.#textOk = isName ? isFieldName(bytes, start, stop) : isFieldValue(bytes, start, stop);
      this.#text = bytes.toString("latin1", start, stop);
      return;
    }
    // The shortest code has 5 bits.
    const room = ((length * 8) / 5 + 1) | 0;
    if (scratch.length < room) scratch = Buffer.allocUnsafe(room);
    const size = huffmanDecode(bytes, start, stop, scratch);
    this.#textOk = isName ? isFieldName(scratch, 0, size) : isFieldValue(scratch, 0, size);
    this.#text = scratch.toString("latin1", 0, size);
  }

  /** Where the entry of a dynamic index lies; the newest is 62. */
  #slot(index: number): number {
    const slot = this.#names.length - (index - STATIC_COUNT);
    if (slot < this.#first) throw new Http2Error(COMPRESSION_ERROR, `index ${index} is beyond the table`);
    return slot;
  }

  #insert(name: string, value: string, bad: boolean): void {
    this.generation++;
    this.#size += name.length + value.length + ENTRY_OVERHEAD;
    this.#names.push(name);
    this.#values.push(value);
    this.#bad.push(bad);
    this.#evict();
  }

  #evict(): void {
    while (this.#size > this.#max) {
      const slot = this.#first++;
      this.#size -= this.#names[slot]!.length + this.#values[slot]!.length + ENTRY_OVERHEAD;
      this.#names[slot] = this.#values[slot] = "";
    }
    if (this.#first > 64 && this.#first > this.#names.length / 2) {
      this.#names = this.#names.slice(this.#first);
      this.#values = this.#values.slice(this.#first);
      this.#bad = this.#bad.slice(this.#first);
      this.#first = 0;
    }
  }

  #resize(bytes: number, late: boolean): void {
    if (late) throw new Http2Error(COMPRESSION_ERROR, "table size update after a field");
    if (bytes > this.#limit) throw new Http2Error(COMPRESSION_ERROR, "table size beyond our SETTINGS");
    this.#mustShrink = false;
    this.block.mutated = true;
    if (bytes === this.#max) return;
    this.#max = bytes;
    this.generation++;
    this.#evict();
  }
}

/** Fields whose values a hop must not put into a table (RFC 7541 §7.1.3). */
const SECRET: ReadonlySet<string> = new Set(["authorization", "cookie", "set-cookie", "proxy-authorization"]);

/** Whether a field's value must not be kept where other requests could meet it. */
export function isSecret(name: string): boolean {
  return SECRET.has(name);
}

/**
 * Encodes without a dynamic table: no state to keep in step, blocks that fit every connection and can be kept, and no
 * way for one request's secrets to be guessed by the size of another's (RFC 7541 §7.1).
 */
export class HpackWriter {
  bytes: Buffer = Buffer.allocUnsafe(4096);
  length = 0;

  /** A copy of what was written; the writer starts anew. */
  take(): Buffer {
    const block = Buffer.allocUnsafe(this.length);
    this.bytes.copy(block, 0, 0, this.length);
    this.length = 0;
    return block;
  }

  /**
   * Appends a field. `name` MUST be in lower case. Returns false (and writes nothing) when the value has control bytes.
   * `compact` takes more time to make it shorter where Huffman does.
   */
  field(name: string, value: string, compact: boolean = false): boolean {
    const mark = this.length;
    this.#room(name.length + value.length + 24);
    const index = STATIC_INDEX.get(name);
    if (index === undefined) {
      this.bytes[this.length++] = SECRET.has(name) ? 0x10 : 0;
      this.#string(name, compact);
    } else {
      if (STATIC_VALUES[index] !== "") {
        for (let i = index; STATIC_NAMES[i] === name; i++) {
          if (STATIC_VALUES[i] === value) {
            this.bytes[this.length++] = 0x80 | i;
            return true;
          }
        }
      }
      this.#integer(index, 0x0f, SECRET.has(name) ? 0x10 : 0);
    }
    if (this.#string(value, compact)) return true;
    this.length = mark;
    return false;
  }

  /** False when a byte may not stand in a field; then what was written is to be dropped. */
  #string(text: string, compact: boolean): boolean {
    const start = this.length;
    this.#integer(text.length, 0x7f, 0);
    if (!this.#text(text)) return false;
    const shorter = compact ? huffmanLength(text) : text.length;
    if (shorter >= text.length) return true;
    this.length = start;
    this.#integer(shorter, 0x7f, 0x80);
    this.length = huffmanEncode(text, this.bytes, this.length);
    return true;
  }

  /** Copies what was encoded before. */
  raw(block: Uint8Array): void {
    const size = block.length;
    this.#room(size);
    const bytes = this.bytes;
    const at = this.length;
    // A call into the runtime costs more than the bytes of one field.
    if (size < 64) for (let i = 0; i < size; i++) bytes[at + i] = block[i]!;
    else bytes.set(block, at);
    this.length = at + size;
  }

  #integer(value: number, mask: number, prefix: number): void {
    const bytes = this.bytes;
    if (value < mask) {
      bytes[this.length++] = prefix | value;
      return;
    }
    bytes[this.length++] = prefix | mask;
    let left = value - mask;
    while (left >= 0x80) {
      bytes[this.length++] = (left & 0x7f) | 0x80;
      left >>>= 7;
    }
    bytes[this.length++] = left;
  }

  /** False when a byte may not stand in a field. */
  #text(text: string): boolean {
    const bytes = this.bytes;
    let at = this.length;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if ((c < SPACE && c !== TAB) || c === 0x7f || c > 0xff) return false;
      bytes[at++] = c;
    }
    this.length = at;
    return true;
  }

  #room(bytes: number): void {
    if (this.length + bytes <= this.bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.bytes.length * 2, this.length + bytes));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }
}
