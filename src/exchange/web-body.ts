/**
 * A body behind a lazy `Request` or `Response`. It stays what it is (text, bytes, a byte source) until somebody asks
 * for the stream, and even then goes on directly as long as nobody read from that stream.
 */
import { EdgeError } from "../errors.ts";
import type { ByteSink, ByteSource } from "./body.ts";
import { bytesSource, collect } from "./body.ts";
import { NativeResponse } from "./web-native.ts";

/** How many bytes wait in a stream before its source is paused. */
const QUEUED_BYTES = 65_536;
/** Nothing is pulled before somebody reads: that is how an untouched stream is told from one in use. */
const NO_READ_AHEAD = { highWaterMark: 0 };
const decoder = new TextDecoder();

/** Text and bytes are shared, hence never changed. A `Response` stands for what only the runtime can read. */
export type BodyContent = string | Uint8Array | ByteSource | Response;

function isSource(content: BodyContent): content is ByteSource {
  return typeof content === "object" && "start" in content;
}

/** Hangs a body onto the stream that shows it: a private field on a foreign object costs a tenth of a WeakMap entry. */
const ReturnsItsArgument: new (stream: ReadableStream) => object = function (this: object, stream: object) {
  return stream;
} as unknown as new (
  stream: ReadableStream,
) => object;

class Mark extends ReturnsItsArgument {
  readonly #body: WebBody;

  constructor(stream: ReadableStream, body: WebBody) {
    super(stream);
    this.#body = body;
  }

  static of(stream: object): WebBody | undefined {
    return #body in stream ? (stream as Mark).#body : undefined;
  }
}

/** The body that `stream` shows, if it is one of ours. */
export function bodyOf(stream: ReadableStream): WebBody | undefined {
  return Mark.of(stream);
}

/** One body; it is also the source of its own stream, and the sink of its own source, to make no further object. */
export class WebBody implements ByteSink {
  #content: BodyContent;
  /** What the stream is fed from; a clone changes the content, not this. */
  #feed: BodyContent | undefined;
  #stream: ReadableStream<Uint8Array> | undefined;
  #controller: ReadableByteStreamController | undefined;
  /** Taken or read as a whole. */
  #used: boolean;
  /** Read or cancelled by its stream. */
  #pulled: boolean;
  #started: boolean;

  constructor(content: BodyContent) {
    this.#content = content;
    this.#feed = undefined;
    this.#stream = undefined;
    this.#controller = undefined;
    this.#used = false;
    this.#pulled = false;
    this.#started = false;
  }

  /** `bodyUsed`: whether anything was read or cancelled. */
  get used(): boolean {
    const content = this.#content;
    return this.#used || (content instanceof NativeResponse ? content.bodyUsed : this.#pulled);
  }

  /** Neither read nor being read. */
  get untouched(): boolean {
    return !this.used && !this.open(false)?.locked;
  }

  /** In bytes where that is known without reading. */
  get length(): number | undefined {
    const content = this.#content;
    if (typeof content === "string") return Buffer.byteLength(content);
    return content instanceof NativeResponse ? undefined : content.length;
  }

  /** The stream; `make: false` only looks whether there is one. */
  open(make: boolean): ReadableStream<Uint8Array> | undefined {
    const content = this.#content;
    if (content instanceof NativeResponse) return content.body ?? undefined;
    if (this.#stream === undefined && make) {
      const stream = new ReadableStream(
        this as UnderlyingByteSource,
        NO_READ_AHEAD,
      ) as ReadableStream<Uint8Array>;
      new Mark(stream, this);
      this.#stream = stream;
      this.#feed = content;
      // Read as a whole before its stream was asked for: the standard shows a locked one.
      if (this.#used) stream.getReader();
    }
    return this.#stream;
  }

  #claim(): void {
    if (!this.untouched) throw new TypeError("the body was read already, or is being read");
    this.#used = true;
    this.#stream?.getReader();
  }

