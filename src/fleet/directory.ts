/**
 * Which edges there are: follows the cards of the others, and tells who is gone by not having heard of them, as storage
 * tells nobody that a value has aged. What counts is when a card *changed* by this edge's own clock, so that clocks may differ.
 */
import type { Clock, Timer } from "../clock.ts";
import { EdgeError, messageOf } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import {
  type AgentsPart,
  BEAT_MS,
  type Card,
  type ChangedPart,
  cardKey,
  decodeAgents,
  decodeCard,
  decodeChanged,
  decodeServed,
  deleteEdge,
  EDGES,
  FORGET_MS,
  idOfCard,
  PARTS,
  type Part,
  partKey,
  type ServedPart,
  STALE_MS,
} from "./card.ts";

/** Another edge, as far as it is known. */
export interface Peer {
  readonly card: Card;
  /** Not heard of for {@link STALE_MS}. */
  readonly gone: boolean;
  /** Since its last word. */
  readonly heardMsAgo: number;
  agents(): Promise<AgentsPart | undefined>;
  served(): Promise<{ served: ServedPart | undefined; changed: ChangedPart | undefined }>;
}

export interface DirectoryOptions {
  readonly storage: Storage;
  readonly clock: Clock;
  readonly log: Log;
  /** This edge's own id: its card is no news. */
  readonly self: string;
  /** For who looks once: nothing is swept, and storage that cannot be read is an error. @default false */
  readonly once?: boolean;
  /** Somebody came, went or says something else of itself. */
  onChange(): void;
}

export interface Directory {
  /** Resolves when what storage holds now is known, or cannot be. */
  start(): Promise<void>;
  peers(): Peer[];
  close(): Promise<void>;
}

/** How often storage that tells of no changes is looked at, and ages are. */
export const LOOK_MS = 1000;

interface Known {
  card: Card;
  heardAt: number;
  gone: boolean;
  /** As stored: they are unpacked when somebody asks. */
  readonly parts: Map<Part, { number: number; bytes: Uint8Array | undefined }>;
}

