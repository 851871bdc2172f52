/** Who the client is: the peer, or what proxies in front of us say, as far as they are trusted. */
import ipaddr from "ipaddr.js";
import type { DownstreamConnection, RequestHead } from "../exchange/exchange.ts";
import { joinHeader } from "../exchange/headers.ts";

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** Whether an address belongs to a trusted proxy. */
export type Trust = (address: string) => boolean;

/** An address as such; IPv4-mapped IPv6 (`::ffff:192.0.2.1`) is the IPv4 address. Undefined for anything else. */
export function parseAddress(text: string): Address | undefined {
  return ipaddr.isValid(text) ? ipaddr.process(text) : undefined;
}

/** Compiles `trustedProxies`: CIDR ranges or single addresses, which the config has checked. */
export function createTrust(ranges: readonly string[]): Trust {
  if (ranges.length === 0) return () => false;
  const parsed = ranges.map((range) => {
    if (range.includes("/")) return ipaddr.parseCIDR(range);
    const address = ipaddr.process(range);
    return [address, address.kind() === "ipv4" ? 32 : 128] as [Address, number];
  });
  return (text) => {
    const address = parseAddress(text);
    if (!address) return false;
    return parsed.some(
      ([network, bits]) =>
        network.kind() === address.kind() && (address as ipaddr.IPv6).match([network as ipaddr.IPv6, bits]),
    );
  };
}

/**
 * The client's address. X-Forwarded-For is read from the right, as its left end is whatever the client liked to write:
 * the first address that no trusted proxy has is the client.
 */
export function clientAddress(head: RequestHead, connection: DownstreamConnection, trust: Trust): string {
  const peer = connection.remoteAddress;
  if (!trust(peer)) return peer;
  const chain = joinHeader(head.headers, "x-forwarded-for")?.split(",") ?? [];
  let client = peer;
  for (let i = chain.length - 1; i >= 0; i--) {
    const address = parseAddress(chain[i]!.trim().replace(/^\[|\](:\d+)?$/g, ""));
    if (!address) break;
    client = address.toString();
    if (!trust(client)) break;
  }
  return client;
}
