/** Lets in, or keeps out, by the client's address. */
import type { MiddlewareHandler } from "hono";
import { LRUCache } from "lru-cache";
import type { EdgeEnv } from "../exchange/context.ts";
import { addressSet, parseAddress } from "./address.ts";
import { problem } from "./problem.ts";

export interface IpFilterOptions {
  /** Addresses and CIDR ranges that may pass; all others may not. @default everybody */
  allow?: readonly string[];
  /** Addresses and CIDR ranges that may not, also where `allow` names them. @default nobody */
  deny?: readonly string[];
}

const REMEMBERED_ADDRESSES = 10_000;

/**
 * Answers 403 to clients whose address may not pass. The address is `c.var.edge.clientAddress`: the peer's, or what
 * `trustedProxies` say. IPv4-mapped IPv6 addresses count as IPv4. Throws CONFIG_INVALID for what is no address.
 *
 * @example `use: [ipFilter({ allow: ["10.0.0.0/8", "2001:db8::/32"], deny: ["10.0.0.13"] })]`
 */
export function ipFilter({ allow, deny = [] }: IpFilterOptions): MiddlewareHandler<EdgeEnv> {
  const allowed = allow && addressSet(allow);
  const denied = addressSet(deny);
  const remembered = new LRUCache<string, boolean>({ max: REMEMBERED_ADDRESSES });
  const decide = (text: string): boolean => {
    const address = parseAddress(text);
    if (address === undefined) return false;
    return !denied(address) && (allowed === undefined || allowed(address));
  };
  return async function ipFilter(c, next) {
    const { clientAddress } = c.get("edge");
    let passes = remembered.get(clientAddress);
    if (passes === undefined) {
      passes = decide(clientAddress);
      remembered.set(clientAddress, passes);
    }
    if (!passes) return problem(403, "ADDRESS_REFUSED");
    await next();
    return undefined;
  };
}
