/** The body that a peer sends on a stream: delivered as it comes, held back while the reader pauses. */
import { EdgeError } from "../errors.ts";
import type { ByteSink, ByteSource } from "../exchange/body.ts";
import type { HeaderList } from "../exchange/headers.ts";

/** Chunks below this size are copied, so that a reader that keeps them does not keep the whole read of the socket. */
const COPY_BELOW = 1024;
/** Chunks that must wait are copied up to this size for the same reason. */
const COPY_QUEUED_BELOW = 8192;

const NOTHING = Buffer.alloc(0);

/** What a body tells its stream. */
export interface IncomingOwner {
  /** Bytes left the body's hands: the window may be given back. */
  consumed(bytes: number): void;
  /** The reader wants no more. */
  bodyCancelled(error: EdgeError | undefined): void;
}

export class IncomingBody implements ByteSource {
  readonly length: number | undefined;
  readonly #owner: IncomingOwner;
  /** Bytes that came, read or not. */
  received = 0;
  #sink: ByteSink | undefined;
  #paused = false;
  #queue: Uint8Array[] = [];
  #queued = 0;
  #tail: Buffer = NOTHING;
  #tailUsed = 0;
  #tailIsLast = false;
  #ended = false;
  #trailers: HeaderList | undefined;
  #error: EdgeError | undefined;
  #done = false;
  #draining = false;

  constructor(owner: IncomingOwner, length: number | undefined) {
    this.#owner = owner;
    this.length = length;
  }

  get started(): boolean {
    return this.#sink !== undefined;
  }

  /** The reader is what holds it up, not the peer. */
  get held(): boolean {
    return this.#queued > 0 || this.#paused;
  }

  /** Whether bytes are thrown away. */
  get discarding(): boolean {
    return this.#done;
  }

  start(sink: ByteSink): void {
    if (this.#sink !== undefined) throw new EdgeError("INTERNAL", "a body can be read once");
    this.#sink = sink;
    if (this.#error !== undefined && !this.#done) {
      this.#done = true;
      sink.abort(this.#error);
    } else this.#deliver();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (!this.#draining) this.#deliver();
  }

  cancel(error?: EdgeError): void {
    if (this.#done) return;
    this.#done = true;
    this.#drop();
    this.#owner.bodyCancelled(error);
  }

  /** Whether `size` more bytes (and no more after them, if `last`) keep what Content-Length promised. */
  accepts(size: number, last: boolean): boolean {
    this.received += size;
    if (this.length === undefined) return true;
    return last ? this.received === this.length : this.received <= this.length;
  }

  push(bytes: Buffer, start: number, end: number): void {
    const size = end - start;
    if (this.#done) {
      this.#owner.consumed(size);
      return;
    }
    const sink = this.#sink;
    if (sink !== undefined && !this.#paused && this.#queued === 0) {
      const view = bytes.subarray(start, end);
      if (!sink.write(size < COPY_BELOW ? Buffer.from(view) : view)) this.#paused = true;
      this.#owner.consumed(size);
      return;
    }
    this.#queued += size;
    if (size < COPY_QUEUED_BELOW) this.#gather(bytes, start, end);
    else {
      this.#queue.push(bytes.subarray(start, end));
      this.#tailIsLast = false;
    }
  }

  finish(trailers: HeaderList | undefined): void {
    if (this.#ended || this.#error !== undefined) return;
    this.#ended = true;
    this.#trailers = trailers;
    if (this.#sink !== undefined && !this.#draining) this.#deliver();
  }

  abort(error: EdgeError): void {
    // A body that came whole stays whole for its reader, whatever happens to the stream afterwards.
    if (this.#done || this.#error !== undefined || this.#ended) return;
    this.#error = error;
    this.#drop();
    if (this.#sink === undefined) return;
    this.#done = true;
    this.#sink.abort(error);
  }

  /** Queues a copy, behind the last one in the same memory where it fits: many one-byte frames stay cheap to hold. */
  #gather(bytes: Buffer, start: number, end: number): void {
    const size = end - start;
    const last = this.#queue.length - 1;
    const joins = this.#tail.length - this.#tailUsed >= size && last >= 0 && this.#tailIsLast;
    if (!joins) {
      this.#tail = Buffer.allocUnsafe(Math.max(size, this.#queue.length > 0 ? COPY_QUEUED_BELOW : size));
      this.#tailUsed = 0;
    }
    bytes.copy(this.#tail, this.#tailUsed, start, end);
    this.#tailUsed += size;
    const view = this.#tail.subarray(0, this.#tailUsed);
    if (joins) this.#queue[last] = view;
    else this.#queue.push(view);
    this.#tailIsLast = true;
  }

  #deliver(): void {
    const sink = this.#sink;
    if (sink === undefined || this.#done) return;
    this.#draining = true;
    while (this.#queue.length > 0 && !this.#paused) {
      const chunk = this.#queue.shift()!;
      this.#queued -= chunk.length;
      if (!sink.write(chunk)) this.#paused = true;
      this.#owner.consumed(chunk.length);
      if (this.#done) break;
    }
    this.#draining = false;
    if (this.#queue.length > 0 || !this.#ended || this.#done) return;
    this.#done = true;
    sink.end(this.#trailers);
  }

  #drop(): void {
    const dropped = this.#queued;
    this.#queue = [];
    this.#tail = NOTHING;
    this.#tailUsed = 0;
    this.#queued = 0;
    if (dropped > 0) this.#owner.consumed(dropped);
  }
}
