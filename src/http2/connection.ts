/** One HTTP/2 connection on a byte stream: everything of RFC 9113 that both roles share. */
import type { Clock } from "../clock.ts";
import type { EdgeError } from "../errors.ts";
import type { HeaderList } from "../exchange/headers.ts";
import type { Limits, Offence } from "../exchange/limits.ts";
import type { ByteStream } from "../exchange/stream.ts";
import {
  codeName,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  FRAME_SIZE_ERROR,
  Http2Error,
  INTERNAL_ERROR,
  PROTOCOL_ERROR,
  STREAM_CLOSED,
} from "./errors.ts";
import { ReceiveWindow } from "./flow.ts";
import {
  CONTINUATION,
  DATA,
  DEFAULT_WINDOW,
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FLAG_PADDED,
  FLAG_PRIORITY,
  type FrameListener,
  FrameReader,
  GOAWAY,
  HEADERS,
  MAX_FRAME_BYTES,
  MAX_WINDOW,
  PING,
  PRIORITY,
  PUSH_PROMISE,
  RST_STREAM,
  readUint32,
  SETTINGS,
  SETTINGS_ENABLE_CONNECT_PROTOCOL,
  SETTINGS_ENABLE_PUSH,
  SETTINGS_HEADER_TABLE_SIZE,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_CONCURRENT_STREAMS,
  SETTINGS_MAX_FRAME_SIZE,
  streamIdAt,
  WINDOW_UPDATE,
} from "./frames.ts";
import { Guard } from "./guard.ts";
import { HpackDecoder } from "./hpack.ts";
import { Output } from "./output.ts";
import { Recent } from "./recent.ts";
import { Round } from "./round.ts";
import type { Http2Stream } from "./stream.ts";
import { enrol, unsweep } from "./sweep.ts";
import { schedule, type Turned } from "./turn.ts";

/** Frames gathered for one write, at most. */
const TURN_BYTES = 131_072;
/** Output that piles up behind a peer that does not read, before we stop reading from it. */
const MAX_BACKLOG = 65_536;
/** How long a connection that was ended may take to go away. */
const LINGER_MS = 2000;
/** Our encoder uses no dynamic table; this tells so a peer that set a smaller limit (RFC 7541 §4.2). */
const NO_TABLE = Buffer.from([0x20]);

export interface ConnectionFacts {
  readonly stream: ByteStream;
  readonly limits: Limits;
  readonly clock: Clock;
  onOffence(reason: Offence): void;
  onClose(error: EdgeError | undefined): void;
}

export abstract class Http2Connection implements FrameListener, Turned {
  readonly stream: ByteStream;
  readonly limits: Limits;
  readonly clock: Clock;
  readonly output: Output = new Output();
  readonly decoder: HpackDecoder;
  readonly guard: Guard;
  readonly streams: Map<number, Http2Stream> = new Map();
  /** Monotonic time of the event that is being worked on. */
  now: number;
  /** Nothing more is read: an error was said, or the stream is gone. */
  halted = false;
  /** Whether a flush is due at the end of this turn. */
  turnDue = false;
  readonly maxBufferedBytes: number;
  sendWindow: number = DEFAULT_WINDOW;
  peerInitialWindow: number = DEFAULT_WINDOW;
  peerMaxFrame: number = MAX_FRAME_BYTES;
  peerMaxStreams: number = Number.POSITIVE_INFINITY;
  peerConnectProtocol = false;
  /** When bytes last came from the peer. */
  heardAt: number;
  /** When the connection last had no stream; undefined while it has. */
  idleSince: number | undefined;
  /** When the header block that is being read began. */
  protected blockSince = 0;
  protected settingsSeen = false;
  protected settingsAcked = false;
  protected endedAt: number | undefined;

  readonly #facts: ConnectionFacts;
  readonly #reader: FrameReader;
  readonly #round = new Round();
  readonly #recent = new Recent();
  readonly #window: ReceiveWindow;
  readonly #heldBudget: number;
  #uncredited = 0;
  #held = 0;
  #writing = false;
  #blockedSince = 0;
  #blocked = false;
  #readPaused = false;
  #woken: Http2Stream[] = [];
  #closed = false;
  #error: EdgeError | undefined;
  #tableNotice = false;
  #sawSmallTable = false;
  // A header block that spans frames.
  #blockId = 0;
  #blockFlags = 0;
  #blockParts: Buffer[] = [];
  #blockFrames = 0;

