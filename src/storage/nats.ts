/** Storage for a fleet, on NATS JetStream: what one edge stores all have, and a copy on each disk serves while NATS is away. */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { type Clock, jitter, type Random, sleep, systemRandom } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { Log } from "../log.ts";
import { checkKey, checkPrefix } from "./keys.ts";
import { awayError, isAway, type NatsPlace, natsError, placeName } from "./nats-connection.ts";
import type { Buckets } from "./nats-fleet.ts";
import { CLAIM_PREFIX, decodeKey, encodeKey, FLEET_KEY, PROBE_PREFIX } from "./nats-keys.ts";
import { acquireNatsLock } from "./nats-lock.ts";
import { openSession } from "./nats-session.ts";
import { createQueue } from "./queue.ts";
import { createSealer } from "./seal.ts";
import type { Storage } from "./storage.ts";

export type { NatsPlace } from "./nats-connection.ts";

export interface NatsStorageOptions {
  readonly place: NatsPlace;
  /** Fleet keys of 32 bytes: the first seals, all open. */
  readonly keys: readonly Uint8Array[];
  /** The folder of the local copy, 0700 and 0600; made where it is not there. */
  readonly copy: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: Random;
}

/** Edges that race for one value each win sooner or later; so many losses mean that something else is wrong. */
const MOST_TRIES = 500;
/** What the headers of a write take. */
const ROOM_BYTES = 512;

/**
 * Opens a bucket of JetStream's key-value store, which the first edge makes. Connects on first use. While NATS is away values
 * come from the copy, writes are refused, and locks wait.
 */
