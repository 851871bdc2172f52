/** A second attempt beside the first: for requests that a slow server would keep waiting. */
import type { Clock, Timer } from "../clock.ts";
import type { HedgeConfig } from "../config/retrying.ts";
import type { EdgeError } from "../errors.ts";
import type { ByteSource } from "../exchange/body.ts";
import type { RequestContext } from "../exchange/context.ts";
import type { ResponseHandler, UpstreamRequest } from "../exchange/dispatch.ts";
import type { ResponseHead } from "../exchange/exchange.ts";
import type { HeaderList } from "../exchange/headers.ts";
import type { ByteStream } from "../exchange/stream.ts";
import type { AttemptTrace } from "../exchange/trace.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Lease, Server } from "../upstream/server.ts";
import { inheritDeadline } from "./deadline.ts";
import type { PoolFacts } from "./facts.ts";
import { outcomeOf } from "./outcome.ts";
import { retryAfterMs } from "./retry-after.ts";
import type { Recorder } from "./trace.ts";

/** The request as a whole. */
export interface HedgeOwner extends UpstreamRequest, ResponseHandler {
  readonly base: HeaderList;
  readonly context: RequestContext;
  readonly pool: Pool;
  readonly facts: PoolFacts;
  readonly clock: Clock;
  readonly recorder: Recorder | undefined;
  /** Whether an attempt is under way that has no answer. */
  readonly pending: boolean;
  /** The claim of that attempt. */
  readonly lease: Lease | undefined;
  tried: Server[] | undefined;
  /** A lease on a server that is well, and was not tried nor is in `not`. */
  fit(not: readonly Server[]): Lease | undefined;
  /** Gives the first attempt up for the second. */
  overtaken(by: Hedge): void;
}

/** Watches over one request, and asks a second server when the first is late. */
export class Hedging {
  private readonly owner: HedgeOwner;
  private readonly policy: HedgeConfig;
  private timer: Timer | undefined;
  /** The second attempt, while it has no answer and the first has none either. */
  private second: Hedge | undefined;
  private won = false;
  private sentAt = 0;

  constructor(owner: HedgeOwner, policy: HedgeConfig) {
    this.owner = owner;
    this.policy = policy;
    this.timer = undefined;
    this.second = undefined;
  }

  /** An attempt was sent. */
  wait(): void {
    this.sentAt = this.owner.clock.now();
    this.arm();
  }

  /** The second attempt, which from now on is the caller's. */
  take(): Hedge | undefined {
    const { second } = this;
    this.second = undefined;
    return second;
  }

  /** The request is over for this side: nothing else is sent. */
  drop(error: EdgeError | undefined): void {
    this.timer?.cancel();
    const second = this.take();
    if (!second) return;
    second.cancel?.(error);
    second.lease.settle("abandoned");
    this.owner.recorder?.ended(second.note, { code: "OVERTAKEN" });
  }

  /** There is an answer to pass on. */
  answered(server: Server, tookMs: number): void {
    this.drop(undefined);
    this.owner.facts.answered(server, tookMs);
    if (this.won) this.owner.facts.count.hedged("won");
  }

  secondAnswered(hedge: Hedge, head: ResponseHead, body: ByteSource | undefined): void {
    if (this.second !== hedge) {
      body?.cancel();
      return;
    }
    const { owner } = this;
    this.second = undefined;
    // "Not now" from one server is no answer while another is still at it.
    if (head.status >= 500 || head.status === 429) {
      hedge.lease.answered(head.status, retryAfterMs(head, owner.clock));
      hedge.lease.settle("ok");
      owner.recorder?.ended(hedge.note, { status: head.status });
      body?.cancel();
      return;
    }
    this.won = true;
    owner.overtaken(hedge);
    owner.respond(head, body);
  }

  secondFailed(hedge: Hedge, error: EdgeError): void {
    if (this.second !== hedge) return;
    this.second = undefined;
    const { owner } = this;
    owner.facts.count.failed(error.code);
    hedge.lease.settle(outcomeOf(error));
    owner.recorder?.ended(hedge.note, { code: error.code });
    owner.tried = [...(owner.tried ?? []), hedge.lease.server];
    this.arm();
  }

  private arm(): void {
    this.timer?.cancel();
    this.timer = this.owner.clock.after(this.policy.afterMs, () => this.late());
  }

  private late(): void {
    const { owner, policy } = this;
    const { facts, lease, context } = owner;
    if (!owner.pending || this.second || !lease) return;
    const hopeful = facts.maybeQuicker(owner.pool, lease.server, this.sentAt, policy);
    const other = hopeful ? owner.fit([lease.server]) : undefined;
    if (!other || !facts.takeHedge(policy)) {
      other?.settle("abandoned");
      // Later there may be more to hope for.
      this.arm();
      return;
    }
    context.attempts++;
    facts.count.hedged("sent");
    const hedge = new Hedge(this, owner, other);
    this.second = hedge;
    hedge.send();
  }
}

/** It has no body: only GET and HEAD are hedged. */
export class Hedge implements UpstreamRequest, ResponseHandler {
  readonly method: string;
  readonly path: string;
  readonly scheme: "http" | "https";
  readonly authority: string;
  readonly headers: HeaderList;
  readonly body: undefined;
  readonly protocol: undefined;
  readonly lease: Lease;
  readonly startedAt: number;
  readonly note: AttemptTrace | undefined;
  /** The first attempt has failed: this one stands for the request from now on. */
  alone = false;
  cancel: ((error?: EdgeError) => void) | undefined;
  private readonly hedging: Hedging;
  private readonly owner: HedgeOwner;

  constructor(hedging: Hedging, owner: HedgeOwner, lease: Lease) {
    this.hedging = hedging;
    this.owner = owner;
    this.method = owner.method;
    this.path = owner.path;
    this.scheme = owner.scheme;
    this.authority = owner.authority;
    this.headers = owner.base.concat(["X-Request-Id", owner.context.requestId]);
    this.body = undefined;
    this.protocol = undefined;
    this.lease = lease;
    this.startedAt = owner.clock.now();
    this.note = owner.recorder?.sent(lease.server, "hedge");
    this.cancel = undefined;
    inheritDeadline(owner, this);
  }

  send(): void {
    this.cancel = this.lease.server.transport.dispatch(this, this);
  }

  inform(status: number, headers: HeaderList): void {
    if (this.alone) this.owner.inform(status, headers);
  }

  respond(head: ResponseHead, body: ByteSource | undefined): void {
    if (this.alone) this.owner.respond(head, body);
    else this.hedging.secondAnswered(this, head, body);
  }

  upgraded(head: ResponseHead, stream: ByteStream): void {
    // Nothing was asked for that could be switched to; the owner refuses it.
    this.alone = true;
    this.owner.upgraded(head, stream);
  }

  failed(error: EdgeError): void {
    if (this.alone) this.owner.failed(error);
    else this.hedging.secondFailed(this, error);
  }
}
