/** What stands in storage is believed only as far as it can be shown and counted. */
import { randomBytes } from "node:crypto";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import {
  type AgentRow,
  type Card,
  decodeAgents,
  decodeCard,
  decodeChanged,
  decodeServed,
  encodeAgents,
  encodeCard,
  MOST_PART_BYTES,
} from "../../src/fleet/card.ts";
import { agentRow, FACTS } from "./fleet.ts";

const good: Card = {
  ...FACTS,
  id: "edge1",
  at: Date.UTC(2026, 5, 1),
  agents: 0,
  parts: { agents: 0, served: 0, changed: 0 },
};
const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

describe("a card", () => {
  test("is read as it was written, with fields that are not known yet", () => {
    expect(decodeCard(encodeCard(good))).toEqual(good);
    expect(decodeCard(bytesOf({ ...good, later: 1 }))).toMatchObject(good);
    const { tunnel: _, ...untold } = good;
    expect(decodeCard(bytesOf(untold))).toEqual(untold);
  });

  test.each<[string, object]>([
    ["no parts", { parts: null }],
    ["parts without numbers", { parts: { agents: "1" } }],
    ["no addresses", { listen: null }],
    ["half of its addresses", { listen: { http: "[::]:80" } }],
    ["no date that there is", { startedAt: 1e300 }],
    ["no date at all", { startedAt: undefined }],
    ["no time", { at: "now" }],
    ["a state that nobody knows", { state: "resting" }],
    ["problems that are no list", { problems: "many" }],
    ["problems that are no text", { problems: [{}] }],
    ["an address that is no text", { tunnel: {} }],
    ["no name", { name: 7 }],
    ["less than no hosts", { hosts: -1 }],
  ])("with %s is none", (_what, change) => {
    expect(decodeCard(bytesOf({ ...good, ...change }))).toBeUndefined();
  });
});

describe("a part", () => {
  test("of agents is read without the rows that cannot be shown", async () => {
    const wrong = [null, {}, { since: "soon" }, { since: 1e300 }, { labels: null }, { inFlight: "9" }];
    const rows = wrong.map((change) => (change === null ? null : { ...agentRow("bad"), ...change }));
    // An empty change makes a good row.
    const part = await decodeAgents(bytesOf({ number: 3, agents: rows }));
    expect(part).toEqual({ number: 3, agents: [agentRow("bad")] });
    expect(await decodeAgents(bytesOf({ number: 3, agents: {} }))).toBeUndefined();
  });

  test("of generations that are no numbers is none", async () => {
    expect(await decodeServed(bytesOf({ number: 1, generations: null }))).toBeUndefined();
    expect(await decodeServed(bytesOf({ number: 1, generations: { "a.test": "9" } }))).toBeUndefined();
    expect(await decodeServed(bytesOf({ number: 1, generations: { "a.test": 9 } }))).toBeDefined();
    expect(await decodeChanged(bytesOf({ number: 1, generations: { "a.test": null } }))).toBeUndefined();
    expect(
      await decodeChanged(bytesOf({ number: 1, base: 1, generations: { "a.test": null } })),
    ).toBeDefined();
  });

  test("that unpacks to more than memory is for is none", async () => {
    const value = gzipSync(JSON.stringify({ number: 1, generations: {} }));
    expect(await decodeServed(value)).toBeDefined();
    expect(await decodeServed(Buffer.concat([gzipSync(Buffer.alloc(80 << 20, " ")), value]))).toBeUndefined();
  });

  test("of agents that tell much of themselves names as many as fit into a value", async () => {
    const labels = (): Record<string, string> =>
      Object.fromEntries(Array.from({ length: 16 }, (_, at) => [`l${at}`, randomBytes(64).toString("hex")]));
    const agents: AgentRow[] = Array.from({ length: 1000 }, (_, at) =>
      agentRow(`a${at}`, { labels: labels() }),
    );
    const bytes = await encodeAgents({ number: 1, agents });
    expect(bytes.length).toBeLessThanOrEqual(MOST_PART_BYTES);
    const named = (await decodeAgents(bytes))?.agents ?? [];
    expect(named.length).toBeGreaterThan(100);
    expect(named).toEqual(agents.slice(0, named.length));
  });
});
