import { describe, expect, test } from "vitest";
import { createPool } from "../../src/upstream/pool.ts";
import { simulate, theory, theoryFullest } from "./simulation.ts";
import { manualClock, noTransport, seeded } from "./support.ts";

test.each([2, 20, 200])(
  "with latency weighed in, %i ms servers at λ = 0.9 stay within 10 %% of pure two choices",
  (serviceMs) => {
    const { meanMs } = simulate({
      serviceMs: Array(200).fill(serviceMs),
      load: 0.9,
      durationMs: 400 * serviceMs,
    });
    expect(meanMs / serviceMs).toBeLessThan(2.61 * 1.1);
  },
);

test("one server of four that takes ten times as long gets under 3 % of the requests", () => {
  // By in flight alone, and drawn distinct, it would get about 5 %; with replacement nearly 9 %.
  const { shares } = simulate({ serviceMs: [200, 20, 20, 20], load: 0.6, durationMs: 60_000 });
  expect(shares[0]).toBeLessThan(0.03);
  expect(shares[0]).toBeGreaterThan(0);
});

test("no server of a quiet, nearly equal pool starves", () => {
  const { shares } = simulate({ serviceMs: [20, 23, 26, 29, 32], load: 0.1, durationMs: 60_000 });
  for (const share of shares) expect(share).toBeGreaterThan(0.1);
});

describe("a thousand servers at λ = 0.9", () => {
  const thousand = { serviceMs: Array<number>(1000).fill(20), load: 0.9 };
  const mean = (more: object, services = 500): number =>
    simulate({ ...thousand, durationMs: services * 20, ...more }).meanMs / 20;

  test("take 2.61 service times in theory with two choices, and ten with one", () => {
    expect(theory(0.9, 2)).toBeCloseTo(2.61, 2);
    expect(theory(0.9, 1)).toBeCloseTo(10, 9);
  });

  test("take the same through the pool, within 5 %", () => {
    const measured = mean({});
    expect(measured).toBeGreaterThan(theory(0.9, 2) * 0.95);
    expect(measured).toBeLessThan(theory(0.9, 2) * 1.05);
  });

  test("take about ten at random", () => {
    // Each queue is one by itself, so fewer of them, over a longer time, tell the same.
    const measured = mean({ balance: "random", serviceMs: Array<number>(100).fill(20) }, 6000);
    expect(measured).toBeGreaterThan(9);
    expect(measured).toBeLessThan(11);
  });

  test("take less than half of that behind eight edges that know nothing of each other", () => {
    expect(mean({ edges: 8 })).toBeLessThan(theory(0.9, 1) / 2);
  });

  test("take a third of it where agents report their true load, however old by then", () => {
    expect(mean({ edges: 8, reportEveryMs: 50 }, 250)).toBeLessThan(4);
  });
});

describe("n balls in n bins", () => {
  const n = 10_000;
  const fullest = (balance: "p2c" | "random"): number => {
    const pool = createPool("bins", {
      clock: manualClock(),
      random: seeded(8),
      balancing: {
        balance,
        slowStartMs: 0,
        maxInFlight: n,
        queue: { max: 0, timeoutMs: 1 },
        panicThreshold: 0,
      },
    });
    pool.update(Array.from({ length: n }, (_, i) => ({ id: `${i}`, transport: () => noTransport })));
    for (let i = 0; i < n; i++) pool.lease();
    return Math.max(...pool.members().map(({ inFlight }) => inFlight));
  };

  test("fill the fullest to ln ln n / ln 2 and a constant with two choices", () => {
    expect(Math.log(Math.log(n)) / Math.LN2).toBeCloseTo(3.2, 1);
    expect(fullest("p2c")).toBeLessThanOrEqual(4);
    expect(Math.abs(fullest("p2c") - theoryFullest(n, 2))).toBeLessThan(0.75);
  });

  test("fill it to about ln n / ln ln n, or twice that, with one", () => {
    expect(Math.log(n) / Math.log(Math.log(n))).toBeCloseTo(4.1, 1);
    expect(fullest("random")).toBeGreaterThanOrEqual(6);
    expect(fullest("random")).toBeLessThanOrEqual(9);
    expect(Math.abs(fullest("random") - theoryFullest(n, 1))).toBeLessThan(1.5);
  });
});

describe("four servers here and four that are 80 ms away", () => {
  const serviceMs = Array<number>(8).fill(20);
  const awayMs = serviceMs.map((_, i) => (i < 4 ? 0 : 80));
  const at = (load: number): { here: number; meanMs: number } => {
    const { shares, meanMs } = simulate({ serviceMs, awayMs, load, durationMs: 60_000 });
    return { here: shares.slice(0, 4).reduce((sum, one) => sum + one, 0), meanMs };
  };

  test("at 60 % of what those here can take, nothing leaves", () => {
    const { here, meanMs } = at(0.3);
    expect(here).toBeGreaterThan(0.999);
    expect(meanMs).toBeLessThan(40);
  });

  test("at 130 % of it, what is too much leaves, and nothing piles up", () => {
    const { here, meanMs } = at(0.65);
    // 1 / 1.3 of the requests is what they can take.
    expect(here).toBeGreaterThan(0.72);
    expect(here).toBeLessThan(0.8);
    expect(meanMs).toBeLessThan(250);
  });
});
