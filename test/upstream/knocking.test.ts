import { beforeEach, expect, test } from "vitest";
import { startKnocking } from "../../src/upstream/knocking.ts";
import { createPool, type Pool } from "../../src/upstream/pool.ts";
import type { Server } from "../../src/upstream/server.ts";
import { type ManualClock, manualClock } from "../support/manual-clock.ts";
import { noTransport, seeded } from "./support.ts";

let clock: ManualClock;
let pool: Pool;
let a: Server;
/** Whether `a` takes connections; undefined where it has no address. */
let open: boolean | Promise<boolean> | "throws" | undefined;
let knocks: number[];
let knocking: { stop(): void };

beforeEach(() => {
  clock = manualClock();
  pool = createPool("web", { clock, random: seeded(1) });
  a = pool.add({ id: "a", transport: noTransport });
  pool.add({ id: "b", transport: noTransport });
  [open, knocks] = [false, []];
  knocking = startKnocking({
    pool,
    clock,
    random: () => 0.5,
    knock(server) {
      expect(server).toBe(a);
      if (open === undefined) return undefined;
      knocks.push(clock.now());
      return open === "throws" ? Promise.reject(new Error("no")) : Promise.resolve(open);
    },
  });
});

function lease(): string {
  const taken = pool.lease()!;
  taken.settle("abandoned");
  return taken.server.id;
}
function eject(outcome: "unreachable" | "broken" = "unreachable"): void {
  const others = pool.members().filter((member) => member !== a);
  for (let i = 0; i < 3; i++) pool.lease(others)!.settle(outcome);
  expect(a.state).toBe("ejected");
}

test("a server that is gone gets no request, however long, and the next one once it takes connections", async () => {
  eject();
  for (let i = 0; i < 600; i++) {
    await clock.advance(100);
    expect(lease()).toBe("b");
  }
  open = true;
  await clock.advance(1000);
  expect(pool.lease()!.server).toBe(a);
});

test("one that broke its requests and is gone by now is the same", async () => {
  eject("broken");
  await clock.advance(60_000);
  expect(lease()).toBe("b");
  open = true;
  await clock.advance(1000);
  expect(lease()).toBe("a");
});

test("knocks come at once, four times a second, and after a while once", async () => {
  eject();
  await clock.advance(1000);
  expect(knocks).toEqual([0, 250, 500, 750, 1000]);
  await clock.advance(60_000);
  const distances = knocks.map((at, i) => at - (knocks[i - 1] ?? 0));
  expect(distances.slice(-20)).toEqual(Array(20).fill(1000));
  expect(distances).toEqual(distances.toSorted((a, b) => a - b));
});

test("one that is restarted within a quarter of a second is back then, however often it was gone before", async () => {
  for (let times = 0; times < 5; times++) {
    open = false;
    eject("broken");
    await clock.advance(1);
    open = true;
    await clock.advance(249);
    const probe = pool.lease()!;
    expect(probe.server).toBe(a);
    probe.settle("ok");
    expect(a.state).toBe("available");
  }
});

test("a server that takes connections all along is probed at its own pace, and seldom knocked at", async () => {
  open = true;
  eject("broken");
  await clock.advance(999);
  expect(lease()).toBe("b");
  await clock.advance(1);
  expect(lease()).toBe("a");
  knocks.length = 0;
  await clock.advance(60_000);
  expect(knocks.length).toBeLessThan(7);
});

test("a knock that throws found nobody", async () => {
  open = "throws";
  eject();
  await clock.advance(5000);
  expect(lease()).toBe("b");
  expect(knocks).toHaveLength(21);
});

test("a knock that is answered after the server was back and ejected again does not start another round", async () => {
  let answer = (_opened: boolean): void => {};
  open = new Promise<boolean>((resolve) => {
    answer = resolve;
  });
  eject();
  await clock.advance(0);
  pool.mark("a", true);
  open = false;
  eject();
  answer(false);
  await clock.advance(1000);
  expect(knocks).toEqual([0, 0, 250, 500, 750, 1000]);
});

test("one without an address is probed by requests", async () => {
  open = undefined;
  eject();
  await clock.advance(1000);
  expect(lease()).toBe("a");
});

test("nobody knocks at a server that is back, has left, or after the end", async () => {
  eject();
  pool.mark("a", true);
  await clock.advance(10_000);
  expect(knocks).toEqual([]);
  eject();
  pool.remove("a");
  await clock.advance(10_000);
  expect(knocks).toEqual([]);
  a = pool.add({ id: "a", transport: noTransport });
  eject();
  knocking.stop();
  await clock.advance(10_000);
  expect(knocks).toEqual([]);
  expect(lease()).toBe("a");
});
