/** The composition root: everything an edge is made of meets here, and nowhere else. */
import { randomBytes } from "node:crypto";
import { type Clock, type Random, systemClock, systemRandom } from "../clock.ts";
import type { ListenAddress, ResolvedConfig } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import type { RequestContext } from "../exchange/context.ts";
import type { Exchange } from "../exchange/exchange.ts";
import { installWebGlobals } from "../exchange/web-globals.ts";
import { sendResponse } from "../exchange/web-response.ts";
import { createLog, type Log } from "../log.ts";
import { createMetrics, type Metrics } from "../metrics.ts";
import { failExchange } from "../proxy/problem.ts";
import { splice } from "../proxy/splice.ts";
import { heap, keepCompiledCode, runtimeName, runtimeVersion, widenBufferPool } from "../runtime.ts";
import type { Issuer } from "../tls/issuer.ts";
import { createPlaceholder } from "../tls/placeholder.ts";
import { protocolOptions } from "../tls/profile.ts";
import { reachAnswer } from "../tls/reach.ts";
import { createResolver } from "../tls/resolver.ts";
import { version } from "../version.ts";
import { openAdmin } from "./admin-listener.ts";
import type { AdminSource } from "./admin-source.ts";
import { backendView } from "./backend-view.ts";
import { createCalm } from "./calm.ts";
import { createCertificates } from "./certificates.ts";
import { createConnections } from "./connections.ts";
import { openDynamic } from "./dynamic.ts";
import { createEnding } from "./ending.ts";
import { createExplaining } from "./explain.ts";
import { createFollowing, type InForce } from "./following.ts";
import { createHandler } from "./handler.ts";
import { createIssuing } from "./issuing.ts";
import { openPlainListener } from "./listeners.ts";
import { permitFirst } from "./on-demand.ts";
import { answerChallenge, createPlainHandler } from "./plain.ts";
import { createPresence } from "./presence.ts";
import { createProxying } from "./proxying.ts";
import { degradations } from "./readiness.ts";
import { asksClients, refuseChange } from "./reload.ts";
import { type App, hostOf, lookUp } from "./routes.ts";
import { createRouting } from "./routing.ts";
import { openSecureListener } from "./secure-listener.ts";
import { openStorage } from "./storage.ts";
import { createTunnels } from "./tunnels.ts";

/** A running edge. */
export interface Edge {
  /** What it listens on, with the ports that the system gave for port 0. */
  readonly addresses: {
    readonly http: ListenAddress;
    readonly https: ListenAddress;
    readonly admin: ListenAddress;
  };
  /**
   * Follows a changed config without dropping a connection. Listeners and storage stay as they are: a change there is
   * refused with CONFIG_INVALID, and so is the whole config.
   */
  reload(config: ResolvedConfig): Promise<void>;
  /** Stops accepting, and resolves when what was in flight is finished or `drainTimeoutMs` is over. Idempotent. */
  drain(): Promise<void>;
  /** Ends everything at once. Idempotent. */
  close(): Promise<void>;
}

export interface EdgeOptions {
  /** @default JSON lines on standard output */
  readonly log?: Log;
  /** @default a registry of this edge's own */
  readonly metrics?: Metrics;
  /** Makes what answers on `listen.admin`. */
  readonly admin: (source: AdminSource) => App;
  /** Where certificates come from. @default the config's ACME directory */
  readonly issuer?: Issuer;
  /** Whether the fleet hears of this edge: not of one that serves for a command and ends. @default true */
  readonly announces?: boolean;
  readonly clock?: Clock;
  readonly random?: Random;
  /** Whether hosts and servers that were added by command are served too. @default true */
  readonly dynamic?: boolean;
}

/** How long a change by command waits for names of servers: the next change is behind it. */
const DYNAMIC_NAMES_MS = 300;

/**
 * Starts an edge, and resolves when it listens and serves every certificate that storage holds.
 *
 * @throws EdgeError LISTEN_FAILED, STORAGE_UNWRITABLE and the like, each with what to do about it
 */
