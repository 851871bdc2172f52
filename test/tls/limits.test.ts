/** Limits of CAs: what a refusal suspends and what not, and orders that are not sent at all. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { silentLog } from "../../src/log.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { createBooks } from "../../src/tls/books.ts";
import {
  limitsOf,
  nextAllowed,
  type OrderKind,
  registeredDomain,
  scopeOf,
  useUp,
  waitOf,
} from "../../src/tls/limits.ts";
import { problemFrom } from "../../src/tls/problem.ts";
import { hostsOf, problem } from "../support/acme-front.ts";
import { manualClock } from "../support/manual-clock.ts";
import { type Lab, startLab, until } from "./lab.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Let's Encrypt's words for each. */
const WORDS = {
  account:
    "too many new orders (300) from this account in the last 3h0m0s, retry after 2026-08-07 01:26:03 UTC: see https://letsencrypt.org/docs/rate-limits/#new-orders-per-account",
  domain:
    'too many certificates (50) already issued for "example.com" in the last 168h0m0s, retry after 2026-08-07 01:26:03 UTC: see https://letsencrypt.org/docs/rate-limits/#new-certificates-per-registered-domain',
  set: "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, retry after 2026-08-07 01:26:03 UTC: see https://letsencrypt.org/docs/rate-limits/#new-certificates-per-exact-set-of-identifiers",
  name: 'too many failed authorizations (5) for "a.example.com" in the last 1h0m0s, retry after 2026-08-07 01:26:03 UTC: see https://letsencrypt.org/docs/rate-limits/#authorization-failures-per-identifier-per-account',
} as const;

const refusal = (detail: string) =>
  problemFrom({ type: "urn:ietf:params:acme:error:rateLimited", detail }, 429);

describe("a refusal for a limit", () => {
  test.each(Object.entries(WORDS))("of the kind %s says what it covers and until when", (scope, words) => {
    expect(scopeOf(refusal(words))).toBe(scope);
    expect(waitOf(refusal(words), Date.UTC(2026, 7, 7, 1, 25, 3))).toBe(MINUTE);
  });

  test("that does not say it covers the account", () => {
    expect(scopeOf(refusal("slow down"))).toBe("account");
    expect(waitOf(refusal("slow down"), 0)).toBeUndefined();
  });

  test("covers domains as registered, private suffixes included", () => {
    expect(
      [
        "a.b.example.com",
        "a.example.co.uk",
        "me.github.io",
        "x.me.github.io",
        "*.example.com",
        "localhost",
      ].map(registeredDomain),
    ).toEqual(["example.com", "example.co.uk", "me.github.io", "me.github.io", "example.com", "localhost"]);
  });
});

describe("our own books of Let's Encrypt", () => {
  const rules = limitsOf("https://acme-v02.api.letsencrypt.org/directory");
  const open = (clock = manualClock(), storage = createMemoryStorage()) => ({
    clock,
    storage,
    books: createBooks({ storage, issuer: "le", limits: rules, wall: () => clock.wall(), log: silentLog }),
  });

  test("refill evenly", () => {
    let used = 0;
    for (let i = 0; i < 5; i++) {
      expect(nextAllowed(used, rules.set!, 1e12)).toBeUndefined();
      used = useUp(used, rules.set!, 1e12);
    }
    // One per 33.6 hours.
    expect(nextAllowed(used, rules.set!, 1e12)! - 1e12).toBe((7 * DAY) / 5);
  });

  test.each<[string, OrderKind, (n: number) => string, number, string, number]>([
    ["orders of an account", "new", (n) => `a.d${n}.com`, 300, "account", (3 * HOUR) / 300],
    ["certificates of a domain", "new", (n) => `h${n}.example.com`, 50, "domain", (7 * DAY) / 50],
    ["certificates of a name", "renewal", () => "a.example.com", 5, "set", (7 * DAY) / 5],
  ])("hold %s", async (_, kind, host, most, scope, wait) => {
    const { books, clock } = open();
    for (let n = 0; n < most; n++) expect(await books.take(host(n), kind)).toBeUndefined();
    const limit = await books.take(host(most), kind);
    expect(limit).toMatchObject({ scope, why: expect.stringContaining("by our own count") });
    expect(Math.round(limit!.until - clock.wall())).toBe(Math.round(wait));
    await clock.advance(wait + 1);
    expect(await books.take(host(most), kind)).toBeUndefined();
  });

  test("hold five failed validations an hour, for the name alone", async () => {
    const { books, clock } = open();
    for (let n = 0; n < 5; n++) {
      expect(await books.check("a.example.com", "new")).toBeUndefined();
      await books.failed("a.example.com");
    }
    expect(await books.check("a.example.com", "new")).toMatchObject({ scope: "name", of: "a.example.com" });
    expect(await books.check("b.example.com", "new")).toBeUndefined();
    await clock.advance(12 * MINUTE + 1);
    expect(await books.check("a.example.com", "new")).toBeUndefined();
  });

  test("spare replacements, and give back what came to nothing", async () => {
    const { books } = open();
    for (let n = 0; n < 20; n++) expect(await books.take("a.example.com", "replacement")).toBeUndefined();
    for (let n = 0; n < 20; n++) {
      expect(await books.take("a.example.com", "renewal")).toBeUndefined();
      await books.giveBack("a.example.com", "renewal");
    }
  });

  test("are the same for every edge and after a restart, and damage in them stops nobody", async () => {
    const { books, storage, clock } = open();
    for (let n = 0; n < 5; n++) await books.take("a.example.com", "renewal");
    const peer = open(clock, storage).books;
    expect(await peer.check("a.example.com", "renewal")).toMatchObject({ scope: "set" });
    for (const key of await storage.list("limits/"))
      await storage.store(key, new TextEncoder().encode('{"used'));
    expect(await peer.check("a.example.com", "renewal")).toBeUndefined();
  });

  test("do not believe a date that only a wrong clock can have written", async () => {
    const { books, storage, clock } = open();
    const far = new Date(clock.wall() + 400 * DAY).toISOString();
    const text = JSON.stringify({ version: 1, usedUntil: far, until: far, why: "x", rank: 2 });
    await storage.store("limits/le/account/all", new TextEncoder().encode(text));
    expect(await books.check("a.example.com", "new")).toBeUndefined();
  });
});

