/** Two edges whose clocks are sixteen minutes apart, on one NATS: one order, one certificate, and nobody is held to be gone. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAdminApp } from "../../src/admin/app.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { type Edge, startEdge } from "../../src/edge/edge.ts";
import type { EdgesView, LiveView } from "../../src/fleet/view.ts";
import type { Log, LogFields } from "../../src/log.ts";
import { makeFleetKey } from "../../src/storage/seal.ts";
import { handshake, visit } from "../runtime/client.ts";
import { type Origin, startOrigin } from "../runtime/origin.ts";
import { type AcmeFront, startAcmeFront } from "../support/acme-front.ts";
import { type Front, startFront } from "../support/front.ts";
import { type JumpingClock, jumpingClock } from "../support/manual-clock.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { eventually } from "../support/processes.ts";

const HOST = "app.example.test";
const SKEW_MS = 8 * 60_000;

let nats: Nats;
let pebble: Pebble;
let ca: AcmeFront;
let front: Front;
let origin: Origin;
let folder: string;
let ahead: Edge;
const edges: Edge[] = [];
const events: (LogFields & { event: string })[] = [];
const seen = (event: string): number => events.filter((each) => each.event === event).length;

function clockAt(skewMs: number): JumpingClock {
  const clock = jumpingClock();
  clock.jump(skewMs);
  return clock;
}

async function run(name: string, clock: JumpingClock): Promise<Edge> {
  const at = (event: string, fields: LogFields = {}): void => void events.push({ ...fields, event });
  const log: Log = { debug() {}, info: at, warn: at, error: at, flush() {} };
  const config = resolveConfig({
    listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
    storage: { nats: { servers: [...nats.servers], copy: join(folder, name) } },
    location: name,
    accessLog: false,
    acme: { directory: ca.directory, trustedCa: ca.caPath, agreeToTerms: true },
    backends: { web: { servers: [origin.url] } },
    hosts: { [HOST]: { backend: "web" } },
  });
  const edge = await startEdge(config, { clock, log, admin: createAdminApp });
  edges.push(edge);
  return edge;
}

async function get<T>(edge: Edge, path: string): Promise<T> {
  return (await (await fetch(`http://127.0.0.1:${edge.addresses.admin.port}${path}`)).json()) as T;
}
const onBoth = async (generation: number): Promise<void> => {
  for (const edge of edges)
    await eventually(`generation ${generation} is live on both`, async () => {
      const { fleet } = await get<{ fleet: LiveView }>(edge, `/certificates/${HOST}`);
      return fleet.generation === generation && fleet.live === 2 && fleet.of === 2;
    });
  const served = await Promise.all(
    edges.map((edge) => handshake({ port: edge.addresses.https.port, host: HOST })),
  );
  expect(new Set(served.map(({ certificate }) => certificate.serialNumber)).size).toBe(1);
};

beforeAll(async () => {
  process.env.SKERRY_FLEET_KEY = makeFleetKey();
  folder = await mkdtemp(join(tmpdir(), "skerry-skew-"));
  [nats, origin, front] = await Promise.all([
    startNats(),
    startOrigin("web"),
    startFront(() => edges.map((edge) => edge.addresses.http.port)),
  ]);
  pebble = await startPebble({ httpPort: front.port });
  ca = await startAcmeFront(pebble);
  [ahead] = await Promise.all([run("ahead", clockAt(SKEW_MS)), run("behind", clockAt(-SKEW_MS))]);
});
afterAll(async () => {
  delete process.env.SKERRY_FLEET_KEY;
  await Promise.all(edges.map((edge) => edge.close()));
  front?.close();
  await Promise.all([nats?.close(), ca?.close(), pebble?.close(), origin?.close()]);
  await rm(folder, { recursive: true, force: true });
});

test("make one order, serve one certificate, and both count as there", async () => {
  await onBoth(1);
  expect(ca.orders(HOST).length).toBe(1);
  for (const edge of edges) {
    const { edges: seen } = await get<EdgesView>(edge, "/edges");
    expect(seen.map(({ location, state }) => [location, state])).toEqual([
      ["ahead", "ready"],
      ["behind", "ready"],
    ]);
    for (const { heardMsAgo } of seen) expect(heardMsAgo).toBeLessThan(30_000);
    expect((await visit({ port: edge.addresses.https.port, host: HOST })).status).toBe(200);
  }
});

async function renew(edge: Edge): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${edge.addresses.admin.port}/certificates/${HOST}/renew`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ force: true }),
  });
  expect(answer.status).toBe(200);
}

test("one by whose clock a renewed certificate is not valid yet serves the old one until it is, and orders nothing", async () => {
  // Started anew, it has not heard the CA's time.
  for (const edge of edges.splice(0))
    if (edge === ahead) edges.push(edge);
    else await edge.close();
  const clock = clockAt(-SKEW_MS);
  const behind = await run("behind", clock);
  await onBoth(1);
  await renew(ahead);
  await eventually("it is held back", () => seen("certificate.held") === 1);
  expect((await visit({ port: behind.addresses.https.port, host: HOST })).status).toBe(200);
  expect((await get<{ fleet: LiveView }>(ahead, `/certificates/${HOST}`)).fleet.live).toBe(1);
  clock.jump(SKEW_MS);
  await onBoth(2);
  expect(ca.orders(HOST).length).toBe(2);
});

test("one that renews hears the CA's time, and both serve what it got at once", async () => {
  const before = edges.length;
  await edges.pop()!.close();
  const behind = await run("behind", clockAt(-SKEW_MS));
  expect(edges.length).toBe(before);
  await onBoth(2);
  await renew(behind);
  await onBoth(3);
  expect(ca.orders(HOST).length).toBe(3);
  expect(seen("clock.skewed")).toBeGreaterThan(0);
  expect(seen("certificate.held")).toBe(1);
  expect(events.filter(({ event }) => /certificate\.failed|lock_lost|refused/.test(event))).toEqual([]);
});
