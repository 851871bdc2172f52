/** One HTTP/2 connection on a byte stream: everything of RFC 9113 that both roles share. */
import type { Offence } from "../exchange/limits.ts";
import type { ConnectionFacts } from "./ending.ts";
import {
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  FRAME_SIZE_ERROR,
  PROTOCOL_ERROR,
  STREAM_CLOSED,
} from "./errors.ts";
import { roundTrip } from "./flow.ts";
import {
  CONTINUATION,
  DATA,
  DEFAULT_WINDOW,
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FLAG_PADDED,
  FLAG_PRIORITY,
  GOAWAY,
  HEADERS,
  MAX_WINDOW,
  PING,
  PRIORITY,
  PUSH_PROMISE,
  RST_STREAM,
  readUint32,
  SETTINGS,
  SETTINGS_ENABLE_CONNECT_PROTOCOL,
  SETTINGS_HEADER_TABLE_SIZE,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_CONCURRENT_STREAMS,
  streamIdAt,
  WINDOW_UPDATE,
} from "./frames.ts";
import { Receiving } from "./receiving.ts";
import { type Ending, Recent } from "./recent.ts";
import { settingFault } from "./settings.ts";
import type { Http2Stream } from "./stream.ts";

/** Everything of RFC 9113 that a peer may send, checked; what is a role's own is left to the roles. */
export abstract class Http2Connection extends Receiving {
  peerInitialWindow: number = DEFAULT_WINDOW;
  peerMaxStreams: number = Number.POSITIVE_INFINITY;
  peerConnectProtocol = false;
  /** When the connection last had no stream; undefined while it has. */
  idleSince: number | undefined;
  protected settingsSeen = false;

  readonly #recent = new Recent();
  #sawSmallTable = false;
  // A header block that spans frames.
  #blockId = 0;
  #blockFlags = 0;
  #blockParts: Buffer[] = [];
  #blockFrames = 0;

  constructor(facts: ConnectionFacts) {
    super(facts);
    this.idleSince = this.now;
  }

  /** A header block is complete: a request, a response or trailers. MUST decode it, whatever becomes of it. */
  protected abstract headersFrame(
    id: number,
    flags: number,
    bytes: Buffer,
    start: number,
    end: number,
  ): undefined;
  /** Whether an id was never used by either side. */
  protected abstract isIdle(id: number): boolean;
  protected abstract goneAway(lastId: number, code: number): void;
  protected abstract streamGone(stream: Http2Stream): void;
  protected abstract settingsTaken(): void;
  protected abstract pingAnswered(bytes: Buffer, at: number): void;

  /** What we announce, after what the role says first. */
  protected writeOpening(settings: Buffer): void {
    this.output.header(settings.length, SETTINGS, 0, 0);
    this.output.copy(settings, 0, settings.length);
    const extra = this.windowBytes - DEFAULT_WINDOW;
    if (extra > 0) this.output.windowUpdate(0, extra);
    this.schedule();
  }

  writeReset(stream: Http2Stream, code: number): void {
    this.#recent.add(stream.id, "reset by us");
    this.output.rstStream(stream.id, code);
    this.schedule();
  }

  onOversize(type: number, streamId: number, length: number): void {
    this.breach(FRAME_SIZE_ERROR, `frame type ${type} of ${length} bytes on stream ${streamId}`);
  }

