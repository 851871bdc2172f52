/** Presence over every storage that edges can share, each at its own pace; only waits are shortened. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { MOST_AGENTS, STALE_MS } from "../../src/fleet/card.ts";
import { LOOK_MS, readDirectory } from "../../src/fleet/directory.ts";
import { agentViews, liveView } from "../../src/fleet/view.ts";
import { silentLog } from "../../src/log.ts";
import { openFilesystemStorage } from "../../src/storage/filesystem.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import { fleetStatus } from "../../src/storage/nats-admin.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { type JumpingClock, jumpingClock } from "../support/manual-clock.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { eventually } from "../support/processes.ts";
import { agentRow, type Member, member } from "./fleet.ts";

let one: Nats;
let three: Nats;
const keys = [randomBytes(32)];
const ends: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  [one, three] = await Promise.all([startNats(), startNats({ servers: 3 })]);
}, 60_000);
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});
afterAll(async () => {
  await Promise.all([one?.close(), three?.close()]);
});

async function natsPlace(nats: Nats) {
  const folder = await mkdtemp(join(tmpdir(), "skerry-fleet-"));
  ends.push(() => rm(folder, { recursive: true, force: true }));
  const place = { servers: nats.servers, bucket: `b${randomBytes(8).toString("hex")}` };
  let opened = 0;
  const options = () => ({
    ...{ place, keys, clock: systemClock, log: silentLog },
    copy: join(folder, String(opened++)),
  });
  return { options, open: async () => openNatsStorage(options()) };
}

const PLACES: Record<string, () => Promise<() => Promise<Storage>>> = {
  memory: async () => {
    const only = createMemoryStorage();
    return async () => only;
  },
  "a folder": async () => {
    const folder = await mkdtemp(join(tmpdir(), "skerry-fleet-"));
    ends.push(() => rm(folder, { recursive: true, force: true }));
    return async () => openFilesystemStorage(folder, { clock: systemClock, log: silentLog });
  },
  "one NATS server": async () => (await natsPlace(one)).open,
  "a NATS cluster of three": async () => (await natsPlace(three)).open,
};

async function started(
  id: string,
  open: () => Promise<Storage>,
  clock: JumpingClock,
): Promise<Member & { storage: Storage }> {
  const storage = await open();
  await storage.check();
  const made = Object.assign(member(id, storage, { clock }), { storage });
  ends.push(async () => {
    await made.stop();
    await storage.close();
  });
  await made.start();
  return made;
}

describe.each(Object.keys(PLACES))("over %s", (name) => {
  test("edges see each other, what they hold and what they serve; who stops is gone at once, who dies ages", async () => {
    const open = await PLACES[name]!();
    const clock = jumpingClock();
    const yvr = await started("yvr", open, clock);
    const fra = await started("fra", open, clock);
    const syd = await started("syd", open, clock);
    await eventually("all are seen", () => yvr.sees().length + fra.sees().length + syd.sees().length === 6);

    const began = performance.now();
    fra.agents.push(agentRow("a1", { inFlight: 3 }));
    for (const edge of [yvr, fra, syd]) edge.served.set("app.example.com", 1);
    fra.served.set("app.example.com", 2);
    for (const edge of [yvr, fra, syd]) edge.nudge();
    await eventually("the agent is seen", async () => {
      const { agents } = await agentViews(yvr.directory.peers());
      return agents.length === 1 && agents[0]!.missing.map(({ id }) => id).join() === "syd";
    });
    await eventually("the others' certificates are known", async () => {
      const view = await liveView(syd.directory.peers(), "app.example.com");
      return view.generation === 2 && view.missing.map(({ id }) => id).join() === "yvr";
    });
    expect(performance.now() - began).toBeLessThan(4000);

    // Who only looks sees the same, and leaves nothing behind.
    const looker = await open();
    await looker.check();
    const seen = await readDirectory({ storage: looker, clock, log: silentLog });
    expect(seen.map(({ card }) => card.id).sort()).toEqual(["fra", "syd", "yvr"]);
    if (name !== "memory") await looker.close();

    await fra.stop();
    await eventually("who stopped is gone", () => yvr.directory.peers().length === 1);
    expect(yvr.events).toContain("fleet.edge_left");

    await syd.die();
    clock.jump(STALE_MS + 1000);
    await eventually("who died is gone", () => yvr.events.includes("fleet.edge_gone"));
    expect(yvr.sees()).toEqual([]);
  });

  test("as many agents as are named fit", async () => {
    const open = await PLACES[name]!();
    const clock = jumpingClock();
    const yvr = await started("yvr", open, clock);
    const fra = await started("fra", open, clock);
    for (let index = 0; index < MOST_AGENTS + 10; index++) {
      const id = randomBytes(16).toString("hex");
      const labels = { zone: `z${index % 9}`, host: id.slice(0, 12) };
      fra.agents.push(agentRow(id, { labels, release: { sha: id } }));
    }
    fra.nudge();
    await eventually(
      "all are seen",
      async () => (await agentViews(yvr.directory.peers())).agents.length === MOST_AGENTS,
    );
    expect((await agentViews(yvr.directory.peers())).unnamed).toBe(10);
  });
});

describe("on NATS", () => {
  test("while it is down nobody is gone; when it is up again all are there, and the dead are gone", async () => {
    const nats = await startNats();
    ends.push(() => nats.close());
    const { open } = await natsPlace(nats);
    const clock = jumpingClock();
    /** Edges look once a second. */
    const looked = (): Promise<void> => new Promise((resolve) => clock.after(2.5 * LOOK_MS, resolve));
    const yvr = await started("yvr", open, clock);
    const fra = await started("fra", open, clock);
    const syd = await started("syd", open, clock);
    await eventually("all are seen", () => yvr.sees().length === 2);
    await nats.kill();
    await eventually("it is away", () => yvr.storage.away?.() !== undefined);
    await syd.die();
    clock.jump(10 * STALE_MS);
    await looked();
    expect(yvr.sees()).toEqual(["fra", "syd"]);
    await nats.start();
    await eventually("it is back", () => yvr.storage.away?.() === undefined, 20_000);
    fra.agents.push(agentRow("a1"));
    fra.nudge();
    await eventually(
      "what is new is seen",
      async () => (await agentViews(yvr.directory.peers())).agents.length === 1,
      20_000,
    );
    expect(yvr.sees()).toContain("fra");
    await looked();
    clock.jump(STALE_MS + 1000);
    await eventually("the dead one is gone, the other speaks", () => yvr.sees().join() === "fra", 20_000);
  }, 60_000);

  test("edges that came and went leave nothing in the bucket after the next start", async () => {
    const { open, options } = await natsPlace(one);
    const values = async (): Promise<number> => {
      const found = (await fleetStatus(options())) as { values: number };
      return found.values;
    };
    const first = await open();
    await first.check();
    const before = await values();
    for (let round = 0; round < 3; round++) {
      const storage = await open();
      const edge = member(`edge${round}`, storage, { clock: systemClock });
      await storage.check();
      await edge.start();
      await eventually("it spoke", async () =>
        (await first.list("edges/")).includes(`edges/edge${round}.card`),
      );
      await edge.stop();
      await storage.close();
    }
    const last = await open();
    await last.check();
    await eventually("their marks are gone", async () => (await values()) === before);
    await last.close();
    await first.close();
  });
});
