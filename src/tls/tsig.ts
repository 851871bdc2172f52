/** Signed DNS messages (RFC 8945): a shared key says who asks for a change, and who says that it was made. */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { TsigKeyConfig } from "../config/config.ts";
import {
  CLASS,
  type DnsMessage,
  type DnsRecord,
  decodeMessage,
  encodeMessage,
  encodeName,
  TYPE,
  uint16,
} from "./dns-message.ts";
import { dnsFailed } from "./dns-wire.ts";

export interface SignedMessage {
  readonly bytes: Uint8Array;
  /** Part of the digest of the answer. */
  readonly mac: Uint8Array;
}

/** RFC 8945 §10: how far clocks may be apart, in seconds. */
const FUDGE_S = 300;

/** RFC 8945 §3, §4.3.3. */
const ERRORS: Readonly<Record<number, string>> = {
  16: "BADSIG: it has another secret under this name",
  17: "BADKEY: it does not know a key of this name and algorithm",
  18: "BADTIME: its clock and ours are more than five minutes apart",
  22: "BADTRUNC: it wants a longer signature",
};

/** `wall` in milliseconds. */
export function signMessage(message: DnsMessage, key: TsigKeyConfig, wall: number): SignedMessage {
  const bytes = encodeMessage(message);
  const time = uint48(Math.floor(wall / 1000));
  const mac = hmac(key, [bytes, variables(key, time, FUDGE_S, 0, new Uint8Array())]);
  const record: DnsRecord = {
    name: key.name,
    type: TYPE.TSIG,
    class: CLASS.ANY,
    ttl: 0,
    data: Buffer.concat([
      encodeName(key.algorithm),
      time,
      uint16(FUDGE_S, mac.length),
      mac,
      uint16(message.id, 0, 0),
    ]),
  };
  const signed = { ...message, additionals: [...message.additionals, record] };
  return { bytes: encodeMessage(signed), mac };
}

/** Throws DNS_FAILED unless `answer` is signed with `key` as the answer to the message that had `requestMac`. */
export function verifyAnswer(
  answer: Uint8Array,
  key: TsigKeyConfig,
  requestMac: Uint8Array,
  wall: number,
): void {
  const message = decodeMessage(answer);
  const record = message.additionals.at(-1);
  if (record?.type !== TYPE.TSIG) throw dnsFailed("the name server's answer is not signed");
  const view = Buffer.from(record.data);
  let at = 0;
  while ((view[at] ?? 0) > 0) at += 1 + (view[at] ?? 0);
  at += 1;
  if (view.length < at + 10) throw dnsFailed("the name server's answer has a broken signature");
  const time = view.subarray(at, at + 6);
  const fudge = view.readUInt16BE(at + 6);
  const size = view.readUInt16BE(at + 8);
  if (view.length < at + 16 + size) throw dnsFailed("the name server's answer has a broken signature");
  const mac = view.subarray(at + 10, at + 10 + size);
  const error = view.readUInt16BE(at + 12 + size);
  const other = view.subarray(at + 16 + size);
  // What it says of our signature comes unsigned, as it could not check ours.
  if (error !== 0)
    throw dnsFailed(`the name server refuses the key: ${ERRORS[error] ?? `TSIG error ${error}`}`);
  // RFC 8945 §5.3: as it was before the record was added, with our own id.
  const bare = Buffer.from(answer.subarray(0, message.lastRecordAt));
  bare.writeUInt16BE(view.readUInt16BE(at + 10 + size), 0);
  bare.writeUInt16BE(message.additionals.length - 1, 10);
  const digest = [uint16(requestMac.length), requestMac, bare, variables(key, time, fudge, error, other)];
  const expected = hmac(key, digest);
  if (expected.length !== mac.length || !timingSafeEqual(expected, mac)) {
    throw dnsFailed("the name server's answer is signed with another key");
  }
  if (Math.abs(wall / 1000 - time.readUIntBE(0, 6)) > fudge) {
    throw dnsFailed("the name server's clock and ours are more than five minutes apart");
  }
}

/** RFC 8945 §4.3.3. */
function variables(
  key: TsigKeyConfig,
  time: Uint8Array,
  fudge: number,
  error: number,
  other: Uint8Array,
): Uint8Array {
  return Buffer.concat([
    encodeName(key.name),
    uint16(CLASS.ANY, 0, 0),
    encodeName(key.algorithm),
    time,
    uint16(fudge, error, other.length),
    other,
  ]);
}

function hmac({ algorithm, secret }: TsigKeyConfig, parts: readonly Uint8Array[]): Buffer {
  const mac = createHmac(algorithm.slice("hmac-".length), Buffer.from(secret, "base64"));
  for (const part of parts) mac.update(part);
  return mac.digest();
}

function uint48(value: number): Uint8Array {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return bytes;
}
