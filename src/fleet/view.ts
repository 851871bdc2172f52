/** The fleet as operators see it, from any edge: which edges there are, who holds which container, who serves what. */
import type { Storage } from "../storage/storage.ts";
import type { AgentRow, Card } from "./card.ts";
import type { Peer } from "./directory.ts";
import { generationOf } from "./served.ts";

/** An edge in `GET /edges` and `skerry edges --json`. Dates are ISO 8601. */
export interface EdgeView {
  readonly id: string;
  readonly name: string;
  readonly location: string;
  /** The one that answers. */
  readonly self: boolean;
  /** `gone`: not heard of for 30 seconds. */
  readonly state: Card["state"] | "gone";
  readonly problems: readonly string[];
  readonly version: string;
  readonly runtime: string;
  readonly tunnel: string | null;
  readonly listen: Card["listen"];
  readonly startedAt: string;
  readonly heardMsAgo: number;
  readonly hosts: number;
  readonly agents: number;
}

/** What else to know of a list. */
export interface FleetFacts {
  /** `folder`: edges on other machines are not seen. */
  readonly storage: "nats" | "folder" | "memory";
  /** Storage cannot be reached: the list is what was known since then. Null: it is there. */
  readonly away: { readonly since: string; readonly reason: string } | null;
  /** Of the edge that answers; null: no edge was asked, storage was read. */
  readonly answeredBy: string | null;
}

/** @param place the config's `storage` */
export function fleetFacts(
  place: string,
  storage: Pick<Storage, "away">,
  answeredBy: string | null,
): FleetFacts {
  const away = storage.away?.();
  return {
    storage: place === "memory:" ? "memory" : place.startsWith("file:") ? "folder" : "nats",
    away: away ? { since: iso(away.since), reason: away.reason } : null,
    answeredBy,
  };
}

export interface EdgesView extends FleetFacts {
  readonly edges: readonly EdgeView[];
}

export interface EdgeName {
  readonly id: string;
  readonly name: string;
  readonly location: string;
}

/** A container in `GET /agents` and `skerry agents --json`. */
export interface AgentView {
  readonly instance: string;
  readonly token: string;
  readonly backend: string;
  readonly app: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly release: Readonly<Record<string, string>>;
  readonly version: string;
  readonly location?: string;
  /** When it joined the first of the edges that hold it. */
  readonly since: string;
  /** Over all edges, as they last said. */
  readonly inFlight: number;
  /** What all edges say of it, or `mixed`. */
  readonly state: string;
  readonly edges: readonly (EdgeName & {
    readonly server: string;
    readonly state: string;
    readonly since: string;
    readonly connections: number;
    readonly inFlight: number;
  })[];
  /** Edges that take wormholes and do not hold it. */
  readonly missing: readonly EdgeName[];
}

export interface AgentsView extends FleetFacts {
  readonly agents: readonly AgentView[];
  /** Edges that take wormholes. */
  readonly of: number;
  /** Agents that are counted and not named, as there are too many. */
  readonly unnamed: number;
}

/** On how many edges a host's newest certificate is live. */
export interface LiveView {
  readonly generation: number;
  readonly live: number;
  /** Edges that are there and have the host. */
  readonly of: number;
  /** Those that do not serve it: with an older generation, 0 for none, or null where they have not said. */
  readonly missing: readonly (EdgeName & { readonly generation: number | null })[];
}

const iso = (wall: number): string => new Date(wall).toISOString();
const nameOf = ({ id, name, location }: Card): EdgeName => ({ id, name, location });
/** Those that visitors and agents can reach. */
const isThere = ({ gone, card }: Peer): boolean => !gone && card.state !== "draining";

export function edgeViews(peers: readonly Peer[], self: string | undefined): EdgeView[] {
  return peers
    .map(({ card, gone, heardMsAgo }): EdgeView => {
      const { id, name, location, version, runtime, listen, problems, hosts, agents } = card;
      return {
        id,
        name,
        location,
        self: id === self,
        state: gone ? "gone" : card.state,
        problems,
        version,
        runtime,
        tunnel: card.tunnel ?? null,
        listen,
        startedAt: iso(card.startedAt),
        heardMsAgo: Math.round(heardMsAgo),
        hosts,
        agents,
      };
    })
    .sort(byPlace);
}

function byPlace(a: EdgeName, b: EdgeName): number {
  const key = ({ location, name, id }: EdgeName): string => `${location}\n${name}\n${id}`;
  return key(a) < key(b) ? -1 : 1;
}

/** Every container once, with all the edges that hold it. */
export async function agentViews(
  peers: readonly Peer[],
): Promise<Pick<AgentsView, "agents" | "of" | "unnamed">> {
  const there = peers.filter(({ gone }) => !gone);
  const takes = there.filter((peer) => isThere(peer) && peer.card.tunnel !== undefined);
  const found = new Map<string, { row: AgentRow; at: { card: Card; row: AgentRow }[] }>();
  let unnamed = 0;
  for (const peer of there) {
    const { agents: rows = [] } = (await peer.agents()) ?? {};
    unnamed = Math.max(unnamed, peer.card.agents - rows.length);
    for (const row of rows) {
      const key = `${row.token}/${row.instance}`;
      const entry = found.get(key) ?? { row, at: [] };
      entry.at.push({ card: peer.card, row });
      found.set(key, entry);
    }
  }
  const agents = [...found.values()].map(({ row, at }): AgentView => {
    const { instance, token, backend, app, labels, release, version, location } = row;
    const states = new Set(at.map((each) => each.row.state));
    return {
      instance,
      token,
      backend,
      app,
      labels,
      release,
      version,
      ...(location !== undefined && { location }),
      since: iso(Math.min(...at.map((each) => each.row.since))),
      inFlight: at.reduce((sum, each) => sum + each.row.inFlight, 0),
      state: states.size === 1 ? row.state : "mixed",
      edges: at
        .map(({ card, row: { server, state, since, connections, inFlight } }) => ({
          ...nameOf(card),
          server,
          state,
          since: iso(since),
          connections,
          inFlight,
        }))
        .sort(byPlace),
      missing: takes
        .filter(({ card }) => !at.some((each) => each.card.id === card.id))
        .map(({ card }) => nameOf(card))
        .sort(byPlace),
    };
  });
  const order = ({ backend, app, instance }: AgentView): string => `${backend}\n${app}\n${instance}`;
  agents.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  return { agents, of: takes.length, unnamed };
}

/** `newest`: the generation that storage holds, where that is known. */
export async function liveView(peers: readonly Peer[], host: string, newest = 0): Promise<LiveView> {
  const said: { card: Card; generation: number | undefined; known: boolean }[] = [];
  for (const peer of peers.filter(isThere)) {
    const { served, changed } = await peer.served();
    said.push({
      card: peer.card,
      generation: generationOf(host, served, changed),
      known: served !== undefined,
    });
  }
  // Who says all that it serves, and not this host, does not have it.
  const having = said.filter(({ generation, known }) => generation !== undefined || !known);
  const generation = having.reduce((most, each) => Math.max(most, each.generation ?? 0), newest);
  const lives = (each: { generation: number | undefined }): boolean =>
    each.generation === -1 || (generation > 0 && each.generation === generation);
  const missing = having.filter((each) => !lives(each));
  return {
    generation,
    live: having.length - missing.length,
    of: having.length,
    missing: missing
      .map(({ card, generation: theirs = null }) => ({ ...nameOf(card), generation: theirs }))
      .sort(byPlace),
  };
}
