import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { mayEject, type Outcome } from "../../src/upstream/ejection.ts";
import { createPool, type Pool } from "../../src/upstream/pool.ts";
import type { Lease, Server } from "../../src/upstream/server.ts";
import { asking, type ManualClock, manualClock, noTransport, seeded } from "./support.ts";

let clock: ManualClock;
let pool: Pool;
beforeEach(() => {
  clock = manualClock();
  pool = createPool("web", { clock, random: seeded(1) });
});

const add = (id: string, weight = 1): Server => pool.add({ id, weight, transport: noTransport });
const { on, serve, fail } = asking(
  () => pool,
  () => clock,
);
function shares(requests: number, ids: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = Object.fromEntries(ids.map((id) => [id, 0]));
  for (let i = 0; i < requests; i++) {
    const lease = pool.lease()!;
    counts[lease.server.id]!++;
    lease.answered();
    lease.settle("ok");
  }
  return counts;
}

describe("leases", () => {
  test("an empty pool has none", () => {
    expect(pool.lease()).toBeUndefined();
  });

  test("count in flight from the pick to the settling, once", () => {
    const a = add("a");
    const lease = pool.lease()!;
    expect(a.inFlight).toBe(1);
    lease.answered();
    expect(a.inFlight).toBe(1);
    lease.settle("ok");
    lease.settle("broken");
    lease.settle("ok");
    expect(a.inFlight).toBe(0);
    expect(pool.inFlight).toBe(0);
  });

  test("go to another server than those tried, and to none when all were", () => {
    const a = add("a");
    const b = add("b");
    for (let i = 0; i < 50; i++) expect(pool.lease([a])!.server).toBe(b);
    expect(pool.lease([a, b])).toBeUndefined();
  });

  test("go to an ejected server when nothing else is left", () => {
    const a = add("a");
    const b = add("b");
    fail(a, 3);
    expect(a.state).toBe("ejected");
    expect(pool.lease([b])!.server).toBe(a);
  });

  test("a removed server is not picked and its leases still settle", () => {
    const a = add("a");
    add("b");
    const lease = on(a);
    expect(pool.remove("a")).toBe(a);
    for (let i = 0; i < 50; i++) expect(pool.lease()!.server.id).toBe("b");
    lease.settle("ok");
    expect(a.inFlight).toBe(0);
  });

  test("in flight returns to zero after a million random events", () => {
    const random = seeded(99);
    const outcomes: Outcome[] = ["ok", "unreachable", "broken", "declined", "abandoned"];
    const open: Lease[] = [];
    const every = new Set<Server>();
    for (let i = 0; i < 1_000_000; i++) {
      const what = random();
      if (what < 0.4) {
        const lease = pool.lease(undefined, random() < 0.7);
        if (lease) open.push(lease);
      } else if (what < 0.98) {
        const at = Math.floor(random() * open.length);
        const lease = open[at];
        if (!lease) continue;
        if (random() < 0.6) lease.answered(random() < 0.1 ? 503 : 200);
        lease.settle(outcomes[Math.floor(random() * outcomes.length)]!);
        if (random() < 0.9) {
          open[at] = open[open.length - 1]!;
          open.pop();
        }
      } else if (what < 0.985) every.add(add(`s${Math.floor(random() * 12)}`));
      else if (what < 0.987) pool.remove(`s${Math.floor(random() * 12)}`);
      else if (what < 0.99) pool.mark(`s${Math.floor(random() * 12)}`, random() < 0.5);
      else clock.advance(random() * 500);
    }
    for (const lease of open) lease.settle("ok");
    expect(pool.inFlight).toBe(0);
    for (const server of every) expect(server.inFlight).toBe(0);
  });
});

