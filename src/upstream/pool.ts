/** A backend's live members. Requests take a {@link Lease} on one and give it back; the pool learns from both. */
import type { Clock, Random } from "../clock.ts";
import type { BalancingConfig } from "../config/balancing.ts";
import type { Transport } from "../exchange/dispatch.ts";
import type { Outcome } from "./ejection.ts";
import type { KeyReader } from "./hash-key.ts";
import type { LagMonitor } from "./lag.ts";
import { LivePool } from "./live-pool.ts";
import type { SpillReason } from "./locations.ts";
import type { Judge } from "./member.ts";
import type { Lease, Server, ServerSpec } from "./server.ts";
import type { PickSink } from "./sink.ts";

export type PoolEvent =
  | { readonly kind: "added" | "removed" | "restored" | "unhealthy"; readonly server: Server }
  | { readonly kind: "ejected"; readonly server: Server; readonly outcome: Outcome };

export interface Pool {
  readonly name: string;
  /** Adds a server. One with the same id is replaced. */
  add(server: { id: string; transport: Transport; weight?: number; location?: string }): Server;
  /** Stops picking it at once; its leases go on. Returns it so that the caller may close its transport. */
  remove(id: string): Server | undefined;
  /**
   * Makes the fixed members (those that came by `update`) be these. Members that stay keep their load and health;
   * those added by `add` are left alone. Returns the ones that left, for their transports to be closed.
   */
  update(servers: readonly ServerSpec[]): readonly Server[];
  members(): readonly Server[];
  /** How many members are neither ejected nor unhealthy. */
  readonly available: number;
  /** Leases that are not settled, over all members and those that were removed. */
  readonly inFlight: number;
  /** Requests that wait for a server with room. */
  readonly waiting: number;
  /** Reads a request's key for {@link lease}; undefined where the policy asks for none. */
  readonly keyOf: KeyReader | undefined;
  /**
   * A claim on a server, none of `tried`; undefined where no other is left, or none has room. Falls back to ejected and
   * unhealthy servers before giving up: an attempt there is better than an error.
   * @param repeatable whether the request could be sent again elsewhere, so that it may try out an ejected server
   * @param key what `keyOf` said of the request
   * @param sink hears of the servers that were looked at
   */
  lease(tried?: readonly Server[], repeatable?: boolean, key?: string, sink?: PickSink): Lease | undefined;
  /**
   * Waits for what {@link lease} did not give. `done` is called once, later, in the order of the calls: with a lease, or
   * without one after `queue.timeoutMs`.
   * @returns what leaves the line (idempotent; `done` is then not called); undefined where there is nothing to wait for
   * (no server but those tried) or the line is full
   */
  waitForLease(
    done: (lease: Lease | undefined) => void,
    tried?: readonly Server[],
    repeatable?: boolean,
    key?: string,
    sink?: PickSink,
  ): (() => void) | undefined;
  /**
   * What an active check found or, `by` itself, what the server said: it is well as long as neither says otherwise, and
   * one cannot take back what the other said. True of both also ends an ejection. @default "check"
   */
  mark(id: string, healthy: boolean, by?: Judge): void;
  /**
   * Sets when a request may next be the probe of an ejected server: `byMs` from now; Infinity for not until this is called
   * again. For who finds out by other means how the server is. A probe under way goes on.
   */
  postpone(id: string, byMs: number): void;
  /** Requests in flight at the server in all, as it counts them itself: several edges then agree on its load. */
  report(id: string, inFlight: number): void;
  /** Changes how it balances; members keep their load and health, and who waits keeps the place. */
  configure(balancing: BalancingConfig): void;
  /** Hears of every change of membership and state; returns a function that stops it. */
  watch(listener: (event: PoolEvent) => void): () => void;
}

export interface PoolOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Tells when latencies are our own. @default none are */
  readonly lag?: LagMonitor;
  /** Where the edge is, so that "p2c" prefers servers there. @default unknown, and all are alike */
  readonly location?: string | undefined;
  /** Hears of each request that went to another location. */
  readonly spilled?: ((location: string, reason: SpillReason) => void) | undefined;
  /** @default {@link DEFAULT_BALANCING} */
  readonly balancing?: BalancingConfig;
}

/** The power of two choices, no caps, no slow start. */
export const DEFAULT_BALANCING: BalancingConfig = {
  balance: "p2c",
  slowStartMs: 0,
  maxInFlight: Number.POSITIVE_INFINITY,
  queue: { max: 1024, timeoutMs: 5000 },
  panicThreshold: 0,
};

/** A pool without members. */
export function createPool(name: string, options: PoolOptions): Pool {
  return new LivePool(name, options, options.balancing ?? DEFAULT_BALANCING);
}
