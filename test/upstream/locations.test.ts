import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { FORGET_MS } from "../../src/upstream/located.ts";
import { BUSY_FROM, locationShares, OVERPROVISIONING } from "../../src/upstream/locations.ts";
import { createPool, DEFAULT_BALANCING, type Pool } from "../../src/upstream/pool.ts";
import type { Lease, Server } from "../../src/upstream/server.ts";
import type { PickSink } from "../../src/upstream/sink.ts";
import { asking, type ManualClock, manualClock, noTransport, seeded } from "./support.ts";

describe("the share of each location", () => {
  test.each([
    [
      [1, 1],
      [1, 0],
    ],
    // 5 of 7 well is the least that does for everything.
    [
      [5 / 7, 1],
      [1, 0],
    ],
    [
      [0.5, 1],
      [0.7, 0.3],
    ],
    [
      [0.25, 1, 1],
      [0.35, 0.65, 0],
    ],
    [
      [0.25, 0.25, 1],
      [0.35, 0.35, 0.3],
    ],
    [
      [0, 1],
      [0, 1],
    ],
    [
      [1, 0],
      [1, 0],
    ],
    // Too few everywhere: each takes its part.
    [
      [0.1, 0.3],
      [0.25, 0.75],
    ],
    [
      [0, 0],
      [0, 0],
    ],
    [[], []],
  ])("of %j that are well is %j", (well, shares) => {
    const found = locationShares(well);
    expect(found.length).toBe(shares.length);
    for (const [i, share] of shares.entries()) expect(found[i]).toBeCloseTo(share, 9);
  });

  test("adds up to one while anybody is well, and never exceeds what the nearer ones leave", () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }), (well) => {
        const shares = locationShares(well);
        const sum = shares.reduce((all, one) => all + one, 0);
        expect(sum).toBeCloseTo(well.some((one) => one > 0) ? 1 : 0, 6);
        for (const [i, share] of shares.entries()) {
          expect(share).toBeGreaterThanOrEqual(0);
          if (well[i] === 0) expect(share).toBe(0);
        }
        const [first = 0] = well;
        if (first * OVERPROVISIONING >= 1) expect(shares[0]).toBeCloseTo(1, 9);
      }),
    );
  });
});

let clock: ManualClock;
let pool: Pool;
let spilled: string[];
const make = (maxInFlight = Number.POSITIVE_INFINITY, location: string | undefined = "yvr"): Pool =>
  createPool("web", {
    clock,
    random: seeded(3),
    location,
    spilled: (where, why) => spilled.push(`${where} ${why}`),
    balancing: { ...DEFAULT_BALANCING, maxInFlight },
  });
beforeEach(() => {
  clock = manualClock();
  spilled = [];
  pool = make();
});

const add = (id: string, location?: string, weight = 1): Server =>
  pool.add({ id, transport: noTransport, weight, ...(location !== undefined && { location }) });
const { on, serve, fail } = asking(
  () => pool,
  () => clock,
);
/** The share of each location among requests that come one after the other. */
function shares(requests = 2000, tookMs = 0): Record<string, number> {
  const seen: Record<string, number> = {};
  for (let i = 0; i < requests; i++) {
    const lease = pool.lease()!;
    const where = lease.server.location ?? "none";
    seen[where] = (seen[where] ?? 0) + 1 / requests;
    clock.advance(tookMs);
    lease.settle("abandoned");
  }
  return seen;
}
function explained(tried?: readonly Server[]): { server: string; place: string; weighed: string[] } {
  const weighed: string[] = [];
  let place = "";
  const sink: PickSink = {
    weighed: (server) => weighed.push(server),
    placed(where, why) {
      place = `${where}, ${why}`;
    },
  };
  const lease = pool.lease(tried, false, undefined, sink)!;
  lease.settle("abandoned");
  return { server: lease.server.id, place, weighed };
}

