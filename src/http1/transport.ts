/**
 * A keep-alive pool of HTTP/1.1 connections to one server: the connection used last is used next.
 * A request that fails before its body was started leaves the body alone, so it can be sent elsewhere whole.
 */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { ResponseHandler, Transport, UpstreamRequest } from "../exchange/dispatch.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { createHttp1Client, type Http1Client } from "./client.ts";
import type { ParsedResponse } from "./head.ts";
import { HeadCache } from "./parser.ts";

export interface Http1TransportOptions {
  /** Opens a connection and calls back once, with an error or a stream. Returns a function that gives up. */
  connect(done: (error: EdgeError | undefined, stream: ByteStream | undefined) => void): () => void;
  readonly clock: Clock;
  /** Idle connections kept. @default 64 */
  readonly maxIdle?: number;
  /** How long a connection may be idle, give or take a second. SHOULD be below the server's own. @default 4_000 */
  readonly idleTimeoutMs?: number;
  /** Connections at a time; requests beyond it wait. @default 1_024 */
  readonly maxConnections?: number;
  /** Requests that may wait; beyond it UPSTREAM_REFUSED (503), `retry: "any"`. @default 1_024 */
  readonly maxWaiting?: number;
  /** From dispatch on a connection to the response head; then UPSTREAM_TIMEOUT (504). @default none */
  readonly responseTimeoutMs?: number;
  readonly maxHeadBytes?: number;
  readonly maxBufferedBytes?: number;
}

export interface Http1Transport extends Transport {
  /** Closes every connection at once, in flight or not. */
  destroy(): void;
  readonly connections: number;
  readonly idle: number;
}

/** A request that has no connection yet. */
interface Waiting {
  request: UpstreamRequest;
  handler: ResponseHandler;
  /** Gives up the connect, or cancels the dispatched request. */
  cancel: ((error?: EdgeError) => void) | undefined;
  state: "waiting" | "connecting" | "sent" | "over";
}

/** Sends requests over connections from `options.connect`. */
export function createHttp1Transport(options: Http1TransportOptions): Http1Transport {
  const { clock, maxIdle = 64, idleTimeoutMs = 4000, maxConnections = 1024, maxWaiting = 1024 } = options;
  const heads = new HeadCache<ParsedResponse>(8);
  const idle: Http1Client[] = [];
  const clients = new Set<Http1Client>();
  let waiting: Waiting[] = [];
  let connecting = 0;
  let closing = false;
  let whenClosed: (() => void)[] = [];

  const clientOptions = {
    clock,
    heads,
    idleTimeoutMs,
    ...(options.responseTimeoutMs !== undefined && { responseTimeoutMs: options.responseTimeoutMs }),
    ...(options.maxHeadBytes !== undefined && { maxHeadBytes: options.maxHeadBytes }),
    ...(options.maxBufferedBytes !== undefined && { maxBufferedBytes: options.maxBufferedBytes }),
    onIdle(client: Http1Client): void {
      const next = waiting.shift();
      if (next !== undefined) send(client, next);
      else if (closing || idle.length >= maxIdle) client.destroy();
      else idle.push(client);
    },
    onClose(client: Http1Client): void {
      clients.delete(client);
      const at = idle.lastIndexOf(client);
      if (at >= 0) idle.splice(at, 1);
      openNext();
    },
  };

  function settle(): void {
    if (!closing || clients.size + connecting > 0) return;
    for (const resolve of whenClosed) resolve();
    whenClosed = [];
  }

  function send(client: Http1Client, entry: Waiting): void {
    entry.state = "sent";
    entry.cancel = client.dispatch(entry.request, entry.handler);
  }

  function openNext(): void {
    const next = closing ? undefined : waiting.shift();
    if (next !== undefined) open(next);
    settle();
  }

  function open(entry: Waiting): void {
    entry.state = "connecting";
    connecting++;
    let called = false;
    const abandon = options.connect((error, stream) => {
      if (called) {
        stream?.destroy();
        return;
      }
      called = true;
      connecting--;
      if (stream !== undefined) {
        const client = createHttp1Client(stream, clientOptions);
        clients.add(client);
        send(client, entry);
        return;
      }
      entry.state = "over";
      entry.handler.failed(connectError(error));
      openNext();
    });
    if (called) return;
    entry.cancel = () => {
      called = true;
      connecting--;
      abandon();
      openNext();
    };
  }

  function giveUp(entry: Waiting, error: EdgeError | undefined): void {
    const { state } = entry;
    if (state === "over") return;
    if (state === "sent") {
      entry.cancel?.(error);
      return;
    }
    entry.state = "over";
    if (state === "waiting") waiting = waiting.filter((other) => other !== entry);
    else entry.cancel?.();
  }

  return {
    sendsExtra: true,
    dispatch(request, handler) {
      if (closing) return refuse(handler, "the server is being removed");
      let client = idle.pop();
      while (client?.closed) client = idle.pop();
      if (client !== undefined) return client.dispatch(request, handler);
      const entry: Waiting = { request, handler, cancel: undefined, state: "waiting" };
      if (clients.size + connecting < maxConnections) open(entry);
      else if (waiting.length < maxWaiting) waiting.push(entry);
      else return refuse(handler, "too many requests wait for the server");
      return (error) => giveUp(entry, error);
    },
    close() {
      closing = true;
      for (const client of idle.splice(0)) client.destroy();
      return new Promise((resolve) => {
        whenClosed.push(resolve);
        settle();
      });
    },
    destroy() {
      closing = true;
      for (const entry of waiting.splice(0)) {
        entry.state = "over";
        refuse(entry.handler, "the server is being removed");
      }
      for (const client of clients) client.destroy();
    },
    get connections() {
      return clients.size + connecting;
    },
    get idle() {
      return idle.length;
    },
  };
}

/** Fails later, as every other failure does, so that callers have their cancel function first. */
function refuse(handler: ResponseHandler, message: string): () => void {
  let cancelled = false;
  queueMicrotask(() => {
    if (cancelled) return;
    handler.failed(
      new EdgeError("UPSTREAM_REFUSED", message, { source: "upstream", status: 503, retry: "any" }),
    );
  });
  return () => {
    cancelled = true;
  };
}

function connectError(cause: EdgeError | undefined): EdgeError {
  if (cause instanceof EdgeError && cause.retry === "any") return cause;
  return new EdgeError("UPSTREAM_CONNECT", "cannot connect to the server", {
    source: "upstream",
    status: 502,
    retry: "any",
    cause,
  });
}
