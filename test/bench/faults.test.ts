import { expect, test } from "vitest";
import { faultTable, parseRequests, type Seen, summarise } from "../../bench/fault-report.ts";

const AT = 1_795_446_674_470;
const line = (afterMs: number, status: number, ms: number): string =>
  `${(AT + afterMs) * 1000}\t${status}\t${ms * 1000}\n`;

test("h2load's log is read line by line, but for one that was cut off", () => {
  expect(parseRequests(`${line(5, 200, 10)}${line(6, -1, 1.5)}17954466744`)).toEqual([
    { at: AT + 5, status: 200, ms: 10 },
    { at: AT + 6, status: -1, ms: 1.5 },
  ]);
});

test("requests count to the fault that were under way when it came, and to the calm after the warm-up", () => {
  const log = [
    line(0, 500, 900), // while it warmed up
    line(1000, 200, 12),
    line(1990, 200, 1500), // under way
    line(2100, 200, 10),
    line(2200, 503, 1),
    line(2300, -1, 20),
  ].join("");
  const seen = summarise(parseRequests(log), { warmAt: AT + 900, faultAt: AT + 2000 });
  expect(seen).toMatchObject({ requests: 4, failed: 2, longestMs: 1500, calmP999Ms: 12 });
  expect(seen.slowest[0]).toEqual({ afterMs: -10, ms: 1500, status: 200 });
});

test("one slow request of thousands is the longest, and no percentile", () => {
  const log = Array.from({ length: 20_000 }, (_, i) => line(i, 200, i === 5000 ? 1500 : 10)).join("");
  const { p999Ms, longestMs } = summarise(parseRequests(log), { warmAt: AT, faultAt: AT });
  expect([p999Ms, longestMs]).toEqual([10, 1500]);
});

test("a row says what disturbed it", () => {
  const seen: Seen = {
    ...summarise(parseRequests(line(1, 200, 10)), { warmAt: AT, faultAt: AT }),
    ...{ target: "node", label: "Skerry", shareMs: undefined, foreignPercent: 30, loadPercent: 95 },
  };
  const table = faultTable([seen], true);
  expect(table).toContain("| never | 30 % of the core used by others; load's cores 95 % busy |");
});
