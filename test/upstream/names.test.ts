import { beforeEach, describe, expect, test } from "vitest";
import type { ServerConfig } from "../../src/config/config.ts";
import { type Log, silentLog } from "../../src/log.ts";
import { followServers, isNamed, memberOf } from "../../src/upstream/following.ts";
import { type Answer, createNames, type NameBounds, type Names } from "../../src/upstream/names.ts";
import { type ManualClock, manualClock } from "../support/manual-clock.ts";

let clock: ManualClock;
let bounds: NameBounds;
/** What DNS says; a text is a failure with that code. */
let says: (Answer | string) | undefined;
let asked: number[];
let logged: string[];
let names: Names;
let changes: number;

const answer = (ttl: number | undefined, ...addresses: string[]): Answer => ({
  endpoints: addresses.map((address) => ({ address })),
  ttlMs: ttl === undefined ? undefined : ttl * 1000,
});
const web = { name: "web.test", srv: false };

beforeEach(() => {
  clock = manualClock();
  bounds = { minTtlMs: 1000, maxTtlMs: 60_000, keepStaleMs: 300_000 };
  asked = [];
  logged = [];
  changes = 0;
  says = answer(10, "10.0.0.1");
  const note = (event: string, fields?: Record<string, unknown>): void =>
    void logged.push(`${event} ${fields?.code ?? fields?.addresses}`);
  const log: Log = { ...silentLog, info: note, warn: note };
  names = createNames({
    clock,
    log,
    bounds: () => bounds,
    resolve: async () => {
      asked.push(clock.now());
      if (says === undefined) return new Promise(() => {});
      if (typeof says === "string") throw Object.assign(new Error(says), { code: says });
      return says;
    },
  });
});
const watch = (question = web): ReturnType<Names["watch"]> => names.watch(question, () => changes++);

describe("a name", () => {
  test("is asked for at once, and again each time its TTL runs out", async () => {
    const watched = watch();
    await watched.ready;
    expect(watched.endpoints).toEqual([{ address: "10.0.0.1" }]);
    await clock.advance(25_000);
    expect(asked).toEqual([0, 10_000, 20_000]);
    expect(changes).toBe(1);
  });

  test.each([
    [0, 1000],
    [600, 60_000],
    [undefined, 5000],
  ])("with a TTL of %s s is asked for again after %i ms", async (ttl, ms) => {
    says = answer(ttl, "10.0.0.1");
    await watch().ready;
    await clock.advance(ms - 1);
    expect(asked).toHaveLength(1);
    await clock.advance(1);
    expect(asked).toHaveLength(2);
  });

  test("tells of a change, and not of another order", async () => {
    says = answer(1, "10.0.0.1", "10.0.0.2");
    const watched = watch();
    await watched.ready;
    says = answer(1, "10.0.0.2", "10.0.0.1");
    await clock.advance(1000);
    expect(changes).toBe(1);
    says = answer(1, "10.0.0.2", "10.0.0.3");
    await clock.advance(1000);
    expect(changes).toBe(2);
    expect(watched.endpoints.map(({ address }) => address)).toEqual(["10.0.0.2", "10.0.0.3"]);
  });

  test("is asked for once for all who watch, until the last one stops", async () => {
    const [one, two] = [watch(), watch()];
    await one.ready;
    expect(asked).toHaveLength(1);
    expect(changes).toBe(2);
    one.stop();
    one.stop();
    await clock.advance(10_000);
    expect(asked).toHaveLength(2);
    two.stop();
    await clock.advance(60_000);
    expect(asked).toHaveLength(2);
    expect(clock.pending()).toBe(0);
  });

  test("stopped while it is asked for says nothing any more", async () => {
    const watched = watch();
    watched.stop();
    await watched.ready;
    await clock.advance(60_000);
    expect(changes).toBe(0);
  });

  test("is asked for sooner in a hurry, within the bounds", async () => {
    says = answer(60, "10.0.0.1");
    const watched = watch();
    await watched.ready;
    watched.hurry();
    watched.hurry();
    await clock.advance(999);
    expect(asked).toHaveLength(1);
    await clock.advance(1);
    expect(asked).toEqual([0, 1000]);
    await clock.advance(30_000);
    watched.hurry();
    await clock.advance(0);
    expect(asked).toEqual([0, 1000, 31_000]);
  });

  test("that never answers keeps nobody from being asked later", async () => {
    says = undefined;
    const watched = watch();
    watched.hurry();
    await clock.advance(60_000);
    expect(asked).toHaveLength(1);
  });
});

