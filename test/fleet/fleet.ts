/** An edge of a fleet without the edge: what says and follows, over any storage. */
import { type Clock, systemRandom } from "../../src/clock.ts";
import { createAnnouncer, type Facts } from "../../src/fleet/announcer.ts";
import type { AgentRow } from "../../src/fleet/card.ts";
import { createDirectory, type Directory } from "../../src/fleet/directory.ts";
import type { Log } from "../../src/log.ts";
import { createMetrics, type Metrics } from "../../src/metrics.ts";
import type { Storage } from "../../src/storage/storage.ts";

export interface Member {
  readonly id: string;
  readonly directory: Directory;
  readonly metrics: Metrics;
  /** What it serves, and holds; changed by tests, told by `nudge`. */
  readonly served: Map<string, number>;
  readonly agents: AgentRow[];
  facts: Facts;
  /** Names of log events, in order. */
  readonly events: string[];
  changes: number;
  nudge(): void;
  start(): Promise<void>;
  /** Ids of the edges that are there, in order. */
  sees(): string[];
  /** Leaves, as by SIGTERM. */
  stop(): Promise<void>;
  /** Says no more, as after kill -9. */
  die(): Promise<void>;
}

export const FACTS: Facts = {
  name: "machine",
  location: "yvr",
  version: "1.2.3",
  runtime: "node 26.10.0",
  tunnel: "edge.example.com:443",
  listen: { http: "[::]:80", https: "[::]:443", admin: "127.0.0.1:9180" },
  startedAt: 0,
  state: "ready",
  problems: [],
  hosts: 1,
};

export function agentRow(instance: string, changes: Partial<AgentRow> = {}): AgentRow {
  return {
    instance,
    token: "t1",
    backend: "web",
    app: "statler",
    server: `wormhole:statler-${instance}`,
    labels: { zone: "a" },
    release: { sha: "abc123" },
    version: "1.2.3",
    since: Date.UTC(2026, 5, 1),
    connections: 2,
    inFlight: 0,
    state: "available",
    ...changes,
  };
}

export function member(
  id: string,
  storage: Storage,
  { clock, random = systemRandom }: { clock: Clock; random?: () => number },
): Member {
  const events: string[] = [];
  const say = (event: string): void => void events.push(event);
  const log: Log = { debug() {}, info: say, warn: say, error: say, flush() {} };
  const served = new Map<string, number>();
  const agents: AgentRow[] = [];
  let revision = 0;
  const metrics = createMetrics();
  // What is dead writes nothing, whatever its timers do.
  let dead = false;
  const own: Storage = {
    ...storage,
    store: (key, value) => (dead ? Promise.reject(new Error("dead")) : storage.store(key, value)),
  };
  const announcer = createAnnouncer({
    ...{ storage: own, clock, random, log, metrics, id },
    facts: () => made.facts,
    agents: () => agents,
    served: () => served,
    servedRevision: () => revision++,
  });
  const directory = createDirectory({ storage, clock, log, self: id, onChange: () => made.changes++ });
  const made: Member = {
    ...{ id, directory, metrics, served, agents, facts: { ...FACTS, name: id }, events, changes: 0 },
    nudge: () => announcer.nudge(),
    async start() {
      announcer.start();
      await directory.start();
    },
    sees: () =>
      directory
        .peers()
        .filter(({ gone }) => !gone)
        .map(({ card }) => card.id)
        .sort(),
    async stop() {
      await directory.close();
      await announcer.close();
    },
    async die() {
      dead = true;
      await directory.close();
    },
  };
  return made;
}
