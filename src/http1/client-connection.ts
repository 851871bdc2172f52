/** The connection behind `createHttp1Client`. What it promises stands in client.ts. */
import type { Timer } from "../clock.ts";
import { EdgeError, type Retry } from "../errors.ts";
import type { ResponseHandler, UpstreamRequest } from "../exchange/dispatch.ts";
import { getHeader, hasToken } from "../exchange/headers.ts";
import { type Rounds, type Swept, sweepsOf } from "../exchange/rounds.ts";
import type { Borrower, ByteStream } from "../exchange/stream.ts";
import { countReceived } from "../runtime.ts";
import type { Http1Client, Http1ClientOptions } from "./client.ts";
import { CHUNKED, HeadError, type ParsedResponse, UNTIL_CLOSE } from "./head.ts";
import { type BodyOwner, IncomingBody } from "./incoming.ts";
import { Outbox } from "./outbox.ts";
import { OutgoingBody, type OutgoingOwner } from "./outgoing.ts";
import { type HeadReader, responseReader } from "./parser.ts";
import { requestText } from "./serialise.ts";

/** How long a request body waits for "100 Continue". */
const EXPECT_MS = 1000;
/** Informational responses to one request. */
const MAX_INFORMS = 100;

export class ClientConnection implements Http1Client, BodyOwner, Borrower, OutgoingOwner, Swept {
  readonly #stream: ByteStream;
  readonly #options: Http1ClientOptions;
  readonly #outbox: Outbox;
  readonly #reader: HeadReader<ParsedResponse>;
  /** Among all connections of the clock. */
  place = -1;
  readonly #rounds: Rounds<Swept>;
  readonly #maxHeaders: number;
  readonly #maxBuffered: number;
  #handler: ResponseHandler | undefined;
  #request: UpstreamRequest | undefined;
  #outgoing: OutgoingBody | undefined;
  #incoming: IncomingBody | undefined;
  /** Counts requests, so that a late cancel does not touch the next one. */
  #serial = 0;
  #closed = false;
  #gone = false;
  #upgraded = false;
  /** A byte of the answer is here. */
  #answering = false;
  #informs = 0;
  #keepAlive = true;
  #bodyStarted = true;
  #expectTimer: Timer | undefined;
  #error: EdgeError | undefined;
  #deadline = Number.POSITIVE_INFINITY;

  readonly #onData: (chunk: Buffer) => void;
  readonly #onEnd: () => void;
  readonly #onDrain: () => void;
  readonly #onError: (error: Error) => void;

