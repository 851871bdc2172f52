/** One HTTP/2 stream, whichever role: its states (RFC 9113 §5.1), what waits to be sent, and its incoming body. */
import { EdgeError } from "../errors.ts";
import type { ByteSink, ByteSource } from "../exchange/body.ts";
import type { HeaderList } from "../exchange/headers.ts";
import { joinsWrites } from "../runtime.ts";
import type { Http2Connection } from "./connection.ts";
import { CANCEL, codeName, INTERNAL_ERROR, STREAM_CLOSED } from "./errors.ts";
import type { ReceiveWindow } from "./flow.ts";
import { DATA, FLAG_END_STREAM, MAX_DATA_BYTES } from "./frames.ts";
import { encodeFields } from "./heads.ts";
import type { IncomingBody } from "./incoming.ts";

/** Who fills a stream's outgoing side: a body source, or a tunnel's writer. */
export interface Producer {
  /** There is room again, after {@link Http2Stream.send} returned false. */
  resume(): void;
  /** Nothing more can be sent. */
  cancel(error?: EdgeError): void;
}

export abstract class Http2Stream {
  readonly session: Http2Connection;
  readonly id: number;
  /** What the peer lets us send on this stream; SETTINGS can make it negative (RFC 9113 §6.9.2). */
  sendWindow: number;
  /** The peer has sent END_STREAM. */
  remoteClosed = false;
  /** We have sent END_STREAM. */
  localClosed = false;
  /** Reset by either side, or its connection is gone; nothing more happens on it. */
  dead = false;
  incoming: IncomingBody | undefined;
  receiveWindow: ReceiveWindow | undefined;
  producer: Producer | undefined;
  /** Bytes of DATA that were handed to the session. */
  bytesSent = 0;
  /** When it last got on with sending, or began to wait; monotonic milliseconds. */
  progressAt: number;
  /** Whether it waits in the connection's round. */
  inRound = false;

  #queue: Uint8Array[] = [];
  #head = 0;
  #queued = 0;
  #finishing = false;
  #trailers: Buffer | undefined;
  #producerWaits = false;

  constructor(session: Http2Connection, id: number) {
    this.session = session;
    this.id = id;
    this.sendWindow = session.peerInitialWindow;
    this.progressAt = session.now;
  }

  /** The peer's END_STREAM was taken; called after the body has heard of it. */
  protected abstract remoteEnded(): void;
  /** Our END_STREAM was handed over. */
  protected abstract localEnded(): void;
  /** The stream ended early. Called once; `error` is for the layers above. */
  protected abstract failed(error: EdgeError): void;

  /** Bytes that wait for a window or the socket. */
  get queued(): number {
    return this.#queued;
  }

  /** Whether something waits that a frame could carry now. */
  get sendable(): boolean {
    if (this.dead || this.localClosed) return false;
    return this.#queued > 0 ? this.sendWindow > 0 : this.#finishing;
  }

