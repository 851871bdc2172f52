import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createSecureContext, type SecureContext } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { OnDemandConfig } from "../../src/config/config.ts";
import { createLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { createOnDemand, type OnDemand } from "../../src/tls/on-demand.ts";
import { createPermission } from "../../src/tls/permission.ts";
import { manualClock } from "../support/manual-clock.ts";

const PLACEHOLDER = createSecureContext({});
const HOUR_MS = 3_600_000;

/** Hosts on demand over a manager that does as the test says. */
function make(
  allow: (name: string) => boolean | Promise<boolean>,
  { handshakeWaitMs = 10_000, maxHosts = 100, stored = false, clock = manualClock() } = {},
) {
  const contexts = new Map<string, SecureContext>();
  const ends = new Map<string, number>();
  const added: string[] = [];
  const removed: string[] = [];
  const metrics = createMetrics();
  let onDemand: OnDemand;
  const obtain = (name: string, lifetimeMs = HOUR_MS): SecureContext => {
    const context = createSecureContext({});
    contexts.set(name, context);
    ends.set(name, clock.wall() + lifetimeMs);
    onDemand.arrived(name);
    return context;
  };
  onDemand = createOnDemand({
    config: { handshakeWaitMs, maxHosts },
    permission: createPermission({ kind: "allow", allow }, clock),
    clock,
    log: createLog({ write: () => {} }),
    metrics,
    context: (name) => contexts.get(name),
    notAfter: (name) => ends.get(name),
    async add(name) {
      added.push(name);
      contexts.set(name, PLACEHOLDER);
      if (stored) obtain(name);
    },
    remove(name) {
      removed.push(name);
      contexts.delete(name);
      ends.delete(name);
    },
  });
  return { onDemand, clock, contexts, added, removed, obtain, metrics };
}

/** Lets everything that needs no time go on. */
const settle = async (): Promise<void> => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};

describe("a name on demand", () => {
  test("is served from storage once it is allowed, and asked for once only", async () => {
    const asked: string[] = [];
    const { onDemand, added } = make((name) => asked.push(name) > 0, { stored: true });
    const all = await Promise.all(Array.from({ length: 50 }, () => onDemand.secureContext("A.example.com.")));
    expect(new Set(all).size).toBe(1);
    expect(all[0]).toBeDefined();
    expect(asked).toEqual(["a.example.com"]);
    expect(added).toEqual(["a.example.com"]);
    // Known and good: at once.
    expect(onDemand.secureContext("a.example.com")).not.toBeInstanceOf(Promise);
    expect(onDemand.has("a.example.com")).toBe(true);
  });

  test("makes the handshake wait for its first certificate", async () => {
    const { onDemand, obtain } = make(() => true);
    const waiting = onDemand.secureContext("a.example.com");
    await settle();
    const context = obtain("a.example.com");
    expect(await waiting).toBe(context);
  });

  test("gets the placeholder after handshakeWaitMs, and from then on at once", async () => {
    const { onDemand, clock, obtain } = make(() => true, { handshakeWaitMs: 5000 });
    const waiting = onDemand.secureContext("a.example.com");
    await settle();
    await clock.advance(5001);
    expect(await waiting).toBe(PLACEHOLDER);
    expect(await onDemand.secureContext("a.example.com")).toBe(PLACEHOLDER);
    const context = obtain("a.example.com");
    expect(onDemand.secureContext("a.example.com")).toBe(context);
  });

  test("is refused without permission, before storage is looked at, and not asked for again for a minute", async () => {
    let asked = 0;
    const { onDemand, added, clock } = make(() => ++asked === 0);
    expect(await onDemand.secureContext("a.example.com")).toBeUndefined();
    expect(await onDemand.secureContext("a.example.com")).toBeUndefined();
    expect(onDemand.mayHave("a.example.com")).toBe(false);
    expect([asked, added]).toEqual([1, []]);
    await clock.advance(60_001);
    expect(await onDemand.secureContext("a.example.com")).toBeUndefined();
    expect(asked).toBe(2);
  });

  test("is refused where permission fails, is no boolean, or takes longer than 10 s; that is asked again sooner", async () => {
    let asked = 0;
    const answers: (() => Promise<boolean>)[] = [
      () => Promise.reject(new Error("database away")),
      () => new Promise(() => {}),
      async () => true,
    ];
    const { onDemand, clock } = make(() => answers[asked++]!());
    expect(await onDemand.secureContext("a.example.com")).toBeUndefined();
    await clock.advance(5001);
    const second = onDemand.secureContext("a.example.com");
    await settle();
    await clock.advance(10_001);
    expect(await second).toBeUndefined();
    await clock.advance(5001);
    void onDemand.secureContext("a.example.com");
    await settle();
    expect(onDemand.has("a.example.com")).toBe(true);
    const truthy = make((() => "yes") as never);
    expect(await truthy.onDemand.secureContext("a.example.com")).toBeUndefined();
  });

  test.each([
    "localhost",
    "127.0.0.1",
    "::1",
    "a_b.example.com",
    "*.example.com",
    "a..b",
    `${"a".repeat(64)}.com`,
    "bücher.de",
    "",
    "a.1",
    `${"a.".repeat(127)}com`,
  ])("is never asked for as %j", async (name) => {
    const asked: string[] = [];
    const { onDemand } = make((each) => asked.push(each) > 0, { stored: true });
    expect(await onDemand.secureContext(name)).toBeUndefined();
    expect(asked).toEqual([]);
  });

  test("is asked for again after an hour in use, and let go where permission is withdrawn", async () => {
    let yes = true;
    const { onDemand, clock, removed } = make(() => yes, { stored: true });
    await onDemand.secureContext("a.example.com");
    yes = false;
    await clock.advance(HOUR_MS + 1);
    await onDemand.secureContext("a.example.com");
    await settle();
    expect(removed).toEqual(["a.example.com"]);
    expect(await onDemand.secureContext("a.example.com")).toBeUndefined();
  });

  test("that was idle longest makes room where there are too many", async () => {
    const { onDemand, removed } = make(() => true, { stored: true, maxHosts: 2 });
    for (const name of ["a.example.com", "b.example.com", "a.example.com", "c.example.com"])
      await onDemand.secureContext(name);
    expect(removed).toEqual(["b.example.com"]);
  });

  test("of the config is nobody's business here", () => {
    const { onDemand, contexts } = make(() => false);
    const own = createSecureContext({});
    contexts.set("fixed.example.com", own);
    expect(onDemand.secureContext("fixed.example.com")).toBe(own);
  });
});

