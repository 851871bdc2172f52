/** A message's body as it comes off the wire, in either direction. */
import { EdgeError } from "../errors.ts";
import type { ByteSink, ByteSource } from "../exchange/body.ts";
import type { HeaderList } from "../exchange/headers.ts";
import { ChunkedDecoder } from "./chunked.ts";
import { CHUNKED, UNTIL_CLOSE } from "./head.ts";

/** The connection that a body is read from. None of it is called once the body is complete or failed. */
export interface BodyOwner {
  /** The reader is slow: no more bytes until {@link resumeReading}. */
  pauseReading(): void;
  resumeReading(): void;
  /** Somebody started to read. */
  bodyStarted(): void;
  /** Nobody wants the rest. */
  bodyCancelled(error: EdgeError | undefined): void;
}

export class IncomingBody implements ByteSource {
  readonly length: number | undefined;
  /** It lasts until the connection ends. */
  readonly untilClose: boolean;
  started = false;
  /** The last byte is here. */
  complete = false;
  /** Bytes of content so far. */
  received = 0;
  /** Content is thrown away from here on. */
  discarding = false;

  readonly #owner: BodyOwner;
  readonly #maxBuffered: number;
  readonly #decoder: ChunkedDecoder | undefined;
  #remaining: number;
  #sink: ByteSink | undefined;
  #stopped = false;
  #paused = false;
  #finished = false;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #trailers: HeaderList | undefined;
  #error: EdgeError | undefined;

  /** `length`: bytes, CHUNKED or UNTIL_CLOSE. */
  constructor(owner: BodyOwner, length: number, maxBuffered: number, maxTrailers: number) {
    this.#owner = owner;
    this.#maxBuffered = maxBuffered;
    this.length = length >= 0 ? length : undefined;
    this.untilClose = length === UNTIL_CLOSE;
    this.#remaining = length >= 0 ? length : Number.POSITIVE_INFINITY;
    this.#decoder = length === CHUNKED ? new ChunkedDecoder(maxTrailers) : undefined;
  }

  /** Bytes yet to come, as far as one can tell. */
  get remaining(): number {
    return this.complete ? 0 : this.#remaining;
  }

  /** Whether the reader copies what it keeps of a chunk. */
  get borrows(): boolean {
    return this.#sink?.borrows === true;
  }

  /**
   * Takes what belongs to the body from `start` on; returns the offset after it. The memory of a chunk that is `lent` is somebody
   * else's again then. Throws a HeadError on bad chunks.
   */
  feed(chunk: Buffer, start: number, lent = false): number {
    const decoder = this.#decoder;
    if (decoder !== undefined) {
      decoder.feed(chunk, start);
      const { data, next } = decoder;
      if (decoder.done) {
        this.complete = true;
        this.#trailers = decoder.trailers;
      }
      if (data !== undefined) this.#take(data, lent);
      if (decoder.done) this.#finish();
      return next;
    }
    const size = Math.min(chunk.length - start, this.#remaining);
    this.#remaining -= size;
    if (this.#remaining === 0) this.complete = true;
    this.#take(size === chunk.length ? chunk : chunk.subarray(start, start + size), lent);
    if (this.complete) this.#finish();
    return start + size;
  }

  /** The connection ended, and with it a body that lasts until then. */
  end(): void {
    this.complete = true;
    this.#finish();
  }

  /** The rest will never come. */
  fail(error: EdgeError): void {
    if (this.complete || this.#error !== undefined) return;
    this.#error = error;
    this.#decoder?.dispose();
    if (this.#sink === undefined || this.discarding || this.#finished) return;
    this.#held = [];
    this.#finished = true;
    this.#sink.abort(error);
  }

  /** The connection throws the rest away; a reader hears why. */
  discard(error: EdgeError): void {
    if (this.discarding) return;
    this.discarding = true;
    this.#held = [];
    this.#heldBytes = 0;
    this.#unpause();
    if (this.#sink === undefined || this.#finished) return;
    this.#finished = true;
    this.#sink.abort(error);
  }

  start(sink: ByteSink): void {
    if (this.started) throw new EdgeError("INTERNAL", "a body can be read once");
    this.started = true;
    if (this.discarding) return;
    this.#sink = sink;
    if (!this.complete && this.#error === undefined) this.#owner.bodyStarted();
    this.#drain();
  }

  resume(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    this.#drain();
  }

  cancel(error?: EdgeError): void {
    if (this.discarding || this.#finished) return;
    this.discarding = true;
    this.#held = [];
    this.#heldBytes = 0;
    if (this.complete || this.#error !== undefined) return;
    this.#unpause();
    this.#owner.bodyCancelled(error);
  }

  #take(data: Uint8Array, lent: boolean): void {
    this.received += data.length;
    if (this.discarding) return;
    if (this.#sink !== undefined && !this.#stopped && this.#heldBytes === 0) {
      if (this.#sink.write(data, lent)) return;
      this.#stopped = true;
      this.#pause();
      return;
    }
    this.#held.push(lent ? Buffer.from(data) : data);
    this.#heldBytes += data.length;
    if (this.#stopped || this.#heldBytes > this.#maxBuffered) this.#pause();
  }

  #drain(): void {
    const sink = this.#sink;
    if (sink === undefined) return;
    while (this.#held.length > 0 && !this.#stopped && !this.discarding) {
      const data = this.#held.shift()!;
      this.#heldBytes -= data.length;
      if (!sink.write(data)) this.#stopped = true;
    }
    if (this.#held.length > 0) return;
    if (this.complete) this.#finish();
    else if (this.#error !== undefined) {
      if (!this.#finished && !this.discarding) {
        this.#finished = true;
        sink.abort(this.#error);
      }
    } else if (this.#stopped) this.#pause();
    else this.#unpause();
  }

  /** The end carries no bytes, so it is told even to a sink that said stop; but after what is held for it. */
  #finish(): void {
    if (this.#finished || this.discarding || this.#sink === undefined || this.#held.length > 0) return;
    this.#finished = true;
    this.#sink.end(this.#trailers);
  }

  #pause(): void {
    if (this.#paused || this.complete) return;
    this.#paused = true;
    this.#owner.pauseReading();
  }

  #unpause(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (!this.complete) this.#owner.resumeReading();
  }
}
