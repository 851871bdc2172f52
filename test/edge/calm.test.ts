import { beforeEach, describe, expect, test } from "vitest";
import { type Calm, createCalm } from "../../src/edge/calm.ts";
import type { Heap } from "../../src/runtime.ts";
import { type ManualClock, manualClock } from "../support/manual-clock.ts";

const BURST = 1_000;

class Watched implements Heap {
  readonly collections: number;
  collected: number[] = [];
  grows: boolean[] = [];
  received = 0;
  readonly #clock: ManualClock;

  constructor(clock: ManualClock, collections = 1) {
    this.#clock = clock;
    this.collections = collections;
  }

  collect(): void {
    this.collected.push(this.#clock.now());
  }

  mayGrow(may: boolean): void {
    this.grows.push(may);
  }

  chunks(): number {
    return this.received;
  }
}

describe("after a burst of new connections", () => {
  let clock: ManualClock;
  let heap: Watched;
  let start: number;
  let calm: Calm;

  const make = (collections: number): void => {
    heap = new Watched(clock, collections);
    calm = createCalm(clock, heap);
  };
  const burst = (count = BURST): void => {
    for (let at = 0; at < count; at++) calm.opened();
    heap.received += count * 3;
  };

  beforeEach(() => {
    clock = manualClock();
    start = clock.now();
    make(1);
  });

  test("garbage is collected once nothing came for half a second", async () => {
    burst();
    await clock.advance(500);
    expect(heap.collected).toEqual([]);
    await clock.advance(500);
    expect(heap.collected).toEqual([start + 750]);
    await clock.advance(600_000);
    expect(heap.collected).toHaveLength(1);
  });

  test("it is not while requests come, and is after them", async () => {
    burst();
    for (let quarter = 0; quarter < 40; quarter++) {
      heap.received += 5;
      await clock.advance(250);
    }
    expect(heap.collected).toEqual([]);
    await clock.advance(500);
    expect(heap.collected).toEqual([start + 10_500]);
  });

  test("a runtime that needs several collections gets them half a second apart, and none between requests", async () => {
    make(3);
    burst();
    await clock.advance(1_250);
    expect(heap.collected).toEqual([start + 750, start + 1_250]);
    heap.received += 100;
    await clock.advance(250);
    heap.received += 100;
    await clock.advance(250);
    expect(heap.collected).toHaveLength(2);
    await clock.advance(500);
    expect(heap.collected).toEqual([start + 750, start + 1_250, start + 2_250]);
    await clock.advance(600_000);
    expect(heap.collected).toHaveLength(3);
  });

  test("ten seconds pass before the next burst is followed by one", async () => {
    burst();
    await clock.advance(1_000);
    burst();
    await clock.advance(9_500);
    expect(heap.collected).toEqual([start + 750]);
    await clock.advance(1_500);
    expect(heap.collected).toHaveLength(2);
  });

  test("few connections call for none, but count, until they are many", async () => {
    burst(BURST - 1);
    await clock.advance(10_000);
    expect(heap.collected).toEqual([]);
    calm.opened();
    await clock.advance(10_000);
    expect(heap.collected).toHaveLength(1);
  });

  test("connections that come and go call for none, however many they are", async () => {
    for (let round = 0; round < 20; round++) {
      burst(100);
      for (let at = 0; at < 100; at++) calm.closed();
      await clock.advance(1_000);
    }
    expect(heap.collected).toEqual([]);
  });

  test("those that come in the place of others call for one", async () => {
    burst();
    await clock.advance(1_000);
    for (let at = 0; at < BURST; at++) calm.closed();
    await clock.advance(10_000);
    burst();
    await clock.advance(1_000);
    expect(heap.collected).toHaveLength(2);
  });

  test("no timer is left once all is calm", async () => {
    burst();
    await clock.advance(1_000);
    expect(clock.pending()).toBe(0);
  });

  test("a runtime that needs none has none, and no timer", async () => {
    make(0);
    burst();
    expect(clock.pending()).toBe(0);
    await clock.advance(10_000);
    expect(heap.collected).toEqual([]);
  });
});

test("in a rush of connections the space for new objects stays as it is, and may grow again after it", async () => {
  const clock = manualClock();
  const heap = new Watched(clock);
  const calm = createCalm(clock, heap);
  for (let at = 0; at < 50; at++) calm.opened();
  await clock.advance(250);
  expect(heap.grows).toEqual([false]);
  for (let at = 0; at < 49; at++) calm.opened();
  await clock.advance(250);
  expect(heap.grows).toEqual([false, true]);
  for (let at = 0; at < 50; at++) calm.opened();
  await clock.advance(500);
  expect(heap.grows).toEqual([false, true, false, true]);
});
