/**
 * Every trouble that a renewal may meet, one case each: what is served meanwhile, what is logged, when the next attempt is,
 * and that it ends well when the trouble does. A certificate that works is never given up, and nothing spins. Without a test
 * framework, so that every runtime can go through it.
 */
import assert from "node:assert/strict";
import { EdgeError } from "../../src/errors.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { problem } from "../support/acme-front.ts";
import { testCa } from "../support/ca.ts";
import { jumpingClock } from "../support/manual-clock.ts";
import { servedOver } from "./handshake.ts";
import { type Lab, type LabEdge, until } from "./lab.ts";

export const HOST = "a.example.test";
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const DAY = 86_400 * SECOND;

/** Whether `value` has these fields, whatever else it has. */
function has(value: object, fields: Record<string, unknown>): void {
  const found = Object.fromEntries(Object.keys(fields).map((name) => [name, Reflect.get(value, name)]));
  assert.deepEqual(found, fields);
}

/** Storage whose writes fail while `error` is set. */
function brittle(): { storage: Storage; memory: Storage; break(error: EdgeError | undefined): void } {
  const memory = createMemoryStorage();
  let error: EdgeError | undefined;
  const storage: Storage = {
    ...memory,
    store: (key, value) => (error ? Promise.reject(error) : memory.store(key, value)),
    delete: (key) => (error ? Promise.reject(error) : memory.delete(key)),
  };
  return {
    storage,
    memory,
    break(next) {
      error = next;
    },
  };
}
const unwritable = (why: string) =>
  new EdgeError("STORAGE_UNWRITABLE", `storage: cannot write (${why})`, { source: "storage" });

interface Trouble {
  begin(edge: LabEdge, store: ReturnType<typeof brittle>): unknown;
  end(edge: LabEdge, store: ReturnType<typeof brittle>): unknown;
  readonly reason: string;
  /** Until the next attempt, at least and at most. */
  readonly wait: readonly [number, number];
  /** Whether the CA counts it: then it is remembered by every edge. */
  readonly spent: boolean;
}

const SOON = [4 * SECOND, 6 * SECOND] as const;
const A_MINUTE = [50 * SECOND, 70 * SECOND] as const;

const troublesOf = (lab: Lab): Record<string, Trouble> => {
  const heal = () => lab.front.reset();
  return {
    "the CA is down": {
      begin: () => lab.pebble.stop(),
      end: () => lab.pebble.start(),
      reason: "ACME_UNREACHABLE",
      wait: SOON,
      spent: false,
    },
    "the CA answers no order": {
      begin: () => lab.front.on("newOrder", () => problem(503, "serverInternal", "maintenance", "300")),
      end: heal,
      reason: "serverInternal",
      wait: [300 * SECOND, 331 * SECOND],
      spent: false,
    },
    "the CA's pages are broken": {
      begin: () => lab.front.on("directory", () => ({ status: 200, headers: {}, body: "<html>" })),
      end: heal,
      reason: "ACME_PROBLEM",
      wait: A_MINUTE,
      spent: true,
    },
    "DNS fails": {
      begin: () => lab.pebble.servfail(HOST, true),
      end: () => lab.pebble.servfail(HOST, false),
      // Pebble says so of a name that cannot be resolved; Let's Encrypt says "dns".
      reason: "connection",
      wait: A_MINUTE,
      spent: true,
    },
    "the challenge is refused": {
      begin: () => lab.deaf.add(HOST),
      end: () => lab.deaf.delete(HOST),
      reason: "unauthorized",
      wait: A_MINUTE,
      spent: true,
    },
    "the name is on a blocklist": {
      begin: () => lab.front.on("newOrder", () => problem(400, "rejectedIdentifier", "policy forbids it")),
      end: heal,
      reason: "rejectedIdentifier",
      wait: A_MINUTE,
      spent: true,
    },
    "the limit of orders is reached": {
      begin: () =>
        lab.front.on("newOrder", () =>
          problem(429, "rateLimited", "too many new orders (300) from this account", "9000"),
        ),
      end: heal,
      reason: "rateLimited",
      wait: [9000 * SECOND, 9901 * SECOND],
      spent: true,
    },
    "finalizing fails": {
      begin: () => lab.front.on("finalize", () => problem(403, "badCSR", "weak key")),
      end: heal,
      reason: "badCSR",
      wait: A_MINUTE,
      spent: true,
    },
    "the certificate is for another name": {
      begin: () => wrongCertificate(lab, "b.example.test"),
      end: heal,
      reason: "CERTIFICATE_INVALID",
      wait: A_MINUTE,
      spent: true,
    },
    "the certificate is for another key": {
      begin: () => wrongCertificate(lab, HOST),
      end: heal,
      reason: "CERTIFICATE_INVALID",
      wait: A_MINUTE,
      spent: true,
    },
    "the chain is truncated": {
      begin: () =>
        lab.front.on("certificate", async (_, forward) => {
          const reply = await forward();
          return { ...reply, body: reply.body.slice(0, -100) };
        }),
      end: heal,
      reason: "CERTIFICATE_INVALID",
      wait: A_MINUTE,
      spent: true,
    },
    "the disk is full": {
      begin: (_, store) => store.break(unwritable("ENOSPC")),
      end: (_, store) => store.break(undefined),
      reason: "STORAGE_UNWRITABLE",
      wait: SOON,
      spent: false,
    },
    "the disk is read-only": {
      begin: (_, store) => store.break(unwritable("EROFS")),
      end: (_, store) => store.break(undefined),
      reason: "STORAGE_UNWRITABLE",
      wait: SOON,
      spent: false,
    },
  };
};

