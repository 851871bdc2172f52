/**
 * What the doors of an edge have in common, and the plain one. One listener serves every protocol by ALPN; the runtimes' own
 * HTTP servers are not used, because one of them ignores SNICallback and another dies of what visitors send.
 */
import net from "node:net";
import type { Clock } from "../clock.ts";
import type { ListenAddress } from "../config/config.ts";
import type { DownstreamConnection, Exchange } from "../exchange/exchange.ts";
import type { Limits, Offence } from "../exchange/limits.ts";
import { serveHttp1 } from "../http1/server.ts";
import { serveHttp2 } from "../http2/server.ts";
import { spare } from "../runtime.ts";
import type { Connections, Drainable } from "./connections.ts";
import { listen, stopListening } from "./listen.ts";

export interface ListenerOptions {
  readonly address: ListenAddress;
  readonly limits: () => Limits;
  readonly clock: Clock;
  readonly connections: Connections;
  onExchange(exchange: Exchange): void;
  onOffence(reason: Offence): void;
}

export interface Listener {
  readonly address: ListenAddress;
  /** No new connections; open ones go on. */
  stop(): void;
}

let connectionIds = 0;

/** A connection as exchanges know it. */
export function describe(socket: net.Socket, tlsFacts: DownstreamConnection["tls"]): DownstreamConnection {
  const base = {
    id: ++connectionIds,
    remoteAddress: (socket.remoteAddress ?? "").replace(/^::ffff:(?=\d+\.)/, ""),
    remotePort: socket.remotePort ?? 0,
    localPort: socket.localPort ?? 0,
  };
  return tlsFacts ? { ...base, tls: tlsFacts } : base;
}

/** Counts a connection of its client, or closes it at once. Returns what to call when it ends. */
function admit(
  options: ListenerOptions,
  socket: net.Socket,
  connection: DownstreamConnection,
): ((served: Drainable) => void) | undefined {
  const { connections } = options;
  if (!connections.admit(connection.remoteAddress)) {
    options.onOffence("connections_per_client");
    socket.destroy();
    return undefined;
  }
  return (served) => {
    connections.remove(served);
    connections.release(connection.remoteAddress);
  };
}

/** What came of a TLS handshake, for HTTP/2. */
export interface Secured {
  /** Whether a connection with that server name may ask for that authority. */
  readonly authorize: ((serverName: string, authority: string) => boolean) | undefined;
  readonly handshakeMs: number | undefined;
}

/** Speaks HTTP on a connection, as ALPN says. */
export function serve(
  options: ListenerOptions,
  socket: net.Socket,
  connection: DownstreamConnection,
  secured?: Secured,
): void {
  const ended = admit(options, socket, connection);
  if (!ended) return;
  spare(socket);
  const common = {
    connection,
    limits: options.limits(),
    clock: options.clock,
    onExchange: options.onExchange,
    onOffence: options.onOffence,
    onClose: () => ended(served),
  };
  const served: Drainable =
    connection.tls?.alpn === "h2"
      ? serveHttp2(socket, { ...common, scheme: "https", ...asks(connection.tls, secured) })
      : serveHttp1(socket, { ...common, scheme: connection.tls ? "https" : "http" });
  options.connections.add(served);
}

function asks(
  { serverName }: NonNullable<DownstreamConnection["tls"]>,
  { authorize, handshakeMs }: Secured = { authorize: undefined, handshakeMs: undefined },
): { authorize?(authority: string): boolean; handshakeMs?: number } {
  return {
    ...(authorize && { authorize: (authority: string) => authorize(serverName, authority) }),
    ...(handshakeMs !== undefined && { handshakeMs }),
  };
}

/** Port 80: challenges and the way to HTTPS. */
export async function openPlainListener(options: ListenerOptions, field: string): Promise<Listener> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    serve(options, socket, describe(socket, undefined));
  });
  const address = await listen(server, options.address, field);
  server.on("error", () => {
    // EMFILE and the like while accepting: the connection is lost, the listener is not.
    options.onOffence("connections_per_client");
  });
  return { address, stop: () => stopListening(server) };
}
