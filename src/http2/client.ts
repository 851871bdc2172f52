/** HTTP/2 towards servers: requests and tunnels over one byte stream. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { ResponseHandler, Transport, UpstreamRequest } from "../exchange/dispatch.ts";
import { getHeader, type HeaderList } from "../exchange/headers.ts";
import { DEFAULT_LIMITS, type Limits } from "../exchange/limits.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { Http2ByteStream } from "./bytestream.ts";
import { ClientStream } from "./client-stream.ts";
import { Http2Connection } from "./connection.ts";
import { NO_ERROR, REFUSED_STREAM, upstreamReset } from "./errors.ts";
import {
  FLAG_END_STREAM,
  MAX_STREAM_ID,
  PREFACE,
  SETTINGS_ENABLE_PUSH,
  SETTINGS_HEADER_TABLE_SIZE,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_HEADER_LIST_SIZE,
  settingsPayload,
} from "./frames.ts";
import { writeFields } from "./heads.ts";
import { HpackWriter } from "./hpack.ts";
import { IncomingBody } from "./incoming.ts";
import type { Http2Stream } from "./stream.ts";

const PING_BYTES: Buffer = Buffer.from("skerry:p", "latin1");
/** What a server allows before its SETTINGS came; RFC 9113 §6.5.2 asks for no fewer. */
const ASSUMED_STREAMS = 100;

export interface Http2ClientOptions {
  readonly scheme: "http" | "https";
  readonly clock: Clock;
  /** Windows, rates and head sizes; `maxHeadBytes` bounds response heads. @default DEFAULT_LIMITS */
  readonly limits?: Limits;
  /** Silence after which a PING asks whether the peer is there, in milliseconds; 0 for never. @default 0 */
  readonly pingIntervalMs?: number;
  /** How long that PING may stay unanswered before the connection is given up. @default pingIntervalMs */
  readonly pingTimeoutMs?: number;
  /** Closes after this long without a stream, in milliseconds; 0 for never. @default 0 */
  readonly idleTimeoutMs?: number;
  /** The peer's SETTINGS are here. */
  onReady?(): void;
  /** The peer said GOAWAY: no new streams, those in flight go on. */
  onDraining?(): void;
  /** A stream is over, so there is room for another. */
  onRoom?(): void;
  /** The connection is gone; without an error after an orderly end. Called once. */
  onClose(error: EdgeError | undefined): void;
}

export interface Http2Client extends Transport {
  /**
   * Opens a plain CONNECT stream (RFC 9113 §8.5). Bytes may be written at once; a refusal is an "error" whose `retry`
   * says whether it was provably not accepted. `:authority` may stand in `headers`. @default ":authority" is "localhost"
   * @param opened - runs once when the peer has accepted
   */
  connect(headers?: HeaderList, opened?: () => void): ByteStream;
  /** GOAWAY was said by either side, or the connection is gone. */
  readonly draining: boolean;
  readonly closed: boolean;
  /** Streams that are open. */
  readonly open: number;
  /** Streams that may be opened now without waiting. */
  readonly room: number;
  /** Cuts the connection. */
  destroy(error?: EdgeError): void;
}

/**
 * Speaks HTTP/2 to a server on the other end of `stream`, from its first byte on.
 *
 * @example
 * ```ts
 * const client = createHttp2Client(socket, { scheme: "http", clock: systemClock, onClose() {} });
 * client.dispatch(request, handler);
 * ```
 */
export function createHttp2Client(stream: ByteStream, options: Http2ClientOptions): Http2Client {
  return new ClientConnection(stream, options);
}

const writer = new HpackWriter();

interface Waiting {
  readonly start: () => void;
  readonly failed: (error: EdgeError) => void;
}

export class ClientConnection extends Http2Connection implements Http2Client {
  readonly #options: Http2ClientOptions;
  #nextId = 1;
  #draining = false;
  #waiting: Waiting[] = [];
  #pingAt: number | undefined;
  #whenClosed: (() => void)[] = [];

  constructor(stream: ByteStream, options: Http2ClientOptions) {
    const limits = trusting(options.limits ?? DEFAULT_LIMITS);
    super({
      stream,
      limits,
      clock: options.clock,
      onOffence() {},
      onClose: (error) => this.#gone(error),
    });
    this.#options = options;
    this.peerMaxStreams = ASSUMED_STREAMS;
    const { http2, maxHeadBytes } = limits;
    const settings: [number, number][] = [
      [SETTINGS_ENABLE_PUSH, 0],
      [SETTINGS_INITIAL_WINDOW_SIZE, http2.streamWindowBytes],
      [SETTINGS_MAX_HEADER_LIST_SIZE, maxHeadBytes],
    ];
    if (http2.headerTableBytes !== 4096) settings.push([SETTINGS_HEADER_TABLE_SIZE, http2.headerTableBytes]);
    this.output.copy(PREFACE, 0, PREFACE.length);
    this.writeOpening(settingsPayload(settings));
  }

