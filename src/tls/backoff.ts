/** When to try again after a failure. */
import { jitter, type Random } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { problemOf } from "./problem.ts";

/**
 * `spent`: the CA counted it against a limit, so wait as Let's Encrypt asks.
 * `free`: nothing reached the CA or nothing was counted, so try again soon.
 */
export type FailureKind = "spent" | "free";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const DAY = 86_400 * SECOND;

/** Let's Encrypt's integration guide: 1, 10, 100 minutes, then daily. Far below 5 failed validations an hour. */
const SPENT_MS = [MINUTE, 10 * MINUTE, 100 * MINUTE, DAY] as const;
/** An outage is over when it is over: look often, then less and less. */
const FREE_MS = [5, 15, 30, 60, 60, 60, 60, 60, 120, 300, 600].map((seconds) => seconds * SECOND);
/** Longer than any of Let's Encrypt's windows; a CA that asks for more is not believed. */
const LONGEST_RETRY_AFTER_MS = 7 * DAY;

export function failureKind(thrown: unknown): FailureKind {
  if (!(thrown instanceof EdgeError)) return "spent";
  return thrown.source === "storage" || thrown.retry === "any" ? "free" : "spent";
}

export interface BackoffInput {
  kind: FailureKind;
  /** In a row, this one included. */
  failures: number;
  thrown: unknown;
  /** Of the certificate in use; undefined where there is none. */
  lifetimeMs: number | undefined;
  random: Random;
}

/** Milliseconds until the next attempt, with ±10 % of jitter. The CA's Retry-After is a floor. */
export function backoff({ kind, failures, thrown, lifetimeMs, random }: BackoffInput): number {
  const steps: readonly number[] = kind === "spent" ? SPENT_MS : FREE_MS;
  let wait = steps[Math.min(Math.max(failures, 1), steps.length) - 1] ?? DAY;
  // A certificate that lives for a minute cannot wait for an hour. With 160 hours this is 8 hours, with 90 days no bound.
  if (lifetimeMs !== undefined) wait = Math.min(wait, Math.max(SECOND, lifetimeMs / 20));
  wait = jitter(wait, 0.1, random);
  const asked = Math.min(problemOf(thrown)?.retryAfterMs ?? 0, LONGEST_RETRY_AFTER_MS);
  // Never early, and spread over a tenth more: everybody was told the same moment.
  return asked > wait ? asked * (1 + 0.1 * random()) : wait;
}

/**
 * Milliseconds until an order may follow one that ended without a result, because the process did: soon at first, for a
 * machine that was switched off; then as after a refusal, so that a process that crashes over and over spends no limit.
 */
export function backoffAfterCrash(failures: number, random: Random): number {
  if (failures <= 3) return jitter(5 * SECOND, 0.1, random);
  return backoff({ kind: "spent", failures: failures - 2, thrown: undefined, lifetimeMs: undefined, random });
}