describe("balance", () => {
  test("idle equal servers share evenly", () => {
    const counts = shares(30_000, [add("a").id, add("b").id, add("c").id]);
    for (const id of ["a", "b", "c"]) expect(Math.abs(counts[id]! - 10_000)).toBeLessThan(400);
  });

  test("idle servers share by weight", () => {
    add("light", 1);
    add("heavy", 3);
    const counts = shares(40_000, ["light", "heavy"]);
    expect(Math.abs(counts.heavy! - 30_000)).toBeLessThan(600);
  });

  test("a first slow answer does not send everything elsewhere", () => {
    const a = add("a");
    const b = add("b");
    serve(a, 60, 1);
    serve(b, 5, 1);
    serve(a, 1, 2);
    serve(b, 1, 2);
    clock.advance(1100);
    const counts = shares(1000, ["a", "b"]);
    expect(counts.a!).toBeGreaterThan(400);
    expect(counts.b!).toBeGreaterThan(400);
  });

  test("the server with fewer in flight for its weight is picked", () => {
    const a = add("a", 2);
    const b = add("b", 1);
    on(a);
    on(b);
    for (let i = 0; i < 20; i++) {
      const lease = pool.lease()!;
      expect(lease.server).toBe(a);
      lease.settle("ok");
    }
  });

  test("a slow server gets less, and is tried again as its latency fades", () => {
    const slow = add("slow");
    const fast = add("fast");
    serve(slow, 200);
    serve(fast, 10);
    clock.advance(1100);
    expect(shares(100, ["slow", "fast"]).fast).toBe(100);
    clock.advance(120_000);
    expect(shares(200, ["slow", "fast"]).slow!).toBeGreaterThan(0);
  });

  test("what others have in flight on a server counts too", () => {
    add("a");
    add("b");
    pool.report("a", 5);
    for (let i = 0; i < 20; i++) {
      const lease = pool.lease()!;
      expect(lease.server.id).toBe("b");
      lease.settle("ok");
    }
  });

  test("a server that sheds load with quick 503s does not attract more", () => {
    const shedding = add("shedding");
    serve(shedding, 20);
    serve(add("good"), 20);
    clock.advance(1100);
    const lease = on(shedding);
    lease.answered(503);
    lease.settle("ok");
    expect(shares(100, ["shedding", "good"]).good).toBe(100);
  });

  test("a new server neither starves nor floods among measured ones", () => {
    serve(add("a"), 50);
    serve(add("b"), 50);
    clock.advance(1100);
    add("new");
    const counts = { a: 0, b: 0, new: 0 };
    for (let i = 0; i < 3000; i++) {
      const lease = pool.lease()!;
      counts[lease.server.id as keyof typeof counts]++;
      lease.settle("abandoned");
    }
    for (const count of Object.values(counts)) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });
});

