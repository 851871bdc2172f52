/** How a server of the config is reached: HTTP/1.1 or HTTP/2 over TCP, TLS or a Unix socket. */
import type { TLSSocket } from "node:tls";
import type { Clock } from "../clock.ts";
import type { BackendConfig, ServerConfig } from "../config/config.ts";
import type { Transport } from "../exchange/dispatch.ts";
import { createHttp1Transport } from "../http1/transport.ts";
import { createHttp2Transport } from "../http2/transport.ts";
import { type DialTarget, type DialTls, dial } from "./connect.ts";
import { withDeadlines } from "./deadline.ts";
import { type Connect, createNegotiatedTransport } from "./negotiate.ts";

export interface TransportDeps {
  readonly clock: Clock;
  /** PEM of the authorities that `https` servers are verified against where the backend names none. @default the system's */
  readonly ca?: string;
}

/** Where to connect to. `tls` is said for `https` servers only. */
export function targetOf(server: ServerConfig, tls?: DialTls): DialTarget {
  const { host, address, port, socket } = server;
  return { host: address ?? host, port, socket, ...(tls && { tls }) };
}

/** Makes the transport of a server. Connects when the first request comes, not before. */
export function transportFor(server: ServerConfig, backend: BackendConfig, deps: TransportDeps): Transport {
  return withDeadlines(bareTransport(server, backend, deps), backend, deps.clock);
}

/** The same without bounds on what an answer may take. */
export function bareTransport(server: ServerConfig, backend: BackendConfig, deps: TransportDeps): Transport {
  const { clock } = deps;
  const { connectTimeoutMs, maxIdleConnections, maxConnections, idleTimeoutMs } = backend;
  const options = { clock, timeoutMs: connectTimeoutMs };
  const http1 = (connect: Connect): Transport =>
    createHttp1Transport({ connect, clock, maxIdle: maxIdleConnections, maxConnections, idleTimeoutMs });
  const http2 = (connect: Connect): Transport =>
    createHttp2Transport({
      scheme: server.protocol === "https" ? "https" : "http",
      clock,
      connect,
      idleTimeoutMs,
    });
  const connect: Connect = (done) => dial(targetOf(server), options, done);
  switch (server.protocol) {
    case "http":
      return http1(connect);
    case "h2c":
      return http2(connect);
    case "https": {
      const tls = tlsOf(server, backend, deps);
      return createNegotiatedTransport({
        http1,
        http2,
        dial: (alpn, done) =>
          dial(targetOf(server, { ...tls, alpn }), options, (error, socket) =>
            done(error, socket, (socket as TLSSocket | undefined)?.alpnProtocol || ""),
          ),
      });
    }
    default:
      return server.protocol satisfies never;
  }
}

function tlsOf(server: ServerConfig, { tls }: BackendConfig, deps: TransportDeps): DialTls {
  const ca = tls?.ca ?? deps.ca;
  return {
    serverName: tls?.serverName ?? server.host,
    ca,
    cert: tls?.cert,
    key: tls?.key,
    verify: tls?.verify ?? true,
    sessions: { last: undefined },
  };
}
