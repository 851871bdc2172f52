import { Histogram, Registry } from "prom-client";
import { expect, test } from "vitest";
import { createMetrics } from "../src/metrics.ts";

test("a histogram reads as prom-client's own does", async () => {
  const buckets = [0.01, 0.1, 1];
  const metrics = createMetrics();
  const registers = [new Registry()];
  const theirs = new Histogram({
    name: "skerry_x_seconds",
    help: "X.",
    labelNames: ["host"],
    buckets,
    registers,
  });
  const ours = metrics.histogram("skerry_x_seconds", "X.", ["host"], buckets);
  for (const host of ["a.example", 'b"\\.example'])
    for (const value of [0, 0.01, 0.011, 0.5, 1, 1.5, 100]) {
      ours.labels(host).observe(value);
      theirs.labels(host).observe(value);
    }
  expect(await metrics.expose()).toBe(await registers[0]?.metrics());
});

test("asking twice for a name gives the same metric, and the same series", async () => {
  const metrics = createMetrics();
  const first = metrics.histogram("skerry_y_seconds", "Y.", [], [1]);
  expect(metrics.histogram("skerry_y_seconds", "Y.", [], [1])).toBe(first);
  expect(first.labels()).toBe(first.labels());
  expect(metrics.counter("skerry_z_total", "Z.")).toBe(metrics.counter("skerry_z_total", "Z."));
});

test("a counter may gather its numbers when it is looked at", async () => {
  const metrics = createMetrics();
  let waiting = 3;
  metrics.counter("skerry_z_total", "Z.", ["kind"], (counter) => {
    counter.labels("a").inc(waiting);
    waiting = 0;
  });
  expect(await metrics.expose()).toContain('skerry_z_total{kind="a"} 3');
  waiting = 2;
  expect(await metrics.expose()).toContain('skerry_z_total{kind="a"} 5');
  expect(await metrics.expose()).toContain('skerry_z_total{kind="a"} 5');
});
