import { describe, expect, test } from "vitest";
import type { BackendInput } from "../../src/config/input.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { good } from "./malformed.ts";

const backend = (web: BackendInput) => resolveConfig({ ...good, backends: { web } }).backends.get("web")!;

describe("retry and hedge", () => {
  test("have defaults for what is left out", () => {
    expect(backend({ retry: { statuses: [503] }, hedge: { afterMs: 200 } })).toMatchObject({
      retry: { statuses: [503], maxRetries: 1, budget: 0.2, floor: 10 },
      hedge: { afterMs: 200, budget: 0.05 },
    });
  });

  test.each<[string, BackendInput, string]>([
    ["a status that is no error", { retry: { statuses: [200] } }, "from 400 to 599"],
    ["a share beyond the whole", { hedge: { afterMs: 1, budget: 1.5 } }, "from 0 to 1"],
    ["hedging at once", { hedge: { afterMs: 0 } }, "from 1 to 60000"],
  ])("refuse %s", (_what, web, message) => {
    expect(() => backend(web)).toThrow(message);
  });
});

test("explain is off unless it is asked for", () => {
  expect(resolveConfig(good).explain).toBeUndefined();
  expect(resolveConfig({ ...good, explain: {} }).explain).toEqual({ last: 1000, accessLog: false });
  expect(() => resolveConfig({ ...good, explain: { last: -1 } })).toThrow("explain.last");
});
