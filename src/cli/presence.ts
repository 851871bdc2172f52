/** `skerry edges` and `skerry agents`: the whole fleet, from any edge, for people and for programs. */
import { type Command, InvalidArgumentError } from "commander";
import { systemClock } from "../clock.ts";
import type { ListenAddress, ResolvedConfig } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { formatAddress, parseAddress } from "../config/parse.ts";
import { EdgeError } from "../errors.ts";
import { type Peer, readDirectory } from "../fleet/directory.ts";
import {
  type AgentsView,
  type AgentView,
  agentViews,
  type EdgeName,
  type EdgesView,
  type EdgeView,
  edgeViews,
  type FleetFacts,
  fleetFacts,
} from "../fleet/view.ts";
import { createLog } from "../log.ts";
import { runningEdge } from "./certs-edge.ts";
import { configFlag } from "./flags.ts";
import { say, sayJson } from "./say.ts";
import { withStorage } from "./storage.ts";
import { columns, span } from "./table.ts";

interface Options {
  config?: string;
  admin?: ListenAddress;
  json?: boolean;
}

export function addPresence(program: Command): void {
  const command = (words: string, summary: string, description: string): Command =>
    configFlag(program.command(words).summary(summary).description(description))
      .option("--admin <address>", "ask the edge whose listen.admin this is; no config is read", adminAddress)
      .option("--json", "as JSON");
  command(
    "edges",
    "list the edges of the fleet",
    "The edges that share this one's storage: asked of the edge that runs here, or read from storage where none does.",
  ).action(async (options: Options) => {
    const view = await fleetOf<EdgesView>(options, "/edges", async (peers) => ({
      edges: edgeViews(peers, undefined),
    }));
    if (options.json) return sayJson(view);
    say(edgesText(view, systemClock.wall()));
  });
  command(
    "agents",
    "list the containers that are joined by wormholes, over all edges",
    "Every container that any edge of the fleet holds, and which edges hold it.",
  ).action(async (options: Options) => {
    const view = await fleetOf<AgentsView>(options, "/agents", agentViews);
    if (options.json) return sayJson(view);
    say(agentsText(view, systemClock.wall()));
  });
}

function adminAddress(text: string): ListenAddress {
  const parsed = parseAddress(text);
  if ("problem" in parsed) throw new InvalidArgumentError(`${parsed.problem}.`);
  return parsed.value;
}

/** What the running edge answers; without one, what storage holds. */
async function fleetOf<V extends FleetFacts>(
  options: Options,
  path: string,
  view: (peers: readonly Peer[]) => Promise<Omit<V, keyof FleetFacts>>,
): Promise<V> {
  if (options.admin) {
    const there = await runningEdge({ listen: { admin: options.admin } });
    if (there) return (await there("GET", path)) as V;
    throw new EdgeError("USAGE", `no edge answers at ${formatAddress(options.admin)}`, {
      source: "operator",
    });
  }
  const config = await loadConfig(options.config, { certificates: "local" });
  const ask = await runningEdge(config);
  if (ask) return (await ask("GET", path)) as V;
  const { peers, ...facts } = await readFleet(config);
  return { ...facts, ...(await view(peers)) } as V;
}

/** The fleet, read from storage. */
export async function readFleet(
  config: Pick<ResolvedConfig, "storage" | "fleet">,
): Promise<FleetFacts & { peers: Peer[] }> {
  const log = createLog({ level: "error", write: (line) => void process.stderr.write(line) });
  return withStorage(
    config,
    async (storage) => {
      const peers = await readDirectory({ storage, clock: systemClock, log });
      return { ...fleetFacts(config.storage, storage, null), peers };
    },
    { log },
  );
}

const clockTime = (iso: string): string => `${iso.slice(0, 19).replace("T", " ")} UTC`;
/** How edges are called in sentences: two of one name, as on one machine, by their ids too. */
export function namer(edges: readonly EdgeName[]): (edge: EdgeName) => string {
  const ids = new Map<string, Set<string>>();
  for (const { id, name } of edges) ids.set(name, (ids.get(name) ?? new Set()).add(id));
  return ({ id, name }) => ((ids.get(name)?.size ?? 0) > 1 ? `${name} ${id.slice(0, 8)}` : name);
}

function placer(edges: readonly EdgeName[]): (edge: EdgeName) => string {
  const nameOf = namer(edges);
  return (edge) => (edge.location === "" ? nameOf(edge) : `${nameOf(edge)} (${edge.location})`);
}

