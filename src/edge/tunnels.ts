/** Wormholes on this edge: tokens and the tunnel's certificate from storage, sessions into the backends' pools. */
import { createSecureContext, type SecureContext } from "node:tls";
import type { Clock, Random } from "../clock.ts";
import type { BackendConfig } from "../config/config.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { createHttp1Transport } from "../http1/transport.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { Storage } from "../storage/storage.ts";
import { loadTunnelIdentity } from "../tls/tunnel-identity.ts";
import { createGateway, type WormholeView } from "../tunnel/gateway.ts";
import { ALPN, type EdgeAddress, TUNNEL_NAME } from "../tunnel/protocol.ts";
import { createTokenBook } from "../tunnel/token-book.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Connections } from "./connections.ts";

export interface TunnelsOptions {
  readonly storage: Storage;
  readonly edgeId: string;
  /** Where agents reach the edges of the fleet. */
  edges(): readonly EdgeAddress[];
  /** A container came, went, or is in another state. */
  onChange(): void;
  /** Agents count towards the connections of their client address. */
  readonly connections: Connections;
  pool(backend: string): { readonly pool: Pool; readonly config: BackendConfig } | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface Tunnels {
  readonly protocol: string;
  /** For the tunnel's own server name; undefined for any other. Resolves with undefined while there are no tokens. */
  secureContext(serverName: string): Promise<SecureContext | undefined> | undefined;
  accept(socket: ByteStream, remoteAddress: string): void;
  wormholes(): readonly WormholeView[];
  /** Begins to watch tokens. */
  start(): void;
  /** Tells agents that the fleet has other edges than before. */
  announce(): void;
  /** Tells agents that this edge is stopping. */
  drain(): void;
  /** The config's backends changed. */
  refresh(): void;
  close(): void;
}

/** A revoked token is cut within this time. */
const TOKENS_MS = 500;

export function createTunnels(options: TunnelsOptions): Tunnels {
  const { storage, edgeId, connections, clock, random, log, metrics } = options;
  const tokens = createTokenBook(storage, clock);
  const ending = new AbortController();
  let context: Promise<SecureContext | undefined> | undefined;

  const events = metrics.counter(
    "skerry_tunnel_sessions_total",
    "Connections of wormholes that joined, were refused or were cut off, by what happened.",
    ["event"],
  );
  const gateway = createGateway({
    clock,
    random,
    log,
    edgeId,
    check: (token) => tokens.check(token),
    pool: (backend) => options.pool(backend)?.pool,
    transport: (connect) => createHttp1Transport({ connect, clock, idleTimeoutMs: 60_000 }),
    edges: () => options.edges(),
    onChange: () => options.onChange(),
    onSession: (event) => events.inc({ event }),
  });
  metrics.gauge("skerry_tunnel_sessions", "Open connections of wormholes.", [], (gauge) =>
    gauge.set(gateway.sessions),
  );

  metrics.gauge(
    "skerry_wormholes",
    "1 for each container that is joined by a wormhole.",
    ["backend", "server", "name", "labels", "release", "state"],
    (gauge) => {
      gauge.reset();
      for (const { backend, server, app, labels, release, state } of gateway.wormholes())
        gauge.set(
          {
            backend,
            server,
            name: app,
            labels: Object.entries(labels)
              .map(([name, value]) => `${name}=${value}`)
              .join(","),
            release: release.sha ?? release.image ?? release.branch ?? "",
            state,
          },
          1,
        );
    },
  );

  return {
    protocol: ALPN,
    secureContext(serverName) {
      if (serverName.toLowerCase() !== TUNNEL_NAME) return undefined;
      context ??= loadTunnelIdentity(storage).then(
        (pair) => {
          if (pair !== undefined) return createSecureContext({ key: pair.key, cert: pair.chain });
          context = undefined;
          return undefined;
        },
        (error: unknown) => {
          context = undefined;
          log.warn("tunnel.no_certificate", { message: String(error) });
          return undefined;
        },
      );
      return context;
    },
    accept(socket, remoteAddress) {
      if (!connections.admit(remoteAddress)) {
        events.inc({ event: "connections_per_client" });
        socket.destroy();
        return;
      }
      gateway.accept(socket, remoteAddress, () => connections.release(remoteAddress));
    },
    wormholes: () => gateway.wormholes(),
    start() {
      tokens.watch(TOKENS_MS, ending.signal, (ids) => gateway.keepTokens(ids));
    },
    announce: () => gateway.announce(),
    drain: () => gateway.drain(),
    refresh: () => gateway.refresh(),
    close() {
      if (ending.signal.aborted) return;
      ending.abort(new Error("the edge is closing"));
      gateway.close();
    },
  };
}
