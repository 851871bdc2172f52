import { describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { backoff, failureKind } from "../../src/tls/backoff.ts";
import { createLedger } from "../../src/tls/ledger.ts";
import { pollUntil } from "../../src/tls/poll.ts";
import { AcmeProblem, parseProblem, parseRetryAfter, problemFrom } from "../../src/tls/problem.ts";
import { manualClock } from "../support/manual-clock.ts";

const MINUTE = 60_000;
const DAY = 86_400_000;
const middle = (): number => 0.5;
const limited = (retryAfterMs: number | undefined): EdgeError =>
  new EdgeError("ACME_PROBLEM", "limited", {
    source: "ca",
    cause: new AcmeProblem({ type: "rateLimited", status: 429, detail: "", subproblems: [], retryAfterMs }),
  });

describe("the wait after a failure", () => {
  const waits = (kind: "spent" | "free", count: number, lifetimeMs?: number): number[] =>
    Array.from({ length: count }, (_, index) =>
      backoff({ kind, failures: index + 1, thrown: undefined, lifetimeMs, random: middle }),
    );

  test("that the CA counts is 1, 10, 100 minutes, then a day", () => {
    expect(waits("spent", 6).map((ms) => ms / MINUTE)).toEqual([1, 10, 100, 1440, 1440, 1440]);
  });

  test("that costs nothing at the CA is short, and grows to ten minutes", () => {
    expect(waits("free", 5).map((ms) => ms / 1000)).toEqual([5, 15, 30, 60, 60]);
    expect(waits("free", 40).at(-1)).toBe(600_000);
  });

  test("is scaled to a short life, never below a second, and not at all to a long one", () => {
    expect(waits("spent", 3, 60_000)).toEqual([3000, 3000, 3000]);
    expect(waits("free", 2, 5000)).toEqual([1000, 1000]);
    expect(waits("spent", 4, 160 * 60 * MINUTE).at(-1)).toBe(8 * 60 * MINUTE);
    expect(waits("spent", 4, 90 * DAY).at(-1)).toBe(DAY);
  });

  test("keeps below five failed validations an hour and five certificates of one set a week, at any jitter", () => {
    for (const random of [() => 0, middle, () => 0.999]) {
      let at = 0;
      const attempts = [0];
      for (let failures = 1; at < 7 * DAY; failures++) {
        at += backoff({ kind: "spent", failures, thrown: undefined, lifetimeMs: 90 * DAY, random });
        attempts.push(at);
      }
      expect(attempts.filter((each) => each < 60 * MINUTE).length).toBeLessThan(5);
    }
  });

  test("is never shorter than the CA asks, and not longer than a week for a CA gone mad", () => {
    const wait = (retryAfterMs: number, random = middle): number =>
      backoff({ kind: "spent", failures: 1, thrown: limited(retryAfterMs), lifetimeMs: 60_000, random });
    expect(wait(3_600_000, () => 0)).toBe(3_600_000);
    expect(wait(3_600_000, () => 0.999)).toBeLessThan(4_000_000);
    expect(wait(10, middle)).toBe(3000);
    expect(wait(10_000 * DAY)).toBeLessThan(8 * DAY);
  });

  test("is short for storage and for a CA that cannot be reached, long for a refusal and what nobody foresaw", () => {
    expect(failureKind(new EdgeError("STORAGE_UNWRITABLE", "", { source: "storage" }))).toBe("free");
    expect(failureKind(new EdgeError("ACME_UNREACHABLE", "", { source: "ca", retry: "any" }))).toBe("free");
    expect(failureKind(new EdgeError("ACME_UNREACHABLE", "", { source: "ca", retry: "never" }))).toBe(
      "spent",
    );
    expect(failureKind(limited(1))).toBe("spent");
    expect(failureKind(new TypeError("bug"))).toBe("spent");
  });
});

describe("the ledger", () => {
  const entry = {
    issuer: "ca",
    failures: 2,
    reason: "unauthorized",
    message: "no",
    failedAt: 1000,
    nextAttemptAt: 5000,
  };

  test("keeps a failure for its issuer only, until it is cleared", async () => {
    const storage = createMemoryStorage();
    const ledger = createLedger(storage, "ca", () => 2000);
    expect(await ledger.read("a.example.test")).toBeUndefined();
    await ledger.write("a.example.test", entry);
    expect(await ledger.read("a.example.test")).toEqual(entry);
    expect(await createLedger(storage, "another", () => 2000).read("a.example.test")).toBeUndefined();
    await ledger.clear("a.example.test");
    expect(await ledger.read("a.example.test")).toBeUndefined();
  });

  test("does not believe a date that only a wrong clock can have written", async () => {
    const ledger = createLedger(createMemoryStorage(), "ca", () => 2000);
    await ledger.write("a.example.test", { ...entry, nextAttemptAt: 400 * DAY });
    expect(await ledger.read("a.example.test")).toBeUndefined();
  });

  test.each(["", "null", "[]", "{}", '{"failures":1', '{"issuer":"ca","failures":"x"}'])(
    "takes %j for no failure",
    async (text) => {
      const storage = createMemoryStorage();
      await storage.store("ledger/a.example.test", new TextEncoder().encode(text));
      expect(await createLedger(storage, "ca", () => 0).read("a.example.test")).toBeUndefined();
    },
  );
});

describe("a problem", () => {
  test("keeps type, status, detail, parts and the wait that is asked for", () => {
    const problem = parseProblem(
      {
        status: 403,
        headers: { "retry-after": "Thu, 01 Jan 1970 00:01:00 GMT" },
        data: {
          type: "urn:ietf:params:acme:error:compound",
          detail: "two\r\nlines",
          subproblems: [{ type: "urn:ietf:params:acme:error:caa", detail: "forbidden" }, null],
        },
      },
      10_000,
    );
    expect(problem).toMatchObject({
      type: "compound",
      status: 403,
      detail: "two lines",
      subproblems: ["caa: forbidden", "none: "],
      retryAfterMs: 50_000,
    });
  });

  test.each([undefined, null, "", "<html>", 5, [], { type: 5, detail: {} }, { subproblems: "x" }])(
    "is made of %j too",
    (value) => {
      expect(problemFrom(value, 500)).toMatchObject({ type: "none", status: 500, detail: "status 500" });
    },
  );

  test("has a bounded length", () => {
    expect(problemFrom({ detail: "x".repeat(1e6) }, 400).message.length).toBeLessThan(1000);
  });

  test("Retry-After is seconds or a date, and nothing else", () => {
    const read = (value: string): number | undefined => parseRetryAfter(value, 0);
    expect([read("0"), read("120")]).toEqual([0, 120_000]);
    for (const odd of ["-1", "x", "", "1e3", "2026-01-01", "1.5", "GMT"])
      expect(read(odd), odd).toBeUndefined();
    expect(parseRetryAfter("Thu, 01 Jan 1970 00:00:00 GMT", 5000)).toBe(0);
  });
});

describe("polling", () => {
  async function times(answers: (true | number | undefined)[], timeoutMs = 60_000): Promise<number[]> {
    const clock = manualClock();
    const seen: number[] = [];
    const done = pollUntil({
      what: "it",
      clock,
      signal: new AbortController().signal,
      timeoutMs,
      look: async () => {
        seen.push(clock.now());
        return answers.length ? answers.shift() : undefined;
      },
    });
    done.catch(() => {});
    await clock.advance(120_000);
    await done;
    return seen.map(Math.round);
  }

  test("is quick at first, then ever slower", async () => {
    expect(await times([undefined, undefined, undefined, undefined, true])).toEqual([25, 50, 95, 176, 322]);
  });

  test("waits as long as it is asked to, but not for ever", async () => {
    expect(await times([5000, true])).toEqual([25, 5025]);
    expect(await times([1, true])).toEqual([25, 50]);
    expect(await times([3_600_000, true], 90_000)).toEqual([25, 60_025]);
  });

  test("forgives a lost answer, but not six in a row, nor a refusal", async () => {
    const clock = manualClock();
    const run = async (failures: number, forgive: boolean): Promise<string> => {
      let left = failures;
      const done = pollUntil({
        what: "it",
        clock,
        signal: new AbortController().signal,
        timeoutMs: 60_000,
        forgive: () => forgive,
        look: async () => {
          if (left-- > 0) throw new Error("lost");
          return true;
        },
      }).then(
        () => "done",
        (thrown: Error) => thrown.message,
      );
      await clock.advance(60_000);
      return done;
    };
    expect([await run(5, true), await run(6, true), await run(1, false)]).toEqual(["done", "lost", "lost"]);
  });

  test("ends at its timeout", async () => {
    await expect(times([], 5000)).rejects.toMatchObject({ code: "ACME_TIMEOUT" });
  });
});
