/** One DNS message to one server and its answer: by UDP, and by TCP where the answer does not fit. */
import { createSocket } from "node:dgram";
import { connect, isIPv6 } from "node:net";
import type { Clock } from "../clock.ts";
import type { ListenAddress } from "../config/config.ts";
import { EdgeError, messageOf } from "../errors.ts";
import { decodeMessage } from "./dns-message.ts";

export interface AskOptions {
  /** An address, not a name. */
  readonly server: ListenAddress;
  /** A whole message; its first two bytes are the id. */
  readonly message: Uint8Array;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** For each try. @default 2_000 */
  readonly timeoutMs?: number;
  /** By UDP; a lost datagram is nothing special. @default 3 */
  readonly tries?: number;
}

export type Ask = (options: AskOptions) => Promise<Uint8Array>;

const TIMEOUT_MS = 2000;
const TRIES = 3;

/** The answer's bytes. Rejects with DNS_FAILED (`retry: "any"`), or with the signal's reason. */
export async function ask(options: AskOptions): Promise<Uint8Array> {
  const { tries = TRIES, message, signal } = options;
  // RFC 1035 §4.2.1: more than this goes by TCP from the start.
  if (message.length <= 1232) {
    for (let left = tries; left > 0; left--) {
      signal.throwIfAborted();
      const answer = await within(options, udp);
      if (answer === undefined) continue;
      // TC: the rest did not fit (RFC 2181 §9).
      if (((answer[2] ?? 0) & 0x02) === 0) return answer;
      break;
    }
  }
  const answer = await within(options, tcp);
  if (answer) return answer;
  throw unanswered(options, `did not answer within ${options.timeoutMs ?? TIMEOUT_MS} ms`);
}

type Way = (
  options: AskOptions,
  done: (answer: Uint8Array) => void,
  fail: (cause: unknown) => void,
) => () => void;

/** Undefined after the time is over. */
function within(options: AskOptions, way: Way): Promise<Uint8Array | undefined> {
  const { clock, signal, timeoutMs = TIMEOUT_MS } = options;
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const end = (): void => {
      timer.cancel();
      signal.removeEventListener("abort", abort);
      close();
    };
    const abort = (): void => {
      end();
      reject(signal.reason);
    };
    const timer = clock.after(timeoutMs, () => {
      end();
      resolve(undefined);
    });
    signal.addEventListener("abort", abort, { once: true });
    const close = way(
      options,
      (answer) => {
        end();
        resolve(answer);
      },
      (cause) => {
        end();
        reject(unanswered(options, `cannot be reached: ${messageOf(cause)}`));
      },
    );
  });
}

/** Whether `answer` is to `message`: the id and, where it is repeated, the question. What else comes is a stranger's. */
function answers(answer: Uint8Array, message: Uint8Array): boolean {
  if (answer[0] !== message[0] || answer[1] !== message[1] || ((answer[2] ?? 0) & 0x80) === 0) return false;
  try {
    const [asked] = decodeMessage(message).questions;
    const [repeated] = decodeMessage(answer).questions;
    return !repeated || (repeated.name === asked?.name && repeated.type === asked.type);
  } catch {
    // Not a DNS message: as if it had not come.
    return false;
  }
}

const udp: Way = ({ server, message }, done, fail) => {
  const socket = createSocket(isIPv6(server.host) ? "udp6" : "udp4");
  let closed = false;
  socket.on("error", fail);
  socket.on("message", (answer, from) => {
    if (from.port === server.port && answers(answer, message)) done(new Uint8Array(answer));
  });
  // Not connected: Bun and Deno word refusals of connected sockets differently, and the port above says whose answer it is.
  socket.send(message, server.port, server.host, (error) => {
    if (error && !closed) fail(error);
  });
  return () => {
    if (closed) return;
    closed = true;
    socket.removeAllListeners("error");
    // What comes after the end concerns nobody.
    socket.on("error", () => {});
    socket.close();
  };
};

const tcp: Way = ({ server, message }, done, fail) => {
  const socket = connect({ host: server.host, port: server.port });
  let read: Buffer = Buffer.alloc(0);
  socket.on("connect", () => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(message.length);
    socket.write(Buffer.concat([length, message]));
  });
  socket.on("data", (chunk: Buffer) => {
    read = Buffer.concat([read, chunk]);
    if (read.length < 2 || read.length < 2 + read.readUInt16BE(0)) return;
    const answer = read.subarray(2, 2 + read.readUInt16BE(0));
    if (answers(answer, message)) done(new Uint8Array(answer));
    else fail(new Error("its answer is to another question"));
  });
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("it closed the connection without an answer")));
  return () => {
    socket.removeAllListeners();
    socket.on("error", () => {});
    socket.destroy();
  };
};

function unanswered({ server }: AskOptions, how: string): EdgeError {
  const { host, port } = server;
  return dnsFailed(`the name server ${isIPv6(host) ? `[${host}]` : host}:${port} ${how}`);
}

export function dnsFailed(message: string): EdgeError {
  return new EdgeError("DNS_FAILED", message, { source: "upstream", retry: "any" });
}
