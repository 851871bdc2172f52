/** A raw client that speaks frames, right or wrong, to a server on loopback; and a clock that stands still. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { Clock } from "../../src/clock.ts";
import { bytesSource } from "../../src/exchange/body.ts";
import { type Exchange, responseHead } from "../../src/exchange/exchange.ts";
import { DEFAULT_LIMITS, type Http2Limits, type Limits, type Offence } from "../../src/exchange/limits.ts";
import {
  decodeFrame,
  encodeFrame,
  type Frame,
  GOAWAY,
  HEADERS,
  PING,
  PREFACE,
  RST_STREAM,
  readUint32,
  SETTINGS,
  settingsPayload,
} from "../../src/http2/frames.ts";
import { HpackDecoder, HpackWriter } from "../../src/http2/hpack.ts";
import { type Http2Server, type ServeHttp2Options, serveHttp2 } from "../../src/http2/server.ts";

export interface ManualClock extends Clock {
  /** Lets time pass, running what falls due on the way. */
  advance(ms: number): void;
}

export function manualClock(): ManualClock {
  let now = 1_000_000;
  let timers: { at: number; work: () => void }[] = [];
  return {
    now: () => now,
    wall: () => now,
    after(delayMs, work) {
      const timer = { at: now + delayMs, work };
      timers.push(timer);
      return {
        cancel() {
          timers = timers.filter((each) => each !== timer);
        },
      };
    },
    advance(ms) {
      const end = now + ms;
      for (;;) {
        const next = timers.filter((each) => each.at <= end).sort((a, b) => a.at - b.at)[0];
        if (next === undefined) break;
        timers = timers.filter((each) => each !== next);
        now = Math.max(now, next.at);
        next.work();
      }
      now = end;
    },
  };
}

export function limits(overrides: Partial<Limits> = {}, http2: Partial<Http2Limits> = {}): Limits {
  return { ...DEFAULT_LIMITS, ...overrides, http2: { ...DEFAULT_LIMITS.http2, ...http2 } };
}

export interface Served {
  readonly port: number;
  readonly offences: Offence[];
  readonly sessions: Http2Server[];
  readonly closes: () => number;
  close(): Promise<void>;
}

/** Answers after the whole request was read, as most servers do. */
export function echo(exchange: Exchange): void {
  const chunks: Uint8Array[] = [];
  const answer = (): void => {
    const body = Buffer.concat(chunks);
    exchange.respond(
      responseHead(200, ["content-type", "text/plain"]),
      bytesSource(body.length > 0 ? body : Buffer.from("hello, frames")),
    );
  };
  if (exchange.body === undefined) answer();
  else
    exchange.body.start({
      write(chunk) {
        chunks.push(chunk);
        return true;
      },
      end: answer,
      abort() {},
    });
}

export async function serve(
  onExchange: (exchange: Exchange) => void = echo,
  options: Partial<ServeHttp2Options> = {},
): Promise<Served> {
  const offences: Offence[] = [];
  const sessions: Http2Server[] = [];
  const sockets = new Set<Socket>();
  let closes = 0;
  const server: Server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket);
    sessions.push(
      serveHttp2(socket, {
        connection: { id: sockets.size, remoteAddress: "127.0.0.1", remotePort: 1, localPort: 2 },
        scheme: "http",
        limits: DEFAULT_LIMITS,
        clock: manualClock(),
        onExchange,
        onOffence: (reason) => offences.push(reason),
        onClose: () => closes++,
        ...options,
      }),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    offences,
    sessions,
    closes: () => closes,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Fields of a plain GET; replace or add by name, remove with undefined. */
export function fields(changes: Record<string, string | undefined> = {}): string[] {
  const all: Record<string, string | undefined> = {
    ":method": "GET",
    ":scheme": "http",
    ":path": "/",
    ":authority": "127.0.0.1",
    ...changes,
  };
  return Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [name, value]));
}

export function block(list: readonly string[] = fields()): Buffer {
  const writer = new HpackWriter();
  for (let i = 0; i < list.length; i += 2) {
    // Not HpackWriter.field: tests need names and values that it would refuse.
    const name = Buffer.from(list[i]!, "latin1");
    const value = Buffer.from(list[i + 1]!, "latin1");
    writer.raw(Buffer.concat([Buffer.from([0]), text(name), text(value)]));
  }
  return writer.take();
}

