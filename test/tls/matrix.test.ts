/**
 * Every trouble that a renewal may meet, one row each: what is served meanwhile, what is logged, when the next attempt is,
 * and that it ends well when the trouble does. A certificate that works is never given up, and nothing spins.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { problem } from "../support/acme-front.ts";
import { testCa } from "../support/ca.ts";
import { jumpingClock } from "../support/manual-clock.ts";
import { servedOver } from "./handshake.ts";
import { type Lab, type LabEdge, startLab, until } from "./lab.ts";

const HOST = "a.example.test";
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const DAY = 86_400 * SECOND;
let lab: Lab;
beforeAll(async () => {
  lab = await startLab();
});
afterEach(async () => {
  await lab.reset();
  await lab.pebble.servfail(HOST, false);
});
afterAll(() => lab?.close());

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
const heal = () => lab.front.reset();

const TROUBLES: Record<string, Trouble> = {
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
    begin: () => wrongCertificate("b.example.test"),
    end: heal,
    reason: "CERTIFICATE_INVALID",
    wait: A_MINUTE,
    spent: true,
  },
  "the certificate is for another key": {
    begin: () => wrongCertificate(HOST),
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

async function wrongCertificate(name: string): Promise<void> {
  const { chain } = await (await testCa()).issueFor([name]);
  lab.front.on("certificate", async (_, forward) => ({ ...(await forward()), body: chain }));
}

async function obtained(): Promise<{
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
function later({ clock }: LabEdge, ms: number): void {
  lab.front.skewMs += ms;
  clock.jump(ms);
}

describe("a renewal while", () => {
  test.each(Object.entries(TROUBLES))("%s", async (_, { begin, end, reason, wait, spent }) => {
    const { edge, store, serial } = await obtained();
    await begin(edge, store);
    later(edge, 62 * DAY);
    const failed = await edge.event("certificate.failed");
    expect(failed).toMatchObject({ level: "error", host: HOST, reason, failures: 1 });
    const left = Date.parse(String(failed.nextAttempt)) - edge.clock.wall();
    expect(left).toBeGreaterThan(wait[0] - 5 * SECOND);
    expect(left).toBeLessThan(wait[1]);
    expect((await servedOver(edge.resolver, HOST))?.serialNumber).toBe(serial);
    await until(() => edge.status().nextAttemptAt !== undefined && edge.status().failure?.reason === reason);
    expect(edge.status()).toMatchObject({ state: "valid", generation: 1 });
    await until(async () => ((await store.memory.load(`ledger/${HOST}`)) !== undefined) === spent);
    // Nothing is asked before its time.
    const asked = lab.front.requests.length;
    later(edge, left - 3 * SECOND);
    await new Promise((resolve) => setImmediate(resolve));
    expect(lab.front.requests.length).toBe(asked);

    await end(edge, store);
    later(edge, 2 * left + 5 * SECOND);
    await edge.event("certificate.renewed");
    await until(() => edge.status().failure === undefined);
    expect((await servedOver(edge.resolver, HOST))?.serialNumber).not.toBe(serial);
    expect(await store.memory.list("orders/")).toEqual([]);
    expect(edge.status().generation).toBe(2);
  });
});

describe("a renewal goes through although", () => {
  test("half of all nonces are refused", async () => {
    const { edge } = await obtained();
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
    later(edge, 62 * DAY);
    await edge.event("certificate.renewed");
    expect(edge.events.some(({ event }) => event === "certificate.failed")).toBe(false);
  });

  test("the account was closed: it is set aside, and another one made", async () => {
    const { edge, store } = await obtained();
    let first = true;
    lab.front.on("newOrder", (_, forward) => {
      if (!first) return forward();
      first = false;
      return problem(403, "unauthorized", 'Account is not valid, has status "deactivated"');
    });
    later(edge, 62 * DAY);
    await edge.event("certificate.renewed");
    expect(await edge.event("account.set_aside")).toMatchObject({ level: "error" });
    expect((await store.memory.list("set-aside/accounts/")).length).toBe(1);
  });

  test("the stored account is damaged: it is set aside, and another one made", async () => {
    const { edge, store } = await obtained();
    await edge.manager.close();
    const [key] = await store.memory.list("accounts/");
    await store.memory.store(key!, new TextEncoder().encode('{"version":1,"key":"-----BEG'));
    const again = lab.edge({ hosts: [HOST], storage: store.storage, clock: edge.clock });
    await again.manager.start();
    later(again, 62 * DAY);
    await again.event("certificate.renewed");
    const said = await again.event("account.set_aside");
    expect(said.level).toBe("error");
    expect(JSON.stringify(said)).not.toContain("BEG");
  });

  test("the stored certificate was damaged meanwhile: the one in memory is served until then", async () => {
    const { edge, store, serial } = await obtained();
    await store.memory.store(`certificates/${HOST}`, new TextEncoder().encode("{"));
    lab.deaf.add(HOST);
    later(edge, 62 * DAY);
    await edge.event("certificate.failed");
    expect(await edge.event("certificate.corrupt")).toMatchObject({ level: "error", host: HOST });
    expect((await servedOver(edge.resolver, HOST))?.serialNumber).toBe(serial);
    lab.deaf.delete(HOST);
    later(edge, 2 * MINUTE);
    expect(await edge.event("certificate.renewed")).toMatchObject({ generation: 2 });
  });

  test("the answer to an order was lost: it is finished, not made again", async () => {
    const { edge } = await obtained();
    lab.front.on("certificate", () => "cut");
    later(edge, 62 * DAY);
    await edge.event("certificate.failed");
    lab.front.on("certificate", undefined);
    const orders = lab.front.orders().length;
    later(edge, 12 * MINUTE);
    await edge.event("certificate.renewed");
    expect(lab.front.orders().length).toBe(orders);
  });
});

describe("a clock that is wrong", () => {
  test.each([2 * DAY, -2 * DAY])(
    "by %d ms is said once, and hosts are obtained nevertheless",
    async (off) => {
      const clock = jumpingClock();
      clock.jump(off);
      const edge = lab.edge({ hosts: [HOST, "b.example.test"], clock });
      await edge.manager.start();
      await edge.event("certificate.obtained", 1);
      const said = edge.events.filter(({ event }) => event === "clock.skewed");
      expect(said).toMatchObject([{ level: "error", caAheadSeconds: expect.closeTo(-off / 1000, -1) }]);
      expect((await servedOver(edge.resolver, HOST))?.subjectAltName).toBe(`DNS:${HOST}`);
      expect(edge.status().nextAttemptFor).toBe("renewal");
      expect(lab.front.orders(HOST).length).toBe(1);
    },
  );

  test("a certificate whose validity has yet to begin waits for it, and the old one serves", async () => {
    const clock = jumpingClock();
    const edge = lab.edge({ hosts: [HOST], clock });
    await edge.manager.start();
    await edge.event("certificate.obtained");
    const serial = (await servedOver(edge.resolver, HOST))?.serialNumber;
    // The CA is a day ahead of its own clock, and of ours.
    clock.jump(-DAY);
    lab.front.skewMs = -DAY;
    edge.manager.retry(HOST);
    expect(await edge.event("certificate.held")).toMatchObject({ generation: 2 });
    await until(() => edge.status().nextAttemptFor === "held");
    expect((await servedOver(edge.resolver, HOST))?.serialNumber).toBe(serial);
    clock.jump(DAY + MINUTE);
    await edge.event("certificate.renewed");
    expect((await servedOver(edge.resolver, HOST))?.serialNumber).not.toBe(serial);
    expect(lab.front.orders().length).toBe(2);
  });
});
