import { mkdtemp, readFile, rename, rm, symlink, unlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { Log, LogFields } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { createLocalCa, createLocalIssuer, type LocalCa, writeRoot } from "../../src/tls/local-ca.ts";
import {
  type CertificateManager,
  createCertificateManager,
  type ManagedHost,
} from "../../src/tls/manager.ts";
import { createResolver } from "../../src/tls/resolver.ts";
import { type ManualClock, manualClock } from "../support/manual-clock.ts";
import { servedOver } from "./handshake.ts";

const HOST = "a.example.test";
const DAY = 86_400_000;
let folder: string;
let certPath: string;
let keyPath: string;
let ca: LocalCa;
let clock: ManualClock;
let managers: CertificateManager[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skerry-files-"));
  certPath = join(folder, "cert.pem");
  keyPath = join(folder, "key.pem");
  clock = manualClock(systemClock.wall());
  ca = await createLocalCa(clock);
  managers = [];
});
afterEach(async () => {
  for (const manager of managers) await manager.close();
  await rm(folder, { recursive: true, force: true });
});

async function put(names: string[], lifetimeMs?: number): Promise<void> {
  const { key, chain } = await ca.issueFor(names, lifetimeMs);
  await writeFile(certPath, chain);
  await writeFile(keyPath, key, { mode: 0o600 });
}

function make(hosts: ManagedHost[] = [own()]) {
  const events: (LogFields & { event: string })[] = [];
  const at = (event: string, fields: LogFields = {}): void => void events.push({ ...fields, event });
  const log: Log = { debug: at, info: at, warn: at, error: at, flush() {} };
  const resolver = createResolver();
  const manager = createCertificateManager({
    hosts,
    storage: createMemoryStorage(),
    issuer: createLocalIssuer(ca),
    resolver,
    clock,
    random: () => 0.5,
    log,
    metrics: createMetrics(),
  });
  managers.push(manager);
  const named = (name: string) => events.filter((each) => each.event === name);
  return { manager, resolver, named };
}

function own(): ManagedHost {
  return { name: HOST, tls: { certPath, keyPath } };
}

/** A poll of the files begins; then the disk answers. */
async function nextPoll(reached: () => boolean): Promise<void> {
  await clock.advance(30_000);
  const end = performance.now() + 5000;
  while (!reached()) {
    if (performance.now() > end) throw new Error("it did not come");
    await clock.advance(0);
  }
}

describe("an own certificate", () => {
  test("is served by the end of start, and no order is made", async () => {
    await put([HOST]);
    const { manager, resolver, named } = make();
    await manager.start();
    expect((await servedOver(resolver, HOST))?.subjectAltName).toBe(`DNS:${HOST}`);
    expect(manager.status()).toMatchObject([{ host: HOST, source: "file", state: "valid", issuer: "file" }]);
    await clock.advance(120_000);
    expect(named("certificate.obtained")).toEqual([]);
  });

  test("is read again when the files change", async () => {
    await put([HOST]);
    const { manager, resolver, named } = make();
    await manager.start();
    const before = await servedOver(resolver, HOST);
    await put([HOST]);
    await nextPoll(() => named("certificate.loaded").length === 2);
    expect((await servedOver(resolver, HOST))?.serialNumber).not.toBe(before?.serialNumber);
    await clock.advance(300_000);
    expect(named("certificate.loaded").length).toBe(2);
  });

  test("is read again when a link points elsewhere", async () => {
    await put([HOST]);
    await rename(certPath, join(folder, "one.pem"));
    await symlink(join(folder, "one.pem"), certPath);
    const { manager, named } = make();
    await manager.start();
    const { key, chain } = await ca.issueFor([HOST]);
    await writeFile(join(folder, "two.pem"), chain);
    await writeFile(keyPath, key);
    await unlink(certPath);
    await symlink(join(folder, "two.pem"), certPath);
    await nextPoll(() => named("certificate.loaded").length === 2);
  });

  test("that is replaced by a bad one stays, until a good one comes", async () => {
    await put([HOST]);
    const { manager, resolver, named } = make();
    await manager.start();
    const before = await servedOver(resolver, HOST);
    const old = await readFile(keyPath, "utf8");
    await put([HOST]);
    const fresh = await readFile(keyPath, "utf8");
    await writeFile(keyPath, old);
    await nextPoll(() => named("certificate.failed").length === 1);
    expect(named("certificate.failed")[0]).toMatchObject({ code: "CERTIFICATE_INVALID", kept: 1 });
    expect((await servedOver(resolver, HOST))?.serialNumber).toBe(before?.serialNumber);
    await writeFile(keyPath, fresh);
    await utimes(keyPath, 1, 1);
    await nextPoll(() => named("certificate.loaded").length === 2);
    expect(manager.status()[0]?.failure).toBeUndefined();
  });

  test("that is missing is told once, a placeholder is served, and it is taken as soon as it is there", async () => {
    const { manager, resolver, named } = make();
    await manager.start();
    expect(named("certificate.failed")[0]?.message).toBe(`${certPath} cannot be read (ENOENT)`);
    expect((await servedOver(resolver, HOST))?.subjectAltName).toBe("DNS:placeholder.invalid");
    await clock.advance(300_000);
    expect(named("certificate.failed").length).toBe(1);
    await put([HOST]);
    await nextPoll(() => named("certificate.loaded").length === 1);
    expect(manager.status()[0]?.state).toBe("valid");
  });

  test("for another host, or about to expire, is served with a warning", async () => {
    await put(["b.example.test"], DAY);
    const { manager, resolver, named } = make();
    await manager.start();
    expect(named("certificate.unsuitable")[0]).toMatchObject({ host: HOST, code: "CERTIFICATE_INVALID" });
    expect((await servedOver(resolver, HOST))?.subjectAltName).toBe("DNS:b.example.test");
    await clock.advance(2 * DAY);
    await nextPoll(() => named("certificate.expiring").length > 0);
    await clock.advance(DAY / 2);
    expect(named("certificate.expiring").length).toBeLessThan(4);
    expect(manager.status()[0]?.state).toBe("expired");
  });

  test("gives way to an obtained one and back when the config changes, with no handshake refused", async () => {
    await put([HOST]);
    const { manager, resolver, named } = make();
    await manager.start();
    await manager.setHosts([HOST]);
    expect((await servedOver(resolver, HOST))?.subjectAltName).toBe(`DNS:${HOST}`);
    await nextPoll(() => named("certificate.obtained").length === 1);
    expect(manager.status()).toMatchObject([{ source: "acme", issuer: "local", generation: 1 }]);
    expect(resolver.bundle(HOST)?.issuer).toBe("local");
    await manager.setHosts([own()]);
    expect(resolver.bundle(HOST)?.issuer).toBe("file");
  });
});

test("the local CA obtains and renews, each time before half of the last third has gone", async () => {
  const { manager, resolver, named } = make([HOST]);
  await manager.start();
  await nextPoll(() => named("certificate.obtained").length === 1);
  for (let renewal = 1; renewal <= 3; renewal++) {
    await clock.advance(64.9 * DAY);
    await nextPoll(() => named("certificate.renewed").length === renewal);
    expect(manager.status()).toMatchObject([{ state: "valid", generation: renewal + 1 }]);
  }
  expect(resolver.bundle(HOST)?.generation).toBe(4);
  expect(named("certificate.failed")).toEqual([]);
  const path = await writeRoot(ca, join(folder, "root.pem"));
  expect(await readFile(path, "utf8")).toBe(ca.rootPem);
});
