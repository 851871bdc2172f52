/** The connection behind `serveHttp1`: heads in, exchanges out, one at a time. What it promises stands in server.ts. */
import { EdgeError } from "../errors.ts";
import { type Rounds, type Swept, sweepsOf } from "../exchange/rounds.ts";
import { Loan } from "../exchange/scratch.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { countReceived } from "../runtime.ts";
import { dateLine } from "./date.ts";
import { answeredEarly, clientClosed, refused } from "./faults.ts";
import { HeadError, type ParsedRequest } from "./head.ts";
import { type BodyOwner, IncomingBody } from "./incoming.ts";
import { Outbox } from "./outbox.ts";
import { type HeadReader, requestReader } from "./parser.ts";
import { refusalText } from "./serialise.ts";
import type { Http1Connection, Http1ServerOptions } from "./server.ts";
import { ServerExchange } from "./server-exchange.ts";
import { Watch } from "./watch.ts";

/**
 * How long an answer may give no byte after the client's FIN. A client that goes away looks just like one that has only
 * finished sending, and is by far the more common one: the server should not work for it.
 */
const HALF_CLOSED_MS = 2000;
/** How long a client may take to close its side after we closed ours. */
const LINGER_MS = 5000;

const OPEN = 0;
/** Our side is closed; what still comes is thrown away, so that the answer is not lost to a reset (RFC 9112 §9.6). */
const LINGERING = 1;
const UPGRADED = 2;
const CLOSED = 3;

export class ServerConnection implements Http1Connection, BodyOwner, Swept {
  readonly stream: ByteStream;
  readonly options: Http1ServerOptions;
  readonly outbox: Outbox;
  place = -1;
  readonly #rounds: Rounds<Swept>;
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
  /** Bytes thrown away after an early answer. */
  #drained = 0;
  readonly #watch = new Watch();

  readonly #onData: (chunk: Buffer) => void;
  readonly #onEnd: () => void;
  readonly #onDrain: () => void;
  readonly #onError: () => void;

  constructor(stream: ByteStream, options: Http1ServerOptions) {
    this.stream = stream;
    this.options = options;
    this.outbox = new Outbox(stream, new Loan(stream));
    this.#reader = requestReader(options.limits, options.scheme);
    this.#rounds = sweepsOf(options.clock);
    this.#rounds.add(this);
    this.#deadline = this.#rounds.deadline(options.limits.headTimeoutMs);
    this.#onData = (chunk) => this.#data(chunk);
    this.#onEnd = () => this.#end();
    this.#onDrain = () => {
      this.outbox.drained();
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
    const another = !this.#peerEnded || this.#pending !== undefined;
    const within = this.#requests < this.options.limits.maxRequestsPerConnection;
    return parsed.keepAlive && !this.closing && another && within;
  }

  /** An exchange's answer is in the outbox, whole. */
  answerEnded(exchange: ServerExchange, persist: boolean): void {
    if (exchange !== this.#exchange) return;
    const body = this.#body;
    if (body !== undefined && !body.complete && persist) {
      // RFC 9112 §9.3: read the rest, or close. `#feed` counts what is thrown away.
      this.#watch.bodyBegins();
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
    this.#rounds.remove(this);
    stream.pause();
    if (this.#pending !== undefined) stream.unshift(this.#pending);
    this.#pending = undefined;
    // Whoever takes the stream has missed its "end"; a client that cannot send any more has no use for an upgrade.
    if (this.#peerEnded) stream.destroy();
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
    this.#watch.bodyBegins();
  }

  #data(chunk: Buffer): void {
    countReceived(chunk.length);
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
        this.#deadline = this.#rounds.deadline(this.options.limits.headTimeoutMs);
      return reader.next;
    }
    let next = reader.next;
    this.#requests++;
    let body: IncomingBody | undefined;
    const { length } = parsed;
    if (parsed.framed) {
      const { limits } = this.options;
      body = new IncomingBody(this, length, limits.maxBufferedBytes, limits.maxHeaders);
      this.#drained = 0;
      this.#watch.bodyBegins();
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
    this.#deadline = this.#rounds.deadline(this.options.limits.idleTimeoutMs);
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
    // What was pipelined before the FIN is all there is: it may end within a head, or within a body.
    if (this.#peerEnded && this.#state === OPEN && !this.#processing) this.#end();
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
    } else if (this.#exchange.closed) this.#close();
    else if (this.#body !== undefined && !this.#body.complete)
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
      exchange.fail(refused(error, thrown));
    }
    if (begun) {
      this.#close();
      return;
    }
    this.outbox.text(refusalText(error.status, error.message, dateLine(this.options.clock)));
    this.#close();
  }

  /** Sends what waits, then FIN, and lets the client close. */
  #close(): void {
    if (this.#state !== OPEN) return;
    this.#state = LINGERING;
    this.#deadline = this.#rounds.deadline(LINGER_MS);
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
    this.#rounds.remove(this);
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
    const watch = this.#watch;
    if (watch.stalled(this.stream.writableLength, limits.writeTimeoutMs)) {
      this.options.onOffence("write_timeout");
      this.stream.destroy();
      return;
    }
    if (this.#state === LINGERING) {
      if (now >= this.#deadline) this.stream.destroy();
      return;
    }
    const exchange = this.#exchange;
    const body = this.#body;
    if (exchange === undefined) {
      if (now >= this.#deadline) this.#overdue();
    } else if (body !== undefined && !body.complete) {
      // Only time in which the client could send counts: a slow server is not its fault, nor is waiting for a 100.
      const may = !this.#bodyPaused && !exchange.expectsContinue;
      if (may && watch.tooSlow(body.received, limits))
        this.#refuse(new HeadError(408, "the request's body came too slowly", "body_rate"));
    } else if (this.#peerEnded && watch.silent(exchange.bytesSent, HALF_CLOSED_MS)) this.stream.destroy();
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
}
