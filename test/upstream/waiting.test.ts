import { beforeEach, describe, expect, test } from "vitest";
import type { BalanceConfig } from "../../src/config/balancing.ts";
import type { Outcome } from "../../src/upstream/ejection.ts";
import { createPool, DEFAULT_BALANCING, type Pool } from "../../src/upstream/pool.ts";
import type { Lease, Server } from "../../src/upstream/server.ts";
import { type ManualClock, manualClock, noTransport, seeded } from "./support.ts";

let clock: ManualClock;
let pool: Pool;
const balancing = { ...DEFAULT_BALANCING, maxInFlight: 1, queue: { max: 3, timeoutMs: 1000 } };
beforeEach(() => {
  clock = manualClock();
  pool = createPool("web", { clock, random: seeded(1), balancing });
});

const add = (id: string): Server => pool.add({ id, transport: noTransport });
const told: string[] = [];
beforeEach(() => {
  told.length = 0;
});
const wait = (name: string, tried?: readonly Server[]): (() => void) | undefined =>
  pool.waitForLease((lease) => {
    told.push(`${name}: ${lease ? lease.server.id : "nothing"}`);
  }, tried);

describe("the line before full servers", () => {
  test("is served first come, first served, by each slot that is freed", () => {
    add("a");
    const first = pool.lease()!;
    expect(pool.lease()).toBeUndefined();
    const leases: Lease[] = [];
    for (const name of ["one", "two"])
      pool.waitForLease((lease) => {
        told.push(name);
        leases.push(lease!);
      });
    expect(pool.waiting).toBe(2);
    first.settle("ok");
    expect(told).toEqual(["one"]);
    leases[0]!.settle("ok");
    expect(told).toEqual(["one", "two"]);
    expect(pool.waiting).toBe(0);
  });

  test("is not overtaken", () => {
    const a = add("a");
    const lease = pool.lease()!;
    wait("one");
    pool.configure({ ...balancing, maxInFlight: 1 });
    expect(pool.lease()).toBeUndefined();
    lease.settle("ok");
    expect(told).toEqual(["one: a"]);
    expect(a.inFlight).toBe(1);
    expect(pool.lease()).toBeUndefined();
  });

  test("has an end: who waits too long is told, and who comes when it is full is refused", () => {
    add("a");
    pool.lease();
    wait("one");
    clock.advance(600);
    wait("two");
    wait("three");
    expect(wait("four")).toBeUndefined();
    clock.advance(400);
    expect(told).toEqual(["one: nothing"]);
    expect(wait("five")).toBeDefined();
    clock.advance(600);
    expect(told).toEqual(["one: nothing", "two: nothing", "three: nothing"]);
    clock.advance(400);
    expect(told).toHaveLength(4);
    expect(pool.waiting).toBe(0);
  });

  test("forgets who leaves it", () => {
    add("a");
    const lease = pool.lease()!;
    const leave = wait("one")!;
    wait("two");
    leave();
    leave();
    expect(pool.waiting).toBe(1);
    lease.settle("ok");
    clock.advance(5000);
    expect(told).toEqual(["two: a"]);
  });

  test("is served by a server that joins, comes back, or may take more", () => {
    add("a");
    pool.lease();
    wait("one");
    add("b");
    expect(told).toEqual(["one: b"]);
    wait("two");
    pool.configure({ ...balancing, maxInFlight: 2 });
    expect(told.at(-1)).toMatch(/^two: /);
  });

  test("stays while the last server is replaced, until its deadline; nobody begins to wait before an empty pool", () => {
    add("a");
    pool.lease();
    wait("one");
    wait("two");
    pool.remove("a");
    expect(wait("three")).toBeUndefined();
    expect(told).toEqual([]);
    add("b");
    expect(told).toEqual(["one: b"]);
    pool.remove("b");
    clock.advance(1000);
    expect(told).toEqual(["one: b", "two: nothing"]);
  });

  test("lets others pass one that waits for a server it has not been to", () => {
    const a = add("a");
    const b = add("b");
    const leases = [pool.lease()!, pool.lease()!];
    wait("again", [a]);
    wait("new");
    leases.find(({ server }) => server === a)!.settle("ok");
    expect(told).toEqual(["new: a"]);
    leases.find(({ server }) => server === b)!.settle("ok");
    expect(told).toEqual(["new: a", "again: b"]);
    expect(wait("never", [a, b])).toBeUndefined();
  });

  test("goes on where each that is served fails at once", () => {
    pool = createPool("web", {
      clock,
      random: seeded(1),
      balancing: { ...balancing, queue: { max: 10_000, timeoutMs: 1000 } },
    });
    add("a");
    const lease = pool.lease()!;
    let served = 0;
    for (let i = 0; i < 10_000; i++)
      pool.waitForLease((next) => {
        served++;
        next!.settle("broken");
      });
    lease.settle("ok");
    expect(served).toBe(10_000);
    expect(pool.inFlight).toBe(0);
  });
});