describe("ejection", () => {
  test("three failures in a row eject, and the others take all", () => {
    const a = add("a");
    add("b");
    fail(a, 2);
    expect(a.state).toBe("available");
    fail(a, 1);
    expect(a.state).toBe("ejected");
    expect(pool.available).toBe(1);
    expect(shares(50, ["a", "b"]).b).toBe(50);
  });

  test("a good answer in between starts the count again", () => {
    const a = add("a");
    add("b");
    fail(a, 2, "broken");
    serve(a, 1, 1);
    fail(a, 2, "broken");
    expect(a.state).toBe("available");
  });

  test("declined and abandoned requests say nothing", () => {
    const a = add("a");
    add("b");
    fail(a, 10, "declined");
    fail(a, 10, "abandoned");
    expect(a.state).toBe("available");
  });

  describe("of a server that stands still", () => {
    /** Three of its requests are answered by others, a tenth of a second after they were sent. */
    const stall = (server: Server, times = 3): void => {
      const leases = Array.from({ length: times }, () => on(server));
      clock.advance(100);
      for (const lease of leases) lease.settle("overtaken");
    };

    test("comes once others answered three of its requests and it answered none", () => {
      const a = add("a");
      add("b");
      stall(a, 2);
      expect(a.state).toBe("available");
      stall(a, 1);
      expect(a.state).toBe("ejected");
      expect(shares(50, ["a", "b"]).b).toBe(50);
    });

    test("does not come of one that answers in between: it is slow, and picked less", () => {
      const a = add("a");
      add("b");
      for (let i = 0; i < 10; i++) {
        stall(a, 2);
        serve(a, 90, 1);
      }
      expect(a.state).toBe("available");
    });

    test("leaves the last one, and half of all", () => {
      const servers = ["a", "b", "c", "d"].map((id) => add(id));
      for (const server of servers) stall(server, 5);
      expect(pool.available).toBe(2);
    });

    test("is probed a quarter of a second later, then at doubling distances of at most four seconds", () => {
      const a = add("a");
      add("b");
      stall(a);
      for (const wait of [250, 500, 1000, 2000, 4000, 4000]) {
        clock.advance(wait - 1);
        expect(shares(1, ["a", "b"]).b).toBe(1);
        clock.advance(1);
        const probe = pool.lease()!;
        expect(probe.server).toBe(a);
        probe.settle("overtaken");
        expect(a.state).toBe("ejected");
      }
    });

    test("ends with its whole share at once: what was measured while it stood still does not count", () => {
      const a = add("a");
      const b = add("b");
      for (const server of [a, b]) serve(server, 10);
      stall(a);
      clock.advance(250);
      const probe = pool.lease()!;
      expect(probe.server).toBe(a);
      clock.advance(60);
      probe.answered();
      probe.settle("ok");
      expect(a.state).toBe("available");
      const held = Array.from({ length: 100 }, () => pool.lease()!);
      expect(held.filter(({ server }) => server === a)).toHaveLength(50);
    });
  });

  test("who knows more may put the next probe off, and call for it", () => {
    const a = add("a");
    add("b");
    fail(a, 3);
    pool.postpone("a", Number.POSITIVE_INFINITY);
    clock.advance(60_000);
    expect(shares(50, ["a", "b"]).a).toBe(0);
    pool.postpone("a", 0);
    const probe = pool.lease()!;
    expect(probe.server).toBe(a);
    pool.postpone("a", 0);
    expect(pool.lease()!.server.id).toBe("b");
    probe.settle("ok");
    expect(a.state).toBe("available");
    pool.postpone("a", Number.POSITIVE_INFINITY);
    expect(shares(50, ["a", "b"]).a).toBeGreaterThan(10);
  });

  test("an ejected server returns after one good probe", () => {
    const a = add("a");
    add("b");
    fail(a, 3);
    clock.advance(999);
    expect(shares(50, ["a", "b"]).a).toBe(0);
    clock.advance(1);
    const probe = pool.lease()!;
    expect(probe.server).toBe(a);
    expect(a.state).toBe("probing");
    expect(shares(50, ["a", "b"]).a).toBe(0);
    probe.answered();
    expect(a.state).toBe("available");
    probe.settle("ok");
    expect(a.inFlight).toBe(0);
  });

  test("a probe that fails doubles the wait, up to thirty seconds", () => {
    const a = add("a");
    add("b");
    fail(a, 3);
    for (const wait of [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
      clock.advance(wait - 1);
      const early = pool.lease()!;
      expect(early.server.id).toBe("b");
      early.settle("ok");
      clock.advance(1);
      const probe = pool.lease()!;
      expect(probe.server).toBe(a);
      probe.settle("unreachable");
      expect(a.state).toBe("ejected");
    }
  });

  test("a probe that tells nothing leaves the next request to probe", () => {
    const a = add("a");
    add("b");
    fail(a, 3);
    clock.advance(1000);
    pool.lease()!.settle("abandoned");
    expect(pool.lease()!.server).toBe(a);
  });

  test("a request that cannot be repeated does not probe a server that broke others, unless nobody else does", () => {
    const a = add("a");
    const b = add("b");
    fail(a, 3, "broken");
    clock.advance(5999);
    const spared = pool.lease(undefined, false)!;
    expect(spared.server).toBe(b);
    spared.settle("ok");
    clock.advance(1);
    expect(pool.lease(undefined, false)!.server).toBe(a);
  });

  test("a request that cannot be repeated may probe a server that was unreachable", () => {
    const a = add("a");
    add("b");
    fail(a, 3, "unreachable");
    clock.advance(1000);
    expect(pool.lease(undefined, false)!.server).toBe(a);
  });

  test("one that is ejected again soon waits longer for its first probe", () => {
    const a = add("a");
    add("b");
    fail(a, 3);
    clock.advance(1000);
    const probe = pool.lease()!;
    probe.answered();
    probe.settle("ok");
    fail(a, 3);
    clock.advance(1000);
    expect(pool.lease()!.server.id).toBe("b");
    clock.advance(1000);
    expect(pool.lease()!.server).toBe(a);
  });

  test("the last available server stays", () => {
    const a = add("a");
    fail(a, 20);
    expect(a.state).toBe("available");
    const b = add("b");
    fail(b, 3);
    fail(a, 20);
    expect(a.state).toBe("available");
  });

  test("breaking servers may be ejected up to half, refusing ones up to all but one", () => {
    const servers = ["a", "b", "c", "d"].map((id) => add(id));
    for (const server of servers) fail(server, 5, "broken");
    expect(pool.available).toBe(2);
    for (const server of servers) if (server.state === "available") fail(server, 5);
    expect(pool.available).toBe(1);
  });

  test("never empties a pool, whatever happens", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.array(
          fc.record({
            server: fc.nat(7),
            outcome: fc.constantFrom<Outcome>("ok", "unreachable", "broken", "declined", "abandoned"),
            after: fc.nat(3000),
          }),
          { maxLength: 200 },
        ),
        (size, events) => {
          const time = manualClock();
          const tested = createPool("p", { clock: time, random: seeded(size) });
          const members = Array.from({ length: size }, (_, i) =>
            tested.add({ id: `${i}`, transport: noTransport }),
          );
          for (const { server, outcome, after } of events) {
            const target = members[server % size]!;
            tested.lease(members.filter((other) => other !== target))!.settle(outcome);
            time.advance(after);
            expect(tested.available).toBeGreaterThan(0);
          }
        },
      ),
      { seed: 5, numRuns: 300 },
    );
  });

  test("the bound itself: never the last, half for breaking, all but one for refusing", () => {
    expect(mayEject(1, 4, "unreachable")).toBe(false);
    expect(mayEject(2, 4, "unreachable")).toBe(true);
    expect(mayEject(3, 4, "broken")).toBe(true);
    expect(mayEject(2, 4, "broken")).toBe(false);
    expect(mayEject(2, 2, "broken")).toBe(true);
    expect(mayEject(3, 3, "broken")).toBe(true);
    expect(mayEject(2, 3, "broken")).toBe(false);
  });
});

