/**
 * An edge of a fleet is killed at every step of an order: another finishes it when the lock has stood still for half a minute,
 * with one order more at most. Each case has a fleet of its own on one NATS, and all of them wait at the same time.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock, systemRandom } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import { LOCK_MS, STILL_MS } from "../../src/storage/nats-lock.ts";
import { makeFleetKey, parseFleetKeys } from "../../src/storage/seal.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { thumbprintOf } from "../../src/tls/account.ts";
import { createHttpChallenge } from "../../src/tls/challenge.ts";
import { createAcmeIssuer } from "../../src/tls/issuer.ts";
import { type CertificateManager, createCertificateManager } from "../../src/tls/manager.ts";
import { createResolver } from "../../src/tls/resolver.ts";
import type { AcmeStep } from "../support/acme-front.ts";
import { command, type Runtime } from "../support/edge.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { type Child, eventually, start } from "../support/processes.ts";
import { ANSWERS, CHANGES } from "./crash-lab.ts";
import { type Lab, startLab } from "./lab.ts";

const RUNTIMES: readonly Runtime[] = ["node", "bun", "deno"];
const SKERRY_FLEET_KEY = makeFleetKey();
/** Processes at once: two cores. */
const AT_ONCE = 3;

interface Case {
  readonly what: string;
  readonly host: string;
  readonly bucket: string;
  readonly runtime: Runtime;
  readonly orders: number;
  /** Of the script: the change to die at, and when. */
  readonly args: readonly string[];
  /** Killed before it hears this answer. */
  readonly step?: AcmeStep;
  /** The dead one's lock is in the way. */
  readonly waits: boolean;
  /** Of what the survivor reads and writes. */
  storage: Storage;
  diedAt: number;
  tookMs: number;
  /** By so much the survivor came later than the lock was over. */
  lateMs: number;
}

let lab: Lab;
let nats: Nats;
let folder: string;
const cases: Case[] = [];
const managers: CertificateManager[] = [];

function add(
  what: string,
  facts: Pick<Case, "orders" | "waits"> & { args?: readonly string[]; step?: AcmeStep },
): void {
  const bucket = `case${cases.length}`;
  const runtime = RUNTIMES[cases.length % RUNTIMES.length]!;
  cases.push({
    ...{ args: [], what, bucket, runtime, host: `${bucket}.example.test`, ...facts },
    storage: openNatsStorage({
      place: { servers: nats.servers, bucket },
      keys: parseFleetKeys(SKERRY_FLEET_KEY, "test"),
      copy: join(folder, `${bucket}-peer`),
      clock: systemClock,
      log: silentLog,
    }),
    diedAt: 0,
    tookMs: 0,
    lateMs: 0,
  });
}

function victim({ runtime, host, bucket, args }: Case): Child {
  const { directory, caPath } = lab.front;
  const [program, ...before] = command(runtime, "test/tls/crash-script.ts");
  const place = `nats://${nats.servers[0]}/${bucket}`;
  return start(program, [...before, directory, caPath, place, host, ...args], {
    env: { SKERRY_FLEET_KEY, CRASH_COPY: join(folder, bucket) },
  });
}

/** kill -9 in the middle of its work. */
async function die(each: Case): Promise<void> {
  const child = { of: undefined as Child | undefined };
  if (each.step) {
    let held = false;
    lab.front.on(each.step, async (_, forward) => {
      const reply = await forward();
      if (held) return reply;
      held = true;
      child.of?.signal("SIGKILL");
      return "cut";
    });
  }
  child.of = victim(each);
  const { signal } = await child.of.ended;
  each.diedAt = performance.now();
  if (each.step) lab.front.on(each.step, undefined);
  expect(signal, `${each.what}: ${child.of.output()}`).toBe("SIGKILL");
}