describe("a name that cannot be resolved", () => {
  test.each(["ESERVFAIL", "ENOTFOUND", "ETIMEOUT"])(
    "for %s keeps its last addresses, and is logged once",
    async (code) => {
      const watched = watch();
      await watched.ready;
      says = code;
      await clock.advance(250_000);
      expect(watched.endpoints).toEqual([{ address: "10.0.0.1" }]);
      expect(logged).toEqual([`dns.failed ${code}`]);
      says = answer(10, "10.0.0.2");
      await clock.advance(15_000);
      expect(watched.endpoints).toEqual([{ address: "10.0.0.2" }]);
      expect(logged.at(-1)).toBe("dns.restored 1");
    },
  );

  test("is asked for after 1, 2, 4, 8 and then each 15 s", async () => {
    says = "ESERVFAIL";
    await watch().ready;
    await clock.advance(45_000);
    expect(asked).toEqual([0, 1000, 3000, 7000, 15_000, 30_000, 45_000]);
  });

  test("loses its addresses after keepStaleMs, to the millisecond, and finds them again", async () => {
    bounds = { ...bounds, keepStaleMs: 20_000 };
    const watched = watch();
    await watched.ready;
    says = "ENOTFOUND";
    await clock.advance(19_999);
    expect(watched.endpoints).toHaveLength(1);
    await clock.advance(1);
    expect(watched.endpoints).toEqual([]);
    expect(changes).toBe(2);
    expect(logged).toEqual(["dns.failed ENOTFOUND", "dns.expired 1"]);
    says = answer(10, "10.0.0.1");
    await clock.advance(15_000);
    expect(watched.endpoints).toHaveLength(1);
  });

  test("is ready with its first failure", async () => {
    says = "ENOTFOUND";
    const watched = watch();
    await watched.ready;
    expect(watched.endpoints).toEqual([]);
  });
});

describe("the servers of a config", () => {
  const server = (host: string, more: Partial<ServerConfig> = {}): ServerConfig => ({
    id: `http://${host}:8000`,
    protocol: "http",
    host,
    port: 8000,
    weight: 2,
    ...more,
  });

  test.each([
    ["web.internal", {}, true],
    ["web", {}, true],
    ["10.0.0.1", {}, false],
    ["fd00::1", {}, false],
    ["localhost", {}, false],
    ["a.LOCALHOST.", {}, false],
    ["notlocalhost", {}, true],
    ["localhost", { socket: "/run/a.sock" }, false],
    ["localhost", { srv: true }, true],
  ])("%s with %j is followed: %s", (host, more, named) => {
    expect(isNamed(server(host, more))).toBe(named);
  });

  test("stand for all their endpoints, which carry the name and the address", () => {
    expect(memberOf(server("web.test"), { address: "10.0.0.5" })).toEqual({
      ...server("web.test"),
      id: "http://web.test:8000 (10.0.0.5)",
      address: "10.0.0.5",
    });
    const srv = { ...server("web.test", { srv: true, port: 0 }), id: "srv+http://web.test" };
    expect(memberOf(srv, { address: "fd00::5", port: 81, weight: 5 })).toMatchObject({
      id: "srv+http://web.test ([fd00::5]:81)",
      address: "fd00::5",
      port: 81,
      weight: 10,
    });
  });

  test("are members as they are, or as soon as their names are known", async () => {
    const following = followServers([server("10.0.0.9"), server("web.test")], names, () => changes++);
    expect(following.current().map(({ id }) => id)).toEqual(["http://10.0.0.9:8000"]);
    await following.ready;
    expect(following.current().map(({ id }) => id)).toEqual([
      "http://10.0.0.9:8000",
      "http://web.test:8000 (10.0.0.1)",
    ]);
    expect(changes).toBe(1);
    following.stop();
    expect(clock.pending()).toBe(0);
  });
});
