/** Who is there and who is not, with clocks that tests move. */
import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import { LOAD_MS } from "../../src/fleet/announcer.ts";
import { BEAT_MS, cardKey, decodeCard, FORGET_MS, partKey, STALE_MS } from "../../src/fleet/card.ts";
import { liveView } from "../../src/fleet/view.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { type ManualClock, manualClock } from "../support/manual-clock.ts";
import { agentRow, type Member, member } from "./fleet.ts";

/** Memory that counts what is written, and that can be away. */
function watched(): Storage & {
  writes: { key: string; bytes: number }[];
  gone: boolean;
  fails: boolean;
} {
  const inner = createMemoryStorage();
  const made = {
    ...inner,
    writes: [] as { key: string; bytes: number }[],
    gone: false,
    fails: false,
    async store(key: string, value: Uint8Array) {
      if (made.fails || made.gone) throw new Error("no room");
      made.writes.push({ key, bytes: value.length });
      await inner.store(key, value);
    },
    async list(prefix: string) {
      if (made.fails) throw new Error("cannot list");
      return inner.list(prefix);
    },
    away: () => (made.gone ? { since: 0, reason: "cut" } : undefined),
  };
  return made;
}

async function fleet(count: number, clock: ManualClock = manualClock()) {
  const storage = watched();
  const members: Member[] = [];
  for (let index = 0; index < count; index++) {
    const one = member(`edge${index}`, storage, { clock });
    await one.start();
    members.push(one);
  }
  await clock.advance(1000);
  return { storage, clock, members };
}

