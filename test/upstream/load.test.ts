import { describe, expect, test } from "vitest";
import { alike, median, PeakEwma, RECENT_MS, RECENT_SAMPLES, TAU_MS } from "../../src/upstream/load.ts";

function warm(latencyMs: number): PeakEwma {
  const load = new PeakEwma();
  for (let i = 0; i < 3; i++) load.observe(latencyMs, 0, 0);
  return load;
}

describe("peak-EWMA", () => {
  test("jumps to a slower sample at once", () => {
    const load = warm(10);
    load.observe(200, 1, 0);
    expect(load.read(1, 0)).toBe(200);
  });

  test("comes down to faster samples by e every ten seconds", () => {
    const load = warm(100);
    load.observe(10, TAU_MS, 10);
    expect(load.read(TAU_MS, 10)).toBeCloseTo(10 + 90 / Math.E, 6);
  });

  test("fades to the rest without samples, and not below", () => {
    const load = warm(100);
    expect(load.read(TAU_MS, 20)).toBeCloseTo(20 + 80 / Math.E, 6);
    expect(load.read(100 * TAU_MS, 20)).toBeCloseTo(20, 6);
  });

  test("starts from the best of its first three, since those include connecting", () => {
    const load = new PeakEwma();
    load.observe(90, 0, 0);
    load.observe(4, 1, 0);
    expect(load.warm).toBe(false);
    load.observe(30, 2, 0);
    expect(load.warm).toBe(true);
    expect(load.read(2, 0)).toBe(4);
  });

  describe("a peak is history", () => {
    /** Answers in `ms`, `count` of them, spread evenly over `overMs` from `from` on. */
    const answers = (load: PeakEwma, ms: number, count: number, from: number, overMs: number): void => {
      for (let i = 0; i < count; i++) load.observe(ms, from + (i * overMs) / (count - 1), 5);
    };

    test("after a second of faster answers, the slowest of which it then is", () => {
      const load = warm(10);
      load.penalise(1000, 0, 5);
      load.observe(14, 1, 5);
      answers(load, 11, RECENT_SAMPLES - 1, 100, RECENT_MS - 100);
      expect(load.read(RECENT_MS, 5)).toBeGreaterThan(900);
      load.observe(11, RECENT_MS + 1, 5);
      expect(load.read(RECENT_MS + 1, 5)).toBe(14);
    });

    test("not after a few answers, however long they took to come", () => {
      const load = warm(10);
      load.penalise(1000, 0, 5);
      answers(load, 11, RECENT_SAMPLES - 1, 1, 2 * RECENT_MS);
      expect(load.read(2 * RECENT_MS, 5)).toBeGreaterThan(800);
    });

    test("not while one answer in twenty is slow", () => {
      const load = warm(10);
      for (let at = 0; at < 20_000; at += 50) {
        load.observe(at % 1000 === 0 ? 1000 : 11, at, 5);
        expect(load.read(at, 5)).toBeGreaterThan(900);
      }
    });

    test("and forgotten at once of a server that is another by now", () => {
      const load = warm(10);
      load.penalise(1000, 0, 5);
      load.forget();
      expect(load.warm).toBe(false);
      for (let i = 0; i < 3; i++) load.observe(12, 1, 5);
      expect(load.read(1, 5)).toBe(12);
    });
  });

  test("a penalty lifts and never lowers", () => {
    const load = warm(50);
    load.penalise(10, 0, 0);
    expect(load.read(0, 0)).toBe(50);
    load.penalise(500, 0, 0);
    expect(load.read(0, 0)).toBe(500);
  });
});

test("latencies that differ by noise are alike", () => {
  expect(alike(1, 5)).toBe(true);
  expect(alike(100, 150)).toBe(true);
  expect(alike(100, 170)).toBe(false);
  expect(alike(1, 20)).toBe(false);
});

test("the median of an even count is the lower one", () => {
  expect(median([])).toBeUndefined();
  expect(median([3])).toBe(3);
  expect(median([9, 1, 5, 3])).toBe(3);
});
