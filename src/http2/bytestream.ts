/** A byte stream over an HTTP/2 stream: tunnels and upgraded requests. */
import type { EdgeError } from "../errors.ts";
import type { ByteSink } from "../exchange/body.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { CANCEL, clientGone } from "./errors.ts";
import type { IncomingBody } from "./incoming.ts";
import type { Http2Stream } from "./stream.ts";

type Listener = (...args: never[]) => void;

/**
 * The part of a Duplex that the engines use, without one. It ends ("end") only when the peer said END_STREAM; whatever
 * cuts it short is "error" then "close". Bytes flow from the first "data" listener on, unless paused before.
 */
export class Http2ByteStream implements ByteStream {
  readonly #stream: Http2Stream;
  readonly #incoming: IncomingBody;
  #listeners: Map<string, Listener[]> = new Map();
  #paused: boolean | undefined;
  #kept: Uint8Array[] = [];
  #needDrain = false;
  #readEnded = false;
  #endSaid = false;
  #writeEnded = false;
  #started = false;
  destroyed = false;

  constructor(stream: Http2Stream, incoming: IncomingBody) {
    this.#stream = stream;
    this.#incoming = incoming;
    stream.producer = {
      resume: () => {
        if (!this.#needDrain) return;
        this.#needDrain = false;
        this.#emit("drain");
      },
      cancel: (error) => this.abort(error ?? clientGone("the tunnel was cut")),
    };
  }

  get writableLength(): number {
    return this.#stream.queued;
  }

  get writableNeedDrain(): boolean {
    return this.#needDrain;
  }

  // ---- the side that writes

  write(chunk: Uint8Array | string, encoding?: "latin1"): boolean {
    if (this.#writeEnded || this.destroyed) return false;
    const bytes = typeof chunk === "string" ? Buffer.from(chunk, encoding ?? "utf8") : chunk;
    const more = this.#stream.send(bytes);
    if (!more) this.#needDrain = true;
    return more;
  }

  end(): void {
    if (this.#writeEnded || this.destroyed) return;
    this.#writeEnded = true;
    this.#stream.finish();
    this.#closeIfDone();
  }

  cork(): void {}

  uncork(): void {}

  destroy(error?: Error): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.#stream.resetWith(CANCEL, clientGone(error?.message ?? "the tunnel was closed"));
    if (error !== undefined) this.#emit("error", error);
    this.#emit("close");
  }

  // ---- the side that reads

  pause(): this {
    this.#paused = true;
    return this;
  }

  resume(): this {
    this.#paused = false;
    this.#flow();
    return this;
  }

  unshift(chunk: Uint8Array): void {
    if (chunk.length > 0) this.#kept.unshift(chunk);
    if (this.#started && this.#paused === false) queueMicrotask(() => this.#flow());
  }

  #flow(): void {
    if (this.#paused !== false || this.destroyed) return;
    while (this.#kept.length > 0) {
      const chunk = this.#kept.shift()!;
      this.#emit("data", asBuffer(chunk));
      if (this.#paused as boolean) return;
    }
    if (!this.#started) {
      this.#started = true;
      this.#incoming.start(new Reader(this));
    } else this.#incoming.resume();
    this.#sayEnd();
  }

  /** Bytes came. False when the listener has paused. */
  taken(chunk: Uint8Array): boolean {
    if (this.#paused || this.#kept.length > 0) {
      this.#kept.push(chunk);
      return false;
    }
    this.#emit("data", asBuffer(chunk));
    return !this.#paused;
  }

  ended(): void {
    this.#readEnded = true;
    this.#sayEnd();
  }

  #sayEnd(): void {
    if (!this.#readEnded || this.#endSaid || this.#kept.length > 0 || this.destroyed) return;
    this.#endSaid = true;
    this.#emit("end");
    this.#closeIfDone();
  }

  #closeIfDone(): void {
    if (!this.#endSaid || !this.#writeEnded || this.destroyed) return;
    this.destroyed = true;
    this.#emit("close");
  }

  /** The stream was cut. */
  abort(error: EdgeError): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.#emit("error", error);
    this.#emit("close");
  }

  // ---- listeners

  on(event: string, listener: (...args: never[]) => void): this {
    const known = this.#listeners.get(event);
    if (known === undefined) this.#listeners.set(event, [listener]);
    else this.#listeners.set(event, [...known, listener]);
    if (event === "data" && this.#paused === undefined) {
      this.#paused = false;
      // As with a Duplex, bytes come after the caller is done setting up.
      queueMicrotask(() => this.#flow());
    }
    return this;
  }

  removeListener(event: string, listener: (...args: never[]) => void): this {
    const known = this.#listeners.get(event);
    if (known !== undefined)
      this.#listeners.set(
        event,
        known.filter((each) => each !== listener),
      );
    return this;
  }

  removeAllListeners(event?: string): this {
    if (event === undefined) this.#listeners = new Map();
    else this.#listeners.delete(event);
    return this;
  }

  #emit(event: string, argument?: unknown): void {
    const known = this.#listeners.get(event);
    if (known === undefined) return;
    for (const listener of known) (listener as (argument?: unknown) => void)(argument);
  }
}

/** Kept apart from the byte stream, whose `write` and `end` are those of the other direction. */
class Reader implements ByteSink {
  readonly #of: Http2ByteStream;

  constructor(of: Http2ByteStream) {
    this.#of = of;
  }

  write(chunk: Uint8Array): boolean {
    return this.#of.taken(chunk);
  }

  end(): void {
    this.#of.ended();
  }

  abort(error: EdgeError): void {
    this.#of.abort(error);
  }
}

function asBuffer(chunk: Uint8Array): Buffer {
  return Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}
