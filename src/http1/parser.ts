/**
 * Heads out of a byte stream. Clients and servers that stay connected repeat themselves, so a head whose bytes were seen
 * on this connection before is handed out again, as the same object, after one comparison of memory.
 */
import { buildRequest, buildResponse, HeadError, type ParsedRequest, type ParsedResponse } from "./head.ts";
import {
  acquire,
  INVALID_METHOD,
  INVALID_VERSION,
  OK,
  PAUSED,
  PAUSED_H2,
  type Parser,
  REQUEST,
  RESPONSE,
  release,
} from "./llhttp.ts";

export interface HeadLimits {
  readonly maxHeadBytes: number;
  readonly maxHeaders: number;
}

interface Known<P> {
  /** Filled up to `size`; used again for the head that takes this one's place. */
  bytes: Buffer;
  size: number;
  /** One byte in the middle, to tell most strangers apart before the whole is compared. */
  probe: number;
  parsed: P;
}

/** Heads above this are not worth a copy. */
const LARGEST_KNOWN = 4096;

/** The heads seen last. Equal bytes at a message boundary parse equally, so what was parsed stands for them. */
export class HeadCache<P> {
  readonly #known: Known<P>[] = [];
  readonly #capacity: number;
  #next = 0;
  /** Length of the head found last. */
  size = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  find(chunk: Buffer, offset: number): P | undefined {
    const left = chunk.length - offset;
    for (const known of this.#known) {
      const { size, bytes } = known;
      if (left < size || chunk[offset + size - 1] !== 10 || chunk[offset + (size >> 1)] !== known.probe)
        continue;
      const same = bytes.compare(chunk, offset, offset + size, 0, size) === 0;
      if (same) {
        this.size = size;
        return known.parsed;
      }
    }
    return undefined;
  }

  add(chunk: Buffer, start: number, end: number, parsed: P): void {
    const size = end - start;
    if (size > LARGEST_KNOWN) return;
    let known = this.#known[this.#next];
    if (known === undefined || known.bytes.length < size) {
      // An allocation costs more than parsing a head, so it is made for the heads to come as well.
      known = { bytes: Buffer.allocUnsafeSlow(Math.ceil(size / 512) * 512), size, probe: 0, parsed };
      this.#known[this.#next] = known;
    }
    chunk.copy(known.bytes, 0, start, end);
    known.size = size;
    known.probe = known.bytes[size >> 1]!;
    known.parsed = parsed;
    this.#next = (this.#next + 1) % this.#capacity;
  }
}

type Build<P> = (text: string, parser: Parser, limits: HeadLimits) => P;

/** Reads heads one after the other. Between two calls of {@link push} that gave a head, bodies go elsewhere. */
export class HeadReader<P> {
  /** Offset after the head, or after what was taken of it. */
  next = 0;
  /** Whether a head has begun. */
  pending = false;

  readonly #kind: 1 | 2;
  readonly #build: Build<P>;
  readonly #limits: HeadLimits;
  #cache: HeadCache<P> | undefined;
  #parser: Parser | undefined;
  #parts: Buffer[] = [];
  #size = 0;
  #lineSeen = false;
  #emptyLines = 0;
  #cr = false;
  #first = true;

  constructor(kind: 1 | 2, limits: HeadLimits, cache: HeadCache<P> | undefined, build: Build<P>) {
    this.#kind = kind;
    this.#limits = limits;
    this.#cache = cache;
    this.#build = build;
  }

  /** Takes bytes from `offset` on. Returns the head once it is whole, else undefined. Throws a {@link HeadError}. */
  push(chunk: Buffer, offset: number): P | undefined {
    if (!this.pending) {
      const cache = this.#cache;
      const known = cache?.find(chunk, offset);
      if (cache !== undefined && known !== undefined) {
        this.next = offset + cache.size;
        return known;
      }
    }
    return this.#read(chunk, offset);
  }

