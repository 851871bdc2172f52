/** HTTP/2 towards clients: a byte stream in, exchanges out. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { type DownstreamConnection, type Exchange, responseHead } from "../exchange/exchange.ts";
import type { HeaderList } from "../exchange/headers.ts";
import type { Limits, Offence } from "../exchange/limits.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { answerWriter, writeBareAnswer } from "./answer.ts";
import { Http2Connection } from "./connection.ts";
import { dateField } from "./date.ts";
import {
  clientGone,
  NO_ERROR,
  PROTOCOL_ERROR,
  REFUSED_STREAM,
  SETTINGS_TIMEOUT,
  STREAM_CLOSED,
} from "./errors.ts";
import { ServerExchange } from "./exchange.ts";
import { roundTrip } from "./flow.ts";
import {
  FLAG_END_STREAM,
  MAX_STREAM_ID,
  PREFACE,
  SETTINGS_ENABLE_CONNECT_PROTOCOL,
  SETTINGS_HEADER_TABLE_SIZE,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_CONCURRENT_STREAMS,
  SETTINGS_MAX_HEADER_LIST_SIZE,
  SETTINGS_NO_RFC7540_PRIORITIES,
  settingsPayload,
} from "./frames.ts";
import { type DecodedRequest, requestFrom, trailersFault } from "./heads.ts";
import type { Http2Stream } from "./stream.ts";

/** Requests whose bytes are remembered, per connection, and the longest that are. */
const MAX_KNOWN = 64;
const MAX_KNOWN_BYTES = 1024;
/** How long a draining connection waits for the client to hear of it. */
const DRAIN_NOTICE_MS = 1000;
const MISDIRECTED: Buffer = Buffer.from("This connection does not serve that host.\n", "latin1");
const DRAIN_PING: Buffer = Buffer.from("skerry:d", "latin1");

export interface ServeHttp2Options {
  readonly connection: DownstreamConnection;
  /** What `head.scheme` says: how the client came, not what it claims. */
  readonly scheme: "http" | "https";
  readonly limits: Limits;
  readonly clock: Clock;
  /** A request; answer it now or later. */
  onExchange(exchange: Exchange): void;
  /** A limit struck. */
  onOffence(reason: Offence): void;
  /** The connection is gone. Called once, after every exchange has closed. */
  onClose(): void;
  /** Whether this connection may ask for an authority; false is answered with 421 (RFC 9110 §15.5.20). */
  authorize?(authority: string): boolean;
  /** How long the peer took in the handshake before, in milliseconds: a round trip at least, known before the first byte. */
  readonly handshakeMs?: number;
  /** Lets plain CONNECT through as exchanges to `accept`: for tunnels, never towards browsers. @default false */
  readonly connect?: boolean;
}

export interface Http2Server {
  /** GOAWAY, lets requests in flight finish, then closes. Idempotent. */
  drain(): void;
  /** Cuts the connection. Idempotent. */
  destroy(): void;
  /** Whether a request is in flight. */
  readonly busy: boolean;
}

/**
 * Serves HTTP/2 (RFC 9113, with prior knowledge) on a byte stream, from its first byte on.
 *
 * @example
 * ```ts
 * serveHttp2(socket, { connection, scheme: "https", limits: DEFAULT_LIMITS, clock: systemClock,
 *   onExchange: (exchange) => exchange.respond(responseHead(200), Buffer.from("hello")),
 *   onOffence: (reason) => log.info("client.offence", { reason }), onClose() {} });
 * ```
 */
export function serveHttp2(stream: ByteStream, options: ServeHttp2Options): Http2Server {
  return new ServerConnection(stream, options);
}

export class ServerConnection extends Http2Connection implements Http2Server {
  readonly downstream: DownstreamConnection;
  readonly #options: ServeHttp2Options;
  #prefaceSeen = 0;
  #lastId = 0;
  #requests = 0;
  #drainSince: number | undefined;
  #refusing = false;
  #peerLeaves = false;
  #known: Map<string, DecodedRequest> = new Map();
  #knownGeneration = 0;
  readonly #fields: HeaderList = [];

  constructor(stream: ByteStream, options: ServeHttp2Options) {
    super({
      stream,
      limits: options.limits,
      clock: options.clock,
      onOffence: options.onOffence,
      onClose: () => options.onClose(),
    });
    this.#options = options;
    this.downstream = options.connection;
    this.roundTripMs = roundTrip(options.handshakeMs);
    const { http2, maxHeadBytes } = options.limits;
    const settings: [number, number][] = [
      [SETTINGS_MAX_CONCURRENT_STREAMS, http2.maxStreams],
      [SETTINGS_INITIAL_WINDOW_SIZE, http2.streamWindowBytes],
      [SETTINGS_MAX_HEADER_LIST_SIZE, maxHeadBytes],
      [SETTINGS_ENABLE_CONNECT_PROTOCOL, 1],
      [SETTINGS_NO_RFC7540_PRIORITIES, 1],
    ];
    if (http2.headerTableBytes !== 4096) settings.push([SETTINGS_HEADER_TABLE_SIZE, http2.headerTableBytes]);
    this.writeOpening(settingsPayload(settings));
  }

