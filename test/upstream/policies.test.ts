import { describe, expect, test } from "vitest";
import type { BalanceConfig, BalancingConfig } from "../../src/config/balancing.ts";
import { BOUND, FLOOR } from "../../src/upstream/consistent-hash.ts";
import { hash32 } from "../../src/upstream/hash.ts";
import { createPool, DEFAULT_BALANCING, type Pool } from "../../src/upstream/pool.ts";
import type { Lease } from "../../src/upstream/server.ts";
import { type ManualClock, manualClock, noTransport, seeded } from "./support.ts";

const clock: ManualClock = manualClock();
const byKey: BalanceConfig = { consistentHash: { header: "X-Key" } };
const POLICIES: readonly BalanceConfig[] = ["p2c", "roundRobin", "random", "leastRequest", byKey];
const nameOf = (balance: BalanceConfig): string => (typeof balance === "string" ? balance : "consistentHash");

const spec = (id: string, weight = 1) => ({ id, weight, transport: () => noTransport });
function poolOf(
  balance: BalanceConfig,
  weights: readonly number[],
  more: Partial<BalancingConfig> = {},
): Pool {
  const pool = createPool("web", {
    clock,
    random: seeded(7),
    balancing: { ...DEFAULT_BALANCING, ...more, balance },
  });
  pool.update(weights.map((weight, i) => spec(`s${i}`, weight)));
  return pool;
}
/** How often each was picked, one request after the other. */
function counts(pool: Pool, requests: number, keyOf: (i: number) => string | undefined = () => undefined) {
  const seen: Record<string, number> = Object.fromEntries(pool.members().map(({ id }) => [id, 0]));
  for (let i = 0; i < requests; i++) {
    const lease = pool.lease(undefined, true, keyOf(i))!;
    seen[lease.server.id]!++;
    lease.settle("ok");
  }
  return seen;
}

describe.each(POLICIES.map((balance) => [nameOf(balance), balance] as const))("%s", (_name, balance) => {
  test("gives idle servers their share of the weights", () => {
    const seen = counts(poolOf(balance, [1, 2, 5]), 16_000);
    [2000, 4000, 10_000].forEach((count, i) => {
      expect(Math.abs(seen[`s${i}`]! - count)).toBeLessThan(count * 0.1);
    });
    const equal = counts(poolOf(balance, [1, 1, 1, 1]), 16_000);
    for (const count of Object.values(equal)) expect(Math.abs(count - 4000)).toBeLessThan(250);
  });

  test("picks no server that left, was ejected or is full, while there is another", () => {
    const pool = poolOf(balance, [1, 1, 1, 1], { maxInFlight: 2 });
    pool.mark("s0", false);
    pool.update([spec("s0"), spec("s1"), spec("s2")]);
    const open: Lease[] = [];
    for (let i = 0; i < 4; i++) open.push(pool.lease(undefined, true, `k${i}`)!);
    expect(open.map(({ server }) => server.id).sort()).toEqual(["s1", "s1", "s2", "s2"]);
    expect(pool.lease(undefined, true, "k")).toBeUndefined();
    open[0]!.settle("ok");
    expect(pool.lease(undefined, true, "k")!.server).toBe(open[0]!.server);
  });

  test("goes elsewhere than where an attempt failed", () => {
    const pool = poolOf(balance, [1, 1, 1]);
    const [a, b, c] = pool.members();
    for (let i = 0; i < 50; i++) {
      const lease = pool.lease([a!, b!], true, "key")!;
      expect(lease.server).toBe(c);
      lease.settle("ok");
    }
  });

  test("of an empty pool is nobody, and of one server that one", () => {
    expect(poolOf(balance, []).lease(undefined, true, "key")).toBeUndefined();
    expect(poolOf(balance, [3]).lease(undefined, true, "key")!.server.id).toBe("s0");
  });

  test("takes over while requests are in flight", () => {
    const pool = poolOf("p2c", [1, 1]);
    const leases = [pool.lease()!, pool.lease()!, pool.lease()!];
    pool.configure({ ...DEFAULT_BALANCING, balance });
    expect(pool.keyOf === undefined).toBe(typeof balance === "string");
    for (const lease of leases) lease.settle("ok");
    expect(pool.inFlight).toBe(0);
    expect(pool.lease()).toBeDefined();
  });
});

