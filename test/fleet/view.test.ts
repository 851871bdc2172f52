/** What operators are shown, from what edges say. */
import { describe, expect, test } from "vitest";
import { agentsText, edgesText } from "../../src/cli/presence.ts";
import { span } from "../../src/cli/table.ts";
import type { AgentRow, Card, ServedPart } from "../../src/fleet/card.ts";
import type { Peer } from "../../src/fleet/directory.ts";
import { createServedLog, generationOf, MOST_CHANGES, MOST_HOSTS } from "../../src/fleet/served.ts";
import { agentViews, edgeViews, type FleetFacts, liveView } from "../../src/fleet/view.ts";
import { agentRow, FACTS } from "./fleet.ts";

interface Said {
  card?: Partial<Card>;
  gone?: boolean;
  heardMsAgo?: number;
  agents?: AgentRow[];
  generations?: Record<string, number>;
}

function peer(
  id: string,
  { card, gone = false, heardMsAgo = 3000, agents = [], generations }: Said = {},
): Peer {
  const served = generations && { number: 1, generations };
  return {
    card: {
      ...FACTS,
      ...{ id, name: `machine-${id}`, location: id, at: 0, agents: agents.length },
      parts: { agents: 0, served: 0, changed: 0 },
      ...card,
    },
    gone,
    heardMsAgo,
    agents: async () => ({ number: 1, agents }),
    served: async () => ({ served, changed: undefined }),
  };
}

const FACTS_OF: FleetFacts = { storage: "nats", away: null, answeredBy: "yvr" };
const HOST = "app.example.com";

describe("on how many edges a certificate is live", () => {
  test("counts edges that are there and have the host, and names those that lag", async () => {
    const peers = [
      peer("yvr", { generations: { [HOST]: 3 } }),
      peer("fra", { generations: { [HOST]: 2 } }),
      peer("syd", { generations: { [HOST]: 0 } }),
      peer("gru", { generations: { "other.example.com": 9 } }),
      peer("jnb", { generations: { [HOST]: 1 }, gone: true }),
      peer("nrt", { generations: { [HOST]: 1 }, card: { state: "draining" } }),
      peer("cdg"),
    ];
    const view = await liveView(peers, HOST);
    expect(view).toMatchObject({ generation: 3, live: 1, of: 4 });
    expect(view.missing.map(({ location, generation }) => [location, generation])).toEqual([
      ["cdg", null],
      ["fra", 2],
      ["syd", 0],
    ]);
  });

  test("is none where storage holds a newer one than any edge serves", async () => {
    const peers = [peer("yvr", { generations: { [HOST]: 3 } }), peer("fra", { generations: { [HOST]: 3 } })];
    expect(await liveView(peers, HOST)).toMatchObject({ generation: 3, live: 2, of: 2 });
    expect(await liveView(peers, HOST, 4)).toMatchObject({ generation: 4, live: 0, of: 2 });
  });

  test("goes for own files too, which have no number that others know", async () => {
    const peers = [peer("yvr", { generations: { [HOST]: -1 } }), peer("fra", { generations: { [HOST]: 0 } })];
    expect(await liveView(peers, HOST)).toMatchObject({ live: 1, of: 2 });
  });
});

describe("containers", () => {
  test("are shown once, with every edge that holds them and those that do not", async () => {
    const peers = [
      peer("yvr", {
        agents: [agentRow("a1", { inFlight: 2, since: 2000 }), agentRow("b1", { app: "waldorf" })],
      }),
      peer("fra", { agents: [agentRow("a1", { inFlight: 3, since: 1000, state: "silent" })] }),
      peer("syd", { card: { tunnel: undefined } }),
      peer("jnb", { gone: true, agents: [agentRow("c1")] }),
    ];
    const { agents, of } = await agentViews(peers);
    expect(of).toBe(2);
    expect(agents).toMatchObject([
      { app: "statler", state: "mixed", inFlight: 5, since: new Date(1000).toISOString(), missing: [] },
      { app: "waldorf", state: "available", missing: [{ location: "fra" }] },
    ]);
    const text = agentsText({ ...FACTS_OF, agents, of, unnamed: 0 }, 3_601_000);
    expect(text).toMatch(/^BACKEND +NAME +INSTANCE +STATE +EDGES +IN FLIGHT +SINCE +RELEASE +LABELS$/m);
    expect(text).toMatch(/^web +statler +a1 +MIXED +2\/2 +5 +1h +abc123 +zone=a$/m);
    expect(text).toMatch(/^web\/statler is silent at machine-fra \(fra\)$/m);
    expect(text).toMatch(/^web\/waldorf is not joined at machine-fra \(fra\)$/m);
  });
});

