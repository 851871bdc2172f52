import { expect, test } from "vitest";
import { createPool, DEFAULT_BALANCING, type Pool } from "../../src/upstream/pool.ts";
import { manualClock, noTransport, seeded } from "./support.ts";

function poolOf(panicThreshold: number): Pool {
  const balancing = { ...DEFAULT_BALANCING, panicThreshold };
  const pool = createPool("web", { clock: manualClock(), random: seeded(1), balancing });
  pool.update(["a", "b", "c", "d"].map((id) => ({ id, transport: () => noTransport })));
  return pool;
}
function used(pool: Pool): string[] {
  const seen = new Set<string>();
  for (let i = 0; i < 200; i++) {
    const lease = pool.lease()!;
    seen.add(lease.server.id);
    lease.settle("abandoned");
  }
  return [...seen].sort();
}

test("without a threshold the healthy ones serve, down to the last, and all when there is none", () => {
  const pool = poolOf(0);
  for (const id of ["a", "b", "c"]) pool.mark(id, false);
  expect(used(pool)).toEqual(["d"]);
  pool.mark("d", false);
  expect(used(pool)).toEqual(["a", "b", "c", "d"]);
});

test("below the threshold all serve, and from it on the healthy ones again", () => {
  const pool = poolOf(0.5);
  pool.mark("a", false);
  pool.mark("b", false);
  expect(used(pool)).toEqual(["c", "d"]);
  pool.mark("c", false);
  expect(used(pool)).toEqual(["a", "b", "c", "d"]);
  pool.mark("c", true);
  expect(used(pool)).toEqual(["c", "d"]);
});

test("a server that refuses connections gets nothing in a panic either", () => {
  const pool = poolOf(0.9);
  const a = pool.members()[0]!;
  const others = pool.members().slice(1);
  for (let i = 0; i < 3; i++) pool.lease(others)!.settle("unreachable");
  expect(a.state).toBe("ejected");
  pool.mark("b", false);
  expect(used(pool)).toEqual(["b", "c", "d"]);
});
