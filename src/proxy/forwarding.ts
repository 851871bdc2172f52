/** One request on its way through the servers of a pool. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { ByteSource } from "../exchange/body.ts";
import type { RequestContext } from "../exchange/context.ts";
import type { ResponseHandler, UpstreamRequest } from "../exchange/dispatch.ts";
import { type Exchange, type ResponseHead, responseHead } from "../exchange/exchange.ts";
import { type HeaderList, withHeader } from "../exchange/headers.ts";
import type { ByteStream } from "../exchange/stream.ts";
import type { AttemptReason, AttemptTrace } from "../exchange/trace.ts";
import type { RequestParts } from "../exchange/web-request.ts";
import { lazyResponse } from "../exchange/web-response.ts";
import type { Pool } from "../upstream/pool.ts";
import { isIdempotent, retryKind } from "../upstream/retry.ts";
import type { Lease, Server } from "../upstream/server.ts";
import type { PickSink } from "../upstream/sink.ts";
import type { PoolFacts } from "./facts.ts";
import { clientHead, requestHeaders, responseHeaders } from "./headers.ts";
import { type Hedge, type HedgeOwner, Hedging } from "./hedge.ts";
import { LeasedBody } from "./leased-body.ts";
import { noRoom, outcomeOf } from "./outcome.ts";
import { ReplayBody } from "./replay.ts";
import { retryAfterMs } from "./retry-after.ts";
import { Recorder } from "./trace.ts";
import { isUpgrade, Upgrade } from "./upgrade.ts";
import { acceptedFields, withKey } from "./websocket.ts";

/** One request, over all its attempts. It is itself what the transport sends and what it answers to. */
export class Forwarding implements UpstreamRequest, ResponseHandler, HedgeOwner {
  readonly method: string;
  readonly path: string;
  readonly scheme: "http" | "https";
  readonly authority: string;
  headers: HeaderList;
  extra: HeaderList | undefined;
  memo: Record<symbol, unknown> | undefined;
  body: ByteSource | undefined;
  readonly protocol: string | undefined;

  private readonly exchange: Exchange;
  readonly context: RequestContext;
  readonly pool: Pool;
  readonly facts: PoolFacts;
  readonly clock: Clock;
  private readonly answer: PromiseWithResolvers<Response>;
  /** The fields without X-Request-Id; the same list again for a repeated head. */
  readonly base: HeaderList;
  private readonly baseMemo: Record<symbol, unknown> | undefined;
  private readonly replay: ReplayBody | undefined;
  lease: Lease | undefined;
  tried: Server[] | undefined;
  private cancel: ((error?: EdgeError) => void) | undefined;
  /** Leaves the line before servers that are full. */
  private leave: (() => void) | undefined;
  private startedAt = 0;
  /** Attempts that repeated what a server may have seen. */
  private repeats = 0;
  /** Where attempts are written down, if anywhere, and the one under way. */
  readonly recorder: Recorder | undefined;
  private note: AttemptTrace | undefined;
  private readonly hedging: Hedging | undefined;
  /** An answer or a final error was given. */
  private done = false;
  /** What of the answer is still open after that. */
  private open: LeasedBody | Upgrade | undefined;

  constructor(
    parts: RequestParts,
    hops: number | undefined,
    context: RequestContext,
    pool: Pool,
    facts: PoolFacts,
    clock: Clock,
    via: string,
    answer: PromiseWithResolvers<Response>,
  ) {
    const { exchange } = context;
    const { connection, version } = exchange;
    this.exchange = exchange;
    this.context = context;
    this.pool = pool;
    this.facts = facts;
    this.clock = clock;
    this.answer = answer;
    this.path = parts.path;
    this.scheme = parts.scheme;
    this.authority = parts.authority;
    this.protocol = isUpgrade(parts.protocol) ? parts.protocol : undefined;
    // An extended CONNECT and a GET with Upgrade are the same wish; the transport words it for its version.
    this.method = this.protocol === undefined ? parts.method : "GET";
    let headers = requestHeaders(
      parts.headers,
      {
        version,
        connection,
        via,
        scheme: parts.scheme,
        authority: parts.authority,
        peer: connection.remoteAddress,
        peerTrusted: context.peerTrusted,
        clientAddress: context.clientAddress,
      },
      parts.head?.memo,
    );
    if (hops !== undefined) headers = withHeader(headers, "Max-Forwards", String(hops - 1));
    if (this.protocol === "websocket") headers = withKey(headers);
    this.base = headers;
    this.baseMemo = parts.head?.memo;
    this.headers = headers;
    this.extra = undefined;
    this.memo = undefined;
    // Past the head of an upgrade no byte goes out before the server has switched: it could be read as a request.
    this.replay = parts.body && this.protocol === undefined ? new ReplayBody(parts.body) : undefined;
    this.body = undefined;
    this.recorder = context.trace && new Recorder(context.trace, context.startedAt, clock);
    const { hedge } = facts.policy;
    const plain = parts.method === "GET" || parts.method === "HEAD";
    const hedged = hedge !== undefined && plain && !parts.body && this.protocol === undefined;
    this.hedging = hedged ? new Hedging(this, hedge) : undefined;
    exchange.onClose((error) => this.closed(error));
  }

