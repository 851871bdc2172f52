import { expect, test } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { type Log, type LogFields, silentLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { bundleOf, encodeBundle } from "../../src/tls/bundle.ts";
import type { IssuedCertificate, Issuer } from "../../src/tls/issuer.ts";
import { hostKey } from "../../src/tls/keys.ts";
import { createLedger } from "../../src/tls/ledger.ts";
import { createLocalCa, createLocalIssuer } from "../../src/tls/local-ca.ts";
import { type CertificateManager, createCertificateManager } from "../../src/tls/manager.ts";
import { createPlaceholder } from "../../src/tls/placeholder.ts";
import { createResolver, type Resolver } from "../../src/tls/resolver.ts";
import { manualClock } from "../support/manual-clock.ts";

const HOST = "a.example.test";
const clock = manualClock(Date.UTC(2026, 10, 1));
const ca = createLocalIssuer(await createLocalCa(clock));
const placeholder = await createPlaceholder(clock);

/** With a placeholder: each manager would make an RSA key of its own, which takes seconds on a busy machine. */
function resolverOf(): Resolver {
  const resolver = createResolver();
  resolver.setPlaceholder(placeholder);
  return resolver;
}

function issuerOf(issue: (host: string, signal: AbortSignal) => Promise<IssuedCertificate>): Issuer {
  return { name: "local", issue };
}

function managerOf(
  issuer: Issuer,
  {
    storage = createMemoryStorage(),
    resolver = resolverOf(),
    clock: own = clock,
  }: { storage?: Storage; resolver?: Resolver; clock?: Clock } = {},
): {
  manager: CertificateManager;
  storage: Storage;
  resolver: Resolver;
  events: (LogFields & { event: string })[];
} {
  const events: (LogFields & { event: string })[] = [];
  const at = (event: string, fields: LogFields = {}): void => void events.push({ ...fields, event });
  const log: Log = { ...silentLog, info: at, warn: at, error: at };
  const parts = { storage, issuer, resolver, clock: own, random: () => 0.5, log, metrics: createMetrics() };
  return { manager: createCertificateManager({ hosts: [HOST], ...parts }), storage, resolver, events };
}

async function until(reached: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!reached()) {
    if (performance.now() > end) throw new Error("it did not come");
    await clock.advance(0);
  }
}

test("an order is on record while it runs, and no longer when it has succeeded", async () => {
  const storage = createMemoryStorage();
  const ledger = createLedger(storage, "local", () => clock.wall());
  let during: unknown;
  const issuer = issuerOf(async (host, signal) => {
    during = await ledger.read(host);
    return ca.issue(host, signal);
  });
  const { manager } = managerOf(issuer, { storage });
  await manager.start();
  await until(() => manager.status()[0]?.state === "valid");
  expect(during).toMatchObject({ reason: "INTERRUPTED", failures: 1 });
  await manager.close();
  expect(await ledger.read(HOST)).toBeUndefined();
});

test("a process that was killed in its order tries again in seconds, but not so one that is killed over and over", async () => {
  const waits: number[] = [];
  const base = createMemoryStorage();
  for (let run = 0; run < 6; run++) {
    let ordered = false;
    const issuer = issuerOf(() => {
      ordered = true;
      return new Promise(() => {});
    });
    // Killed: the lock goes with the process, what is stored stays.
    const storage = { ...base, withLock: createMemoryStorage().withLock };
    const from = clock.now();
    const { manager } = managerOf(issuer, { storage });
    await manager.start();
    // In seconds as long as these matter, then in minutes: every step lets the event loop turn many times.
    while (!ordered) await clock.advance(clock.now() - from < 20_000 ? 1000 : 60_000);
    waits.push(Math.round((clock.now() - from) / 1000));
  }
  expect(waits.slice(0, 4).every((seconds) => seconds <= 8)).toBe(true);
  expect(waits[4]).toBeGreaterThan(500);
  expect(waits[5]).toBeGreaterThan(5000);
});

test("an order that is stopped in good order leaves no record", async () => {
  let ordered = false;
  const issuer = issuerOf((_, signal) => {
    ordered = true;
    return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
  });
  const { manager, storage, events } = managerOf(issuer);
  await manager.start();
  await until(() => ordered);
  await manager.close();
  expect(await storage.list("ledger/")).toEqual([]);
  expect(events.filter(({ event }) => event === "certificate.failed")).toEqual([]);
});

test("a manager that follows another on one resolver takes over what is served and orders nothing", async () => {
  const first = managerOf(ca);
  await first.manager.start();
  await until(() => first.manager.status()[0]?.state === "valid");
  await first.manager.close();
  const { storage, resolver } = first;
  const second = managerOf(
    issuerOf(() => Promise.reject(new Error("must not be asked"))),
    { storage, resolver },
  );
  await second.manager.start();
  await clock.advance(3_700_000);
  expect(second.manager.status()).toMatchObject([{ state: "valid", generation: 1 }]);
  expect(second.events.filter(({ event }) => event === "certificate.failed")).toEqual([]);
  await second.manager.close();
});

test("a certificate from another issuer is served until the configured one has issued", async () => {
  const first = managerOf(ca);
  await first.manager.start();
  await until(() => first.manager.status()[0]?.state === "valid");
  await first.manager.close();
  let allow = (): void => {};
  const allowed = new Promise<void>((resolve) => {
    allow = resolve;
  });
  const other: Issuer = {
    name: "other",
    issue: async (host, signal) => {
      await allowed;
      return ca.issue(host, signal);
    },
  };
  const second = managerOf(other, { storage: first.storage });
  await second.manager.start();
  expect(second.resolver.bundle(HOST)).toMatchObject({ issuer: "local", generation: 1 });
  allow();
  await until(() => second.resolver.bundle(HOST)?.issuer === "other");
  expect(second.resolver.bundle(HOST)?.generation).toBe(2);
  await second.manager.close();
});

test("a peer's certificate that is not valid yet by one's own clock is served as soon as it is", async () => {
  // A peer's change comes by watch.
  const storage = createMemoryStorage();
  const watchers: ((key: string) => void)[] = [];
  const watched: Storage = {
    ...storage,
    async store(key, value) {
      await storage.store(key, value);
      for (const tell of watchers) tell(key);
    },
    watch(_prefix, tell) {
      watchers.push(tell);
      return () => {};
    },
  };
  const LATE_MS = 600_000;
  const behind = manualClock(clock.wall() - LATE_MS);
  const first = managerOf(ca, { storage: watched });
  await first.manager.start();
  await until(() => first.manager.status()[0]?.generation === 1);
  const second = managerOf(
    issuerOf(() => Promise.reject(new Error("must not be asked"))),
    { storage: watched, clock: behind },
  );
  await second.manager.start();
  const generation = (): number | undefined => second.manager.status()[0]?.generation;
  expect(generation()).toBe(1);
  const renewed = await ca.issue(HOST, new AbortController().signal);
  const facts = { host: HOST, issuer: "local", generation: 2, obtainedAt: clock.wall() };
  await watched.store(hostKey("certificates", HOST), encodeBundle(bundleOf(renewed, facts, HOST)));
  await until(() => second.events.some(({ event }) => event === "certificate.held"));
  expect([generation(), second.manager.status()[0]?.nextAttemptFor]).toEqual([1, "held"]);
  const wait = (second.manager.status()[0]?.nextAttemptAt ?? 0) - behind.wall();
  expect(wait).toBeGreaterThan(0);
  await behind.advance(wait + 1000);
  await until(() => generation() === 2);
  await Promise.all([first.manager.close(), second.manager.close()]);
});