  get busy(): boolean {
    return this.streams.size > 0;
  }

  drain(): void {
    if (this.halted || this.#drainSince !== undefined) return;
    this.now = this.clock.now();
    this.#drainSince = this.now;
    // First a warning that refuses nothing, since requests may be under way (RFC 9113 §6.8).
    this.writeGoaway(MAX_STREAM_ID, NO_ERROR, "");
    this.output.ping(0, DRAIN_PING, 0);
    this.schedule();
  }

  destroy(): void {
    this.destroyNow(
      new EdgeError("SHUTTING_DOWN", "the connection was cut", { source: "downstream", status: 503 }),
    );
  }

  offence(reason: Offence): void {
    this.report(reason);
  }

  /** A stream was reset for what its client sent. */
  malformedSeen(): void {
    this.report("malformed");
    this.offend(this.guard.reset());
  }

  protected get lastPeerId(): number {
    return this.#lastId;
  }

  protected isIdle(id: number): boolean {
    return (id & 1) === 0 || id > this.#lastId;
  }

  protected lost(message: string): EdgeError {
    return clientGone(message);
  }

  protected preface(chunk: Buffer): number {
    const seen = this.#prefaceSeen;
    if (seen === PREFACE.length) return 0;
    const size = Math.min(PREFACE.length - seen, chunk.length);
    if (chunk.compare(PREFACE, seen, seen + size, 0, size) !== 0) {
      this.breach(PROTOCOL_ERROR, "no HTTP/2 preface");
      return -1;
    }
    this.#prefaceSeen += size;
    return this.#prefaceSeen === PREFACE.length ? size : -1;
  }

  protected headersFrame(id: number, flags: number, bytes: Buffer, start: number, end: number): undefined {
    const ended = (flags & FLAG_END_STREAM) !== 0;
    const open = this.streams.get(id);
    if (open !== undefined) {
      this.#trailers(open, ended, bytes, start, end);
      return;
    }
    if ((id & 1) === 0) {
      this.breach(PROTOCOL_ERROR, "a request on an even stream");
      return;
    }
    if (id <= this.#lastId) {
      this.headersForNone(id, bytes, start, end);
      return;
    }
    this.#lastId = id;
    this.guard.streamOpened();
    const request = this.#decode(bytes, start, end);
    if (this.halted) return;
    if (this.#refusing) {
      this.#refuse(id, REFUSED_STREAM);
      return;
    }
    if (this.streams.size >= this.limits.http2.maxStreams) {
      this.#refuse(id, REFUSED_STREAM);
      this.offend(this.guard.reset());
      return;
    }
    if (typeof request === "number") {
      this.answerAlone(id, request, ended);
      this.offend(this.guard.reset());
      return;
    }
    if (typeof request === "string" || (ended && (request.contentLength ?? 0) > 0)) {
      this.#refuse(id, PROTOCOL_ERROR);
      this.malformedSeen();
      return;
    }
    this.#open(id, request, ended);
  }

  #open(id: number, request: DecodedRequest, ended: boolean): void {
    const { head } = request;
    const options = this.#options;
    if (head.method === "CONNECT" && head.protocol === undefined && options.connect !== true) {
      this.answerAlone(id, 405, ended);
      return;
    }
    const exchange = new ServerExchange(this, id, request, ended);
    this.streams.set(id, exchange);
    this.idleSince = undefined;
    if (options.authorize !== undefined && !options.authorize(head.authority)) {
      exchange.respond(responseHead(421, ["content-type", "text/plain"]), MISDIRECTED);
      return;
    }
    if (++this.#requests >= this.limits.maxRequestsPerConnection) this.drain();
    try {
      options.onExchange(exchange);
    } catch (cause) {
      // Whatever the layers above do wrong costs one request, not the connection.
      exchange.reset(new EdgeError("INTERNAL", "the request's handler threw", { cause }));
    }
  }

  /** A request, 431, or what is malformed. Blocks that changed no table are remembered by their bytes. */
  #decode(bytes: Buffer, start: number, end: number): DecodedRequest | string | 431 {
    const { decoder } = this;
    const known = this.#known;
    if (this.#knownGeneration !== decoder.generation) {
      known.clear();
      this.#knownGeneration = decoder.generation;
    }
    const key = end - start <= MAX_KNOWN_BYTES ? bytes.toString("latin1", start, end) : "";
    const before = known.get(key);
    if (before !== undefined) return before;
    const fields = this.#fields;
    fields.length = 0;
    this.decodeBlock(bytes, start, end, fields);
    const { tooLarge, tooMany, malformed, mutated } = decoder.block;
    if (tooLarge || tooMany) {
      this.report(tooLarge ? "head_bytes" : "head_count");
      return 431;
    }
    if (malformed) return "a field with bytes that are not allowed";
    const request = requestFrom(fields, this.#options.scheme);
    if (typeof request === "string") return request;
    if (request.head.headers.length > this.limits.maxHeaders * 2) {
      this.report("head_count");
      return 431;
    }
    if (!mutated && key !== "") {
      if (known.size >= MAX_KNOWN) known.clear();
      known.set(key, request);
    }
    return request;
  }

  #trailers(stream: Http2Stream, ended: boolean, bytes: Buffer, start: number, end: number): void {
    const fields: HeaderList = [];
    this.decodeBlock(bytes, start, end, fields);
    const { tooLarge, tooMany, malformed } = this.decoder.block;
    if (stream.remoteClosed) {
      stream.resetWith(STREAM_CLOSED, clientGone("HEADERS after the end of the stream"));
      this.offend(this.guard.reset());
      return;
    }
    if (!ended) {
      stream.malformed("trailers without END_STREAM");
      return;
    }
    if (malformed || tooLarge || tooMany) {
      stream.malformed("invalid trailers");
      return;
    }
    const fault = trailersFault(fields);
    if (fault !== undefined) {
      stream.malformed(fault);
      return;
    }
    if (stream.incoming?.accepts(0, true) === false) {
      stream.malformed("DATA does not match Content-Length");
      return;
    }
    stream.endRemote(fields);
  }

