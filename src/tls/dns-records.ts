/** What is inside of DNS records. */
import ipaddr from "ipaddr.js";
import { type DnsRecord, malformed, TYPE } from "./dns-message.ts";

/** "192.0.2.1", "2001:db8::1". */
export function addressOf({ type, data }: DnsRecord): string {
  if (data.length !== (type === TYPE.A ? 4 : 16)) throw malformed("an address of the wrong length");
  return ipaddr.fromByteArray([...data]).toString();
}

/** The name in an NS, CNAME or SOA record (of a SOA, its primary). */
export function targetOf({ data }: DnsRecord): string {
  const labels: string[] = [];
  for (let at = 0; ; ) {
    const size = data[at];
    if (size === undefined || size > 63) throw malformed("a name ends too early");
    if (size === 0) return labels.join(".");
    labels.push(Buffer.from(data.subarray(at + 1, at + 1 + size)).toString("latin1"));
    at += 1 + size;
  }
}

/** The strings of a TXT record, joined as all who read long values join them. */
export function textOf({ data }: DnsRecord): string {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < data.length; at += 1 + (data[at] ?? 0)) {
    parts.push(data.subarray(at + 1, at + 1 + (data[at] ?? 0)));
  }
  return Buffer.concat(parts).toString("utf8");
}

/** TXT data: strings of at most 255 bytes. */
export function textData(text: string): Uint8Array {
  const bytes = Buffer.from(text, "utf8");
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length || at === 0; at += 255) {
    const part = bytes.subarray(at, at + 255);
    parts.push(Uint8Array.of(part.length), part);
  }
  return Buffer.concat(parts);
}

export interface CaaProperty {
  /** RFC 8659 §4.1: a CA that does not know the tag must not issue. */
  readonly critical: boolean;
  /** Lower case. */
  readonly tag: string;
  readonly value: string;
}

export function caaOf({ data }: DnsRecord): CaaProperty {
  const tagLength = data[1] ?? 0;
  if (data.length < 2 + tagLength || tagLength === 0) throw malformed("a CAA record without a tag");
  const bytes = Buffer.from(data);
  return {
    critical: ((data[0] ?? 0) & 0x80) !== 0,
    tag: bytes.toString("latin1", 2, 2 + tagLength).toLowerCase(),
    value: bytes.toString("utf8", 2 + tagLength),
  };
}

/** The parent's name; "" for a top-level name and for the root. */
export function parentOf(name: string): string {
  const dot = name.indexOf(".");
  return dot === -1 ? "" : name.slice(dot + 1);
}

/** OPT (RFC 6891): we take answers of up to 1,232 bytes by UDP, which no network cuts into pieces. */
export const EDNS: DnsRecord = { name: "", type: TYPE.OPT, class: 1232, ttl: 0, data: new Uint8Array() };
