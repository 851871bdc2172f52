/** When a request is sent to a second server, and what is kept of how requests went: what may be written and what it means. */
import { z } from "zod";
import { describeValue } from "./problems.ts";

export interface RetryConfig {
  /** Answers that are not passed on while another server may do better. */
  readonly statuses: readonly number[];
  /** Repeats of one request that a server may have seen. */
  readonly maxRetries: number;
  /** Repeats as a share of the requests of the last ten seconds, from 0 to 1. */
  readonly budget: number;
  /** Repeats that are always allowed in ten seconds. */
  readonly floor: number;
}

export interface HedgeConfig {
  readonly afterMs: number;
  /** Second attempts as a share of the requests of the last ten seconds, from 0 to 1. */
  readonly budget: number;
}

export interface ExplainConfig {
  /** How many requests the admin API remembers. */
  readonly last: number;
  readonly accessLog: boolean;
}

/** The part of a backend that says when a second server is asked. */
export interface RetryingInput {
  /** When a request is repeated. */
  retry?: RetryInput;
  /** Asks a second server where the first is slow; for GET and HEAD. @default never */
  hedge?: HedgeInput;
}

export interface RetryInput {
  /**
   * Statuses from 400 to 599 of answers to idempotent requests that another server may better; 504 is also our own, where
   * no head came within `responseTimeoutMs`. @default none
   */
  statuses?: number[];
  /** Repeats of one request that a server may have seen; 0 for none. @default 1 */
  maxRetries?: number;
  /** Repeats as a share of the requests of the last ten seconds, from 0 to 1. @default 0.2 */
  budget?: number;
  /** Repeats that are allowed in ten seconds, whatever the share. @default 10 */
  floor?: number;
}

export interface HedgeInput {
  /** Without an answer for so long, a second server is asked too. Best a little above what nearly all answers take. */
  afterMs: number;
  /** Second attempts as a share of the requests of the last ten seconds, from 0 to 1. @default 0.05 */
  budget?: number;
}

export interface ExplainInput {
  /** How many requests the admin API remembers; 0 for none. @default 1_000 */
  last?: number;
  /** Whether each line of the access log has it too. @default false */
  accessLog?: boolean;
}

type Shape<I> = Record<keyof I & string, z.ZodType>;

const whole = (least: number, most: number): z.ZodInt => {
  const error = ({ input }: { input?: unknown }): string =>
    `must be a whole number from ${least} to ${most}, got ${describeValue(input)}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};
const shareError = ({ input }: { input?: unknown }): string =>
  `must be a number from 0 to 1, got ${describeValue(input)}`;
const share = z.number({ error: shareError }).min(0, { error: shareError }).max(1, { error: shareError });

/** The fields of {@link RetryingInput}, to be spread into a backend's schema. */
export const retryingShape: Record<keyof RetryingInput, z.ZodType> = {
  retry: z
    .strictObject({
      statuses: z.array(whole(400, 599)).max(50).optional(),
      maxRetries: whole(0, 10).optional(),
      budget: share.optional(),
      floor: whole(0, 1_000_000).optional(),
    } satisfies Shape<RetryInput>)
    .optional(),
  hedge: z
    .strictObject({ afterMs: whole(1, 60_000), budget: share.optional() } satisfies Shape<HedgeInput>)
    .optional(),
};

/** Remembered requests hold their paths: this many are some tens of megabytes. */
const MOST_REMEMBERED = 100_000;

export const explainShape: z.ZodOptional<z.ZodObject> = z
  .strictObject({
    last: whole(0, MOST_REMEMBERED).optional(),
    accessLog: z.boolean().optional(),
  } satisfies Shape<ExplainInput>)
  .optional();

/** With their defaults. */
export function fillRetrying({ retry, hedge }: RetryingInput): {
  retry: RetryConfig;
  hedge: HedgeConfig | undefined;
} {
  return {
    retry: {
      statuses: retry?.statuses ?? [],
      maxRetries: retry?.maxRetries ?? 1,
      budget: retry?.budget ?? 0.2,
      floor: retry?.floor ?? 10,
    },
    hedge: hedge && { afterMs: hedge.afterMs, budget: hedge.budget ?? 0.05 },
  };
}

export function fillExplain(explain: ExplainInput | undefined): ExplainConfig | undefined {
  return explain && { last: explain.last ?? 1000, accessLog: explain.accessLog ?? false };
}
