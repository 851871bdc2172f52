/**
 * Bounds on what a server may take its time for. No request sets a timer: a round looks after all of a server's requests,
 * eight times within the shortest bound and at least once a second. So a bound strikes late by at most an eighth of
 * itself (or a second), and never early.
 */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { ByteSink, ByteSource } from "../exchange/body.ts";
import type { ResponseHandler, Transport, UpstreamRequest } from "../exchange/dispatch.ts";
import type { ResponseHead } from "../exchange/exchange.ts";
import { getHeader, type HeaderList } from "../exchange/headers.ts";
import type { Placed } from "../exchange/roster.ts";
import { Rounds } from "../exchange/rounds.ts";
import type { ByteStream } from "../exchange/stream.ts";

/** Milliseconds; 0 for no bound. */
export interface Deadlines {
  /** From the request's last byte to the response's head. */
  readonly responseTimeoutMs: number;
  /** How long a body may stand still because of the server, in either direction. Silent streams by trade are exempt. */
  readonly bodyTimeoutMs: number;
  /** From the first attempt to the response's last byte. An upgraded connection is under no bound. */
  readonly totalTimeoutMs: number;
}

/** The same transport, whose requests fail with UPSTREAM_TIMEOUT (504) beyond their deadlines. */
export function withDeadlines(transport: Transport, deadlines: Deadlines, clock: Clock): Transport {
  const set = [deadlines.responseTimeoutMs, deadlines.bodyTimeoutMs, deadlines.totalTimeoutMs].filter(
    (ms) => ms > 0,
  );
  if (set.length === 0) return transport;
  const periodMs = Math.min(Math.max(Math.min(...set) / 8, 5), 1000);
  const rounds = new Rounds<Timed>(clock, periodMs, (member, now) => member.visit(now));
  return {
    ...(transport.sendsExtra !== undefined && { sendsExtra: transport.sendsExtra }),
    dispatch: (request, handler) => new Timed(rounds, deadlines, request, handler).send(transport),
    close: () => transport.close(),
  };
}

/** When requests with a bound on their whole began: an attempt elsewhere has what is left of it. */
const began = new WeakMap<UpstreamRequest, number>();

/** Makes a further attempt of the same request, as an object of its own, end when the whole must. */
export function inheritDeadline(from: UpstreamRequest, to: UpstreamRequest): void {
  const since = began.get(from);
  if (since !== undefined) began.set(to, since);
}

const NEVER = Number.POSITIVE_INFINITY;

/** One attempt. It stands between the transport and the handler, and between both bodies and who reads them. */
class Timed implements ResponseHandler, ByteSource, ByteSink, Placed {
  readonly rounds: Rounds<Timed>;
  place = -1;
  private readonly deadlines: Deadlines;
  private readonly request: UpstreamRequest;
  private readonly handler: ResponseHandler;
  private cancelAttempt: ((error?: EdgeError) => void) | undefined;
  private responseBy = NEVER;
  private totalBy = NEVER;
  /** The last sign of life in either body. */
  private movedAt = 0;
  /** The request's last byte was handed over. */
  private sent: boolean;
  /** The server takes no more of the request's body. */
  private blocked = false;
  /** The client takes what comes of the response's body. */
  private reading = false;
  private head: ResponseHead | undefined;
  private over = false;
  private source: ByteSource | undefined;
  private sink: ByteSink | undefined;
  private error: EdgeError | undefined;
  started = false;

  constructor(
    rounds: Rounds<Timed>,
    deadlines: Deadlines,
    request: UpstreamRequest,
    handler: ResponseHandler,
  ) {
    this.rounds = rounds;
    this.deadlines = deadlines;
    this.request = request;
    this.handler = handler;
    this.sent = request.body === undefined;
  }

  send(transport: Transport): (error?: EdgeError) => void {
    const { request, rounds } = this;
    const { totalTimeoutMs } = this.deadlines;
    rounds.add(this);
    if (totalTimeoutMs > 0) {
      const since = began.get(request) ?? rounds.deadline(0);
      began.set(request, since);
      this.totalBy = since + totalTimeoutMs;
    }
    if (this.sent) this.awaitHead();
    const cancel = transport.dispatch(
      request.body === undefined ? request : withBody(request, new TimedBody(request.body, this)),
      this,
    );
    this.cancelAttempt = cancel;
    return (error) => {
      this.finish();
      cancel(error);
    };
  }

  // The request's body, as TimedBody sees it.

  requestSent(): void {
    this.sent = true;
    this.blocked = false;
    if (this.head === undefined && !this.over) this.awaitHead();
  }

  requestMoved(more: boolean): void {
    this.movedAt = this.rounds.now;
    this.blocked = !more;
  }

  // What the transport says.

  inform(status: number, headers: HeaderList): void {
    this.handler.inform(status, headers);
  }

