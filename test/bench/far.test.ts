import { expect, test } from "vitest";
import { type FarRow, farTable, isWhole, type Pair, ratios, type Transfer } from "../../bench/far-report.ts";

const transfer = (seconds: number, errors = 0): Transfer => ({
  seconds,
  cpuUsPerMib: 1500,
  proxyPercent: 30,
  relayPercent: 20,
  loadPercent: 60,
  errors,
});
const pair = (h1: number, h2: number, errors = 0): Pair => ({ h1: transfer(h1), h2: transfer(h2, errors) });
const row = (...pairs: Pair[]): FarRow => ({
  target: "node",
  label: "Skerry",
  direction: "up",
  mib: 100,
  pairs,
});

test("the ratio of a pair is that of its speeds, and a row's is the median of its pairs' ratios", () => {
  const seen = row(pair(0.4, 0.5), pair(0.8, 1.6), pair(0.3, 0.3));
  expect(ratios(seen)).toEqual([0.8, 0.5, 1]);
  expect(farTable([seen])).toContain(
    "| Skerry | 0.40 | 0.50 | 250 | 200 | 1500 | 1500 | 0.80 | 0.80 0.50 1.00 | 30, 20, 60 | 30, 20, 60 |",
  );
});

test("a transfer that failed makes its row not whole, and is told", () => {
  const seen = row(pair(0.4, 0.5), pair(0.4, 0.5, 1));
  expect(isWhole(seen)).toBe(false);
  expect(farTable([seen])).toContain("Skerry (**errors**)");
});

test("a row without pairs has no numbers", () => {
  expect(farTable([row()]).split("\n")[2]).toMatch(/^\| Skerry( \| –)+ \|$/);
});
