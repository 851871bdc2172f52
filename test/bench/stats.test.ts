import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  median,
  noisyRows,
  quantile,
  type Reading,
  ratiosByRound,
  ratioTo,
  rotated,
  spread,
} from "../../bench/stats.ts";

const readings = (...values: number[]): Reading[] => values.map((value, round) => ({ round, value }));

describe("quantile", () => {
  test("interpolates between neighbours", () => {
    expect(quantile([1, 2, 3, 4], 0.5)).toBe(2.5);
    expect(quantile([10, 20], 0.25)).toBe(12.5);
  });

  test("takes its values in any order and leaves them so", () => {
    const values = [3, 1, 2];
    expect(median(values)).toBe(2);
    expect(values).toEqual([3, 1, 2]);
  });

  test("is a value's own for one value and NaN for none", () => {
    expect(quantile([7], 0.99)).toBe(7);
    expect(median([])).toBeNaN();
  });

  test("always lies between the least and the greatest", () => {
    const values = fc.array(fc.double({ noNaN: true, min: -1e9, max: 1e9 }), { minLength: 1 });
    fc.assert(
      fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (list, q) => {
        const at = quantile(list, q);
        expect(at).toBeGreaterThanOrEqual(Math.min(...list));
        expect(at).toBeLessThanOrEqual(Math.max(...list));
      }),
    );
  });
});

describe("spread", () => {
  test("is nothing where all agree", () => {
    expect(spread([5, 5, 5])).toBe(0);
  });

  test("is the distance of the quartiles over the median", () => {
    expect(spread([8, 9, 10, 11, 12])).toBeCloseTo(0.2);
  });

  test("one outlier among five does not move it past the next value", () => {
    expect(spread([10, 10, 10, 10, 1000])).toBe(0);
  });
});

describe("ratios", () => {
  test("compare only readings of the same round", () => {
    const mine = [
      { round: 0, value: 20 },
      { round: 2, value: 90 },
    ];
    const theirs = [
      { round: 0, value: 10 },
      { round: 1, value: 1 },
      { round: 2, value: 30 },
    ];
    expect(ratiosByRound(mine, theirs)).toEqual([2, 3]);
  });

  test("stay steady when the machine is slower for both in some rounds", () => {
    const ratio = ratioTo(readings(20, 40, 60), readings(10, 20, 30));
    expect(ratio).toEqual({ median: 2, spread: 0, rounds: 3 });
  });

  test("differ from the ratio of medians where rounds differ", () => {
    expect(ratioTo(readings(1, 6, 10), readings(1, 3, 2))?.median).toBe(2);
  });

  test("are undefined without a common round, and leave out what cannot be divided", () => {
    expect(ratioTo(readings(), readings(1))).toBeUndefined();
    expect(ratiosByRound(readings(4, Number.NaN, 6), readings(0, 2, 3))).toEqual([2]);
  });
});

describe("noisy rows", () => {
  test("are those whose ratio to the baseline spreads beyond the bound", () => {
    const rows = new Map([
      ["nginx", readings(10, 10, 10, 10, 10)],
      ["steady", readings(20, 20, 21, 20, 20)],
      ["jumpy", readings(20, 30, 40, 50, 60)],
    ]);
    expect(noisyRows(rows, "nginx", 0.15)).toEqual(["jumpy"]);
  });

  test("a disturbance that hit both in the same rounds makes only the baseline noisy", () => {
    const rows = new Map([
      ["nginx", readings(10, 20, 30, 40, 50)],
      ["other", readings(20, 40, 60, 80, 100)],
    ]);
    expect(noisyRows(rows, "nginx", 0.15)).toEqual(["nginx"]);
  });

  test("are told by their own values where there is no baseline", () => {
    const rows = new Map([["alone", readings(1, 2, 3)]]);
    expect(noisyRows(rows, undefined, 0.15)).toEqual(["alone"]);
  });
});

test("every item comes first once in as many rounds as there are items", () => {
  const items = ["a", "b", "c"];
  expect([0, 1, 2, 3].map((round) => rotated(items, round)[0])).toEqual(["a", "b", "c", "a"]);
  expect(rotated(items, 4)).toEqual(["b", "c", "a"]);
  expect(rotated([], 2)).toEqual([]);
});
