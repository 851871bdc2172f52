/** The agent: keeps a container joined to every edge, and takes it out without dropping a request. */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { type Clock, type Random, systemClock, systemRandom, type Timer } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { Endpoint } from "./endpoint.ts";
import type { Target } from "./link.ts";
import {
  type AgentMessage,
  type EdgeAddress,
  FEATURES,
  type Hello,
  PROTO,
  parseAuthority,
  type Release,
} from "./protocol.ts";
import { parseToken } from "./token.ts";

export type AgentLog = (
  level: "debug" | "info" | "warn" | "error",
  event: string,
  fields?: Record<string, unknown>,
) => void;

export interface AgentOptions {
  /** What `skerry token create` printed. */
  readonly token: string;
  /** The only place that requests go to. */
  readonly target: Target;
  /** Names the server in logs and metrics. */
  readonly app: string;
  /** Of the agent. */
  readonly version: string;
  /** Letters, digits, dots and dashes, 8 to 64; the same container keeps it over restarts. */
  readonly instance: string;
  /** Random; another for each process. */
  readonly run: string;
  readonly labels?: Readonly<Record<string, string>>;
  /** Where the container runs: edges there prefer it. */
  readonly location?: string;
  readonly release?: Release;
  /** In place of the token's address. */
  readonly address?: string;
  /** To each edge. @default 2 */
  readonly connections?: number;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly log?: AgentLog;
  /** Joined an edge, after having been joined to none. */
  onJoined?(): void;
  /** The token is no good, and no edge was ever joined with it: going on is pointless. */
  onHopeless?(reason: string): void;
}

export interface Agent {
  /** Connections that edges have welcomed. */
  readonly links: number;
  /** What the app's health check found; every edge hears of a change. */
  setHealthy(healthy: boolean): void;
  /** Leaves: tells every edge, and resolves when all have taken it in and nothing is in flight, or `graceMs` is over. */
  drain(graceMs: number): Promise<"drained" | "grace">;
  /** Cuts everything at once. */
  close(): void;
}

/** How often names are resolved anew. */
const RESOLVE_MS = 30_000;
/** How often, at most, edges hear of the total in flight. */
const REPORT_MS = 250;
/** Between the first addresses that are dialled: most likely they are those of one edge, and the first will do. */
const STAGGER_MS = 250;
/** Newly announced edges are dialled after a random time up to this, so that not all agents come at once. */
const NEWCOMER_MS = 1_000;

