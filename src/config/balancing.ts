/** How a backend's servers are picked, capped and waited for: what may be written, and what it means. */
import { z } from "zod";
import { describeValue } from "./problems.ts";

/** What decides a request's server: the first of these that is asked for and there. */
export interface HashOnConfig {
  /** The value of this header. */
  readonly header?: string | undefined;
  /** The value of this cookie. */
  readonly cookie?: string | undefined;
  readonly clientAddress?: true | undefined;
}

export type BalanceConfig =
  | "p2c"
  | "roundRobin"
  | "random"
  | "leastRequest"
  | { readonly consistentHash: HashOnConfig };

export interface QueueConfig {
  /** Requests that may wait; 0 for none. */
  readonly max: number;
  readonly timeoutMs: number;
}

export interface BalancingConfig {
  readonly balance: BalanceConfig;
  /** 0 for none. */
  readonly slowStartMs: number;
  /** Requests in flight on one server, upgraded connections included. */
  readonly maxInFlight: number;
  readonly queue: QueueConfig;
  /** From 0 to 1. */
  readonly panicThreshold: number;
}

/** The part of a backend that says how its servers are picked. */
export interface BalancingInput {
  /**
   * "p2c" (the better of two random servers), "roundRobin", "random", "leastRequest", or
   * `{ consistentHash: { header, cookie, clientAddress: true } }` with at least one of the three. @default "p2c"
   */
  balance?: BalanceConfig;
  /** How long the share of a server that joins or comes back takes to grow from a tenth to the whole; 0 for none. @default 0 */
  slowStartMs?: number;
  /** Connections to each server. @default 4_096 */
  maxConnections?: number;
  /** Requests in flight on each server, upgraded connections included; what is beyond waits in `queue`. @default `maxConnections` */
  maxInFlight?: number;
  /** Requests that wait for a server with room. */
  queue?: QueueInput;
  /** Ignore health where less than this share of the servers is well, from 0 (only where none is) to 1. @default 0 */
  panicThreshold?: number;
}

export interface QueueInput {
  /** Beyond it requests get 503 at once; 0 for no queue. @default 1_024 */
  max?: number;
  /** A request that waited so long gets 503. @default 5_000 */
  timeoutMs?: number;
}

const whole = (least: number, most: number): z.ZodInt => {
  const error = ({ input }: { input?: unknown }): string =>
    `must be a whole number from ${least} to ${most}, got ${describeValue(input)}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const token = z.string().regex(TOKEN, {
  error: ({ input }) => `must be a name of letters, digits and "-", got ${describeValue(input)}`,
});

const HASH_ON_NOTHING = "names nothing to hash: give header, cookie or clientAddress: true";
const hashOn = z
  .strictObject({
    header: token.optional(),
    cookie: token.optional(),
    clientAddress: z.literal(true).optional(),
  } satisfies Record<keyof HashOnConfig, z.ZodType>)
  .refine((on) => on.header !== undefined || on.cookie !== undefined || on.clientAddress !== undefined, {
    error: HASH_ON_NOTHING,
  });

const LONGEST_MS = 2 ** 31 - 1;
const MOST = 1_000_000;
const share = ({ input }: { input?: unknown }): string =>
  `must be a number from 0 to 1, got ${describeValue(input)}`;

/** The fields of {@link BalancingInput}, to be spread into a backend's schema. */
export const balancingShape: Record<keyof BalancingInput, z.ZodType> = {
  balance: z
    .union([
      z.enum(["p2c", "roundRobin", "random", "leastRequest"]),
      z.strictObject({ consistentHash: hashOn }),
    ])
    .optional(),
  slowStartMs: whole(0, LONGEST_MS).optional(),
  maxConnections: whole(1, MOST).optional(),
  maxInFlight: whole(1, MOST).optional(),
  queue: z
    .strictObject({
      max: whole(0, MOST).optional(),
      timeoutMs: whole(1, LONGEST_MS).optional(),
    } satisfies Record<keyof QueueInput, z.ZodType>)
    .optional(),
  panicThreshold: z.number({ error: share }).min(0, { error: share }).max(1, { error: share }).optional(),
};

export const DEFAULT_MAX_CONNECTIONS = 4096;

/** With its defaults. */
export function fillBalancing(input: BalancingInput): BalancingConfig {
  return {
    balance: input.balance ?? "p2c",
    slowStartMs: input.slowStartMs ?? 0,
    // Beyond its connections a server's requests would wait in a line of its own, where no other server can help.
    maxInFlight: input.maxInFlight ?? input.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
    queue: { max: input.queue?.max ?? 1024, timeoutMs: input.queue?.timeoutMs ?? 5000 },
    panicThreshold: input.panicThreshold ?? 0,
  };
}
