/** A pool under a steady stream of requests, one of whose servers stands still for a while: in simulated time. */
import { expect, test } from "vitest";
import type { Random } from "../../src/clock.ts";
import { createPool, type Pool, type PoolEvent } from "../../src/upstream/pool.ts";
import type { Lease } from "../../src/upstream/server.ts";
import { type ManualClock, manualClock, noTransport, seeded } from "./support.ts";

const SERVERS = ["a", "b", "c", "d"];
const EVERY_MS = 1;
const HEDGE_MS = 100;

interface World {
  readonly clock: ManualClock;
  readonly pool: Pool;
  readonly random: Random;
  readonly events: PoolEvent[];
  /** How long each request took. */
  readonly took: number[];
  /** What a server takes for a request that reaches it now; Infinity where it never answers. */
  serviceMs(id: string): number;
}

function world(seed: number, serviceMs: (id: string, now: number, random: Random) => number): World {
  const clock = manualClock();
  const random = seeded(seed);
  const pool = createPool("web", { clock, random });
  const events: PoolEvent[] = [];
  pool.watch((event) => events.push(event));
  for (const id of SERVERS) pool.add({ id, transport: noTransport });
  return { clock, pool, random, events, took: [], serviceMs: (id) => serviceMs(id, clock.now(), random) };
}

/** One attempt; `over` is called when its answer is here. */
function attempt({ clock, serviceMs }: World, lease: Lease, over: () => void): void {
  const ms = serviceMs(lease.server.id);
  if (ms < Number.POSITIVE_INFINITY) clock.after(ms, over);
}

/** One request, hedged as the proxy does it, or not at all. */
function ask(of: World, hedged: boolean): void {
  const { clock, pool, took } = of;
  const began = clock.now();
  const first = pool.lease()!;
  let second: Lease | undefined;
  const finish = (winner: Lease, loser: Lease | undefined, outcome: "overtaken" | "abandoned"): void => {
    loser?.settle(outcome);
    winner.answered();
    winner.settle("ok");
    took.push(clock.now() - began);
    done = true;
  };
  let done = false;
  attempt(of, first, () => done || finish(first, second, "abandoned"));
  if (!hedged) return;
  clock.after(HEDGE_MS, () => {
    if (done) return;
    const other = pool.lease([first.server])!;
    second = other;
    attempt(of, other, () => done || finish(other, first, "overtaken"));
  });
}

function run(of: World, ms: number, hedged: boolean): void {
  for (let at = 0; at < ms; at += EVERY_MS) {
    ask(of, hedged);
    of.clock.advance(EVERY_MS);
  }
}

test("with hedging it costs little more than the requests that were under way there, and is back in share in 1.3 s", () => {
  const of = world(1, (id, now) => (id === "d" && now >= 2000 && now < 5000 ? Number.POSITIVE_INFINITY : 10));
  run(of, 5000, true);
  expect(of.took.filter((ms) => ms > 2 * HEDGE_MS)).toEqual([]);
  expect(of.took.filter((ms) => ms > 20).length).toBeLessThan(15);
  const [, , , ill] = of.pool.members();
  expect(ill!.state).toBe("ejected");
  run(of, 1300, true);
  const before = ill!.leases;
  run(of, 1000, true);
  expect(ill!.leases - before).toBeGreaterThan(200);
});

test("a pause of a fifth of a second takes it out for hardly longer", () => {
  const of = world(2, (id, now) => (id === "d" && now >= 2000 && now < 2200 ? 2200 - now : 10));
  run(of, 2600, true);
  const ill = of.pool.members()[3]!;
  const before = ill.leases;
  run(of, 1000, true);
  expect(ill.leases - before).toBeGreaterThan(200);
});

test("servers that are slow with one request in thirty are never taken for standing still", () => {
  const of = world(3, (_id, _now, random) => (random() < 1 / 30 ? 300 : 10));
  run(of, 20_000, true);
  expect(of.events.filter(({ kind }) => kind === "ejected")).toEqual([]);
});

test("without hedging it holds hardly more requests than each of the others", () => {
  const of = world(4, (id, now) => (id === "d" && now >= 2000 ? Number.POSITIVE_INFINITY : 10));
  run(of, 10_000, false);
  expect(of.pool.members()[3]!.inFlight).toBeLessThan(8);
});