  private get replayable(): boolean {
    return this.replay === undefined || this.replay.replayable;
  }

  /** Whether doing it twice is safe, and can be done. */
  private get repeatable(): boolean {
    return isIdempotent(this.method) && this.protocol === undefined && this.replayable;
  }

  /** Whether an attempt is under way that has no answer. */
  get pending(): boolean {
    return !this.done && this.leave === undefined && this.lease !== undefined;
  }

  attempt(): void {
    // The client may be gone already.
    if (this.done) return;
    const { repeatable, pool } = this;
    const key = pool.keyOf?.(this.base, this.context.clientAddress);
    const lease = this.pick(undefined, repeatable, key);
    if (lease) this.send(lease, "first");
    else {
      this.leave = pool.waitForLease((later) => this.waited(later), undefined, repeatable, key, this.sink);
      if (!this.leave) this.fail(noRoom(this.pool));
    }
  }

  private pick(tried: readonly Server[] | undefined, repeatable: boolean, key?: string): Lease | undefined {
    return this.pool.lease(tried, repeatable, key, this.sink);
  }

  /** Hears of the next pick. */
  private get sink(): PickSink | undefined {
    return this.recorder?.weigh();
  }

  /** The wait for a server with room is over: there is one, or it was in vain, and `error` is what remains to be said. */
  private waited(lease: Lease | undefined, error?: EdgeError): void {
    this.leave = undefined;
    if (!lease) this.fail(error ?? noRoom(this.pool));
    else {
      if (error) this.facts.count.retried();
      this.send(lease, error ? "failed" : "first");
    }
  }

  private send(lease: Lease, reason: AttemptReason): void {
    const { context } = this;
    this.lease = lease;
    context.attempts++;
    context.server = lease.server.id;
    this.startedAt = this.clock.now();
    this.note = this.recorder?.sent(lease.server, reason);
    if (this.replay) this.body = this.replay.attempt();
    this.cancel = undefined;
    const { transport } = lease.server;
    const own = ["X-Request-Id", context.requestId];
    const apart = transport.sendsExtra === true;
    this.headers = apart ? this.base : this.base.concat(own);
    this.extra = apart ? own : undefined;
    // What is derived from a list that never comes again is not worth keeping.
    this.memo = apart ? this.baseMemo : undefined;
    const attempt = context.attempts;
    const cancel = transport.dispatch(this, this);
    // A transport may fail at once, and the next attempt be under way already.
    if (attempt !== context.attempts || this.done) return;
    this.cancel = cancel;
    this.hedging?.wait();
  }

  inform(status: number, headers: HeaderList): void {
    if (this.done) return;
    if (status !== 100) this.exchange.inform(status, responseHeaders(headers));
    else if (this.exchange.expectsContinue) this.exchange.inform(100, []);
  }

  respond(head: ResponseHead, body: ByteSource | undefined): void {
    const { statuses } = this.facts.policy.retry;
    if (statuses.length > 0 && statuses.includes(head.status) && this.asksAnother(head, body)) return;
    const lease = this.answered(head);
    if (!lease) {
      body?.cancel();
      return;
    }
    if (body === undefined) {
      lease.settle("ok");
      this.answer.resolve(lazyResponse(clientHead(head), undefined));
      return;
    }
    const leased = new LeasedBody(body, lease);
    this.open = leased;
    this.answer.resolve(lazyResponse(clientHead(head), leased));
  }

  upgraded(head: ResponseHead, stream: ByteStream): void {
    const lease = this.answered(head);
    if (!lease) {
      stream.destroy();
      return;
    }
    const fields = acceptedFields(responseHeaders(head.headers), this.headers, this.exchange.version);
    if (!fields) {
      lease.settle("broken");
      stream.destroy();
      const message = "the server switched to another protocol than the one asked for";
      this.refuse(new EdgeError("UPSTREAM_PROTOCOL", message, { source: "upstream", status: 502 }));
      return;
    }
    lease.upgraded();
    const upgrade = new Upgrade(this.protocol ?? "", stream, lease);
    this.open = upgrade;
    this.answer.resolve(lazyResponse(responseHead(101, fields), undefined, upgrade));
  }

  failed(error: EdgeError): void {
    if (this.done) return;
    const lease = this.lease!;
    this.facts.count.failed(error.code);
    lease.settle(outcomeOf(error));
    this.recorder?.ended(this.note, { code: error.code });
    const second = this.hedging?.take();
    if (second) {
      this.follow(second);
      return;
    }
    const next = this.another(lease.server, error);
    if (next) {
      this.facts.count.retried();
      this.send(next, "failed");
    } else if (!this.leave) this.fail(error);
  }

