/** What the proxy keeps per pool: counters, budgets, and who asked to be spared. */
import type { Clock } from "../clock.ts";
import type { BackendConfig } from "../config/config.ts";
import type { HedgeConfig } from "../config/retrying.ts";
import type { EdgeError } from "../errors.ts";
import type { Pool } from "../upstream/pool.ts";
import { createRetryBudget, DEFAULT_RETRY, type RetryBudget } from "../upstream/retry.ts";
import type { Server } from "../upstream/server.ts";

/** What of a backend's config decides about further attempts. */
export type ForwardPolicy = Pick<BackendConfig, "retry" | "hedge" | "totalTimeoutMs">;

export const DEFAULT_POLICY: ForwardPolicy = { retry: DEFAULT_RETRY, hedge: undefined, totalTimeoutMs: 0 };

export interface PoolCounters {
  retried(): void;
  failed(code: string): void;
  hedged(event: "sent" | "won"): void;
}

/** Late requests in a row, of which nobody knows whether other servers are quicker, that may look for themselves. */
const BLIND_HEDGES = 2;

export class PoolFacts {
  policy: ForwardPolicy = DEFAULT_POLICY;
  readonly count: PoolCounters;
  private readonly clock: Clock;
  private readonly retries: RetryBudget;
  private readonly hedges: RetryBudget;
  /** Until when servers asked to be left alone. */
  private readonly held = new Map<Server, number>();
  /** When a server last answered sooner than a hedge would have been sent, and which one. */
  private promptAt = Number.NEGATIVE_INFINITY;
  private prompt: Server | undefined;
  /** Requests that were late since then. */
  private late = 0;

  constructor(clock: Clock, count: PoolCounters) {
    this.clock = clock;
    this.count = count;
    this.retries = createRetryBudget(clock);
    this.hedges = createRetryBudget(clock);
  }

  request(): void {
    this.retries.request();
    if (this.policy.hedge !== undefined) this.hedges.request();
  }

  takeRetry(): boolean {
    const { budget, floor } = this.policy.retry;
    return this.retries.take(budget, floor);
  }

  /** Whether a request that `repeats` times was repeated already, since `startedAt`, may be once more. */
  mayRepeat(repeats: number, startedAt: number): boolean {
    const { retry, totalTimeoutMs } = this.policy;
    if (totalTimeoutMs > 0 && this.clock.now() - startedAt >= totalTimeoutMs) return false;
    return repeats < retry.maxRetries;
  }

  /** Whether this is a 504 of our own, as the server gave no head in time, and such are to be repeated. */
  repeats504({ code }: EdgeError): boolean {
    return code === "UPSTREAM_TIMEOUT" && this.policy.retry.statuses.includes(504);
  }

  /** A server said Retry-After. */
  hold(server: Server, forMs: number): void {
    if (forMs > 0) this.held.set(server, this.clock.now() + forMs);
  }

  /** Servers that no repeat should be sent to. */
  spared(): readonly Server[] {
    const now = this.clock.now();
    for (const [server, until] of this.held) if (until <= now) this.held.delete(server);
    return [...this.held.keys()];
  }

  /** A head came, `tookMs` after the request was sent there. */
  answered(server: Server, tookMs: number): void {
    const { hedge } = this.policy;
    if (hedge === undefined || tookMs >= hedge.afterMs) return;
    this.promptAt = this.clock.now();
    this.prompt = server;
    this.late = 0;
  }

  /**
   * Whether a request that was sent to `slow` at `sentAt`, and has no answer, may hope for more elsewhere: another server
   * was prompt meanwhile, or nobody has tried. Where all are slow, a second request makes them slower.
   */
  maybeQuicker(pool: Pool, slow: Server, sentAt: number, { afterMs }: HedgeConfig): boolean {
    this.late++;
    const seen = this.promptAt >= sentAt && this.prompt !== slow;
    if (!seen && this.late > BLIND_HEDGES) return false;
    return pool
      .members()
      .some((one) => one !== slow && one.state === "available" && (one.latencyMs ?? 0) < afterMs);
  }

  takeHedge({ budget }: HedgeConfig): boolean {
    return this.hedges.take(budget, 1);
  }
}
