/** This edge in its fleet: tells the others of itself, knows them, and shows both to agents and operators. */
import type { Clock, Random } from "../clock.ts";
import type { ListenAddress, ResolvedConfig } from "../config/config.ts";
import { formatAddress } from "../config/parse.ts";
import { createAnnouncer, type Facts } from "../fleet/announcer.ts";
import { type AgentRow, MOST_AGENTS } from "../fleet/card.ts";
import { createDirectory, type Peer } from "../fleet/directory.ts";
import {
  type AgentsView,
  agentViews,
  type EdgesView,
  edgeViews,
  type FleetFacts,
  fleetFacts,
  type LiveView,
  liveView,
} from "../fleet/view.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { runtimeName, runtimeVersion } from "../runtime.ts";
import type { Storage } from "../storage/storage.ts";
import type { Bundle } from "../tls/bundle.ts";
import type { Resolver } from "../tls/resolver.ts";
import type { WormholeView } from "../tunnel/gateway.ts";
import type { EdgeAddress } from "../tunnel/protocol.ts";
import { version } from "../version.ts";

export interface PresenceOptions {
  readonly id: string;
  readonly config: Pick<ResolvedConfig, "storage" | "name" | "location" | "tunnel">;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** False: knows the others, and says nothing of itself. */
  readonly announces: boolean;
  listen(): Readonly<Record<"http" | "https" | "admin", ListenAddress>>;
  state(): "starting" | "ready" | "draining";
  problems(): readonly string[];
  hosts(): number;
  wormholes(): readonly WormholeView[];
  readonly resolver: Pick<Resolver, "served" | "revision">;
  /** Other edges take wormholes than before. */
  onAddresses(): void;
}

/** What the admin API shows of the fleet. */
export interface FleetSource {
  edges(): EdgesView;
  agents(): Promise<AgentsView>;
  /** `newest`: the generation that storage is known to hold. */
  live(host: string, newest?: number): Promise<LiveView>;
}

export interface Presence extends FleetSource {
  /** Edges that take wormholes, this one among them: what agents are told. */
  addresses(): readonly EdgeAddress[];
  /** Begins, once this edge serves. */
  start(): void;
  /** Something changed that others ought to know soon. */
  nudge(): void;
  close(): Promise<void>;
}

/** Problems that the others are told of; the edge itself names all. */
const MOST_PROBLEMS = 5;

/** What is told of a host's certificate: its number; 0 for none; -1 for own files, whose numbers are nobody else's. */
function generationOf(bundle: Bundle | undefined): number {
  if (!bundle) return 0;
  return bundle.issuer === "file" ? -1 : bundle.generation;
}

export function createPresence(options: PresenceOptions): Presence {
  const { id, config, storage, clock, log, metrics } = options;
  const startedAt = clock.wall();
  let started = false;
  let told = "";

  const facts = (): Facts => {
    const problems = options.problems();
    const { http, https, admin } = options.listen();
    return {
      name: config.name,
      location: config.location,
      version,
      runtime: `${runtimeName} ${runtimeVersion}`,
      tunnel: config.tunnel.address,
      listen: { http: formatAddress(http), https: formatAddress(https), admin: formatAddress(admin) },
      startedAt,
      state: options.state() === "draining" ? "draining" : problems.length > 0 ? "degraded" : "ready",
      problems: problems.slice(0, MOST_PROBLEMS),
      hosts: options.hosts(),
    };
  };
  const rows = (): AgentRow[] =>
    options.wormholes().map(({ release, ...view }) => ({ ...view, release: { ...release } }));
  function* generations(): Iterable<readonly [string, number]> {
    for (const [host, bundle] of options.resolver.served()) yield [host, generationOf(bundle)];
  }

  const announcer = createAnnouncer({
    ...options,
    facts,
    agents: rows,
    served: generations,
    servedRevision: () => options.resolver.revision,
  });
  const directory = createDirectory({
    storage,
    clock,
    log,
    self: id,
    onChange() {
      const addresses = JSON.stringify(list());
      if (addresses === told) return;
      told = addresses;
      options.onAddresses();
    },
  });

  const self = (): Peer => {
    const agents = rows();
    const parts = { agents: 0, served: 0, changed: 0 };
    return {
      card: { id, ...facts(), at: clock.wall(), agents: agents.length, parts },
      gone: false,
      heardMsAgo: 0,
      agents: async () => ({ number: 0, agents: agents.slice(0, MOST_AGENTS) }),
      served: async () => ({
        served: { number: 0, generations: Object.fromEntries(generations()) },
        changed: undefined,
      }),
    };
  };
  const all = (): Peer[] => [self(), ...directory.peers()];
  const list = (): EdgeAddress[] => {
    const { address } = config.tunnel;
    const others = directory
      .peers()
      .filter(({ gone, card }) => !gone && card.state !== "draining" && card.tunnel !== undefined)
      .map(({ card }) => ({ id: card.id, address: card.tunnel ?? "" }));
    return [...(address === undefined ? [] : [{ id, address }]), ...others].sort((a, b) =>
      a.id < b.id ? -1 : 1,
    );
  };
  const around = (): FleetFacts => fleetFacts(config.storage, storage, id);

  metrics.gauge(
    "skerry_fleet_edges",
    "Edges of the fleet by state, as this one knows them; itself among them.",
    ["state"],
    (gauge) => {
      const counts = { ready: 0, degraded: 0, draining: 0, gone: 0 };
      for (const { state } of edgeViews(all(), id)) counts[state]++;
      for (const [state, count] of Object.entries(counts)) gauge.set({ state }, count);
    },
  );

  return {
    addresses: list,
    edges: () => ({ ...around(), edges: edgeViews(all(), id) }),
    agents: async () => ({ ...around(), ...(await agentViews(all())) }),
    live: (host, newest) => liveView(all(), host, newest),
    start() {
      if (started) return;
      started = true;
      if (options.announces) announcer.start();
      directory.start().catch((thrown: unknown) => log.error("fleet.failed", { message: String(thrown) }));
    },
    nudge: () => announcer.nudge(),
    async close() {
      await directory.close();
      await announcer.close();
    },
  };
}
