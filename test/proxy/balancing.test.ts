/** What caps, the line before them, keys and Retry-After do to real requests. */
import { once } from "node:events";
import { request as httpRequest, type ServerResponse } from "node:http";
import { connect } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import type { BalancingConfig } from "../../src/config/balancing.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import { retryAfterMs } from "../../src/proxy/retry-after.ts";
import { DEFAULT_BALANCING } from "../../src/upstream/pool.ts";
import { manualClock } from "../upstream/support.ts";
import { ask, deadPort, startBackend, startProxy, stopAll, until } from "./support.ts";

afterEach(stopAll);

const balancing = (more: Partial<BalancingConfig>): { backend: { balancing: BalancingConfig } } => ({
  backend: { balancing: { ...DEFAULT_BALANCING, ...more } },
});

/** A server that holds every answer until it is told to let one go. */
async function holding(): Promise<{ port: number; held: ServerResponse[] }> {
  const held: ServerResponse[] = [];
  const { port } = await startBackend((_, response) => held.push(response));
  return { port, held };
}

describe("a full server", () => {
  test("has requests wait, with their bodies, and serves them in turn", async () => {
    const order: string[] = [];
    const waiting: (() => void)[] = [];
    const { port } = await startBackend((request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () => {
        order.push(body);
        waiting.push(() => response.end(body));
      });
    });
    const proxy = await startProxy([port], balancing({ maxInFlight: 1 }));
    const first = ask(proxy.url, { method: "POST", body: "one" });
    await until(() => waiting.length === 1);
    const second = ask(proxy.url, { method: "POST", body: "two" });
    await until(() => proxy.pool.waiting === 1);
    const third = ask(proxy.url, { method: "POST", body: "three" });
    await until(() => proxy.pool.waiting === 2);
    expect(order).toEqual(["one"]);
    for (let i = 0; i < 3; i++) {
      await until(() => waiting.length === i + 1);
      waiting[i]!();
    }
    expect((await first).body + (await second).body + (await third).body).toBe("onetwothree");
    expect(order).toEqual(["one", "two", "three"]);
    await until(() => proxy.pool.inFlight === 0);
  });

  test("has a request that waited too long get 503 and when to come back", async () => {
    const { port, held } = await holding();
    const proxy = await startProxy([port], balancing({ maxInFlight: 1, queue: { max: 10, timeoutMs: 30 } }));
    const first = ask(proxy.url);
    await until(() => held.length === 1);
    const late = await ask(proxy.url);
    expect(late.status).toBe(503);
    expect(JSON.parse(late.body).code).toBe("UPSTREAM_BUSY");
    expect(Number(late.headers["retry-after"])).toBeGreaterThan(0);
    held[0]!.end("done");
    expect((await first).body).toBe("done");
    expect(proxy.pool.waiting).toBe(0);
  });

  test("has a request beyond the line get 503 at once", async () => {
    const { port, held } = await holding();
    const proxy = await startProxy([port], balancing({ maxInFlight: 1, queue: { max: 0, timeoutMs: 5000 } }));
    const first = ask(proxy.url);
    await until(() => held.length === 1);
    expect((await ask(proxy.url)).status).toBe(503);
    held[0]!.end();
    await first;
  });

  test("forgets who left the line, and never hears of them", async () => {
    const { port, held } = await holding();
    const proxy = await startProxy([port], balancing({ maxInFlight: 1 }));
    const first = ask(proxy.url);
    await until(() => held.length === 1);
    const impatient = httpRequest(proxy.url, { agent: false });
    impatient.on("error", () => {});
    impatient.end();
    await until(() => proxy.pool.waiting === 1);
    impatient.destroy();
    await until(() => proxy.pool.waiting === 0);
    held[0]!.end();
    await first;
    await until(() => proxy.pool.inFlight === 0);
    expect(held).toHaveLength(1);
  });

  test("takes over a request that another could not be reached for, once it has room", async () => {
    const { port, held } = await holding();
    const proxy = await startProxy([port, await deadPort()], balancing({ maxInFlight: 1 }));
    const first = ask(proxy.url);
    await until(() => held.length === 1);
    const second = ask(proxy.url);
    await until(() => proxy.pool.waiting === 1);
    held[0]!.end("one");
    await until(() => held.length === 2);
    held[1]!.end("two");
    expect([(await first).body, (await second).body]).toEqual(["one", "two"]);
  });
});

test("requests of one cookie meet one server, those of many meet all", async () => {
  const ports = await Promise.all(
    ["a", "b", "c"].map(async (name) => (await startBackend((_, response) => response.end(name))).port),
  );
  const proxy = await startProxy(ports, balancing({ balance: { consistentHash: { cookie: "sid" } } }));
  const answersOf = async (sid: (i: number) => number): Promise<Set<string>> => {
    const seen = new Set<string>();
    for (let i = 0; i < 24; i++)
      seen.add((await ask(proxy.url, { headers: { cookie: `a=b; sid=${sid(i)}` } })).body);
    return seen;
  };
  expect((await answersOf(() => 7)).size).toBe(1);
  expect((await answersOf((i) => i)).size).toBe(3);
});

test("an upgraded connection counts apart, to its end", async () => {
  const { port, server } = await startBackend(() => {});
  server.on("upgrade", (_, socket) => {
    socket.on("end", () => socket.end()).resume();
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  });
  const proxy = await startProxy([port]);
  const client = connect(proxy.port, "127.0.0.1");
  client.write(
    "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  await once(client, "data");
  const [upstream] = proxy.pool.members();
  expect([upstream!.inFlight, upstream!.streams]).toEqual([1, 1]);
  client.destroy();
  await until(() => proxy.pool.inFlight === 0);
  expect(upstream!.streams).toBe(0);
});

test("a 503 with Retry-After sends the next requests elsewhere", async () => {
  const busy = await startBackend((_, response) => {
    response.writeHead(503, { "Retry-After": "20" });
    response.end();
  });
  const good = await startBackend((_, response) => response.end("good"));
  const proxy = await startProxy([busy.port, good.port]);
  for (let i = 0; i < 60; i++) await ask(proxy.url);
  // Both get some until the good one is known to be fast; a fair share would be thirty.
  expect(busy.count).toBeLessThan(20);
  expect(busy.count + good.count).toBe(60);
});

describe("Retry-After", () => {
  const clock = manualClock();
  const of = (status: number, value?: string): number =>
    retryAfterMs(responseHead(status, value === undefined ? [] : ["retry-after", value]), clock);

  test("is read in seconds and as a date, with 429 and 503 only", () => {
    expect(of(503, "120")).toBe(120_000);
    expect(of(429, " 1 ")).toBe(1000);
    expect(of(503, new Date(clock.wall() + 5000).toUTCString())).toBe(5000);
    expect(of(200, "120")).toBe(0);
  });

  test("means nothing where it is absent, past or garbage", () => {
    for (const value of [undefined, "", "-1", "soon", "1e9", new Date(0).toUTCString()])
      expect(of(503, value)).toBe(0);
  });
});
