/** What a connection has to say, gathered so that one turn's frames leave in one write. */
import { giveScratch, Loan, SCRATCH_BYTES, takeScratch } from "../exchange/scratch.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { joinsWrites } from "../runtime.ts";
import {
  DATA,
  FLAG_END_STREAM,
  FRAME_HEADER_BYTES,
  MAX_DATA_BYTES,
  PING,
  RST_STREAM,
  WINDOW_UPDATE,
  writeFrameHeader,
  writeUint32,
} from "./frames.ts";

/** Chunks up to this size are copied next to their frame header: one write and one TLS record beat a saved copy. */
const COPY_BYTES = joinsWrites ? MAX_DATA_BYTES : 8_192;

export class Output {
  readonly #stream: ByteStream;
  readonly #loan: Loan;
  #scratch: Buffer | undefined;
  #at = 0;
  #parts: Uint8Array[] = [];
  #partBytes = 0;
  #lastFlags = -1;
  #lastStream = 0;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    this.#loan = new Loan(stream);
  }

  /** Whether so many bytes of DATA find room next to what waits. */
  fits(bytes: number): boolean {
    const framed = bytes + Math.ceil(bytes / MAX_DATA_BYTES) * FRAME_HEADER_BYTES;
    return this.#parts.length === 0 && this.#at + framed <= SCRATCH_BYTES;
  }

  /** To be called when the stream has drained. */
  drained(): void {
    this.#loan.drained();
  }

  /** Bytes that wait for {@link flush}. */
  get pending(): number {
    return this.#partBytes + this.#at;
  }

  /** A frame header; its payload MUST follow by {@link copy} or {@link chunk}. */
  header(length: number, type: number, flags: number, streamId: number): void {
    const scratch = this.#room(FRAME_HEADER_BYTES);
    writeFrameHeader(scratch, this.#at, length, type, flags, streamId);
    this.#lastFlags = type === DATA ? this.#at + 4 : -1;
    this.#lastStream = streamId;
    this.#at += FRAME_HEADER_BYTES;
  }

  /** Turns the last frame into the stream's last, if it is DATA of this stream and still here. */
  endLast(streamId: number): boolean {
    if (this.#lastFlags < 0 || this.#lastStream !== streamId) return false;
    this.#scratch![this.#lastFlags]! |= FLAG_END_STREAM;
    this.#lastFlags = -1;
    return true;
  }

  /** Copies `bytes[start, end)`. */
  copy(bytes: Uint8Array, start: number, end: number): void {
    const scratch = this.#room(end - start);
    if (end - start < 64) for (let i = start; i < end; i++) scratch[this.#at++] = bytes[i]!;
    else {
      scratch.set(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), this.#at);
      this.#at += end - start;
    }
  }

  /** Passes a chunk on, by reference where it is large. It belongs to the output from here. */
  chunk(bytes: Uint8Array): void {
    if (bytes.length <= COPY_BYTES) this.copy(bytes, 0, bytes.length);
    else {
      this.#spill();
      this.#parts.push(bytes);
      this.#partBytes += bytes.length;
    }
  }

  rstStream(streamId: number, code: number): void {
    this.#word(RST_STREAM, streamId, code);
  }

  windowUpdate(streamId: number, increment: number): void {
    this.#word(WINDOW_UPDATE, streamId, increment);
  }

  ping(flags: number, payload: Uint8Array, start: number): void {
    this.header(8, PING, flags, 0);
    this.copy(payload, start, start + 8);
  }

  /** Hands everything to the stream, in one write where it can be. Returns false when "drain" must come first. */
  flush(): boolean {
    const stream = this.#stream;
    if (this.#parts.length === 0) {
      const size = this.#at;
      if (size === 0) return true;
      const scratch = this.#scratch!;
      this.#scratch = undefined;
      this.#release();
      return this.#loan.write(scratch, size);
    }
    this.#spill();
    this.#release();
    const parts = this.#parts;
    this.#parts = [];
    this.#partBytes = 0;
    let more = true;
    stream.cork();
    for (const part of parts) more = stream.write(part);
    stream.uncork();
    return more;
  }

  /** Forgets what was not sent. */
  discard(): void {
    this.#parts = [];
    this.#partBytes = 0;
    this.#at = 0;
    this.#release();
  }

  #word(type: number, streamId: number, value: number): void {
    const scratch = this.#room(FRAME_HEADER_BYTES + 4);
    writeFrameHeader(scratch, this.#at, 4, type, 0, streamId);
    writeUint32(scratch, this.#at + FRAME_HEADER_BYTES, value);
    this.#lastFlags = -1;
    this.#at += FRAME_HEADER_BYTES + 4;
  }

  #room(bytes: number): Buffer {
    const scratch = this.#scratch;
    if (scratch !== undefined && scratch.length - this.#at >= bytes) return scratch;
    if (scratch !== undefined) {
      this.#spill();
      if (scratch.length >= bytes) return scratch;
    }
    this.#scratch = bytes <= SCRATCH_BYTES ? takeScratch() : Buffer.allocUnsafeSlow(bytes);
    return this.#scratch;
  }

  #spill(): void {
    if (this.#at === 0) return;
    const bytes = this.#copied();
    this.#parts.push(bytes);
    this.#partBytes += bytes.length;
    this.#at = 0;
    this.#lastFlags = -1;
  }

  #copied(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#at);
    this.#scratch!.copy(bytes, 0, 0, this.#at);
    return bytes;
  }

  #release(): void {
    this.#at = 0;
    this.#lastFlags = -1;
    const scratch = this.#scratch;
    if (scratch === undefined) return;
    this.#scratch = undefined;
    giveScratch(scratch);
  }
}
