/**
 * What waits to be written on a stream. Head, chunk and end of a small message, and all answers given during one read,
 * leave as one write: a system call, or a TLS record, costs more than anything else here.
 */
import type { ByteStream } from "../exchange/stream.ts";

/** Up to here parts are copied into one buffer; above it they are written one by one under a cork. */
const COPY_BYTES = 16_384;
/** Beyond this nothing waits for the end of a read or of a tick. */
const HIGH_BYTES = 65_536;

export class Outbox {
  readonly #stream: ByteStream;
  #parts: (string | Uint8Array)[] = [];
  #size = 0;
  #held = 0;
  #scheduled = false;
  readonly #flushLater: () => void;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    this.#flushLater = () => {
      this.#scheduled = false;
      this.flush();
    };
  }

  /** Adds latin1 text. */
  text(text: string): void {
    this.#parts.push(text);
    this.#size += text.length;
  }

  /** Adds bytes, which nobody may change from now on. */
  bytes(bytes: Uint8Array): void {
    this.#parts.push(bytes);
    this.#size += bytes.length;
  }

  /** Until the matching {@link unhold}, nothing leaves unless much has gathered. */
  hold(): void {
    this.#held++;
  }

  unhold(): void {
    if (--this.#held === 0 && this.#size > 0) this.flush();
  }

  /**
   * To be called after parts were added: writes them now, or at the end of this hold or tick.
   * Returns false when the caller should wait for the stream's "drain".
   */
  send(): boolean {
    if (this.#size >= HIGH_BYTES || (this.#held === 0 && this.#size >= COPY_BYTES)) this.flush();
    else if (this.#held === 0 && !this.#scheduled) {
      this.#scheduled = true;
      queueMicrotask(this.#flushLater);
    }
    return !this.#stream.writableNeedDrain;
  }

  flush(): void {
    const parts = this.#parts;
    const size = this.#size;
    if (size === 0) return;
    const stream = this.#stream;
    this.#size = 0;
    if (stream.destroyed) {
      parts.length = 0;
      return;
    }
    if (parts.length === 1) {
      const part = parts[0]!;
      parts.length = 0;
      if (typeof part === "string") stream.write(part, "latin1");
      else stream.write(part);
      return;
    }
    if (size <= COPY_BYTES) {
      const buffer = Buffer.allocUnsafe(size);
      let at = 0;
      for (const part of parts) {
        if (typeof part === "string") at += buffer.write(part, at, "latin1");
        else {
          buffer.set(part, at);
          at += part.length;
        }
      }
      parts.length = 0;
      stream.write(buffer);
      return;
    }
    // Writing may run our own listeners ("drain"), which may add parts again.
    this.#parts = [];
    stream.cork();
    for (const part of parts) {
      if (typeof part === "string") stream.write(part, "latin1");
      else stream.write(part);
    }
    stream.uncork();
  }
}
