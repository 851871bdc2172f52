/**
 * Byte bodies with back-pressure and without promises. A source pushes to one sink while the sink says yes;
 * after a no it waits for `resume()`. The same pair serves sockets, HTTP/2 streams and web streams.
 */
import { EdgeError } from "../errors.ts";
import type { HeaderList } from "./headers.ts";

/** Where bytes go. A source calls it from one place at a time and never after `end` or `abort`. */
export interface ByteSink {
  /**
   * Takes a chunk, which then belongs to the sink: a source MUST NOT reuse its memory, unless it is `lent` to a sink that
   * {@link borrows}: its memory is then the source's again when this returns.
   * Returns false when the source must stop and wait for {@link ByteSource.resume}.
   */
  write(chunk: Uint8Array, lent?: boolean): boolean;
  /** Whether it copies what it keeps of a chunk that is lent. Never changes. @default false */
  readonly borrows?: boolean;
  /** The body is complete. Nothing else means that it is. */
  end(trailers?: HeaderList): void;
  /** The body is cut short; what came so far MUST NOT be passed off as the whole. */
  abort(error: EdgeError): void;
}

/** A body to be read once. */
export interface ByteSource {
  /** Its length in bytes where it is known beforehand, else undefined. */
  readonly length: number | undefined;
  /** Whether `start` was called. */
  readonly started: boolean;
  /**
   * Attaches the one sink. What has arrived already is delivered before `start` returns (and `end` too, when all of
   * it has), so that a short answer can leave in one write. Throws when started before.
   */
  start(sink: ByteSink): void;
  /** The sink can take more, after its `write` returned false. Harmless otherwise. */
  resume(): void;
  /** The reader wants no more: frees what the source holds. The sink is not called again. Idempotent. */
  cancel(error?: EdgeError): void;
}

/** A source of bytes that are all here. */
export function bytesSource(bytes: Uint8Array, trailers?: HeaderList): ByteSource {
  let started = false;
  let cancelled = false;
  return {
    length: bytes.length,
    get started() {
      return started;
    },
    start(sink) {
      if (started) throw new EdgeError("INTERNAL", "a body can be read once");
      started = true;
      if (bytes.length > 0) sink.write(bytes);
      if (!cancelled) sink.end(trailers);
    },
    resume() {},
    cancel() {
      cancelled = true;
    },
  };
}

/** Reads a whole body of at most `limit` bytes; rejects with LIMIT_EXCEEDED (413) beyond, or with the source's error. */
export function collect(source: ByteSource, limit: number = Number.POSITIVE_INFINITY): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let size = 0;
    source.start({
      write(chunk) {
        size += chunk.length;
        if (size > limit) {
          const error = new EdgeError("LIMIT_EXCEEDED", `body is larger than ${limit} bytes`, {
            status: 413,
          });
          source.cancel(error);
          reject(error);
          return false;
        }
        chunks.push(chunk);
        return true;
      },
      end: () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, size)),
      abort: reject,
    });
  });
}
