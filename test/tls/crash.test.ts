/** kill -9 at every step of an order, then a restart: one certificate, no lost key, no second order where the first can be finished. */
import { afterAll, afterEach, beforeAll, describe, test } from "vitest";
import { ANSWERS, CHANGES, type CrashLab, startCrashLab } from "./crash-lab.ts";

let crashes: CrashLab;
beforeAll(async () => {
  crashes = await startCrashLab();
});
afterEach(() => crashes.lab.front.reset());
afterAll(() => crashes?.close());

describe("an edge that is killed", () => {
  const POINTS = CHANGES.flatMap((what, index) =>
    (["before", "after"] as const).map((when) => [when, what, index + 1] as const),
  );
  test.each(POINTS)("%s the change of its %s (%i) finishes what it began", (when, _, at) =>
    crashes.atChange("node", when, at),
  );

  test.each(ANSWERS)("before it hears the answer to %s makes %i order(s)", (step, orders) =>
    crashes.atAnswer("node", step, orders),
  );
});