describe("a manager that is refused", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await startLab();
  });
  afterEach(() => lab.reset());
  afterAll(() => lab?.close());

  const HOSTS = ["a.example.com", "b.example.com", "c.example.net"];
  test.each<[string, string, string[]]>([
    ["account", WORDS.account, ["b.example.com", "c.example.net"]],
    ["domain", WORDS.domain, ["b.example.com"]],
    ["set", WORDS.set, []],
    ["name", WORDS.name, []],
  ])("for the %s sends no order that this covers, and all others", async (scope, words, covered) => {
    let refused = 0;
    lab.front.on("newOrder", (request, forward) => {
      if (!hostsOf(request).includes("a.example.com")) return forward();
      refused++;
      return problem(429, "rateLimited", words, "7200");
    });
    const first = lab.edge({ hosts: ["a.example.com"] });
    await first.manager.start();
    const failed = await first.event("certificate.failed");
    expect(failed).toMatchObject({ reason: "rateLimited", failures: 1 });
    await until(() => first.status().limit !== undefined);
    const { limit, nextAttemptAt, failure } = first.status();
    expect(limit).toMatchObject({ scope, why: expect.stringContaining("too many") });
    expect(failure?.problem).toMatchObject({ type: "rateLimited", status: 429 });
    expect(nextAttemptAt! - first.clock.wall()).toBeGreaterThan(7100_000);
    await first.manager.close();

    // Another edge, with the same storage.
    const edge = lab.edge({ hosts: HOSTS, storage: first.storage });
    await edge.manager.start();
    const free = HOSTS.slice(1).filter((host) => !covered.includes(host));
    if (free.length) await edge.event("certificate.obtained", free.length - 1);
    await until(() => covered.every((host) => edge.status(host).limit !== undefined));
    expect(refused).toBe(1);
    expect(lab.front.orders().flatMap(hostsOf).sort()).toEqual(free.sort());
    for (const host of covered) {
      expect(edge.status(host)).toMatchObject({ nextAttemptFor: "limit", failure: undefined });
      expect(
        edge.events.filter((each) => each.event === "certificate.limited" && each.host === host).length,
      ).toBe(1);
    }
    lab.front.on("newOrder", undefined);
    edge.clock.jump(2.3 * HOUR);
    await until(() => HOSTS.every((host) => edge.status(host).state === "valid"));
    expect(edge.status("a.example.com")).toMatchObject({ failure: undefined, limit: undefined });
  });

  test("by its own count sends nothing, and then as many as are allowed", async () => {
    const limits = { account: { most: 2, periodMs: HOUR } };
    const edge = lab.edge({ hosts: HOSTS, limits });
    await edge.manager.start();
    await edge.event("certificate.obtained", 1);
    expect(await edge.event("certificate.limited")).toMatchObject({ scope: "account", level: "warn" });
    expect(lab.front.orders().length).toBe(2);
    edge.clock.jump(31 * MINUTE);
    await edge.event("certificate.obtained", 2);
    expect(edge.events.some((each) => each.event === "certificate.failed")).toBe(false);
  });

  test("counts an order whose answer was lost, and sends no second one unseen", async () => {
    lab.front.keepAlive = true;
    let lost = 0;
    lab.front.on("newOrder", async (_, forward) => {
      const reply = await forward();
      if (reply.status >= 300 || lost > 0) return reply;
      // The CA has made the order, and dies.
      lost++;
      return "cut";
    });
    const limits = { account: { most: 2, periodMs: HOUR } };
    const edge = lab.edge({ hosts: ["a.example.com"], limits });
    await edge.manager.start();
    expect(await edge.event("certificate.failed")).toMatchObject({ reason: "ACME_UNREACHABLE", failures: 1 });
    expect(lab.front.orders().length).toBe(1);
    edge.clock.jump(6000);
    await edge.event("certificate.obtained");
    expect(lab.front.orders().length).toBe(2);
    await edge.manager.setHosts(["a.example.com", "b.example.com"]);
    expect(await edge.event("certificate.limited")).toMatchObject({
      host: "b.example.com",
      scope: "account",
    });
    expect(lab.front.orders().length).toBe(2);
  });
});
