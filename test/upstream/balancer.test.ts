import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { candidates, pickTwo } from "../../src/upstream/balancer.ts";
import { seeded } from "./support.ts";

const first = (): boolean => false;

describe("pickTwo", () => {
  test("of none is undefined and of one is that one", () => {
    expect(
      pickTwo(
        candidates<number>([], () => 1),
        first,
        seeded(1),
      ),
    ).toBeUndefined();
    expect(
      pickTwo(
        candidates(["a"], () => 1),
        first,
        seeded(1),
      ),
    ).toBe("a");
  });

  test("of two compares both, always", () => {
    const random = seeded(2);
    const pair = candidates([1, 2], () => 1);
    for (let i = 0; i < 1000; i++) expect(pickTwo(pair, (second, one) => second < one, random)).toBe(1);
  });

  test("compares two distinct items, whatever the weights and the draws", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: 1e-6, max: 1e6, noNaN: true }), { minLength: 2, maxLength: 20 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (weights, one, two) => {
          const draws = [one, two];
          let seen: [number, number] | undefined;
          const picked = pickTwo(
            candidates(
              weights.map((_, i) => i),
              (i) => weights[i]!,
            ),
            (b, a) => {
              seen = [a, b];
              return false;
            },
            () => draws.shift()!,
          );
          expect(seen![0]).not.toBe(seen![1]);
          expect(picked).toBe(seen![0]);
        },
      ),
      { seed: 7, numRuns: 2000 },
    );
  });

  test("draws equal weights evenly, both times", () => {
    const random = seeded(3);
    const firsts = [0, 0, 0, 0, 0];
    const seconds = [0, 0, 0, 0, 0];
    const five = candidates([0, 1, 2, 3, 4], () => 1);
    expect(five.sums).toBeUndefined();
    for (let i = 0; i < 50_000; i++)
      pickTwo(
        five,
        (b, a) => {
          firsts[a]!++;
          seconds[b]!++;
          return false;
        },
        random,
      );
    for (const count of [...firsts, ...seconds]) expect(Math.abs(count - 10_000)).toBeLessThan(400);
  });

  test("draws the first in proportion to the weights, and the second likewise among the rest", () => {
    const random = seeded(4);
    const weights = [1, 2, 7];
    const pairs = new Map<string, number>();
    const pool = candidates([0, 1, 2], (i) => weights[i]!);
    const runs = 100_000;
    for (let i = 0; i < runs; i++)
      pickTwo(
        pool,
        (b, a) => {
          pairs.set(`${a}${b}`, (pairs.get(`${a}${b}`) ?? 0) + 1);
          return false;
        },
        random,
      );
    for (const a of [0, 1, 2])
      for (const b of [0, 1, 2]) {
        if (a === b) continue;
        const share = (weights[a]! / 10) * (weights[b]! / (10 - weights[a]!));
        expect(Math.abs((pairs.get(`${a}${b}`) ?? 0) / runs - share)).toBeLessThan(0.006);
      }
  });

  test("a thousand queues at λ = 0.9 take a customer 2.61 service times in the mean", () => {
    // The supermarket model: Poisson arrivals, exponential service, first come first served. With one choice it is 10;
    // for two and many queues Σ λ^(2^i − 2) = 2.61.
    const n = 1000;
    const lambda = 0.9;
    const random = seeded(11);
    const exponential = (): number => -Math.log(1 - random());
    const queues = candidates(
      Array.from({ length: n }, () => ({ length: 0 })),
      () => 1,
    );
    // By Little's law the mean time in system is the mean number there over the arrival rate, so it is enough to follow
    // the number in each queue: a birth and death process, uniformised.
    const shorter = (b: { length: number }, a: { length: number }): boolean => b.length < a.length;
    const busy: { length: number }[] = [];
    let inSystem = 0;
    let now = 0;
    let area = 0;
    let since = 0;
    const warmUp = 60;
    const end = 400;
    while (now < end) {
      const rate = lambda * n + busy.length;
      const step = exponential() / rate;
      if (now >= warmUp) area += inSystem * step;
      else since = now + step;
      now += step;
      if (random() * rate < lambda * n) {
        const queue = pickTwo(queues, shorter, random)!;
        if (queue.length++ === 0) busy.push(queue);
        inSystem++;
      } else {
        const at = Math.floor(random() * busy.length);
        const queue = busy[at]!;
        inSystem--;
        if (--queue.length === 0) {
          const last = busy.pop()!;
          if (last !== queue) busy[at] = last;
        }
      }
    }
    const mean = area / (now - since) / (lambda * n);
    expect(mean).toBeGreaterThan(2.61 * 0.95);
    expect(mean).toBeLessThan(2.61 * 1.05);
  });
});