  /** Forgets a head that has begun, and gives the parser back. */
  dispose(): void {
    if (this.#parser !== undefined) release(this.#parser, this.#kind);
    this.#parser = undefined;
    this.#parts = [];
    this.#size = 0;
    this.pending = this.#lineSeen = this.#cr = false;
    this.#emptyLines = 0;
  }

  #read(chunk: Buffer, offset: number): P | undefined {
    let start = offset;
    if (this.#size === 0) start = this.#skipEmptyLines(chunk, offset);
    this.pending = true;
    if (start === chunk.length) {
      this.next = start;
      return undefined;
    }
    if (this.#parser === undefined) this.#parser = acquire(this.#kind);
    const parser = this.#parser;
    const end = Math.min(chunk.length, start + this.#limits.maxHeadBytes - this.#size);
    const result = parser.execute(chunk, start, end);
    if (result === PAUSED) return this.#finish(parser, chunk, start);
    if (result !== OK) throw this.#refusal(parser, result, chunk, start);
    this.#checkLine(chunk, start, end);
    this.#parts.push(chunk.subarray(start, end));
    this.#size += end - start;
    if (this.#size >= this.#limits.maxHeadBytes)
      throw this.#lineSeen
        ? new HeadError(431, "request head is too large", "head_bytes")
        : new HeadError(414, "request line is too long", "head_bytes");
    this.next = chunk.length;
    return undefined;
  }

  /** RFC 9112 §2.2: an empty line or two before a request are ignored, if they are lines. */
  #skipEmptyLines(chunk: Buffer, offset: number): number {
    let at = offset;
    for (; at < chunk.length; at++) {
      const byte = chunk[at];
      if (this.#cr) {
        if (byte !== 10 || ++this.#emptyLines > 2) throw new HeadError(400, "bad line end");
        this.#cr = false;
      } else if (byte === 13) this.#cr = true;
      else if (byte === 10) throw new HeadError(400, "bad line end");
      else break;
    }
    return at;
  }

  #finish(parser: Parser, chunk: Buffer, start: number): P {
    const end = parser.next;
    const whole = this.#size === 0;
    let text = chunk.toString("latin1", start, end);
    if (!whole) text = Buffer.concat(this.#parts).toString("latin1") + text;
    const parsed = this.#build(text, parser, this.#limits);
    if (whole) this.#remember(chunk, start, end, parsed);
    this.dispose();
    this.next = end;
    return parsed;
  }

  #remember(chunk: Buffer, start: number, end: number, parsed: P): void {
    // Many connections never say a second thing: their first head would be kept for nothing, in some 2 KiB.
    if (this.#cache === undefined && this.#first) this.#first = false;
    else {
      this.#cache ??= new HeadCache(2);
      this.#cache.add(chunk, start, end, parsed);
    }
  }

  /**
   * A line without a version would otherwise wait for header fields that an HTTP/0.9 client never sends.
   * `end`: how far the chunk was read; what is wrong with a whole line is said before what is wrong behind it.
   */
  #checkLine(chunk: Buffer, start: number, end: number): void {
    const at = chunk.indexOf(10, start);
    if (this.#lineSeen || at < 0 || at >= end) return;
    this.#lineSeen = true;
    if (this.#kind === RESPONSE) return;
    const line = Buffer.concat(this.#parts).toString("latin1") + chunk.toString("latin1", start, at);
    if (!/^[^ ]+ [^ ]+ HTTP\/\d\.\d\r$/.test(line)) throw new HeadError(400, "bad request line");
    if (!/ HTTP\/1\.[01]\r$/.test(line)) throw new HeadError(505, "HTTP version not supported");
  }

  #refusal(parser: Parser, result: number, chunk: Buffer, start: number): HeadError {
    this.#checkLine(chunk, start, parser.next);
    const reason = parser.reason();
    if (result === PAUSED_H2) return new HeadError(505, "HTTP/2 without TLS is not supported");
    if (result === INVALID_VERSION && reason === "Invalid HTTP version") return new HeadError(505, reason);
    // A token that llhttp does not know is a method we do not implement (RFC 9110 §9.1); anything else is noise.
    if (result === INVALID_METHOD && /[A-Za-z0-9_-]/.test(String.fromCharCode(chunk[parser.next] ?? 0)))
      return new HeadError(501, "method not implemented");
    return new HeadError(400, reason);
  }
}

const buildPlain: Build<ParsedRequest> = (text, parser, { maxHeaders }) =>
  buildRequest(text, parser, "http", maxHeaders);
const buildSecure: Build<ParsedRequest> = (text, parser, { maxHeaders }) =>
  buildRequest(text, parser, "https", maxHeaders);
const buildAnswer: Build<ParsedResponse> = (text, parser, { maxHeaders }) =>
  buildResponse(text, parser, maxHeaders);

export function requestReader(
  limits: HeadLimits,
  scheme: "http" | "https",
  cache?: HeadCache<ParsedRequest>,
): HeadReader<ParsedRequest> {
  return new HeadReader(REQUEST, limits, cache, scheme === "https" ? buildSecure : buildPlain);
}

export function responseReader(
  limits: HeadLimits,
  cache: HeadCache<ParsedResponse> = new HeadCache(4),
): HeadReader<ParsedResponse> {
  return new HeadReader(RESPONSE, limits, cache, buildAnswer);
}