/** Another edge of the same fleet, which comes upon what the dead one left. */
async function takeOver(each: Case): Promise<void> {
  const { storage, host } = each;
  const challenge = createHttpChallenge();
  const issuer = createAcmeIssuer({
    ...{ config: lab.config(), storage, challenge, clock: systemClock, log: silentLog },
  });
  const manager = createCertificateManager({
    ...{ hosts: [host], storage, issuer, resolver: createResolver(), clock: systemClock },
    ...{ random: systemRandom, log: silentLog, metrics: createMetrics() },
  });
  managers.push(manager);
  // On a busy machine the last one dies when the first one's lock is over.
  each.lateMs = Math.max(0, performance.now() - each.diedAt - LOCK_MS);
  await manager.start();
  await eventually(
    `${each.what}: another edge has it`,
    () => {
      const [status] = manager.status();
      if (status?.failure) throw new Error(status.failure.message);
      return status?.state === "valid";
    },
    LOCK_MS + 20_000,
  );
  each.tookMs = performance.now() - each.diedAt;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skerry-crash-fleet-"));
  [lab, nats] = await Promise.all([startLab(), startNats()]);
  // Whatever process asked, the account in its fleet answers.
  lab.answerers.add(async (host, path) => {
    const storage = cases.find((each) => each.host === host)?.storage;
    const [key] = (await storage?.list("accounts/")) ?? [];
    const bytes = key === undefined ? undefined : await storage?.load(key);
    const account = JSON.parse(new TextDecoder().decode(bytes)) as { key: string };
    return `${path.split("/").at(-1)}.${thumbprintOf(account.key)}`;
  });
});
afterAll(async () => {
  await Promise.all(managers.map((manager) => manager.close()));
  await Promise.all(cases.map(({ storage }) => storage.close()));
  await Promise.all([lab?.close(), nats?.close()]);
  await rm(folder, { recursive: true, force: true });
});

test("an edge that dies at any step of an order is followed by another within the lease time", async () => {
  const stored = CHANGES.indexOf("certificate");
  for (const [index, what] of CHANGES.entries())
    for (const when of ["before", "after"] as const)
      add(`${when} the change of its ${what}`, {
        args: [String(index + 1), when],
        orders: what === "order" && when === "before" ? 2 : 1,
        // Who finds an account with its URL, or a certificate, asks for no lock of the dead one.
        waits:
          (index < stored && !(what === "account" && when === "after")) ||
          (index === stored && when === "before"),
      });
  for (const [step, orders] of ANSWERS)
    add(`before it hears the answer to ${step}`, { step, orders, waits: true });

  const left = cases.filter(({ step }) => step === undefined).values();
  const some = async (): Promise<void> => {
    for (const each of left) await die(each);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, some));
  for (const each of cases) if (each.step) await die(each);
  await Promise.all(cases.map(takeOver));

  for (const { what, host, orders, waits, tookMs, lateMs, storage } of cases) {
    expect(lab.front.orders(host).length, what).toBe(orders);
    const bytes = await storage.load(`certificates/${host}`);
    const { key, chain, generation } = JSON.parse(new TextDecoder().decode(bytes)) as {
      key: string;
      chain: string;
      generation: number;
    };
    expect(new X509Certificate(chain).checkPrivateKey(createPrivateKey(key)), what).toBe(true);
    expect(generation, what).toBe(1);
    // Not before the lock has stood still for as long as one that is alive never does, and soon after it vanished at the latest.
    if (waits) expect(tookMs, what).toBeGreaterThan(STILL_MS);
    expect(tookMs, what).toBeLessThan(LOCK_MS + lateMs + 10_000);
    await eventually(`${what}: nothing is left over`, async () => {
      const rest = [...(await storage.list("orders/")), ...(await storage.list("ledger/"))];
      return rest.length === 0;
    });
  }
  const finalized = lab.front.requests.filter(({ step }) => step === "finalize");
  expect(finalized.length).toBe(cases.length);
  const slowest = Math.max(...cases.map(({ tookMs }) => tookMs));
  // Who looks at a lock takes it before it vanishes.
  const sooner = cases.filter(({ waits, tookMs }) => waits && tookMs < LOCK_MS - 10_000).length;
  expect(sooner).toBeGreaterThan(0);
  console.log(
    `${cases.length} edges that died: followed within ${(slowest / 1000).toFixed(1)} s, ${sooner} of them by who saw the lock stand still`,
  );
}, 180_000);