  #refuse(id: number, code: number): void {
    this.neverOpened(id, "reset by us");
    this.output.rstStream(id, code);
  }

  /** An answer of the engine's own, without a body. */
  answerAlone(id: number, status: number, ended: boolean): void {
    writeBareAnswer(status, []);
    answerWriter.field("content-length", "0");
    answerWriter.raw(dateField(this.clock));
    this.writeHeaders(id, answerWriter.bytes, true, answerWriter.length);
    if (!this.streams.has(id)) {
      if (ended) this.neverOpened(id, "ended");
      else this.#refuse(id, NO_ERROR);
    }
    this.schedule();
  }

  protected streamReset(stream: Http2Stream, code: number): void {
    stream.fail(clientGone(`the client reset the stream (${code})`));
  }

  protected streamGone(): void {
    if ((this.#refusing || this.#peerLeaves) && this.streams.size === 0) this.endQuietly();
  }

  protected goneAway(): void {
    // A client that goes away opens no more; what is in flight is finished.
    this.#peerLeaves = true;
    if (this.streams.size === 0) this.endQuietly();
  }

  protected settingsTaken(): void {}

  protected pingAnswered(bytes: Buffer, at: number): void {
    if (bytes.compare(DRAIN_PING, 0, 8, at, at + 8) === 0) this.#refuseNew();
  }

  #refuseNew(): void {
    if (this.#drainSince === undefined || this.#refusing) return;
    this.#refusing = true;
    this.writeGoaway(this.#lastId, NO_ERROR, "");
    if (this.streams.size === 0) this.endQuietly();
  }

  protected roleSweep(now: number): void {
    if (!this.settingsSeen && now - this.openedAt > this.limits.headTimeoutMs) {
      this.report("head_timeout");
      this.destroy();
      return;
    }
    // RFC 9113 §6.5.3. A long upload on a thin line may stand before the acknowledgement, so there is no hurry.
    if (!this.settingsAcked && now - this.openedAt > this.limits.idleTimeoutMs) {
      this.fail(SETTINGS_TIMEOUT, "SETTINGS were not acknowledged", "idle_timeout");
      return;
    }
    if (this.#drainSince !== undefined && now - this.#drainSince >= DRAIN_NOTICE_MS) this.#refuseNew();
    if (this.halted) return;
    if (this.idleSince !== undefined) {
      if (now - this.idleSince <= this.limits.idleTimeoutMs) return;
      this.report("idle_timeout");
      this.writeGoaway(this.#lastId, NO_ERROR, "idle");
      this.endQuietly();
      return;
    }
    for (const stream of [...this.streams.values()]) (stream as ServerExchange).sweep(now);
  }
}
