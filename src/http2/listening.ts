/** The receiving end of a connection's byte stream: chunks become frames, its events become ends. */
import type { HeaderList } from "../exchange/headers.ts";
import { countReceived } from "../runtime.ts";
import { type ConnectionFacts, Ending } from "./ending.ts";
import { type FrameListener, FrameReader } from "./frames.ts";
import { Guard } from "./guard.ts";
import { HpackDecoder } from "./hpack.ts";

export abstract class Listening extends Ending implements FrameListener {
  readonly guard: Guard;
  readonly decoder: HpackDecoder;
  /** When bytes last came from the peer. */
  heardAt: number;
  readonly #reader: FrameReader;

  constructor(facts: ConnectionFacts) {
    super(facts);
    const { stream, limits } = facts;
    this.guard = new Guard(limits.http2);
    this.decoder = new HpackDecoder(limits.http2.headerTableBytes);
    this.heardAt = this.now;
    this.#reader = new FrameReader(this);
    stream.on("data", this.#onData);
    stream.on("end", this.#onEnd);
    stream.on("drain", this.#onDrain);
    stream.on("error", this.#onError);
    stream.on("close", this.#onClose);
  }

  /** The bytes before the first frame; returns where frames begin, or -1 when more are needed or all is over. */
  protected abstract preface(chunk: Buffer): number;
  abstract onFrame(
    type: number,
    flags: number,
    streamId: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): void;
  abstract onOversize(type: number, streamId: number, length: number): void;

  readonly #onData = (chunk: Buffer): void => {
    countReceived(chunk.length);
    if (this.closed || this.halted) return;
    this.now = this.heardAt = this.clock.now();
    this.guard.tick(this.now);
    this.writing = true;
    try {
      const at = this.preface(chunk);
      if (at === 0) this.#reader.push(chunk);
      else if (at > 0 && at < chunk.length) this.#reader.push(chunk.subarray(at));
    } catch (error) {
      this.broke(error);
    }
    this.writing = false;
    this.flush();
  };

  readonly #onEnd = (): void => {
    // Half-closing is no part of HTTP/2: a peer that ended is gone.
    this.finishClosed(this.endError ?? this.lost("the peer ended the connection"));
    this.stream.end();
  };

  readonly #onDrain = (): void => {
    if (this.closed) return;
    this.now = this.clock.now();
    this.blocked = false;
    this.output.drained();
    this.flush();
    if (this.readPaused && !this.blocked) {
      this.readPaused = false;
      this.stream.resume();
    }
  };

  readonly #onError = (error: Error): void => {
    this.finishClosed(this.endError ?? this.lost(error.message));
  };

  readonly #onClose = (): void => {
    this.finishClosed(this.endError ?? this.lost("the connection closed"));
  };

  /** Decodes a block within the head limits. */
  protected decodeBlock(bytes: Buffer, start: number, end: number, into: HeaderList): void {
    this.decoder.decode(bytes, start, end, into, this.limits.maxHeadBytes, this.limits.maxHeaders + 5);
  }
}
