/** Hosts and servers that commands add while the edge runs: read at start, watched, and merged into its config. */
import type { Clock, Timer } from "../clock.ts";
import type { ResolvedConfig } from "../config/config.ts";
import { type DynamicEdit, type DynamicState, NOTHING_DYNAMIC } from "../config/dynamic.ts";
import { createMerger, type HostRow, hostRows, type Merged } from "../config/merge.ts";
import { EdgeError, errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { Storage } from "../storage/storage.ts";
import { createDynamicBook, DYNAMIC_PREFIX, type DynamicChange } from "./dynamic-book.ts";

/** What operators see and do by the admin API. */
export interface DynamicActions {
  hosts(): readonly HostRow[];
  /** Of the last change that this edge serves. */
  generation(): number;
  /** Resolves when this edge serves it; the others do within a second. */
  edit(edit: DynamicEdit): Promise<DynamicChange>;
}

export interface Dynamic {
  /** The config of now, with what was added. */
  config(): ResolvedConfig;
  readonly actions: DynamicActions;
  /** Begins to watch. `follow` makes the edge be what a config says; calls never overlap. */
  start(follow: (config: ResolvedConfig) => Promise<void>): void;
  /** Another config file; what was added stays. Rejects with what `follow` does, and then nothing has changed. */
  rebase(base: ResolvedConfig, follow: (config: ResolvedConfig) => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

export interface DynamicParts {
  readonly storage: Storage;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Whether hosts get their certificates by the config's ACME. */
  readonly byAcme: boolean;
}

/** How often storage is asked that tells of nothing by itself. */
const LOOK_MS = 250;
/** And storage that does: a change that is told while the connection breaks may be read from a copy that has not got it. */
const WATCHED_MS = 30_000;
/** After a failure. */
const AGAIN_MS = 1000;

/** Reads what is stored. An edge that cannot read it begins with what its config says, and looks again. */
export async function openDynamic(first: ResolvedConfig, parts: DynamicParts): Promise<Dynamic> {
  const { storage, clock, log, metrics, byAcme } = parts;
  const book = createDynamicBook(storage);
  const merge = createMerger();
  let base = first;
  /** What storage said last, and what of it is served. */
  let state: DynamicState = NOTHING_DYNAMIC;
  let served = state;
  let merged: Merged;
  let follow: ((config: ResolvedConfig) => Promise<void>) | undefined;
  let timer: Timer | undefined;
  let closed = false;
  let failed = "";
  /** A look that has not begun will see what there is to see. */
  let waiting = false;
  const told = new Set<string>();
  /** One after another: reloads, and changes. */
  let line: Promise<unknown> = Promise.resolve();
  const inLine = <T>(work: () => Promise<T>): Promise<T> => {
    const done = line.then(work);
    line = done.catch(() => {}); // Told to who asked for it.
    return done;
  };

  metrics.gauge(
    "skerry_dynamic_generation",
    "The last change of hosts and servers by command that this edge serves; the same on all edges of a fleet.",
    [],
    (gauge) => gauge.set(served.generation),
  );

  const fail = (thrown: unknown): void => {
    const fields = errorFields(thrown);
    const text = String(fields.message);
    if (text !== failed) log.error("dynamic.failed", fields);
    failed = text;
  };
  const tell = ({ notes }: Merged): void => {
    const now = new Set(notes.map(({ kind, name, message }) => `${kind} ${name} ${message}`));
    for (const { kind, name, message } of notes)
      if (!told.has(`${kind} ${name} ${message}`)) log.warn("dynamic.unused", { kind, name, message });
    told.clear();
    for (const each of now) told.add(each);
  };

  /** Makes the edge serve what storage says now. */
  const look = async (): Promise<void> => {
    // Not before it starts: what is taken for served then would never be followed.
    if (closed || !follow) return;
    state = (await book.news()) ?? state;
    if (state === served) {
      failed = "";
      return;
    }
    const began = clock.now();
    const next = merge(base, state);
    await follow(next.config);
    failed = "";
    served = state;
    merged = next;
    tell(next);
    log.info("dynamic.applied", {
      generation: served.generation,
      hosts: served.hosts.size,
      backends: served.servers.size,
      tookMs: Math.round(clock.now() - began),
    });
  };
  const lookIn = (delayMs: number): void => {
    if (closed) return;
    timer?.cancel();
    timer = clock.after(delayMs, lookNow);
  };
  const lookNow = (): void => {
    if (waiting) return;
    waiting = true;
    inLine(() => {
      waiting = false;
      return look();
    }).then(
      () => lookIn(storage.watch ? WATCHED_MS : LOOK_MS),
      (thrown: unknown) => {
        fail(thrown);
        lookIn(AGAIN_MS);
      },
    );
  };

  try {
    state = served = (await book.news()) ?? state;
  } catch (thrown) {
    fail(thrown);
  }
  merged = merge(base, state);
  tell(merged);
  let unwatch: (() => void) | undefined;

  return {
    config: () => merged.config,
    actions: {
      hosts: () => hostRows(merged.config, served, merged.notes),
      generation: () => served.generation,
      async edit(edit) {
        if (closed) throw shuttingDown();
        const change = await book.edit(edit, { ...base, byAcme });
        // It is stored: whatever keeps this edge from serving it is logged, and tried again.
        await inLine(look).catch((thrown: unknown) => {
          fail(thrown);
          lookIn(AGAIN_MS);
        });
        return change;
      },
    },
    start(begin) {
      follow = begin;
      unwatch = storage.watch?.(DYNAMIC_PREFIX, lookNow);
      // What was stored while the edge was starting.
      lookNow();
    },
    rebase: (next, apply) =>
      inLine(async () => {
        if (closed) throw shuttingDown();
        const attempt = merge(next, state);
        await apply(attempt.config);
        served = state;
        base = next;
        merged = attempt;
        tell(attempt);
      }),
    async close() {
      closed = true;
      timer?.cancel();
      unwatch?.();
      await line;
    },
  };
}

const shuttingDown = (): EdgeError => new EdgeError("SHUTTING_DOWN", "the edge is closing", { status: 503 });
