/** Client addresses, one spelling each: an IPv4 client of a dual-stack listener is an IPv4 client. */
import ipaddr from "ipaddr.js";
import { EdgeError } from "../errors.ts";

type Address = ipaddr.IPv4 | ipaddr.IPv6;

/** The address, with IPv4-mapped IPv6 (`::ffff:192.0.2.1`) as IPv4; undefined where the text is none. */
export function parseAddress(text: string): Address | undefined {
  return ipaddr.isValid(text) ? ipaddr.process(text) : undefined;
}

/** What counts as one client: an IPv4 address, or an IPv6 /64, which is the least that a network hands out. */
export function clientKey(text: string): string {
  if (!text.includes(":")) return text;
  const address = parseAddress(text);
  if (address === undefined) return text;
  if (address.kind() === "ipv4") return address.toString();
  const parts = (address as ipaddr.IPv6).parts.slice(0, 4);
  return `${parts.map((part) => part.toString(16)).join(":")}::/64`;
}

/** A test for membership in addresses and CIDR ranges. Throws CONFIG_INVALID that names the entry which is neither. */
export function addressSet(entries: readonly string[]): (address: Address) => boolean {
  const ranges = entries.map(parseRange);
  return (address) =>
    ranges.some(([base, bits]) => base.kind() === address.kind() && address.match(base, bits));
}

function parseRange(entry: string): [base: Address, bits: number] {
  if (ipaddr.isValidCIDR(entry)) {
    const [base, bits] = ipaddr.parseCIDR(entry);
    // ::ffff:192.0.2.0/120 means 192.0.2.0/24, and is compared with addresses that are written so.
    if (base.kind() === "ipv6" && (base as ipaddr.IPv6).isIPv4MappedAddress() && bits >= 96)
      return [(base as ipaddr.IPv6).toIPv4Address(), bits - 96];
    return [base, bits];
  }
  const address = parseAddress(entry);
  if (address === undefined || !(entry.includes(":") || ipaddr.IPv4.isValidFourPartDecimal(entry)))
    throw new EdgeError("CONFIG_INVALID", `"${entry}" is neither an address nor a CIDR range`, {
      source: "operator",
    });
  return [address, address.kind() === "ipv4" ? 32 : 128];
}
