/** The composition root: everything an edge is made of meets here, and nowhere else. */
import { randomBytes } from "node:crypto";
import { type Clock, type Random, systemClock, systemRandom } from "../clock.ts";
import type { HostConfig, HostHandler, ListenAddress, ResolvedConfig } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import type { RequestContext } from "../exchange/context.ts";
import type { Exchange } from "../exchange/exchange.ts";
import { joinHeader } from "../exchange/headers.ts";
import { installWebGlobals } from "../exchange/web-globals.ts";
import { lazyResponse, sendResponse } from "../exchange/web-response.ts";
import { createLog, type Log } from "../log.ts";
import { createMetrics, type Metrics } from "../metrics.ts";
import { backendApp, prepareApp } from "../middleware/host-app.ts";
import { failExchange, problem } from "../proxy/problem.ts";
import { splice } from "../proxy/splice.ts";
import { runtimeName, runtimeVersion } from "../runtime.ts";
import type { Issuer } from "../tls/issuer.ts";
import { createPlaceholder } from "../tls/placeholder.ts";
import { protocolOptions } from "../tls/profile.ts";
import { reachAnswer } from "../tls/reach.ts";
import { createResolver } from "../tls/resolver.ts";
import { version } from "../version.ts";
import { openAdmin } from "./admin-listener.ts";
import type { AdminSource } from "./admin-source.ts";
import { withHsts, withLocation } from "./answer-fields.ts";
import { backendView } from "./backend-view.ts";
import { createCertificates } from "./certificates.ts";
import { createConnections } from "./connections.ts";
import { openDynamic } from "./dynamic.ts";
import { createExplaining } from "./explain.ts";
import { createHandler } from "./handler.ts";
import { createIssuing } from "./issuing.ts";
import { openPlainListener } from "./listeners.ts";
import { permitFirst } from "./on-demand.ts";
import { answerChallenge, createPlainHandler } from "./plain.ts";
import { createPresence } from "./presence.ts";
import { createProxying, proxyHandler } from "./proxying.ts";
import { degradations } from "./readiness.ts";
import { asksClients, refuseChange } from "./reload.ts";
import {
  type App,
  createRouteTable,
  hostOf,
  lookUp,
  madeWhenAsked,
  onceEach,
  type Route,
  type RouteTable,
} from "./routes.ts";
import { openSecureListener } from "./secure-listener.ts";
import { openStorage } from "./storage.ts";
import { createTrust, type Trust } from "./trust.ts";
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

  let current = config;
  let state: "starting" | "ready" | "draining" = "starting";
  let trust: Trust = createTrust(config.trustedProxies);

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
  const connections = createConnections(() => current.limits.maxConnectionsPerClient);
  metrics.gauge("skerry_connections", "Open downstream connections.", [], (gauge) =>
    gauge.set(connections.size),
  );

  const report = (error: EdgeError, context: RequestContext | undefined): void => {
    if (error.source === "upstream" || error.source === "downstream") return;
    const { cause } = error;
    log.error("middleware.failed", {
      id: context?.requestId,
      host: context?.host,
      code: error.code,
      message: error.message,
      ...(cause instanceof Error && { stack: cause.stack }),
    });
  };
  const answer = (error: EdgeError, context: RequestContext | undefined): Response => {
    const accept = context && joinHeader(context.exchange.head.headers, "accept");
    const { head, body } = problem(error, { accept, requestId: context?.requestId });
    return lazyResponse(head, body);
  };
  const appOf = (handler: HostHandler, host: string): App => {
    const appOptions = { host, report, answer };
    switch (handler.kind) {
      case "backend":
        return madeWhenAsked(() =>
          backendApp(proxyHandler(proxying, handler.backend), handler.use, appOptions),
        );
      case "app":
        prepareApp(handler.app, appOptions);
        return handler.app;
      default:
        return handler satisfies never;
    }
  };
  const routeOf = onceEach(
    ({ name, handler, hsts, clientAuth }: HostConfig): Route => ({
      host: name,
      app: withHsts(appOf(handler, name), hsts),
      clientAuth: clientAuth && (clientAuth.required ? "required" : "optional"),
    }),
  );
  const tableOf = ({ hosts, onDemand: others, location, locationHeader }: ResolvedConfig): RouteTable => {
    const told = (inner: App): App => withLocation(inner, locationHeader ? location : undefined);
    const app = others && told(withHsts(appOf(others.handler, "hosts on demand"), others.hsts));
    return createRouteTable(
      [...hosts.values()].map(routeOf).map((route) => ({ ...route, app: told(route.app) })),
      (host) => (app && onDemand?.has(host) ? { host, app, label: "on-demand" } : undefined),
    );
  };
  let routes = tableOf(config);

  const fail = (exchange: Exchange, error: EdgeError, context?: RequestContext): void =>
    failExchange(exchange, error, context);
  const explain = createExplaining(() => current.explain, clock);
  const handle = createHandler({
    routes: () => routes,
    trust: () => trust,
    location: config.location,
    proxying,
    accessLog: () => current.accessLog,
    explain,
    clock,
    log,
    metrics,
    send: (exchange, response) =>
      sendResponse(exchange, response, (client, upgrade) => splice(client, upgrade.stream, clock)),
    fail,
  });
  const onExchange = onDemand ? permitFirst(onDemand, (authority) => routes.find(authority), handle) : handle;
  const onPlainExchange = createPlainHandler({
    hasHost: (host) => routes.find(host) !== undefined || onDemand?.mayHave(host) === true,
    challenge: (path) => answerChallenge(challenge, path, clock),
    reach: (path) => reachAnswer(path, challenge.thumbprints?.() ?? []),
    https: () => https.address,
    fail,
  });
  const common = {
    limits: () => current.limits,
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
    hosts: () => current.hosts.size,
    wormholes: () => tunnels.wormholes(),
    resolver,
    onAddresses: () => tunnels.announce(),
  });
  const clientCa = (name: string): string | undefined => lookUp(current.hosts, name)?.clientAuth?.ca;
  const placeholder = await createPlaceholder(clock);
  resolver.setPlaceholder(placeholder);
  const opened: { stop(): void }[] = [];
  const open = async <L extends { stop(): void }>(opening: Promise<L>): Promise<L> => {
    const listener = await opening;
    opened.push(listener);
    return listener;
  };
  const stopListening = (): void => {
    for (const listener of opened) listener.stop();
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
    stopListening();
    tunnels.close();
    await Promise.allSettled([presence.close(), certificates.close(), proxying.close(), storage.close()]);
    throw thrown;
  }
  tunnels.start();
  const follow = async (next: ResolvedConfig, namesWaitMs?: number): Promise<void> => {
    // Built before anything changes: a route that cannot be made leaves everything as it was.
    const table = tableOf(next);
    const nextTrust = createTrust(next.trustedProxies);
    await proxying.backends.update(next.backends, next.dns, namesWaitMs);
    current = next;
    trust = nextTrust;
    routes = table;
    tunnels.refresh();
    issuing.follow(next.acme);
    await certificates.follow(next);
  };
  dynamic?.start((next) => follow(next, DYNAMIC_NAMES_MS));
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

  let draining: Promise<void> | undefined;
  let closing: Promise<void> | undefined;
  const drain = async (): Promise<void> => {
    state = "draining";
    log.info("edge.draining", { connections: connections.size, timeoutMs: current.drainTimeoutMs });
    https.stop();
    http.stop();
    tunnels.drain();
    presence.nudge();
    const timeout = new Promise<"timeout">((resolve) => {
      clock.after(current.drainTimeoutMs, () => resolve("timeout"));
    });
    if ((await Promise.race([connections.drain(), timeout])) === "timeout")
      log.warn("edge.drain_timeout", { connections: connections.size });
  };
  const close = async (): Promise<void> => {
    state = "draining";
    stopListening();
    connections.destroy();
    admin.close();
    tunnels.close();
    await Promise.allSettled([presence.close(), dynamic?.close()]);
    await Promise.allSettled([certificates.close(), proxying.close()]);
    await storage.close();
    log.info("edge.closed");
  };

  return {
    addresses,
    async reload(next) {
      refuseChange(current, next);
      if (asksClients(next) && !https.asksClients)
        throw new EdgeError(
          "CONFIG_INVALID",
          "hosts: the first clientAuth takes a restart; the running config is kept",
          { source: "operator" },
        );
      await (dynamic ? dynamic.rebase(next, follow) : follow(next));
      log.info("edge.reloaded", { hosts: next.hosts.size, backends: next.backends.size });
    },
    drain: () => (draining ??= drain()),
    close: () => (closing ??= close()),
  };
}
