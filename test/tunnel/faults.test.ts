/** One of two wormholes dies, freezes or is cut off under load: nobody notices, and it is picked no more in time. */
import { readFileSync } from "node:fs";
import http2 from "node:http2";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Child, eventually } from "../support/processes.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { load } from "./load.ts";
import { ask, HOST, joined, type World, world, wormhole } from "./processes.ts";

let at: World;
let stays: Child;
beforeAll(async () => {
  at = await world("node");
  stays = wormhole("node", at.token, "stays");
  await joined(stays);
});
afterAll(async () => {
  await stays.stop();
  await at.edge.stop();
});

/** The command that an agent runs. */
const childOf = (agent: Child): number =>
  Number(readFileSync(`/proc/${agent.pid}/task/${agent.pid}/children`, "utf8").trim().split(" ")[0]);

/** When the edge first logged one of `events` of `server` after `from`, in milliseconds since then. */
function logged(server: string, events: readonly string[], from: number): number | undefined {
  const line = at.edge
    .logs()
    .find(
      (each) => each.server === server && events.includes(each.event) && Date.parse(each.time) >= from - 1,
    );
  return line && Math.max(0, Date.parse(line.time) - from);
}

interface Victim {
  readonly agent: Child;
  readonly relay: Relay;
}

/** The most that leaving the rotation and being given up may take, with some air for a busy machine. */
const FAULTS: readonly [string, number, number, (victim: Victim) => void][] = [
  ["kill -9 of the agent", 500, 500, ({ agent }) => agent.signal("SIGKILL")],
  ["kill -9 of its command", 500, 1500, ({ agent }) => process.kill(childOf(agent), "SIGKILL")],
  ["a connection that is reset", 500, 500, ({ relay }) => relay.cut()],
  ["SIGSTOP of the agent", 4000, 11_500, ({ agent }) => agent.signal("SIGSTOP")],
  ["a line that falls silent", 4000, 11_500, ({ relay }) => relay.stall()],
];

describe("under load", () => {
  test.each(FAULTS)(
    "%s costs no request",
    async (what, mostMs, mostGoneMs, strike) => {
      const relay = await startRelay({ port: at.edge.https.port });
      const name = `victim-${FAULTS.findIndex(([other]) => other === what)}`;
      const agent = wormhole("node", at.token, name, { args: ["--edge", `127.0.0.1:${relay.port}`] });
      await joined(agent);
      const server = await eventually("the edge says so", () =>
        at.edge
          .logs("tunnel.joined")
          .map((line) => String(line.server))
          .find((id) => id.includes(name)),
      );
      const command = childOf(agent);
      const stop = load(at);
      await pause(700);
      const from = Date.now();
      strike({ agent, relay });
      const left = ["server.removed", "server.unhealthy", "server.ejected"];
      const outMs = await eventually("it is out of rotation", () => logged(server, left, from));
      const goneMs = await eventually("it is given up", () => logged(server, ["server.removed"], from));
      const { failures, requests, slowestMs } = await stop();
      console.log(
        `${what}: out of rotation after ${outMs} ms, given up after ${goneMs} ms, ${requests} requests, slowest ${Math.round(slowestMs)} ms`,
      );
      expect(failures).toEqual([]);
      expect(requests).toBeGreaterThan(20);
      expect(outMs).toBeLessThan(mostMs);
      expect(goneMs).toBeLessThan(mostGoneMs);
      agent.signal("SIGKILL");
      await relay.close();
      try {
        process.kill(command, "SIGKILL");
      } catch {
        // It is gone already.
      }
    },
    60_000,
  );
});

describe("a body that a killed agent leaves unfinished", () => {
  test.each([
    ["of a known length, over HTTP/1.1", "/trickle", "1"],
    ["in chunks, over HTTP/1.1", "/forever", "1"],
    ["of a known length, over HTTP/2", "/trickle", "2"],
    ["in chunks, over HTTP/2", "/forever", "2"],
  ] as const)("is an error to its reader: %s", async (_what, path, version) => {
    const lone = await world("node");
    const agent = wormhole("node", lone.token, "dies");
    await joined(agent);
    const command = childOf(agent);
    const kill = (): void => agent.signal("SIGKILL");
    await expect(version === "1" ? read1(lone, path, kill) : read2(lone, path, kill)).rejects.toThrow();
    process.kill(command, "SIGKILL");
    await lone.edge.stop();
  });
});

/** Reads to the end, or fails; `begun` runs with the first chunk. */
function read1(lone: World, path: string, begun: () => void): Promise<string> {
  return ask(lone, path, { begun }).then(({ body }) => body);
}

function read2({ edge, ca }: World, path: string, begun: () => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`https://127.0.0.1:${edge.https.port}`, { ca, servername: HOST });
    const stream = session.request({ ":path": path, ":authority": HOST });
    let body = "";
    stream.once("data", begun);
    stream.setEncoding("latin1");
    stream.on("data", (chunk: string) => {
      body += chunk;
    });
    session.on("error", reject);
    stream.on("error", reject);
    stream.on("end", () => resolve(body));
    stream.on("close", () => session.destroy());
  });
}
