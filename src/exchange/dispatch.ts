/** A request on its way to a server, and the callbacks that its answer arrives by: no promise per chunk. */
import type { EdgeError } from "../errors.ts";
import type { ByteSource } from "./body.ts";
import type { ResponseHead } from "./exchange.ts";
import type { HeaderList } from "./headers.ts";
import type { ByteStream } from "./stream.ts";

export interface UpstreamRequest {
  readonly method: string;
  readonly path: string;
  readonly scheme: "http" | "https";
  readonly authority: string;
  /** Final end-to-end fields without Host, Content-Length (unless `body` is given with it), Connection or Upgrade. */
  readonly headers: HeaderList;
  /**
   * Fields that differ from request to request (X-Request-Id), sent after `headers`. They stand apart so that `headers`
   * can be the same array again, and what was derived from it be used again. Only for a {@link Transport} that
   * `sendsExtra`.
   */
  readonly extra?: HeaderList | undefined;
  readonly body: ByteSource | undefined;
  /** Asks to switch to this protocol ("websocket"). */
  readonly protocol: string | undefined;
  /**
   * Where an engine may keep what it derived from method, path, authority and headers (say, their serialised text),
   * under a symbol of its own. Give the same object for requests that repeat; best one that hangs on the
   * {@link RequestHead}'s own memo.
   */
  readonly memo?: Record<symbol, unknown> | undefined;
}

/**
 * What comes back. The transport calls `inform` any number of times, then exactly one of `respond`, `upgraded` or
 * `failed`; after `respond` the body's sink hears of everything else.
 */
export interface ResponseHandler {
  inform(status: number, headers: HeaderList): void;
  respond(head: ResponseHead, body: ByteSource | undefined): void;
  /** The server switched; `stream` carries bytes both ways from here. */
  upgraded(head: ResponseHead, stream: ByteStream): void;
  /** No response head will come. `error.retry` says whether the request may go elsewhere. */
  failed(error: EdgeError): void;
}

/** A way to reach one server: TCP, TLS or a wormhole, HTTP/1.1 or HTTP/2 inside. */
export interface Transport {
  /**
   * Sends a request. Returns a function that cancels it (idempotent; after it the handler is not called again).
   * A failure before anything could have been accepted MUST carry `retry: "any"`; one where the server may have acted
   * but sent no byte back `retry: "idempotent"`.
   */
  dispatch(request: UpstreamRequest, handler: ResponseHandler): (error?: EdgeError) => void;
  /** Whether it sends {@link UpstreamRequest.extra}; without, callers put those fields into `headers`. @default false */
  readonly sendsExtra?: boolean;
  /** Lets requests in flight finish, then closes; idempotent. */
  close(): Promise<void>;
}