  /** Takes the body for sending. Throws TypeError where it was used. */
  take(): Uint8Array | ByteSource | ReadableStream<Uint8Array> {
    const content = this.#content;
    if (content instanceof NativeResponse) {
      if (!this.untouched) throw new TypeError("the body was read already, or is being read");
      this.#used = true;
      return content.body ?? new Uint8Array(0);
    }
    this.#claim();
    return typeof content === "string" ? Buffer.from(content) : content;
  }

  /** Reads the body as a whole. What it resolves with may be shared: look, do not keep or change. */
  async read(): Promise<Uint8Array> {
    const content = this.#content;
    if (content instanceof NativeResponse) return new Uint8Array(await content.arrayBuffer());
    this.#claim();
    if (typeof content === "string") return Buffer.from(content);
    return isSource(content) ? collect(content) : (content as Uint8Array);
  }

  async text(): Promise<string> {
    const content = this.#content;
    if (typeof content === "string" && content.isWellFormed() && content.charCodeAt(0) !== 0xfeff) {
      this.#claim();
      return content;
    }
    return decoder.decode(await this.read());
  }

  /** A second body with the same bytes, as `clone()` makes. Throws TypeError where this one was used. */
  tee(): WebBody {
    if (!this.untouched) throw new TypeError("a body that was read cannot be cloned");
    const content = this.#content;
    if (typeof content === "string" || content instanceof Uint8Array) return new WebBody(content);
    const [mine, theirs] = this.open(true)!.tee();
    this.#content = new NativeResponse(mine);
    this.#stream = undefined;
    return new WebBody(new NativeResponse(theirs));
  }

  // As the source of a stream.

  get type(): "bytes" {
    return "bytes";
  }

  pull(controller: ReadableByteStreamController): void {
    this.#pulled = true;
    const feed = this.#feed!;
    if (this.#started) {
      if (isSource(feed)) feed.resume();
      return;
    }
    this.#started = true;
    this.#controller = controller;
    if (isSource(feed)) feed.start(this);
    else bytesSource(typeof feed === "string" ? Buffer.from(feed) : (feed as Uint8Array)).start(this);
  }

  cancel(reason: unknown): void {
    this.#pulled = true;
    const feed = this.#feed!;
    if (isSource(feed)) feed.cancel(cancelError(reason));
  }

  // As the sink of a source, once the stream is being read.

  write(chunk: Uint8Array): boolean {
    const controller = this.#controller!;
    // A byte stream takes the memory of what it is given, and a chunk may lie in a buffer that others read from.
    if (chunk.length > 0) controller.enqueue(new Uint8Array(chunk));
    return (controller.desiredSize ?? 0) > -QUEUED_BYTES;
  }

  end(): void {
    const controller = this.#controller!;
    controller.close();
    controller.byobRequest?.respond(0);
  }

  abort(error: EdgeError): void {
    this.#controller!.error(error);
  }
}

/** Why a reader wants no more, as the byte layer says it. */
export function cancelError(reason: unknown): EdgeError {
  if (reason instanceof EdgeError) return reason;
  return new EdgeError("MIDDLEWARE_FAILED", "the reader of a body wanted no more", { cause: reason });
}

/** Bytes of one's own: a plain Uint8Array over exactly its memory, safe to hand to anybody. */
export function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}

/** Blobs and forms are the runtime's to make, from bytes and the content type. */
export async function asNative(message: {
  headers: Headers;
  bytes(): Promise<Uint8Array<ArrayBuffer>>;
}): Promise<Response> {
  const type = message.headers.get("content-type");
  return new NativeResponse(await message.bytes(), {
    headers: type === null ? {} : { "content-type": type },
  });
}

/** What `textStream()` gives. Throws TypeError where the body is in use. */
export function textStreamOf(body: WebBody | undefined): ReadableStream<string> {
  const stream = (body ?? new WebBody("")).open(true)!;
  if (body?.used) throw new TypeError("the body was read already");
  return stream.pipeThrough(new TextDecoderStream() as unknown as ReadableWritablePair<string, Uint8Array>);
}
