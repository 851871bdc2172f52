/** How a connection ends: politely, with an error, cut, or by a timeout. */
import type { Clock } from "../clock.ts";
import type { EdgeError } from "../errors.ts";
import type { Limits, Offence } from "../exchange/limits.ts";
import { type Swept, sweepsOf } from "../exchange/rounds.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { codeName, ENHANCE_YOUR_CALM, Http2Error, INTERNAL_ERROR } from "./errors.ts";
import { GOAWAY } from "./frames.ts";
import { Sending } from "./sending.ts";
import type { Http2Stream } from "./stream.ts";

/** How long a connection that was ended may take to go away. */
const LINGER_MS = 2000;

export interface ConnectionFacts {
  readonly stream: ByteStream;
  readonly limits: Limits;
  readonly clock: Clock;
  onOffence(reason: Offence): void;
  onClose(error: EdgeError | undefined): void;
}

export abstract class Ending extends Sending implements Swept {
  place = -1;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly streams: Map<number, Http2Stream> = new Map();
  /** Nothing more is read: an error was said, or the stream is gone. */
  halted = false;
  protected readonly facts: ConnectionFacts;
  /** Why it ends, where that is an error. */
  protected endError: EdgeError | undefined;
  protected endedAt: number | undefined;
  /** When the header block that is being read began; 0 for none. */
  protected blockSince = 0;

  constructor(facts: ConnectionFacts) {
    super(facts.stream, facts.limits.maxBufferedBytes, facts.clock.now());
    this.facts = facts;
    this.limits = facts.limits;
    this.clock = facts.clock;
    sweepsOf(facts.clock).add(this);
  }

  /** The highest id that the peer opened, for GOAWAY. */
  protected abstract get lastPeerId(): number;
  /** The error that streams get when the connection goes. */
  protected abstract lost(message: string): EdgeError;
  /** The timeouts of the role. */
  protected abstract roleSweep(now: number): void;

  protected broke(error: unknown): void {
    if (error instanceof Http2Error) this.breach(error.http2Code, error.message);
    else this.fail(INTERNAL_ERROR, `internal: ${error instanceof Error ? error.message : String(error)}`);
  }

  /** Says GOAWAY. It MAY be said again with a lower id. */
  protected writeGoaway(lastId: number, code: number, message: string): void {
    const text = Buffer.from(message.slice(0, 200), "latin1");
    const payload = Buffer.allocUnsafe(8 + text.length);
    payload.writeUInt32BE(lastId, 0);
    payload.writeUInt32BE(code, 4);
    payload.set(text, 8);
    this.output.header(payload.length, GOAWAY, 0, 0);
    this.output.copy(payload, 0, payload.length);
    this.schedule();
  }

  /** A connection error (RFC 9113 §5.4.1): GOAWAY, then the end. `offence` is what to count it as. */
  fail(code: number, message: string, offence?: Offence): undefined {
    if (this.halted) return;
    this.halted = true;
    if (offence !== undefined) this.facts.onOffence(offence);
    this.writeGoaway(this.lastPeerId, code, message);
    this.endError = this.lost(`${codeName(code)}: ${message}`);
    this.#abortStreams(this.endError);
    this.#end();
  }

  /** The peer broke a rule of the protocol that costs the connection. */
  protected breach(code: number, message: string): undefined {
    return this.fail(code, message, "h2_protocol");
  }

  /** No stream is left and none will come: ends politely. */
  protected endQuietly(): void {
    if (this.halted) return;
    this.halted = true;
    this.#end();
  }

  #end(): void {
    this.blocked = false;
    this.round.clear();
    if (this.output.pending > 0) this.output.flush();
    this.endedAt = this.now;
    // What the peer still sends is read and dropped for a moment: closing over unread bytes would make the kernel reset
    // the connection and lose our last words.
    this.stream.resume();
    this.stream.end();
  }

  /** Cuts the connection. */
  destroyNow(error: EdgeError): void {
    this.endError ??= error;
    this.finishClosed(this.endError);
    this.stream.destroy();
  }

  #abortStreams(error: EdgeError): void {
    for (const stream of [...this.streams.values()]) {
      try {
        stream.fail(error);
      } catch {
        // A listener that throws must not keep the other streams from hearing of the end; it has nobody to tell.
      }
    }
  }

  protected finishClosed(error: EdgeError): void {
    if (this.closed) return;
    this.closed = true;
    const clean = this.halted && this.endError === undefined && this.streams.size === 0;
    this.halted = true;
    this.#abortStreams(error);
    this.output.discard();
    this.round.clear();
    sweepsOf(this.clock).remove(this);
    this.facts.onClose(clean ? undefined : error);
  }

  protected report(reason: Offence): void {
    this.facts.onOffence(reason);
  }

  sweep(now: number): void {
    if (this.closed) return;
    this.now = now;
    try {
      this.#sweep(now);
    } catch (error) {
      this.broke(error);
    }
  }

  #sweep(now: number): undefined {
    if (this.endedAt !== undefined) {
      // The last bytes of a last answer may take a slow client a while.
      const draining = this.endError === undefined && this.stream.writableLength > 0;
      if (now - this.endedAt >= (draining ? this.limits.writeTimeoutMs : LINGER_MS))
        this.destroyNow(this.lost("the connection did not close"));
      return;
    }
    const { writeTimeoutMs, headTimeoutMs } = this.limits;
    if (this.blocked && writeTimeoutMs > 0 && now - this.blockedSince > writeTimeoutMs) {
      this.report("write_timeout");
      this.destroyNow(this.lost("the peer takes no bytes"));
      return;
    }
    if (this.blockSince > 0 && now - this.blockSince > headTimeoutMs)
      return this.fail(ENHANCE_YOUR_CALM, "a header block took too long", "head_timeout");
    this.roleSweep(now);
    if (!this.closed) this.flush();
  }
}
