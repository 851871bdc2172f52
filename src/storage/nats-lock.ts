/**
 * Locks in a bucket of their own, whose values vanish a minute after they were written: one create wins, its owner writes
 * again every 15 seconds by the revision it knows, and takes back that very write when it is done. The revision is the fence:
 * who was away for too long finds another one there, and its signal aborts.
 */
import { randomBytes } from "node:crypto";
import { type Clock, jitter, type Random, sleep, type Timer } from "../clock.ts";
import { EdgeError, errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Bucket } from "./nats-bucket.ts";
import { isAway } from "./nats-connection.ts";

/** The bucket's maximum age. Per-key lifetimes are ignored by servers before 2.11, which would make locks eternal. */
export const LOCK_MS = 60_000;
const RENEW_MS = 15_000;
/** A renewal that failed is tried again so soon. */
const RENEW_AGAIN_MS = 2000;
/** Counted from before the last renewal was sent: then it may expire there any moment, so it is given up here. */
const GIVE_UP_MS = 50_000;
const POLL_FIRST_MS = 15;
const POLL_MOST_MS = 500;

export interface NatsLockParts {
  /** Rejects while NATS is away. */
  bucket(): Promise<Bucket>;
  clock: Clock;
  random: Random;
  log: Log;
  /** Who holds it, for people who look. */
  owner: string;
}

export interface HeldNatsLock {
  /** Aborts when the lock is no longer ours, or may not be. */
  readonly signal: AbortSignal;
  release(): Promise<void>;
}

/** Waits until `key` is ours, however long NATS is away; rejects when `signal` aborts, or for want of rights. */
export async function acquireNatsLock(
  key: string,
  parts: NatsLockParts,
  signal: AbortSignal,
): Promise<HeldNatsLock> {
  const { clock, random } = parts;
  const id = randomBytes(12).toString("hex");
  const value = Buffer.from(JSON.stringify({ id, owner: parts.owner }));
  let unsure = false;
  for (let wait = POLL_FIRST_MS; ; wait = Math.min(wait * 1.5, POLL_MOST_MS)) {
    signal.throwIfAborted();
    const began = clock.now();
    try {
      const bucket = await parts.bucket();
      let revision = await bucket.create(key, value);
      // A create whose answer was lost may have won.
      if (revision === undefined && unsure) revision = await ours(bucket, key, id);
      if (revision !== undefined) return keep(key, id, { value, revision, began }, parts);
    } catch (thrown) {
      if (!isAway(thrown)) throw thrown;
      unsure = true;
      wait = POLL_MOST_MS;
    }
    await sleep(clock, jitter(wait, 0.3, random), signal);
  }
}

function keep(
  key: string,
  id: string,
  first: { value: Uint8Array; revision: number; began: number },
  parts: NatsLockParts,
): HeldNatsLock {
  const { clock, log } = parts;
  const lost = new AbortController();
  let { revision } = first;
  let renewedAt = first.began;
  let timer: Timer;
  let renewing: Promise<void> | undefined;
  let over = false;

  const lose = (why: string): void => {
    if (over) return;
    over = true;
    log.warn("storage.lock_lost", { lock: key, why });
    lost.abort(
      new EdgeError("STORAGE_LOCKED", `storage: the lock ${key} was lost: ${why}`, { source: "storage" }),
    );
  };
  const renew = async (): Promise<void> => {
    const began = clock.now();
    let next = RENEW_MS;
    try {
      const bucket = await parts.bucket();
      const renewed =
        (await bucket.put(key, first.value, revision)) ??
        // An earlier renewal whose answer was lost may be what stands there.
        (await ours(bucket, key, id));
      if (renewed === undefined) return lose("another one holds it, or it expired");
      revision = renewed;
      renewedAt = began;
    } catch (thrown) {
      if (!over) log.warn("storage.lock_refresh_failed", { lock: key, ...errorFields(thrown) });
      next = RENEW_AGAIN_MS;
    }
    if (!over) arm(next);
  };
  const arm = (delayMs: number): void => {
    const left = renewedAt + GIVE_UP_MS - clock.now();
    timer = clock.after(Math.min(delayMs, left), () => {
      if (clock.now() >= renewedAt + GIVE_UP_MS) return lose("it could not be renewed in time");
      renewing = renew();
    });
  };
  arm(RENEW_MS);

  return {
    signal: lost.signal,
    async release() {
      timer.cancel();
      const wasOurs = !over;
      over = true;
      await renewing;
      if (!wasOurs) return;
      try {
        await (await parts.bucket()).undo(revision);
      } catch (thrown) {
        // It expires within a minute.
        log.warn("storage.lock_left", { lock: key, ...errorFields(thrown) });
      }
    },
  };
}

/** The revision of what stands there, where that is ours. */
async function ours(bucket: Bucket, key: string, id: string): Promise<number | undefined> {
  const found = await bucket.get(key);
  return found && new TextDecoder().decode(found.value).includes(id) ? found.revision : undefined;
}
