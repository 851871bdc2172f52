/** Memory that answers are laid out in, lent to whoever has something to say, so that the idle hold none. */
import { joinsWrites, lendsWrites } from "../runtime.ts";
import type { ByteStream } from "./stream.ts";

/** Deno encrypts three at a time. */
const RECORDS = 9;
const RECORD_BYTES = 16_384;
/** Where writes are joined: whole TLS records. */
export const SCRATCH_BYTES: number = joinsWrites ? RECORDS * RECORD_BYTES : 65_536;
/** What can be lent at a time: in DATA frames of HTTP/2, with their headers of nine bytes, it fills those records. */
export const LENT_BYTES: number = RECORDS * (RECORD_BYTES - 9);
/** Pieces kept for whoever comes next. */
const MAX_SPARE = 16;
/** A write of so much makes any socket say "drain" once it is through. */
const DRAINING_BYTES = 65_536;

const spare: Buffer[] = [];

export function takeScratch(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(SCRATCH_BYTES);
}

/** The caller MUST NOT touch it again. */
export function giveScratch(scratch: Buffer): void {
  if (scratch.length === SCRATCH_BYTES && spare.length < MAX_SPARE) spare.push(scratch);
}

/** Writes scratch memory as it is, and takes it back once the stream has drained. */
export class Loan {
  /** Whether this stream's "drain" means that nothing of what was written is held any more. */
  readonly possible: boolean;
  readonly #stream: ByteStream;
  #lent: Buffer | undefined;

  constructor(stream: ByteStream) {
    this.#stream = stream;
    this.possible = lendsWrites(stream);
  }

  /** Whether scratch memory is with the stream. */
  get outstanding(): boolean {
    return this.#lent !== undefined;
  }

  /** Writes the first `size` bytes, as `stream.write` does. The scratch belongs to the loan from here. */
  write(scratch: Buffer, size: number): boolean {
    if (this.possible && this.#lent === undefined && size >= DRAINING_BYTES) {
      const more = this.#stream.write(scratch.subarray(0, size));
      // A stream that does not say "drain" keeps it.
      if (!more) this.#lent = scratch;
      return more;
    }
    const bytes = Buffer.allocUnsafe(size);
    scratch.copy(bytes, 0, 0, size);
    giveScratch(scratch);
    return this.#stream.write(bytes);
  }

  /** To be called on "drain". */
  drained(): void {
    if (this.#lent === undefined) return;
    giveScratch(this.#lent);
    this.#lent = undefined;
  }
}
