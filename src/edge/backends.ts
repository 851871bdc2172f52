/** The pools of an edge, one per backend; a reload changes their members and keeps load and health of those that stay. */
import { type Clock, type Random, sleep } from "../clock.ts";
import type { BackendConfig, DnsConfig, ServerConfig } from "../config/config.ts";
import type { Transport } from "../exchange/dispatch.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { type CheckServer, connectCheck, type FixedServer } from "../proxy/probe.ts";
import { type Following, followServers } from "../upstream/following.ts";
import { startHealthChecks } from "../upstream/health.ts";
import { startKnocking } from "../upstream/knocking.ts";
import { startLagMonitor } from "../upstream/lag.ts";
import { createNames, type Resolve } from "../upstream/names.ts";
import { createPool, type Pool } from "../upstream/pool.ts";

export interface BackendsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Where the edge is, where somebody said it. */
  readonly location?: string | undefined;
  /** How a fixed server is reached. */
  transport(server: ServerConfig, backend: BackendConfig): Transport;
  /** How a server's health is asked. */
  readonly check: CheckServer;
  /** How names are resolved; `servers` are those of the config as it is then. */
  resolve(servers: () => readonly string[]): Resolve;
}

export interface Backend {
  readonly config: BackendConfig;
  readonly pool: Pool;
  /** What the fixed members were made from, by id. */
  readonly fixed: ReadonlyMap<string, FixedServer>;
}

export interface Backends {
  get(name: string): Backend | undefined;
  all(): readonly Backend[];
  /**
   * Makes the backends be these. Resolves when the names of their servers are known, or have had their time; until then
   * a backend goes on with what it had.
   * @param dns - left out, it stays as it was
   * @param waitMs - how long names have. @default 3000
   */
  update(configs: ReadonlyMap<string, BackendConfig>, dns?: DnsConfig, waitMs?: number): Promise<void>;
  close(): Promise<void>;
}

interface Running extends Backend {
  config: BackendConfig;
  checks: { stop(): void } | undefined;
  readonly knocking: { stop(): void };
  /** What the checks were made from. */
  health: string;
  /** What transports were made from: servers are made anew when this changes. */
  ways: string;
  following: Following | undefined;
  /** Those of the config before, for as long as names of the new one are not known. */
  previous: Following | undefined;
  /** What the fixed members were made from, by id. */
  fixed: Map<string, FixedServer>;
}

/** How long a start or a reload waits for names. */
const RESOLVE_WAIT_MS = 3000;

/** What decides how a backend's servers are reached; a change of it replaces their transports. */
function waysOf(config: BackendConfig): string {
  const { connectTimeoutMs, responseTimeoutMs, bodyTimeoutMs, totalTimeoutMs } = config;
  const { tls, maxIdleConnections, maxConnections, idleTimeoutMs } = config;
  return JSON.stringify([
    ...[connectTimeoutMs, responseTimeoutMs, bodyTimeoutMs, totalTimeoutMs],
    ...[tls, maxIdleConnections, maxConnections, idleTimeoutMs],
  ]);
}

/** Locations that metrics name; the others are counted together. */
const MOST_LOCATIONS = 100;