  constructor(stream: ByteStream, options: Http1ClientOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#outbox = new Outbox(stream);
    this.#maxHeaders = options.maxHeaders ?? 256;
    this.#maxBuffered = options.maxBufferedBytes ?? 65_536;
    const limits = { maxHeadBytes: options.maxHeadBytes ?? 65_536, maxHeaders: this.#maxHeaders };
    this.#reader = responseReader(limits, options.heads);
    this.#rounds = sweepsOf(options.clock);
    this.#rounds.add(this);
    this.#onData = (chunk) => this.#data(chunk);
    this.#onEnd = () => this.#end();
    this.#onDrain = () => this.#outgoing?.drained();
    this.#onError = (cause) => {
      this.#break("the server broke the connection", cause);
      this.#stream.destroy();
    };
    stream.lend?.(this);
    stream.on("data", this.#onData);
    stream.on("end", this.#onEnd);
    stream.on("drain", this.#onDrain);
    stream.on("error", this.#onError);
    stream.on("close", () => this.#streamClosed());
    stream.resume();
  }

  get busy(): boolean {
    return this.#request !== undefined;
  }

  get closed(): boolean {
    return this.#closed || this.#stream.destroyed;
  }

  destroy(): void {
    this.#closed = true;
    this.#stream.destroy();
  }

  dispatch(request: UpstreamRequest, handler: ResponseHandler): (error?: EdgeError) => void {
    if (this.#request !== undefined)
      throw new EdgeError("INTERNAL", "the connection has a request in flight");
    const serial = ++this.#serial;
    let text: string;
    try {
      text = requestText(request);
    } catch (thrown) {
      handler.failed(thrown as EdgeError);
      this.#options.onIdle(this);
      return nothing;
    }
    this.#request = request;
    this.#handler = handler;
    this.#answering = false;
    this.#informs = 0;
    this.#keepAlive = true;
    const { responseTimeoutMs } = this.#options;
    this.#deadline =
      responseTimeoutMs === undefined ? Number.POSITIVE_INFINITY : this.#rounds.deadline(responseTimeoutMs);
    const { body } = request;
    const outbox = this.#outbox;
    if (body === undefined) {
      outbox.text(text);
      outbox.flush();
    } else {
      outbox.hold();
      outbox.text(text);
      this.#outgoing = new OutgoingBody(this, outbox, body, body.length ?? CHUNKED);
      if (hasToken(getHeader(request.headers, "expect"), "100-continue")) {
        this.#bodyStarted = false;
        this.#expectTimer = this.#options.clock.after(EXPECT_MS, () => this.#startBody());
      } else {
        this.#bodyStarted = true;
        body.start(this.#outgoing);
      }
      outbox.unhold();
    }
    return (error) => {
      if (serial === this.#serial) this.#cancel(error);
    };
  }

  pauseReading(): void {
    this.#stream.pause();
  }

  resumeReading(): void {
    this.#stream.resume();
  }

  bodyStarted(): void {}

  bodyCancelled(error: EdgeError | undefined): void {
    // What is left of the answer cannot be skipped with certainty, nor cheaply.
    this.#cancel(error);
  }

  bodySent(): void {
    if (this.#request !== undefined) this.#finishIfDone();
  }

  bodyCut(error: EdgeError): void {
    this.#fail(error);
    this.destroy();
  }

  bodyBytes(): void {}

  #cancel(error: EdgeError | undefined): void {
    if (this.#request === undefined) return;
    this.#handler = undefined;
    this.#incoming = undefined;
    this.#release(error ?? new EdgeError("CLIENT_CLOSED", "the request was cancelled"));
    this.destroy();
  }

  #startBody(): void {
    this.#expectTimer?.cancel();
    this.#expectTimer = undefined;
    const outgoing = this.#outgoing;
    if (this.#bodyStarted || outgoing === undefined || outgoing.ended) return;
    this.#bodyStarted = true;
    this.#outbox.hold();
    outgoing.source.start(outgoing);
    this.#outbox.unhold();
  }

  get borrows(): boolean {
    return this.#incoming?.borrows === true;
  }

  borrow(chunk: Buffer): void {
    this.#data(chunk, true);
  }

  /** What is `lent` a body's reader may see, but nothing here may keep. */
  #data(chunk: Buffer, lent = false): void {
    countReceived(chunk.length);
    if (this.#request === undefined) {
      // Bytes that nobody asked for would be taken for the next request's answer.
      this.destroy();
      return;
    }
    this.#answering = true;
    try {
      let offset = 0;
      while (offset < chunk.length) {
        if (this.#request === undefined) {
          this.destroy();
          return;
        }
        const incoming = this.#incoming;
        if (incoming === undefined) {
          offset = this.#head(chunk, offset);
          if (offset < 0) return;
        } else {
          offset = incoming.feed(chunk, offset, lent);
          if (incoming.complete) this.#answered(offset < chunk.length);
        }
      }
    } catch (thrown) {
      if (thrown instanceof HeadError) this.#protocolError(thrown.message);
      else {
        // A handler's bug; thrown on from here it would end the process.
        this.#fail(new EdgeError("INTERNAL", "handling the answer failed", { cause: thrown }));
        this.destroy();
      }
    }
  }

  /** Returns the offset to go on from, or -1 when this chunk is dealt with. */
  #head(chunk: Buffer, offset: number): number {
    const parsed = this.#reader.push(chunk, offset);
    let next = this.#reader.next;
    if (parsed === undefined) return next;
    const { head } = parsed;
    const handler = this.#handler!;
    const request = this.#request!;
    if (head.status < 200) {
      if (head.status === 101) return this.#switch(parsed, chunk, next);
      if (++this.#informs > MAX_INFORMS) throw new HeadError(400, "too many informational responses");
      handler.inform(head.status, head.headers);
      if (head.status === 100) this.#startBody();
      return this.#request === undefined ? -1 : next;
    }
    this.#deadline = Number.POSITIVE_INFINITY;
    if (!parsed.keepAlive) this.#keepAlive = false;
    const length = request.method === "HEAD" ? 0 : parsed.length;
    if (length === 0) {
      this.#handler = undefined;
      this.#answered(next < chunk.length);
      handler.respond(head, undefined);
      return -1;
    }
    if (length === UNTIL_CLOSE) this.#keepAlive = false;
    const body = new IncomingBody(this, length, this.#maxBuffered, this.#maxHeaders);
    this.#incoming = body;
    // What is here is taken in before anybody hears of the answer, so that a short one can go on in one write,
    // over a connection that is free again.
    if (next < chunk.length) next = body.feed(chunk, next);
    this.#handler = undefined;
    if (body.complete) this.#answered(next < chunk.length);
    handler.respond(head, body);
    return next < chunk.length && this.#incoming === body ? next : -1;
  }

  #switch(parsed: ParsedResponse, chunk: Buffer, next: number): number {
    const handler = this.#handler!;
    const stream = this.#stream;
    const asked = this.#request!.protocol;
    if (asked === undefined || parsed.protocol !== asked) {
      this.#protocolError("the server switches to a protocol that was not asked for");
      return -1;
    }
    this.#upgraded = this.#closed = true;
    this.#handler = undefined;
    this.#release(undefined);
    this.#rounds.remove(this);
    this.#detach();
    stream.pause();
    if (next < chunk.length) stream.unshift(chunk.subarray(next));
    handler.upgraded(parsed.head, stream);
    return -1;
  }

  /** The answer's last byte is here. `more`: so are bytes beyond it, which nobody asked for. */
  #answered(more: boolean): void {
    this.#incoming = undefined;
    if (more) this.#keepAlive = false;
    // RFC 9112 §9.3: a connection whose request is not through cannot be used again; the server has heard enough.
    if (this.#outgoing !== undefined && !this.#outgoing.ended) this.#keepAlive = false;
    this.#finishIfDone();
  }

  #finishIfDone(): void {
    if (this.#handler !== undefined || this.#incoming !== undefined) return;
    this.#release(undefined);
    if (!this.#keepAlive || this.closed) {
      this.destroy();
      return;
    }
    const { idleTimeoutMs } = this.#options;
    if (idleTimeoutMs !== undefined) this.#deadline = this.#rounds.deadline(idleTimeoutMs);
    this.#options.onIdle(this);
  }

  /** Lets go of the request. */
  #release(error: EdgeError | undefined): void {
    const outgoing = this.#outgoing;
    this.#request = undefined;
    this.#outgoing = undefined;
    this.#serial++;
    this.#deadline = Number.POSITIVE_INFINITY;
    if (this.#expectTimer !== undefined) {
      this.#expectTimer.cancel();
      this.#expectTimer = undefined;
    }
    // A body that nobody has started may still go to another server with this request.
    if (outgoing?.source.started || error === undefined) outgoing?.cancel(error);
  }

  #end(): void {
    this.#closed = true;
    const incoming = this.#incoming;
    if (incoming?.untilClose) {
      this.#incoming = undefined;
      this.#release(undefined);
      incoming.end();
    } else this.#break("the server closed the connection", undefined);
    this.#stream.destroy();
  }

  #streamClosed(): void {
    if (this.#gone) return;
    this.#gone = this.#closed = true;
    this.#rounds.remove(this);
    this.#break("the connection closed", undefined);
    this.#reader.dispose();
    this.#detach();
    this.#options.onClose(this, this.#error);
  }

  /** The stream gives no more bytes. */
  #break(message: string, cause: unknown): void {
    this.#closed = true;
    if (this.#request === undefined) return;
    const retry: Retry = this.#answering ? "never" : "idempotent";
    this.#fail(new EdgeError("UPSTREAM_RESET", message, { source: "upstream", status: 502, retry, cause }));
  }

  #protocolError(message: string): void {
    this.#fail(new EdgeError("UPSTREAM_PROTOCOL", message, { source: "upstream", status: 502 }));
    this.destroy();
  }

  #fail(error: EdgeError): void {
    const handler = this.#handler;
    const incoming = this.#incoming;
    if (this.#request === undefined) return;
    this.#error = error;
    this.#handler = undefined;
    this.#incoming = undefined;
    this.#closed = true;
    this.#release(error);
    if (handler !== undefined) handler.failed(error);
    else incoming?.fail(error);
  }

  #detach(): void {
    const stream = this.#stream;
    stream.lend?.(undefined);
    stream.removeListener("data", this.#onData);
    stream.removeListener("end", this.#onEnd);
    stream.removeListener("drain", this.#onDrain);
  }

  sweep(now: number): void {
    if (now < this.#deadline) return;
    if (this.#request !== undefined)
      this.#fail(
        new EdgeError("UPSTREAM_TIMEOUT", "the server gave no response in time", {
          source: "upstream",
          status: 504,
        }),
      );
    this.destroy();
  }
}

function nothing(): void {}
