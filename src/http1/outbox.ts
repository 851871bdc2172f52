/**
 * What waits to be written on a stream. Head, chunk and end of a small message, and all answers given during one read,
 * leave as one write: a system call, or a TLS record, costs more than anything else here.
 */
import { type Loan, SCRATCH_BYTES, takeScratch } from "../exchange/scratch.ts";
import type { ByteStream } from "../exchange/stream.ts";

/** Up to here parts are copied into one buffer; above it they are written one by one under a cork. */
const COPY_BYTES = 16_384;
/** Beyond this nothing waits for the end of a read or of a tick. */
const HIGH_BYTES = 65_536;

export class Outbox {
  readonly #stream: ByteStream;
  readonly #loan: Loan | undefined;
  /** Whether bytes may be lent to {@link copy}. */
  readonly borrows: boolean;
  /** What was copied, and what came before it; parts that came after it wait on their own. */
  #scratch: Buffer | undefined;
  #filled = 0;
  #parts: (string | Uint8Array)[] = [];
  /** Of all that waits. */
  #size = 0;
  #held = 0;
  #scheduled = false;
  readonly #flushLater: () => void;

  /** @param loan where large bodies of others may pass through */
  constructor(stream: ByteStream, loan?: Loan) {
    this.#stream = stream;
    this.#loan = loan;
    this.borrows = loan?.possible === true;
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

  /** Adds bytes whose memory is somebody else's again when this returns. */
  copy(bytes: Uint8Array): void {
    if (this.#size + bytes.length > SCRATCH_BYTES) this.flush();
    if (bytes.length > SCRATCH_BYTES || (this.#scratch === undefined && bytes.length < COPY_BYTES)) {
      this.bytes(Buffer.from(bytes));
      return;
    }
    this.#scratch ??= takeScratch();
    this.#gather(this.#scratch);
    this.#scratch.set(bytes, this.#filled);
    this.#filled += bytes.length;
    this.#size += bytes.length;
  }

  /** To be called when the stream has drained: writes what was copied meanwhile. */
  drained(): void {
    this.#loan?.drained();
    if (this.#scratch !== undefined && this.#held === 0) this.flush();
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
    // Leaves with what gathers until then.
    if (this.#scratch !== undefined && this.#stream.writableNeedDrain) return false;
    const wasOutstanding = this.#loan?.outstanding;
    if (this.#size >= HIGH_BYTES || (this.#held === 0 && this.#size >= COPY_BYTES)) this.flush();
    else if (this.#held === 0 && !this.#scheduled) {
      this.#scheduled = true;
      queueMicrotask(this.#flushLater);
    }
    // While what was lent just now is under way there is room for as much again.
    return !this.#stream.writableNeedDrain || wasOutstanding !== this.#loan?.outstanding;
  }

  flush(): void {
    if (this.#size === 0) return;
    const stream = this.#stream;
    if (stream.destroyed) {
      this.#parts.length = this.#size = this.#filled = 0;
      this.#scratch = undefined;
      return;
    }
    if (this.#scratch !== undefined) this.#flushScratch(this.#scratch);
    const parts = this.#parts;
    const size = this.#size;
    this.#size = 0;
    if (parts.length === 0) return;
    if (parts.length === 1) {
      const part = parts[0]!;
      parts.length = 0;
      if (typeof part === "string") stream.write(part, "latin1");
      else stream.write(part);
      return;
    }
    if (size <= COPY_BYTES) {
      const buffer = Buffer.allocUnsafe(size);
      fill(buffer, 0, parts);
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

  /** Moves the parts into the scratch where all of them find room. */
  #gather(scratch: Buffer): void {
    if (this.#size > SCRATCH_BYTES) return;
    this.#filled = fill(scratch, this.#filled, this.#parts);
    this.#parts.length = 0;
  }

  #flushScratch(scratch: Buffer): void {
    this.#gather(scratch);
    const filled = this.#filled;
    this.#scratch = undefined;
    this.#filled = 0;
    this.#size -= filled;
    this.#loan?.write(scratch, filled);
  }
}

/** Writes parts one after the other; returns where they end. */
function fill(into: Buffer, start: number, parts: readonly (string | Uint8Array)[]): number {
  let at = start;
  for (const part of parts) {
    if (typeof part === "string") at += into.write(part, at, "latin1");
    else {
      into.set(part, at);
      at += part.length;
    }
  }
  return at;
}
