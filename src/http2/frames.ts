/** HTTP/2 frames (RFC 9113 §4, §6): a reader that hands out payloads in place, and writers for small frames. */

export const DATA = 0x0;
export const HEADERS = 0x1;
export const PRIORITY = 0x2;
export const RST_STREAM = 0x3;
export const SETTINGS = 0x4;
export const PUSH_PROMISE = 0x5;
export const PING = 0x6;
export const GOAWAY = 0x7;
export const WINDOW_UPDATE = 0x8;
export const CONTINUATION = 0x9;

export const FLAG_END_STREAM = 0x1;
export const FLAG_ACK = 0x1;
export const FLAG_END_HEADERS = 0x4;
export const FLAG_PADDED = 0x8;
export const FLAG_PRIORITY = 0x20;

export const SETTINGS_HEADER_TABLE_SIZE = 0x1;
export const SETTINGS_ENABLE_PUSH = 0x2;
export const SETTINGS_MAX_CONCURRENT_STREAMS = 0x3;
export const SETTINGS_INITIAL_WINDOW_SIZE = 0x4;
export const SETTINGS_MAX_FRAME_SIZE = 0x5;
export const SETTINGS_MAX_HEADER_LIST_SIZE = 0x6;
export const SETTINGS_ENABLE_CONNECT_PROTOCOL = 0x8;
export const SETTINGS_NO_RFC7540_PRIORITIES = 0x9;

export const FRAME_HEADER_BYTES = 9;
/** The frame size that every endpoint accepts, and all that Skerry ever sends or takes. */
export const MAX_FRAME_BYTES = 16_384;
/**
 * The most that a DATA frame of ours carries. With its header it fills a TLS record, so that the peer's reads end where frames
 * end: of a whole frame in one read nothing is copied.
 */
export const MAX_DATA_BYTES: number = MAX_FRAME_BYTES - FRAME_HEADER_BYTES;
export const MAX_WINDOW = 0x7fffffff;
export const MAX_STREAM_ID = 0x7fffffff;
export const DEFAULT_WINDOW = 65_535;

/** What a client sends first (RFC 9113 §3.4). */
export const PREFACE: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** One decoded frame; `payload` is a view on the bytes that were read. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** The frame at `offset`, or undefined where bytes are missing. Size limits are the reader's, not the codec's. */
export function decodeFrame(bytes: Buffer, offset: number = 0): Frame | undefined {
  if (bytes.length - offset < FRAME_HEADER_BYTES) return undefined;
  const length = frameLength(bytes, offset);
  const start = offset + FRAME_HEADER_BYTES;
  if (bytes.length - start < length) return undefined;
  return {
    type: bytes[offset + 3]!,
    flags: bytes[offset + 4]!,
    streamId: streamIdAt(bytes, offset + 5),
    payload: bytes.subarray(start, start + length),
  };
}

/** A whole frame. */
export function encodeFrame(type: number, flags: number, streamId: number, payload?: Uint8Array): Buffer {
  const length = payload ? payload.length : 0;
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + length);
  writeFrameHeader(frame, 0, length, type, flags, streamId);
  if (payload) frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

export function writeFrameHeader(
  into: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  into[at] = length >>> 16;
  into[at + 1] = length >>> 8;
  into[at + 2] = length;
  into[at + 3] = type;
  into[at + 4] = flags;
  writeUint32(into, at + 5, streamId);
}

export function writeUint32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

/** A 31-bit number whose reserved bit is ignored (RFC 9113 §4.1). */
export function streamIdAt(bytes: Uint8Array, at: number): number {
  return readUint32(bytes, at) & 0x7fffffff;
}

function frameLength(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
}

/** A SETTINGS payload of `[id, value]` pairs. */
export function settingsPayload(entries: readonly (readonly [id: number, value: number])[]): Buffer {
  const payload = Buffer.allocUnsafe(entries.length * 6);
  let at = 0;
  for (const [id, value] of entries) {
    payload[at] = id >>> 8;
    payload[at + 1] = id;
    writeUint32(payload, at + 2, value);
    at += 6;
  }
  return payload;
}

