/**
 * The server side of one HTTP/1.1 connection, on any byte stream.
 *
 * Half-close. The stream should be half-open capable (`allowHalfOpen: true` on the listener). A client's FIN
 * - between requests closes the connection;
 * - within a head gets a 400, as any malformed head;
 * - within a request body cuts that request off (400 where no answer has begun);
 * - after a whole request lets the answer finish, then closes. An answer that gives no byte for two seconds after a
 *   FIN is taken for one whose client is gone.
 *
 * One request is handled at a time; pipelined bytes wait, and beyond `maxBufferedBytes` the stream is paused.
 * The stream's `data` buffers are kept and passed on: a socket with a reused `onread` buffer does not fit.
 */
import type { Clock } from "../clock.ts";
import type { DownstreamConnection, Exchange } from "../exchange/exchange.ts";
import type { Limits, Offence } from "../exchange/limits.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { ServerConnection } from "./server-connection.ts";

export interface Http1ServerOptions {
  readonly connection: DownstreamConnection;
  readonly scheme: "http" | "https";
  readonly limits: Limits;
  readonly clock: Clock;
  /** A request came. It must be answered, at once or later, by `respond`, `accept` or `reset`. */
  onExchange(exchange: Exchange): void;
  /** A limit struck, or what came could not be understood. The connection is closing. */
  onOffence(reason: Offence): void;
  /** The stream is closed. Called once, after every exchange's close listeners. */
  onClose(): void;
}

export interface Http1Connection {
  /** Finishes what is in flight with "Connection: close"; closes an idle connection now. Idempotent. */
  drain(): void;
  /** Closes at once. Idempotent. */
  destroy(): void;
  /** A request is in flight, or the connection was upgraded. */
  readonly busy: boolean;
}

/** Serves HTTP/1.1 on `stream` until it closes. */
export function serveHttp1(stream: ByteStream, options: Http1ServerOptions): Http1Connection {
  return new ServerConnection(stream, options);
}
