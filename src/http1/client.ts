/**
 * The client side of one HTTP/1.1 connection, on any byte stream: one request at a time, no pipelining.
 *
 * A stream that speaks while nothing was asked is not to be trusted with the next request, and is closed. One that
 * breaks before any byte of an answer gives UPSTREAM_RESET with `retry: "idempotent"`; afterwards nothing may be repeated.
 *
 * A request with `Expect: 100-continue` keeps its body back until the server answers, or for one second
 * (RFC 9110 §10.1.1). So a client downstream hears "100 Continue" from the server that is to have the body.
 * A body that was not started when its request fails is left as it is, for a try elsewhere.
 */
import type { Clock } from "../clock.ts";
import type { EdgeError } from "../errors.ts";
import type { ResponseHandler, UpstreamRequest } from "../exchange/dispatch.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { ClientConnection } from "./client-connection.ts";
import type { ParsedResponse } from "./head.ts";
import type { HeadCache } from "./parser.ts";

export interface Http1ClientOptions {
  readonly clock: Clock;
  /** A response's status line and fields together; beyond it UPSTREAM_PROTOCOL. @default 65_536 */
  readonly maxHeadBytes?: number;
  /** @default 256 */
  readonly maxHeaders?: number;
  /** Bytes of a response body held before anybody reads it. @default 65_536 */
  readonly maxBufferedBytes?: number;
  /** From dispatch to the response head, give or take a second; then UPSTREAM_TIMEOUT (504). @default none */
  readonly responseTimeoutMs?: number;
  /** How long to wait for another request. @default none */
  readonly idleTimeoutMs?: number;
  /** Response heads seen before; connections to the same server may share it. */
  readonly heads?: HeadCache<ParsedResponse>;
  /** The connection can take another request. */
  onIdle(client: Http1Client): void;
  /** The stream is closed. Called once. */
  onClose(client: Http1Client, error?: EdgeError): void;
}

export interface Http1Client {
  /** A request is in flight. */
  readonly busy: boolean;
  /** Not fit for another request. */
  readonly closed: boolean;
  /**
   * Sends a request. The connection MUST be idle. The handler is not called before this returns, but for a failure to
   * serialise and what the request's own body does.
   */
  dispatch(request: UpstreamRequest, handler: ResponseHandler): (error?: EdgeError) => void;
  /** Closes now. Idempotent. */
  destroy(): void;
}

/** Speaks HTTP/1.1 to the server at the other end of `stream`. */
export function createHttp1Client(stream: ByteStream, options: Http1ClientOptions): Http1Client {
  return new ClientConnection(stream, options);
}