test("a flood of random names asks for a bounded number at once, orders nothing, and delays no host that is served", async () => {
  let atOnce = 0;
  let most = 0;
  const { onDemand, added } = make(
    async (name) => {
      if (name === "good.example.com") return true;
      most = Math.max(most, ++atOnce);
      await new Promise((resolve) => setImmediate(resolve));
      atOnce--;
      return false;
    },
    { stored: true },
  );
  expect(await onDemand.secureContext("good.example.com")).toBeDefined();
  const flood = Array.from({ length: 20_000 }, (_, i) => onDemand.secureContext(`n${i}.example.com`));
  expect(onDemand.secureContext("good.example.com")).not.toBeInstanceOf(Promise);
  expect(new Set(await Promise.all(flood))).toEqual(new Set([undefined]));
  expect(most).toBeLessThanOrEqual(256);
  expect(added).toEqual(["good.example.com"]);
});

describe("a service that is asked", () => {
  const servers: { close(): void }[] = [];
  afterEach(() => {
    for (const server of servers.splice(0)) server.close();
  });

  async function service(status: (name: string) => number): Promise<OnDemandConfig["permission"]> {
    const server = createServer((request, response) => {
      const url = new URL(request.url ?? "", "http://a");
      const code = status(`${request.method} ${url.pathname} ${url.searchParams.get("domain")}`);
      response.writeHead(code, { location: "/yes" }).end("words");
    }).listen(0, "127.0.0.1");
    servers.push(server);
    await new Promise((resolve) => server.once("listening", resolve));
    return { kind: "ask", url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/check?key=1` };
  }

  test("says yes by any 2xx, and no by all else but a fault of its own", async () => {
    const seen: string[] = [];
    let status = 200;
    const permission = createPermission(
      await service((line) => {
        seen.push(line);
        return status;
      }),
      systemClock,
    );
    const { signal } = new AbortController();
    expect(await permission("a.example.com", signal)).toBe(true);
    expect(seen).toEqual(["GET /check a.example.com"]);
    for (const [code, answer] of [
      [204, true],
      [302, false],
      [403, false],
      [404, false],
    ] as const) {
      status = code;
      expect(await permission("a.example.com", signal), String(code)).toBe(answer);
    }
    status = 503;
    await expect(permission("a.example.com", signal)).rejects.toThrow("answered 503");
  });

  test("is given up on when the edge stops", async () => {
    const permission = createPermission({ kind: "allow", allow: () => new Promise(() => {}) }, systemClock);
    const stop = new AbortController();
    const asked = permission("a.example.com", stop.signal);
    stop.abort(new Error("stopping"));
    await expect(asked).rejects.toThrow("stopping");
  });
});
