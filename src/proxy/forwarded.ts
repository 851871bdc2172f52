/** Who the client is, told to servers: X-Forwarded-For, -Proto and -Host, and Forwarded (RFC 7239). */
import type { HeaderList } from "../exchange/headers.ts";
import { getHeader, joinHeader } from "../exchange/headers.ts";

export interface Forwarding {
  /** What the client asked for, and how. */
  readonly scheme: "http" | "https";
  readonly authority: string;
  /** The peer's address. */
  readonly peer: string;
  /** Whether the peer's own forwarding fields are believed; else they are overwritten. */
  readonly peerTrusted: boolean;
  /** The client's address as far as trusted proxies tell; the peer's without one. */
  readonly clientAddress: string;
}

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** With the port that some proxies add. */
const IPV4 = /^(\d{1,3}(?:\.\d{1,3}){3})(:\d{1,5})?$/;
const IPV6 =
  /^(?:([0-9a-fA-F:.]*:[0-9a-fA-F:.]*)(?:%[\w.-]+)?|\[([0-9a-fA-F:.]+)(?:%[\w.-]+)?\](:\d{1,5})?)$/;

/** An IPv4 client on a dual-stack listener is an IPv4 client. */
function plainAddress(address: string): string {
  return MAPPED.exec(address)?.[1] ?? address;
}

/** A value as RFC 7239 §4 writes it: a token, else a quoted string. */
function quoted(value: string): string {
  return TOKEN.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;
}

/** An address as a node (RFC 7239 §6): with a port, or IPv6, in quotes; what is no address is "unknown". */
export function forwardedNode(address: string): string {
  const plain = plainAddress(address.trim());
  const v4 = IPV4.exec(plain);
  if (v4) return v4[2] === undefined ? v4[1]! : `"${v4[1]}${v4[2]}"`;
  const v6 = IPV6.exec(plain);
  return v6 ? `"[${v6[1] ?? v6[2]}]${v6[3] ?? ""}"` : "unknown";
}

function element(facts: Forwarding): string {
  return `for=${forwardedNode(facts.peer)};host=${quoted(facts.authority)};proto=${facts.scheme}`;
}

/** Appends the forwarding fields for a request to `out`; `headers` are those received. */
export function forwardingFields(headers: HeaderList, facts: Forwarding, out: HeaderList): void {
  const peer = plainAddress(facts.peer);
  if (!facts.peerTrusted) {
    out.push("X-Forwarded-For", peer, "X-Forwarded-Proto", facts.scheme, "X-Forwarded-Host", facts.authority);
    out.push("Forwarded", element(facts));
    return;
  }
  const before = joinHeader(headers, "x-forwarded-for");
  const forwarded = joinHeader(headers, "forwarded");
  out.push("X-Forwarded-For", before ? `${before}, ${peer}` : peer);
  out.push("X-Forwarded-Proto", getHeader(headers, "x-forwarded-proto") ?? facts.scheme);
  out.push("X-Forwarded-Host", getHeader(headers, "x-forwarded-host") ?? facts.authority);
  // A proxy that writes only X-Forwarded-For must not leave readers of Forwarded to take the proxy for the client.
  const chain =
    forwarded ??
    before
      ?.split(",")
      .map((address) => `for=${forwardedNode(address)}`)
      .join(", ");
  out.push("Forwarded", chain ? `${chain}, ${element(facts)}` : element(facts));
}
