/**
 * The server side of one HTTP/1.1 connection, on any byte stream.
 *
 * Half-close. The stream should be half-open capable (`allowHalfOpen: true` on the listener). A client's FIN
 * - between requests closes the connection;
 * - within a head gets a 400, as any malformed head;
 * - within a request body cuts that request off (400 where no answer has begun);
 * - after a whole request lets the answer finish, then closes. An answer that gives no byte for `idleTimeoutMs` after a
 *   FIN is taken for one whose client is gone.
 *
 * One request is handled at a time; pipelined bytes wait, and beyond `maxBufferedBytes` the stream is paused.
 * The stream's `data` buffers are kept and passed on: a socket with a reused `onread` buffer does not fit.
 */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { DownstreamConnection, Exchange } from "../exchange/exchange.ts";
import type { Limits, Offence } from "../exchange/limits.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { HeadError, type ParsedRequest } from "./head.ts";
import { type BodyOwner, IncomingBody } from "./incoming.ts";
import { Outbox } from "./outbox.ts";
import { type HeadReader, requestReader } from "./parser.ts";
import { statusLine } from "./serialise.ts";
import { ServerExchange } from "./server-exchange.ts";
import { type Sweeper, type Swept, sweeperOf } from "./sweep.ts";

export interface Http1ServerOptions {
  readonly connection: DownstreamConnection;
  readonly scheme: "http" | "https";
  readonly limits: Limits;
  readonly clock: Clock;
  /** A request came. It must be answered, at once or later, by `respond`, `accept` or `reset`. */
  onExchange(exchange: Exchange): void;
  /** A limit struck, or what came could not be understood. The connection is closing. */
  onOffence(reason: Offence): void;
  /** The stream is closed. Called once, after every exchange's close listeners. */
  onClose(): void;
}

export interface Http1Connection {
  /** Finishes what is in flight with "Connection: close"; closes an idle connection now. Idempotent. */
  drain(): void;
  /** Closes at once. Idempotent. */
  destroy(): void;
  /** A request is in flight, or the connection was upgraded. */
  readonly busy: boolean;
}

/** How long a client may take to close its side after we closed ours. */
const LINGER_MS = 5000;

const OPEN = 0;
/** Our side is closed; what still comes is thrown away, so that the answer is not lost to a reset (RFC 9112 §9.6). */
const LINGERING = 1;
const UPGRADED = 2;
const CLOSED = 3;

/** Serves HTTP/1.1 on `stream` until it closes. */
export function serveHttp1(stream: ByteStream, options: Http1ServerOptions): Http1Connection {
  return new ServerConnection(stream, options);
}

/** The connection behind {@link serveHttp1}, as its exchanges see it. */
export class ServerConnection implements Http1Connection, BodyOwner, Swept {
  readonly stream: ByteStream;
  readonly options: Http1ServerOptions;
  readonly outbox: Outbox;
  readonly sweeper: Sweeper;
  /** No request after the one in flight. */
  closing = false;

  readonly #reader: HeadReader<ParsedRequest>;
  #state = OPEN;
  #exchange: ServerExchange | undefined;
  #body: IncomingBody | undefined;
  /** Pipelined bytes, or those that came before an upgrade was accepted. */
  #pending: Buffer | undefined;
  #processing = false;
  #bodyPaused = false;
  #pendingPaused = false;
  #peerEnded = false;
  #requests = 0;
  #deadline: number;
  #lingered = 0;
  // Body rate: milliseconds in which the client could have sent, and bytes thrown away after an early answer.
  #bodyMs = 0;
  #drained = 0;
  // Write stall: what waited at the last visit, and since when.
  #lastWaiting = 0;
  #stalledMs = 0;
  #lastSent = 0;
  #silentMs = 0;

  readonly #onData: (chunk: Buffer) => void;
  readonly #onEnd: () => void;
  readonly #onDrain: () => void;
  readonly #onError: () => void;