async function wrongCertificate(lab: Lab, name: string): Promise<void> {
  const { chain } = await (await testCa()).issueFor([name]);
  lab.front.on("certificate", async (_, forward) => ({ ...(await forward()), body: chain }));
}

async function obtained(lab: Lab): Promise<{
  edge: LabEdge;
  store: ReturnType<typeof brittle>;
  serial: string | undefined;
}> {
  const store = brittle();
  const edge = lab.edge({ hosts: [HOST], storage: store.storage });
  await edge.manager.start();
  await edge.event("certificate.obtained");
  return { edge, store, serial: (await servedOver(edge.resolver, HOST))?.serialNumber };
}

/** To where renewal is due, at the CA too. */
function later(lab: Lab, { clock }: LabEdge, ms: number): void {
  lab.front.skewMs += ms;
  clock.jump(ms);
}

async function renewThrough(lab: Lab, { begin, end, reason, wait, spent }: Trouble): Promise<void> {
  const { edge, store, serial } = await obtained(lab);
  await begin(edge, store);
  later(lab, edge, 65 * DAY);
  const failed = await edge.event("certificate.failed");
  has(failed, { level: "error", host: HOST, reason, failures: 1 });
  const left = Date.parse(String(failed.nextAttempt)) - edge.clock.wall();
  assert.ok(left > wait[0] - 5 * SECOND);
  assert.ok(left < wait[1]);
  assert.equal((await servedOver(edge.resolver, HOST))?.serialNumber, serial);
  await until(() => edge.status().nextAttemptAt !== undefined && edge.status().failure?.reason === reason);
  has(edge.status(), { state: "valid", generation: 1 });
  await until(async () => ((await store.memory.load(`ledger/${HOST}`)) !== undefined) === spent);
  // Nothing is asked before its time.
  const asked = lab.front.requests.length;
  later(lab, edge, left - 3 * SECOND);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(lab.front.requests.length, asked);

  await end(edge, store);
  later(lab, edge, 2 * left + 5 * SECOND);
  await edge.event("certificate.renewed");
  await until(() => edge.status().failure === undefined);
  assert.notEqual((await servedOver(edge.resolver, HOST))?.serialNumber, serial);
  assert.deepEqual(await store.memory.list("orders/"), []);
  assert.equal(edge.status().generation, 2);
}

async function startAhead(lab: Lab, off: number): Promise<void> {
  const clock = jumpingClock();
  clock.jump(off);
  const edge = lab.edge({ hosts: [HOST, "b.example.test"], clock });
  await edge.manager.start();
  await edge.event("certificate.obtained", 1);
  const said = edge.events.filter(({ event }) => event === "clock.skewed");
  assert.deepEqual(
    said.map(({ level }) => level),
    ["error"],
  );
  assert.ok(Math.abs(Number(said[0]?.caAheadSeconds) + off / SECOND) < 5);
  assert.equal((await servedOver(edge.resolver, HOST))?.subjectAltName, `DNS:${HOST}`);
  assert.equal(edge.status().nextAttemptFor, "renewal");
  assert.equal(lab.front.orders(HOST).length, 1);
}