describe("locations", () => {
  test("local servers get everything while they are well, and those without a location are local", () => {
    add("a", "yvr");
    add("b");
    add("far", "fra");
    expect(shares()).toEqual({ yvr: expect.closeTo(0.5, 1), none: expect.closeTo(0.5, 1) });
    expect(spilled).toEqual([]);
  });

  test("a location is the same in capitals", () => {
    add("a", "YVR");
    add("far", "fra");
    expect(shares()).toEqual({ YVR: expect.closeTo(1, 6) });
  });

  test.each([
    [4, 1, 1],
    [4, 2, 0.7],
    [4, 3, 0.35],
    [4, 4, 0],
    [2, 1, 0.7],
    [10, 2, 1],
    [10, 3, 0.98],
  ])("of %i local servers %i are ejected: %f stays local", (all, ill, local) => {
    const servers = Array.from({ length: all }, (_, i) => add(`l${i}`, "yvr"));
    add("f0", "fra");
    add("f1", "fra");
    for (const server of servers.slice(0, ill)) fail(server, 3);
    const seen = shares(4000);
    expect(seen.yvr ?? 0).toBeCloseTo(local, 1);
    expect(seen.fra ?? 0).toBeCloseTo(1 - local, 1);
    expect(new Set(spilled)).toEqual(new Set(local < 1 ? ["fra unhealthy"] : []));
  });

  test("traffic is back when the local server is", () => {
    const here = add("here", "yvr");
    add("far", "fra");
    fail(here, 3);
    expect(here.state).toBe("ejected");
    expect(shares(100)).toEqual({ fra: expect.closeTo(1, 6) });
    clock.advance(1000);
    const probe = pool.lease()!;
    expect(probe.server).toBe(here);
    probe.answered();
    probe.settle("ok");
    expect(shares(100)).toEqual({ yvr: expect.closeTo(1, 6) });
  });

  test("an unhealthy local server spills as an ejected one does", () => {
    add("here", "yvr");
    add("far", "fra");
    pool.mark("here", false);
    expect(shares(100)).toEqual({ fra: expect.closeTo(1, 6) });
    pool.mark("here", true);
    expect(shares(100)).toEqual({ yvr: expect.closeTo(1, 6) });
  });

  test("weights count: a well server of three quarters of the weight is enough", () => {
    add("big", "yvr", 3);
    const small = add("small", "yvr", 1);
    add("far", "fra");
    fail(small, 3);
    expect(shares(500)).toEqual({ yvr: expect.closeTo(1, 6) });
  });

  test("where all are ill everywhere each is tried", () => {
    for (const [id, where] of [
      ["here", "yvr"],
      ["far", "fra"],
    ] as const) {
      add(id, where);
      pool.mark(id, false);
    }
    expect(shares()).toEqual({ yvr: expect.closeTo(0.5, 1), fra: expect.closeTo(0.5, 1) });
  });

  test("full local servers spill, the first request after that stays", () => {
    pool = make(2);
    const here = add("here", "yvr");
    add("far", "fra");
    const open = [pool.lease()!, pool.lease()!];
    expect(open.map(({ server }) => server)).toEqual([here, here]);
    expect(pool.lease()!.server.id).toBe("far");
    expect(spilled).toEqual(["fra full"]);
    open[0]!.settle("ok");
    expect(pool.lease()!.server).toBe(here);
  });

  test("what is full everywhere gives nothing, and a place that frees up is given to who waits", () => {
    pool = make(1);
    add("here", "yvr");
    const far = add("far", "fra");
    const open = [pool.lease()!, pool.lease()!];
    expect(pool.lease()).toBeUndefined();
    let got: Lease | undefined;
    pool.waitForLease((lease) => {
      got = lease;
    });
    open[1]!.settle("ok");
    expect(got?.server).toBe(far);
  });

  test("spills go to the nearest by measured latency", () => {
    const here = add("here", "yvr");
    const near = add("near", "sea");
    const far = add("far", "syd");
    serve(far, 150);
    serve(near, 20);
    fail(here, 3);
    expect(shares(500)).toEqual({ sea: expect.closeTo(1, 6) });
    fail(near, 3);
    expect(shares(500, 1)).toEqual({ syd: expect.closeTo(1, 6) });
  });

  test("a location that nobody has measured lately is tried, and then known", () => {
    const here = add("here", "yvr");
    const near = add("near", "sea");
    const far = add("far", "syd");
    serve(near, 20);
    fail(here, 3);
    // Unknown: the next ones go there, and what they take decides.
    for (let i = 0; i < 3; i++) {
      const lease = pool.lease()!;
      expect(lease.server).toBe(far);
      clock.advance(150);
      lease.answered();
      lease.settle("ok");
    }
    clock.advance(100);
    expect(pool.lease()!.server).toBe(near);
    clock.advance(FORGET_MS);
    serve(near, 20);
    clock.advance(1000);
    expect(pool.lease([here])!.server).toBe(far);
  });

  test("a location that was not measured yet gets a few at a time until it answers", () => {
    const here = add("here", "yvr");
    const near = add("near", "sea");
    const silent = add("silent", "syd");
    serve(near, 20);
    fail(here, 3);
    for (let i = 0; i < 100; i++) pool.lease();
    expect(silent.inFlight).toBe(BUSY_FROM);
    expect(near.inFlight).toBe(100 - BUSY_FROM);
  });

  test("with no server of its own an edge uses the nearest, and says so", () => {
    const near = add("near", "sea");
    const far = add("far", "syd");
    serve(far, 150);
    serve(near, 20);
    clock.advance(1000);
    expect(shares(200)).toEqual({ sea: expect.closeTo(1, 6) });
    expect(explained().place).toBe("sea, spill: no local");
  });

  test("a second attempt stays local while another local server is left, and leaves otherwise", () => {
    const a = add("a", "yvr");
    const b = add("b", "yvr");
    const far = add("far", "fra");
    for (let i = 0; i < 50; i++) expect(pool.lease([a])!.server).toBe(b);
    expect(pool.lease([a, b])!.server).toBe(far);
    expect(explained([a, b]).place).toBe("fra, spill: tried");
    expect(pool.lease([a, b, far])).toBeUndefined();
  });
});

