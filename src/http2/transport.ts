/** A server reached by HTTP/2: requests share one connection, and more only when its streams run out. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { ResponseHandler, Transport, UpstreamRequest } from "../exchange/dispatch.ts";
import type { Limits } from "../exchange/limits.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { createHttp2Client, type Http2Client } from "./client.ts";
import { upstreamReset } from "./errors.ts";

export interface Http2TransportOptions {
  readonly scheme: "http" | "https";
  readonly clock: Clock;
  /** Opens a connection; calls back once, unless cancelled by the function it returns. */
  connect(callback: (error: EdgeError | undefined, stream?: ByteStream) => void): () => void;
  /** @default DEFAULT_LIMITS */
  readonly limits?: Limits;
  /** Connections at once. @default 8 */
  readonly maxConnections?: number;
  /** Requests that wait for a connection or a stream; more are refused as not accepted. @default 1_024 */
  readonly maxWaiting?: number;
  /** Milliseconds. @default 60_000 */
  readonly idleTimeoutMs?: number;
  /** Milliseconds; 0 for never. @default 15_000 */
  readonly pingIntervalMs?: number;
}

interface Waiting {
  readonly request: UpstreamRequest;
  readonly handler: ResponseHandler;
  /** Set once it was handed to a connection. */
  cancel: ((error?: EdgeError) => void) | undefined;
  over: boolean;
}

/** Multiplexes requests to one server. Failures carry the retry facts that {@link Transport} asks for. */
export function createHttp2Transport(options: Http2TransportOptions): Transport {
  const { maxConnections = 8, maxWaiting = 1024, idleTimeoutMs = 60_000, pingIntervalMs = 15_000 } = options;
  const clients = new Set<Http2Client>();
  let waiting: Waiting[] = [];
  let connecting = 0;
  const cancels = new Set<() => void>();
  let closing: Promise<void> | undefined;
  let closed = (): void => {};

  const withRoom = (): Http2Client | undefined => {
    for (const client of clients) if (client.room > 0) return client;
    return undefined;
  };

  const assign = (): void => {
    while (waiting.length > 0) {
      const client = withRoom();
      if (client === undefined) break;
      const next = waiting.shift()!;
      if (!next.over) next.cancel = client.dispatch(next.request, next.handler);
    }
    if (waiting.length > 0) open();
    else settle();
  };

  const failWaiting = (error: EdgeError): void => {
    const failed = waiting;
    waiting = [];
    for (const each of failed) {
      if (each.over) continue;
      each.over = true;
      each.request.body?.cancel(error);
      each.handler.failed(error);
    }
  };

  const adopt = (stream: ByteStream): void => {
    const { limits } = options;
    const client: Http2Client = createHttp2Client(stream, {
      scheme: options.scheme,
      clock: options.clock,
      ...(limits && { limits }),
      idleTimeoutMs,
      pingIntervalMs,
      onRoom: assign,
      onClose() {
        clients.delete(client);
        assign();
      },
    });
    clients.add(client);
  };

  const open = (): void => {
    if (connecting > 0 || clients.size >= maxConnections) return;
    connecting++;
    let settled = false;
    let cancel: (() => void) | undefined;
    cancel = options.connect((error, stream) => {
      if (settled) return;
      settled = true;
      connecting--;
      if (cancel !== undefined) cancels.delete(cancel);
      if (stream === undefined) {
        failWaiting(
          error ??
            new EdgeError("UPSTREAM_CONNECT", "no connection", {
              source: "upstream",
              retry: "any",
              status: 502,
            }),
        );
      } else adopt(stream);
      assign();
    });
    if (!settled) cancels.add(cancel);
  };

  const settle = (): void => {
    if (closing === undefined || waiting.length > 0 || connecting > 0) return;
    const ends = [...clients].map((client) => client.close());
    void Promise.all(ends).then(() => closed());
  };

  return {
    dispatch(request, handler) {
      const entry: Waiting = { request, handler, cancel: undefined, over: false };
      if (closing !== undefined || waiting.length >= maxWaiting) {
        const why =
          closing === undefined ? "too many requests wait for the server" : "the transport is closing";
        queueMicrotask(() => {
          if (entry.over) return;
          entry.over = true;
          request.body?.cancel();
          handler.failed(upstreamReset(why, "any"));
        });
      } else {
        const client = waiting.length === 0 ? withRoom() : undefined;
        if (client !== undefined) return client.dispatch(request, handler);
        waiting.push(entry);
        open();
      }
      return (error) => {
        if (entry.over) return;
        entry.over = true;
        if (entry.cancel !== undefined) entry.cancel(error);
        else {
          request.body?.cancel(error);
          waiting = waiting.filter((each) => each !== entry);
        }
      };
    },
    close() {
      if (closing === undefined) {
        closing = new Promise((resolve) => {
          closed = resolve;
        });
        settle();
      }
      return closing;
    },
  };
}