describe("roundRobin", () => {
  test("goes through equal servers in a fixed turn", () => {
    const pool = poolOf("roundRobin", [1, 1, 1, 1]);
    const order = (): string[] => Array.from({ length: 4 }, () => pool.lease()!.server.id);
    const first = order();
    expect([...first].sort()).toEqual(["s0", "s1", "s2", "s3"]);
    expect(order()).toEqual(first);
  });

  test("spreads a heavy server's turns out, exactly in proportion", () => {
    const pool = poolOf("roundRobin", [5, 1, 1]);
    const picks = Array.from({ length: 70 }, () => pool.lease()!.server.id);
    expect(picks.filter((id) => id === "s0").length).toBeGreaterThanOrEqual(49);
    expect(picks.filter((id) => id === "s0").length).toBeLessThanOrEqual(51);
    for (let i = 0; i + 7 < picks.length; i++)
      expect(picks.slice(i, i + 7).filter((id) => id !== "s0").length).toBeGreaterThanOrEqual(1);
  });

  test("a server that was away does not catch up", () => {
    const pool = poolOf("roundRobin", [1, 1]);
    pool.mark("s0", false);
    counts(pool, 100);
    pool.mark("s0", true);
    expect(Math.abs(counts(pool, 20).s0! - 10)).toBeLessThanOrEqual(1);
  });
});

test("leastRequest picks the least busy for its weight, whatever the number of servers", () => {
  const pool = poolOf("leastRequest", [1, 1, 2, 4]);
  for (let i = 0; i < 80; i++) pool.lease();
  expect(pool.members().map(({ inFlight }) => inFlight)).toEqual([10, 10, 20, 40]);
  pool.report("s3", 100);
  for (let i = 0; i < 10; i++) expect(pool.lease()!.server.id).not.toBe("s3");
});

describe("consistentHash", () => {
  const KEYS = Array.from({ length: 5000 }, (_, i) => `user-${i}`);
  const owners = (pool: Pool): string[] =>
    KEYS.map((key) => {
      const lease = pool.lease(undefined, true, key)!;
      lease.settle("ok");
      return lease.server.id;
    });
  const ten = Array.from({ length: 10 }, (_, i) => spec(`s${i}`));

  test("sends a key to one server, on every edge", () => {
    const one = poolOf(byKey, Array(10).fill(1));
    const two = createPool("b", {
      clock,
      random: seeded(99),
      balancing: { ...DEFAULT_BALANCING, balance: byKey },
    });
    two.update([...ten].reverse());
    expect(owners(one)).toEqual(owners(one));
    expect(owners(two)).toEqual(owners(one));
  });

  test("moves only the keys of a server that leaves, and only to one that joins", () => {
    const pool = poolOf(byKey, Array(10).fill(1));
    const before = owners(pool);
    pool.update(ten.slice(1));
    const without = owners(pool);
    without.forEach((owner, i) => {
      if (before[i] !== "s0") expect(owner).toBe(before[i]);
    });
    pool.update(ten);
    expect(owners(pool)).toEqual(before);
    pool.update([...ten, spec("new")]);
    const moved = owners(pool).filter((owner, i) => owner !== before[i]);
    expect(new Set(moved)).toEqual(new Set(["new"]));
    expect(moved.length / KEYS.length).toBeLessThan(0.15);
  });

  test("an unhealthy server gets its keys back", () => {
    const pool = poolOf(byKey, Array(10).fill(1));
    const before = owners(pool);
    pool.mark("s3", false);
    expect(owners(pool)).not.toContain("s3");
    pool.mark("s3", true);
    expect(owners(pool)).toEqual(before);
  });

  test("keeps a few parallel requests of one key together, and no server above its bound", () => {
    const pool = poolOf(byKey, Array(10).fill(1));
    const together = Array.from({ length: FLOOR }, () => pool.lease(undefined, true, "hot")!);
    expect(new Set(together.map(({ server }) => server)).size).toBe(1);
    for (let i = 0; i < 1000; i++) pool.lease(undefined, true, "hot");
    for (const { inFlight } of pool.members())
      expect(inFlight).toBeLessThanOrEqual(Math.ceil((BOUND * pool.inFlight) / 10));
  });

  test("ten thousand servers share the keys, none with more than a few times its part", () => {
    const pool = poolOf(byKey, Array(10_000).fill(1));
    const seen = counts(pool, 50_000, (i) => `k${i}`);
    expect(Math.max(...Object.values(seen))).toBeLessThan(25);
  });

  test("reads the key from header, cookie or address, the first that is there", () => {
    const pool = poolOf({ consistentHash: { header: "X-Key", cookie: "sid", clientAddress: true } }, [1]);
    const keyOf = pool.keyOf!;
    expect(keyOf(["x-key", "h", "Cookie", "sid=c"], "192.0.2.1")).toBe("h");
    expect(keyOf(["Cookie", "a=b; sid = c ;xsid=d"], "192.0.2.1")).toBe("c");
    expect(keyOf(["cookie", "a=b", "cookie", "sid=e=f"], "192.0.2.1")).toBe("e=f");
    expect(keyOf(["X-Key", ""], "192.0.2.1")).toBe("192.0.2.1");
    expect(poolOf({ consistentHash: { cookie: "sid" } }, [1]).keyOf!([], "192.0.2.1")).toBeUndefined();
  });

  test("its hash spreads texts that are nearly alike", () => {
    const buckets = Array(64).fill(0);
    for (let i = 0; i < 64_000; i++) buckets[hash32(`10.0.0.1:80#${i}`) >>> 26]++;
    for (const count of buckets) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});
