/** The pools of an edge, one per backend; a reload changes their members and keeps load and health of those that stay. */
import type { Clock, Random } from "../clock.ts";
import type { BackendConfig, ServerConfig } from "../config/config.ts";
import type { Transport } from "../exchange/dispatch.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { type Probe, startHealthChecks } from "../upstream/health.ts";
import { startLagMonitor } from "../upstream/lag.ts";
import { createPool, type Pool } from "../upstream/pool.ts";

export interface BackendsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** How a fixed server is reached. */
  transport(server: ServerConfig, backend: BackendConfig): Transport;
  /** How a server's health is asked. */
  readonly probe: Probe;
}

export interface Backend {
  readonly config: BackendConfig;
  readonly pool: Pool;
}

export interface Backends {
  get(name: string): Backend | undefined;
  all(): readonly Backend[];
  /** Makes the backends be these. */
  update(configs: ReadonlyMap<string, BackendConfig>): void;
  close(): Promise<void>;
}

interface Running extends Backend {
  config: BackendConfig;
  checks: { stop(): void } | undefined;
  /** What health and transports were made from: servers are made anew when these change. */
  ways: string;
}

/** What decides how a backend's servers are reached; a change of it replaces their transports. */
function waysOf({
  connectTimeoutMs,
  responseTimeoutMs,
  maxIdleConnections,
  maxConnections,
  idleTimeoutMs,
}: BackendConfig): string {
  return [connectTimeoutMs, responseTimeoutMs, maxIdleConnections, maxConnections, idleTimeoutMs].join();
}

export function createBackends(options: BackendsOptions): Backends {
  const { clock, random, log, metrics } = options;
  const running = new Map<string, Running>();
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

  const start = (config: BackendConfig): Running => {
    const pool = createPool(config.name, { clock, random, lag, balancing: config.balancing });
    pool.watch((event) => {
      const { id } = event.server;
      const fields = { backend: config.name, server: id };
      if (event.kind === "ejected") log.warn("server.ejected", { ...fields, outcome: event.outcome });
      else if (event.kind === "unhealthy") log.warn("server.unhealthy", fields);
      else log.info(`server.${event.kind}`, fields);
    });
    return { config, pool, checks: undefined, ways: "" };
  };

  const closeAll = (transports: Iterable<Transport>): void => {
    for (const transport of transports)
      transport
        .close()
        .catch((error: unknown) => log.warn("server.close_failed", { message: String(error) }));
  };

  const apply = (backend: Running, config: BackendConfig): void => {
    const ways = waysOf(config);
    // Servers whose ways changed are other servers: new ids would hide them from operators, so they leave and join.
    const left = ways === backend.ways ? [] : backend.pool.update([]);
    backend.ways = ways;
    backend.config = config;
    backend.pool.configure(config.balancing);
    const gone = backend.pool.update(
      config.servers.map((server) => ({
        id: server.id,
        weight: server.weight,
        transport: () => options.transport(server, config),
      })),
    );
    closeAll([...left, ...gone].map(({ transport }) => transport));
    backend.checks?.stop();
    backend.checks = config.health
      ? startHealthChecks(config.health, { pool: backend.pool, probe: options.probe, clock, random })
      : undefined;
  };

  return {
    get: (name) => running.get(name),
    all: () => [...running.values()],
    update(configs) {
      for (const [name, backend] of running) {
        if (configs.has(name)) continue;
        running.delete(name);
        backend.checks?.stop();
        closeAll(backend.pool.update([]).map(({ transport }) => transport));
      }
      for (const [name, config] of configs) {
        let backend = running.get(name);
        if (!backend) {
          backend = start(config);
          running.set(name, backend);
        }
        apply(backend, config);
      }
    },
    async close() {
      lag.stop();
      for (const { checks } of running.values()) checks?.stop();
      const transports = [...running.values()].flatMap(({ pool }) => pool.update([]));
      await Promise.all(transports.map(({ transport }) => transport.close()));
    },
  };
}