/** Who hears of frames. `halted` is looked at after each, so that a listener can stop the reader in the middle of a chunk. */
export interface FrameListener {
  readonly halted: boolean;
  /** The payload is `bytes[start, end)`; it is valid after the call too, but belongs to a larger chunk. */
  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void;
  /** A frame longer than `maxFrameBytes`; the reader goes no further. */
  onOversize(type: number, streamId: number, length: number): void;
}

/**
 * Cuts a byte stream into frames. A frame that lies whole in a chunk is handed out in place; only one that straddles
 * chunks is copied, and never more than that frame.
 */
export class FrameReader {
  readonly #listener: FrameListener;
  readonly #maxFrameBytes: number;
  #partial: Buffer = Buffer.alloc(0);
  #have = 0;

  constructor(listener: FrameListener, maxFrameBytes: number = MAX_FRAME_BYTES) {
    this.#listener = listener;
    this.#maxFrameBytes = maxFrameBytes;
  }

  /** Whether a frame was begun whose rest is missing. */
  get midFrame(): boolean {
    return this.#have > 0;
  }

  push(chunk: Buffer): void {
    const listener = this.#listener;
    const size = chunk.length;
    let at = 0;
    if (this.#have > 0) {
      at = this.#complete(chunk);
      if (at < 0) return;
    }
    while (size - at >= FRAME_HEADER_BYTES) {
      if (listener.halted) return;
      const length = frameLength(chunk, at);
      if (length > this.#maxFrameBytes) {
        listener.onOversize(chunk[at + 3]!, streamIdAt(chunk, at + 5), length);
        return;
      }
      const start = at + FRAME_HEADER_BYTES;
      const end = start + length;
      if (end > size) break;
      listener.onFrame(chunk[at + 3]!, chunk[at + 4]!, streamIdAt(chunk, at + 5), chunk, start, end);
      at = end;
    }
    if (at < size && !listener.halted) this.#keep(chunk, at);
  }

  #keep(chunk: Buffer, at: number): void {
    const left = chunk.length - at;
    const whole =
      left >= FRAME_HEADER_BYTES ? FRAME_HEADER_BYTES + frameLength(chunk, at) : FRAME_HEADER_BYTES;
    this.#partial = Buffer.allocUnsafe(whole);
    chunk.copy(this.#partial, 0, at);
    this.#have = left;
  }

  /** Adds to the frame that was begun; returns where the next starts in `chunk`, or -1 when the chunk is used up. */
  #complete(chunk: Buffer): number {
    let at = 0;
    if (this.#have < FRAME_HEADER_BYTES) {
      const take = Math.min(FRAME_HEADER_BYTES - this.#have, chunk.length);
      chunk.copy(this.#partial, this.#have, 0, take);
      this.#have += take;
      at = take;
      if (this.#have < FRAME_HEADER_BYTES) return -1;
    }
    const partial = this.#partial;
    const length = frameLength(partial, 0);
    if (length > this.#maxFrameBytes) {
      this.#listener.onOversize(partial[3]!, streamIdAt(partial, 5), length);
      return -1;
    }
    const whole = FRAME_HEADER_BYTES + length;
    let frame = partial;
    if (frame.length < whole) {
      frame = Buffer.allocUnsafe(whole);
      partial.copy(frame, 0, 0, this.#have);
      this.#partial = frame;
    }
    const take = Math.min(whole - this.#have, chunk.length - at);
    chunk.copy(frame, this.#have, at, at + take);
    this.#have += take;
    if (this.#have < whole) return -1;
    this.#have = 0;
    this.#listener.onFrame(frame[3]!, frame[4]!, streamIdAt(frame, 5), frame, FRAME_HEADER_BYTES, whole);
    return this.#listener.halted ? -1 : at + take;
  }
}