describe("overload", () => {
  const busy = (server: Server, requests: number): Lease[] =>
    Array.from({ length: requests }, () => on(server));

  test("spills where local servers are slower than going there, and busy", () => {
    const here = add("here", "yvr");
    const far = add("far", "fra");
    serve(far, 80);
    serve(here, 400);
    const open = busy(here, BUSY_FROM - 1);
    expect(pool.lease()!.server).toBe(here);
    // Now it has eight.
    const next = explained();
    expect(next.place).toBe("fra, spill: loaded");
    expect(spilled.at(-1)).toBe("fra loaded");
    for (const lease of open) lease.settle("ok");
    expect(pool.lease()!.server).toBe(here);
  });

  test("does not spill for being busy while answers are quick", () => {
    const here = add("here", "yvr");
    const far = add("far", "fra");
    serve(far, 80);
    serve(here, 40);
    busy(here, 200);
    for (let i = 0; i < 20; i++) expect(pool.lease()!.server).toBe(here);
  });

  test("takes a far location to be as far as it was, though its estimate faded", () => {
    const here = add("here", "yvr");
    const far = add("far", "fra");
    serve(far, 80);
    serve(here, 10, 6);
    clock.advance(60_000);
    serve(here, 60);
    busy(here, 20);
    expect(far.latencyMs).toBeLessThan(60);
    expect(pool.lease()!.server).toBe(here);
  });

  test("stops where the other location has become as busy", () => {
    const here = add("here", "yvr");
    const far = add("far", "fra");
    serve(far, 100);
    serve(here, 400);
    busy(here, 11);
    const seen = Array.from({ length: 200 }, () => pool.lease()!.server.location);
    const away = seen.filter((where) => where === "fra").length;
    // Four times as slow: about four of five go there, and no more.
    expect(away / 200).toBeGreaterThan(0.7);
    expect(away / 200).toBeLessThan(0.9);
  });
});

describe("without locations", () => {
  test("picks, draws and leases are those of a pool that knows of none", () => {
    const plain = createPool("web", { clock, random: seeded(3) });
    for (const each of [pool, plain])
      for (const id of ["a", "b", "c", "d"]) each.add({ id, transport: noTransport });
    for (let i = 0; i < 2000; i++) {
      const [one, other] = [pool.lease()!, plain.lease()!];
      expect(one.server.id).toBe(other.server.id);
      clock.advance(i % 7);
      for (const lease of [one, other]) if (i % 3 > 0) lease.settle(i % 5 === 0 ? "broken" : "ok");
    }
  });

  test("an edge that does not know where it is treats all alike", () => {
    pool = createPool("web", { clock, random: seeded(3) });
    add("a", "yvr");
    add("b", "fra");
    expect(shares()).toEqual({ yvr: expect.closeTo(0.5, 1), fra: expect.closeTo(0.5, 1) });
  });

  test("a pool turns to locations when the first far server joins, and back when it leaves", () => {
    add("a", "yvr");
    add("b", "yvr");
    const far = add("far", "fra");
    expect(shares(200)).toEqual({ yvr: expect.closeTo(1, 6) });
    pool.remove(far.id);
    expect(explained().place).toBe("");
    const specs = ["yvr", "fra"].map((location) => ({
      id: location,
      location,
      transport: () => noTransport,
    }));
    pool.update(specs);
    expect(explained().place).toBe("yvr, local");
    // A server that moved is elsewhere at once.
    pool.update(specs.map((spec) => ({ ...spec, location: "yvr" })));
    expect(explained().place).toBe("");
  });
});

test("never fails while any server anywhere has room, whatever happens", () => {
  const random = seeded(11);
  pool = make(3);
  const places = ["yvr", undefined, "fra", "syd"];
  const open: Lease[] = [];
  let picks = 0;
  for (let i = 0; i < 300_000; i++) {
    const what = random();
    const id = `s${Math.floor(random() * 10)}`;
    if (what < 0.45) {
      const room = pool.members().filter(({ state, inFlight }) => state === "available" && inFlight < 3);
      const lease = pool.lease(undefined, random() < 0.7);
      if (lease) {
        open.push(lease);
        picks++;
      } else expect(room.map((server) => server.id)).toEqual([]);
    } else if (what < 0.95) {
      const lease = open.splice(Math.floor(random() * open.length), 1)[0];
      if (lease && random() < 0.7) lease.answered(random() < 0.05 ? 503 : 200);
      lease?.settle(random() < 0.8 ? "ok" : random() < 0.5 ? "unreachable" : "broken");
    } else if (what < 0.965)
      add(id, places[Math.floor(random() * places.length)], 1 + Math.floor(random() * 3));
    else if (what < 0.97) pool.remove(id);
    else if (what < 0.98) pool.mark(id, random() < 0.6);
    else clock.advance(random() * 300);
  }
  for (const lease of open) lease.settle("ok");
  expect(pool.inFlight).toBe(0);
  expect(picks).toBeGreaterThan(100_000);
});