  constructor(stream: ByteStream, options: Http1ServerOptions) {
    this.stream = stream;
    this.options = options;
    this.outbox = new Outbox(stream);
    this.#reader = requestReader(options.limits, options.scheme);
    this.sweeper = sweeperOf(options.clock);
    this.sweeper.add(this);
    this.#deadline = this.sweeper.deadline(options.limits.headTimeoutMs);
    this.#onData = (chunk) => this.#data(chunk);
    this.#onEnd = () => this.#end();
    this.#onDrain = () => {
      if (this.#exchange !== undefined) this.#exchange.drained();
      else if (this.#state === OPEN && this.#pending !== undefined) this.#next();
    };
    // "close" follows and tells all; without a listener the error would end the process.
    this.#onError = () => this.stream.destroy();
    stream.on("data", this.#onData);
    stream.on("end", this.#onEnd);
    stream.on("drain", this.#onDrain);
    stream.on("error", this.#onError);
    stream.on("close", () => this.#closed());
    stream.resume();
  }

  get busy(): boolean {
    return this.#exchange !== undefined || this.#state === UPGRADED;
  }

  drain(): void {
    this.closing = true;
    if (this.#state === OPEN && this.#exchange === undefined && !this.#reader.pending) this.#close();
  }

  destroy(): void {
    this.stream.destroy();
  }

  /** Whether this request, if it ends well, may be followed by another. */
  mayPersist(parsed: ParsedRequest): boolean {
    return (
      parsed.keepAlive &&
      !this.closing &&
      !this.#peerMayNotRepeat() &&
      this.#requests < this.options.limits.maxRequestsPerConnection
    );
  }

  #peerMayNotRepeat(): boolean {
    return this.#peerEnded && this.#pending === undefined;
  }

  /** Whether what is left of the request body can be read and thrown away to keep the connection. */
  canDrain(body: IncomingBody): boolean {
    return body.length === undefined || body.remaining <= this.options.limits.maxDrainBytes;
  }

  /** An exchange's answer is in the outbox, whole. */
  answerEnded(exchange: ServerExchange, persist: boolean): void {
    if (exchange !== this.#exchange) return;
    const body = this.#body;
    if (body !== undefined && !body.complete && persist) {
      // RFC 9112 §9.3: read the rest, or close. `#feed` counts what is thrown away.
      this.#bodyMs = 0;
      exchange.ended();
      body.discard(answeredEarly());
      return;
    }
    this.#exchange = undefined;
    this.#body = undefined;
    this.outbox.hold();
    exchange.ended();
    if (body !== undefined && !body.complete) body.discard(answeredEarly());
    if (persist) this.#next();
    else this.#close();
    this.outbox.unhold();
  }

  /** The answer cannot be completed: the client must see that. `abrupt` where the end of the stream would look like its end. */
  cut(abrupt = false): void {
    this.outbox.flush();
    const stream = this.stream as ByteStream & { resetAndDestroy?(): void; encrypted?: boolean };
    if (abrupt && stream.encrypted !== true && stream.resetAndDestroy !== undefined) stream.resetAndDestroy();
    else stream.destroy();
  }

  /** Hands the stream over. What came after the head is put back for the new owner, behind the answer. */
  upgrade(): ByteStream {
    const { stream } = this;
    if (this.#state !== OPEN) return stream;
    this.outbox.flush();
    this.#state = UPGRADED;
    this.#detach();
    this.sweeper.remove(this);
    stream.pause();
    if (this.#pending !== undefined) stream.unshift(this.#pending);
    this.#pending = undefined;
    return stream;
  }

  pauseReading(): void {
    this.#bodyPaused = true;
    this.stream.pause();
  }

  resumeReading(): void {
    this.#bodyPaused = false;
    if (!this.#pendingPaused) this.stream.resume();
  }

  bodyStarted(): void {
    // Whoever reads the body wants it: a client that waits is told so, unless an earlier 100 was passed on. A proxy that
    // wants the server to decide starts the body only after the server's own 100 (see http1/client.ts).
    const exchange = this.#exchange;
    if (exchange?.expectsContinue) exchange.inform(100, []);
  }

  bodyCancelled(): void {
    // The request is still to be answered; until then the rest is read and thrown away.
    this.#bodyMs = 0;
  }

  #data(chunk: Buffer): void {
    if (this.#state !== OPEN) {
      this.#lingered += chunk.length;
      if (this.#lingered > this.options.limits.maxDrainBytes) this.stream.destroy();
      return;
    }
    if (this.#pending !== undefined) {
      this.#keep(Buffer.concat([this.#pending, chunk]));
      return;
    }
    this.#process(chunk);
  }

  #process(chunk: Buffer): void {
    const { outbox } = this;
    this.#processing = true;
    outbox.hold();
    try {
      let offset = 0;
      while (offset < chunk.length && this.#state === OPEN) {
        if (this.#exchange === undefined) {
          // A client that asks without reading its answers waits like any slow reader.
          if (this.stream.writableNeedDrain) {
            this.#keep(chunk.subarray(offset));
            break;
          }
          offset = this.#head(chunk, offset);
        } else if (this.#body !== undefined && !this.#body.complete)
          offset = this.#feed(this.#body, chunk, offset);
        else {
          this.#keep(offset === 0 ? chunk : chunk.subarray(offset));
          break;
        }
      }
    } catch (thrown) {
      this.#refuse(thrown);
    }
    this.#processing = false;
    outbox.unhold();
  }

  #head(chunk: Buffer, offset: number): number {
    const reader = this.#reader;
    const begun = reader.pending;
    const parsed = reader.push(chunk, offset);
    if (parsed === undefined) {
      if (!begun && this.#requests > 0)
        this.#deadline = this.sweeper.deadline(this.options.limits.headTimeoutMs);
      return reader.next;
    }
    let next = reader.next;
    this.#requests++;
    let body: IncomingBody | undefined;
    const { length } = parsed;
    if (parsed.framed) {
      const { limits } = this.options;
      body = new IncomingBody(this, length, limits.maxBufferedBytes, limits.maxHeaders);
      this.#bodyMs = this.#drained = 0;
      // What is here of the body is taken in first, so that its reader gets it at once.
      if (length === 0 || next < chunk.length) next = body.feed(chunk, next);
    }
    this.#body = body;
    const exchange = new ServerExchange(this, parsed, body);
    this.#exchange = exchange;
    try {
      this.options.onExchange(exchange);
    } catch (cause) {
      exchange.reset(new EdgeError("INTERNAL", "the request's handler failed", { cause }));
    }
    return next;
  }

  #feed(body: IncomingBody, chunk: Buffer, offset: number): number {
    const next = body.feed(chunk, offset);
    if (!body.discarding) return next;
    this.#drained += next - offset;
    const exchange = this.#exchange;
    if (exchange?.closed) {
      if (body.complete) {
        this.#exchange = this.#body = undefined;
        this.#next();
      } else if (this.#drained > this.options.limits.maxDrainBytes) this.#close();
    }
    return next;
  }

  /** The connection is free for the next request. */
  #next(): void {
    this.#deadline = this.sweeper.deadline(this.options.limits.idleTimeoutMs);
    if (this.closing) {
      this.#close();
      return;
    }
    const pending = this.#pending;
    if (pending !== undefined && !this.#processing) {
      this.#pending = undefined;
      if (this.#pendingPaused) {
        this.#pendingPaused = false;
        this.stream.resume();
      }
      this.#process(pending);
    }
    if (this.#peerEnded && this.#exchange === undefined && this.#state === OPEN && !this.#processing)
      this.#end();
  }

  #keep(bytes: Buffer): void {
    this.#pending = bytes;
    if (bytes.length > this.options.limits.maxBufferedBytes && !this.#pendingPaused) {
      this.#pendingPaused = true;
      this.stream.pause();
    }
  }

  #end(): void {
    this.#peerEnded = true;
    if (this.#state !== OPEN) return;
    if (this.#exchange === undefined) {
      if (this.#reader.pending) this.#refuse(new HeadError(400, "the request's head is cut short"));
      else this.#close();
    } else if (this.#body !== undefined && !this.#body.complete)
      this.#refuse(new HeadError(400, "the request's body is cut short"));
  }

  /** Answers what cannot be served, if no answer has begun, and closes. */
  #refuse(thrown: unknown): void {
    if (this.#state !== OPEN) return;
    const known = thrown instanceof HeadError;
    const error = known ? thrown : new HeadError(500, "internal error");
    const exchange = this.#exchange;
    const begun = exchange?.answered ?? false;
    if (known) this.options.onOffence(error.offence);
    this.#exchange = undefined;
    if (exchange !== undefined && !exchange.closed) {
      // A cut answer must not end cleanly; one that has not begun is ours to give.
      if (begun) {
        this.#exchange = exchange;
        this.cut();
        return;
      }
      exchange.fail(
        new EdgeError(error.status === 408 ? "CLIENT_TIMEOUT" : "BAD_REQUEST", error.message, {
          source: "downstream",
          status: error.status,
          cause: thrown,
        }),
      );
    }
    if (begun) {
      this.#close();
      return;
    }
    const text = `${error.message}\n`;
    this.outbox.text(
      `${statusLine(error.status, "")}${this.sweeper.dateLine()}Content-Type: text/plain\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
    );
    this.#close();
  }

  /** Sends what waits, then FIN, and lets the client close. */
  #close(): void {
    if (this.#state !== OPEN) return;
    this.#state = LINGERING;
    this.#deadline = this.sweeper.deadline(LINGER_MS);
    this.#pending = undefined;
    this.#reader.dispose();
    this.outbox.flush();
    this.stream.end();
    if (this.#bodyPaused || this.#pendingPaused) this.stream.resume();
  }

  #closed(): void {
    if (this.#state === CLOSED) return;
    const upgraded = this.#state === UPGRADED;
    this.#state = CLOSED;
    this.sweeper.remove(this);
    this.#detach();
    this.#reader.dispose();
    this.#pending = undefined;
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (upgraded) exchange?.ended();
    else if (exchange !== undefined && !exchange.closed) exchange.fail(clientClosed());
    this.options.onClose();
  }

  #detach(): void {
    const { stream } = this;
    stream.removeListener("data", this.#onData);
    stream.removeListener("end", this.#onEnd);
    stream.removeListener("drain", this.#onDrain);
  }

  sweep(now: number): void {
    const { limits } = this.options;
    if (this.#stalled(limits.writeTimeoutMs)) {
      this.options.onOffence("write_timeout");
      this.stream.destroy();
      return;
    }
    if (this.#state === LINGERING) {
      if (now >= this.#deadline) this.stream.destroy();
      return;
    }
    const exchange = this.#exchange;
    if (exchange === undefined) {
      if (now >= this.#deadline) this.#overdue();
      return;
    }
    const body = this.#body;
    if (body !== undefined && !body.complete) this.#checkRate(body, exchange);
    else if (this.#peerEnded) {
      this.#silentMs = exchange.bytesSent === this.#lastSent ? this.#silentMs + 1000 : 0;
      this.#lastSent = exchange.bytesSent;
      if (this.#silentMs > limits.idleTimeoutMs) this.stream.destroy();
    }
  }

  #overdue(): void {
    if (this.#reader.pending)
      this.#refuse(new HeadError(408, "the request's head took too long", "head_timeout"));
    else {
      this.options.onOffence(this.#requests === 0 ? "head_timeout" : "idle_timeout");
      if (this.#requests === 0) this.stream.destroy();
      else this.#close();
    }
  }

  #checkRate(body: IncomingBody, exchange: ServerExchange): void {
    const { minBodyBytesPerSecond, bodyGraceMs } = this.options.limits;
    // Only time in which the client could send counts: a slow server is not its fault, nor is waiting for a 100.
    if (minBodyBytesPerSecond === 0 || this.#bodyPaused || exchange.expectsContinue) return;
    this.#bodyMs += 1000;
    if (this.#bodyMs <= bodyGraceMs || body.received * 1000 >= minBodyBytesPerSecond * this.#bodyMs) return;
    this.#refuse(new HeadError(408, "the request's body came too slowly", "body_rate"));
  }

  /** Whether bytes wait and none left since `ms`. */
  #stalled(ms: number): boolean {
    const waiting = this.stream.writableLength;
    const stuck = waiting > 0 && waiting === this.#lastWaiting;
    this.#lastWaiting = waiting;
    this.#stalledMs = stuck ? this.#stalledMs + 1000 : 0;
    return this.#stalledMs >= ms && stuck;
  }
}

function answeredEarly(): EdgeError {
  return new EdgeError("CLIENT_CLOSED", "the request was answered before its body was read", {
    source: "internal",
  });
}

function clientClosed(): EdgeError {
  return new EdgeError("CLIENT_CLOSED", "the client closed the connection", {
    source: "downstream",
    status: 499,
  });
}
