/**
 * Everything that a fleet stands on is killed, stopped and cut off while visitors come. `npm run chaos -- --seed S --minutes M`
 * runs the same for longer, or again as it was.
 */
import { describe, expect, test } from "vitest";
import { type Step, steps, TRACKS, type Track } from "./plan.ts";
import { storm } from "./storm.ts";

const seed = Number(process.env.CHAOS_SEED ?? "1");
const ms = Number(process.env.CHAOS_MINUTES ?? "0.6") * 60_000;

describe("a plan", () => {
  const sizes = { edges: 3, agents: 2, nats: 3, hosts: 4 };
  const first = (of: number, track: Track): Step[] => {
    const plan = steps(of, track, sizes);
    return Array.from({ length: 10 }, () => plan.next().value);
  };
  test("is the same for the same seed, and another for another", () => {
    for (const track of TRACKS) {
      expect(first(7, track)).toEqual(first(7, track));
      expect(first(7, track)).not.toEqual(first(8, track));
    }
  });
  test("has every kind before any comes again", () => {
    const kinds = (track: Track, count: number): Set<string> =>
      new Set(
        first(7, track)
          .slice(0, count)
          .map(({ blow }) => blow.kind),
      );
    expect(kinds("edges and agents", 4).size).toBe(4);
    expect(kinds("storage and CA", 6).size).toBe(6);
  });
});

test(
  "a fleet in a storm fails no visitor, keeps its certificates and makes no order twice",
  async () => {
    const { broken, timeline, summary } = await storm({
      seed,
      ms,
      echo: process.env.CHAOS_MINUTES !== undefined,
    });
    if (broken.length > 0) console.error(`seed ${seed}\n${timeline.join("\n")}\n${broken.join("\n")}`);
    else console.log(summary);
    expect(broken).toEqual([]);
  },
  ms + 300_000,
);
