/** What may be sent to a second server, and how often. */
import type { Clock } from "../clock.ts";
import type { RetryConfig } from "../config/retrying.ts";
import type { EdgeError } from "../errors.ts";

const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

/** Retries per request, as a share. */
export const RETRY_SHARE = 0.2;
/**
 * Retries that are always allowed in a window, so that a quiet edge can retry too: as many as one dying server may
 * have slow requests in flight there.
 */
export const RETRY_FLOOR = 10;
export const RETRY_WINDOW_MS = 10_000;

/** No status is retried, and a request that a server may have seen is repeated once. */
export const DEFAULT_RETRY: RetryConfig = {
  statuses: [],
  maxRetries: 1,
  budget: RETRY_SHARE,
  floor: RETRY_FLOOR,
};

/** Whether doing it twice is as good as once (RFC 9110 §9.2.2). */
export function isIdempotent(method: string): boolean {
  return IDEMPOTENT.has(method);
}

export interface AttemptFacts {
  readonly method: string;
  /** Whether the request's body is absent, unread, or kept in full. */
  readonly replayable: boolean;
  /** Attempts made so far. */
  readonly attempts: number;
  /** How many of those were repeats of what a server may have seen. */
  readonly repeats: number;
  /** How many of these there may be. */
  readonly maxRetries: number;
  /** Members of the pool. */
  readonly servers: number;
}

/**
 * Whether a failed request may go to another server: `free` of the budget (provably not accepted, so a repeat adds no
 * load anywhere), against the `budget`, or not at all.
 */
export function retryKind(error: EdgeError, facts: AttemptFacts): "free" | "budget" | "no" {
  if (!facts.replayable) return "no";
  switch (error.retry) {
    case "any":
      return facts.attempts < Math.max(facts.servers, 2) ? "free" : "no";
    case "idempotent":
      return isIdempotent(facts.method) && facts.repeats < facts.maxRetries ? "budget" : "no";
    case "never":
      return "no";
    default:
      return error.retry satisfies never;
  }
}

/** Keeps repeats from multiplying an overload: a share of the requests of the last {@link RETRY_WINDOW_MS}. */
export interface RetryBudget {
  /** Counts a request. */
  request(): void;
  /**
   * Takes one repeat, if there is one left.
   * @param share of the requests, from 0 to 1. @default {@link RETRY_SHARE}
   * @param floor repeats that are always allowed. @default {@link RETRY_FLOOR}
   */
  take(share?: number, floor?: number): boolean;
}

export function createRetryBudget(clock: Clock): RetryBudget {
  // Two half windows: the older one's counts fall out whole, which is exact enough and costs no memory.
  const half = RETRY_WINDOW_MS / 2;
  let slot = Math.floor(clock.now() / half);
  let requests = 0;
  let retries = 0;
  let olderRequests = 0;
  let olderRetries = 0;
  const roll = (): void => {
    const current = Math.floor(clock.now() / half);
    if (current === slot) return;
    const next = current === slot + 1;
    olderRequests = next ? requests : 0;
    olderRetries = next ? retries : 0;
    requests = 0;
    retries = 0;
    slot = current;
  };
  return {
    request() {
      roll();
      requests++;
    },
    take(share = RETRY_SHARE, floor = RETRY_FLOOR) {
      roll();
      const allowed = Math.max(floor, share * (requests + olderRequests));
      if (retries + olderRetries >= allowed) return false;
      retries++;
      return true;
    },
  };
}