  constructor(facts: ConnectionFacts) {
    const { stream, limits, clock } = facts;
    this.#facts = facts;
    this.stream = stream;
    this.limits = limits;
    this.clock = clock;
    this.maxBufferedBytes = limits.maxBufferedBytes;
    this.decoder = new HpackDecoder(limits.http2.headerTableBytes);
    this.guard = new Guard(limits.http2);
    this.#reader = new FrameReader(this);
    const { connectionWindowBytes, maxConnectionWindowBytes } = limits.http2;
    this.#window = new ReceiveWindow(
      Math.max(connectionWindowBytes, DEFAULT_WINDOW),
      maxConnectionWindowBytes,
    );
    this.#heldBudget = maxConnectionWindowBytes / 2;
    this.now = this.heardAt = clock.now();
    this.idleSince = this.now;
    stream.on("data", this.#onData);
    stream.on("end", this.#onEnd);
    stream.on("drain", this.#onDrain);
    stream.on("error", this.#onError);
    stream.on("close", this.#onClose);
    enrol(clock, this);
  }

  /** A header block is complete: a request, a response or trailers. MUST decode it, whatever becomes of it. */
  protected abstract headersFrame(id: number, flags: number, bytes: Buffer, start: number, end: number): void;
  /** The bytes before the first frame; returns where frames begin, or -1 when more are needed or all is over. */
  protected abstract preface(chunk: Buffer): number;
  /** The highest id that the peer opened, for GOAWAY. */
  protected abstract get lastPeerId(): number;
  /** Whether an id was never used by either side. */
  protected abstract isIdle(id: number): boolean;
  protected abstract goneAway(lastId: number, code: number): void;
  protected abstract streamGone(stream: Http2Stream): void;
  protected abstract settingsTaken(): void;
  protected abstract pingAnswered(bytes: Buffer, at: number): void;
  protected abstract roleSweep(now: number): void;

  /** What we announce, after what the role says first. */
  protected writeOpening(settings: Buffer): void {
    this.output.header(settings.length, SETTINGS, 0, 0);
    this.output.copy(settings, 0, settings.length);
    const extra = this.#window.size - DEFAULT_WINDOW;
    if (extra > 0) this.output.windowUpdate(0, extra);
    this.schedule();
  }

  newReceiveWindow(): ReceiveWindow {
    const { streamWindowBytes, maxStreamWindowBytes } = this.limits.http2;
    // Until our SETTINGS are acknowledged the peer goes by the default.
    const size = this.settingsAcked ? streamWindowBytes : Math.max(streamWindowBytes, DEFAULT_WINDOW);
    return new ReceiveWindow(size, maxStreamWindowBytes);
  }

  // ---- sending

  /** Whether DATA may go straight into the output, past the round. */
  mayWriteNow(bytes: number): boolean {
    return (
      !this.#blocked &&
      bytes <= this.sendWindow &&
      this.#round.length === 0 &&
      this.output.pending < this.maxBufferedBytes
    );
  }

  /** A stream has something that the round should send. */
  ready(stream: Http2Stream): void {
    if (stream.inRound || !stream.sendable) return;
    this.#round.add(stream);
    if (this.sendWindow > 0 || stream.queued === 0) this.schedule();
  }

  /** Its producer may go on, once the round is done. */
  wake(stream: Http2Stream): void {
    this.#woken.push(stream);
  }

  dataSent(): void {
    this.guard.dataSent();
  }

  /** A flush follows: at the end of what is being read, or else of this turn of the event loop. */
  schedule(): void {
    if (this.#writing || this.turnDue || this.#closed) return;
    schedule(this);
  }

  /** A header block as HEADERS and as many CONTINUATION frames as it needs. */
  writeHeaders(id: number, block: Buffer, endStream: boolean, length: number = block.length): void {
    const output = this.output;
    const end = endStream ? FLAG_END_STREAM : 0;
    const extra = this.#tableNotice ? 1 : 0;
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

  /** Whether a block must not be written as one frame by hand. */
  get needsNotice(): boolean {
    return this.#tableNotice;
  }

  #writeNotice(): void {
    this.output.copy(NO_TABLE, 0, 1);
    this.#tableNotice = false;
  }

  writeReset(stream: Http2Stream, code: number): void {
    this.#recent.add(stream.id, "reset by us");
    this.output.rstStream(stream.id, code);
    this.schedule();
  }

  /** The end of a turn: sends what waits, as far as the windows and the socket go. */
  turn(): void {
    this.turnDue = false;
    if (!this.#writing) this.flush();
  }

  flush(): void {
    if (this.#closed) return;
    this.#writing = true;
    try {
      do {
        if (!this.#blocked) this.#pump();
        if (this.#blocked || this.output.pending === 0) break;
        if (!this.output.flush(this.stream)) {
          this.#blocked = true;
          this.#blockedSince = this.now;
        }
      } while (!this.#blocked && this.#round.length > 0 && this.sendWindow > 0);
    } catch (error) {
      // A producer's own fault must end at this connection, not the process.
      this.#broke(error);
    }
    this.#writing = false;
    if (this.#blocked && !this.#readPaused && this.output.pending > MAX_BACKLOG) {
      this.#readPaused = true;
      this.stream.pause();
    }
  }

  #pump(): void {
    const round = this.#round;
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

  // ---- reading

  readonly #onData = (chunk: Buffer): void => {
    if (this.#closed || this.halted) return;
    this.now = this.heardAt = this.clock.now();
    this.guard.tick(this.now);
    this.#writing = true;
    try {
      const at = this.preface(chunk);
      if (at === 0) this.#reader.push(chunk);
      else if (at > 0 && at < chunk.length) this.#reader.push(chunk.subarray(at));
    } catch (error) {
      this.#broke(error);
    }
    this.#writing = false;
    this.flush();
  };

  #broke(error: unknown): void {
    if (error instanceof Http2Error) this.fail(error.http2Code, error.message, "h2_protocol");
    else this.fail(INTERNAL_ERROR, `internal: ${error instanceof Error ? error.message : String(error)}`);
  }

  readonly #onEnd = (): void => {
    // Half-closing is no part of HTTP/2: a peer that ended is gone.
    this.finishClosed(this.#error ?? this.lost("the peer ended the connection"));
    this.stream.end();
  };

  readonly #onDrain = (): void => {
    if (this.#closed) return;
    this.now = this.clock.now();
    this.#blocked = false;
    this.flush();
    if (this.#readPaused && !this.#blocked) {
      this.#readPaused = false;
      this.stream.resume();
    }
  };

  readonly #onError = (error: Error): void => {
    this.finishClosed(this.#error ?? this.lost(error.message));
  };

  readonly #onClose = (): void => {
    this.finishClosed(this.#error ?? this.lost("the connection closed"));
  };

  /** The error that streams get when the connection goes. */
  protected abstract lost(message: string): EdgeError;

  onOversize(type: number, streamId: number, length: number): void {
    this.fail(FRAME_SIZE_ERROR, `frame type ${type} of ${length} bytes on stream ${streamId}`, "h2_protocol");
  }

  onFrame(type: number, flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (this.#blockId !== 0 && (type !== CONTINUATION || id !== this.#blockId)) {
      this.fail(PROTOCOL_ERROR, "a header block was interrupted", "h2_protocol");
      return;
    }
    if (!this.settingsSeen && (type !== SETTINGS || (flags & FLAG_ACK) !== 0)) {
      this.fail(PROTOCOL_ERROR, "the first frame is not SETTINGS", "h2_protocol");
      return;
    }
    switch (type) {
      case DATA:
        this.#data(flags, id, bytes, start, end);
        return;
      case HEADERS:
        this.#headers(flags, id, bytes, start, end);
        return;
      case PRIORITY:
        this.#priority(id, bytes, start, end);
        return;
      case RST_STREAM:
        this.#rstStream(id, bytes, start, end);
        return;
      case SETTINGS:
        this.#settings(flags, id, bytes, start, end);
        return;
      case PUSH_PROMISE: // A client must not push, and we never allow a server to (RFC 9113 §8.4).
        {
          this.fail(PROTOCOL_ERROR, "PUSH_PROMISE", "h2_protocol");
          return;
        }
      case PING:
        this.#ping(flags, id, bytes, start, end);
        return;
      case GOAWAY:
        this.#goaway(id, bytes, start, end);
        return;
      case WINDOW_UPDATE:
        this.#windowUpdate(id, bytes, start, end);
        return;
      case CONTINUATION:
        this.#continuation(flags, id, bytes, start, end);
        return;
      default: {
        // RFC 9113 §5.5: unknown frames are ignored, but not in any number.
        this.offend(this.guard.empty());
        return;
      }
    }
  }

  /** Ends the connection over a limit, if one was passed. */
  protected offend(reason: Offence | undefined): void {
    if (reason !== undefined) this.fail(ENHANCE_YOUR_CALM, `too many frames: ${reason}`, reason);
  }

  #data(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    const flowBytes = end - start;
    if (id === 0) {
      this.fail(PROTOCOL_ERROR, "DATA on stream 0", "h2_protocol");
      return;
    }
    let from = start;
    let to = end;
    if ((flags & FLAG_PADDED) !== 0) {
      if (flowBytes === 0) {
        this.fail(FRAME_SIZE_ERROR, "padded DATA without length", "h2_protocol");
        return;
      }
      const padding = bytes[start]!;
      from = start + 1;
      to = end - padding;
      if (to < from) {
        this.fail(PROTOCOL_ERROR, "padding as long as the frame", "h2_protocol");
        return;
      }
    }
    if (flowBytes > 0 && !this.#window.receive(flowBytes)) {
      this.fail(FLOW_CONTROL_ERROR, "DATA beyond the connection's window", "h2_protocol");
      return;
    }
    const last = (flags & FLAG_END_STREAM) !== 0;
    if (to === from && !last) {
      this.offend(this.guard.empty());
      if (this.halted) return;
    }
    this.#held += flowBytes;
    this.#uncredited += flowBytes;
    const stream = this.streams.get(id);
    if (stream === undefined || stream.remoteClosed) {
      this.credit(flowBytes);
      if (stream === undefined && this.isIdle(id)) {
        this.fail(PROTOCOL_ERROR, "DATA on an idle stream", "h2_protocol");
        return;
      }
      if (stream !== undefined) {
        stream.resetWith(STREAM_CLOSED, this.lost("DATA after the end of the stream"));
        return;
      }
      this.#onClosedStream(id);
      return;
    }
    stream.receive(bytes, from, to, flowBytes, last);
    // What is held for a reader counts against a budget instead of the window, so that a stuck stream stops itself, not
    // its neighbours.
    this.#giveBack();
  }

  /** A frame for a stream that is over. */
  #onClosedStream(id: number): void {
    const ending = this.#recent.find(id);
    // What was under way when we reset it is not the peer's fault (RFC 9113 §5.1).
    if (ending === "reset by us") return;
    if (ending === "ended") {
      this.fail(STREAM_CLOSED, `a frame on stream ${id}, which has ended`, "h2_protocol");
      return;
    }
    this.output.rstStream(id, STREAM_CLOSED);
    this.#recent.add(id, "reset by us");
    this.offend(this.guard.reset());
  }

  /** Bytes of DATA are no longer held by us. */
  credit(bytes: number): void {
    this.#held -= bytes;
    if (!this.#closed) this.#giveBack();
  }

  #giveBack(): void {
    const keep = Math.max(0, this.#held - this.#heldBudget);
    const give = this.#uncredited - keep;
    if (give <= 0) return;
    this.#uncredited -= give;
    const increment = this.#window.consume(give, this.now);
    if (increment > 0) {
      this.output.windowUpdate(0, increment);
      this.schedule();
    }
  }

  /** More DATA than the stream's window allows. */
  resetStreamFlow(stream: Http2Stream): void {
    stream.resetWith(FLOW_CONTROL_ERROR, this.lost("DATA beyond the stream's window"));
    this.offend(this.guard.reset());
  }

  #headers(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id === 0) {
      this.fail(PROTOCOL_ERROR, "HEADERS on stream 0", "h2_protocol");
      return;
    }
    let from = start;
    let to = end;
    if ((flags & FLAG_PADDED) !== 0) {
      if (from >= to) {
        this.fail(FRAME_SIZE_ERROR, "padded HEADERS without length", "h2_protocol");
        return;
      }
      to -= bytes[from]!;
      from++;
    }
    let selfDependent = false;
    if ((flags & FLAG_PRIORITY) !== 0) {
      if (end - from < 5) {
        this.fail(FRAME_SIZE_ERROR, "HEADERS too short for priority", "h2_protocol");
        return;
      }
      selfDependent = streamIdAt(bytes, from) === id;
      from += 5;
    }
    if (to < from) {
      this.fail(PROTOCOL_ERROR, "padding as long as the frame", "h2_protocol");
      return;
    }
    if (selfDependent) {
      this.fail(PROTOCOL_ERROR, "a stream depends on itself", "h2_protocol");
      return;
    }
    if ((flags & FLAG_END_HEADERS) !== 0) {
      this.headersFrame(id, flags, bytes, from, to);
      return;
    }
    this.#blockId = id;
    this.#blockFlags = flags;
    this.#blockParts = [bytes.subarray(from, to)];
    this.#blockFrames = 0;
    this.blockSince = this.now;
  }

  #continuation(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (this.#blockId === 0) {
      this.fail(PROTOCOL_ERROR, "CONTINUATION without a header block", "h2_protocol");
      return;
    }
    if (++this.#blockFrames > this.limits.http2.maxContinuations) {
      this.fail(ENHANCE_YOUR_CALM, "too many CONTINUATION frames", "h2_continuations");
      return;
    }
    if (start === end && (flags & FLAG_END_HEADERS) === 0) {
      this.offend(this.guard.empty());
      if (this.halted) return;
    }
    this.#blockParts.push(bytes.subarray(start, end));
    if ((flags & FLAG_END_HEADERS) === 0) return;
    const block = Buffer.concat(this.#blockParts);
    this.#blockParts = [];
    this.#blockId = 0;
    this.blockSince = 0;
    this.headersFrame(id, this.#blockFlags, block, 0, block.length);
  }

  /** A stream that never came to be was refused by us. */
  protected refused(id: number): void {
    this.#recent.add(id, "reset by us");
  }

  /** A header block that is not for a live stream of ours: decoded for the table's sake, then judged. */
  protected headersForNone(id: number, bytes: Buffer, start: number, end: number): void {
    this.decoder.decode(bytes, start, end, [], 0, 0);
    // An id that nobody used was skipped, and may not be used any more (RFC 9113 §5.1.1).
    if (this.#recent.find(id) === undefined) {
      this.fail(PROTOCOL_ERROR, `HEADERS on stream ${id}, below an earlier one`, "h2_protocol");
    } else this.#onClosedStream(id);
  }

  #priority(id: number, bytes: Buffer, start: number, end: number): void {
    if (id === 0) {
      this.fail(PROTOCOL_ERROR, "PRIORITY on stream 0", "h2_protocol");
      return;
    }
    if (end - start !== 5) {
      const stream = this.streams.get(id);
      if (stream === undefined) {
        // RFC 9113 §6.3 makes it a stream error, but an idle stream cannot be reset (§5.1).
        if (this.isIdle(id)) {
          this.fail(FRAME_SIZE_ERROR, "PRIORITY of a wrong size", "h2_protocol");
          return;
        }
        this.output.rstStream(id, FRAME_SIZE_ERROR);
      } else stream.resetWith(FRAME_SIZE_ERROR, this.lost("PRIORITY of a wrong size"));
      this.offend(this.guard.reset());
      return;
    }
    if (streamIdAt(bytes, start) === id) {
      const stream = this.streams.get(id);
      if (stream === undefined) {
        this.fail(PROTOCOL_ERROR, "a stream depends on itself", "h2_protocol");
        return;
      }
      stream.resetWith(PROTOCOL_ERROR, this.lost("a stream depends on itself"));
      this.offend(this.guard.reset());
      return;
    }
    this.offend(this.guard.empty());
  }

  #rstStream(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) {
      this.fail(FRAME_SIZE_ERROR, "RST_STREAM of a wrong size", "h2_protocol");
      return;
    }
    if (id === 0) {
      this.fail(PROTOCOL_ERROR, "RST_STREAM on stream 0", "h2_protocol");
      return;
    }
    if (this.isIdle(id)) {
      this.fail(PROTOCOL_ERROR, "RST_STREAM on an idle stream", "h2_protocol");
      return;
    }
    const stream = this.streams.get(id);
    if (stream !== undefined) {
      this.#recent.add(id, "reset by peer");
      this.streamReset(stream, readUint32(bytes, start));
    }
    this.offend(this.guard.reset());
  }

  /** The peer reset a stream. */
  protected abstract streamReset(stream: Http2Stream, code: number): void;

  #settings(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) {
      this.fail(PROTOCOL_ERROR, "SETTINGS on a stream", "h2_protocol");
      return;
    }
    if ((flags & FLAG_ACK) !== 0) {
      if (end !== start) {
        this.fail(FRAME_SIZE_ERROR, "SETTINGS ACK with content", "h2_protocol");
        return;
      }
      if (this.settingsAcked) {
        this.offend(this.guard.settings());
        return;
      }
      this.settingsAcked = true;
      if (this.limits.http2.headerTableBytes !== 4096)
        this.decoder.setLimit(this.limits.http2.headerTableBytes);
      return;
    }
    if ((end - start) % 6 !== 0) {
      this.fail(FRAME_SIZE_ERROR, "SETTINGS of a wrong size", "h2_protocol");
      return;
    }
    this.offend(this.guard.settings());
    for (let at = start; at < end && !this.halted; at += 6) {
      this.#setting((bytes[at]! << 8) | bytes[at + 1]!, readUint32(bytes, at + 2));
    }
    if (this.halted) return;
    this.settingsSeen = true;
    this.output.header(0, SETTINGS, FLAG_ACK, 0);
    this.settingsTaken();
  }

  #setting(id: number, value: number): void {
    switch (id) {
      case SETTINGS_HEADER_TABLE_SIZE:
        if (value < 4096 && !this.#sawSmallTable) this.#sawSmallTable = this.#tableNotice = true;
        return;
      case SETTINGS_ENABLE_PUSH:
        if (value > 1) this.fail(PROTOCOL_ERROR, "ENABLE_PUSH is not 0 or 1", "h2_protocol");
        return;
      case SETTINGS_MAX_CONCURRENT_STREAMS:
        this.peerMaxStreams = value;
        return;
      case SETTINGS_INITIAL_WINDOW_SIZE: {
        if (value > MAX_WINDOW) {
          this.fail(FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large", "h2_protocol");
          return;
        }
        const change = value - this.peerInitialWindow;
        this.peerInitialWindow = value;
        for (const stream of this.streams.values()) {
          stream.sendWindow += change;
          if (stream.sendWindow > MAX_WINDOW) {
            this.fail(FLOW_CONTROL_ERROR, "a stream's window overflows", "h2_protocol");
            return;
          }
          this.ready(stream);
        }
        return;
      }
      case SETTINGS_MAX_FRAME_SIZE:
        if (value < MAX_FRAME_BYTES || value > 0xffffff) {
          this.fail(PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range", "h2_protocol");
          return;
        }
        this.peerMaxFrame = value;
        return;
      case SETTINGS_ENABLE_CONNECT_PROTOCOL:
        if (value > 1) {
          this.fail(PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL is not 0 or 1", "h2_protocol");
          return;
        }
        this.peerConnectProtocol = value === 1;
        return;
      default:
        // RFC 9113 §6.5.2: unknown settings are ignored.
        return;
    }
  }

  #ping(flags: number, id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) {
      this.fail(PROTOCOL_ERROR, "PING on a stream", "h2_protocol");
      return;
    }
    if (end - start !== 8) {
      this.fail(FRAME_SIZE_ERROR, "PING of a wrong size", "h2_protocol");
      return;
    }
    if ((flags & FLAG_ACK) !== 0) {
      this.pingAnswered(bytes, start);
      this.offend(this.guard.empty());
      return;
    }
    this.offend(this.guard.ping());
    if (!this.halted) this.output.ping(FLAG_ACK, bytes, start);
  }

  #goaway(id: number, bytes: Buffer, start: number, end: number): void {
    if (id !== 0) {
      this.fail(PROTOCOL_ERROR, "GOAWAY on a stream", "h2_protocol");
      return;
    }
    if (end - start < 8) {
      this.fail(FRAME_SIZE_ERROR, "GOAWAY of a wrong size", "h2_protocol");
      return;
    }
    this.goneAway(streamIdAt(bytes, start), readUint32(bytes, start + 4));
  }

  #windowUpdate(id: number, bytes: Buffer, start: number, end: number): void {
    if (end - start !== 4) {
      this.fail(FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size", "h2_protocol");
      return;
    }
    const increment = streamIdAt(bytes, start);
    this.offend(this.guard.windowUpdate());
    if (this.halted) return;
    if (id === 0) {
      if (increment === 0) {
        this.fail(PROTOCOL_ERROR, "a window increment of 0", "h2_protocol");
        return;
      }
      this.sendWindow += increment;
      if (this.sendWindow > MAX_WINDOW)
        this.fail(FLOW_CONTROL_ERROR, "the connection's window overflows", "h2_protocol");
      return;
    }
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (this.isIdle(id)) this.fail(PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream", "h2_protocol");
      return;
    }
    if (increment === 0) {
      stream.malformed("a window increment of 0");
      return;
    }
    stream.sendWindow += increment;
    if (stream.sendWindow > MAX_WINDOW) {
      this.resetStreamFlow(stream);
      return;
    }
    this.ready(stream);
  }

  // ---- ends

  /** A stream is over, by reset or because both sides ended. */
  forget(stream: Http2Stream): void {
    if (!this.streams.delete(stream.id)) return;
    stream.dead = true;
    this.#recent.add(stream.id, "ended");
    if (this.streams.size === 0) this.idleSince = this.now;
    this.streamGone(stream);
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
  fail(code: number, message: string, offence?: Offence): void {
    if (this.halted) return;
    this.halted = true;
    if (offence !== undefined) this.#facts.onOffence(offence);
    this.writeGoaway(this.lastPeerId, code, message);
    this.#error = this.lost(`${codeName(code)}: ${message}`);
    this.#abortStreams(this.#error);
    this.#end();
  }

  /** No stream is left and none will come: ends politely. */
  protected endQuietly(): void {
    if (this.halted) return;
    this.halted = true;
    this.#end();
  }

  #end(): void {
    this.#blocked = false;
    this.#round.clear();
    if (this.output.pending > 0) this.output.flush(this.stream);
    this.endedAt = this.now;
    // What the peer still sends is read and dropped for a moment: closing over unread bytes would make the kernel reset
    // the connection and lose our last words.
    this.stream.resume();
    this.stream.end();
  }

  /** Cuts the connection. */
  destroyNow(error: EdgeError): void {
    this.#error ??= error;
    this.finishClosed(this.#error);
    this.stream.destroy();
  }

  #abortStreams(error: EdgeError): void {
    for (const stream of [...this.streams.values()]) stream.fail(error);
  }

  protected finishClosed(error: EdgeError): void {
    if (this.#closed) return;
    this.#closed = true;
    const clean = this.halted && this.#error === undefined && this.streams.size === 0;
    this.halted = true;
    this.#abortStreams(error);
    this.output.discard();
    this.#round.clear();
    unsweep(this.clock, this);
    this.#facts.onClose(clean ? undefined : error);
  }

  get closed(): boolean {
    return this.#closed;
  }

  protected report(reason: Offence): void {
    this.#facts.onOffence(reason);
  }

  sweep(now: number): void {
    if (this.#closed) return;
    this.now = now;
    try {
      this.#sweep(now);
    } catch (error) {
      this.#broke(error);
    }
  }

  #sweep(now: number): void {
    if (this.endedAt !== undefined) {
      if (now - this.endedAt >= LINGER_MS) this.destroyNow(this.lost("the connection did not close"));
      return;
    }
    const { writeTimeoutMs, headTimeoutMs } = this.limits;
    if (this.#blocked && writeTimeoutMs > 0 && now - this.#blockedSince > writeTimeoutMs) {
      this.report("write_timeout");
      this.destroyNow(this.lost("the peer takes no bytes"));
      return;
    }
    if (this.blockSince > 0 && now - this.blockSince > headTimeoutMs) {
      this.fail(ENHANCE_YOUR_CALM, "a header block took too long", "head_timeout");
      return;
    }
    this.roleSweep(now);
    if (!this.#closed) this.flush();
  }

  /** Decodes a block within the head limits. */
  protected decodeBlock(bytes: Buffer, start: number, end: number, into: HeaderList): void {
    this.decoder.decode(bytes, start, end, into, this.limits.maxHeadBytes, this.limits.maxHeaders + 5);
  }
}