export function openNatsStorage(options: NatsStorageOptions): Required<Storage> {
  const { place, clock, log, random = systemRandom } = options;
  const sealer = createSealer(options.keys);
  const queue = createQueue();
  const closed = new AbortController();
  const watchers = new Set<(key: string) => void>();
  const owner = `skerry ${hostname()} ${process.pid}`;
  const session = openSession({
    ...options,
    sealer,
    name: owner,
    onChange(key) {
      for (const tell of watchers) tell(key);
    },
  });
  const { mirror, copy } = session;

  /** Does `work` where NATS is there. */
  const writing = async <T>(what: string, work: (buckets: Buckets) => Promise<T>): Promise<T> => {
    await session.start();
    const buckets = session.buckets();
    if (!buckets) throw awayError("write", what, place, session.away()?.reason ?? "not connected yet");
    try {
      return await work(buckets);
    } catch (thrown) {
      session.failed(thrown);
      throw natsError("write", what, place, thrown);
    }
  };
  const sealed = (key: string, value: Uint8Array): Uint8Array => {
    const bytes = sealer.seal(key, value);
    const most = session.maxBytes() - ROOM_BYTES;
    if (bytes.length <= most) return bytes;
    throw new EdgeError(
      "STORAGE_UNWRITABLE",
      `storage: ${key} has ${value.length} bytes, and ${placeName(place)} takes ${most}: raise max_payload there`,
      { source: "storage" },
    );
  };

  return {
    async load(key) {
      const encoded = encodeKey(checkKey(key));
      await session.start();
      const buckets = session.buckets();
      if (buckets) {
        try {
          const found = await buckets.values.get(encoded);
          if (found) await session.copied(key, found.revision, found.value);
          return found && sealer.open(key, found.value);
        } catch (thrown) {
          if (!isAway(thrown)) throw natsError("read", key, place, thrown);
          session.failed(thrown);
        }
      }
      const copied = await copy.read(key);
      return copied && sealer.open(key, copied.sealed);
    },

    async store(key, value) {
      const encoded = encodeKey(checkKey(key));
      await writing(key, async ({ values }) => {
        const bytes = sealed(key, value);
        await mirror.write(encoded, bytes, () => values.put(encoded, bytes));
      });
    },

    async update(key, change) {
      const encoded = encodeKey(checkKey(key));
      const leave = await queue.enter(`update ${key}`, closed.signal);
      try {
        return await writing(key, async ({ values, locks }) => {
          for (let tries = 0; tries < MOST_TRIES; tries++) {
            const { revision, value } = await values.last(encoded);
            const next = change(value && sealer.open(key, value));
            if (next === undefined) return false;
            const bytes = sealed(key, next);
            // Whoever claims a revision, once for all time, may replace it.
            const claim = await locks.create(`${CLAIM_PREFIX}${revision}.${encoded}`, Buffer.from(owner));
            if (claim !== undefined) {
              const put = (): Promise<number | undefined> => values.put(encoded, bytes, revision);
              const written = await mirror.write(encoded, bytes, put).catch(async (thrown: unknown) => {
                // Others would wait until the claim expires; where it is not known what happened they must.
                if (!isAway(thrown)) await locks.undo(claim).catch(() => {});
                throw thrown;
              });
              if (written !== undefined) {
                await session.copied(key, written, bytes);
                return true;
              }
            }
            await sleep(clock, jitter(20, 0.5, random), closed.signal);
          }
          throw new EdgeError("STORAGE_UNWRITABLE", `storage: ${key} is changed by others without end`, {
            source: "storage",
          });
        });
      } finally {
        leave();
      }
    },

    async keep(key, value) {
      await session.start();
      await session.keep(checkKey(key), sealed(key, value));
    },

    async delete(key) {
      const encoded = encodeKey(checkKey(key));
      await writing(key, async ({ values }) => {
        // Deleting leaves a mark, so what was never there is left alone.
        if (!mirror.has(encoded) && !(await values.get(encoded))) return;
        await mirror.write(encoded, undefined, () => values.remove(encoded));
      });
    },

    async list(prefix) {
      checkPrefix(prefix);
      await session.start();
      if (!session.isMirrored())
        return (await copy.keys()).filter((key) => key.startsWith(prefix) && key !== FLEET_KEY);
      return [...mirror.keys()]
        .map(decodeKey)
        .filter((key): key is string => key?.startsWith(prefix) === true);
    },

    async withLock(name, work, signal) {
      const key = encodeKey(checkKey(name));
      const until = signal ? AbortSignal.any([signal, closed.signal]) : closed.signal;
      await session.start();
      // First in line within this process, so that only one of us asks NATS.
      const leave = await queue.enter(name, until);
      try {
        const parts = { bucket: session.locks, clock, random, log, owner };
        const lock = await acquireNatsLock(key, parts, until).catch((thrown: unknown) => {
          throw until.aborted ? thrown : natsError("write", `the lock ${name}`, place, thrown);
        });
        try {
          return await work(lock.signal);
        } finally {
          await lock.release();
        }
      } finally {
        leave();
      }
    },

    async check() {
      await session.start();
      // Said in the log; there is something to serve.
      if (session.away()) return;
      try {
        await writing("the mark of the fleet", async ({ values, locks }) => {
          const mark = await values.get(FLEET_KEY);
          // Writing what stands there changes nothing, and shows that it may be written.
          if (mark) await values.put(FLEET_KEY, mark.value, mark.revision);
          const probe = PROBE_PREFIX + randomBytes(12).toString("hex");
          const revision = await locks.create(probe, Buffer.from(owner));
          if (revision !== undefined) await locks.undo(revision);
        });
      } catch (thrown) {
        // It went away between two questions, as while its servers start; all that it holds was read by then.
        if (!isAway(thrown) || !session.away()) throw thrown;
      }
    },

    watch(prefix, onChange) {
      checkPrefix(prefix);
      const tell = (key: string): void => {
        if (key.startsWith(prefix)) onChange(key);
      };
      watchers.add(tell);
      return () => void watchers.delete(tell);
    },

    away: () => session.away(),

    async close() {
      closed.abort(new EdgeError("SHUTTING_DOWN", "storage: closed", { source: "storage" }));
      await session.close();
    },
  };
}