describe("the list of edges", () => {
  test("says in words what is wrong", () => {
    const peers = [
      peer("yvr", { heardMsAgo: 0 }),
      peer("fra", { card: { state: "degraded", problems: [`${HOST}: certificate missing`] } }),
      peer("syd", { gone: true, heardMsAgo: 125_000 }),
    ];
    const text = edgesText({ ...FACTS_OF, edges: edgeViews(peers, "yvr") }, 7_500_000);
    expect(text.split("\n")[0]).toMatch(/^EDGE +ID +LOCATION +STATE +UP +HEARD +VERSION/);
    expect(text).toMatch(/^machine-yvr \* +yvr +yvr +ready +2h 5m +now +1\.2\.3/m);
    expect(text).toMatch(/^machine-fra +fra +fra +DEGRADED +2h 5m +3s ago/m);
    expect(text).toMatch(/^2 of 3 edges are there; \* is the one that answers\.$/m);
    expect(text).toContain(`machine-fra (fra): ${HOST}: certificate missing`);
    expect(text).toContain("machine-syd (syd) is GONE: last heard 2m 5s ago");
  });

  test("tells two edges of one machine apart where it speaks of one", () => {
    const peers = ["91b41356aa", "c0ffee77aa", "021dd1dfaa"].map((id, index) =>
      peer(id, {
        card: { name: index < 2 ? "twin" : "other", location: "fra", problems: ["too warm"] },
        gone: index === 1,
        heardMsAgo: 60_000,
        agents: index === 1 ? [] : [agentRow("a1", { state: index === 0 ? "silent" : "available" })],
      }),
    );
    const text = edgesText({ ...FACTS_OF, edges: edgeViews(peers, undefined) }, 0);
    expect(text).toMatch(/^twin +91b41356 +fra/m);
    expect(text).toContain("twin 91b41356 (fra): too warm");
    expect(text).toContain("twin c0ffee77 (fra) is GONE");
    expect(text).toContain("other (fra): too warm");
  });

  test("says that an edge is alone, that storage is away, and that none was asked", () => {
    const edges = edgeViews([peer("yvr")], "yvr");
    expect(edgesText({ ...FACTS_OF, edges }, 0)).toContain("This edge is alone.");
    const away = { since: "2026-11-23T03:12:44.123Z", reason: "the connection was lost" };
    const dark = edgesText({ ...FACTS_OF, away, edges }, 0);
    expect(dark).toContain("SHARED STORAGE IS AWAY since 2026-11-23 03:12:44 UTC (the connection was lost).");
    expect(dark).toContain("what this edge last knew");
    const nobody = edgesText({ storage: "nats", away, answeredBy: null, edges: [] }, 0);
    expect(nobody).toContain("Nothing is known of the fleet here");
    expect(nobody).toContain("No edge is known.");
    expect(edgesText({ ...FACTS_OF, storage: "folder", edges }, 0)).toContain(
      "only edges that share it are seen",
    );
  });

  test("tells time in two units", () => {
    expect([0, 999, 59_000, 60_000, 3_725_000, 90_061_000, 86_400_000].map(span)).toEqual([
      ...["0s", "0s", "59s", "1m", "1h 2m", "1d 1h", "1d"],
    ]);
  });
});

describe("what an edge serves, told by differences", () => {
  const hosts = (count: number, generation = 1): Map<string, number> =>
    new Map(Array.from({ length: count }, (_, index) => [`h${index}`, generation]));

  test("is told whole at first and after too many changes, and else by what is different", () => {
    const log = createServedLog();
    const many = hosts(2000);
    const first = log.next(many);
    expect(first?.served?.number).toBe(1);
    first?.commit();
    expect(log.next(many)).toBeUndefined();
    let served: ServedPart = first!.served!;
    for (let change = 0; change < MOST_CHANGES; change++) {
      many.set(`h${change}`, 2);
      const told = log.next(many)!;
      expect(Object.keys(told.changed!.generations).length).toBe(change + 1);
      expect(generationOf(`h${change}`, served, told.changed)).toBe(2);
      expect(generationOf(`h${change + 1}`, served, told.changed)).toBe(1);
      told.commit();
    }
    many.set(`h${MOST_CHANGES}`, 2);
    const anew = log.next(many)!;
    expect(anew.changed).toBeUndefined();
    served = anew.served!;
    anew.commit();
    expect([generationOf("h0", served, undefined), generationOf("h1999", served, undefined)]).toEqual([2, 1]);
  });

  test("of more hosts than fit in a value nothing is told, until they are fewer", () => {
    const log = createServedLog();
    expect(log.next(hosts(MOST_HOSTS + 1))).toBeUndefined();
    log.next(hosts(MOST_HOSTS))?.commit();
    const silence = log.next(hosts(MOST_HOSTS + 1));
    expect(silence).toMatchObject({ numbers: { served: 0, changed: 0 } });
    expect(silence?.served).toBeUndefined();
    silence?.commit();
    expect(log.next(hosts(MOST_HOSTS + 1))).toBeUndefined();
    expect(log.next(hosts(3))?.served?.generations).toEqual({ h0: 1, h1: 1, h2: 1 });
  });

  test("what was not written is told again", () => {
    const log = createServedLog();
    const first = log.next(hosts(3))!;
    expect(log.next(hosts(3))?.served?.generations).toEqual(first.served?.generations);
    log.next(hosts(3))?.commit();
    log.forget();
    expect(log.next(hosts(3))?.served).toBeDefined();
  });

  test("changes to another base than the one at hand count for nothing", () => {
    const served = { number: 4, generations: { a: 1 } };
    expect(generationOf("a", served, { number: 6, base: 5, generations: { a: 9 } })).toBe(1);
    expect(generationOf("a", served, { number: 6, base: 4, generations: { a: null } })).toBeUndefined();
    expect(generationOf("toString", served, undefined)).toBeUndefined();
  });
});
