/** Every runtime as the edge, with every runtime as the agent: what users see of a wormhole. */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import WebSocket from "ws";
import type { Runtime } from "../support/edge.ts";
import type { Child } from "../support/processes.ts";
import { ask, HOST, joined, type World, world, wormhole } from "./processes.ts";

const RUNTIMES: readonly Runtime[] = ["node", "bun", "deno"];

describe.each(RUNTIMES)("an edge on %s", (edgeRuntime) => {
  let at: World;
  beforeAll(async () => {
    at = await world(edgeRuntime);
  });
  afterAll(async () => {
    await at.edge.stop();
  });
  // What a failed test leaves behind must not answer in the next one.
  let agents: Child[] = [];
  const begin = (runtime: Runtime, name: string): Child => {
    const agent = wormhole(runtime, at.token, name);
    agents.push(agent);
    return agent;
  };
  afterEach(async () => {
    await Promise.all(agents.map((agent) => agent.stop()));
    agents = [];
  });

  /** The names that answer, over some requests. */
  const names = async (count: number): Promise<Set<string>> => {
    const heard = new Set<string>();
    for (let i = 0; i < count; i++) {
      const { status, body } = await ask(at);
      expect(status, body).toBe(200);
      heard.add(body);
    }
    return heard;
  };

  /** The names that answer, until so many were heard: each request picks one of two by a coin. */
  const heardOf = async (many: number): Promise<Set<string>> => {
    const heard = new Set<string>();
    for (let asked = 0; asked < 200 && heard.size < many; asked++)
      for (const name of await names(1)) heard.add(name);
    return heard;
  };

  test.each(RUNTIMES)("and wormholes on %s", async (runtime) => {
    const statler = begin(runtime, "statler");
    const waldorf = begin(runtime, "waldorf");
    await Promise.all([joined(statler), joined(waldorf)]);
    expect(await heardOf(2)).toEqual(new Set(["statler", "waldorf"]));

    // Bodies, both ways and whole.
    const up = randomBytes(3_000_000);
    const { body: digest } = await ask(at, "/hash", { method: "POST", body: up });
    expect(digest).toBe(createHash("sha256").update(up).digest("hex"));
    expect((await ask(at, "/bytes?n=20000000")).body.length).toBe(20_000_000);
    expect(await echo(at, "through the wormhole")).toBe("through the wormhole");

    // One leaves while it works: what it has is finished, and nobody notices.
    const slow = Promise.all(Array.from({ length: 8 }, () => ask(at, "/slow?ms=400")));
    const left = statler.stop();
    const meanwhile = names(20);
    for (const { status } of await slow) expect(status).toBe(200);
    await meanwhile;
    expect((await left).code).toBe(0);
    expect(statler.stderr()).toContain('"wormhole.drained","how":"drained"');
    expect(await names(6)).toEqual(new Set(["waldorf"]));

    // It is back within a second of answering, and the other dies without a word: nobody notices either.
    const again = begin(runtime, "statler");
    await joined(again);
    const working = names(20);
    const orphan = appPid(waldorf);
    waldorf.signal("SIGKILL");
    await working;
    process.kill(orphan, "SIGKILL");
    await waldorf.ended;
    expect(await names(6)).toEqual(new Set(["statler"]));

    // The app dies: its exit code is the agent's.
    const app = appPid(again);
    process.kill(app, "SIGKILL");
    expect((await again.ended).code).toBe(137);
    const empty = await ask(at);
    expect([502, 503]).toContain(empty.status);
  });
});

/** The app's process, as it was started by this agent. */
function appPid(agent: Child): number {
  const [child] = readFileSync(`/proc/${agent.pid}/task/${agent.pid}/children`, "utf8").trim().split(" ");
  return Number(child);
}

/** A WebSocket that echoes. */
function echo({ edge, ca }: World, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://${HOST}:${edge.https.port}/`, {
      ca,
      lookup: (_name, _options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]),
    });
    socket.on("error", reject);
    socket.on("open", () => socket.send(text));
    socket.on("message", (data) => {
      resolve(String(data));
      socket.close();
    });
  });
}
