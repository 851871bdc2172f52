/** Failures at the CA, kept in storage so that neither a restart nor another edge tries too early. */
import { EdgeError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { hostKey } from "./keys.ts";
import { problemOf } from "./problem.ts";

export interface LedgerEntry {
  /** Failures of another issuer do not count. */
  readonly issuer: string;
  /** In a row. */
  readonly failures: number;
  readonly reason: string;
  readonly message: string;
  /** Wall time in milliseconds. */
  readonly failedAt: number;
  readonly nextAttemptAt: number;
}

export interface Ledger {
  /** The last failure, where the issuer is the same. What cannot be read counts as none. */
  read(host: string): Promise<LedgerEntry | undefined>;
  write(host: string, entry: LedgerEntry): Promise<void>;
  clear(host: string): Promise<void>;
}

/** No wait is longer, so a date beyond it was written by a clock gone wrong. */
const LONGEST_WAIT_MS = 8 * 86_400_000;

/** `issuers`: whose failures count, the configured ones. */
export function createLedger(
  storage: Storage,
  issuers: string | readonly string[],
  wall: () => number,
): Ledger {
  const counted = new Set(typeof issuers === "string" ? [issuers] : issuers);
  const keyOf = (host: string): string => hostKey("ledger", host);
  return {
    async read(host) {
      const bytes = await storage.load(keyOf(host));
      const entry = bytes && parse(bytes);
      if (!entry || !counted.has(entry.issuer)) return undefined;
      const now = wall();
      if (entry.failedAt > now + LONGEST_WAIT_MS || entry.nextAttemptAt > now + LONGEST_WAIT_MS)
        return undefined;
      return entry;
    },
    async write(host, entry) {
      const dates = { failedAt: iso(entry.failedAt), nextAttemptAt: iso(entry.nextAttemptAt) };
      const text = JSON.stringify({ version: 1, ...entry, ...dates }, null, 1);
      await storage.store(keyOf(host), new TextEncoder().encode(`${text}\n`));
    },
    clear: (host) => storage.delete(keyOf(host)),
  };
}

/** A failure in one word, for metrics and the ledger: the CA's own type, or our code. */
export function reasonOf(thrown: unknown): string {
  const type = problemOf(thrown)?.type;
  if (type !== undefined && type !== "none" && /^\w+$/.test(type)) return type;
  return thrown instanceof EdgeError ? thrown.code : "INTERNAL";
}

function parse(bytes: Uint8Array): LedgerEntry | undefined {
  try {
    const value = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const failedAt = Date.parse(String(value.failedAt));
    const nextAttemptAt = Date.parse(String(value.nextAttemptAt));
    if (typeof value.failures !== "number" || Number.isNaN(failedAt) || Number.isNaN(nextAttemptAt))
      return undefined;
    const { failures } = value;
    const text = (field: unknown): string => (typeof field === "string" ? field : "");
    return {
      issuer: text(value.issuer),
      failures,
      reason: text(value.reason),
      message: text(value.message),
      failedAt,
      nextAttemptAt,
    };
  } catch {
    // Half a ledger must not stop a host from getting its certificate.
    return undefined;
  }
}

const iso = (ms: number): string => new Date(ms).toISOString();
