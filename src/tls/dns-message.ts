/** DNS messages (RFC 1035 §4): the part of them that certificates need. A codec: no I/O. */
import { EdgeError } from "../errors.ts";

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  TXT: 16,
  AAAA: 28,
  OPT: 41,
  TSIG: 250,
  ANY: 255,
  CAA: 257,
} as const;

export const CLASS = { IN: 1, NONE: 254, ANY: 255 } as const;

/** RFC 1035 §4.1.1, RFC 2136 §2.2. */
export const RCODE_NAMES: readonly string[] = [
  "NOERROR",
  "FORMERR",
  "SERVFAIL",
  "NXDOMAIN",
  "NOTIMP",
  "REFUSED",
  "YXDOMAIN",
  "YXRRSET",
  "NXRRSET",
  "NOTAUTH",
  "NOTZONE",
];

export const OPCODE = { QUERY: 0, UPDATE: 5 } as const;

export interface DnsQuestion {
  /** Lower case, without the trailing dot; "" is the root. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

export interface DnsRecord extends DnsQuestion {
  readonly ttl: number;
  /** As on the wire, but with names in it written out. */
  readonly data: Uint8Array;
}

export interface DnsMessage {
  readonly id: number;
  readonly opcode: number;
  readonly rcode: number;
  readonly response: boolean;
  readonly authoritative: boolean;
  readonly truncated: boolean;
  readonly recursionDesired: boolean;
  /** In an update: the zone. */
  readonly questions: readonly DnsQuestion[];
  /** In an update: the prerequisites. */
  readonly answers: readonly DnsRecord[];
  /** In an update: the changes. */
  readonly authorities: readonly DnsRecord[];
  readonly additionals: readonly DnsRecord[];
}

export interface DecodedMessage extends DnsMessage {
  /** Where the last additional record begins, which is what a TSIG leaves out of its digest. */
  readonly lastRecordAt: number;
}

const MAX_NAME = 255;

/** Writes names in full: no message of ours is so long that compression would matter. */
export function encodeMessage(message: DnsMessage): Uint8Array {
  const { questions, answers, authorities, additionals } = message;
  const flags =
    (message.response ? 0x8000 : 0) |
    (message.opcode << 11) |
    (message.authoritative ? 0x0400 : 0) |
    (message.truncated ? 0x0200 : 0) |
    (message.recursionDesired ? 0x0100 : 0) |
    message.rcode;
  const counts = [questions, answers, authorities, additionals].map(({ length }) => length);
  const parts: Uint8Array[] = [uint16(message.id, flags, ...counts)];
  for (const { name, type, class: klass } of questions) parts.push(encodeName(name), uint16(type, klass));
  for (const record of [...answers, ...authorities, ...additionals]) parts.push(encodeRecord(record));
  return Buffer.concat(parts);
}

function encodeRecord({ name, type, class: klass, ttl, data }: DnsRecord): Uint8Array {
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(klass, 2);
  fixed.writeUInt32BE(ttl, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([encodeName(name), fixed, data]);
}

/** Big-endian 16-bit numbers. */
export function uint16(...values: number[]): Uint8Array {
  const bytes = Buffer.alloc(values.length * 2);
  values.forEach((value, index) => {
    bytes.writeUInt16BE(value, index * 2);
  });
  return bytes;
}

/** Throws PROTOCOL_ERROR where a label or the whole is too long. */
export function encodeName(name: string): Uint8Array {
  const labels = name === "" ? [] : name.toLowerCase().replace(/\.$/, "").split(".");
  const parts: Uint8Array[] = [];
  for (const label of labels) {
    const bytes = Buffer.from(label, "latin1");
    if (bytes.length === 0 || bytes.length > 63) throw malformed(`a label of ${bytes.length} bytes`);
    parts.push(Uint8Array.of(bytes.length), bytes);
  }
  parts.push(Uint8Array.of(0));
  const encoded = Buffer.concat(parts);
  if (encoded.length > MAX_NAME) throw malformed("a name of more than 255 bytes");
  return encoded;
}

/** Reads a whole message. Throws PROTOCOL_ERROR where it is none: a datagram is complete or broken. */
export function decodeMessage(bytes: Uint8Array): DecodedMessage {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length < 12) throw malformed("no header");
  const flags = view.readUInt16BE(2);
  const reader: Reader = { view, at: 12 };
  const questions = times(view.readUInt16BE(4), () => readQuestion(reader));
  const answers = times(view.readUInt16BE(6), () => readRecord(reader));
  const authorities = times(view.readUInt16BE(8), () => readRecord(reader));
  let lastRecordAt = view.length;
  const additionals = times(view.readUInt16BE(10), () => {
    lastRecordAt = reader.at;
    return readRecord(reader);
  });
  return {
    id: view.readUInt16BE(0),
    opcode: (flags >> 11) & 15,
    rcode: flags & 15,
    response: (flags & 0x8000) !== 0,
    authoritative: (flags & 0x0400) !== 0,
    truncated: (flags & 0x0200) !== 0,
    recursionDesired: (flags & 0x0100) !== 0,
    questions,
    answers,
    authorities,
    additionals,
    lastRecordAt,
  };
}

