/** Renewal information (RFC 9773): the CA's window, kept; what goes wrong with it; and expiry, which has the last word. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { clampCheck, parseRenewalInfo } from "../../src/tls/ari.ts";
import { problem } from "../support/acme-front.ts";
import { type Lab, type LabEdge, startLab, until } from "./lab.ts";

const HOST = "a.example.test";
const DAY = 86_400_000;
let lab: Lab;
beforeAll(async () => {
  lab = await startLab();
});
afterEach(() => lab.reset());
afterAll(() => lab?.close());

/** A window that many days from now. */
const inDays = (from: number, to: number, more: object = {}) => {
  const at = (days: number): string => new Date(Date.now() + days * DAY).toISOString();
  return () => ({ suggestedWindow: { start: at(from), end: at(to) }, ...more });
};
const asked = () => lab.front.requests.filter(({ step }) => step === "renewalInfo").length;

async function obtained(options: Partial<Parameters<Lab["edge"]>[0]> = {}): Promise<LabEdge> {
  const edge = lab.edge({ hosts: [HOST], ...options });
  await edge.manager.start();
  await edge.event("certificate.obtained");
  return edge;
}

describe("a CA's window", () => {
  test("is asked for right after issue, and one moment in it is chosen and kept by a restart", async () => {
    lab.front.renewal = inDays(40, 42, { explanationURL: "https://ca.example/why" });
    const storage = createMemoryStorage();
    const edge = await obtained({ storage });
    expect(await edge.event("certificate.renewal_window")).toMatchObject({
      explanationUrl: "https://ca.example/why",
    });
    const { renewal, nextAttemptAt, nextAttemptFor } = edge.status();
    expect(renewal).toMatchObject({ source: "ari", explanationUrl: "https://ca.example/why" });
    expect(renewal!.at).toBeGreaterThanOrEqual(renewal!.start);
    expect(renewal!.at).toBeLessThan(renewal!.end);
    expect({ nextAttemptAt, nextAttemptFor }).toEqual({
      nextAttemptAt: renewal!.at,
      nextAttemptFor: "renewal",
    });
    await edge.manager.close();
    const before = asked();
    const again = lab.edge({ hosts: [HOST], storage });
    await again.manager.start();
    again.clock.jump(61_000);
    await until(() => again.status().renewal?.source === "ari");
    expect(again.status().renewal?.at).toBe(renewal!.at);
    expect(asked()).toBe(before);
  });

  test("is asked for again at Retry-After, and a new one moves the renewal", async () => {
    lab.front.renewal = inDays(40, 42);
    lab.front.renewalRetryAfter = 7200;
    const { event, clock, status } = await obtained();
    await event("certificate.renewal_window");
    const first = status().renewal!;
    expect(first.checkAt! - clock.wall()).toBeGreaterThan(7100_000);
    lab.front.renewal = inDays(20, 21);
    clock.jump(7201_000);
    await event("certificate.renewal_window", 1);
    expect(status().renewal!.at).toBeLessThan(Date.now() + 21 * DAY);
  });

  test("in the past renews at once, and the order says what it replaces", async () => {
    lab.front.renewal = inDays(-2, -1);
    const { event, clock, resolver } = await obtained();
    const id = resolver.bundle(HOST)!.ariId;
    await event("certificate.renewal_window");
    // Not within a twentieth of its life: a CA that always says so must not cause a storm.
    expect(lab.front.orders().length).toBe(1);
    clock.jump(4.6 * DAY);
    await event("certificate.renewed");
    expect(lab.front.orders()[1]?.payload.replaces).toBe(id);
  });

  test("that was replaced already is ordered without", async () => {
    lab.front.renewal = inDays(1, 2);
    const { event, clock, events } = await obtained();
    await event("certificate.renewal_window");
    let refused = 0;
    lab.front.on("newOrder", async (request, forward) => {
      if (!request.payload.replaces) return forward();
      refused++;
      return problem(409, "alreadyReplaced", "it was");
    });
    clock.jump(5 * DAY);
    await event("certificate.renewed");
    expect(refused).toBe(1);
    expect(events.some((each) => each.event === "certificate.failed")).toBe(false);
  });

  test("that cannot be had at first is asked for again, and renewal does not wait for it", async () => {
    lab.front.renewal = inDays(40, 42);
    lab.front.on("renewalInfo", () => problem(500, "serverInternal", "later"));
    const { event, clock, status } = await obtained();
    const failed = await event("certificate.renewal_info_failed");
    expect(Date.parse(String(failed.again)) - clock.wall()).toBeLessThan(70_000);
    expect(status()).toMatchObject({ renewal: { source: "lifetime" }, failure: undefined });
    lab.front.on("renewalInfo", undefined);
    clock.jump(70_000);
    await event("certificate.renewal_window");
    expect(status().renewal?.source).toBe("ari");
  });

  test("that a CA gives to nobody is said once for all hosts, counted, and said again when it is back", async () => {
    const hosts = Array.from({ length: 5 }, (_, n) => `host${n}.example.test`);
    lab.front.renewal = inDays(40, 42);
    lab.front.on("renewalInfo", () => problem(503, "serverInternal", "later"));
    const { manager, event, events, clock, metrics } = lab.edge({ hosts });
    await manager.start();
    await until(() => asked() === hosts.length);
    const failed = await event("certificate.renewal_info_failed");
    expect(failed).toMatchObject({ failures: 1, hosts: 1, code: "ACME_PROBLEM" });
    const counted = async () =>
      /renewal_info_failures_total\{issuer="([^"]+)"\} (\d+)/.exec(await metrics.expose());
    await until(async () => (await counted())?.[2] === String(hosts.length));
    expect((await counted())?.[1]).toBe(failed.issuer);
    lab.front.on("renewalInfo", undefined);
    clock.jump(70_000);
    await event("certificate.renewal_window", hosts.length - 1);
    expect(await event("certificate.renewal_info_restored")).toMatchObject({ failures: 5, hosts: 5 });
    expect(events.filter((each) => each.event === "certificate.renewal_info_failed")).toHaveLength(1);
  });

  test("beyond the certificate's end is not believed: a twentieth of its life is left for renewal", async () => {
    lab.front.renewal = inDays(100, 120);
    const { event, status } = await obtained();
    await event("certificate.renewal_window");
    const { renewal, notAfter, notBefore } = status();
    expect(renewal).toMatchObject({ source: "emergency", at: notAfter! - (notAfter! - notBefore!) / 20 });
  });

  test("is shared by two edges of one storage", async () => {
    lab.front.renewal = inDays(40, 42);
    const storage = createMemoryStorage();
    const one = await obtained({ storage });
    await one.event("certificate.renewal_window");
    const two = lab.edge({ hosts: [HOST], storage });
    await two.manager.start();
    two.clock.jump(61_000);
    await until(() => two.status().renewal?.source === "ari");
    expect(two.status().renewal?.at).toBe(one.status().renewal?.at);
    expect(asked()).toBe(1);
  });
});

describe("renewal information", () => {
  test("is asked for between once a minute and once a day, whatever the CA says", () => {
    expect([0, 3600_000, 1e12, undefined].map(clampCheck)).toEqual([60_000, 3600_000, DAY, 21_600_000]);
  });

  test.each([
    null,
    {},
    { suggestedWindow: null },
    { suggestedWindow: { start: "2026-01-02T00:00:00Z", end: "2026-01-01T00:00:00Z" } },
    { suggestedWindow: { start: "soon", end: "later" } },
    "<html>",
  ])("%j is none", (data) => {
    expect(() => parseRenewalInfo(data, undefined)).toThrow(expect.objectContaining({ retry: "any" }));
  });

  test("explains itself only by a web address", () => {
    const suggestedWindow = { start: "2026-01-01T00:00:00Z", end: "2026-01-02T00:00:00Z" };
    const read = (explanationURL: unknown) =>
      parseRenewalInfo({ suggestedWindow, explanationURL }, 0).explanationUrl;
    expect([read("https://a/b"), read("javascript:x"), read(5)]).toEqual([
      "https://a/b",
      undefined,
      undefined,
    ]);
  });
});
