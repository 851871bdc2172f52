import { expect, test } from "vitest";
import { oncePerTurn } from "../src/clock.ts";

test("time read once in a turn stands still until the turn is over, and then goes on", async () => {
  let time = 5;
  let reads = 0;
  const now = oncePerTurn(() => {
    reads++;
    return time;
  });
  expect(now()).toBe(5);
  time = 7;
  expect(now()).toBe(5);
  expect(reads).toBe(1);
  await Promise.resolve();
  expect(now()).toBe(7);
  expect(now()).toBe(7);
  expect(reads).toBe(2);
  await new Promise((resolve) => setImmediate(resolve));
  time = 9;
  expect(now()).toBe(9);
});
