/** Wormholes on this edge: tokens and the tunnel's certificate from storage, sessions into the backends' pools. */
import { randomBytes } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { type Clock, type Random, sleep } from "../clock.ts";
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
  /** Where agents reach this edge; undefined where nobody said. */
  readonly address: string | undefined;
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
  /** Begins to watch tokens and the fleet. */
  start(): void;
  /** Tells agents that this edge is stopping. */
  drain(): void;
  /** The config's backends changed. */
  refresh(): void;
  close(): Promise<void>;
}

/** A revoked token is cut within this time. */
const TOKENS_MS = 500;
/** How often edges say in storage that they are there, and how old such a word may be. */
const BEAT_MS = 10_000;
const STALE_MS = 35_000;
const EDGES = "edges/";

export function createTunnels(options: TunnelsOptions): Tunnels {
  const { storage, address, connections, clock, random, log, metrics } = options;
  const edgeId = randomBytes(8).toString("hex");
  const self: EdgeAddress[] = address === undefined ? [] : [{ id: edgeId, address }];
  const tokens = createTokenBook(storage, clock);
  const ending = new AbortController();
  let edges: readonly EdgeAddress[] = self;
  let context: Promise<SecureContext | undefined> | undefined;
  let beat: Promise<void> | undefined;

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
    edges: () => edges,
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

  /** Says that this edge is there, and hears which others are. */
  const meet = async (): Promise<void> => {
    const now = clock.wall();
    const said = new TextEncoder().encode(JSON.stringify({ id: edgeId, address, at: now }));
    if (self.length > 0) await storage.store(EDGES + edgeId, said);
    const found: EdgeAddress[] = [];
    for (const key of await storage.list(EDGES)) {
      const bytes = await storage.load(key);
      if (bytes === undefined) continue;
      const other = JSON.parse(new TextDecoder().decode(bytes)) as EdgeAddress & { at: number };
      if (now - other.at <= STALE_MS) found.push({ id: other.id, address: other.address });
      else if (now - other.at > 10 * STALE_MS) await storage.delete(key);
    }
    found.sort((a, b) => (a.id < b.id ? -1 : 1));
    if (JSON.stringify(found) === JSON.stringify(edges)) return;
    edges = found;
    gateway.announce();
  };
  const meetForEver = async (): Promise<void> => {
    while (!ending.signal.aborted) {
      await meet().catch((error: unknown) => log.warn("tunnel.fleet_unknown", { message: String(error) }));
      // Rejects only when it is over.
      await sleep(clock, BEAT_MS, ending.signal).catch(() => {});
    }
  };

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
      tokens.watch(TOKENS_MS, ending.signal, (ids) => {
        gateway.keepTokens(ids);
        // An edge that nobody digs to writes nothing.
        if (ids.size > 0) beat ??= meetForEver();
      });
    },
    drain: () => gateway.drain(),
    refresh: () => gateway.refresh(),
    async close() {
      if (ending.signal.aborted) return;
      ending.abort(new Error("the edge is closing"));
      gateway.close();
      if (beat === undefined) return;
      await beat;
      // Not there next time is all that it would do.
      await storage.delete(EDGES + edgeId).catch(() => {});
    },
  };
}
