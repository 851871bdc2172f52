/** Fields that answers repeat, encoded once: shorter by Huffman, and copied instead of written again. */
import { CONNECTION_FIELDS, TOKEN } from "./field-names.ts";
import { HpackWriter, isSecret } from "./hpack.ts";

/** Upstreams choose names and values, so both the table and what is kept in it are bounded. */
const MAX_NAMES = 2048;
const MAX_NAME_LENGTH = 256;
const MAX_VALUE_LENGTH = 256;
/** Values that take turns, as of two kinds of pages, must not cost the work of coding them each time. */
const WORTH_KEEPING = 4;

/** A name as others wrote it. */
export interface KnownName {
  /** As HTTP/2 wants it; empty where the field must not be sent. */
  readonly lower: string;
  readonly secret: boolean;
  /** The value that it had last. */
  value: string;
  /** How often it had it in a row. */
  hits: number;
  /** The whole field with that value, once it is worth its making. */
  block: Uint8Array | undefined;
}

const names = new Map<string, KnownName>();
const writer = new HpackWriter();

export function knownName(name: string): KnownName {
  let known = names.get(name);
  if (known === undefined) {
    let lower = name.toLowerCase();
    if (CONNECTION_FIELDS.has(lower) || !TOKEN.test(lower)) lower = "";
    known = { lower, secret: isSecret(lower), value: "", hits: 0, block: undefined };
    if (name.length > MAX_NAME_LENGTH) return known;
    if (names.size >= MAX_NAMES) names.clear();
    names.set(name, known);
  }
  return known;
}

/** Appends a field. Returns false (and writes nothing) when the value has control bytes. */
export function writeKnown(into: HpackWriter, known: KnownName, value: string): boolean {
  if (known.value === value) {
    const { block } = known;
    if (block !== undefined) {
      into.raw(block);
      return true;
    }
    if (value !== "" && ++known.hits >= WORTH_KEEPING) {
      writer.length = 0;
      if (!writer.field(known.lower, value, true)) return false;
      known.block = writer.take();
      into.raw(known.block);
      return true;
    }
  } else if (!known.secret && value.length <= MAX_VALUE_LENGTH) {
    known.value = value;
    known.hits = 0;
    known.block = undefined;
  }
  return into.field(known.lower, value);
}
