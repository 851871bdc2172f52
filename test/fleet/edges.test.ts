/**
 * Three edges of three runtimes on one NATS, with two containers: the fleet is the same from everywhere, newcomers are joined,
 * the dead age out, and an edge that is cut off from NATS keeps its agents.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { AgentsView, EdgesView, LiveView } from "../../src/fleet/view.ts";
import { makeFleetKey } from "../../src/storage/seal.ts";
import { visit } from "../runtime/client.ts";
import { configFile, type EdgeProcess, type Runtime, skerry, startEdge } from "../support/edge.ts";
import { type Front, startFront } from "../support/front.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePorts } from "../support/ports.ts";
import { type Child, eventually } from "../support/processes.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { wormhole } from "../tunnel/processes.ts";

const RUNTIMES: readonly Runtime[] = ["node", "bun", "deno"];
const HOST = "app.example.test";
const env = { SKERRY_FLEET_KEY: makeFleetKey() };

let nats: Nats;
let relay: Relay;
let pebble: Pebble;
let front: Front;
let ports: number[];
let token: string;
const configs: string[] = [];
const edges: (EdgeProcess | undefined)[] = [];
const agents: Child[] = [];

const living = (): EdgeProcess[] => edges.filter((edge) => edge !== undefined);

async function run(index: number): Promise<EdgeProcess> {
  const edge = await startEdge(RUNTIMES[index]!, configs[index]!, { env, boundMs: 60_000 });
  edges[index] = edge;
  return edge;
}

async function get<T>(edge: EdgeProcess, path: string): Promise<T> {
  const answer = await fetch(`http://127.0.0.1:${edge.admin.port}${path}`);
  return (await answer.json()) as T;
}
const there = async (edge: EdgeProcess): Promise<string[]> =>
  (await get<EdgesView>(edge, "/edges")).edges
    .filter(({ state }) => state !== "gone")
    .map(({ location }) => location);
const live = async (edge: EdgeProcess): Promise<LiveView> =>
  (await get<{ fleet: LiveView }>(edge, `/certificates/${HOST}`)).fleet;
const joins = (agent: Child): number => agent.stderr().split('"wormhole.joined"').length - 1;
const command = async (index: number, ...args: string[]) => {
  const ended = await skerry(RUNTIMES[index]!, [...args, "--config", configs[index]!], { env });
  return { text: ended.stdout, code: ended.code, all: ended.output };
};

beforeAll(async () => {
  [nats, front, ports] = await Promise.all([
    startNats(),
    startFront(() => living().map((edge) => edge.http.port)),
    freePorts(6),
  ]);
  pebble = await startPebble({ httpPort: front.port });
  // The third edge's way to NATS can be cut.
  relay = await startRelay({ port: Number(nats.servers[0]!.split(":")[1]) });
  for (const index of RUNTIMES.keys())
    configs.push(
      configFile({
        listen: {
          http: "127.0.0.1:0",
          https: `127.0.0.1:${ports[index]}`,
          admin: `127.0.0.1:${ports[index + 3]}`,
        },
        storage: index === 2 ? `nats://127.0.0.1:${relay.port}` : nats.url,
        location: `place-${index}`,
        tunnel: { address: `127.0.0.1:${ports[index]}` },
        accessLog: false,
        drainTimeoutMs: 1000,
        acme: {
          directory: pebble.directory,
          trustedCa: pebble.caPath,
          email: "ops@example.test",
          agreeToTerms: true,
        },
        backends: { web: {} },
        hosts: { [HOST]: { backend: "web" } },
      }),
    );
}, 60_000);

afterAll(async () => {
  await Promise.all(agents.map((agent) => agent.stop()));
  await Promise.all(living().map((edge) => edge.stop()));
  front?.close();
  await Promise.all([relay?.close(), nats?.close(), pebble?.close()]);
}, 60_000);

describe("three edges of three runtimes, two containers", () => {
  test("a new edge is seen, and joined by the agents, within two seconds of its start", async () => {
    await Promise.all([run(0), run(1)]);
    const made = await command(0, "token", "create", "web");
    token = /^WORMHOLE_TOKEN=(\S+)\n$/.exec(made.text)?.[1] ?? "";
    for (const name of ["statler", "waldorf"]) agents.push(wormhole("node", token, name));
    await eventually("both edges are joined", () => agents.every((agent) => joins(agent) >= 4), 30_000);
    await run(2);
    const readyAt = performance.now();
    await eventually("the third is seen", async () => (await there(edges[0]!)).length === 3);
    console.log(`a new edge is seen after ${Math.round(performance.now() - readyAt)} ms`);
    await eventually("the third is joined", () => agents.every((agent) => joins(agent) >= 6));
    const tookMs = performance.now() - readyAt;
    console.log(`a new edge is joined by both agents after ${Math.round(tookMs)} ms`);
    expect(tookMs).toBeLessThan(3000);
  }, 90_000);

  test("every edge shows the same edges and containers, by its admin port and by the command", async () => {
    await eventually("all agents are known everywhere", async () => {
      for (const edge of living()) {
        const view = await get<AgentsView>(edge, "/agents");
        if (view.agents.length !== 2 || view.agents.some((agent) => agent.edges.length !== 3)) return false;
      }
      return true;
    });
    for (const index of RUNTIMES.keys()) {
      const listed = JSON.parse((await command(index, "edges", "--json")).text) as EdgesView;
      expect(listed.edges.map(({ location, runtime }) => [location, runtime.split(" ")[0]])).toEqual([
        ["place-0", "node"],
        ["place-1", "bun"],
        ["place-2", "deno"],
      ]);
      expect(listed.edges.findIndex(({ self }) => self)).toBe(index);
      const joined = JSON.parse((await command(index, "agents", "--json")).text) as AgentsView;
      expect(joined.agents.map(({ app, state, missing }) => [app, state, missing])).toEqual([
        ["statler", "available", []],
        ["waldorf", "available", []],
      ]);
      expect((await command(index, "agents")).text).toMatch(/web +statler +\S+ +available +3\/3/);
    }
  }, 60_000);

  test("an edge elsewhere is asked by its admin address, without a config", async () => {
    const asked = await skerry("node", ["edges", "--admin", `127.0.0.1:${ports[4]}`, "--json"]);
    expect((JSON.parse(asked.stdout) as EdgesView).edges.find(({ self }) => self)?.location).toBe("place-1");
    const nobody = await skerry("node", ["agents", "--admin", "127.0.0.1:9"]);
    expect(nobody.output).toBe("skerry: no edge answers at 127.0.0.1:9\n");
    expect(nobody.code).not.toBe(0);
  });

  test("a renewed certificate is live on all three within seconds, and the command says so", async () => {
    await eventually("the first is live", async () => (await live(edges[0]!)).live === 3, 60_000);
    const { generation } = await live(edges[0]!);
    const renewed = await command(1, "certs", "renew", HOST, "--force");
    expect(renewed.all).toContain("renewed");
    const began = performance.now();
    for (const edge of living())
      await eventually("it is live on all", async () => {
        const view = await live(edge);
        return view.generation === generation + 1 && view.live === 3 && view.of === 3;
      });
    console.log(`live on 3/3, seen from all, ${Math.round(performance.now() - began)} ms after the renewal`);
    expect(performance.now() - began).toBeLessThan(5000);
    for (const index of RUNTIMES.keys())
      expect((await command(index, "certs", "show", HOST)).text).toMatch(/^live on +3\/3$/m);
  }, 90_000);

  test("an edge that is cut off from NATS is gone for the others, and keeps its agents and visitors", async () => {
    const before = agents.map(joins);
    relay.stall();
    const cutAt = performance.now();
    const [first, , cut] = edges as [EdgeProcess, EdgeProcess, EdgeProcess];
    await eventually("it is gone", async () => !(await there(first)).includes("place-2"), 40_000);
    console.log(`an edge that is cut off is gone after ${Math.round(performance.now() - cutAt)} ms`);
    expect(performance.now() - cutAt).toBeLessThan(34_000);
    // It holds nobody else to be gone, says that storage is away, and serves on.
    const view = await get<EdgesView>(cut, "/edges");
    expect(view.away).not.toBeNull();
    expect(await there(cut)).toEqual(["place-0", "place-1", "place-2"]);
    expect((await command(2, "edges")).text).toMatch(/SHARED STORAGE IS AWAY since/);
    // Agents look again every half minute at what is announced.
    await eventually("they looked again", () => performance.now() - cutAt > 62_000, 70_000);
    expect(agents.map(joins)).toEqual(before);
    for (const agent of agents) expect(agent.stderr()).not.toContain("wormhole.lost");
    expect((await visit({ port: cut.https.port, host: HOST })).status).toBe(200);
    relay.go();
    relay.cut();
    await eventually("it is back", async () => (await there(first)).includes("place-2"), 40_000);
    await eventually("its certificate counts again", async () => (await live(first)).live === 3, 20_000);
  }, 180_000);

  test("an edge that is killed is gone within half a minute, one that stops at once", async () => {
    const [first, killed, stopped] = edges as [EdgeProcess, EdgeProcess, EdgeProcess];
    edges[1] = undefined;
    killed.process.signal("SIGKILL");
    await killed.process.ended;
    const killedAt = performance.now();
    await eventually("it is gone", async () => !(await there(first)).includes("place-1"), 40_000);
    console.log(`an edge that was killed is gone after ${Math.round(performance.now() - killedAt)} ms`);
    expect(performance.now() - killedAt).toBeLessThan(32_500);
    expect((await command(0, "edges")).text).toMatch(/place-1\) is GONE: last heard \d+s ago/);
    expect(await live(first)).toMatchObject({ live: 2, of: 2, missing: [] });

    edges[2] = undefined;
    expect((await stopped.stop()).code).toBe(0);
    const stoppedAt = performance.now();
    await eventually("it is gone", async () => (await there(first)).join() === "place-0");
    expect(performance.now() - stoppedAt).toBeLessThan(1000);
    const alone = await command(0, "edges");
    expect(alone.text).not.toContain("place-2");
  }, 90_000);
});
