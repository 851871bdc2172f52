/** Says in shared storage that this edge is there, what it holds and what it serves; and takes it back when it stops. */
import { type Clock, jitter, type Random, type Timer } from "../clock.ts";
import { messageOf } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { Storage } from "../storage/storage.ts";
import {
  type AgentRow,
  BEAT_MS,
  type Card,
  cardKey,
  deleteEdge,
  encodeAgents,
  encodeCard,
  encodePart,
  MOST_AGENTS,
  type Part,
  partKey,
  STALE_MS,
} from "./card.ts";
import { createServedLog } from "./served.ts";

/** What the announcer asks the edge for each card. */
export type Facts = Omit<Card, "id" | "at" | "parts" | "agents">;

export interface AnnouncerOptions {
  readonly storage: Storage;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** This edge's. */
  readonly id: string;
  facts(): Facts;
  agents(): readonly AgentRow[];
  /** Host → generation, as in the served part. */
  served(): Iterable<readonly [host: string, generation: number]>;
  /** Rises when `served` changes, so that ten thousand hosts are not compared every ten seconds. */
  servedRevision(): number;
}

export interface Announcer {
  start(): void;
  /** Something changed that others ought to know soon. */
  nudge(): void;
  /** Takes back what was said; resolves when that is done, or cannot be. */
  close(): Promise<void>;
}

/** From a change to the word of it: what comes together is told together. */
const SOON_MS = 200;
/** Between two words while changes go on: doubled each time up to the longest. */
const GAP_MS = 1000;
const LONGEST_GAP_MS = BEAT_MS;
/** Requests in flight are never the same: by themselves they are worth a word so often. */
export const LOAD_MS = 60_000;

export function createAnnouncer(options: AnnouncerOptions): Announcer {
  const { storage, clock, random, log, id } = options;
  const served = createServedLog();
  const numbers = { agents: 0, served: 0, changed: 0 };
  let saidAgents: { readonly lasting: string; readonly load: string; readonly at: number } | undefined;
  let agentsNumber = 0;
  let saidRevision: number | undefined;
  let beat: Timer | undefined;
  let soon: Timer | undefined;
  let gap = GAP_MS;
  let saidAt = Number.NEGATIVE_INFINITY;
  let saidWall = Number.NEGATIVE_INFINITY;
  let failing = false;
  let working: Promise<void> | undefined;
  let again = false;
  let closed = false;

  const writes = options.metrics.counter(
    "skerry_fleet_writes_total",
    "Values that this edge wrote to tell the fleet of itself, by what they hold; `failed` where storage took none.",
    ["part"],
  );

  const store = async (part: Part | "card", value: Uint8Array): Promise<void> => {
    await storage.store(part === "card" ? cardKey(id) : partKey(id, part), value);
    writes.inc({ part });
  };

  const say = async (): Promise<void> => {
    // Others sweep what they have not heard of for long; a machine that slept may not know.
    if (clock.wall() - saidWall > STALE_MS || clock.now() - saidAt > STALE_MS) forget();
    const all = options.agents();
    const agents = all.slice(0, MOST_AGENTS);
    const lasting = JSON.stringify(agents.map(({ inFlight: _, ...row }) => row));
    const load = agents.map(({ inFlight }) => inFlight).join();
    const isLoadNews = saidAgents?.load !== load && clock.now() - (saidAgents?.at ?? 0) >= LOAD_MS;
    if (lasting !== (saidAgents?.lasting ?? "[]") || (agents.length > 0 && isLoadNews)) {
      const number = ++agentsNumber;
      await store("agents", await encodeAgents({ number, agents }));
      numbers.agents = number;
      saidAgents = { lasting, load, at: clock.now() };
    }
    const revision = options.servedRevision();
    const told = revision === saidRevision ? undefined : served.next(options.served());
    if (told) {
      if (told.served) await store("served", await encodePart(told.served));
      if (told.changed) await store("changed", await encodePart(told.changed));
      Object.assign(numbers, told.numbers);
      told.commit();
    }
    saidRevision = revision;
    const facts = options.facts();
    const at = clock.wall();
    await store("card", encodeCard({ id, ...facts, at, agents: all.length, parts: { ...numbers } }));
    saidAt = clock.now();
    saidWall = clock.wall();
  };
  const forget = (): void => {
    served.forget();
    saidRevision = undefined;
    saidAgents = undefined;
    numbers.agents = 0;
  };

  const attempt = async (): Promise<void> => {
    try {
      await say();
      if (failing) log.info("fleet.presence_back");
      failing = false;
    } catch (thrown) {
      writes.inc({ part: "failed" });
      // While storage is away that was said already.
      if (!failing && !storage.away?.()) log.warn("fleet.presence_failed", { message: messageOf(thrown) });
      failing = true;
      forget();
    }
  };
  /** One at a time; what is asked for meanwhile comes after it. */
  const announce = (): void => {
    if (working) {
      again = true;
      return;
    }
    working = (async () => {
      do {
        again = false;
        await attempt();
      } while (again && !closed);
    })().finally(() => {
      working = undefined;
    });
  };
  const beatOn = (): void => {
    if (closed) return;
    announce();
    beat = clock.after(jitter(BEAT_MS, 0.05, random), beatOn);
  };

  let nextAt = Number.NEGATIVE_INFINITY;
  const nudge = (): void => {
    if (closed || !beat || soon) return;
    const now = clock.now();
    const wait = Math.max(SOON_MS, nextAt - now);
    // Quiet for as long as it last waited: as at first.
    gap = now - nextAt > gap ? GAP_MS : Math.min(gap * 2, LONGEST_GAP_MS);
    nextAt = now + wait + gap;
    soon = clock.after(wait, () => {
      soon = undefined;
      announce();
    });
  };

  return {
    start() {
      if (!beat) beatOn();
    },
    nudge,
    async close() {
      if (closed) return;
      closed = true;
      beat?.cancel();
      soon?.cancel();
      await working;
      if (!beat || storage.away?.()) return;
      try {
        await deleteEdge(storage, id);
      } catch (thrown) {
        // It ages out.
        log.warn("fleet.presence_left", { message: messageOf(thrown) });
      }
    },
  };
}