interface Reader {
  readonly view: Buffer;
  at: number;
}

/** The counts of a header are a stranger's: each turn reads at least one byte or throws, so they bound themselves. */
function times<T>(count: number, read: () => T): T[] {
  const all: T[] = [];
  for (let i = 0; i < count; i++) all.push(read());
  return all;
}

function take(reader: Reader, count: number): number {
  const at = reader.at;
  if (at + count > reader.view.length) throw malformed("it ends too early");
  reader.at = at + count;
  return at;
}

function readQuestion(reader: Reader): DnsQuestion {
  const name = readName(reader);
  const at = take(reader, 4);
  return { name, type: reader.view.readUInt16BE(at), class: reader.view.readUInt16BE(at + 2) };
}

function readRecord(reader: Reader): DnsRecord {
  const name = readName(reader);
  const at = take(reader, 10);
  const { view } = reader;
  const type = view.readUInt16BE(at);
  const start = take(reader, view.readUInt16BE(at + 8));
  const raw = view.subarray(start, reader.at);
  return {
    name,
    type,
    class: view.readUInt16BE(at + 2),
    ttl: view.readUInt32BE(at + 4),
    data: writtenOut(view, type, start, raw),
  };
}

/** Names in the data of old types may point elsewhere in the message (RFC 3597 §4). */
function writtenOut(view: Buffer, type: number, start: number, raw: Buffer): Uint8Array {
  const inner: Reader = { view, at: start };
  const end = start + raw.length;
  const names = type === TYPE.SOA ? 2 : type === TYPE.NS || type === TYPE.CNAME ? 1 : 0;
  if (names === 0) return Uint8Array.from(raw);
  const parts: Uint8Array[] = times(names, () => encodeName(readName(inner)));
  if (inner.at > end) throw malformed("a name leaves its record");
  parts.push(view.subarray(inner.at, end));
  return Buffer.concat(parts);
}

function readName(reader: Reader): string {
  const { view } = reader;
  const labels: string[] = [];
  let at = reader.at;
  let end: number | undefined;
  let length = 1;
  for (;;) {
    const size = view[at];
    if (size === undefined) throw malformed("a name ends too early");
    if (size >= 0xc0) {
      const low = view[at + 1];
      if (low === undefined) throw malformed("a name ends too early");
      end ??= at + 2;
      const target = ((size & 0x3f) << 8) | low;
      // Only backwards, so that no name goes round in circles.
      if (target >= at) throw malformed("a name points forwards");
      at = target;
      continue;
    }
    if (size > 63) throw malformed("a label of an unknown kind");
    if (size === 0) break;
    if (at + 1 + size > view.length) throw malformed("a name ends too early");
    length += size + 1;
    if (length > MAX_NAME) throw malformed("a name of more than 255 bytes");
    labels.push(labelText(view.subarray(at + 1, at + 1 + size)));
    at += 1 + size;
  }
  reader.at = end ?? at + 1;
  return labels.join(".");
}

/** A dot inside of a label cannot be told from one between two, so no name of ours has one; such a label becomes a foreign one. */
function labelText(bytes: Buffer): string {
  return bytes.toString("latin1").toLowerCase().replaceAll(".", "\u00b7");
}

export function malformed(how: string): EdgeError {
  return new EdgeError("PROTOCOL_ERROR", `not a DNS message: ${how}`, { source: "upstream", retry: "any" });
}
