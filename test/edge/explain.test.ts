/** A request as operators see it afterwards: through the handler that every request passes, with real servers behind. */
import { EventEmitter, once } from "node:events";
import { createServer, type RequestListener, request, type ServerResponse } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { Hono } from "hono";
import { afterEach, beforeEach, expect, test } from "vitest";
import { requestRoutes } from "../../src/admin/requests.ts";
import { systemClock, systemRandom } from "../../src/clock.ts";
import type { EdgeConfig } from "../../src/config/input.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import type { ExplainConfig } from "../../src/config/retrying.ts";
import { createExplaining, type ExplainedRequest, type Explaining } from "../../src/edge/explain.ts";
import { createHandler } from "../../src/edge/handler.ts";
import { createProxying, type Proxying, proxyHandler } from "../../src/edge/proxying.ts";
import { createRouteTable } from "../../src/edge/routes.ts";
import { createTrust } from "../../src/edge/trust.ts";
import type { EdgeEnv } from "../../src/exchange/context.ts";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import { sendResponse } from "../../src/exchange/web-response.ts";
import { serveHttp1 } from "../../src/http1/server.ts";
import { type Log, silentLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { backendApp } from "../../src/middleware/host-app.ts";
import { failExchange } from "../../src/proxy/problem.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});
let logged: Record<string, unknown>[];
beforeEach(() => {
  logged = [];
});

async function server(handler: RequestListener): Promise<string> {
  const listening = createServer(handler).listen(0, "127.0.0.1");
  await once(listening, "listening");
  ends.push(() => listening.close());
  ends.push(() => listening.closeAllConnections());
  return `http://127.0.0.1:${(listening.address() as AddressInfo).port}`;
}

interface World {
  readonly port: number;
  readonly explain: Explaining;
  readonly admin: Hono;
  config: ExplainConfig | undefined;
}

async function edge(
  config: Pick<EdgeConfig, "backends" | "explain">,
  trusted = true,
  app?: (proxying: Proxying) => Hono<EdgeEnv>,
): Promise<World> {
  const resolved = resolveConfig({
    acme: { directory: "https://127.0.0.1:1/dir", email: "a@example.com", agreeToTerms: true },
    hosts: { "a.test": { backend: "web" } },
    ...config,
  });
  const note = (_event: string, fields?: Record<string, unknown>): void => void logged.push(fields ?? {});
  const log: Log = { ...silentLog, info: note };
  const parts = { clock: systemClock, random: systemRandom, log: silentLog, metrics: createMetrics() };
  const proxying = createProxying(parts);
  ends.push(() => proxying.close());
  await proxying.backends.update(resolved.backends);
  const explain = createExplaining(() => world.config, systemClock);
  const routes = createRouteTable([
    {
      host: "a.test",
      app: app?.(proxying) ?? backendApp(proxyHandler(proxying, "web"), [], { host: "a.test" }),
    },
  ]);
  const trust = createTrust(trusted ? ["127.0.0.1"] : []);
  const onExchange = createHandler({
    ...parts,
    ...{ log, explain, proxying },
    routes: () => routes,
    trust: () => trust,
    location: "here",
    accessLog: () => true,
    send: (exchange, response) => sendResponse(exchange, response),
    fail: failExchange,
  });
  const listening = createTcpServer((socket) => {
    ends.push(() => socket.destroy());
    serveHttp1(socket, {
      connection: { id: 1, remoteAddress: "127.0.0.1", remotePort: 1, localPort: 2 },
      ...{ scheme: "https", limits: DEFAULT_LIMITS, clock: systemClock, onExchange },
      onOffence() {},
      onClose() {},
    });
  }).listen(0, "127.0.0.1");
  await once(listening, "listening");
  ends.push(() => listening.close());
  const { port } = listening.address() as AddressInfo;
  const admin = new Hono().route(
    "/requests",
    requestRoutes(() => explain.last()),
  );
  const world: World = { port, explain, admin, config: resolved.explain };
  return world;
}

type Headers = Record<string, string | string[] | undefined>;
async function visit(port: number, path = "/", headers = {}): Promise<{ status: number; headers: Headers }> {
  const asked = request({
    host: "127.0.0.1",
    port,
    path,
    headers: { host: "a.test", ...headers },
    agent: false,
  });
  asked.end();
  const [answer] = await once(asked, "response");
  answer.resume();
  await once(answer, "end");
  return { status: answer.statusCode, headers: answer.headers };
}

const ok: RequestListener = (_, response) => response.end("hello");
const busy: RequestListener = (_, response) => response.writeHead(503).end("busy");
const retry = { statuses: [503] };

test("the candidates, the pick and each attempt can be asked for by the request's id", async () => {
  const servers = [await server(ok), await server(ok)];
  const { port, admin } = await edge({ backends: { web: { servers } }, explain: {} });
  await visit(port, "/page?q=1", { "x-request-id": "abc/1" });
  const answer = await admin.request("/requests/abc%2F1");
  expect(answer.status).toBe(200);
  const found = (await answer.json()) as ExplainedRequest;
  expect(found).toMatchObject({ id: "abc/1", method: "GET", host: "a.test", path: "/page?q=1", status: 200 });
  expect(found).toMatchObject({ backend: "web", client: "127.0.0.1" });
  const [attempt] = found.attempts;
  expect(found.attempts).toHaveLength(1);
  expect(attempt!.candidates.map(({ server }) => server).sort()).toEqual([...servers].sort());
  expect(servers).toContain(attempt!.server);
  expect(attempt).toMatchObject({ reason: "first", state: "available", status: 200, used: true });
  expect(attempt!.endMs).toBeGreaterThanOrEqual(attempt!.sentMs);
  expect((await admin.request("/requests/other")).status).toBe(404);
});

test("a repeat tells of both attempts, in the log as well, and to trusted clients", async () => {
  const web = { servers: [await server(busy), await server(ok)], retry };
  const { port, admin } = await edge({ backends: { web }, explain: { accessLog: true } });
  const answers: Headers[] = [];
  const repeat = (): Headers | undefined => answers.find((headers) => headers["x-skerry-attempts"] === "2");
  // A coin says which server is asked first.
  while (!repeat() && answers.length < 200) answers.push((await visit(port)).headers);
  const repeated = repeat()!;
  expect(repeated["server-timing"]).toMatch(
    /^try1;dur=[\d.]+;desc="first http:\S+ 503", try2;dur=[\d.]+;desc="status http:\S+ 200", edge;dur=[\d.]+$/,
  );
  expect(answers.every((headers) => headers["x-skerry-attempts"] !== undefined)).toBe(true);
  const line = logged.find(({ attempts }) => attempts === 2)!;
  expect(line.explain).toMatchObject([{ status: 503 }, { reason: "status", status: 200, used: true }]);
  const { requests } = (await (await admin.request("/requests?retried")).json()) as { requests: unknown[] };
  expect(requests[0]).toMatchObject({ attempts: [{ status: 503 }, { status: 200 }] });
});

test("clients that are not trusted hear nothing of it, not even what an edge behind says", async () => {
  const other: RequestListener = (_, response) => response.setHeader("X-Skerry-Attempts", "7").end();
  const { port } = await edge({ backends: { web: { servers: [await server(other)] } }, explain: {} }, false);
  const { headers } = await visit(port);
  expect(headers).not.toHaveProperty("x-skerry-attempts");
  expect(headers).not.toHaveProperty("server-timing");
});

test("trusted clients are told of an answer that middleware fetched elsewhere, too", async () => {
  const url = await server(ok);
  const fetched = (proxying: Proxying): Hono<EdgeEnv> =>
    backendApp(
      async (c) => {
        const answer = await proxyHandler(proxying, "web")(c, async () => {});
        await (answer as Response).text();
        return fetch(url);
      },
      [],
      { host: "a.test" },
    );
  const { port } = await edge({ backends: { web: { servers: [url] } } }, true, fetched);
  const { status, headers } = await visit(port);
  expect([status, headers["x-skerry-attempts"], headers["server-timing"]]).toEqual([200, "1", undefined]);
});

test("without explain nothing is kept, and the API says how to change that", async () => {
  const { port, admin, explain } = await edge({ backends: { web: { servers: [await server(ok)] } } });
  await visit(port);
  expect(explain.last()).toBeUndefined();
  const answer = await admin.request("/requests");
  expect(answer.status).toBe(404);
  expect(await answer.text()).toContain("explain");
  expect(logged[0]).not.toHaveProperty("explain");
});

test("only the last ones are kept, the newest first, also when their number changes", async () => {
  const world = await edge({ backends: { web: { servers: [await server(ok)] } }, explain: { last: 3 } });
  const paths = (): (string | undefined)[] => world.explain.last()!.map(({ path }) => path);
  for (let i = 1; i <= 5; i++) await visit(world.port, `/${i}`);
  expect(paths()).toEqual(["/5", "/4", "/3"]);
  world.config = { last: 2, accessLog: false };
  await visit(world.port, "/6");
  expect(paths()).toEqual(["/6", "/5"]);
  world.config = { last: 4, accessLog: false };
  for (let i = 7; i <= 9; i++) await visit(world.port, `/${i}`);
  expect(paths()).toEqual(["/9", "/8", "/7", "/6"]);
  world.config = { last: 0, accessLog: false };
  await visit(world.port, "/10");
  expect(paths()).toEqual([]);
});

test("a request without a server is kept with why", async () => {
  const { port, admin } = await edge({ backends: { web: {} }, explain: {} });
  expect((await visit(port)).status).toBe(503);
  const { requests } = (await (await admin.request("/requests?status=503&limit=1")).json()) as {
    requests: ExplainedRequest[];
  };
  expect(requests).toMatchObject([{ status: 503, code: "NO_SERVER", attempts: [] }]);
});

test.each([
  ["roundRobin", 1],
  ["leastRequest", 1],
  ["random", 1],
  [{ consistentHash: { clientAddress: true } }, 1],
  ["p2c", 2],
] as const)(
  "under %j what the policy looked at is there, the picked one among it",
  async (balance, looked) => {
    const web = { servers: [await server(ok), await server(ok)], balance };
    const { port, explain } = await edge({ backends: { web }, explain: {} });
    for (let i = 0; i < 3; i++) await visit(port);
    for (const { attempts } of explain.last()!) {
      const [{ candidates, server: picked }] = attempts as [(typeof attempts)[0]];
      expect(candidates).toHaveLength(looked);
      expect(candidates.map((one) => one.server)).toContain(picked);
      expect(candidates[0]).toEqual({
        server: expect.any(String),
        latencyMs: expect.any(Number),
        inFlight: expect.any(Number),
        weight: 1,
        load: expect.any(Number),
      });
    }
  },
);

test.each(["p2c", "leastRequest"] as const)(
  "a request that waited tells of the pick that ended it (%s)",
  async (balance) => {
    const held: ServerResponse[] = [];
    const arrived = new EventEmitter();
    const hold: RequestListener = (_, response) => {
      held.push(response);
      arrived.emit("one");
    };
    const servers = [await server(hold), await server(hold)];
    const web = { servers, balance, maxInFlight: 1 };
    const { port, explain } = await edge({ backends: { web }, explain: {} });
    const two = [once(arrived, "one").then(() => once(arrived, "one"))];
    const first = [visit(port, "/1"), visit(port, "/2")];
    await Promise.all(two);
    const third = visit(port, "/3");
    // Both are taken: it waits. One of them comes free with the first answer.
    const next = once(arrived, "one");
    setImmediate(() => held[0]!.end());
    await next;
    for (const response of held.slice(1)) response.end();
    await Promise.all([...first, third]);
    const found = explain.last()!.find(({ path }) => path === "/3")!;
    // The only one with room.
    const [attempt] = found.attempts;
    expect(attempt!.candidates.map((one) => one.server)).toEqual([attempt!.server]);
    expect(servers).toContain(attempt!.server);
  },
);
