/** Blows that a wormhole may get, and what its edge's visitors notice of them. */
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { Runtime } from "../support/edge.ts";
import { type Child, eventually } from "../support/processes.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { type LoadReport, load } from "./load.ts";
import { joined, type World, wormhole } from "./processes.ts";

/** The command that an agent runs. */
export const childOf = (agent: Child): number =>
  Number(readFileSync(`/proc/${agent.pid}/task/${agent.pid}/children`, "utf8").trim().split(" ")[0]);

/** When the edge first logged one of `events` of `server` after `from`, in milliseconds since then. */
export function logged(
  at: World,
  server: string,
  events: readonly string[],
  from: number,
): number | undefined {
  const line = at.edge
    .logs()
    .find(
      (each) => each.server === server && events.includes(each.event) && Date.parse(each.time) >= from - 1,
    );
  return line && Math.max(0, Date.parse(line.time) - from);
}

/** What the edge calls the wormhole `name`, once it is there. */
export function serverOf(at: World, name: string): Promise<string> {
  return eventually(`${name} has joined`, () =>
    at.edge
      .logs("tunnel.joined")
      .map((line) => String(line.server))
      .find((id) => id.includes(name)),
  );
}

/** Events by which a server leaves the rotation. */
export const LEFT: readonly string[] = ["server.removed", "server.unhealthy", "server.ejected"];

export interface Victim {
  readonly agent: Child;
  readonly relay: Relay;
}

export interface Blow {
  readonly what: string;
  /** The most that leaving the rotation and being given up may take, with some air for a busy machine. */
  readonly mostOutMs: number;
  readonly mostGoneMs: number;
  strike(victim: Victim): void;
}

export const BLOWS: readonly Blow[] = [
  {
    what: "kill -9 of the agent",
    mostOutMs: 500,
    mostGoneMs: 500,
    strike: ({ agent }) => agent.signal("SIGKILL"),
  },
  {
    what: "kill -9 of its command",
    mostOutMs: 500,
    mostGoneMs: 1500,
    strike: ({ agent }) => process.kill(childOf(agent), "SIGKILL"),
  },
  {
    what: "a connection that is reset",
    mostOutMs: 500,
    mostGoneMs: 500,
    strike: ({ relay }) => relay.cut(),
  },
  {
    what: "SIGSTOP of the agent",
    mostOutMs: 4000,
    mostGoneMs: 11_500,
    strike: ({ agent }) => agent.signal("SIGSTOP"),
  },
  {
    what: "a line that falls silent",
    mostOutMs: 4000,
    mostGoneMs: 11_500,
    strike: ({ relay }) => relay.stall(),
  },
];

export interface Aftermath extends LoadReport {
  readonly blows: readonly (Pick<Blow, "what" | "mostOutMs" | "mostGoneMs"> & {
    readonly outMs: number;
    readonly goneMs: number;
  })[];
}

/** Strikes one wormhole for each of `blows`, shortly after another, under load and beside whatever serves `at` already. */
export async function strikeAll(
  at: World,
  runtime: Runtime,
  blows: readonly Blow[],
  tag: string,
): Promise<Aftermath> {
  const victims = await Promise.all(
    blows.map(async (blow, index) => {
      const relay = await startRelay({ port: at.edge.https.port });
      const name = `${tag}-${index}`;
      const agent = wormhole(runtime, at.token, name, { args: ["--edge", `127.0.0.1:${relay.port}`] });
      await joined(agent);
      return { blow, relay, agent, server: await serverOf(at, name), command: childOf(agent) };
    }),
  );
  const stop = load(at);
  await pause(700);
  const struck = [];
  for (const victim of victims) {
    struck.push({ ...victim, from: Date.now() });
    victim.blow.strike(victim);
    await pause(300);
  }
  const after = await Promise.all(
    struck.map(async ({ blow, server, from }) => ({
      ...blow,
      outMs: await eventually(`${blow.what}: out of rotation`, () => logged(at, server, LEFT, from)),
      goneMs: await eventually(`${blow.what}: given up`, () => logged(at, server, ["server.removed"], from)),
    })),
  );
  const report = await stop();
  for (const { agent, relay, command } of victims) {
    agent.signal("SIGKILL");
    await relay.close();
    try {
      process.kill(command, "SIGKILL");
    } catch {
      // It is gone already.
    }
  }
  return { ...report, blows: after };
}
