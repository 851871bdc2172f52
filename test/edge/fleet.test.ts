/** Five edges of three runtimes on one NATS: one order for each host, one certificate everywhere, and NATS may go. */

import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { LiveView } from "../../src/fleet/view.ts";
import { makeFleetKey } from "../../src/storage/seal.ts";
import { handshake, visit, visitPlain } from "../runtime/client.ts";
import { type Origin, startOrigin } from "../runtime/origin.ts";
import { type AcmeFront, startAcmeFront } from "../support/acme-front.ts";
import { configFile, type EdgeProcess, type Runtime, skerry, startEdge } from "../support/edge.ts";
import { type Front, startFront } from "../support/front.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { eventually } from "../support/processes.ts";

const RUNTIMES: readonly Runtime[] = ["node", "bun", "deno", "node", "bun"];
const HOSTS = Array.from({ length: 50 }, (_, index) => `h${index}.example.test`);
const env = { SKERRY_FLEET_KEY: makeFleetKey() };

let nats: Nats;
let pebble: Pebble;
let origin: Origin;
let front: Front;
let ca: AcmeFront;
const edges: EdgeProcess[] = [];
const configs: string[] = [];

function configOf(index: number, hosts: readonly string[] = HOSTS): object {
  return {
    listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
    storage: nats.url,
    location: `place-${index}`,
    accessLog: false,
    acme: {
      directory: ca.directory,
      trustedCa: ca.caPath,
      email: "ops@example.test",
      agreeToTerms: true,
    },
    backends: { web: { servers: [origin.url] } },
    hosts: Object.fromEntries(hosts.map((host) => [host, { backend: "web" }])),
  };
}

/** All at once; each is asked by the CA as soon as it is up. */
async function startAll(): Promise<void> {
  const started = await Promise.all(
    RUNTIMES.map(async (runtime, index) => {
      const edge = await startEdge(runtime, configs[index]!, { env, boundMs: 60_000 });
      edges.push(edge);
      return edge;
    }),
  );
  edges.splice(0, edges.length, ...started);
}

interface Shown {
  readonly host: string;
  readonly state: string;
  readonly generation?: number;
}

async function shown(edge: EdgeProcess): Promise<Shown[]> {
  const { body } = await visitPlain({ port: edge.admin.port, host: "localhost", path: "/certificates" });
  return (JSON.parse(body) as { certificates: Shown[] }).certificates;
}

async function ready(edge: EdgeProcess): Promise<{ status: string; problems?: string[] }> {
  const { body } = await visitPlain({ port: edge.admin.port, host: "localhost", path: "/readyz" });
  return JSON.parse(body) as { status: string; problems?: string[] };
}

const serial = async (edge: EdgeProcess, host: string): Promise<string> =>
  (await handshake({ port: edge.https.port, host })).certificate.serialNumber;

const allLive = (hosts: readonly string[]): Promise<true> =>
  eventually(
    "all hosts are live on all edges",
    async () => {
      for (const edge of edges) {
        const live = (await shown(edge)).filter(
          ({ host, state }) => hosts.includes(host) && state === "valid",
        );
        if (live.length !== hosts.length) return false;
      }
      return true;
    },
    60_000,
  );

/** Every host, as the edge tells of the fleet: what `skerry certs show` prints as `live on`. */
async function liveOnAll(edge: EdgeProcess): Promise<void> {
  for (const host of HOSTS)
    await eventually(`${host} is live on all`, async () => {
      const { body } = await visitPlain({
        port: edge.admin.port,
        host: "localhost",
        path: `/certificates/${host}`,
      });
      const { live, of } = (JSON.parse(body) as { fleet: LiveView }).fleet;
      return live === RUNTIMES.length && of === RUNTIMES.length;
    });
}

/** Visitors of every edge until told; what they got other than 200. */
function visitors(): { count(): number; stop(): Promise<{ requests: number; failures: string[] }> } {
  let running = true;
  let requests = 0;
  const failures: string[] = [];
  const loops = edges.map(async (edge, index) => {
    while (running) {
      const host = HOSTS[(requests + index) % HOSTS.length]!;
      const { status } = await visit({ port: edge.https.port, host }).catch((error: Error) => ({
        status: `${edge.runtime}: ${error.message}`,
      }));
      requests++;
      if (status !== 200) failures.push(String(status));
    }
  });
  return {
    count: () => requests,
    async stop() {
      running = false;
      await Promise.all(loops);
      return { requests, failures };
    },
  };
}

