import { beforeEach, describe, expect, test } from "vitest";
import type { BackendConfig, DnsConfig, HealthConfig, ServerConfig } from "../../src/config/config.ts";
import type { BackendInput } from "../../src/config/input.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { type Backends, createBackends } from "../../src/edge/backends.ts";
import type { Transport } from "../../src/exchange/dispatch.ts";
import { type Log, silentLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import type { FixedServer } from "../../src/proxy/probe.ts";
import { good } from "../config/malformed.ts";
import { type ManualClock, manualClock } from "../support/manual-clock.ts";

let clock: ManualClock;
/** What each name stands for; undefined never answers, null does not exist. */
let names: Record<string, string[] | null | undefined>;
let asked: string[];
let made: string[];
let closed: string[];
let checked: (FixedServer | undefined)[];
let asks: HealthConfig[];
let logged: string[];
let well: boolean;
let backends: Backends;

beforeEach(() => {
  clock = manualClock();
  [names, asked, made, closed, checked, asks, logged, well] = [{}, [], [], [], [], [], [], true];
  const note = (event: string): void => void logged.push(event);
  const log: Log = { ...silentLog, info: note, warn: note };
  backends = createBackends({
    clock,
    random: () => 0.5,
    log,
    metrics: createMetrics(),
    transport(server: ServerConfig): Transport {
      made.push(server.id);
      return {
        dispatch: () => () => {},
        async close() {
          closed.push(server.id);
        },
      };
    },
    async check(_server, health, fixed) {
      asks.push(health);
      checked.push(fixed);
      return well;
    },
    resolve:
      () =>
      async ({ name }) => {
        asked.push(name);
        const addresses = names[name];
        if (addresses === undefined) return new Promise(() => {});
        if (addresses === null) throw Object.assign(new Error(name), { code: "ENOTFOUND" });
        return { endpoints: addresses.map((address) => ({ address })), ttlMs: 10_000 };
      },
  });
});

function configs(web: BackendInput): ReadonlyMap<string, BackendConfig> {
  return resolveConfig({ ...good, backends: { web } }).backends;
}
const dns: DnsConfig = resolveConfig(good).dns;
const update = (web: BackendInput): Promise<void> => backends.update(configs(web), dns);
const ids = (): string[] =>
  backends
    .get("web")!
    .pool.members()
    .map(({ id }) => id);

describe("an update", () => {
  test("adds addresses at once, and names when they are known", async () => {
    names["web.test"] = ["10.0.0.1", "10.0.0.2"];
    const updated = update({ servers: ["http://10.0.0.9", "http://web.test"] });
    expect(ids()).toEqual(["http://10.0.0.9"]);
    await updated;
    expect(ids()).toEqual(["http://10.0.0.9", "http://web.test (10.0.0.1)", "http://web.test (10.0.0.2)"]);
  });

  test("waits three seconds for a name, and no longer", async () => {
    let done = false;
    void update({ servers: ["http://slow.test"] }).then(() => {
      done = true;
    });
    await clock.advance(2999);
    expect(done).toBe(false);
    await clock.advance(1);
    expect(done).toBe(true);
    expect(ids()).toEqual([]);
  });

  test("does not wait for a name that does not exist", async () => {
    names["no.test"] = null;
    await update({ servers: ["http://no.test"] });
    expect(ids()).toEqual([]);
    expect(logged).toEqual(["dns.failed"]);
  });

  test("goes on with the servers it had until the new names are known", async () => {
    names["old.test"] = ["10.0.0.1"];
    await update({ servers: ["http://old.test"] });
    const updated = update({ servers: ["http://new.test"] });
    await clock.advance(3000);
    await updated;
    expect(ids()).toEqual(["http://old.test (10.0.0.1)"]);
    names["old.test"] = ["10.0.0.2"];
    await clock.advance(10_000);
    expect(ids()).toEqual(["http://old.test (10.0.0.2)"]);
    expect(closed).toEqual(["http://old.test (10.0.0.1)"]);
  });

  test("then lets the old ones go", async () => {
    names["old.test"] = ["10.0.0.1"];
    names["new.test"] = ["10.0.0.7"];
    await update({ servers: ["http://old.test"] });
    await update({ servers: ["http://new.test"] });
    expect(ids()).toEqual(["http://new.test (10.0.0.7)"]);
    expect(closed).toEqual(["http://old.test (10.0.0.1)"]);
    asked.length = 0;
    await clock.advance(60_000);
    expect(new Set(asked)).toEqual(new Set(["new.test"]));
  });

  test("asks for no name again that it knows, and keeps its servers as they are", async () => {
    names["web.test"] = ["10.0.0.1"];
    await update({ servers: ["http://web.test"] });
    const [before] = backends.get("web")!.pool.members();
    names["web.test"] = undefined;
    await update({ servers: ["http://web.test", "http://10.0.0.9"], health: { path: "/up" } });
    expect(asked).toEqual(["web.test"]);
    expect(backends.get("web")!.pool.members()[0]).toBe(before);
    expect(made).toEqual(["http://web.test (10.0.0.1)", "http://10.0.0.9"]);
  });

  test.each<[string, BackendInput]>([
    ["a timeout", { bodyTimeoutMs: 5 }],
    ["a total timeout", { totalTimeoutMs: 5 }],
    ["TLS", { tls: { verify: false } }],
  ])("of %s makes servers anew", async (_what, change) => {
    await update({ servers: ["https://10.0.0.1"] });
    await update({ servers: ["https://10.0.0.1"] });
    expect(made).toHaveLength(1);
    await update({ servers: ["https://10.0.0.1"], ...change });
    expect(made).toHaveLength(2);
    expect(closed).toEqual(["https://10.0.0.1"]);
  });

  test("without a backend stops following its names", async () => {
    names["web.test"] = ["10.0.0.1"];
    await update({ servers: ["http://web.test"] });
    await backends.update(new Map());
    await clock.advance(60_000);
    expect(asked).toEqual(["web.test"]);
    expect(closed).toEqual(["http://web.test (10.0.0.1)"]);
  });
});

describe("a server behind a name", () => {
  test("leaves and joins as DNS says; those that stay are the same", async () => {
    names["web.test"] = ["10.0.0.1", "10.0.0.2"];
    await update({ servers: ["http://web.test"] });
    const stays = backends.get("web")!.pool.members()[1];
    names["web.test"] = ["10.0.0.2", "10.0.0.3"];
    await clock.advance(10_000);
    expect(ids()).toEqual(["http://web.test (10.0.0.2)", "http://web.test (10.0.0.3)"]);
    expect(backends.get("web")!.pool.members()[0]).toBe(stays);
    expect(closed).toEqual(["http://web.test (10.0.0.1)"]);
  });

  test("that is ejected has its name asked for at once", async () => {
    names["web.test"] = ["10.0.0.1", "10.0.0.2"];
    await update({ servers: ["http://web.test"] });
    await clock.advance(2000);
    const { pool } = backends.get("web")!;
    const [, other] = pool.members();
    names["web.test"] = ["10.0.0.2"];
    for (let i = 0; i < 3; i++) pool.lease([other!])!.settle("unreachable");
    await clock.advance(0);
    expect(asked).toHaveLength(2);
    expect(ids()).toEqual(["http://web.test (10.0.0.2)"]);
  });

  test("is checked by what the config says of it, and forgotten when it leaves", async () => {
    names["web.test"] = ["10.0.0.1"];
    await update({ servers: ["http://web.test"], health: {} });
    expect(checked[0]?.server).toMatchObject({ host: "web.test", address: "10.0.0.1" });
    names["web.test"] = ["10.0.0.2"];
    await clock.advance(10_000);
    checked.length = 0;
    await clock.advance(30_000);
    expect(checked.length).toBeGreaterThan(0);
    expect(new Set(checked.map((fixed) => fixed?.server.address))).toEqual(new Set(["10.0.0.2"]));
  });
});

describe("a server that refuses connections", () => {
  test("is knocked at over TCP alone, and gets a request as soon as it opens", async () => {
    well = false;
    await update({ servers: ["http://10.0.0.1", "http://10.0.0.2"], connectTimeoutMs: 700 });
    const { pool } = backends.get("web")!;
    const [gone, other] = pool.members();
    for (let i = 0; i < 3; i++) pool.lease([other!])!.settle("unreachable");
    await clock.advance(60_000);
    expect(new Set(checked.map((fixed) => fixed?.server.host))).toEqual(new Set(["10.0.0.1"]));
    expect(asks.at(-1)).toMatchObject({ tcp: true, timeoutMs: 700 });
    pool.lease()!.settle("abandoned");
    expect(gone!.leases).toBe(3);
    well = true;
    await clock.advance(1100);
    pool.lease()!.settle("ok");
    expect([gone!.leases, gone!.state]).toEqual([4, "available"]);
    checked.length = 0;
    await clock.advance(60_000);
    expect(checked).toEqual([]);
  });

  test("is left alone once its backend is gone", async () => {
    well = false;
    await update({ servers: ["http://10.0.0.1", "http://10.0.0.2"] });
    const { pool } = backends.get("web")!;
    for (let i = 0; i < 3; i++) pool.lease([pool.members()[1]!])!.settle("unreachable");
    await backends.update(new Map(), dns);
    await clock.advance(60_000);
    expect(checked).toEqual([]);
  });
});

describe("health checks", () => {
  test("go on over an update that does not touch them", async () => {
    await update({ servers: ["http://10.0.0.1"], health: { intervalMs: 10_000 } });
    await clock.advance(5000);
    await update({ servers: ["http://10.0.0.1", "http://10.0.0.2"], health: { intervalMs: 10_000 } });
    expect(checked).toHaveLength(2);
    await clock.advance(5000);
    expect(checked).toHaveLength(3);
  });

  test("take a server out that fails its first one; without them it is back", async () => {
    well = false;
    await update({ servers: ["http://10.0.0.1"], health: {} });
    await clock.advance(0);
    expect(backends.get("web")!.pool.members()[0]!.state).toBe("unhealthy");
    await update({ servers: ["http://10.0.0.1"] });
    expect(backends.get("web")!.pool.members()[0]!.state).toBe("available");
    checked.length = 0;
    await clock.advance(60_000);
    expect(checked).toEqual([]);
  });
});

test("closing closes every transport and asks no more", async () => {
  names["web.test"] = ["10.0.0.1"];
  await update({ servers: ["http://web.test", "http://10.0.0.9"], health: {} });
  await backends.close();
  expect(closed.sort()).toEqual(["http://10.0.0.9", "http://web.test (10.0.0.1)"]);
  asked.length = checked.length = 0;
  await clock.advance(60_000);
  expect([asked, checked]).toEqual([[], []]);
});

test("containers that say to be in ever new places make no more than a hundred series", async () => {
  const metrics = createMetrics();
  const transport = { dispatch: () => () => {}, async close() {} } satisfies Transport;
  const located = createBackends({
    ...{ clock, random: () => 0.5, log: silentLog, metrics, location: "yvr" },
    transport: () => transport,
    check: async () => true,
    resolve: () => () => new Promise(() => {}),
  });
  await located.update(configs({}), dns);
  const { pool } = located.get("web")!;
  for (let at = 0; at < 150; at++) {
    pool.add({ id: `wormhole:${at}`, transport, location: `place${at}` });
    pool.lease()?.settle("ok");
    pool.remove(`wormhole:${at}`);
  }
  const series = (await metrics.expose()).match(/^skerry_upstream_spilled_total\{.*$/gm) ?? [];
  expect(series.length).toBe(101);
  expect(series).toContain(
    'skerry_upstream_spilled_total{backend="web",location="other",reason="no local"} 50',
  );
  await located.close();
});
