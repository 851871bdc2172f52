/** Chunked bodies (RFC 9112 §7.1), taken apart by llhttp. */
import type { HeaderList } from "../exchange/headers.ts";
import { HeadError } from "./head.ts";
import { acquire, OK, PAUSED, type Parser, release } from "./llhttp.ts";

/** Fields that frame, route or authenticate a message are not taken from a trailer section (RFC 9110 §6.5.1). */
const NOT_IN_TRAILERS =
  /^(?:transfer-encoding|content-(?:length|encoding|type|range)|host|connection|keep-alive|proxy-connection|upgrade|te|trailer|authorization|set-cookie|cookie|cache-control|expect|max-forwards|x-forwarded-.*|forwarded)$/i;

/** Bytes without content (sizes, extensions, trailers) that may come in a row. */
const MAX_FRAMING_BYTES = 16_384;

export class ChunkedDecoder {
  /** What the bytes given last held of the body. */
  data: Uint8Array | undefined;
  /** Offset after what was consumed. */
  next = 0;
  done = false;
  trailers: HeaderList | undefined;

  #parser: Parser | undefined = acquire(0);
  #framing = 0;
  #tail = "";
  #tailBase = 0;
  readonly #maxTrailers: number;

  constructor(maxTrailers: number) {
    this.#maxTrailers = maxTrailers;
  }

  /** Takes bytes from `start` on; sets `data`, `next` and `done`. Throws a {@link HeadError}. */
  feed(chunk: Buffer, start: number): void {
    const parser = this.#parser!;
    const base = parser.base;
    const result = parser.execute(chunk, start, chunk.length);
    if (result !== OK && result !== PAUSED) throw new HeadError(400, parser.reason());
    this.next = parser.next;
    this.data = this.#join(chunk, parser.pieces);
    const size = this.data?.length ?? 0;
    this.#framing = size > 0 ? 0 : this.#framing + parser.next - start;
    if (this.#framing > MAX_FRAMING_BYTES) throw new HeadError(400, "too much chunk framing");
    if (parser.fields.length > 0) {
      if (this.#tail === "") this.#tailBase = base;
      this.#tail += chunk.toString("latin1", start, parser.next);
    }
    if (!parser.complete) return;
    this.done = true;
    if (parser.fields.length > 0) this.trailers = this.#readTrailers(parser.fields);
    this.dispose();
  }

  dispose(): void {
    if (this.#parser !== undefined) release(this.#parser, 0);
    this.#parser = undefined;
  }

  /** One piece as it lies, many small ones copied together, so that the sink is called once a read. */
  #join(chunk: Buffer, pieces: readonly number[]): Uint8Array | undefined {
    if (pieces.length === 0) return undefined;
    if (pieces.length === 2) return chunk.subarray(pieces[0], pieces[1]);
    let size = 0;
    for (let i = 0; i < pieces.length; i += 2) size += pieces[i + 1]! - pieces[i]!;
    const joined = Buffer.allocUnsafe(size);
    for (let i = 0, at = 0; i < pieces.length; i += 2) at += chunk.copy(joined, at, pieces[i], pieces[i + 1]);
    return joined;
  }

  #readTrailers(fields: readonly number[]): HeaderList | undefined {
    if (fields.length > this.#maxTrailers * 4) throw new HeadError(400, "too many trailer fields");
    const trailers: HeaderList = [];
    for (let i = 0; i < fields.length; i += 4) {
      const name = this.#tail.slice(fields[i]! - this.#tailBase, fields[i + 1]! - this.#tailBase);
      const value = this.#tail
        .slice(fields[i + 2]! - this.#tailBase, fields[i + 3]! - this.#tailBase)
        .trimEnd();
      if (!NOT_IN_TRAILERS.test(name)) trailers.push(name, value);
    }
    return trailers.length > 0 ? trailers : undefined;
  }
}
