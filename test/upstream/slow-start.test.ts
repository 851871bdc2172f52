import { describe, expect, test } from "vitest";
import type { BalanceConfig } from "../../src/config/balancing.ts";
import { createPool, DEFAULT_BALANCING, type Pool } from "../../src/upstream/pool.ts";
import { warmth } from "../../src/upstream/slow-start.ts";
import { type ManualClock, manualClock, noTransport, seeded, shareOf } from "./support.ts";

const share = (pool: Pool, id: string): number => shareOf(pool, id, 4000);

test("the weight rises from a tenth to the whole", () => {
  expect(warmth(0, 1000)).toBe(0.1);
  expect(warmth(50, 1000)).toBe(0.1);
  expect(warmth(600, 1000)).toBeCloseTo(0.6);
  expect(warmth(1000, 1000)).toBe(1);
  expect(warmth(5, 0)).toBe(1);
});

const names: readonly BalanceConfig[] = ["p2c", "roundRobin", "random", "leastRequest"];
describe.each(names)("%s with a slow start", (balance) => {
  const setUp = (): { clock: ManualClock; pool: Pool } => {
    const clock = manualClock();
    const balancing = { ...DEFAULT_BALANCING, balance, slowStartMs: 10_000 };
    const pool = createPool("web", { clock, random: seeded(2), balancing });
    pool.update(["a", "b", "c"].map((id) => ({ id, transport: () => noTransport })));
    return { clock, pool };
  };

  test("gives a server that joins a tenth at first, and all in the end", () => {
    const { clock, pool } = setUp();
    expect(share(pool, "a")).toBeGreaterThan(0.3);
    pool.add({ id: "new", transport: noTransport });
    expect(share(pool, "new")).toBeLessThan(0.05);
    clock.advance(5000);
    expect(share(pool, "new")).toBeGreaterThan(0.1);
    expect(share(pool, "new")).toBeLessThan(0.2);
    clock.advance(5001);
    expect(share(pool, "new")).toBeGreaterThan(0.22);
  });

  test("gives one that comes back the same", () => {
    const { clock, pool } = setUp();
    pool.mark("a", false);
    pool.mark("a", true);
    expect(share(pool, "a")).toBeLessThan(0.06);
    clock.advance(10_001);
    expect(share(pool, "a")).toBeGreaterThan(0.3);
  });
});
