import { expect, test } from "vitest";
import { simulate } from "./simulation.ts";

test.each([2, 20, 200])(
  "with latency weighed in, %i ms servers at λ = 0.9 stay within 10 %% of pure two choices",
  (serviceMs) => {
    const { meanMs } = simulate({
      serviceMs: Array(200).fill(serviceMs),
      load: 0.9,
      durationMs: 400 * serviceMs,
    });
    expect(meanMs / serviceMs).toBeLessThan(2.61 * 1.1);
  },
);

test("one server of four that takes ten times as long gets under 3 % of the requests", () => {
  // By in flight alone, and drawn distinct, it would get about 5 %; with replacement nearly 9 %.
  const { shares } = simulate({ serviceMs: [200, 20, 20, 20], load: 0.6, durationMs: 60_000 });
  expect(shares[0]).toBeLessThan(0.03);
  expect(shares[0]).toBeGreaterThan(0);
});

test("no server of a quiet, nearly equal pool starves", () => {
  const { shares } = simulate({ serviceMs: [20, 23, 26, 29, 32], load: 0.1, durationMs: 60_000 });
  for (const share of shares) expect(share).toBeGreaterThan(0.1);
});