/** Dials the token's edges and serves `target` to them. @throws EdgeError USAGE for a malformed token */
export function createAgent(options: AgentOptions): Agent {
  const { clock = systemClock, random = systemRandom, log = () => {}, connections = 2 } = options;
  const token = parseToken(options.token);
  const first = options.address ?? token.address;
  if (parseAuthority(first) === undefined)
    throw new EdgeError("USAGE", `the edge's address is not host:port: ${JSON.stringify(first)}`, {
      source: "operator",
    });
  const endpoints = new Map<string, Endpoint>();
  /** The addresses that were last looked up. */
  let followed = "";
  let healthy = true;
  let ever = false;
  let state: "running" | "draining" | "closed" = "running";
  let drainedCheck = (): void => {};
  let reportDue = false;
  /** Whether edges were told of each other's requests. */
  let told = false;

  const hello = (slot: number, from: Endpoint): Hello => ({
    type: "hello",
    proto: PROTO,
    features: FEATURES,
    token: options.token.trim(),
    instance: options.instance,
    run: options.run,
    slot,
    joined: [...endpoints.values()].flatMap((other) =>
      other !== from && other.joined > 0 && other.edgeId !== undefined ? [other.edgeId] : [],
    ),
    app: options.app,
    labels: options.labels ?? {},
    ...(options.location !== undefined && { location: options.location }),
    release: options.release ?? {},
    version: options.version,
    healthy,
  });

  const broadcast = (message: AgentMessage): void => {
    for (const endpoint of endpoints.values()) endpoint.send(message);
  };
  const links = (): number => {
    let number = 0;
    for (const endpoint of endpoints.values()) number += endpoint.joined;
    return number;
  };
  const report = (): void => {
    if (reportDue || (endpoints.size < 2 && !told)) return;
    reportDue = true;
    clock.after(REPORT_MS, () => {
      reportDue = false;
      let total = 0;
      // The only edge left knows its own requests better: to it there are none elsewhere.
      told = endpoints.size > 1;
      if (told) for (const endpoint of endpoints.values()) total += endpoint.inFlight;
      for (const endpoint of endpoints.values()) endpoint.sendOnce({ type: "inflight", total });
    });
  };

  const open = (key: string, host: string, port: number, name: string, delayMs: number): void => {
    const endpoint: Endpoint = new Endpoint({
      host,
      port,
      name,
      pin: token.pin,
      target: options.target,
      connections,
      clock,
      random,
      log,
      hello: (slot) => hello(slot, endpoint),
      onWelcome(edgeId) {
        // Two addresses of one edge, such as IPv4 and IPv6.
        for (const other of endpoints.values())
          if (other !== endpoint && other.edgeId === edgeId && other.joined > 0) return false;
        if (!ever) options.onJoined?.();
        ever = true;
        return true;
      },
      onReject(reason, permanent) {
        if (permanent && !ever && state === "running") options.onHopeless?.(reason);
      },
      onEdges: (edges) => heed(endpoint, edges),
      onInFlight: report,
      onDrainStep: () => drainedCheck(),
    });
    endpoints.set(key, endpoint);
    endpoint.start(delayMs);
  };

  /**
   * What all joined edges announce, together: one that is cut off from the others does not know of newcomers, and is not
   * known to be there. While none is joined, what any of them said counts.
   */
  const wantedAddresses = (): string[] => {
    const all = [...endpoints.values()];
    const joined = all.filter((endpoint) => endpoint.connected);
    // The token's own address stays, so that the agent finds back whatever the edges once announced.
    const said = (joined.length > 0 ? joined : all).flatMap(({ announced }) => announced);
    return [...new Set([first, ...said])].sort();
  };

  const heed = (endpoint: Endpoint, edges: readonly EdgeAddress[]): void => {
    if (edges.length > 0) endpoint.announced = edges.map(({ address }) => address);
    if (wantedAddresses().join() !== followed) void resolve();
  };

  let resolving = false;
  let again = false;
  let nextLook: Timer = { cancel() {} };
  const resolve = async (): Promise<void> => {
    if (resolving) {
      again = true;
      return;
    }
    resolving = true;
    do {
      again = false;
      await resolveOnce();
    } while (again && state === "running");
    resolving = false;
  };
  const resolveOnce = async (): Promise<void> => {
    const addresses = wantedAddresses();
    followed = addresses.join();
    const wanted = new Map<string, { host: string; port: number; name: string }>();
    let complete = true;
    for (const address of addresses) {
      const { host: name, port } = parseAuthority(address)!;
      const hosts = await hostsOf(name).catch((error: Error) => {
        complete = false;
        log("warn", "wormhole.unresolved", { edge: address, reason: error.message });
        return [];
      });
      for (const host of hosts) wanted.set(`${host}|${port}`, { host, port, name });
    }
    if (state !== "running") return;
    for (const [key, endpoint] of endpoints) {
      // What is connected is there, whatever is announced: closing it would cut requests. And so it may be soon again.
      if (wanted.has(key) || !complete || endpoint.connected || endpoint.isRecent) continue;
      endpoints.delete(key);
      endpoint.close("the edge is no longer announced");
      report();
    }
    const newcomers = endpoints.size > 0;
    let waitMs = 0;
    for (const [key, { host, port, name }] of wanted) {
      if (endpoints.has(key)) continue;
      open(key, host, port, name, newcomers ? random() * NEWCOMER_MS : waitMs);
      waitMs = Math.min(waitMs + STAGGER_MS, NEWCOMER_MS);
    }
    // Nothing to dial and nothing to hear from: sooner than usual.
    nextLook.cancel();
    nextLook = clock.after(endpoints.size === 0 ? 1000 : RESOLVE_MS, () => {
      if (state === "running") void resolve();
    });
  };
  void resolve();

  return {
    get links() {
      return links();
    },
    setHealthy(now) {
      if (now === healthy) return;
      healthy = now;
      broadcast({ type: "health", healthy });
    },
    drain(graceMs) {
      state = "draining";
      return new Promise((done) => {
        const finish = (how: "drained" | "grace"): void => {
          grace.cancel();
          drainedCheck = () => {};
          done(how);
        };
        const grace = clock.after(graceMs, () => finish("grace"));
        for (const endpoint of endpoints.values()) endpoint.drain();
        drainedCheck = () => {
          if ([...endpoints.values()].every((endpoint) => endpoint.isDrained)) finish("drained");
        };
        drainedCheck();
      });
    },
    close() {
      state = "closed";
      for (const endpoint of endpoints.values()) endpoint.close("the agent is closing");
      endpoints.clear();
    },
  };
}

async function hostsOf(name: string): Promise<string[]> {
  if (isIP(name)) return [name];
  const found = await lookup(name, { all: true });
  return found.map(({ address }) => address);
}