/** What to know before the list is believed. */
function caveats({ storage, away, answeredBy }: FleetFacts): string[] {
  return [
    ...(answeredBy === null
      ? [
          "No edge runs at this config's listen.admin: this is what storage holds; ages go by the clocks of both machines.",
        ]
      : []),
    ...(away
      ? [
          `SHARED STORAGE IS AWAY since ${clockTime(away.since)} (${away.reason}).`,
          answeredBy === null
            ? "Nothing is known of the fleet here: ask on a machine where an edge runs."
            : "This is what this edge last knew; others may have come or gone. What they hold is served on.",
        ]
      : []),
    ...(storage === "folder" && !away
      ? ["Storage is a folder: only edges that share it are seen."]
      : storage === "memory"
        ? ["Storage is memory: no other edge can share it."]
        : []),
  ];
}

export function edgesText(view: EdgesView, wall: number): string {
  const { edges } = view;
  const there = edges.filter(({ state }) => state !== "gone");
  const rows = edges.map((edge) => [
    edge.self ? `${edge.name} *` : edge.name,
    edge.id.slice(0, 8),
    edge.location || "-",
    edge.state === "ready" ? "ready" : edge.state.toUpperCase(),
    edge.state === "gone" ? "-" : span(wall - Date.parse(edge.startedAt)),
    edge.self ? "now" : `${span(edge.heardMsAgo)} ago`,
    edge.version,
    edge.runtime,
    edge.tunnel ?? "-",
    String(edge.hosts),
    String(edge.agents),
  ]);
  const head = [
    ...["EDGE", "ID", "LOCATION", "STATE", "UP", "HEARD", "VERSION", "RUNTIME"],
    ...["TUNNEL", "HOSTS", "AGENTS"],
  ];
  const place = placer(edges);
  const wrong = edges.flatMap((edge) => faults(edge, place(edge)));
  const summary =
    edges.length === 0
      ? "No edge is known."
      : there.length === 1 && there[0]?.self
        ? "This edge is alone."
        : `${there.length} of ${edges.length} edges are there${edges.some(({ self }) => self) ? "; * is the one that answers" : ""}.`;
  return [
    ...caveats(view),
    ...(edges.length > 0 ? [columns([head, ...rows])] : []),
    "",
    summary,
    ...wrong,
  ].join("\n");
}

function faults(edge: EdgeView, place: string): string[] {
  if (edge.state === "gone")
    return [`${place} is GONE: last heard ${span(edge.heardMsAgo)} ago, it died or is cut off from storage`];
  return edge.problems.map((problem) => `${place}: ${problem}`);
}

export function agentsText(view: AgentsView, wall: number): string {
  const { agents, of, unnamed } = view;
  const rows = agents.map((agent) => [
    agent.backend,
    agent.app || "-",
    agent.instance.slice(0, 12),
    agent.state === "available" ? agent.state : agent.state.toUpperCase(),
    `${agent.edges.length}/${Math.max(of, agent.edges.length)}`,
    String(agent.inFlight),
    span(wall - Date.parse(agent.since)),
    (agent.release.sha ?? agent.release.image ?? agent.release.branch ?? "-").slice(0, 24),
    Object.entries(agent.labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(",") || "-",
  ]);
  const head = [
    ...["BACKEND", "NAME", "INSTANCE", "STATE", "EDGES", "IN FLIGHT", "SINCE", "RELEASE", "LABELS"],
  ];
  const place = placer(agents.flatMap(({ edges, missing }) => [...edges, ...missing]));
  const wrong = agents.flatMap((agent) => agentFaults(agent, place));
  const more = unnamed > 0 ? `; ${unnamed} more are not named` : "";
  return [
    ...caveats(view),
    ...(agents.length > 0 ? [columns([head, ...rows])] : []),
    "",
    agents.length === 0
      ? `No container is joined; ${of} ${of === 1 ? "edge takes" : "edges take"} wormholes.`
      : `${agents.length} ${agents.length === 1 ? "container" : "containers"} at ${of} ${of === 1 ? "edge" : "edges"}${more}.`,
    ...wrong,
  ].join("\n");
}

function agentFaults(agent: AgentView, place: (edge: EdgeName) => string): string[] {
  const name = `${agent.backend}/${agent.app || agent.instance.slice(0, 12)}`;
  return [
    ...agent.edges
      .filter(({ state }) => state !== "available")
      .map((edge) => `${name} is ${edge.state} at ${place(edge)}`),
    ...(agent.missing.length > 0 ? [`${name} is not joined at ${agent.missing.map(place).join(", ")}`] : []),
  ];
}
