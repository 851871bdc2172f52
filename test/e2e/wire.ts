/** Bare bytes to a listener, by TCP or TLS, and everything that it does with them. */
import net from "node:net";
import tls from "node:tls";
import type { ParsedResponse } from "../../src/http1/head.ts";
import { type Message, parseResponses } from "../../src/http1/messages.ts";

export interface Door {
  readonly port: number;
  /** The server name for TLS; without it the door is plain. */
  readonly serverName?: string | undefined;
}

export interface Talk {
  /** What came back, as latin1. */
  readonly text: string;
  /** How the listener ended it; "open" where it did not within the bound. */
  readonly end: "fin" | "reset" | "open";
  readonly responses: readonly Message<ParsedResponse>[];
  readonly statuses: readonly number[];
}

export interface TalkOptions {
  /** Sends FIN (and close_notify) after the last byte. @default false */
  readonly halfClose?: boolean;
  /** Stops listening once so many responses are whole; what the connection does afterwards is not looked at. */
  readonly answers?: number;
  /** @default 3_000 */
  readonly boundMs?: number;
}

/** A connected socket, which stays half open after the other side's FIN. */
export function open(door: Door): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const base = { port: door.port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true };
    const socket =
      door.serverName === undefined
        ? net.connect(base, () => resolve(socket))
        : tls.connect(
            {
              ...base,
              servername: door.serverName,
              ALPNProtocols: ["http/1.1"],
              rejectUnauthorized: false,
            },
            () => resolve(socket),
          );
    socket.on("error", reject);
  });
}

/** Sends `chunks`, each in a write and a packet of its own, and listens until the end, enough answers, or the bound. */
export async function talk(door: Door, chunks: readonly Buffer[], options: TalkOptions = {}): Promise<Talk> {
  const socket = await open(door);
  return new Promise((resolve) => {
    let text = "";
    let over = false;
    const finish = (end: Talk["end"]): void => {
      if (over) return;
      over = true;
      clearTimeout(bound);
      socket.destroy();
      const responses = whole(text);
      resolve({ text, end, responses, statuses: responses.map(({ parsed }) => parsed.head.status) });
    };
    const bound = setTimeout(() => finish("open"), options.boundMs ?? 3000);
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      if (options.answers !== undefined && finals(text) >= options.answers) finish("open");
    });
    socket.on("error", () => finish("reset"));
    socket.on("end", () => finish("fin"));
    socket.on("close", () => finish("reset"));
    const send = (at: number): void => {
      if (over || !socket.writable) return;
      if (at === chunks.length) {
        if (options.halfClose) socket.end();
        return;
      }
      // Told once the bytes are with the kernel: the next write is a segment of its own.
      socket.write(chunks[at]!, () => setImmediate(send, at + 1));
    };
    send(0);
  });
}

function whole(text: string): readonly Message<ParsedResponse>[] {
  return parseResponses([Buffer.from(text, "latin1")]).messages;
}

function finals(text: string): number {
  return whole(text).filter(({ parsed, whole: complete }) => complete && parsed.head.status >= 200).length;
}

/** Latin1 text as one chunk. */
export function bytes(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

/** One byte a chunk. */
export function dribble(text: string): Buffer[] {
  return Array.from(bytes(text), (byte) => Buffer.from([byte]));
}