const POLICIES: readonly BalanceConfig[] = [
  "p2c",
  "roundRobin",
  "random",
  "leastRequest",
  { consistentHash: { header: "k" } },
];

test.each(POLICIES)("under %j a million random events leak no slot, no place and no promise", (balance) => {
  const random = seeded(17);
  const chance = (): number => random();
  const cap = 3;
  const tested = createPool("web", {
    clock,
    random: seeded(3),
    balancing: {
      balance,
      slowStartMs: 2000,
      maxInFlight: cap,
      queue: { max: 20, timeoutMs: 700 },
      panicThreshold: 0.5,
    },
  });
  const outcomes: Outcome[] = ["ok", "ok", "ok", "unreachable", "broken", "declined", "abandoned"];
  const open: Lease[] = [];
  const leaves = new Map<number, () => void>();
  /** Who waits and has not been anywhere. */
  const plain = new Set<number>();
  const every = new Set<Server>();
  let asked = 0;
  let answered = 0;
  let left = 0;
  const events = 1_000_000 / POLICIES.length;
  for (let i = 0; i < events; i++) {
    const what = chance();
    if (what < 0.45) {
      const tried = chance() < 0.1 && open.length > 0 ? [open[0]!.server] : undefined;
      const key = chance() < 0.5 ? `k${Math.floor(chance() * 9)}` : undefined;
      const lease = tested.lease(tried, chance() < 0.7, key);
      if (lease) open.push(lease);
      else {
        const id = asked;
        const leave = tested.waitForLease(
          (later) => {
            answered++;
            leaves.delete(id);
            plain.delete(id);
            if (later) open.push(later);
          },
          tried,
          true,
          key,
        );
        if (leave) {
          asked++;
          leaves.set(id, leave);
          if (!tried) plain.add(id);
        }
      }
    } else if (what < 0.5) {
      const first = leaves.entries().next().value;
      if (first) {
        first[1]();
        leaves.delete(first[0]);
        plain.delete(first[0]);
        left++;
      }
    } else if (what < 0.97) {
      const at = Math.floor(chance() * open.length);
      const lease = open[at];
      if (!lease) continue;
      if (chance() < 0.6) lease.answered(chance() < 0.1 ? 503 : 200, chance() * 5000);
      if (chance() < 0.1) lease.upgraded();
      if (chance() < 0.1) continue;
      const last = open.pop()!;
      if (last !== lease) open[at] = last;
      lease.settle(outcomes[Math.floor(chance() * outcomes.length)]!);
      lease.settle("ok");
    } else if (what < 0.975)
      every.add(
        tested.add({ id: `s${Math.floor(chance() * 9)}`, transport: noTransport, weight: 1 + (i % 3) }),
      );
    else if (what < 0.977) tested.remove(`s${Math.floor(chance() * 9)}`);
    else if (what < 0.98) tested.mark(`s${Math.floor(chance() * 9)}`, chance() < 0.6);
    else clock.advance(chance() * 300);
    if (i % 50 !== 0) continue;
    expect(tested.waiting).toBe(leaves.size);
    expect(tested.inFlight).toBe(open.length);
    for (const server of tested.members()) {
      expect(server.inFlight).toBeLessThanOrEqual(cap);
      // Nobody waits who would take any server, while one that is well has room.
      if (server.state === "available" && plain.size > 0) expect(server.inFlight).toBe(cap);
    }
  }
  while (open.length > 0) open.pop()!.settle("ok");
  clock.advance(5000);
  while (open.length > 0) open.pop()!.settle("ok");
  expect(tested.waiting).toBe(0);
  expect(tested.inFlight).toBe(0);
  for (const server of every) expect([server.inFlight, server.streams]).toEqual([0, 0]);
  expect(answered + left).toBe(asked);
});
