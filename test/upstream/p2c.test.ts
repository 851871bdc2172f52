import { beforeEach, describe, expect, test } from "vitest";
import { IDLE_TIE_MS } from "../../src/upstream/p2c.ts";
import { createPool, type Pool } from "../../src/upstream/pool.ts";
import type { Lease, Server } from "../../src/upstream/server.ts";
import { asking, type ManualClock, manualClock, noTransport, seeded, shareOf } from "./support.ts";

let clock: ManualClock;
let pool: Pool;
beforeEach(() => {
  clock = manualClock();
  pool = createPool("web", { clock, random: seeded(1) });
});

const add = (id: string): Server => pool.add({ id, transport: noTransport });
const { on, serve } = asking(
  () => pool,
  () => clock,
);
const share = (id: string, requests = 1000): number => shareOf(pool, id, requests);

describe("idle servers", () => {
  test("tie while their latencies differ by less than 50 ms, so that one hiccup hides no server", () => {
    const a = add("a");
    serve(a, 1);
    serve(add("b"), 1);
    serve(a, IDLE_TIE_MS, 1);
    clock.advance(1100);
    expect(share("a")).toBeGreaterThan(0.45);
    expect(share("a")).toBeLessThan(0.55);
  });

  test("are told apart by more than that", () => {
    serve(add("a"), 2 + IDLE_TIE_MS);
    serve(add("b"), 1);
    expect(share("a")).toBe(0);
  });
});

test("under load the same difference decides", () => {
  const a = add("a");
  serve(a, 40);
  const b = add("b");
  serve(b, 10);
  on(a);
  on(b);
  expect(share("a")).toBe(0);
});

describe("upgraded connections", () => {
  const upgrade = (server: Server): Lease => {
    const lease = on(server);
    lease.answered(101);
    lease.upgraded();
    return lease;
  };

  test("do not make a server look busy for requests", () => {
    const a = add("a");
    add("b");
    const leases = Array.from({ length: 5 }, () => upgrade(a));
    expect(a.inFlight).toBe(5);
    expect(a.streams).toBe(5);
    expect(share("a")).toBeGreaterThan(0.45);
    for (const lease of leases) lease.settle("ok");
    expect(a.inFlight).toBe(0);
    expect(a.streams).toBe(0);
  });

  test("spread over the servers when there are many", () => {
    const servers = [add("a"), add("b"), add("c"), add("d")];
    for (let i = 0; i < 400; i++) {
      const lease = pool.lease()!;
      lease.answered(101);
      lease.upgraded();
      lease.upgraded();
    }
    for (const { streams } of servers) expect(Math.abs(streams - 100)).toBeLessThan(15);
  });

  test("settled or told of twice, count once", () => {
    const a = add("a");
    const lease = on(a);
    lease.settle("ok");
    lease.upgraded();
    expect(a.streams).toBe(0);
  });
});

describe("a server that says not now", () => {
  const refuse = (server: Server, retryAfterMs?: number): void => {
    const lease = on(server);
    lease.answered(503, retryAfterMs);
    lease.settle("ok");
  };

  test("is spared, also where all answer within a few milliseconds", () => {
    const a = add("a");
    serve(a, 1);
    serve(add("b"), 1);
    clock.advance(1100);
    refuse(a);
    expect(share("a")).toBe(0);
    clock.advance(20_000);
    expect(share("a")).toBeGreaterThan(0.4);
  });

  test("is spared for as long as it asked, and at most thirty seconds", () => {
    const a = add("a");
    serve(a, 1);
    serve(add("b"), 1);
    clock.advance(1100);
    refuse(a, 25_000);
    clock.advance(24_000);
    expect(share("a")).toBe(0);
    clock.advance(21_000);
    expect(share("a")).toBeGreaterThan(0.4);
    refuse(a, 3_600_000);
    clock.advance(29_000);
    expect(share("a")).toBe(0);
    clock.advance(21_000);
    expect(share("a")).toBeGreaterThan(0.4);
  });

  test("gets requests as before where all say so", () => {
    const a = add("a");
    const b = add("b");
    for (const server of [a, b]) refuse(server, 60_000);
    expect(share("a")).toBeGreaterThan(0.4);
    expect(share("b")).toBeGreaterThan(0.4);
  });
});
