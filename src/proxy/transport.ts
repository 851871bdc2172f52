/** How a fixed server is reached: HTTP/1.1 over TCP or TLS, or HTTP/2 without TLS. */
import type { Clock } from "../clock.ts";
import type { BackendConfig, ServerConfig } from "../config/config.ts";
import type { EdgeError } from "../errors.ts";
import type { Transport } from "../exchange/dispatch.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { createHttp1Transport } from "../http1/transport.ts";
import { createHttp2Transport } from "../http2/transport.ts";
import { type DialTarget, dial } from "./connect.ts";
import { withResponseTimeout } from "./deadline.ts";

export interface TransportDeps {
  readonly clock: Clock;
  /** PEM of the authorities that `https` servers are verified against. @default the system's */
  readonly ca?: string;
}

/** Makes the transport of a fixed server. Connects when the first request comes, not before. */
export function transportFor(server: ServerConfig, backend: BackendConfig, deps: TransportDeps): Transport {
  const { clock, ca } = deps;
  const { host, port, protocol } = server;
  const { connectTimeoutMs, responseTimeoutMs, maxIdleConnections, idleTimeoutMs } = backend;
  const target: DialTarget =
    protocol === "https" ? { host, port, tls: { ca, alpn: ["http/1.1"] } } : { host, port };
  const connect = (done: (error: EdgeError | undefined, stream?: ByteStream) => void): (() => void) =>
    dial(target, { clock, timeoutMs: connectTimeoutMs }, done);
  if (protocol === "h2c") {
    const transport = createHttp2Transport({ scheme: "http", clock, connect, idleTimeoutMs });
    return responseTimeoutMs > 0 ? withResponseTimeout(transport, responseTimeoutMs, clock) : transport;
  }
  return createHttp1Transport({
    connect,
    clock,
    maxIdle: maxIdleConnections,
    idleTimeoutMs,
    ...(responseTimeoutMs > 0 && { responseTimeoutMs }),
  });
}
