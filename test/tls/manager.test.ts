import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock, systemRandom } from "../../src/clock.ts";
import { type Log, type LogFields, silentLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { openFilesystemStorage } from "../../src/storage/filesystem.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { createHttpChallenge, type HttpChallenge } from "../../src/tls/challenge.ts";
import { createAcmeIssuer } from "../../src/tls/issuer.ts";
import { hostKey } from "../../src/tls/keys.ts";
import { type CertificateManager, createCertificateManager } from "../../src/tls/manager.ts";
import { createResolver, type Resolver } from "../../src/tls/resolver.ts";
import { type JumpingClock, jumpingClock } from "../support/manual-clock.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { servedOver } from "./handshake.ts";

interface Event extends LogFields {
  event: string;
  level: string;
}

interface Edge {
  manager: CertificateManager;
  resolver: Resolver;
  storage: Storage;
  clock: JumpingClock;
  events: Event[];
  metrics: ReturnType<typeof createMetrics>;
  /** Waits for a logged event; those before `after` events do not count. */
  event(name: string, after?: number): Promise<Event>;
}

let pebble: Pebble;
let front: Server;
/** Challenges of every edge that runs: as with one address for a fleet, any of them may be asked. */
const challenges = new Set<HttpChallenge>();
const running: CertificateManager[] = [];
const folders: string[] = [];

beforeAll(async () => {
  front = createServer((request, response) => {
    const answers = [...challenges].map((each) => each.answer(request.url ?? ""));
    const answer = request.headers.host?.startsWith("unreachable") ? undefined : answers.find(Boolean);
    response.statusCode = answer === undefined ? 404 : 200;
    response.end(answer);
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
  const { port } = front.address() as { port: number };
  pebble = await startPebble({ httpPort: port, validitySeconds: 60 });
});

afterEach(async () => {
  for (const manager of running.splice(0)) await manager.close();
  challenges.clear();
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

afterAll(async () => {
  await pebble?.close();
  front?.close();
});

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "skerry-tls-"));
  folders.push(folder);
  return folder;
}

function edge(hosts: string[], { storage = createMemoryStorage(), clock = jumpingClock() } = {}): Edge {
  const events: Event[] = [];
  const waiting = new Set<() => void>();
  const at =
    (level: string) =>
    (event: string, fields: LogFields = {}): void => {
      events.push({ ...fields, event, level });
      for (const check of waiting) check();
    };
  const log: Log = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error"), flush() {} };
  const challenge = createHttpChallenge();
  challenges.add(challenge);
  const resolver = createResolver();
  const metrics = createMetrics();
  const { directory, ca } = pebble;
  const config = { directory, trustedCa: ca, email: undefined, agreeToTerms: true };
  const manager = createCertificateManager({
    hosts,
    storage,
    issuer: createAcmeIssuer({ config, storage, challenge, clock }),
    resolver,
    clock,
    random: systemRandom,
    log,
    metrics,
  });
  running.push(manager);
  const event = (name: string, after = 0): Promise<Event> =>
    new Promise((resolve, reject) => {
      const bound = setTimeout(() => {
        waiting.delete(check);
        reject(new Error(`no ${name} within 15 s, but ${JSON.stringify(events)}`));
      }, 15_000);
      const check = (): void => {
        const found = events.filter((each) => each.event === name)[after];
        if (!found) return;
        clearTimeout(bound);
        waiting.delete(check);
        resolve(found);
      };
      waiting.add(check);
      check();
    });
  return { manager, resolver, storage, clock, events, metrics, event };
}

describe("a host without a certificate", () => {
  test("asked for while its first order is under way makes no second one", async () => {
    const { manager, event } = edge(["once.example.test"]);
    const before = pebble.issued();
    const asked = once(front, "request");
    await manager.start();
    await asked;
    manager.retry("once.example.test");
    await event("certificate.obtained");
    // Another host's order takes as long as a second one of the first would.
    for (const [n, host] of ["then.example.test", "next.example.test"].entries()) {
      await manager.setHosts(["once.example.test", host]);
      await event("certificate.obtained", n + 1);
    }
    expect(manager.status()).toMatchObject([{ host: "once.example.test", generation: 1 }, {}]);
    expect(pebble.issued() - before).toBe(3);
  });

  test("that a peer orders keeps nobody else waiting: as many as may be ordered at once, and one more", async () => {
    const storage = createMemoryStorage();
    const held = ["a", "b", "c", "d"].map((name) => `${name}.example.test`);
    // A peer that orders them, or has died with it.
    const peer = new AbortController();
    const locks = held.map((host) =>
      storage.withLock(hostKey("issue", host), async () => {
        await once(peer.signal, "abort");
      }),
    );
    const { manager, event } = edge([...held, "free.example.test"], { storage });
    await manager.start();
    expect(await event("certificate.obtained")).toMatchObject({ host: "free.example.test" });
    peer.abort();
    await Promise.all(locks);
    for (const n of held.keys()) await event("certificate.obtained", n + 1);
    expect(manager.status().map(({ state }) => state)).toEqual(Array.from({ length: 5 }, () => "valid"));
  });

  test("gets a placeholder by the end of start, and its own certificate soon after", async () => {
    const { manager, resolver, event } = edge(["a.example.test"]);
    await manager.start();
    const before = await servedOver(resolver, "a.example.test");
    expect(before?.subjectAltName).toBe("DNS:placeholder.invalid");
    await event("certificate.obtained");
    const after = await servedOver(resolver, "A.example.test");
    expect(after?.subjectAltName).toBe("DNS:a.example.test");
    expect(manager.status()).toMatchObject([
      { host: "a.example.test", state: "valid", generation: 1, source: "acme" },
    ]);
  });

  test("a name that is not configured is refused and orders nothing", async () => {
    const { manager, resolver, event, storage } = edge(["a.example.test"]);
    await manager.start();
    await event("certificate.obtained");
    expect(await servedOver(resolver, "b.example.test")).toBeUndefined();
    expect(await storage.list("certificates/")).toEqual(["certificates/a.example.test"]);
  });

  test("eight hosts share one account and obtain several at a time", async () => {
    const hosts = Array.from({ length: 8 }, (_, index) => `h${index}.example.test`);
    const storage = openFilesystemStorage(await newFolder(), { clock: systemClock, log: silentLog });
    const { manager, event, events } = edge(hosts, { storage });
    await manager.start();
    await event("certificate.obtained", 7);
    expect(events.filter((each) => each.event === "certificate.failed")).toEqual([]);
    expect((await storage.list("accounts/")).length).toBe(1);
    expect((await storage.list("certificates/")).length).toBe(8);
  });
});

describe("a restart", () => {
  test("serves what is stored by the end of start, without asking the CA", async () => {
    const root = await newFolder();
    const open = (): Storage => openFilesystemStorage(root, { clock: systemClock, log: silentLog });
    const first = edge(["a.example.test"], { storage: open() });
    await first.manager.start();
    await first.event("certificate.obtained");
    await first.manager.close();
    const before = pebble.issued();
    const second = edge(["a.example.test"], { storage: open() });
    await second.manager.start();
    const served = await servedOver(second.resolver, "a.example.test");
    expect(served?.subjectAltName).toBe("DNS:a.example.test");
    expect(pebble.issued()).toBe(before);
  });

  test("sets a damaged certificate aside, says so, and obtains another", async () => {
    const root = await newFolder();
    const storage = openFilesystemStorage(root, { clock: systemClock, log: silentLog });
    await storage.store(
      "certificates/a.example.test",
      new TextEncoder().encode('{"version":1,"key":"-----BEG'),
    );
    const { manager, event, events } = edge(["a.example.test"], { storage });
    await manager.start();
    await event("certificate.obtained");
    expect(events.find((each) => each.event === "certificate.corrupt")).toMatchObject({
      level: "error",
      key: "certificates/a.example.test",
      code: "STORAGE_CORRUPT",
    });
    expect((await storage.list("set-aside/a.example.test/")).length).toBe(1);
  });
});

describe("renewal", () => {
  test("of a certificate that lives for a minute comes at half of its life", async () => {
    const { manager, clock, event, resolver, metrics } = edge(["a.example.test"]);
    await manager.start();
    await event("certificate.obtained");
    const first = await servedOver(resolver, "a.example.test");
    clock.jump(35_000);
    const renewed = await event("certificate.renewed");
    expect(renewed.generation).toBe(2);
    const second = await servedOver(resolver, "a.example.test");
    expect(second?.serialNumber).not.toBe(first?.serialNumber);
    const text = await metrics.expose();
    expect(text).toMatch(/skerry_certificate_renewals_total\{result="renewed"\} 1/);
    expect(text).toMatch(/skerry_certificate_expires_seconds\{host="a.example.test"\} \d/);
  });

  test("two edges with one storage order once, and both serve it", async () => {
    const storage = createMemoryStorage();
    const clock = jumpingClock();
    const before = pebble.issued();
    const one = edge(["a.example.test"], { storage, clock });
    const two = edge(["a.example.test"], { storage, clock });
    await Promise.all([one.manager.start(), two.manager.start()]);
    const generationOf = (each: Edge): number | undefined =>
      each.resolver.bundle("a.example.test")?.generation;
    await until(() => generationOf(one) === 1 && generationOf(two) === 1);
    expect(pebble.issued() - before).toBe(1);
    clock.jump(35_000);
    await until(() => generationOf(one) === 2 && generationOf(two) === 2);
    expect(pebble.issued() - before).toBe(2);
    expect([...one.events, ...two.events].filter((each) => each.event === "certificate.renewed").length).toBe(
      1,
    );
  });

  test("that fails leaves the old certificate in use, even when it has expired", async () => {
    const { manager, clock, event, resolver } = edge(["a.example.test"]);
    await manager.start();
    await event("certificate.obtained");
    await pebble.stop();
    try {
      clock.jump(70_000);
      const failed = await event("certificate.failed");
      expect(failed).toMatchObject({ host: "a.example.test", reason: "ACME_UNREACHABLE", level: "error" });
      expect(await event("certificate.expiring")).toMatchObject({ state: "expired" });
      const served = await servedOver(resolver, "a.example.test");
      expect(served?.subjectAltName).toBe("DNS:a.example.test");
      expect(manager.status()).toMatchObject([{ state: "expired", failure: { reason: "ACME_UNREACHABLE" } }]);
    } finally {
      await pebble.start();
    }
    // The CA has forgotten the account: the same key registers again.
    clock.jump(5000);
    expect((await event("certificate.renewed")).generation).toBe(2);
    await until(() => manager.status()[0]?.failure === undefined);
  });
});

describe("when the CA", () => {
  test("is down at start and comes up, the host is obtained within seconds", async () => {
    await pebble.stop();
    const { manager, clock, event } = edge(["a.example.test"]);
    try {
      await manager.start();
      const failed = await event("certificate.failed");
      const wait = Date.parse(String(failed.nextAttempt)) - clock.wall();
      expect(wait).toBeGreaterThan(3000);
      expect(wait).toBeLessThan(6000);
    } finally {
      await pebble.start();
    }
    clock.jump(6000);
    await event("certificate.obtained");
  });

  test("cannot validate a host, others are not held up, and the failure outlives a restart", async () => {
    const storage = createMemoryStorage();
    const first = edge(["unreachable.example.test", "a.example.test"], { storage });
    await first.manager.start();
    const failed = await first.event("certificate.failed");
    await first.event("certificate.obtained");
    expect(failed).toMatchObject({ reason: "unauthorized", code: "ACME_CHALLENGE_FAILED", failures: 1 });
    await first.manager.close();

    const clock = jumpingClock();
    const second = edge(["unreachable.example.test"], { storage, clock });
    await second.manager.start();
    await until(() => second.manager.status()[0]?.failure !== undefined);
    const [status] = second.manager.status();
    expect(status).toMatchObject({ state: "missing", failure: { failures: 1, reason: "unauthorized" } });
    expect(status!.nextAttemptAt! - clock.wall()).toBeGreaterThan(40_000);
    expect(second.events.some((each) => each.event === "certificate.failed")).toBe(false);
    clock.jump(70_000);
    const again = await second.event("certificate.failed");
    expect(again.failures).toBe(2);
    expect(Date.parse(String(again.nextAttempt)) - clock.wall()).toBeGreaterThan(500_000);
    // An operator who mended it need not wait.
    second.manager.retry("unreachable.example.test");
    expect((await second.event("certificate.failed", 1)).failures).toBe(3);
  });
});

describe("storage that cannot be written", () => {
  test("orders nothing, and is tried again soon", async () => {
    const root = join(await newFolder(), "file");
    await writeFile(root, "");
    const storage = openFilesystemStorage(root, { clock: systemClock, log: silentLog });
    const before = pebble.issued();
    const { manager, event } = edge(["a.example.test"], { storage });
    await manager.start();
    const failed = await event("certificate.failed");
    expect(failed).toMatchObject({ code: "STORAGE_UNWRITABLE", source: "storage" });
    expect(pebble.issued()).toBe(before);
  });

  test("after the order leaves the new certificate served, and stored as soon as it can be", async () => {
    const memory = createMemoryStorage();
    let broken = true;
    const storage: Storage = {
      ...memory,
      store: (key, value) =>
        broken && key.startsWith("certificates/")
          ? Promise.reject(new Error("no space"))
          : memory.store(key, value),
    };
    const before = pebble.issued();
    const { manager, event, clock, resolver } = edge(["a.example.test"], { storage });
    await manager.start();
    await event("certificate.obtained");
    await event("certificate.failed");
    expect((await servedOver(resolver, "a.example.test"))?.subjectAltName).toBe("DNS:a.example.test");
    broken = false;
    clock.jump(5000);
    await until(async () => (await memory.list("certificates/")).length === 1);
    expect(pebble.issued() - before).toBe(1);
  });
});

describe("a change of hosts", () => {
  test("obtains the new ones, keeps the others and refuses those that are gone", async () => {
    const { manager, event, resolver } = edge(["a.example.test", "b.example.test"]);
    await manager.start();
    await event("certificate.obtained", 1);
    const kept = resolver.bundle("b.example.test");
    await manager.setHosts(["b.example.test", "c.example.test"]);
    expect(await servedOver(resolver, "a.example.test")).toBeUndefined();
    await event("certificate.obtained", 2);
    expect(resolver.bundle("b.example.test")).toBe(kept);
    expect((await servedOver(resolver, "c.example.test"))?.subjectAltName).toBe("DNS:c.example.test");
  });

  test("closing twice stops orders under way and leaves no timers", async () => {
    const { manager, events } = edge(["a.example.test"]);
    await manager.start();
    await Promise.all([manager.close(), manager.close()]);
    expect(events.filter((each) => each.event === "certificate.failed")).toEqual([]);
  });
});

/** Waits for a condition for at most five seconds. */
async function until(reached: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 5000;
  while (!(await reached())) {
    if (performance.now() > end) throw new Error("it did not come");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