describe("update", () => {
  const spec = (id: string, weight = 1) => ({ id, weight, transport: () => noTransport });

  test("keeps the load and health of members that stay", () => {
    pool.update([spec("a"), spec("b"), spec("c")]);
    const [a] = pool.members();
    fail(a!, 3);
    const lease = pool.lease()!;
    const gone = pool.update([spec("a", 5), spec("b"), spec("d")]);
    expect(gone.map((server) => server.id)).toEqual(["c"]);
    expect(pool.members()[0]).toBe(a);
    expect(a!.state).toBe("ejected");
    expect(a!.weight).toBe(5);
    lease.settle("ok");
    expect(pool.inFlight).toBe(0);
  });

  test("leaves members alone that joined by themselves", () => {
    pool.update([spec("a")]);
    add("wormhole");
    pool.update([]);
    expect(pool.members().map((server) => server.id)).toEqual(["wormhole"]);
  });

  test("makes a transport only for a member that is new", () => {
    let made = 0;
    const counted = {
      id: "a",
      transport: () => {
        made++;
        return noTransport;
      },
    };
    pool.update([counted]);
    pool.update([counted]);
    expect(made).toBe(1);
  });

  test("refuses a weight that is no positive number", () => {
    for (const weight of [0, -1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => add("a", weight)).toThrow(RangeError);
  });
});

describe("marks", () => {
  test("an unhealthy server is not picked until it is marked healthy", () => {
    const events: string[] = [];
    add("a");
    add("b");
    pool.watch((event) => events.push(`${event.kind} ${event.server.id}`));
    pool.mark("a", false);
    expect(shares(50, ["a", "b"]).b).toBe(50);
    pool.mark("a", true);
    expect(shares(50, ["a", "b"]).a!).toBeGreaterThan(0);
    expect(events).toEqual(["unhealthy a", "restored a"]);
  });

  test("when all are unhealthy all are tried", () => {
    add("a");
    add("b");
    pool.mark("a", false);
    pool.mark("b", false);
    const counts = shares(100, ["a", "b"]);
    expect(counts.a! + counts.b!).toBe(100);
    expect(counts.a!).toBeGreaterThan(10);
  });

  test("a good mark ends an ejection", () => {
    const a = add("a");
    add("b");
    fail(a, 3);
    pool.mark("a", true);
    expect(a.state).toBe("available");
  });
});