/** By name: what happens, and how it ends. Each begins with a lab that was reset. */
export function matrixOf(lab: Lab): Record<string, () => Promise<void>> {
  const troubles = Object.entries(troublesOf(lab)).map(([name, trouble]) => [
    `a renewal while ${name}`,
    () => renewThrough(lab, trouble),
  ]);
  return {
    ...(Object.fromEntries(troubles) as Record<string, () => Promise<void>>),
    "a renewal goes through although half of all nonces are refused": async () => {
      const { edge } = await obtained(lab);
      let turn = 0;
      for (const step of [
        "newOrder",
        "authorization",
        "order",
        "finalize",
        "certificate",
        "challenge",
      ] as const) {
        lab.front.on(step, (_, forward) => {
          if (turn++ % 2) return forward();
          return { ...problem(400, "badNonce", "again") };
        });
      }
      later(lab, edge, 65 * DAY);
      await edge.event("certificate.renewed");
      assert.equal(
        edge.events.some(({ event }) => event === "certificate.failed"),
        false,
      );
    },
    "a renewal goes through although the account was closed: it is set aside, and another one made":
      async () => {
        const { edge, store } = await obtained(lab);
        let first = true;
        lab.front.on("newOrder", (_, forward) => {
          if (!first) return forward();
          first = false;
          return problem(403, "unauthorized", 'Account is not valid, has status "deactivated"');
        });
        later(lab, edge, 65 * DAY);
        await edge.event("certificate.renewed");
        has(await edge.event("account.set_aside"), { level: "error" });
        assert.equal((await store.memory.list("set-aside/accounts/")).length, 1);
      },
    "a renewal goes through although the stored account is damaged: it is set aside, and another one made":
      async () => {
        const { edge, store } = await obtained(lab);
        await edge.manager.close();
        const [key] = await store.memory.list("accounts/");
        await store.memory.store(key!, new TextEncoder().encode('{"version":1,"key":"-----BEG'));
        const again = lab.edge({ hosts: [HOST], storage: store.storage, clock: edge.clock });
        await again.manager.start();
        later(lab, again, 65 * DAY);
        await again.event("certificate.renewed");
        const said = await again.event("account.set_aside");
        assert.equal(said.level, "error");
        assert.ok(!JSON.stringify(said).includes("BEG"));
      },
    "a renewal goes through although the stored certificate was damaged meanwhile: the one in memory is served until then":
      async () => {
        const { edge, store, serial } = await obtained(lab);
        await store.memory.store(`certificates/${HOST}`, new TextEncoder().encode("{"));
        lab.deaf.add(HOST);
        later(lab, edge, 65 * DAY);
        await edge.event("certificate.failed");
        has(await edge.event("certificate.corrupt"), { level: "error", host: HOST });
        assert.equal((await servedOver(edge.resolver, HOST))?.serialNumber, serial);
        lab.deaf.delete(HOST);
        later(lab, edge, 2 * MINUTE);
        has(await edge.event("certificate.renewed"), { generation: 2 });
      },
    "a renewal goes through although the answer to an order was lost: it is finished, not made again":
      async () => {
        const { edge } = await obtained(lab);
        lab.front.on("certificate", () => "cut");
        later(lab, edge, 65 * DAY);
        await edge.event("certificate.failed");
        lab.front.on("certificate", undefined);
        const orders = lab.front.orders().length;
        later(lab, edge, 12 * MINUTE);
        await edge.event("certificate.renewed");
        assert.equal(lab.front.orders().length, orders);
      },
    "a certificate whose validity has yet to begin waits for it, and the old one serves": async () => {
      const clock = jumpingClock();
      const edge = lab.edge({ hosts: [HOST], clock });
      await edge.manager.start();
      await edge.event("certificate.obtained");
      const serial = (await servedOver(edge.resolver, HOST))?.serialNumber;
      // The CA is a day ahead of its own clock, and of ours.
      clock.jump(-DAY);
      lab.front.skewMs = -DAY;
      edge.manager.retry(HOST);
      has(await edge.event("certificate.held"), { generation: 2 });
      await until(() => edge.status().nextAttemptFor === "held");
      assert.equal((await servedOver(edge.resolver, HOST))?.serialNumber, serial);
      clock.jump(DAY + MINUTE);
      await edge.event("certificate.renewed");
      assert.notEqual((await servedOver(edge.resolver, HOST))?.serialNumber, serial);
      assert.equal(lab.front.orders().length, 2);
    },
    "a clock that is two days ahead is said once, and hosts are obtained nevertheless": () =>
      startAhead(lab, 2 * DAY),
    "a clock that is two days behind is said once, and hosts are obtained nevertheless": () =>
      startAhead(lab, -2 * DAY),
  };
}

/** Takes everything back that a case may have done to the world. */
export async function resetMatrix(lab: Lab): Promise<void> {
  await lab.reset();
  await lab.pebble.servfail(HOST, false);
}