export function createBackends(options: BackendsOptions): Backends {
  const { clock, random, log, metrics } = options;
  const running = new Map<string, Running>();
  let dns: DnsConfig = { servers: [], minTtlMs: 1000, maxTtlMs: 60_000, keepStaleMs: 300_000 };
  const failures = metrics.counter("skerry_dns_failures_total", "Names that could not be resolved.", [
    "name",
  ]);
  const names = createNames({
    clock,
    log,
    resolve: options.resolve(() => dns.servers),
    bounds: () => dns,
    onFailure: (name) => failures.inc({ name }),
  });
  const lag = startLagMonitor(clock);

  metrics.gauge(
    "skerry_server_in_flight",
    "Requests in flight, by backend and server.",
    ["backend", "server"],
    (gauge) => {
      gauge.reset();
      for (const { pool } of running.values())
        for (const server of pool.members())
          gauge.set({ backend: pool.name, server: server.id }, server.inFlight);
    },
  );
  metrics.gauge(
    "skerry_server_available",
    "1 for a server that is picked, 0 for one that is ejected, probing or unhealthy.",
    ["backend", "server"],
    (gauge) => {
      gauge.reset();
      for (const { pool } of running.values())
        for (const { id, state } of pool.members())
          gauge.set({ backend: pool.name, server: id }, state === "available" ? 1 : 0);
    },
  );

  metrics.gauge(
    "skerry_backend_waiting",
    "Requests that wait for a server with room, by backend.",
    ["backend"],
    (gauge) => {
      gauge.reset();
      for (const { pool } of running.values()) gauge.set({ backend: pool.name }, pool.waiting);
    },
  );

  const spills = metrics.counter(
    "skerry_upstream_spilled_total",
    "Attempts sent to another location than the edge's, by where and why.",
    ["backend", "location", "reason"],
  );
  /** Containers say themselves where they run, and every name would be a series for good. */
  const locations = new Set<string>();
  const labelOf = (location: string): string => {
    if (locations.size < MOST_LOCATIONS) locations.add(location);
    return locations.has(location) ? location : "other";
  };

  const start = (config: BackendConfig): Running => {
    const pool = createPool(config.name, {
      clock,
      random,
      lag,
      balancing: config.balancing,
      location: options.location,
      spilled: (location, reason) =>
        spills.inc({ backend: config.name, location: labelOf(location), reason }),
    });
    pool.watch((event) => {
      const { id } = event.server;
      const fields = { backend: config.name, server: id };
      if (event.kind === "ejected") log.warn("server.ejected", { ...fields, outcome: event.outcome });
      else if (event.kind === "unhealthy") log.warn("server.unhealthy", fields);
      else log.info(`server.${event.kind}`, fields);
    });
    const knocking = startKnocking({
      pool,
      // One that joined by itself leaves by itself as well, and has no address to knock at.
      knock(server) {
        const fixed = running.get(config.name)?.fixed.get(server.id);
        return fixed && options.check(server, connectCheck(fixed.backend.connectTimeoutMs), fixed);
      },
      clock,
      random,
    });
    const backend: Running = {
      config,
      pool,
      checks: undefined,
      knocking,
      health: "",
      ways: "",
      following: undefined,
      previous: undefined,
      fixed: new Map(),
    };
    pool.watch(({ kind }) => {
      if (kind === "ejected" || kind === "unhealthy") backend.following?.hurry();
    });
    return backend;
  };

  const closeAll = (transports: Iterable<Transport>): void => {
    for (const transport of transports)
      transport
        .close()
        .catch((error: unknown) => log.warn("server.close_failed", { message: String(error) }));
  };

  /** Brings the members in line with the config and what its names stand for. */
  const refresh = (backend: Running): void => {
    const { config, pool, following, previous } = backend;
    const servers = [...(previous?.current() ?? []), ...(following?.current() ?? [])];
    backend.fixed = new Map(servers.map((server) => [server.id, { server, backend: config }]));
    const gone = pool.update(
      [...backend.fixed.values()].map(({ server }) => ({
        id: server.id,
        weight: server.weight,
        location: server.location,
        transport: () => options.transport(server, config),
      })),
    );
    closeAll(gone.map(({ transport }) => transport));
  };

  const stopFollowing = (backend: Running): void => {
    backend.previous?.stop();
    backend.following?.stop();
    backend.previous = backend.following = undefined;
  };

  const checkAnew = (backend: Running): void => {
    const { health } = backend.config;
    const wanted = JSON.stringify(health);
    if (wanted === backend.health) return;
    backend.health = wanted;
    backend.checks?.stop();
    backend.checks =
      health &&
      startHealthChecks(health, {
        pool: backend.pool,
        probe: (server, check) => options.check(server, check, backend.fixed.get(server.id)),
        clock,
        random,
      });
    // Nobody would ask again how these are.
    if (!health)
      for (const { id, state } of backend.pool.members())
        if (state === "unhealthy") backend.pool.mark(id, true);
  };

  const apply = (backend: Running, config: BackendConfig): Promise<unknown> => {
    const ways = waysOf(config);
    // Servers whose ways changed are other servers: new ids would hide them from operators, so they leave and join.
    if (ways !== backend.ways) closeAll(backend.pool.update([]).map(({ transport }) => transport));
    backend.ways = ways;
    backend.config = config;
    backend.pool.configure(config.balancing);
    checkAnew(backend);
    const before = backend.following;
    const following = followServers(config.servers, names, () => refresh(backend));
    backend.previous?.stop();
    backend.previous = before;
    backend.following = following;
    refresh(backend);
    return following.ready.then(() => {
      if (backend.following !== following) return;
      backend.previous?.stop();
      backend.previous = undefined;
      refresh(backend);
    });
  };

  return {
    get: (name) => running.get(name),
    all: () => [...running.values()],
    async update(configs, nextDns = dns, waitMs = RESOLVE_WAIT_MS) {
      const sameDns = nextDns === dns;
      dns = nextDns;
      for (const [name, backend] of running) {
        if (configs.has(name)) continue;
        running.delete(name);
        backend.checks?.stop();
        backend.knocking.stop();
        stopFollowing(backend);
        closeAll(backend.pool.update([]).map(({ transport }) => transport));
      }
      const ready: Promise<unknown>[] = [];
      for (const [name, config] of configs) {
        let backend = running.get(name);
        // A change of one of ten thousand leaves the others alone.
        if (backend?.config === config && sameDns) continue;
        if (!backend) {
          backend = start(config);
          running.set(name, backend);
        }
        ready.push(apply(backend, config));
      }
      const waited = new AbortController();
      const late = sleep(clock, waitMs, waited.signal).catch(() => {}); // Nobody waits any more.
      await Promise.race([Promise.all(ready), late]);
      waited.abort();
    },
    async close() {
      lag.stop();
      for (const backend of running.values()) {
        backend.checks?.stop();
        backend.knocking.stop();
        stopFollowing(backend);
      }
      const transports = [...running.values()].flatMap(({ pool }) => pool.update([]));
      await Promise.all(transports.map(({ transport }) => transport.close()));
    },
  };
}