describe("edges that share storage", () => {
  test("see each other within a second, and not themselves", async () => {
    const { members } = await fleet(3);
    expect(members[0]!.sees()).toEqual(["edge1", "edge2"]);
    expect(members[2]!.sees()).toEqual(["edge0", "edge1"]);
    expect(members[0]!.events.filter((event) => event === "fleet.edge_joined").length).toBe(2);
  });

  test("are seen, and missed, though another's card is damaged", async () => {
    const { storage, members, clock } = await fleet(2);
    const { load } = storage;
    const damaged = "aforged";
    await storage.store(cardKey(damaged), new Uint8Array([1]));
    storage.load = async (key) => {
      if (key === cardKey(damaged)) throw new EdgeError("STORAGE_CORRUPT", "does not open");
      return load(key);
    };
    const late = member("late", storage, { clock });
    await late.start();
    await clock.advance(BEAT_MS * 2);
    expect(members[0]!.sees()).toEqual(["edge1", "late"]);
    expect(late.sees()).toEqual(["edge0", "edge1"]);
    await members[1]!.die();
    await clock.advance(STALE_MS + BEAT_MS);
    expect(late.sees()).toEqual(["edge0"]);
    expect(late.events.filter((event) => event === "fleet.unknown")).toHaveLength(1);
  });

  test("stay in each other's sight for as long as they speak", async () => {
    const { members, clock } = await fleet(2);
    await clock.advance(600_000);
    expect(members[0]!.sees()).toEqual(["edge1"]);
    expect(members[0]!.events).toEqual(["fleet.edge_joined"]);
  });

  test("one that stops is gone at once, with all that it wrote", async () => {
    const { members, clock, storage } = await fleet(2);
    members[1]!.agents.push(agentRow("a1"));
    members[1]!.nudge();
    await clock.advance(1000);
    expect((await storage.list("edges/")).filter((key) => key.includes("edge1")).length).toBe(3);
    await members[1]!.stop();
    expect((await storage.list("edges/")).filter((key) => key.includes("edge1"))).toEqual([]);
    await clock.advance(1000);
    expect(members[0]!.directory.peers()).toEqual([]);
    expect(members[0]!.events).toContain("fleet.edge_left");
    expect(members[0]!.events).not.toContain("fleet.edge_gone");
  });

  test("one that stops leaves nothing of what it wrote before storage failed", async () => {
    const { members, clock, storage } = await fleet(2);
    members[1]!.agents.push(agentRow("a1"));
    members[1]!.nudge();
    await clock.advance(1000);
    storage.fails = true;
    await clock.advance(BEAT_MS + 1000);
    // What it holds no more it need not tell when storage is back.
    members[1]!.agents.length = 0;
    storage.fails = false;
    await clock.advance(BEAT_MS + 1000);
    expect((await storage.list("edges/")).filter((key) => key.includes("edge1"))).toContain(
      "edges/edge1.agents",
    );
    await members[1]!.stop();
    expect((await storage.list("edges/")).filter((key) => key.includes("edge1"))).toEqual([]);
  });

  test("one that dies is gone half a minute after its last word, shown for ten minutes, and swept", async () => {
    const { members, clock, storage } = await fleet(2);
    await members[1]!.die();
    await clock.advance(STALE_MS - BEAT_MS - 2000);
    expect(members[0]!.sees()).toEqual(["edge1"]);
    await clock.advance(BEAT_MS + 3000);
    expect(members[0]!.sees()).toEqual([]);
    expect(members[0]!.events).toContain("fleet.edge_gone");
    expect(members[0]!.directory.peers()).toMatchObject([{ gone: true, card: { id: "edge1" } }]);
    await clock.advance(FORGET_MS);
    expect(members[0]!.directory.peers()).toEqual([]);
    expect(await storage.list("edges/")).toEqual(
      expect.not.arrayContaining([expect.stringContaining("edge1")]),
    );
  });

  test("clocks that are an hour apart make no difference", async () => {
    const storage = watched();
    const ahead = manualClock(Date.UTC(2026, 5, 1, 13));
    const behind = manualClock(Date.UTC(2026, 5, 1, 12));
    const one = member("ahead", storage, { clock: ahead });
    const two = member("behind", storage, { clock: behind });
    const both = async (ms: number): Promise<void> => {
      for (let passed = 0; passed < ms; passed += 500) {
        await ahead.advance(500);
        await behind.advance(500);
      }
    };
    await one.start();
    await two.start();
    // Who is told of a newcomer by storage knows that it spoke just now, whatever its clock says.
    await both(1000);
    expect(one.sees()).toEqual(["behind"]);
    await both(BEAT_MS * 1.5);
    expect([one.sees(), two.sees()]).toEqual([["behind"], ["ahead"]]);
    await both(FORGET_MS * 1.2);
    expect([one.sees(), two.sees()]).toEqual([["behind"], ["ahead"]]);
    await one.die();
    await both(STALE_MS + 2000);
    expect(two.sees()).toEqual([]);
  });

  test("while storage is away nobody is held to be gone, and when it is back the dead are", async () => {
    const { members, clock, storage } = await fleet(3);
    storage.gone = true;
    await members[2]!.die();
    await clock.advance(600_000);
    expect(members[0]!.sees()).toEqual(["edge1", "edge2"]);
    storage.gone = false;
    await clock.advance(BEAT_MS + 2000);
    expect(members[0]!.sees()).toEqual(["edge1", "edge2"]);
    await clock.advance(STALE_MS);
    expect(members[0]!.sees()).toEqual(["edge1"]);
    expect(members[0]!.events.filter((event) => event === "fleet.presence_failed")).toEqual([]);
  });

  test("storage that fails is told of once, and so is its return", async () => {
    const { members, clock, storage } = await fleet(2);
    storage.fails = true;
    await clock.advance(120_000);
    storage.fails = false;
    await clock.advance(30_000);
    expect(members[0]!.events.filter((event) => event !== "fleet.edge_joined")).toEqual([
      "fleet.unknown",
      "fleet.presence_failed",
      "fleet.presence_back",
    ]);
    expect(members[0]!.sees()).toEqual(["edge1"]);
  });

  test("one that was swept while its machine slept tells everything anew", async () => {
    const storage = watched();
    const clock = manualClock();
    // A monotonic clock does not count sleep, the one on the wall does.
    const sleeper = manualClock();
    let slept = 0;
    const one = member("awake", storage, { clock });
    const two = member("asleep", storage, { clock: { ...sleeper, wall: () => sleeper.wall() + slept } });
    two.served.set("a.example.com", 3);
    await one.start();
    await two.start();
    await clock.advance(2000);
    expect(one.sees()).toEqual(["asleep"]);
    await clock.advance(FORGET_MS + STALE_MS);
    slept = FORGET_MS + STALE_MS;
    expect((await storage.list("edges/")).filter((key) => key.includes("asleep"))).toEqual([]);
    await sleeper.advance(BEAT_MS + 1000);
    await clock.advance(2000);
    expect(await liveView(one.directory.peers(), "a.example.com")).toMatchObject({ live: 1, of: 1 });
  });

  test("one that is back is not swept, though the word of it was lost", async () => {
    const clock = manualClock();
    const storage = watched();
    const listeners = new Set<(key: string) => void>();
    let lost = false;
    const telling: Storage = {
      ...storage,
      async store(key, value) {
        await storage.store(key, value);
        if (!lost) for (const listener of listeners) listener(key);
      },
      watch(_prefix, listener) {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    };
    const one = member("one", telling, { clock });
    const other = member("other", telling, { clock });
    await one.start();
    await other.start();
    await clock.advance(2000);
    expect(one.sees()).toEqual(["other"]);
    await other.die();
    await clock.advance(STALE_MS + 5000);
    expect(one.sees()).toEqual([]);
    lost = true;
    const again = member("other", telling, { clock });
    await again.start();
    const deleted: string[] = [];
    telling.delete = async (key) => void deleted.push(key);
    await clock.advance(FORGET_MS);
    expect(one.sees()).toEqual(["other"]);
    expect(deleted).toEqual([]);
    for (const each of [one, again]) await each.stop();
  });

  test("a card that is no card harms nobody", async () => {
    const { members, clock, storage } = await fleet(2);
    for (const text of ["", "null", "[]", '{"id":"x"}', '{"id":"wrong","at":1,"parts":{},"listen":{}}'])
      await storage.store(cardKey(`bad${text.length}`), new TextEncoder().encode(text));
    await clock.advance(5000);
    expect(members[0]!.sees()).toEqual(["edge1"]);
    expect(decodeCard(new TextEncoder().encode("{"))).toBeUndefined();
  });
});

describe("what is told", () => {
  test("a quiet edge writes one card of less than a kilobyte every ten seconds, and nothing else", async () => {
    const { storage, clock, members } = await fleet(1);
    members[0]!.served.set("a.example.com", 1);
    members[0]!.agents.push(agentRow("a1"));
    await clock.advance(2 * BEAT_MS);
    storage.writes.length = 0;
    await clock.advance(100 * BEAT_MS);
    expect(new Set(storage.writes.map(({ key }) => key))).toEqual(new Set([cardKey("edge0")]));
    expect(storage.writes.length).toBeGreaterThan(90);
    expect(storage.writes.length).toBeLessThan(111);
    expect(Math.max(...storage.writes.map(({ bytes }) => bytes))).toBeLessThan(1000);
  });

  test("an agent that joins is seen from the other edge within a second or so, its load within a minute", async () => {
    const { members, clock } = await fleet(2);
    const seen = async () => (await members[0]!.directory.peers()[0]!.agents())?.agents ?? [];
    members[1]!.agents.push(agentRow("a1"));
    members[1]!.nudge();
    await clock.advance(1300);
    expect(await seen()).toMatchObject([{ instance: "a1", inFlight: 0 }]);
    members[1]!.agents[0] = agentRow("a1", { inFlight: 7 });
    await clock.advance(LOAD_MS + BEAT_MS + 2000);
    expect(await seen()).toMatchObject([{ instance: "a1", inFlight: 7 }]);
    members[1]!.agents.length = 0;
    members[1]!.nudge();
    await clock.advance(2000);
    expect(await seen()).toEqual([]);
  });

  test("load that changes without end is told once in a minute, and at once with what lasts", async () => {
    const { storage, clock, members } = await fleet(2);
    const told = (): number => storage.writes.filter(({ key }) => key === partKey("edge1", "agents")).length;
    for (let beat = 0; beat < 60; beat++) {
      members[1]!.agents[0] = agentRow("a1", { inFlight: beat + 1 });
      members[1]!.nudge();
      await clock.advance(BEAT_MS);
    }
    // Ten minutes.
    expect(told()).toBeGreaterThanOrEqual(9);
    expect(told()).toBeLessThanOrEqual(11);
    const before = told();
    members[1]!.agents[0] = agentRow("a1", { inFlight: 3, state: "ejected" });
    members[1]!.nudge();
    await clock.advance(BEAT_MS + 1000);
    expect(told()).toBe(before + 1);
    expect((await members[0]!.directory.peers()[0]!.agents())?.agents).toMatchObject([
      { inFlight: 3, state: "ejected" },
    ]);
  });

  test("changes without end are told once in ten seconds, and one after a pause at once", async () => {
    const { storage, clock, members } = await fleet(1);
    await clock.advance(5000);
    storage.writes.length = 0;
    for (let tick = 0; tick < 600; tick++) {
      members[0]!.served.set("a.example.com", tick);
      members[0]!.nudge();
      await clock.advance(100);
    }
    const cards = storage.writes.filter(({ key }) => key === cardKey("edge0")).length;
    // A minute: seven beats, and the nudges at 0.2, 1.2, 3.2, 7.2, … seconds.
    expect(cards).toBeLessThan(18);
    await clock.advance(60_000);
    storage.writes.length = 0;
    members[0]!.served.set("a.example.com", 10_000);
    members[0]!.nudge();
    await clock.advance(250);
    expect(storage.writes.map(({ key }) => key)).toContain("edges/edge0.served");
  });

  test("of ten thousand hosts one renewal costs each edge two small writes", async () => {
    const { storage, clock, members } = await fleet(2);
    const [one, other] = members as [Member, Member];
    for (let index = 0; index < 10_000; index++)
      one.served.set(`h${index}.customers.example.com`, 1 + (index % 7));
    const live = (host: string) => liveView(other.directory.peers(), host);
    /** Packing takes real time, which this clock knows nothing of. */
    const told = async (host: string, what: object): Promise<void> => {
      for (let tries = 0; tries < 3000; tries++) {
        await clock.advance(100);
        if (isDeepStrictEqual({ ...(await live(host)), ...what }, await live(host))) return;
      }
      expect(await live(host)).toMatchObject(what);
    };
    one.nudge();
    await told("h9.customers.example.com", { generation: 3, live: 1, of: 1 });
    const base = storage.writes.find(({ key }) => key === "edges/edge0.served");
    expect(base?.bytes).toBeLessThan(100_000);
    await clock.advance(60_000);
    storage.writes.length = 0;
    one.served.set("h9.customers.example.com", 8);
    one.nudge();
    await clock.advance(250);
    const keys = storage.writes.map(({ key }) => key).filter((key) => key.includes("edge0"));
    expect(keys.slice(0, 2)).toEqual(["edges/edge0.changed", cardKey("edge0")]);
    // A beat may fall into the moment, and is a card.
    expect(new Set(keys).size).toBe(2);
    await told("h9.customers.example.com", { generation: 8, live: 1 });
    expect(await live("h8.customers.example.com")).toMatchObject({ generation: 2, live: 1 });
    // One that is gone from the config is served no more.
    one.served.delete("h8.customers.example.com");
    one.nudge();
    await told("h8.customers.example.com", { live: 0 });
  });
});
