import { describe, expect, test } from "vitest";
import { EdgeError, type Retry } from "../../src/errors.ts";
import { createRetryBudget, isIdempotent, retryKind } from "../../src/upstream/retry.ts";
import { manualClock } from "./support.ts";

const error = (retry: Retry): EdgeError => new EdgeError("UPSTREAM_RESET", "x", { retry });
const facts = { method: "GET", replayable: true, attempts: 1, repeats: 0, maxRetries: 1, servers: 3 };

describe("retryKind", () => {
  test("what was not accepted goes on for any method, once per server", () => {
    for (const method of ["GET", "POST", "PATCH"])
      expect(retryKind(error("any"), { ...facts, method })).toBe("free");
    expect(retryKind(error("any"), { ...facts, attempts: 2 })).toBe("free");
    expect(retryKind(error("any"), { ...facts, attempts: 3 })).toBe("no");
  });

  test("what may have been acted on goes on only for idempotent methods, once, from the budget", () => {
    for (const method of ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"])
      expect(retryKind(error("idempotent"), { ...facts, method })).toBe("budget");
    for (const method of ["POST", "PATCH", "CONNECT", "get", "PURGE"]) {
      expect(isIdempotent(method)).toBe(false);
      expect(retryKind(error("idempotent"), { ...facts, method })).toBe("no");
    }
    expect(retryKind(error("idempotent"), { ...facts, attempts: 2, repeats: 1 })).toBe("no");
    expect(retryKind(error("idempotent"), { ...facts, maxRetries: 0 })).toBe("no");
  });

  test("attempts that no server took do not count as repeats", () => {
    expect(retryKind(error("idempotent"), { ...facts, attempts: 2 })).toBe("budget");
  });

  test("a body that is gone, or a failure that forbids it, ends it", () => {
    expect(retryKind(error("any"), { ...facts, replayable: false })).toBe("no");
    expect(retryKind(error("never"), facts)).toBe("no");
  });
});

describe("the retry budget", () => {
  test("has a floor of ten in a window", () => {
    const clock = manualClock();
    const budget = createRetryBudget(clock);
    for (let i = 0; i < 10; i++) expect(budget.take()).toBe(true);
    expect(budget.take()).toBe(false);
    clock.advance(10_000);
    expect(budget.take()).toBe(true);
  });

  test("is a fifth of the requests", () => {
    const budget = createRetryBudget(manualClock());
    for (let i = 0; i < 100; i++) budget.request();
    let taken = 0;
    while (budget.take()) taken++;
    expect(taken).toBe(20);
  });

  test("may have another share and floor", () => {
    const budget = createRetryBudget(manualClock());
    expect(budget.take(0.05, 0)).toBe(false);
    for (let i = 0; i < 100; i++) budget.request();
    let taken = 0;
    while (budget.take(0.05, 1)) taken++;
    expect(taken).toBe(5);
  });

  test("forgets requests after the window", () => {
    const clock = manualClock();
    const budget = createRetryBudget(clock);
    for (let i = 0; i < 1000; i++) budget.request();
    clock.advance(10_000);
    let taken = 0;
    while (budget.take()) taken++;
    expect(taken).toBe(10);
  });
});