beforeAll(async () => {
  [nats, origin, front] = await Promise.all([
    startNats(),
    startOrigin("web"),
    startFront(() => edges.map((edge) => edge.http.port)),
  ]);
  pebble = await startPebble({ httpPort: front.port });
  ca = await startAcmeFront(pebble);
  for (const index of RUNTIMES.keys()) configs.push(configFile(configOf(index)));
}, 60_000);

afterAll(async () => {
  await Promise.all(edges.map((edge) => edge.stop()));
  front?.close();
  await Promise.all([nats?.close(), ca?.close(), pebble?.close(), origin?.close()]);
}, 60_000);

describe("five edges of three runtimes", () => {
  test("that start at once with fifty new hosts make fifty orders, and all are live on 5/5", async () => {
    const began = performance.now();
    await startAll();
    await allLive(HOSTS);
    console.log(`five edges, fifty hosts: served by all after ${Math.round(performance.now() - began)} ms`);
    for (const edge of edges) await liveOnAll(edge);
    console.log(`five edges, fifty hosts: live on 5/5 after ${Math.round(performance.now() - began)} ms`);
    for (const host of HOSTS) expect(ca.orders(host).length, host).toBe(1);
    expect(ca.orders().length).toBe(HOSTS.length);
    expect(pebble.issued()).toBe(HOSTS.length);
    for (const host of HOSTS) {
      const serials = await Promise.all(edges.map((edge) => serial(edge, host)));
      expect(new Set(serials).size, host).toBe(1);
    }
    // Each was ordered by one edge, and loaded by the others.
    const obtained = edges.flatMap((edge) => edge.logs("certificate.obtained"));
    expect(obtained.length).toBe(HOSTS.length);
  }, 120_000);

  test("hear of a peer's renewed certificate within a second", async () => {
    const host = HOSTS[0]!;
    const [first, ...others] = edges;
    const renewed = await visitPlain({
      port: first!.admin.port,
      host: "localhost",
      path: `/certificates/${host}/renew`,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ force: true }),
    });
    expect(renewed.status, renewed.body).toBe(200);
    const second = (edge: EdgeProcess): number | undefined => {
      const line = edge.logs().find((each) => each.host === host && each.generation === 2);
      return line && Date.parse(line.time);
    };
    const made = await eventually("it is renewed", () => second(first!));
    const delays = await Promise.all(
      others.map(async (edge) => (await eventually("a peer serves it", () => second(edge))) - made),
    );
    console.log(`a certificate reached peers after ${Math.max(...delays)} ms at most`);
    expect(Math.max(...delays)).toBeLessThan(1000);
    expect(new Set(await Promise.all(edges.map((edge) => serial(edge, host)))).size).toBe(1);
  });

  test("serve on without one failed request while NATS is killed, away and started again", async () => {
    const load = visitors();
    await nats.kill();
    await Promise.all(
      edges.map((edge) =>
        eventually("it says that storage is away", async () =>
          (await ready(edge)).problems?.[0]?.includes("storage: away"),
        ),
      ),
    );
    const { body } = await visitPlain({ port: edges[0]!.admin.port, host: "localhost", path: "/metrics" });
    expect(body).toContain("skerry_storage_away 1");
    const sofar = load.count();
    await eventually("visitors come while it is away", () => load.count() > sofar + 200);
    await nats.start();
    await Promise.all(
      edges.map((edge) => eventually("it is well again", async () => (await ready(edge)).status === "ready")),
    );
    const { requests, failures } = await load.stop();
    console.log(`${requests} requests while NATS was killed and started again`);
    expect(requests).toBeGreaterThan(200);
    expect(failures).toEqual([]);
  }, 60_000);

  test("start without NATS from their copies, and order again when it is back", async () => {
    const before = await serial(edges[0]!, HOSTS[0]!);
    await Promise.all(edges.map((edge) => edge.stop()));
    await nats.kill();
    edges.length = 0;
    await startAll();
    for (const edge of edges) {
      expect(await serial(edge, HOSTS[0]!)).toBe(before);
      expect((await ready(edge)).status).toBe("degraded");
    }
    await nats.start();
    await Promise.all(
      edges.map((edge) => eventually("it is well again", async () => (await ready(edge)).status === "ready")),
    );
    expect(pebble.issued()).toBe(HOSTS.length + 1);
  }, 120_000);

  test("serve on without one failed request while NATS loses everything, until one of them restores it", async () => {
    const before = await Promise.all(HOSTS.map((host) => serial(edges[0]!, host)));
    const ordered = ca.orders().length;
    const load = visitors();
    await nats.wipe();
    await nats.start();
    for (const edge of edges)
      await eventually("it knows that all is lost", async () =>
        (await ready(edge)).problems?.[0]?.includes('"skerry fleet restore"'),
      );
    const cli = (runtime: Runtime, words: string[]) =>
      skerry(runtime, [...words, "--config", configs[1]!], {
        env,
        cwd: mkdtempSync(join(tmpdir(), "skerry-fleet-")),
      });
    const status = await cli("node", ["fleet", "status"]);
    expect(status.stderr).toContain('"skerry fleet restore" on one of them fills it again');
    expect(status.stderr).not.toContain("    at ");
    const sofar = load.count();
    await eventually("visitors come while it is lost", () => load.count() > sofar + 200);
    const restored = await cli("bun", ["fleet", "restore"]);
    expect(restored.stdout, restored.stderr).toMatch(/^restored fleet [0-9a-f]{16} from \/.*: \d+ values\n/);
    expect(restored.stdout).toMatch(/^ +50 {2}certificates$/m);
    await Promise.all(
      edges.map((edge) => eventually("it is well again", async () => (await ready(edge)).status === "ready")),
    );
    const again = await cli("deno", ["fleet", "restore"]);
    expect(again.code).not.toBe(0);
    expect(again.stderr).toContain("it is not lost, or was restored already");
    // It is the fleet that it was: a renewed certificate reaches all, and none was ordered but that one.
    const renewed = await visitPlain({
      port: edges[2]!.admin.port,
      host: "localhost",
      path: `/certificates/${HOSTS[3]}/renew`,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ force: true }),
    });
    expect(renewed.status, renewed.body).toBe(200);
    for (const edge of edges)
      await eventually("it has the renewed one", async () => (await serial(edge, HOSTS[3]!)) !== before[3]);
    const after = await Promise.all(HOSTS.map((host) => serial(edges[4]!, host)));
    expect(after.filter((each, index) => each !== before[index]).length).toBe(1);
    expect(ca.orders().length).toBe(ordered + 1);
    const { requests, failures } = await load.stop();
    console.log(`${requests} requests while NATS lost everything and was restored`);
    expect(failures).toEqual([]);
  }, 120_000);

  test("know a token that was made on one of them, and the fleet shows itself to the command", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skerry-fleet-"));
    const made = await skerry(
      "node",
      ["token", "create", "web", "--config", configs[0]!, "--address", "127.0.0.1:1"],
      { env, cwd: folder },
    );
    expect(made.stdout).toMatch(/^WORMHOLE_TOKEN=/);
    const listed = await skerry("bun", ["token", "list", "--config", configs[4]!, "--json"], {
      env,
      cwd: folder,
    });
    expect(JSON.parse(listed.stdout)).toMatchObject([{ backend: "web" }]);
    const status = await skerry("deno", ["fleet", "status", "--config", configs[2]!], { env, cwd: folder });
    expect(status.stdout).toMatch(/^fleet +[0-9a-f]{16}\n/);
    expect(status.stdout).toContain("unsafe    replicas is 1, at a single server");
    const without = await skerry("node", ["fleet", "status", "--config", configs[0]!], {
      env: { SKERRY_FLEET_KEY: "" },
      cwd: folder,
    });
    expect(without.code).not.toBe(0);
    expect(without.stderr).toContain("skerry fleet key");
  }, 60_000);
});