  onFrame(type: number, flags: number, id: number, bytes: Buffer, start: number, end: number): undefined {
    if (this.#blockId !== 0 && (type !== CONTINUATION || id !== this.#blockId))
      return this.breach(PROTOCOL_ERROR, "a header block was interrupted");
    if (!this.settingsSeen && (type !== SETTINGS || (flags & FLAG_ACK) !== 0))
      return this.breach(PROTOCOL_ERROR, "the first frame is not SETTINGS");
    switch (type) {
      case DATA:
        return this.#data(flags, id, bytes, start, end);
      case HEADERS:
        return this.#headers(flags, id, bytes, start, end);
      case PRIORITY:
        return this.#priority(id, bytes, start, end);
      case RST_STREAM:
        return this.#rstStream(id, bytes, start, end);
      case SETTINGS:
        return this.#settings(flags, id, bytes, start, end);
      case PUSH_PROMISE:
        // A client must not push, and we never allow a server to (RFC 9113 §8.4).
        return this.breach(PROTOCOL_ERROR, "PUSH_PROMISE");
      case PING:
        return this.#ping(flags, id, bytes, start, end);
      case GOAWAY:
        return this.#goaway(id, bytes, start, end);
      case WINDOW_UPDATE:
        return this.#windowUpdate(id, bytes, start, end);
      case CONTINUATION:
        return this.#continuation(flags, id, bytes, start, end);
      default:
        // RFC 9113 §5.5: unknown frames are ignored, but not in any number.
        return this.offend(this.guard.empty());
    }
  }

  /** Ends the connection over a limit, if one was passed. */
  protected offend(reason: Offence | undefined): undefined {
    if (reason !== undefined) this.fail(ENHANCE_YOUR_CALM, `too many frames: ${reason}`, reason);
  }

  #data(flags: number, id: number, bytes: Buffer, start: number, end: number): undefined {
    const flowBytes = end - start;
    if (id === 0) return this.breach(PROTOCOL_ERROR, "DATA on stream 0");
    let from = start;
    let to = end;
    if ((flags & FLAG_PADDED) !== 0) {
      if (flowBytes === 0) return this.breach(FRAME_SIZE_ERROR, "padded DATA without length");
      const padding = bytes[start]!;
      from = start + 1;
      to = end - padding;
      if (to < from) return this.breach(PROTOCOL_ERROR, "padding as long as the frame");
    }
    if (flowBytes > 0 && !this.takes(flowBytes))
      return this.breach(FLOW_CONTROL_ERROR, "DATA beyond the connection's window");
    const last = (flags & FLAG_END_STREAM) !== 0;
    if (to === from && !last) {
      this.offend(this.guard.empty());
      if (this.halted) return;
    }
    const stream = this.streams.get(id);
    if (stream === undefined || stream.remoteClosed) {
      this.credit(flowBytes);
      if (stream !== undefined) {
        stream.resetWith(STREAM_CLOSED, this.lost("DATA after the end of the stream"));
        this.offend(this.guard.reset());
      } else if (this.isIdle(id)) this.breach(PROTOCOL_ERROR, "DATA on an idle stream");
      else this.#onClosedStream(id);
      return;
    }
    stream.receive(bytes, from, to, flowBytes, last);
    this.credit(0);
  }

