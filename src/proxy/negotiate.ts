/** A server reached by TLS, spoken to in what it chooses: HTTP/2, where all requests share a connection, or HTTP/1.1. */
import { EdgeError } from "../errors.ts";
import type { ResponseHandler, Transport, UpstreamRequest } from "../exchange/dispatch.ts";
import type { ByteStream } from "../exchange/stream.ts";

type Connected = (error: EdgeError | undefined, stream?: ByteStream) => void;
export type Connect = (done: Connected) => () => void;

export interface NegotiateOptions {
  /** Connects and offers protocols. Tells which one the server took, "" for none. */
  dial(
    offer: readonly string[],
    done: (error: EdgeError | undefined, stream?: ByteStream, protocol?: string) => void,
  ): () => void;
  http1(connect: Connect): Transport;
  http2(connect: Connect): Transport;
}

interface Waiting {
  readonly request: UpstreamRequest;
  readonly handler: ResponseHandler;
  cancel: ((error?: EdgeError) => void) | undefined;
  over: boolean;
}

const BOTH = ["h2", "http/1.1"];
const ONE = ["http/1.1"];

/**
 * Asks at the first connection, and again after one that fails: the server may have been replaced. Upgrades always go by
 * HTTP/1.1, as few servers take them by HTTP/2 (RFC 8441).
 */
export function createNegotiatedTransport(options: NegotiateOptions): Transport {
  let known: "h2" | "http/1.1" | undefined;
  let children: { readonly h1: Transport; readonly h2: Transport } | undefined;
  let waiting: Waiting[] = [];
  let negotiating: Promise<void> | undefined;
  /** The connection that was negotiated on, for the first who wants one. */
  let spare: ByteStream | undefined;
  let closing: Promise<void> | undefined;

  const takeSpare = (): ByteStream | undefined => {
    const stream = spare?.destroyed ? undefined : spare;
    spare = undefined;
    return stream;
  };
  const connectBy =
    (protocol: "h2" | "http/1.1"): Connect =>
    (done) => {
      const ready = known === protocol ? takeSpare() : undefined;
      if (ready) {
        done(undefined, ready);
        return () => {};
      }
      return options.dial(protocol === "h2" ? BOTH : ONE, (error, stream, taken) => {
        if (error) known = undefined;
        if (error || protocol !== "h2" || taken === "h2") return done(error, stream);
        known = undefined;
        stream?.destroy();
        done(connectError("the server speaks HTTP/2 no longer"));
      });
    };
  const transports = (): { readonly h1: Transport; readonly h2: Transport } =>
    (children ??= { h1: options.http1(connectBy("http/1.1")), h2: options.http2(connectBy("h2")) });

  const sendBy = (request: UpstreamRequest, handler: ResponseHandler): ((error?: EdgeError) => void) => {
    const { h1, h2 } = transports();
    return known === "h2" && request.protocol === undefined
      ? h2.dispatch(h2.sendsExtra ? request : withExtra(request), handler)
      : h1.dispatch(h1.sendsExtra ? request : withExtra(request), handler);
  };

  const negotiate = (): Promise<void> =>
    new Promise((resolve) => {
      options.dial(BOTH, (error, stream, protocol) => {
        negotiating = undefined;
        const entries = waiting.filter((entry) => !entry.over);
        waiting = [];
        if (stream) {
          known = protocol === "h2" ? "h2" : "http/1.1";
          // An error before somebody listens must not end the process; whoever takes the stream sees it destroyed.
          stream.on("error", () => {});
          spare = stream;
          for (const entry of entries) entry.cancel = sendBy(entry.request, entry.handler);
          takeSpare()?.destroy();
        } else {
          for (const entry of entries) {
            entry.over = true;
            entry.handler.failed(error ?? connectError("no connection"));
          }
        }
        resolve();
      });
    });

  return {
    sendsExtra: true,
    dispatch(request, handler) {
      if (known !== undefined || (children && request.protocol !== undefined))
        return sendBy(request, handler);
      const entry: Waiting = { request, handler, cancel: undefined, over: false };
      if (closing) {
        queueMicrotask(() => {
          if (entry.over) return;
          handler.failed(refusedError());
        });
      } else {
        waiting.push(entry);
        negotiating ??= negotiate();
      }
      return (error) => {
        if (entry.over) return;
        entry.over = true;
        entry.cancel?.(error);
      };
    },
    close() {
      closing ??= (async () => {
        await negotiating;
        if (children) await Promise.all([children.h1.close(), children.h2.close()]);
      })();
      return closing;
    },
  };
}

function withExtra(request: UpstreamRequest): UpstreamRequest {
  const { method, path, scheme, authority, headers, extra, body, protocol } = request;
  if (extra === undefined) return request;
  return { method, path, scheme, authority, headers: headers.concat(extra), body, protocol };
}

function connectError(message: string): EdgeError {
  return new EdgeError("UPSTREAM_CONNECT", message, { source: "upstream", retry: "any", status: 502 });
}

function refusedError(): EdgeError {
  return new EdgeError("UPSTREAM_REFUSED", "the server is being removed", {
    source: "upstream",
    retry: "any",
    status: 503,
  });
}
