/** Web streams to byte sources and back, each with the other's back-pressure. */
import { EdgeError } from "../errors.ts";
import type { ByteSink, ByteSource } from "./body.ts";
import { bytesSource } from "./body.ts";
import { bodyOf, WebBody } from "./web-body.ts";

/** A stream of `source`'s bytes: nothing is read before the stream is, and cancelling it cancels the source. */
export function streamOf(source: ByteSource): ReadableStream<Uint8Array> {
  return new WebBody(source).open(true)!;
}

/**
 * The bytes of `stream` as a source, which locks the stream. A stream that only shows a source of ours, and that
 * nobody read from, gives that source back. Throws TypeError where the stream is locked already.
 */
export function sourceOf(stream: ReadableStream): ByteSource {
  const body = bodyOf(stream);
  const direct = body?.untouched ? body.take() : undefined;
  if (direct instanceof Uint8Array) return bytesSource(direct);
  if (direct !== undefined && "start" in direct) return direct;
  return new StreamSource(stream.getReader());
}

function streamError(reason: unknown): EdgeError {
  if (reason instanceof EdgeError) return reason;
  return new EdgeError("MIDDLEWARE_FAILED", "a body's stream failed", { cause: reason });
}

class StreamSource implements ByteSource {
  readonly length = undefined;
  started: boolean;
  readonly #reader: ReadableStreamDefaultReader<unknown>;
  #sink: ByteSink | undefined;
  #reading: boolean;
  readonly #onRead: (result: ReadableStreamReadResult<unknown>) => void;
  readonly #onError: (reason: unknown) => void;

  constructor(reader: ReadableStreamDefaultReader<unknown>) {
    this.#reader = reader;
    this.started = false;
    this.#sink = undefined;
    this.#reading = false;
    this.#onRead = (result) => this.#deliver(result);
    this.#onError = (reason) => this.#fail(streamError(reason));
  }

  start(sink: ByteSink): void {
    if (this.started) throw new EdgeError("INTERNAL", "a body can be read once");
    this.started = true;
    this.#sink = sink;
    this.#read();
  }

  resume(): void {
    if (this.#sink !== undefined && !this.#reading) this.#read();
  }

  cancel(error?: EdgeError): void {
    if (this.started && this.#sink === undefined) return;
    this.started = true;
    this.#sink = undefined;
    // A stream that fails while it is cancelled has nobody left to tell.
    this.#reader.cancel(error).catch(() => {});
  }

  #read(): void {
    this.#reading = true;
    this.#reader.read().then(this.#onRead, this.#onError);
  }

  #deliver({ done, value }: ReadableStreamReadResult<unknown>): void {
    this.#reading = false;
    const sink = this.#sink;
    if (sink === undefined) return;
    if (done) {
      this.#sink = undefined;
      sink.end();
    } else if (!(value instanceof Uint8Array)) {
      const error = new EdgeError("MIDDLEWARE_FAILED", "a body's stream gave something other than bytes");
      this.#reader.cancel(error).catch(() => {});
      this.#fail(error);
    } else if (value.length === 0 || sink.write(value)) {
      // The sink may have cancelled while it wrote, or asked for more by itself.
      if (this.#sink !== undefined && !this.#reading) this.#read();
    }
  }

  #fail(error: EdgeError): void {
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.abort(error);
  }
}

/**
 * `source` held to the Content-Length that its head promises: a body that ends early or goes on is aborted, so that
 * no framing trusts what a handler merely claimed.
 */
export function exactly(source: ByteSource, length: number): ByteSource {
  let left = length;
  return {
    length,
    get started() {
      return source.started;
    },
    start(sink) {
      source.start({
        write(chunk) {
          left -= chunk.length;
          if (left >= 0) return sink.write(chunk);
          const error = new EdgeError(
            "MIDDLEWARE_FAILED",
            `a body is longer than its Content-Length, ${length}`,
          );
          source.cancel(error);
          sink.abort(error);
          return false;
        },
        end(trailers) {
          if (left === 0) return sink.end(trailers);
          sink.abort(
            new EdgeError("MIDDLEWARE_FAILED", `a body is ${left} bytes short of its Content-Length`),
          );
        },
        abort: (error) => sink.abort(error),
      });
    },
    resume: () => source.resume(),
    cancel: (error) => source.cancel(error),
  };
}
