/** An HTTP/1.1 server or client of ours on one end of an in-memory pair of streams, and bare bytes on the other. */
import { type Duplex, duplexPair } from "node:stream";
import type { EdgeError } from "../../src/errors.ts";
import type { ByteSink, ByteSource } from "../../src/exchange/body.ts";
import type { ResponseHandler, UpstreamRequest } from "../../src/exchange/dispatch.ts";
import type { Exchange, ResponseHead } from "../../src/exchange/exchange.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import type { HeaderList } from "../../src/exchange/headers.ts";
import { DEFAULT_LIMITS, type Limits, type Offence } from "../../src/exchange/limits.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";
import { type Http1Connection, serveHttp1 } from "../../src/http1/server.ts";
import { type ManualClock, manualClock } from "../support/manual-clock.ts";

/** Lets what is ready run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** The bare end. */
export interface Wire {
  readonly stream: Duplex;
  /** Everything received, as latin1. */
  text(): string;
  /** FIN was received. */
  ended(): boolean;
  closed(): boolean;
  send(bytes: string | Buffer): Promise<void>;
  /** Sends FIN. */
  end(): Promise<void>;
  /** Forgets what was received, and gives it. */
  take(): string;
  /** Count of writes received. */
  reads(): number;
}

function wireOf(stream: Duplex): Wire {
  let text = "";
  let ended = false;
  let closed = false;
  let reads = 0;
  stream.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    reads++;
  });
  stream.on("end", () => {
    ended = true;
  });
  stream.on("close", () => {
    closed = true;
  });
  stream.on("error", () => {});
  return {
    stream,
    text: () => text,
    ended: () => ended,
    closed: () => closed,
    reads: () => reads,
    async send(bytes) {
      stream.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
      await settle();
    },
    async end() {
      stream.end();
      await settle();
    },
    take() {
      const taken = text;
      text = "";
      return taken;
    },
  };
}

/** Both ends of a pair: ours as a ByteStream, and the bare one. A destroyed end is seen by the other. */
export function pair(): { ours: ByteStream & Duplex; wire: Wire } {
  const [ours, theirs] = duplexPair();
  // A socket pair would tell; duplexPair does not.
  ours.on("close", () => theirs.destroy());
  theirs.on("close", () => ours.destroy());
  return { ours: ours as unknown as ByteStream & Duplex, wire: wireOf(theirs) };
}

export interface Served extends Wire {
  readonly clock: ManualClock;
  readonly server: Http1Connection;
  readonly ours: ByteStream & Duplex;
  readonly exchanges: Exchange[];
  readonly offences: Offence[];
  serverClosed(): boolean;
}

export function serve(
  onExchange: (exchange: Exchange) => void = answerHello,
  limits: Partial<Limits> = {},
): Served {
  const clock = manualClock();
  const { ours, wire } = pair();
  const exchanges: Exchange[] = [];
  const offences: Offence[] = [];
  let done = false;
  const server = serveHttp1(ours, {
    connection: { id: 1, remoteAddress: "192.0.2.1", remotePort: 4711, localPort: 80 },
    scheme: "http",
    limits: { ...DEFAULT_LIMITS, ...limits },
    clock,
    onExchange(exchange) {
      exchanges.push(exchange);
      onExchange(exchange);
    },
    onOffence: (reason) => offences.push(reason),
    onClose() {
      if (done) throw new Error("closed twice");
      done = true;
    },
  });
  return Object.assign(wire, { clock, server, ours, exchanges, offences, serverClosed: () => done });
}

export function answerHello(exchange: Exchange): void {
  exchange.respond(responseHead(200, ["Content-Type", "text/plain", "Date", "x"]), Buffer.from("hello"));
}

/** What a sink was told. */
export interface Collected extends ByteSink {
  text: string;
  ended: boolean;
  trailers: HeaderList | undefined;
  error: EdgeError | undefined;
  writes: number;
  /** What `write` returns. */
  more: boolean;
}

export function collector(): Collected {
  return {
    text: "",
    ended: false,
    trailers: undefined,
    error: undefined,
    writes: 0,
    more: true,
    write(chunk) {
      if (this.ended || this.error) throw new Error("write after the end");
      this.text += Buffer.from(chunk).toString("latin1");
      this.writes++;
      return this.more;
    },
    end(trailers) {
      if (this.ended || this.error) throw new Error("ended twice");
      this.ended = true;
      this.trailers = trailers;
    },
    abort(error) {
      if (this.ended || this.error) throw new Error("ended twice");
      this.error = error;
    },
  };
}

/** A body that is pushed by hand. */
export interface Pushed extends ByteSource {
  sink: ByteSink | undefined;
  cancelled: boolean;
  resumed: number;
  started: boolean;
}

export function pushed(length?: number): Pushed {
  return {
    length,
    started: false,
    sink: undefined,
    cancelled: false,
    resumed: 0,
    start(sink) {
      this.started = true;
      this.sink = sink;
    },
    resume() {
      this.resumed++;
    },
    cancel() {
      this.cancelled = true;
    },
  };
}

/** A handler that notes what it hears. */
export interface Heard extends ResponseHandler {
  informs: [number, HeaderList][];
  head: ResponseHead | undefined;
  body: Collected;
  stream: ByteStream | undefined;
  error: EdgeError | undefined;
}

export function heard(read = true): Heard {
  const body = collector();
  return {
    informs: [],
    head: undefined,
    body,
    stream: undefined,
    error: undefined,
    inform(status, headers) {
      this.informs.push([status, headers]);
    },
    respond(head, source) {
      if (this.head || this.error) throw new Error("answered twice");
      this.head = head;
      if (source === undefined) body.end();
      else if (read) source.start(body);
    },
    upgraded(head, stream) {
      this.head = head;
      this.stream = stream;
    },
    failed(error) {
      if (this.head || this.error) throw new Error("answered twice");
      this.error = error;
    },
  };
}

export function request(facts: Partial<UpstreamRequest> = {}): UpstreamRequest {
  return {
    method: "GET",
    path: "/",
    scheme: "http",
    authority: "a.test",
    headers: [],
    body: undefined,
    protocol: undefined,
    ...facts,
  };
}
