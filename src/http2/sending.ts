/** The sending half of a connection: whose turn it is, what the windows allow, and one write per turn. */
import { SCRATCH_BYTES } from "../exchange/scratch.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { joinsWrites } from "../runtime.ts";
import { roundTrip } from "./flow.ts";
import {
  CONTINUATION,
  DEFAULT_WINDOW,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  HEADERS,
  MAX_FRAME_BYTES,
} from "./frames.ts";
import { Output } from "./output.ts";
import { Round } from "./round.ts";
import type { Http2Stream } from "./stream.ts";
import { schedule, type Turned } from "./turn.ts";

/** Frames gathered for one write, at most. */
const TURN_BYTES = 131_072;
/** Output that piles up behind a peer that does not read, before we stop reading from it. */
const MAX_BACKLOG: number = joinsWrites ? 65_536 + SCRATCH_BYTES : 65_536;
/** Our encoder uses no dynamic table; this tells so a peer that set a smaller limit (RFC 7541 §4.2). */
const NO_TABLE = Buffer.from([0x20]);

export abstract class Sending implements Turned {
  readonly stream: ByteStream;
  readonly output: Output;
  /** Bytes that a stream may hold before its producer must wait. */
  readonly maxBufferedBytes: number;
  readonly openedAt: number;
  /** How long an answer of the peer takes, as a handshake or its acknowledgement of our SETTINGS tells. */
  roundTripMs: number = roundTrip();
  /** Monotonic time of the event that is being worked on. */
  now: number;
  /** Whether a flush is due at the end of this turn. */
  turnDue = false;
  sendWindow: number = DEFAULT_WINDOW;
  /** The connection is gone; nothing more is said or heard. */
  closed = false;
  protected readonly round: Round = new Round();
  /** A flush follows whatever is being done. */
  protected writing = false;
  /** The socket takes no more until "drain". */
  blocked = false;
  protected blockedSince = 0;
  protected readPaused = false;
  protected tableNotice = false;
  #woken: Http2Stream[] = [];

  constructor(stream: ByteStream, maxBufferedBytes: number, now: number) {
    this.stream = stream;
    this.output = new Output(stream);
    this.maxBufferedBytes = maxBufferedBytes;
    this.openedAt = now;
    this.now = now;
  }

  /** Something threw that should not have. */
  protected abstract broke(error: unknown): void;

  /** Whether DATA may go straight into the output, past the round. */
  mayWriteNow(bytes: number): boolean {
    if (joinsWrites) return bytes <= this.sendWindow && this.round.length === 0 && this.output.fits(bytes);
    return (
      !this.blocked &&
      bytes <= this.sendWindow &&
      this.round.length === 0 &&
      this.output.pending < this.maxBufferedBytes
    );
  }

  /** A stream has something that the round should send. */
  ready(stream: Http2Stream): void {
    if (stream.inRound || !stream.sendable) return;
    this.round.add(stream);
    if (this.sendWindow > 0 || stream.queued === 0) this.schedule();
  }

  /** Its producer may go on, once the round is done. */
  wake(stream: Http2Stream): void {
    this.#woken.push(stream);
  }

  /** A flush follows: at the end of what is being read, or else of this turn of the event loop. */
  schedule(): void {
    if (this.writing || this.turnDue || this.closed) return;
    schedule(this);
  }

  /** A header block as HEADERS and as many CONTINUATION frames as it needs. */
  writeHeaders(id: number, block: Buffer, endStream: boolean, length: number = block.length): void {
    const output = this.output;
    const end = endStream ? FLAG_END_STREAM : 0;
    const extra = this.tableNotice ? 1 : 0;
    if (length + extra <= MAX_FRAME_BYTES) {
      output.header(length + extra, HEADERS, FLAG_END_HEADERS | end, id);
      if (extra > 0) this.#writeNotice();
      output.copy(block, 0, length);
      return;
    }
    let at = 0;
    while (at < length || at === 0) {
      const first = at === 0;
      const notice = first ? extra : 0;
      const size = Math.min(length - at, MAX_FRAME_BYTES - notice);
      const flags = (first ? end : 0) | (at + size === length ? FLAG_END_HEADERS : 0);
      output.header(size + notice, first ? HEADERS : CONTINUATION, flags, id);
      if (notice > 0) this.#writeNotice();
      output.copy(block, at, at + size);
      at += size;
    }
  }

  #writeNotice(): void {
    this.output.copy(NO_TABLE, 0, 1);
    this.tableNotice = false;
  }

  /** The end of a turn: sends what waits, as far as the windows and the socket go. */
  turn(): void {
    this.turnDue = false;
    if (!this.writing) this.flush();
  }

  flush(): void {
    if (this.closed) return;
    this.writing = true;
    try {
      do {
        if (!this.blocked) this.#pump();
        if (this.blocked || this.output.pending === 0) break;
        if (!this.output.flush()) {
          this.blocked = true;
          this.blockedSince = this.now;
        }
      } while (!this.blocked && this.round.length > 0 && this.sendWindow > 0);
    } catch (error) {
      // A producer's own fault must end at this connection, not the process.
      this.broke(error);
    }
    this.writing = false;
    if (this.blocked && !this.readPaused && this.output.pending > MAX_BACKLOG) {
      this.readPaused = true;
      this.stream.pause();
    }
  }

  #pump(): void {
    const round = this.round;
    do {
      let idle = 0;
      while (round.length > idle && this.output.pending < TURN_BYTES) {
        const stream = round.next();
        if (this.sendWindow <= 0 && stream.queued > 0) {
          // Only ends and trailers pass a closed connection window.
          round.add(stream);
          idle++;
          continue;
        }
        stream.sendFrame();
        if (stream.sendable) round.add(stream);
        idle = 0;
      }
      const woken = this.#woken;
      if (woken.length === 0) return;
      this.#woken = [];
      for (const stream of woken) stream.wakeProducer();
    } while (this.output.pending < TURN_BYTES);
  }
}
