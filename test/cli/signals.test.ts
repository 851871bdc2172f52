import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import { listenForStop } from "../../src/cli/signals.ts";
import { manualClock } from "../support/manual-clock.ts";

function listening() {
  const clock = manualClock();
  const source = new EventEmitter();
  const told: string[] = [];
  const release = listenForStop({
    clock,
    source,
    onStop: (signal) => told.push(`stop ${signal}`),
    onInsist: (signal) => told.push(`insist ${signal}`),
  });
  return { clock, told, release, source, signal: (name: string) => source.emit(name, name) };
}

test("one stop that comes as two signals, as from GNU timeout, is one", async () => {
  const { clock, told, signal } = listening();
  signal("SIGTERM");
  signal("SIGTERM");
  await clock.advance(99);
  signal("SIGTERM");
  expect(told).toEqual(["stop SIGTERM"]);
});

test("the same signal a moment later insists", async () => {
  const { clock, told, signal } = listening();
  signal("SIGINT");
  await clock.advance(100);
  signal("SIGINT");
  expect(told).toEqual(["stop SIGINT", "insist SIGINT"]);
});

test("another signal insists at once", () => {
  const { told, signal } = listening();
  signal("SIGINT");
  signal("SIGTERM");
  expect(told).toEqual(["stop SIGINT", "insist SIGTERM"]);
});

test("after its release nothing is heard", () => {
  const { release, source } = listening();
  release();
  expect(source.eventNames()).toEqual([]);
});
