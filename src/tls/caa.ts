/** Certification Authority Authorization (RFC 8659): whom a domain lets issue. */
import type { DnsClient } from "./dns-client.ts";
import { TYPE } from "./dns-message.ts";
import { type CaaProperty, caaOf, parentOf } from "./dns-records.ts";

export interface CaaPolicy {
  /** Where the records are; undefined where there are none up to the top, so that everybody may issue. */
  readonly name: string | undefined;
  readonly properties: readonly CaaProperty[];
}

/** Climbs from `host` (without "*.") to the first name with CAA records (RFC 8659 §3). Rejects with DNS_FAILED. */
export async function findCaa(host: string, dns: DnsClient, signal: AbortSignal): Promise<CaaPolicy> {
  for (let name = host; name !== ""; name = parentOf(name)) {
    const { records } = await dns.query(name, TYPE.CAA, signal);
    if (records.length > 0) return { name, properties: records.map(caaOf) };
  }
  return { name: undefined, properties: [] };
}

export interface CaaWish {
  readonly wildcard: boolean;
  /** What the CA calls itself: `caaIdentities` of its directory. */
  readonly identities: readonly string[];
  /** Undefined before there is an account. */
  readonly accountUrl: string | undefined;
  /** The challenges that may be used; one that is allowed is enough (RFC 8657 §4). */
  readonly methods: readonly string[];
}

const KNOWN_TAGS = new Set([
  "issue",
  "issuewild",
  "issuemail",
  "issuevmc",
  "iodef",
  "contactemail",
  "contactphone",
]);

/** Undefined where the CA may issue; otherwise why it may not. */
export function caaRefusal({ name, properties }: CaaPolicy, wish: CaaWish): string | undefined {
  if (name === undefined) return undefined;
  const strange = properties.find(({ critical, tag }) => critical && !KNOWN_TAGS.has(tag));
  if (strange) return `the CAA records of ${name} have the critical tag "${strange.tag}", which no CA knows`;
  const wild = properties.filter(({ tag }) => tag === "issuewild");
  // RFC 8659 §4.3: issuewild takes the place of issue, for wildcards and where it is there at all.
  const used = wish.wildcard && wild.length > 0 ? wild : properties.filter(({ tag }) => tag === "issue");
  if (used.length === 0) return undefined;
  const ours = used
    .map(({ value }) => parseParameters(value))
    .filter(({ domain }) => wish.identities.includes(domain));
  const tag = used[0]?.tag ?? "issue";
  if (ours.length === 0) {
    const others = used.map(({ value }) => `"${value}"`).join(", ");
    return `the CAA records of ${name} let only ${others} issue: add ${name} CAA 0 ${tag} "${wish.identities[0] ?? ""}"`;
  }
  const fits = ours.some(({ parameters }) => {
    const account = parameters.get("accounturi");
    if (account !== undefined && wish.accountUrl !== undefined && account !== wish.accountUrl) return false;
    const methods = parameters.get("validationmethods")?.split(",");
    return methods === undefined || wish.methods.some((method) => methods.includes(method));
  });
  if (fits) return undefined;
  const account = wish.accountUrl === undefined ? "" : `; accounturi=${wish.accountUrl}`;
  return (
    `the CAA records of ${name} bind the CA to another account or challenge: ` +
    `set ${name} CAA 0 ${tag} "${wish.identities[0] ?? ""}${account}; validationmethods=${wish.methods.join(",")}"`
  );
}

/** `letsencrypt.org; accounturi=https://…; validationmethods=dns-01` (RFC 8659 §4.2). Names of parameters in lower case. */
export function parseParameters(value: string): { domain: string; parameters: ReadonlyMap<string, string> } {
  const [domain = "", ...rest] = value.split(";").map((part) => part.trim());
  const parameters = new Map<string, string>();
  for (const part of rest) {
    const equals = part.indexOf("=");
    if (equals > 0) parameters.set(part.slice(0, equals).trim().toLowerCase(), part.slice(equals + 1).trim());
  }
  return { domain: domain.toLowerCase().replace(/\.$/, ""), parameters };
}