  get draining(): boolean {
    return this.#draining || this.halted;
  }

  get open(): number {
    return this.streams.size;
  }

  get room(): number {
    if (this.draining) return 0;
    return Math.max(0, this.peerMaxStreams - this.streams.size - this.#waiting.length);
  }

  dispatch(request: UpstreamRequest, handler: ResponseHandler): (error?: EdgeError) => void {
    let stream: ClientStream | undefined;
    let over = false;
    const waiting: Waiting = {
      start: () => {
        if (!over) stream = this.#send(request, handler);
      },
      failed: (error) => {
        if (over) return;
        over = true;
        request.body?.cancel(error);
        handler.failed(error);
      },
    };
    // Whether extended CONNECT is spoken stands in SETTINGS (RFC 8441 §3).
    if (request.protocol !== undefined && !this.settingsSeen && !this.draining) this.#waiting.push(waiting);
    else this.#admit(waiting);
    return (error) => {
      if (over) return;
      over = true;
      if (stream === undefined) request.body?.cancel(error);
      else stream.abandon(error);
    };
  }

  connect(headers: HeaderList = [], opened?: () => void): ByteStream {
    const writeBlock = (): void => {
      writer.length = 0;
      writer.field(":method", "CONNECT");
      writer.field(":authority", getHeader(headers, ":authority") ?? "localhost");
      writeFields(writer, headers, false);
    };
    if (this.draining || this.streams.size >= this.peerMaxStreams) {
      // The tunnel exists only to say so, once its owner listens.
      const stream = new ClientStream(this, 0, undefined, false, tunnelOf);
      const error = upstreamReset("the connection takes no more streams", "any");
      stream.dead = true;
      queueMicrotask(() => stream.tunnel!.abort(error));
      return stream.tunnel!;
    }
    writeBlock();
    const stream = this.#open(opened && tunnelHandler(opened), false, tunnelOf);
    this.writeHeaders(stream.id, writer.bytes, false, writer.length);
    this.schedule();
    return stream.tunnel!;
  }

  close(): Promise<void> {
    if (this.closed) return Promise.resolve();
    const done = new Promise<void>((resolve) => this.#whenClosed.push(resolve));
    this.#drain();
    return done;
  }

  destroy(error?: EdgeError): void {
    this.destroyNow(error ?? upstreamReset("the connection was cut", "idempotent"));
  }

  /** Starts a request now, or once a stream or the peer's SETTINGS allow it. */
  #admit(waiting: Waiting): void {
    if (this.draining) {
      queueMicrotask(() => waiting.failed(upstreamReset("the connection takes no more streams", "any")));
    } else if (this.streams.size < this.peerMaxStreams && this.#waiting.length === 0) waiting.start();
    else this.#waiting.push(waiting);
  }

  #admitWaiting(): void {
    while (this.#waiting.length > 0 && !this.draining && this.streams.size < this.peerMaxStreams)
      this.#waiting.shift()!.start();
    if (!this.draining) this.#options.onRoom?.();
  }

  #open(
    handler: ResponseHandler | undefined,
    headRequest: boolean,
    tunnel: ((stream: ClientStream) => Http2ByteStream) | undefined,
  ): ClientStream {
    const stream = new ClientStream(this, this.#nextId, handler, headRequest, tunnel);
    this.#nextId += 2;
    this.streams.set(stream.id, stream);
    this.idleSince = undefined;
    if (this.#nextId > MAX_STREAM_ID) this.#drain();
    return stream;
  }

  #send(request: UpstreamRequest, handler: ResponseHandler): ClientStream | undefined {
    const { body, protocol } = request;
    if (protocol !== undefined && this.settingsSeen && !this.peerConnectProtocol) {
      const error = new EdgeError("UPSTREAM_PROTOCOL", "the server knows no extended CONNECT", {
        source: "upstream",
        status: 502,
      });
      body?.cancel(error);
      queueMicrotask(() => handler.failed(error));
      return undefined;
    }
    writer.length = 0;
    writer.field(":method", protocol === undefined ? request.method : "CONNECT");
    writer.field(":scheme", this.#options.scheme);
    writer.field(":path", request.path);
    writer.field(":authority", request.authority);
    if (protocol !== undefined) writer.field(":protocol", protocol);
    const written = writeFields(writer, request.headers, true);
    if (written === undefined) {
      const error = new EdgeError("INTERNAL", "a field of the request cannot be sent");
      body?.cancel(error);
      queueMicrotask(() => handler.failed(error));
      return undefined;
    }
    let length = written.contentLength;
    if (length < 0 && body?.length !== undefined && protocol === undefined) {
      length = body.length;
      writer.field("content-length", String(length));
    }
    const ends = body === undefined && protocol === undefined;
    const stream = this.#open(
      handler,
      request.method === "HEAD",
      protocol === undefined ? undefined : tunnelOf,
    );
    this.writeHeaders(stream.id, writer.bytes, ends, writer.length);
    this.schedule();
    if (ends) stream.markLocalEnd();
    else if (body !== undefined && protocol === undefined) stream.pipe(body, length < 0 ? undefined : length);
    return stream;
  }

  protected get lastPeerId(): number {
    return 0;
  }

  protected isIdle(id: number): boolean {
    return (id & 1) === 0 || id >= this.#nextId;
  }

  protected lost(message: string): EdgeError {
    return upstreamReset(message, "idempotent");
  }

  protected preface(): number {
    return 0;
  }

  protected headersFrame(id: number, flags: number, bytes: Buffer, start: number, end: number): undefined {
    const stream = this.streams.get(id) as ClientStream | undefined;
    if (stream === undefined || stream.remoteClosed) {
      this.headersForNone(id, bytes, start, end);
      return;
    }
    const fields: HeaderList = [];
    this.decodeBlock(bytes, start, end, fields);
    const { malformed, tooLarge, tooMany } = this.decoder.block;
    if (malformed) stream.malformed("a field with bytes that are not allowed");
    else if (tooLarge || tooMany) stream.malformed("a response head beyond the limits");
    else stream.headers(fields, (flags & FLAG_END_STREAM) !== 0);
  }

  protected streamReset(stream: Http2Stream, code: number): void {
    const refused = code === REFUSED_STREAM;
    stream.fail(upstreamReset(`the server reset the stream (${code})`, refused ? "any" : "idempotent"));
  }

  protected goneAway(lastId: number, _code: number): void {
    const first = !this.#draining;
    this.#draining = true;
    for (const stream of [...this.streams.values()])
      if (stream.id > lastId) stream.fail(upstreamReset("the server goes away", "any"));
    this.#failWaiting(upstreamReset("the server goes away", "any"));
    if (first) this.#options.onDraining?.();
    if (this.streams.size === 0) this.endQuietly();
  }

  protected streamGone(): void {
    if (this.closed) return;
    if (this.#draining && this.streams.size === 0) this.endQuietly();
    else this.#admitWaiting();
  }

  protected settingsTaken(): void {
    this.#admitWaiting();
    this.#options.onReady?.();
  }

  protected pingAnswered(bytes: Buffer, at: number): void {
    if (bytes.compare(PING_BYTES, 0, 8, at, at + 8) === 0) this.#pingAt = undefined;
  }

  protected roleSweep(now: number): void {
    const { pingIntervalMs = 0, idleTimeoutMs = 0, pingTimeoutMs = pingIntervalMs } = this.#options;
    if (idleTimeoutMs > 0 && this.idleSince !== undefined && now - this.idleSince > idleTimeoutMs) {
      this.#drain();
      return;
    }
    if (pingIntervalMs <= 0) return;
    // Any byte is a sign of life, whatever became of the PING.
    if (this.#pingAt !== undefined && this.heardAt > this.#pingAt) this.#pingAt = undefined;
    if (this.#pingAt !== undefined) {
      if (now - this.#pingAt >= pingTimeoutMs) this.destroyNow(this.lost("the peer answers no PING"));
    } else if (now - this.heardAt >= pingIntervalMs) {
      this.#pingAt = now;
      this.output.ping(0, PING_BYTES, 0);
    }
  }

  #drain(): void {
    if (this.halted) return;
    if (!this.#draining) {
      this.#draining = true;
      this.writeGoaway(0, NO_ERROR, "");
      this.#failWaiting(upstreamReset("the connection is closing", "any"));
    }
    if (this.streams.size === 0) this.endQuietly();
  }

  #failWaiting(error: EdgeError): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each.failed(error);
  }

  #gone(error: EdgeError | undefined): void {
    this.#draining = true;
    this.#failWaiting(upstreamReset(error?.message ?? "the connection closed", "any"));
    for (const resolve of this.#whenClosed) resolve();
    this.#options.onClose(error);
  }
}

/** A server that we chose may reset and ping as it likes: a busy tunnel must not be taken for an attack. */
function trusting(limits: Limits): Limits {
  const any = Number.POSITIVE_INFINITY;
  return {
    ...limits,
    http2: {
      ...limits.http2,
      maxResetsPerSecond: any,
      maxPingsPerSecond: any,
      maxEmptyFramesPerSecond: any,
      maxWindowUpdatesPerSecond: any,
    },
  };
}

/** A tunnel's failures are its stream's own events. */
function tunnelHandler(upgraded: () => void): ResponseHandler {
  return { inform() {}, respond() {}, upgraded, failed() {} };
}

function tunnelOf(stream: ClientStream): Http2ByteStream {
  const incoming = new IncomingBody(stream, undefined);
  stream.incoming = incoming;
  return new Http2ByteStream(stream, incoming);
}