  /**
   * Sends or queues a chunk, which then belongs to the stream unless it is `lent`. False: wait for the producer's `resume`.
   */
  send(chunk: Uint8Array, lent = false): boolean {
    if (this.dead || this.localClosed || this.#finishing) return false;
    if (chunk.length === 0) return !this.#producerWaits;
    const session = this.session;
    if (this.#queued === 0 && chunk.length <= this.sendWindow && session.mayWriteNow(chunk.length)) {
      this.#write(chunk, 0);
      if (!session.blocked) session.schedule();
      else if (!session.output.fits(chunk.length)) return this.#wait();
      return true;
    }
    if (this.#queued === 0) this.progressAt = session.now;
    this.#queue.push(lent ? Buffer.from(chunk) : chunk);
    this.#queued += chunk.length;
    session.ready(this);
    if (this.#queued <= session.maxBufferedBytes) return true;
    this.#producerWaits = true;
    return false;
  }

  /** No more follows. */
  finish(trailers?: HeaderList): void {
    if (this.dead || this.localClosed || this.#finishing) return;
    if (trailers !== undefined && trailers.length > 0) this.#trailers = encodeFields(trailers);
    this.#finishing = true;
    if (this.#queued === 0) {
      this.#sendEnd();
      this.session.schedule();
    } else this.session.ready(this);
  }

  /** The whole body at once, with END_STREAM on its last frame. */
  sendLast(bytes: Uint8Array): void {
    if (bytes.length <= MAX_DATA_BYTES && bytes.length <= this.sendWindow) {
      if (this.session.mayWriteNow(bytes.length)) {
        this.#write(bytes, FLAG_END_STREAM);
        this.#ended();
        this.session.schedule();
        return;
      }
    }
    this.send(bytes);
    this.finish();
  }

  /** END_STREAM went out with HEADERS. */
  markLocalEnd(): void {
    this.#ended();
  }

  /** Puts at most one DATA frame (and what ends the stream) into the output. Called by the connection's round. */
  sendFrame(): void {
    if (this.dead) return;
    const session = this.session;
    if (this.#queued > 0) {
      let size = Math.min(this.#queued, this.sendWindow, session.sendWindow, MAX_DATA_BYTES);
      if (size <= 0) return;
      const last = size === this.#queued && this.#finishing && this.#trailers === undefined;
      session.output.header(size, DATA, last ? FLAG_END_STREAM : 0, this.id);
      this.#account(size);
      this.#queued -= size;
      while (size > 0) {
        const chunk = this.#queue[this.#head]!;
        if (chunk.length <= size) {
          session.output.chunk(chunk);
          this.#queue[this.#head++] = EMPTY;
          size -= chunk.length;
        } else {
          session.output.chunk(chunk.subarray(0, size));
          this.#queue[this.#head] = chunk.subarray(size);
          size = 0;
        }
      }
      if (this.#head === this.#queue.length) {
        this.#queue.length = 0;
        this.#head = 0;
      } else if (this.#head > 64) {
        this.#queue.splice(0, this.#head);
        this.#head = 0;
      }
      if (last) {
        this.#ended();
        return;
      }
      if (this.#producerWaits && this.#queued * 2 < session.maxBufferedBytes) {
        this.#producerWaits = false;
        session.wake(this);
      }
    }
    if (this.#queued === 0 && this.#finishing && !this.localClosed) this.#sendEnd();
  }

  /** DATA came: `bytes[start, end)`, of which `padding` more bytes counted for flow control. */
  receive(bytes: Buffer, start: number, end: number, flowBytes: number, last: boolean): void {
    const session = this.session;
    const size = end - start;
    this.receiveWindow ??= session.newReceiveWindow();
    if (!this.receiveWindow.receive(flowBytes)) {
      session.credit(flowBytes);
      session.resetStreamFlow(this);
      return;
    }
    const body = this.incoming;
    if (body === undefined) {
      session.credit(flowBytes);
      if (last) this.endRemote();
      return;
    }
    if (!body.accepts(size, last)) {
      session.credit(flowBytes);
      this.malformed("DATA does not match Content-Length");
      return;
    }
    if (last) this.remoteClosed = true;
    const padding = flowBytes - size;
    if (padding > 0) this.consumed(padding);
    if (size > 0) body.push(bytes, start, end);
    if (last && !this.dead) this.endRemote();
  }

  /** The reader took `bytes` of the body: gives window back. */
  consumed(bytes: number): void {
    const session = this.session;
    session.credit(bytes);
    const window = this.receiveWindow;
    if (window === undefined || this.dead) return;
    if (this.remoteClosed) {
      window.finish(bytes);
      return;
    }
    const before = window.size;
    const give = window.consume(bytes, session.now, session.roundTripMs);
    if (give === 0) return;
    session.output.windowUpdate(this.id, give);
    if (window.size > before) session.widen(window.size);
    session.schedule();
  }

  /** The peer ended its side. */
  endRemote(trailers?: HeaderList): void {
    this.remoteClosed = true;
    this.receiveWindow?.finish(0);
    this.incoming?.finish(trailers);
    if (this.dead) return;
    this.remoteEnded();
    if (this.localClosed && !this.dead) this.session.forget(this);
  }

  /** Says RST_STREAM and ends the stream for the layers above, unless it is over. */
  resetWith(code: number, error: EdgeError): void {
    if (this.dead) return;
    const done = this.localClosed && this.remoteClosed;
    if (!done) this.session.writeReset(this, code);
    this.fail(error);
  }

  /** The peer broke a rule of messages (RFC 9113 §8.1.1): a stream error. */
  abstract malformed(message: string): void;

  /** The stream is over without a clean end; the peer knows or is gone. */
  fail(error: EdgeError): void {
    if (this.dead) return;
    this.dead = true;
    this.#queue = [];
    this.#queued = 0;
    this.session.forget(this);
    const producer = this.producer;
    this.producer = undefined;
    producer?.cancel(error);
    this.incoming?.abort(error);
    this.failed(error);
  }

  /** Runs a source into this stream. `expected` is the Content-Length that was promised. */
  pipe(source: ByteSource, expected: number | undefined): void {
    this.producer = source;
    source.start(new OutgoingBody(this, expected));
  }

  /** Has the producer wait until the socket has drained. */
  #wait(): false {
    if (!this.#producerWaits) this.session.wake(this);
    this.#producerWaits = true;
    return false;
  }

  wakeProducer(): void {
    this.#producerWaits = false;
    if (!this.dead && !this.localClosed) this.producer?.resume();
  }

  #write(chunk: Uint8Array, flags: number): void {
    const output = this.session.output;
    for (let at = 0; at < chunk.length || at === 0; at += MAX_DATA_BYTES) {
      const size = Math.min(chunk.length - at, MAX_DATA_BYTES);
      output.header(size, DATA, flags, this.id);
      output.chunk(size === chunk.length ? chunk : chunk.subarray(at, at + size));
      this.#account(size);
    }
  }

  #account(size: number): void {
    const session = this.session;
    this.sendWindow -= size;
    session.sendWindow -= size;
    session.guard.dataSent();
    this.bytesSent += size;
    this.progressAt = session.now;
  }

  #sendEnd(): void {
    const output = this.session.output;
    if (this.#trailers !== undefined) this.session.writeHeaders(this.id, this.#trailers, true);
    else if (!output.endLast(this.id)) output.header(0, DATA, FLAG_END_STREAM, this.id);
    this.#ended();
  }

  #ended(): void {
    this.localClosed = true;
    this.producer = undefined;
    this.localEnded();
    if (this.remoteClosed && !this.dead) this.session.forget(this);
  }
}

const EMPTY = new Uint8Array(0);

/** The sink that turns a source into DATA. */
class OutgoingBody implements ByteSink {
  readonly borrows: boolean = joinsWrites;
  readonly #stream: Http2Stream;
  #left: number | undefined;

  constructor(stream: Http2Stream, expected: number | undefined) {
    this.#stream = stream;
    this.#left = expected;
  }

  write(chunk: Uint8Array, lent?: boolean): boolean {
    if (this.#left !== undefined) {
      this.#left -= chunk.length;
      if (this.#left < 0) {
        this.#mismatch();
        return false;
      }
    }
    return this.#stream.send(chunk, lent);
  }

  end(trailers?: HeaderList): void {
    this.#stream.producer = undefined;
    if (this.#left !== undefined && this.#left > 0) this.#mismatch();
    else this.#stream.finish(trailers);
  }

  abort(error: EdgeError): void {
    this.#stream.producer = undefined;
    this.#stream.resetWith(INTERNAL_ERROR, error);
  }

  #mismatch(): void {
    // A body shorter or longer than promised must never look whole (RFC 9113 §8.1.1).
    const error = new EdgeError("INTERNAL", "body does not match its Content-Length", { status: 502 });
    this.#stream.resetWith(INTERNAL_ERROR, error);
  }
}

/** What a stream's RST_STREAM code means, in words. */
export function resetMessage(code: number): string {
  return code === CANCEL || code === STREAM_CLOSED
    ? "the peer cancelled the stream"
    : `the peer reset the stream: ${codeName(code)}`;
}
