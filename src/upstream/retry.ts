/** What may be sent to a second server, and how often. */
import type { Clock } from "../clock.ts";
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
/** Attempts of one request in all, where the server may have seen it. */
export const MAX_REPEATS = 2;

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
      return isIdempotent(facts.method) && facts.attempts < MAX_REPEATS ? "budget" : "no";
    case "never":
      return "no";
    default:
      return error.retry satisfies never;
  }
}

/** Keeps retries from multiplying an overload: a share of the requests of the last {@link RETRY_WINDOW_MS}. */
export interface RetryBudget {
  /** Counts a request. */
  request(): void;
  /** Takes one retry, if there is one left. */
  take(): boolean;
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
    take() {
      roll();
      const allowed = Math.max(RETRY_FLOOR, RETRY_SHARE * (requests + olderRequests));
      if (retries + olderRetries >= allowed) return false;
      retries++;
      return true;
    },
  };
}