  /** A frame for a stream that is over. */
  #onClosedStream(id: number): undefined {
    const ending = this.#recent.find(id);
    // What was under way when we reset it is not the peer's fault (RFC 9113 §5.1).
    if (ending === "reset by us") return;
    if (ending === "ended") return this.breach(STREAM_CLOSED, `a frame on stream ${id}, which has ended`);
    this.output.rstStream(id, STREAM_CLOSED);
    this.#recent.add(id, "reset by us");
    this.offend(this.guard.reset());
  }

  /** More DATA than the stream's window allows. */
  resetStreamFlow(stream: Http2Stream): undefined {
    stream.resetWith(FLOW_CONTROL_ERROR, this.lost("DATA beyond the stream's window"));
    this.offend(this.guard.reset());
  }

  #headers(flags: number, id: number, bytes: Buffer, start: number, end: number): undefined {
    if (id === 0) return this.breach(PROTOCOL_ERROR, "HEADERS on stream 0");
    let from = start;
    let to = end;
    if ((flags & FLAG_PADDED) !== 0) {
      if (from >= to) return this.breach(FRAME_SIZE_ERROR, "padded HEADERS without length");
      to -= bytes[from]!;
      from++;
    }
    let selfDependent = false;
    if ((flags & FLAG_PRIORITY) !== 0) {
      if (end - from < 5) return this.breach(FRAME_SIZE_ERROR, "HEADERS too short for priority");
      selfDependent = streamIdAt(bytes, from) === id;
      from += 5;
    }
    if (to < from) return this.breach(PROTOCOL_ERROR, "padding as long as the frame");
    if (selfDependent) return this.breach(PROTOCOL_ERROR, "a stream depends on itself");
    if ((flags & FLAG_END_HEADERS) !== 0) return this.headersFrame(id, flags, bytes, from, to);
    this.#blockId = id;
    this.#blockFlags = flags;
    this.#blockParts = [bytes.subarray(from, to)];
    this.#blockFrames = 0;
    this.blockSince = this.now;
  }

  #continuation(flags: number, id: number, bytes: Buffer, start: number, end: number): undefined {
    if (this.#blockId === 0) return this.breach(PROTOCOL_ERROR, "CONTINUATION without a header block");
    if (++this.#blockFrames > this.limits.http2.maxContinuations)
      return this.fail(ENHANCE_YOUR_CALM, "too many CONTINUATION frames", "h2_continuations");
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

  /** A stream that never came to be: refused by us, or answered with its request whole. */
  protected neverOpened(id: number, ending: Ending): void {
    this.#recent.add(id, ending);
  }

  /** A header block that is not for a live stream of ours: decoded for the table's sake, then judged. */
  protected headersForNone(id: number, bytes: Buffer, start: number, end: number): undefined {
    this.decoder.decode(bytes, start, end, [], 0, 0);
    // An id that nobody used was skipped, and may not be used any more (RFC 9113 §5.1.1).
    if (this.#recent.find(id) === undefined) {
      this.breach(PROTOCOL_ERROR, `HEADERS on stream ${id}, below an earlier one`);
    } else this.#onClosedStream(id);
  }

  #priority(id: number, bytes: Buffer, start: number, end: number): undefined {
    if (id === 0) return this.breach(PROTOCOL_ERROR, "PRIORITY on stream 0");
    if (end - start !== 5) {
      const stream = this.streams.get(id);
      if (stream === undefined) {
        // RFC 9113 §6.3 makes it a stream error, but an idle stream cannot be reset (§5.1).
        if (this.isIdle(id)) return this.breach(FRAME_SIZE_ERROR, "PRIORITY of a wrong size");
        this.output.rstStream(id, FRAME_SIZE_ERROR);
      } else stream.resetWith(FRAME_SIZE_ERROR, this.lost("PRIORITY of a wrong size"));
      this.offend(this.guard.reset());
      return;
    }
    if (streamIdAt(bytes, start) === id) {
      const stream = this.streams.get(id);
      if (stream === undefined) return this.breach(PROTOCOL_ERROR, "a stream depends on itself");
      stream.resetWith(PROTOCOL_ERROR, this.lost("a stream depends on itself"));
      this.offend(this.guard.reset());
      return;
    }
    this.offend(this.guard.empty());
  }

  #rstStream(id: number, bytes: Buffer, start: number, end: number): undefined {
    if (end - start !== 4) return this.breach(FRAME_SIZE_ERROR, "RST_STREAM of a wrong size");
    if (id === 0) return this.breach(PROTOCOL_ERROR, "RST_STREAM on stream 0");
    if (this.isIdle(id)) return this.breach(PROTOCOL_ERROR, "RST_STREAM on an idle stream");
    const stream = this.streams.get(id);
    if (stream !== undefined) {
      this.#recent.add(id, "reset by peer");
      this.streamReset(stream, readUint32(bytes, start));
    }
    this.offend(this.guard.reset());
  }

  /** The peer reset a stream. */
  protected abstract streamReset(stream: Http2Stream, code: number): void;

  #settings(flags: number, id: number, bytes: Buffer, start: number, end: number): undefined {
    if (id !== 0) return this.breach(PROTOCOL_ERROR, "SETTINGS on a stream");
    if ((flags & FLAG_ACK) !== 0) {
      if (end !== start) return this.breach(FRAME_SIZE_ERROR, "SETTINGS ACK with content");
      if (this.settingsAcked) return this.offend(this.guard.settings());
      this.settingsAcked = true;
      this.roundTripMs = Math.min(this.roundTripMs, roundTrip(this.now - this.openedAt));
      if (this.limits.http2.headerTableBytes !== 4096)
        this.decoder.setLimit(this.limits.http2.headerTableBytes);
      return;
    }
    if ((end - start) % 6 !== 0) return this.breach(FRAME_SIZE_ERROR, "SETTINGS of a wrong size");
    this.offend(this.guard.settings());
    for (let at = start; at < end && !this.halted; at += 6) {
      this.#setting((bytes[at]! << 8) | bytes[at + 1]!, readUint32(bytes, at + 2));
    }
    if (this.halted) return;
    this.settingsSeen = true;
    this.output.header(0, SETTINGS, FLAG_ACK, 0);
    this.settingsTaken();
  }

  #setting(id: number, value: number): undefined {
    const fault = settingFault(id, value);
    if (fault !== undefined) return this.breach(fault[0], fault[1]);
    if (id === SETTINGS_HEADER_TABLE_SIZE) {
      if (value < 4096 && !this.#sawSmallTable) this.#sawSmallTable = this.tableNotice = true;
    } else if (id === SETTINGS_MAX_CONCURRENT_STREAMS) this.peerMaxStreams = value;
    else if (id === SETTINGS_ENABLE_CONNECT_PROTOCOL) this.peerConnectProtocol = value === 1;
    else if (id === SETTINGS_INITIAL_WINDOW_SIZE) return this.#moveWindows(value);
  }

  /** RFC 9113 §6.9.2: a new initial window moves those of open streams too, below zero if need be. */
  #moveWindows(size: number): undefined {
    const change = size - this.peerInitialWindow;
    this.peerInitialWindow = size;
    for (const stream of this.streams.values()) {
      stream.sendWindow += change;
      if (stream.sendWindow > MAX_WINDOW)
        return this.breach(FLOW_CONTROL_ERROR, "a stream's window overflows");
      this.ready(stream);
    }
  }

  #ping(flags: number, id: number, bytes: Buffer, start: number, end: number): undefined {
    if (end - start !== 8) return this.breach(FRAME_SIZE_ERROR, "PING of a wrong size");
    if (id !== 0) return this.breach(PROTOCOL_ERROR, "PING on a stream");
    if ((flags & FLAG_ACK) !== 0) {
      this.pingAnswered(bytes, start);
      this.offend(this.guard.empty());
      return;
    }
    this.offend(this.guard.ping());
    if (!this.halted) this.output.ping(FLAG_ACK, bytes, start);
  }

  #goaway(id: number, bytes: Buffer, start: number, end: number): undefined {
    if (id !== 0) return this.breach(PROTOCOL_ERROR, "GOAWAY on a stream");
    if (end - start < 8) return this.breach(FRAME_SIZE_ERROR, "GOAWAY of a wrong size");
    this.goneAway(streamIdAt(bytes, start), readUint32(bytes, start + 4));
  }

  #windowUpdate(id: number, bytes: Buffer, start: number, end: number): undefined {
    if (end - start !== 4) return this.breach(FRAME_SIZE_ERROR, "WINDOW_UPDATE of a wrong size");
    const increment = streamIdAt(bytes, start);
    this.offend(this.guard.windowUpdate());
    if (this.halted) return;
    if (id === 0) {
      if (increment === 0) return this.breach(PROTOCOL_ERROR, "a window increment of 0");
      this.sendWindow += increment;
      if (this.sendWindow > MAX_WINDOW) this.breach(FLOW_CONTROL_ERROR, "the connection's window overflows");
      return;
    }
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (this.isIdle(id)) this.breach(PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream");
      return;
    }
    if (increment === 0) {
      stream.malformed("a window increment of 0");
      return;
    }
    stream.sendWindow += increment;
    if (stream.sendWindow > MAX_WINDOW) return this.resetStreamFlow(stream);
    this.ready(stream);
  }

  /** A stream is over, by reset or because both sides ended. */
  forget(stream: Http2Stream): void {
    if (!this.streams.delete(stream.id)) return;
    stream.dead = true;
    stream.receiveWindow?.close();
    this.#recent.add(stream.id, "ended");
    if (this.streams.size === 0) {
      this.idleSince = this.now;
      this.narrow();
    }
    this.streamGone(stream);
  }
}