function text(bytes: Buffer): Buffer {
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const parts = [127];
  let left = bytes.length - 127;
  while (left >= 128) {
    parts.push((left & 127) | 128);
    left >>>= 7;
  }
  parts.push(left);
  return Buffer.concat([Buffer.from(parts), bytes]);
}

export function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

export class RawClient {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  readonly decoder: HpackDecoder = new HpackDecoder();
  closed = false;
  /** What the connection ended with, where that was no clean end. */
  error: Error | undefined;
  /** Sends frame headers apart from their content, and each frame by itself. */
  apart = false;
  #bytes: Buffer = Buffer.alloc(0);
  #next = 0;
  #waiting: (() => void)[] = [];

  constructor(to: number | Socket) {
    this.socket = typeof to === "number" ? connect({ port: to, host: "127.0.0.1", noDelay: true }) : to;
    this.socket.on("data", (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      for (;;) {
        const frame = decodeFrame(this.#bytes);
        if (frame === undefined) break;
        this.frames.push(frame);
        this.#bytes = this.#bytes.subarray(9 + frame.payload.length);
      }
      this.#wake();
    });
    const over = (): void => {
      this.closed = true;
      this.#wake();
    };
    this.socket.on("end", over);
    this.socket.on("close", over);
    this.socket.on("error", (error) => {
      this.error = error;
      over();
    });
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const each of waiting) each();
  }

  send(...bytes: Uint8Array[]): void {
    if (this.closed) return;
    const all = Buffer.concat(bytes);
    let at = 0;
    while (this.apart && at < all.length) {
      const size = decodeFrame(all, at)?.payload.length;
      if (size === undefined) break;
      this.socket.write(all.subarray(at, at + 9));
      if (size > 0) this.socket.write(all.subarray(at + 9, at + 9 + size));
      at += 9 + size;
    }
    if (at < all.length) this.socket.write(all.subarray(at));
  }

  /** The next frame that fits, skipping others; undefined when the connection ends first. */
  async next(fits: (frame: Frame) => boolean = () => true): Promise<Frame | undefined> {
    for (;;) {
      while (this.#next < this.frames.length) {
        const frame = this.frames[this.#next++]!;
        if (fits(frame)) return frame;
      }
      if (this.closed) return undefined;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async ended(): Promise<void> {
    while (!this.closed) await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Preface, SETTINGS both ways, acknowledged both ways. */
  async handshake(settings: readonly (readonly [number, number])[] = []): Promise<void> {
    this.send(PREFACE, encodeFrame(SETTINGS, 0, 0, settingsPayload(settings)));
    await this.next((frame) => frame.type === SETTINGS && (frame.flags & 1) === 0);
    this.send(encodeFrame(SETTINGS, 1, 0));
    await this.next((frame) => frame.type === SETTINGS && (frame.flags & 1) === 1);
  }

  headers(id: number, flags: number, list: readonly string[] = fields()): void {
    this.send(encodeFrame(HEADERS, flags, id, block(list)));
  }

  decode(frame: Frame): Record<string, string> {
    const list: string[] = [];
    this.decoder.decode(frame.payload, 0, frame.payload.length, list, 1e6, 1e4);
    const map: Record<string, string> = {};
    for (let i = 0; i < list.length; i += 2) map[list[i]!] = list[i + 1]!;
    return map;
  }

  /** Whether a PING comes back: the connection has survived. */
  async alive(): Promise<boolean> {
    const payload = Buffer.from("alive???");
    this.send(encodeFrame(PING, 0, 0, payload));
    return (await this.next((frame) => frame.type === PING && frame.payload.equals(payload))) !== undefined;
  }

  /** The code of GOAWAY, and that the connection then closes. */
  async goaway(): Promise<number | undefined> {
    const frame = await this.next((each) => each.type === GOAWAY);
    await this.ended();
    return frame && readUint32(frame.payload, 4);
  }

  async reset(id: number): Promise<number | undefined> {
    const frame = await this.next((each) => each.type === RST_STREAM && each.streamId === id);
    return frame && readUint32(frame.payload, 0);
  }
}
