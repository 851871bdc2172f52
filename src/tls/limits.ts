/** Limits of CAs: what they cover, how many they allow, and what a refusal says of them. Pure; books.ts keeps count. */
import { getDomain } from "tldts";
import type { AcmeProblem } from "./problem.ts";

/** What a limit covers: the account, a registered domain, an exact set of names, or one name's failed validations. */
export type LimitScope = "account" | "domain" | "set" | "name";

/** So many, refilled evenly over a period, as Let's Encrypt counts. */
export interface Allowance {
  readonly most: number;
  readonly periodMs: number;
}

/** A CA's own limits. `account`: orders; `domain`, `set`: certificates; `name`: failed validations. */
export type CaLimits = { readonly [S in LimitScope]?: Allowance };

/**
 * How the CA counts an order. RFC 9773 §5 lets it spare those that replace a certificate at its suggestion; Let's Encrypt
 * counts them nowhere, and a renewal of the same names only against their exact set.
 */
export type OrderKind = "new" | "renewal" | "replacement";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

/** letsencrypt.org/docs/rate-limits, August 2026. */
const LETS_ENCRYPT: CaLimits = {
  account: { most: 300, periodMs: 3 * HOUR_MS },
  domain: { most: 50, periodMs: 7 * DAY_MS },
  set: { most: 5, periodMs: 7 * DAY_MS },
  name: { most: 5, periodMs: HOUR_MS },
};
const LETS_ENCRYPT_STAGING: CaLimits = {
  account: { most: 1500, periodMs: 3 * HOUR_MS },
  domain: { most: 30_000, periodMs: 7 * DAY_MS },
  set: { most: 30_000, periodMs: 7 * DAY_MS },
  name: { most: 200, periodMs: HOUR_MS },
};

/** The limits that we know of; none for other CAs, which tell when they refuse. */
export function limitsOf(directory: string | undefined): CaLimits {
  const host = directory === undefined ? "" : new URL(directory).hostname;
  if (host === "acme-v02.api.letsencrypt.org") return LETS_ENCRYPT;
  if (host === "acme-staging-v02.api.letsencrypt.org") return LETS_ENCRYPT_STAGING;
  return {};
}

/** Which scopes an order of a kind counts in. `name` is counted by failures, but closes the door on orders too. */
export function countedScopes(kind: OrderKind): readonly LimitScope[] {
  switch (kind) {
    case "new":
      return ["account", "domain", "set"];
    case "renewal":
      return ["set"];
    case "replacement":
      return [];
    default:
      return kind satisfies never;
  }
}

/** What a scope covers for a host: the thing that is counted. */
export function coveredBy(scope: LimitScope, host: string): string {
  switch (scope) {
    case "account":
      return "all";
    case "domain":
      return registeredDomain(host);
    case "set":
    case "name":
      return host;
    default:
      return scope satisfies never;
  }
}

/** "example.co.uk" for "a.b.example.co.uk", by the public suffix list with its private part, as CAs have it. */
export function registeredDomain(host: string): string {
  const bare = host.startsWith("*.") ? host.slice(2) : host;
  return getDomain(bare, { allowPrivateDomains: true, validateHostname: false }) ?? bare;
}

/** When the next one is allowed, by the time that all so far are used up (GCRA); undefined: now. */
export function nextAllowed(
  usedUntil: number,
  { most, periodMs }: Allowance,
  now: number,
): number | undefined {
  const at = usedUntil - periodMs + periodMs / most;
  return at > now ? at : undefined;
}

/** {@link nextAllowed}'s first argument after `count` more; negative to give back. */
export function useUp(usedUntil: number, { most, periodMs }: Allowance, now: number, count = 1): number {
  return Math.max(usedUntil, now) + (count * periodMs) / most;
}

/** Let's Encrypt names the limit by its chapter, and has words of its own for each; others are read by their words. */
const SIGNS: readonly (readonly [RegExp, LimitScope])[] = [
  [/failed authorizations|authorization-failures|temporarily prevented|paused/i, "name"],
  [/exact set|exact-set|duplicate/i, "set"],
  [/per-registered-domain|already issued for "|certificates .*for "/i, "domain"],
  [/new orders|new-orders|registrations|pending authorizations|this account/i, "account"],
];

/** What a refusal for a limit covers. Where it does not say, the account: asking on for other names would be refused too. */
export function scopeOf(problem: AcmeProblem): LimitScope {
  const text = [problem.detail, ...problem.subproblems].join(" ");
  return SIGNS.find(([sign]) => sign.test(text))?.[1] ?? "account";
}

/** Whether the CA said which limit it is. */
export function isNamed(problem: AcmeProblem): boolean {
  return SIGNS.some(([sign]) => sign.test(problem.detail));
}

const RETRY_AFTER = /retry after (\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)/i;

/** How long a refusal asks to wait: its header, or the date in its words, which is UTC. */
export function waitOf(problem: AcmeProblem, now: number): number | undefined {
  if (problem.retryAfterMs !== undefined) return problem.retryAfterMs;
  const [, day, time] = RETRY_AFTER.exec(problem.detail) ?? [];
  const at = day === undefined ? Number.NaN : Date.parse(`${day}T${time}Z`);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}
