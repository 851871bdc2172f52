/** The checks of a storm see what they are there for. */
import { describe, expect, test } from "vitest";
import { fallen, orders } from "./check.ts";
import type { World } from "./world.ts";

const HOST = "fixed.example.test";
const iso = (second: number): string => new Date(second * 1000).toISOString();

interface Story {
  /** Second and generation, and whether it was made by an order of its own, for each run of one edge. */
  readonly served: readonly (readonly (readonly [second: number, generation: number, made?: boolean])[])[];
  readonly ordered?: readonly number[];
  readonly hurt?: readonly number[];
}

function world({ served, ordered = [], hurt = [] }: Story): World {
  const lives = served.map((run) => {
    const lines = run.map(([second, generation, made = false]) => ({
      event: made ? "certificate.renewed" : "certificate.loaded",
      host: HOST,
      generation,
      time: iso(second),
    }));
    return {
      edge: { logs: (event?: string) => lines.filter((line) => event === undefined || line.event === event) },
    };
  });
  const payload = { identifiers: [{ type: "dns", value: HOST }] };
  return {
    seats: [{ lives }],
    ca: { orders: () => ordered.map((second) => ({ payload, at: second * 1000 })) },
    hurts: hurt.map((second) => ({ at: second * 1000, what: "kill edge" })),
  } as unknown as World;
}

describe("an older certificate is seen", () => {
  test("in one run, and over a restart", () => {
    expect(
      fallen(
        world({
          served: [
            [
              [1, 1],
              [2, 2],
            ],
            [[3, 2]],
          ],
        }),
      ),
    ).toEqual([]);
    expect(
      fallen(
        world({
          served: [
            [
              [1, 2],
              [2, 1],
            ],
          ],
        }),
      ).length,
    ).toBe(1);
    expect(fallen(world({ served: [[[1, 2]], [[3, 1]]] })).length).toBe(1);
  });
});

describe("an order that is one too many is seen", () => {
  const served = [[[20, 1] as const, [60, 2] as const]];
  test("where nothing happened that would have cost the one before", () => {
    expect(orders(world({ served, ordered: [10, 15, 50] }))).toMatchObject({ made: 3, extra: 1 });
    expect(orders(world({ served, ordered: [10, 15, 50] })).unexplained.length).toBe(1);
    expect(orders(world({ served, ordered: [10, 15, 50], hurt: [100] })).unexplained.length).toBe(1);
  });
  test("and not where it was lost, or each brought a certificate", () => {
    expect(orders(world({ served, ordered: [10, 15, 50], hurt: [12] }))).toEqual({
      ...{ made: 3, extra: 1, unexplained: [] },
    });
    expect(orders(world({ served, ordered: [10, 50] }))).toEqual({ made: 2, extra: 0, unexplained: [] });
  });
  test("and not where an edge could not store its own, and another one made the same number", () => {
    const both = [[[10, 1] as const], [[20, 2, true] as const], [[40, 2, true] as const, [60, 3] as const]];
    expect(orders(world({ served: both, ordered: [15, 35, 55] })).unexplained).toEqual([]);
    const loaded = [[[10, 1] as const], [[20, 2, true] as const], [[40, 2] as const, [60, 3] as const]];
    expect(orders(world({ served: loaded, ordered: [15, 35, 55] })).unexplained.length).toBe(1);
  });
  test("where one blow would have to explain two", () => {
    expect(orders(world({ served, ordered: [10, 12, 14], hurt: [11] })).unexplained.length).toBe(1);
  });
});