export async function startEdge(base: ResolvedConfig, options: EdgeOptions): Promise<Edge> {
  const { clock = systemClock, random = systemRandom, metrics = createMetrics() } = options;
  const log = options.log ?? createLog({ level: base.logLevel });
  installWebGlobals();
  widenBufferPool();
  keepCompiledCode();

  const storage = openStorage(base, { clock, log });
  await storage.check();
  const dynamic =
    options.dynamic === false
      ? undefined
      : await openDynamic(base, { storage, clock, log, metrics, byAcme: !options.issuer });
  const config = dynamic?.config() ?? base;
  metrics.gauge("skerry_storage_away", "1 while shared storage cannot be reached.", [], (gauge) =>
    gauge.set(storage.away?.() ? 1 : 0),
  );

  let state: "starting" | "ready" | "draining" = "starting";

  const issuing = createIssuing(config.acme, { storage, clock, log });
  const { challenge, alpn, issuers } = issuing;
  const protocol = protocolOptions(config.tls.profile);
  const resolver = createResolver({ protocol });
  const issuer = options.issuer ?? issuers;
  const certificates = createCertificates(config, {
    ...{ storage, issuer, resolver, clock, random, log, metrics },
    onServed: () => presence.nudge(),
  });
  const { onDemand } = certificates;
  const proxying = createProxying({ clock, random, log, metrics, via: config.via, location: config.place });
  const resolved = proxying.backends.update(config.backends, config.dns);

  const offences = metrics.counter(
    "skerry_limits_exceeded_total",
    "Connections and requests cut off, by the limit or rule that they broke.",
    ["reason"],
  );
  const handshakeErrors = metrics.counter("skerry_tls_handshake_errors_total", "Failed TLS handshakes.", [
    "reason",
  ]);
  const connections = createConnections(
    () => inForce().config.limits.maxConnectionsPerClient,
    createCalm(clock, heap),
  );
  metrics.gauge("skerry_connections", "Open downstream connections.", [], (gauge) =>
    gauge.set(connections.size),
  );

  const fail = (exchange: Exchange, error: EdgeError, context?: RequestContext): void =>
    failExchange(exchange, error, context);
  const explain = createExplaining(() => inForce().config.explain, clock);
  const handle = createHandler({
    routes: () => inForce().routes,
    trust: () => inForce().trust,
    location: config.location,
    proxying,
    accessLog: () => inForce().config.accessLog,
    explain,
    clock,
    log,
    metrics,
    send: (exchange, response) =>
      sendResponse(exchange, response, (client, upgrade) => splice(client, upgrade.stream, clock)),
    fail,
  });
  const onExchange = onDemand
    ? permitFirst(onDemand, (authority) => inForce().routes.find(authority), handle)
    : handle;
  const onPlainExchange = createPlainHandler({
    hasHost: (host) => inForce().routes.find(host) !== undefined || onDemand?.mayHave(host) === true,
    challenge: (path) => answerChallenge(challenge, path, clock),
    reach: (path) => reachAnswer(path, challenge.thumbprints?.() ?? []),
    https: () => https.address,
    fail,
  });
  const common = {
    limits: () => inForce().config.limits,
    clock,
    connections,
    onOffence: (reason: string) => offences.inc({ reason }),
  };

  const edgeId = randomBytes(8).toString("hex");
  const tunnels = createTunnels({
    storage,
    edgeId,
    edges: () => presence.addresses(),
    onChange: () => presence.nudge(),
    connections,
    pool: (name) => proxying.backends.get(name),
    clock,
    random,
    log,
    metrics,
  });
  const following = createFollowing(config, {
    ...{ backends: proxying.backends, issuing, certificates, tunnels, log },
    routes: createRouting({ proxying, log, onDemand }),
  });
  const inForce = (): InForce => following.now;
  const health = {
    certificates: () => certificates.manager.status(),
    backends: () => proxying.backends.all().map(backendView),
    storageAway: () => storage.away?.(),
  };
  const presence = createPresence({
    ...{ id: edgeId, config, storage, clock, random, log, metrics },
    announces: options.announces ?? true,
    listen: () => ({ http: http.address, https: https.address, admin: admin.address }),
    state: () => state,
    problems: () => degradations(health),
    hosts: () => inForce().config.hosts.size,
    wormholes: () => tunnels.wormholes(),
    resolver,
    onAddresses: () => tunnels.announce(),
  });
  const clientCa = (name: string): string | undefined => lookUp(inForce().config.hosts, name)?.clientAuth?.ca;
  const placeholder = await createPlaceholder(clock);
  resolver.setPlaceholder(placeholder);
  const opened: { stop(): void }[] = [];
  const open = async <L extends { stop(): void }>(opening: Promise<L>): Promise<L> => {
    const listener = await opening;
    opened.push(listener);
    return listener;
  };

  let https: Awaited<ReturnType<typeof openSecureListener>>;
  let http: Awaited<ReturnType<typeof openPlainListener>>;
  let admin: Awaited<ReturnType<typeof openAdmin>>;
  try {
    https = await open(
      openSecureListener({
        ...common,
        address: config.listen.https,
        onExchange,
        protocol,
        handshakeTimeoutMs: config.limits.headTimeoutMs + (config.onDemand?.handshakeWaitMs ?? 0),
        secureContext: (name) => tunnels.secureContext(name) ?? certificates.secureContext(name),
        tunnel: tunnels,
        placeholder,
        clientAuth: asksClients(config) ? { ca: clientCa, pair: (name) => resolver.bundle(name) } : undefined,
        authorize: (serverName, authority) => serverName === "" || hostOf(authority) === serverName,
        alpnChallenge: alpn,
        onHandshakeError: (reason) => handshakeErrors.inc({ reason }),
      }),
    );
    http = await open(
      openPlainListener(
        { ...common, address: config.listen.http, onExchange: onPlainExchange },
        "listen.http",
      ),
    );
    admin = await open(
      openAdmin({
        ...common,
        address: config.listen.admin,
        app: options.admin({
          metrics,
          version,
          location: config.location,
          state: () => state,
          ...health,
          actions: certificates.actions,
          fleet: presence,
          ...(dynamic && { dynamic: dynamic.actions }),
          wormholes: () => tunnels.wormholes(),
          requests: () => explain.last(),
        }),
        fail,
      }),
    );
    await resolved;
    // After the listeners, as the CA will knock on port 80 as soon as something is ordered.
    await certificates.start();
    certificates.shareTickets((keys) => https.setTicketKeys(keys));
  } catch (thrown) {
    for (const listener of opened) listener.stop();
    tunnels.close();
    await Promise.allSettled([presence.close(), certificates.close(), proxying.close(), storage.close()]);
    throw thrown;
  }
  tunnels.start();
  dynamic?.start((next) => following.follow(next, DYNAMIC_NAMES_MS));
  state = "ready";
  presence.start();
  const addresses = { http: http.address, https: https.address, admin: admin.address };
  log.info("edge.ready", {
    ...addresses,
    hosts: config.hosts.size,
    backends: config.backends.size,
    location: config.location,
    runtime: `${runtimeName} ${runtimeVersion}`,
  });

  const ending = createEnding({
    ...{ clock, log, connections, tunnels, presence, admin },
    listeners: [https, http],
    drainTimeoutMs: () => inForce().config.drainTimeoutMs,
    begun() {
      state = "draining";
    },
    groups: [
      [presence, dynamic],
      [certificates, proxying],
    ],
    storage,
  });

  return {
    addresses,
    async reload(next) {
      refuseChange(inForce().config, next);
      if (asksClients(next) && !https.asksClients)
        throw new EdgeError(
          "CONFIG_INVALID",
          "hosts: the first clientAuth takes a restart; the running config is kept",
          { source: "operator" },
        );
      await (dynamic ? dynamic.rebase(next, following.follow) : following.follow(next));
      log.info("edge.reloaded", { hosts: next.hosts.size, backends: next.backends.size });
    },
    drain: ending.drain,
    close: ending.close,
  };
}
