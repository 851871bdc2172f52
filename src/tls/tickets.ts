/**
 * The keys that session tickets are sealed with (RFC 5077, RFC 8446 §4.6.1), made anew twice a day and kept in storage, so
 * that a client that comes back resumes its session at any process of the edge, and after a restart.
 *
 * Node only: Bun 1.4 refuses `setTicketKeys` ("not implemented"), Deno 2.9 takes it and goes on with keys of its own. Both
 * rotate keys of their own in memory: sessions resume there too, at the process that began them.
 */
import { randomBytes } from "node:crypto";
import { type Clock, jitter, type Random, type Timer } from "../clock.ts";
import { errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";

export interface TicketKeys {
  /** Applies the current keys. Never rejects: without them the server goes on with those it made itself. */
  start(): Promise<void>;
  close(): Promise<void>;
}

export interface TicketKeysOptions {
  storage: Storage;
  clock: Clock;
  random: Random;
  log: Log;
  /** Takes 48 bytes, as `tls.Server.setTicketKeys` does. */
  apply(keys: Buffer): void;
}

const KEY = "tickets/current";
const SIZE = 48;
/** A stolen key opens at most the sessions of half a day. */
const LIFETIME_MS = 12 * 3_600_000;
/** How often a peer's newer keys are looked for. */
const LOOK_MS = 600_000;

interface Stored {
  readonly keys: Buffer;
  readonly madeAt: number;
}

export function createTicketKeys(options: TicketKeysOptions): TicketKeys {
  const { storage, clock, random, log, apply } = options;
  const stop = new AbortController();
  let applied = "";
  let timer: Timer | undefined;
  let running: Promise<void> | undefined;

  const isFresh = ({ madeAt }: Stored): boolean => {
    const age = clock.wall() - madeAt;
    // Made in the future: by a clock gone wrong, so nobody knows how old they are.
    return age > -LIFETIME_MS && age < LIFETIME_MS;
  };
  const load = async (): Promise<Stored | undefined> => {
    const bytes = await storage.load(KEY);
    return bytes && parse(bytes);
  };
  const current = async (): Promise<Stored> => {
    const stored = await load();
    if (stored && isFresh(stored)) return stored;
    return storage.withLock(
      "tickets",
      async () => {
        const again = await load();
        if (again && isFresh(again)) return again;
        const made = { keys: randomBytes(SIZE), madeAt: clock.wall() };
        const value = { version: 1, keys: made.keys.toString("base64"), madeAt: made.madeAt };
        await storage.store(KEY, new TextEncoder().encode(`${JSON.stringify(value)}\n`));
        return made;
      },
      stop.signal,
    );
  };
  const work = async (): Promise<void> => {
    try {
      const { keys } = await current();
      const mark = keys.toString("base64");
      if (mark === applied || stop.signal.aborted) return;
      apply(keys);
      applied = mark;
      log.debug("tls.ticket_keys");
    } catch (thrown) {
      // Clients shake hands in full instead of resuming: slower, and nothing else.
      if (!stop.signal.aborted) log.warn("tls.ticket_keys_failed", errorFields(thrown));
    }
  };
  const turn = (): Promise<void> => {
    running = work().finally(() => {
      if (!stop.signal.aborted) timer = clock.after(jitter(LOOK_MS, 0.1, random), () => void turn());
    });
    return running;
  };

  // A peer's new keys are used at once where storage tells of them: a session that it begins resumes here.
  const unwatch = storage.watch?.("tickets/", () => void work());

  return {
    start: turn,
    async close() {
      unwatch?.();
      stop.abort();
      timer?.cancel();
      await running;
    },
  };
}

function parse(bytes: Uint8Array): Stored | undefined {
  try {
    const { keys, madeAt } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    if (typeof keys !== "string" || typeof madeAt !== "number") return undefined;
    const buffer = Buffer.from(keys, "base64");
    return buffer.length === SIZE ? { keys: buffer, madeAt } : undefined;
  } catch {
    // Damaged: new ones take their place, and clients shake hands in full once.
    return undefined;
  }
}
