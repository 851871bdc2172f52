/**
 * Our own count of what one CA allows, and what it has refused, shared through storage: neither a restart nor another edge
 * sends an order that would be refused.
 */
import { EdgeError, errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import {
  type Allowance,
  type CaLimits,
  countedScopes,
  coveredBy,
  isNamed,
  type LimitScope,
  nextAllowed,
  type OrderKind,
  scopeOf,
  useUp,
  waitOf,
} from "./limits.ts";
import type { AcmeProblem } from "./problem.ts";

/** What stands in the way of an order. */
export interface Limit {
  readonly issuer: string;
  readonly scope: LimitScope;
  /** What it covers: "all", "example.com", "app.example.com". */
  readonly of: string;
  /** Wall time in milliseconds. */
  readonly until: number;
  /** "300 orders in 3 h, by our own count", or the CA's words. */
  readonly why: string;
}

/** The cause of every EdgeError ACME_LIMITED. */
export class LimitReached extends Error {
  readonly limit: Limit;

  constructor(limit: Limit) {
    super(limit.why);
    this.name = "LimitReached";
    this.limit = limit;
  }
}

/** An order that was not sent, as the CA would refuse it. */
export function limitError(host: string, limit: Limit): EdgeError {
  const until = new Date(limit.until).toISOString();
  return new EdgeError(
    "ACME_LIMITED",
    `${host}: ${limit.issuer} takes no order before ${until} (${limit.scope} ${limit.of}: ${limit.why})`,
    { source: "ca", retry: "any", cause: new LimitReached(limit) },
  );
}

export interface Books {
  /** What an order would run into. */
  check(host: string, kind: OrderKind): Promise<Limit | undefined>;
  /** As `check`, and counts the order where nothing stands in its way. */
  take(host: string, kind: OrderKind): Promise<Limit | undefined>;
  /** The order came to nothing that the CA counts as a certificate. */
  giveBack(host: string, kind: OrderKind): Promise<void>;
  /** A validation failed. */
  failed(host: string): Promise<void>;
  /** The CA refused for a limit: suspends what it covers, and nothing else. */
  refused(host: string, kind: OrderKind, problem: AcmeProblem): Promise<void>;
}

export interface BooksOptions {
  storage: Storage;
  issuer: string;
  limits: CaLimits;
  wall: () => number;
  log: Log;
}

interface Page {
  /** When all that was used will have been refilled. */
  usedUntil?: number;
  /** Set by a refusal; `rank`: the most favoured kind of order that it stops. */
  until?: number;
  why?: string;
  rank?: number;
}

const RANK: Readonly<Record<OrderKind, number>> = { new: 0, renewal: 1, replacement: 2 };
const SCOPES: readonly LimitScope[] = ["account", "domain", "set", "name"];
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** No limit lasts longer: a date beyond was written by a clock gone wrong. */
const LONGEST_MS = 8 * DAY_MS;
/** For a refusal that does not say what it covers: everything would wait for it. */
const LONGEST_UNNAMED_MS = 60 * MINUTE_MS;

export function createBooks({ storage, issuer, limits, wall, log }: BooksOptions): Books {
  const keyOf = (scope: LimitScope, of: string): string =>
    `limits/${issuer}/${scope}/${of.replaceAll("*", "_")}`;
  const read = async (scope: LimitScope, of: string): Promise<Page> => {
    const bytes = await storage.load(keyOf(scope, of));
    return bytes ? parse(bytes, wall()) : {};
  };
  const write = async (scope: LimitScope, of: string, page: Page): Promise<void> => {
    const { usedUntil, until, why, rank } = page;
    const text = JSON.stringify({
      version: 1,
      ...(usedUntil !== undefined && { usedUntil: iso(usedUntil) }),
      ...(until !== undefined && { until: iso(until), why, rank }),
    });
    await storage.store(keyOf(scope, of), new TextEncoder().encode(`${text}\n`));
  };
  /** Short work on pages, one edge at a time. */
  const locked = <T>(work: () => Promise<T>): Promise<T> => storage.withLock(`limits/${issuer}`, work);

  const check = async (host: string, kind: OrderKind): Promise<Limit | undefined> => {
    const now = wall();
    let worst: Limit | undefined;
    const consider = (scope: LimitScope, of: string, until: number, why: string): void => {
      if (!worst || until > worst.until) worst = { issuer, scope, of, until, why };
    };
    for (const scope of SCOPES) {
      const of = coveredBy(scope, host);
      const page = await read(scope, of);
      if (page.until !== undefined && page.until > now && RANK[kind] <= (page.rank ?? 2)) {
        consider(scope, of, page.until, page.why ?? "the CA refused");
      }
      const allowance = limits[scope];
      const counts = scope === "name" ? kind !== "replacement" : countedScopes(kind).includes(scope);
      if (!allowance || !counts || page.usedUntil === undefined) continue;
      const at = nextAllowed(page.usedUntil, allowance, now);
      if (at !== undefined) consider(scope, of, at, describe(scope, allowance));
    }
    return worst;
  };

  const count = async (host: string, scopes: readonly LimitScope[], by: number): Promise<void> => {
    for (const scope of scopes) {
      const allowance = limits[scope];
      if (!allowance) continue;
      const of = coveredBy(scope, host);
      const page = await read(scope, of);
      await write(scope, of, { ...page, usedUntil: useUp(page.usedUntil ?? 0, allowance, wall(), by) });
    }
  };
  const known = Object.keys(limits).length > 0;

  return {
    check,
    take(host, kind) {
      if (!known) return check(host, kind);
      return locked(async () => {
        const limit = await check(host, kind);
        if (!limit) await count(host, countedScopes(kind), 1);
        return limit;
      });
    },
    async giveBack(host, kind) {
      if (!known) return;
      // The order itself was made, so the account's page stays.
      await locked(() =>
        count(
          host,
          countedScopes(kind).filter((scope) => scope !== "account"),
          -1,
        ),
      );
    },
    async failed(host) {
      if (known) await locked(() => count(host, ["name"], 1));
    },
    async refused(host, kind, problem) {
      const now = wall();
      const scope = scopeOf(problem);
      const of = coveredBy(scope, host);
      const named = isNamed(problem);
      const asked = waitOf(problem, now) ?? defaultWait(limits[scope]);
      const until = now + Math.min(asked, named ? LONGEST_MS - DAY_MS : LONGEST_UNNAMED_MS);
      // Where we know how the CA counts, an order of a more favoured kind may still pass.
      const rank = known && named ? RANK[kind] : 2;
      const why = problem.message;
      await locked(async () => {
        const page = await read(scope, of);
        if ((page.until ?? 0) < until) await write(scope, of, { ...page, until, why, rank });
      });
      log.warn("certificate.limit", { issuer, scope, of, until: iso(until), why });
    },
  };
}

/** A limit that says nothing of time: as long as one of it takes to refill, or ten minutes. */
function defaultWait(allowance: Allowance | undefined): number {
  return allowance ? allowance.periodMs / allowance.most : 10 * MINUTE_MS;
}

function describe(scope: LimitScope, { most, periodMs }: Allowance): string {
  const what: Readonly<Record<LimitScope, string>> = {
    account: "orders",
    domain: "certificates for this domain",
    set: "certificates for this name",
    name: "failed validations of this name",
  };
  const hours = periodMs / (60 * MINUTE_MS);
  return `${most} ${what[scope]} in ${hours >= 48 ? `${hours / 24} days` : `${hours} h`}, by our own count`;
}

function parse(bytes: Uint8Array, now: number): Page {
  try {
    const value = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const usedUntil = Date.parse(String(value.usedUntil));
    const until = Date.parse(String(value.until));
    return {
      ...(usedUntil < now + LONGEST_MS && { usedUntil }),
      ...(until < now + LONGEST_MS && { until }),
      ...(typeof value.why === "string" && { why: value.why }),
      ...(typeof value.rank === "number" && { rank: value.rank }),
    };
  } catch {
    // Half a page must not stop a host from getting its certificate; the CA counts too.
    return {};
  }
}

const iso = (ms: number): string => new Date(ms).toISOString();

/** Bookkeeping must not cost a certificate: what goes wrong is logged. */
export async function quietly(log: Log, work: Promise<void>): Promise<void> {
  await work.catch((thrown: unknown) => log.warn("certificate.books_failed", errorFields(thrown)));
}