  /** A lease for the next attempt, where one is allowed and there is a server for it; waits where those are full. */
  private another(server: Server, error: EdgeError): Lease | undefined {
    const { pool, context } = this;
    const { facts } = this;
    const kind =
      facts.repeats504(error) && this.mayRepeat()
        ? "budget"
        : retryKind(error, {
            method: this.method,
            replayable: this.replayable,
            attempts: context.attempts,
            repeats: this.repeats,
            maxRetries: facts.policy.retry.maxRetries,
            servers: pool.members().length,
          });
    if (kind === "no" || (kind === "budget" && !facts.takeRetry())) return undefined;
    if (kind === "budget") this.repeats++;
    this.tried ??= [];
    this.tried.push(server);
    const other = this.pick(this.tried, false);
    if (other) return other;
    // Alone in its pool: a kept-alive connection that it closed, or one stream refused, is no reason to give up on it.
    // A server that cannot be reached, or took too long, would do so again.
    const maybeStale = error.code === "UPSTREAM_RESET" || error.code === "UPSTREAM_REFUSED";
    const again = maybeStale && context.attempts === 1;
    const same = again ? this.pick(undefined, false) : undefined;
    if (same) return same;
    const waited = (lease: Lease | undefined): void => this.waited(lease, error);
    this.leave = pool.waitForLease(waited, this.tried, false, undefined, this.sink);
    if (again) this.leave ??= pool.waitForLease(waited, undefined, false, undefined, this.sink);
    return undefined;
  }

  private mayRepeat(): boolean {
    return this.repeatable && this.facts.mayRepeat(this.repeats, this.context.startedAt);
  }

  /** An answer that another server may better. True where one is asked, and this one let go. */
  private asksAnother(head: ResponseHead, body: ByteSource | undefined): boolean {
    if (this.done || !this.repeatable) return false;
    const { facts } = this;
    const lease = this.lease!;
    const { server } = lease;
    const spareMs = retryAfterMs(head, this.clock);
    lease.answered(head.status, spareMs);
    facts.hold(server, spareMs);
    const second = this.hedging?.take();
    const next = second || !this.mayRepeat() ? undefined : this.fit([...facts.spared(), server]);
    if (!second && !next) return false;
    if (next && !facts.takeRetry()) {
      next.settle("abandoned");
      return false;
    }
    this.recorder?.ended(this.note, { status: head.status });
    lease.settle("ok");
    body?.cancel();
    if (second) this.follow(second);
    else if (next) {
      this.repeats++;
      this.tried = [...(this.tried ?? []), server];
      facts.count.retried();
      this.send(next, "status");
    }
    return true;
  }

  /** A lease on a server that is well, and none of `not`: for attempts that can be done without. */
  fit(not: readonly Server[]): Lease | undefined {
    const lease = this.pick([...(this.tried ?? []), ...not], false);
    const state = lease?.server.state;
    if (state === undefined || state === "available" || state === "probing") return lease;
    lease?.settle("abandoned");
    return undefined;
  }

  /** Another server was quicker. */
  overtaken(by: Hedge): void {
    this.cancel?.(new EdgeError("CLIENT_CLOSED", "another server was quicker"));
    this.lease?.settle("overtaken");
    this.recorder?.ended(this.note, { code: "OVERTAKEN" });
    this.follow(by);
  }

  /** The first attempt is over without an answer: the second stands for the request. */
  private follow(second: Hedge): void {
    const { lease } = second;
    this.tried = [...(this.tried ?? []), this.lease!.server];
    second.alone = true;
    this.lease = lease;
    this.cancel = (error) => second.cancel?.(error);
    this.startedAt = second.startedAt;
    this.note = second.note;
    this.context.server = lease.server.id;
  }

  /** The head is here: returns the lease, or undefined where nobody waits for it. */
  private answered(head: ResponseHead): Lease | undefined {
    if (this.done) return undefined;
    this.done = true;
    this.replay?.settle();
    const lease = this.lease!;
    lease.answered(head.status, retryAfterMs(head, this.clock));
    const tookMs = this.clock.now() - this.startedAt;
    this.context.upstreamMs = tookMs;
    this.recorder?.ended(this.note, { status: head.status, used: true });
    this.hedging?.answered(lease.server, tookMs);
    return lease;
  }

  private fail(error: EdgeError): void {
    this.done = true;
    this.hedging?.drop(error);
    this.context.error = error;
    this.replay?.abandon(error);
    this.refuse(error);
  }

  /** Whoever asked may have stopped waiting; an error that nobody catches must not end the process. */
  private refuse(error: EdgeError): void {
    this.answer.promise.catch(() => {});
    this.answer.reject(error);
  }

  /** The exchange ended. What nobody took of the answer is let go, so that no slot stays taken for it. */
  private closed(error: EdgeError | undefined): void {
    if (this.done) {
      if (this.open && !this.open.started) this.open.cancel(error);
      return;
    }
    const reason =
      error ??
      new EdgeError("CLIENT_CLOSED", "answered before the server did", { source: "downstream", status: 499 });
    this.done = true;
    this.cancel?.(reason);
    this.hedging?.drop(reason);
    this.leave?.();
    this.lease?.settle("abandoned");
    this.recorder?.ended(this.note, { code: reason.code });
    this.replay?.abandon(reason);
    this.refuse(reason);
  }
}
