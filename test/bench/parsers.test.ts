import { describe, expect, test } from "vitest";
import { parseStat } from "../../bench/cpu.ts";
import { parseDuration, parseH2load, parseH2loadLog, parseWrk } from "../../bench/load.ts";
import { parseCoreList } from "../../bench/machine.ts";

const WRK = `Running 1s test @ https://localhost:24443/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   618.65us  322.19us   4.97ms   87.50%
    Req/Sec     3.42k   112.48     3.54k    81.82%
  Latency Distribution
     50%  524.00us
     75%  814.00us
     90%    1.00ms
     99%    1.39ms
  3742 requests in 1.10s, 526.22KB read
`;

describe("wrk's report", () => {
  test("gives requests, time and percentiles, not the share beside the deviation", () => {
    expect(parseWrk(WRK)).toMatchObject({
      requests: 3742,
      seconds: 1.1,
      errors: 0,
      p50Ms: 0.524,
      p99Ms: 1.39,
    });
  });

  test("counts socket errors and refused requests together", () => {
    const text = `${WRK}  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n`;
    expect(parseWrk(text).errors).toBe(15);
  });

  test("without a total is an error", () => {
    expect(() => parseWrk("unable to connect")).toThrow(/no total/);
  });
});

const H2LOAD = `
finished in 105.13ms, 951.17 req/s, 140.26KB/s
requests: 100 total, 100 started, 100 done, 97 succeeded, 3 failed, 1 errored, 0 timeout
status codes: 97 2xx, 0 3xx, 0 4xx, 2 5xx
traffic: 14.75KB (15100) total, 10.55KB (10800) headers (space savings 0.00%), 400B (400) data
`;

describe("h2load's report", () => {
  test("gives requests that succeeded, time, body bytes, and each failure once", () => {
    expect(parseH2load(H2LOAD)).toMatchObject({ requests: 97, seconds: 0.10513, bytes: 400, errors: 3 });
  });

  test("its log gives percentiles in milliseconds", () => {
    expect(parseH2loadLog("1795446674470276\t200\t1000\n1795446674470277\t200\t3000\n")).toEqual({
      p50Ms: 2,
      p99Ms: expect.closeTo(2.98),
    });
    expect(parseH2loadLog("")).toEqual({ p50Ms: undefined, p99Ms: undefined });
  });
});

test("durations are read in every unit, and nothing else is one", () => {
  expect(["250us", "1.5ms", "2s", "1m"].map(parseDuration)).toEqual([0.25, 1.5, 2000, 60_000]);
  expect(parseDuration("87.50%")).toBeUndefined();
  expect(parseDuration(undefined)).toBeUndefined();
});

test("a process's CPU time holds its ended children's, and its name may hold brackets and spaces", () => {
  const line = "42 (a) (b c)) S 7 42 42 0 -1 4194304 1 2 3 4 150 50 25 75 20 0 1 0 100";
  expect(parseStat(line)).toEqual({ parent: 7, cpuSeconds: 3 });
});

test("a list of cores is read with its ranges", () => {
  expect(parseCoreList("0-2,5")).toEqual([0, 1, 2, 5]);
  expect(parseCoreList("3")).toEqual([3]);
});