export function createDirectory(options: DirectoryOptions): Directory {
  const { storage, clock, log, self } = options;
  const known = new Map<string, Known>();
  /** Cards that are being read; true: and changed meanwhile. */
  const looking = new Map<string, { again: boolean; told: boolean; done: Promise<void> }>();
  /** Edges of which something cannot be read; said once. */
  const damaged = new Set<string>();
  let timer: Timer | undefined;
  let unwatch: (() => void) | undefined;
  let unheard = false;
  let scannedAt = Number.NEGATIVE_INFINITY;
  let ticking: Promise<void> | undefined;
  let closed = false;

  /** As old as the clocks say, as far as it is shown at once; a clock that is wrong must not have it swept. */
  const ageOf = (card: Card): number => Math.min(Math.max(0, clock.wall() - card.at), STALE_MS + 1);
  const left = (id: string, edge: Known): void => {
    known.delete(id);
    if (!edge.gone) log.info("fleet.edge_left", namesOf(edge.card));
    options.onChange();
  };

  /** As stored. One value that was damaged, or written by a stranger, blinds nobody to the others. */
  const load = async (id: string, key: string): Promise<Uint8Array | "damaged" | undefined> => {
    try {
      return await storage.load(key);
    } catch (thrown) {
      if (!(thrown instanceof EdgeError && thrown.code === "STORAGE_CORRUPT")) throw thrown;
      if (!damaged.has(id))
        log[options.once ? "error" : "warn"]("fleet.unknown", { edge: id, message: thrown.message });
      damaged.add(id);
      return "damaged";
    }
  };

  /** `told`: storage says that it was written just now. */
  const read = async (id: string, told: boolean): Promise<void> => {
    const bytes = await load(id, cardKey(id));
    if (bytes === "damaged") return;
    const before = known.get(id);
    if (bytes === undefined) {
      if (before) left(id, before);
      return;
    }
    const card = decodeCard(bytes);
    if (card?.id !== id) return;
    const edge: Known = before ?? {
      card,
      heardAt: clock.now() - (told ? 0 : ageOf(card)),
      gone: false,
      parts: new Map(),
    };
    const isNews = before !== undefined && card.at !== before.card.at;
    for (const part of PARTS) {
      const number = card.parts[part] ?? 0;
      if ((edge.parts.get(part)?.number ?? 0) === number) continue;
      const stored = number === 0 ? undefined : await load(id, partKey(id, part));
      edge.parts.set(part, { number, bytes: stored === "damaged" ? undefined : stored });
    }
    const said = edge.card;
    const wasGone = edge.gone;
    edge.card = card;
    if (isNews) {
      edge.heardAt = clock.now();
      edge.gone = false;
    }
    if (!before) {
      edge.gone = clock.now() - edge.heardAt > STALE_MS;
      known.set(id, edge);
    }
    if ((!before || wasGone) && !edge.gone) log.info("fleet.edge_joined", namesOf(card));
    if (!before || wasGone !== edge.gone || said.state !== card.state || said.tunnel !== card.tunnel)
      options.onChange();
  };
  const look = (id: string, told = false): Promise<void> => {
    const under = looking.get(id);
    if (under) {
      under.again = true;
      under.told ||= told;
      return under.done;
    }
    const entry = { again: true, told, done: Promise.resolve() };
    looking.set(id, entry);
    entry.done = (async () => {
      while (entry.again && !closed) {
        entry.again = false;
        await read(id, entry.told);
      }
    })().finally(() => looking.delete(id));
    return entry.done;
  };

  /** Those that are stored; where storage tells of changes only what a lost word would hide. */
  const scan = async (): Promise<void> => {
    // What was not there at the last look was written since.
    const told = scannedAt > Number.NEGATIVE_INFINITY && !unheard;
    scannedAt = clock.now();
    const ids = new Set<string>();
    for (const key of await storage.list(EDGES)) {
      const id = idOfCard(key);
      if (id !== undefined && id !== self) ids.add(id);
    }
    for (const id of ids) if (!unwatch || isQuiet(known.get(id))) await look(id, told);
    for (const [id, edge] of [...known]) if (!ids.has(id)) left(id, edge);
    for (const id of damaged) if (!ids.has(id)) damaged.delete(id);
  };
  /** Told of nothing for longer than it speaks. */
  const isQuiet = (edge: Known | undefined): boolean =>
    !edge || (!edge.gone && clock.now() - edge.heardAt > BEAT_MS * 1.5);

  const age = async (): Promise<void> => {
    const now = clock.now();
    for (const [id, edge] of [...known]) {
      // Before it is swept it is looked at once more: the word that it is back may be lost.
      if (now - edge.heardAt > FORGET_MS && !options.once) await look(id);
      if (known.get(id) !== edge) continue;
      const silence = now - edge.heardAt;
      if (silence > FORGET_MS && !options.once) {
        await deleteEdge(storage, id);
        known.delete(id);
        options.onChange();
      } else if (silence > STALE_MS && !edge.gone) {
        edge.gone = true;
        log.warn("fleet.edge_gone", { ...namesOf(edge.card), silentMs: Math.round(silence) });
        options.onChange();
      }
    }
  };

  const tick = async (): Promise<void> => {
    try {
      if (storage.away?.()) {
        unheard = true;
        return;
      }
      if (!unwatch || unheard || clock.now() - scannedAt >= BEAT_MS) await scan();
      if (unheard) {
        // While nobody could be heard nobody is held to be gone; from now on they can.
        for (const edge of known.values()) if (!edge.gone) edge.heardAt = clock.now();
        unheard = false;
      }
      await age();
    } catch (thrown) {
      if (options.once) throw thrown;
      if (!unheard && !storage.away?.()) log.warn("fleet.unknown", { message: messageOf(thrown) });
      unheard = true;
    }
  };
  const tickOn = (): void => {
    ticking = tick().finally(() => {
      if (!closed && !options.once) timer = clock.after(LOOK_MS, tickOn);
    });
  };

  return {
    async start() {
      unwatch ??= storage.watch?.(EDGES, (key) => {
        const id = idOfCard(key);
        if (id === undefined || id === self || closed) return;
        // What could not be read is read by the next look at all.
        look(id, true).catch(() => {
          scannedAt = Number.NEGATIVE_INFINITY;
        });
      });
      tickOn();
      await ticking;
    },
    peers: () =>
      [...known.values()].map((edge) => ({
        card: edge.card,
        gone: edge.gone,
        heardMsAgo: Math.max(clock.now() - edge.heardAt, edge.gone ? clock.wall() - edge.card.at : 0),
        agents: () => decodeAgents(edge.parts.get("agents")?.bytes),
        async served() {
          const [served, changed] = await Promise.all([
            decodeServed(edge.parts.get("served")?.bytes),
            decodeChanged(edge.parts.get("changed")?.bytes),
          ]);
          return { served, changed };
        },
      })),
    async close() {
      closed = true;
      timer?.cancel();
      unwatch?.();
      await ticking;
      await Promise.allSettled([...looking.values()].map(({ done }) => done));
    },
  };
}

function namesOf({ id, name, location }: Card): Record<string, unknown> {
  return { edge: id, name, location };
}

/** Looks once, for who does not follow: ages are by the clocks of both machines. @throws what storage throws */
export async function readDirectory(
  parts: Pick<DirectoryOptions, "storage" | "clock" | "log">,
): Promise<Peer[]> {
  const directory = createDirectory({ ...parts, self: "", once: true, onChange() {} });
  try {
    await directory.start();
    return directory.peers();
  } finally {
    await directory.close().catch(() => {});
  }
}
