/** Hosts and servers that are added while three edges of three runtimes run: all serve them, and nobody is cut off. */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { Agent } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { makeFleetKey } from "../../src/storage/seal.ts";
import { type Answer, handshake, visit, visitPlain } from "../runtime/client.ts";
import { type Origin, startOrigin } from "../runtime/origin.ts";
import { testCa } from "../support/ca.ts";
import { configFile, type EdgeProcess, type Runtime, skerry, startEdge } from "../support/edge.ts";
import { type Front, startFront } from "../support/front.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { eventually } from "../support/processes.ts";

const RUNTIMES: readonly Runtime[] = ["node", "bun", "deno"];
const FIXED = "fixed.example.test";
const ADDED = "added.example.test";
const ORDERED = "ordered.example.test";
const MANY = Array.from({ length: 20 }, (_, index) => `many${index}.example.test`);
const env = { SKERRY_FLEET_KEY: makeFleetKey() };

let nats: Nats;
let pebble: Pebble;
let origin: Origin;
let other: Origin;
let front: Front;
let ca: string;
let own: string;
const edges: EdgeProcess[] = [];
const configs: string[] = [];

const configOf = (location: string, hosts: readonly string[] = [FIXED]): object => ({
  listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
  storage: nats.url,
  location,
  accessLog: false,
  acme: {
    directory: pebble.directory,
    trustedCa: pebble.caPath,
    email: "ops@example.test",
    agreeToTerms: true,
  },
  tls: { folder: own },
  backends: { web: { servers: [origin.url] } },
  hosts: Object.fromEntries(hosts.map((host) => [host, { backend: "web" }])),
});

const command = (runtime: Runtime, args: readonly string[], index = 0): ReturnType<typeof skerry> =>
  skerry(runtime, [...args, "--config", configs[index]!], { env });

