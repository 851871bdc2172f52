/** What middleware knows of a request: `c.var.edge`. */
import type { ClientCertificate, Exchange } from "./exchange.ts";
import type { RequestTrace } from "./trace.ts";

/** @example `app.use((c, next) => (c.var.edge.tlsVersion ? next() : c.text("use HTTPS", 403)))` */
export interface EdgeContext {
  /** Made here, or taken from a trusted proxy's X-Request-Id. */
  readonly requestId: string;
  /** The configured host that serves this request, lower case, without port. */
  readonly host: string;
  /** Where this edge runs (`location` in the config). */
  readonly location: string;
  /** The client's address: the peer, or what trusted proxies say. */
  readonly clientAddress: string;
  /** "TLSv1.3", or undefined on a plain connection. */
  readonly tlsVersion: string | undefined;
  /** Whom the client proved to be, where the host has `clientAuth` and the client showed a certificate. */
  readonly clientCertificate?: ClientCertificate | undefined;
  /** The id of the server that answered, once one was chosen. */
  readonly server: string | undefined;
  /** How often the request was sent to a server. */
  readonly attempts: number;
}

/** The `Env` of apps on the edge: `new Hono<EdgeEnv>()`. */
export type EdgeEnv = { Variables: { edge: EdgeContext } };

/** On a handler that `proxy(backend)` made: the backend's name, so that a config can be checked before the first request. */
export const PROXIED_BACKEND: unique symbol = Symbol.for("skerry.proxied-backend");

/** The edge's own, writable side of an {@link EdgeContext}. */
export interface RequestContext extends EdgeContext {
  readonly exchange: Exchange;
  /** Whether the peer is in `trustedProxies`. */
  readonly peerTrusted: boolean;
  /** Monotonic milliseconds at which the head was complete. */
  readonly startedAt: number;
  server: string | undefined;
  attempts: number;
  /** The backend that was asked, and how long it took to the response head; for the access log. */
  backend: string | undefined;
  upstreamMs: number | undefined;
  /** What went wrong, for the access log. */
  error: unknown;
  /** Where attempts are written down; undefined where nobody asked. */
  readonly trace?: RequestTrace | undefined;
}