  respond(head: ResponseHead, body: ByteSource | undefined): void {
    this.head = head;
    this.responseBy = NEVER;
    if (body === undefined || (this.deadlines.bodyTimeoutMs === 0 && this.totalBy === NEVER)) {
      this.finish();
      this.handler.respond(head, body);
      return;
    }
    this.source = body;
    this.handler.respond(head, this);
  }

  upgraded(head: ResponseHead, stream: ByteStream): void {
    this.finish();
    this.handler.upgraded(head, stream);
  }

  failed(error: EdgeError): void {
    this.finish();
    this.handler.failed(error);
  }

  // The response's body.

  get length(): number | undefined {
    return this.source!.length;
  }

  start(sink: ByteSink): void {
    this.started = true;
    if (this.error !== undefined) {
      sink.abort(this.error);
      return;
    }
    this.sink = sink;
    this.reading = true;
    this.movedAt = this.rounds.now;
    this.source!.start(this);
  }

  resume(): void {
    this.reading = true;
    this.movedAt = this.rounds.now;
    this.source!.resume();
  }

  cancel(error?: EdgeError): void {
    this.finish();
    this.source!.cancel(error);
  }

  get borrows(): boolean {
    return this.sink?.borrows === true;
  }

  write(chunk: Uint8Array, lent?: boolean): boolean {
    this.movedAt = this.rounds.now;
    const more = this.sink!.write(chunk, lent);
    this.reading = more;
    return more;
  }

  end(trailers?: HeaderList): void {
    this.finish();
    this.sink!.end(trailers);
  }

  abort(error: EdgeError): void {
    this.finish();
    this.sink!.abort(error);
  }

  // Time.

  visit(now: number): void {
    const { bodyTimeoutMs, responseTimeoutMs, totalTimeoutMs } = this.deadlines;
    if (now >= this.totalBy) {
      const waiting = this.head === undefined ? this.sent || this.blocked : this.reading;
      const whose = waiting ? "the server" : "the client";
      this.strike(`${whose} kept the request from being complete within ${totalTimeoutMs} ms`, waiting);
    } else if (now >= this.responseBy) {
      this.strike(`the server gave no response within ${responseTimeoutMs} ms`, true);
    } else if (bodyTimeoutMs > 0 && (this.blocked || this.reading)) {
      if (now < this.movedAt + this.rounds.periodMs + bodyTimeoutMs) return;
      if (this.reading && mayBeSilent(this.head)) this.movedAt = now;
      else this.strike(`the server let a body stand still for ${bodyTimeoutMs} ms`, true);
    }
  }

  private awaitHead(): void {
    const { responseTimeoutMs } = this.deadlines;
    if (responseTimeoutMs > 0) this.responseBy = this.rounds.deadline(responseTimeoutMs);
  }

  private finish(): void {
    this.over = true;
    this.rounds.remove(this);
  }

  /** @param byServer whether it is the server that was waited for; a slow client must not make it look ill */
  private strike(message: string, byServer: boolean): void {
    if (this.over) return;
    this.finish();
    const error = byServer
      ? new EdgeError("UPSTREAM_TIMEOUT", message, { source: "upstream", status: 504 })
      : new EdgeError("CLIENT_TIMEOUT", message, { source: "downstream", status: 408 });
    this.error = error;
    if (this.head === undefined) {
      this.cancelAttempt?.(error);
      this.handler.failed(error);
    } else {
      this.source?.cancel(error);
      this.sink?.abort(error);
    }
  }
}

/** Events come when they come; RPC streams too. */
function mayBeSilent(head: ResponseHead | undefined): boolean {
  const type = head && getHeader(head.headers, "content-type");
  return type !== undefined && /^(text\/event-stream|application\/grpc)/i.test(type);
}

function withBody(request: UpstreamRequest, body: ByteSource): UpstreamRequest {
  const { method, path, scheme, authority, headers, extra, protocol, memo } = request;
  return { method, path, scheme, authority, headers, extra, body, protocol, memo };
}

/** A request's body on its way to the transport. */
class TimedBody implements ByteSource, ByteSink {
  readonly length: number | undefined;
  private readonly source: ByteSource;
  private readonly owner: Timed;
  private sink: ByteSink | undefined;

  constructor(source: ByteSource, owner: Timed) {
    this.source = source;
    this.length = source.length;
    this.owner = owner;
  }

  get started(): boolean {
    return this.source.started;
  }

  start(sink: ByteSink): void {
    this.sink = sink;
    this.source.start(this);
  }

  resume(): void {
    this.owner.requestMoved(true);
    this.source.resume();
  }

  cancel(error?: EdgeError): void {
    this.source.cancel(error);
  }

  write(chunk: Uint8Array): boolean {
    const more = this.sink!.write(chunk);
    this.owner.requestMoved(more);
    return more;
  }

  end(trailers?: HeaderList): void {
    this.owner.requestSent();
    this.sink!.end(trailers);
  }

  abort(error: EdgeError): void {
    this.sink!.abort(error);
  }
}