/** The admin API of an edge. */
async function ask(edge: EdgeProcess, method: string, path: string, body?: object): Promise<Answer> {
  return visitPlain({
    port: edge.admin.port,
    host: "localhost",
    path,
    method,
    ...(body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
}

const bodyOf = (edge: EdgeProcess, host: string): Promise<string> =>
  visit({ port: edge.https.port, host, ca }).then(({ body }) => body);

/** How long after now all edges do it. */
async function allWithin(what: string, look: (edge: EdgeProcess) => Promise<boolean>): Promise<number> {
  const began = performance.now();
  await Promise.all(edges.map((edge) => eventually(`${what} at ${edge.runtime}`, () => look(edge))));
  return performance.now() - began;
}

const isRefused = (edge: EdgeProcess, host: string): Promise<boolean> =>
  handshake({ port: edge.https.port, host }).then(
    () => false,
    () => true,
  );

async function startAll(): Promise<void> {
  edges.length = 0;
  edges.push(
    ...(await Promise.all(
      RUNTIMES.map((runtime, index) => startEdge(runtime, configs[index]!, { env, boundMs: 60_000 })),
    )),
  );
}

beforeAll(async () => {
  [nats, origin, other, front] = await Promise.all([
    startNats(),
    startOrigin("origin"),
    startOrigin("other"),
    startFront(() => edges.map((edge) => edge.http.port)),
  ]);
  pebble = await startPebble({ httpPort: front.port });
  const authority = await testCa();
  const { chain, key } = await authority.issueFor([FIXED, ADDED, ...MANY]);
  ca = authority.rootPem;
  own = join(mkdtempSync(join(tmpdir(), "skerry-dynamic-")), "own");
  mkdirSync(own, { mode: 0o700 });
  writeFileSync(join(own, "all.pem"), chain);
  writeFileSync(join(own, "all.key"), key, { mode: 0o600 });
  for (const runtime of RUNTIMES) configs.push(configFile(configOf(runtime)));
  await startAll();
}, 60_000);

afterAll(async () => {
  await Promise.all(edges.map((edge) => edge.stop()));
  front?.close();
  await Promise.all([nats?.close(), pebble?.close(), origin?.close(), other?.close()]);
}, 60_000);

describe("three edges of three runtimes", () => {
  let socket: WebSocket;
  const agents = RUNTIMES.map(() => new Agent({ keepAlive: true, maxSockets: 1 }));
  const ports: number[] = [];
  /** One connection to each edge, on which all its requests go. */
  const keptAlive = (index: number): Promise<Answer> =>
    visit({ port: edges[index]!.https.port, host: FIXED, ca, agent: agents[index]! });
  const portOf = (index: number): number | undefined => {
    const [free] = Object.values(agents[index]!.freeSockets).flat();
    return free?.localPort;
  };
  const echo = (text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      socket.once("message", (data) => resolve(String(data)));
      socket.once("close", () => reject(new Error("the WebSocket was closed")));
      socket.send(text);
    });

  beforeAll(async () => {
    for (const index of RUNTIMES.keys()) {
      expect((await keptAlive(index)).status).toBe(200);
      ports.push((await eventually("the connection is free", () => portOf(index)))!);
    }
    const options = { ca, servername: FIXED, headers: { host: FIXED } };
    socket = new WebSocket(`wss://127.0.0.1:${edges[0]!.https.port}/socket`, options);
    await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
  });
  afterAll(() => {
    socket?.terminate();
    for (const agent of agents) agent.destroy();
  });

  test("refuse a host that nobody named", async () => {
    for (const edge of edges) expect(await isRefused(edge, ADDED)).toBe(true);
  });

  test("serve a host within a second of the command that added it", async () => {
    const { code, stdout, output } = await command("node", [
      "hosts",
      "add",
      "ADDED.example.test",
      "--backend",
      "web",
    ]);
    expect(code, output).toBe(0);
    expect(stdout).toBe(`${ADDED} is served from web\n`);
    const tookMs = await allWithin("the host is served", async (edge) =>
      (await bodyOf(edge, ADDED)).includes("You have reached origin"),
    );
    console.log(`served by all edges ${Math.round(tookMs)} ms after the command`);
    expect(tookMs).toBeLessThan(1000);
  });

  test("order its certificate at once, one for all of them", async () => {
    const before = pebble.issued();
    const added = await ask(edges[2]!, "POST", "/hosts", { host: ORDERED, backend: "web" });
    expect(added.status, added.body).toBe(200);
    const tookMs = await allWithin("the certificate is served", async (edge) => {
      const { certificate } = await handshake({ port: edge.https.port, host: ORDERED });
      return (
        String(certificate.subjectaltname).includes(ORDERED) && certificate.issuerCertificate !== certificate
      );
    });
    console.log(`certificate ordered and served by all after ${Math.round(tookMs)} ms`);
    expect(pebble.issued()).toBe(before + 1);
  }, 60_000);

  test("lose none of 20 changes at once, by commands and by the admin API of each", async () => {
    const changes = MANY.map(async (host, index) => {
      if (index % 3 === 0) {
        const runtime = RUNTIMES[(index / 3) % 3]!;
        const { code, output } = await command(
          runtime,
          ["hosts", "add", host, "--backend", "web"],
          index % 2,
        );
        return code === 0 ? "" : output;
      }
      const { status, body } = await ask(edges[index % 3]!, "POST", "/hosts", { host, backend: "web" });
      return status === 200 ? "" : body;
    });
    expect((await Promise.all(changes)).filter((problem) => problem !== "")).toEqual([]);
    const tookMs = await allWithin("all are listed", async (edge) => {
      const { hosts } = JSON.parse((await ask(edge, "GET", "/hosts")).body) as { hosts: { host: string }[] };
      return MANY.every((host) => hosts.some((row) => row.host === host));
    });
    expect(tookMs).toBeLessThan(1000);
    for (const edge of edges)
      for (const host of MANY) expect(await bodyOf(edge, host)).toContain("You have reached origin");
    const { stdout } = await command("bun", ["hosts", "list", "--json"]);
    const rows = JSON.parse(stdout) as { host: string; source: string }[];
    expect(
      rows
        .filter(({ source }) => source === "dynamic")
        .map(({ host }) => host)
        .sort(),
    ).toEqual([...MANY, ADDED, ORDERED].sort());
    expect(rows.find(({ host }) => host === FIXED)).toEqual({
      host: FIXED,
      backend: "web",
      source: "config",
    });
  }, 60_000);

  test("send requests to a server that was added, and to a backend that began with it", async () => {
    const made = await command("deno", ["backends", "add-server", "fresh", other.url, "--weight", "2"], 1);
    expect(made.stdout, made.output).toBe(`new backend fresh has ${other.url}\n`);
    const moved = await command("node", ["hosts", "add", ADDED, "--backend", "fresh", "--replace"]);
    expect(moved.stdout, moved.output).toBe(`${ADDED} is served from fresh, no longer from web\n`);
    const tookMs = await allWithin("the other server answers", async (edge) =>
      (await bodyOf(edge, ADDED)).includes("You have reached other"),
    );
    expect(tookMs).toBeLessThan(1000);
    const url = encodeURIComponent(other.url);
    const kept = await ask(edges[1]!, "DELETE", `/backends/fresh/servers/${url}`);
    expect(kept.status).toBe(409);
    expect(kept.body).toContain(`the last server of fresh, which ${ADDED} is served from`);
    expect((await ask(edges[1]!, "POST", "/backends/web/servers", { url: other.url })).status).toBe(200);
    await allWithin("both answer for web", async (edge) => {
      const { backends } = JSON.parse((await ask(edge, "GET", "/backends")).body) as {
        backends: { name: string; source: string; servers: { id: string; source: string }[] }[];
      };
      const web = backends.find(({ name }) => name === "web");
      return web?.servers.some(({ id, source }) => id === other.url && source === "dynamic") === true;
    });
    expect((await ask(edges[0]!, "DELETE", `/backends/web/servers/${url}`)).status).toBe(200);
    const gone = await ask(edges[0]!, "DELETE", `/backends/web/servers/${url}`);
    expect(gone.status).toBe(404);
    const configured = await command("node", ["backends", "remove-server", "web", origin.url]);
    expect(configured.code).toBe(2);
    expect(configured.stderr).toContain("from the config file: remove it there");
  }, 60_000);

  test("keep what was added when their config is read again", async () => {
    const edge = edges[0]!;
    writeFileSync(configs[0]!, JSON.stringify(configOf("node", [FIXED, MANY[0]!])));
    edge.process.signal("SIGHUP");
    await eventually("it is read", () => edge.logs("edge.reloaded").length > 0);
    expect(await bodyOf(edge, ADDED)).toContain("You have reached other");
    expect(await bodyOf(edge, MANY[0]!)).toContain("You have reached origin");
    // Now the config names it too, and wins.
    expect(edge.logs("dynamic.unused")).toMatchObject([{ kind: "shadowed", name: MANY[0] }]);
    const refused = await ask(edge, "POST", "/hosts", { host: MANY[0]!, backend: "fresh", replace: true });
    expect(refused.status).toBe(409);
    expect(refused.body).toContain("is in the config file, which wins");
  });

  test("refuse a host in the handshake once it is removed", async () => {
    const { stdout, output } = await command("bun", ["hosts", "remove", MANY[5]!], 1);
    expect(stdout, output).toBe(`removed ${MANY[5]}\n`);
    const tookMs = await allWithin("it is refused", (edge) => isRefused(edge, MANY[5]!));
    expect(tookMs).toBeLessThan(1000);
    const again = await command("node", ["hosts", "remove", MANY[5]!], 1);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain(`no host "${MANY[5]}" was added`);
    const configured = await command("node", ["hosts", "remove", FIXED]);
    expect(configured.code).toBe(2);
    expect(configured.stderr).toContain("is in the config file: remove it there");
  }, 60_000);

  test("cut off nobody by all these changes", async () => {
    for (const index of RUNTIMES.keys()) {
      expect((await keptAlive(index)).status).toBe(200);
      expect(await eventually("the connection is free", () => portOf(index))).toBe(ports[index]);
    }
    expect(await echo("still there")).toBe("still there");
    // An edge that stops would wait for it.
    socket.terminate();
  });

  test("refuse changes while NATS is away, and start with what was added from their copies", async () => {
    await nats.kill();
    await allWithin("storage is away", async (edge) =>
      (await ask(edge, "GET", "/readyz")).body.includes("away"),
    );
    const refused = await ask(edges[1]!, "POST", "/hosts", { host: "late.example.test", backend: "web" });
    expect(refused.status).toBe(503);
    expect(refused.body).toMatch(/is away .*nothing was changed, try again when it is back/);
    const commanded = await command("node", ["hosts", "add", "late.example.test", "--backend", "web"]);
    expect(commanded.code).toBe(1);
    expect(commanded.stderr).toMatch(
      /^skerry: storage: cannot write .* is away .*try again when it is back\n$/,
    );
    await Promise.all(edges.map((edge) => edge.stop()));
    await startAll();
    for (const edge of edges) {
      expect(await bodyOf(edge, ADDED)).toContain("You have reached other");
      expect(await bodyOf(edge, MANY[7]!)).toContain("You have reached origin");
      expect(await isRefused(edge, MANY[5]!)).toBe(true);
    }
    const listed = await command("node", ["hosts", "list"]);
    expect(listed.stderr).toContain("from the local copy");
    expect(listed.stdout).toMatch(new RegExp(`^${ADDED} +fresh +dynamic$`, "m"));
    await nats.start();
    const added = await eventually("it may be changed again", async () => {
      const { status } = await ask(edges[1]!, "POST", "/hosts", {
        host: "late.example.test",
        backend: "web",
      });
      return status === 200;
    });
    expect(added).toBe(true);
    await allWithin("the last one is known", async (edge) =>
      (await ask(edge, "GET", "/hosts")).body.includes("late.example.test"),
    );
  }, 120_000);
});
