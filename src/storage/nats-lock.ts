/**
 * Locks in a bucket of their own: one create wins, its owner writes again every few seconds by the revision it knows, and takes
 * back that very write when it is done. The revision is the fence: who was away for too long finds another one there, and its
 * signal aborts. An owner that does not write again is dead, or has given up: who has seen one revision stand for half a minute,
 * by its own clock, takes that very write away. What nobody waits for vanishes a minute after it was written.
 */
import { randomBytes } from "node:crypto";
import { type Clock, jitter, type Random, sleep, type Timer } from "../clock.ts";
import { EdgeError, errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Bucket } from "./nats-bucket.ts";
import { isAway } from "./nats-connection.ts";

/** The bucket's maximum age. Per-key lifetimes are ignored by servers before 2.11, which would make locks eternal. */
export const LOCK_MS = 60_000;
const RENEW_MS = 5000;
/** A renewal that failed is tried again so soon. */
const RENEW_AGAIN_MS = 2000;
/** Counted from before the last renewal was sent: NATS chooses a new leader sooner. */
const GIVE_UP_MS = 20_000;
/**
 * Counted from when a revision was seen first, which is after it was sent, so that whose it was has given up before: by ten
 * seconds, for timers that are late. Said in each lock, as another version may be slower.
 */
export const STILL_MS = 30_000;
/** A lock that could not be given back is given back later: tried so often. */
const LEFT_AGAIN_MS = 1000;
/** How often one who waits looks whether it stands still. */
const LOOK_MS = 2000;
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
  const value = Buffer.from(JSON.stringify({ id, owner: parts.owner, stillMs: STILL_MS }));
  const watch = watchOwner(key, parts);
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
      if (await watch(bucket)) continue;
    } catch (thrown) {
      if (!isAway(thrown)) throw thrown;
      unsure = true;
      wait = POLL_MOST_MS;
    }
    await sleep(clock, jitter(wait, 0.3, random), signal);
  }
}

/** Looks at who holds a lock, from time to time; true: it stood still for too long, and was taken away. */
function watchOwner(key: string, { clock, log }: NatsLockParts): (bucket: Bucket) => Promise<boolean> {
  let seen: { revision: number; at: number } | undefined;
  let nextAt = Number.NEGATIVE_INFINITY;
  return async (bucket) => {
    if (clock.now() < nextAt) return false;
    const found = await bucket.get(key);
    const now = clock.now();
    nextAt = now + LOOK_MS;
    if (!found) return false;
    if (found.revision !== seen?.revision) seen = { revision: found.revision, at: now };
    const { owner, stillMs } = holderOf(found.value);
    const stood = now - seen.at;
    if (stillMs === undefined || stood < stillMs) return false;
    // This write and no other: where its owner wrote again just now, nothing happens.
    await bucket.undo(found.revision);
    log.warn("storage.lock_taken_over", { lock: key, owner, stoodMs: Math.round(stood) });
    seen = undefined;
    return true;
  };
}

/** `stillMs` undefined: it says nothing of itself, and ends when it vanishes. */
export function holderOf(value: Uint8Array): { owner: string; stillMs: number | undefined } {
  try {
    const { owner, stillMs } = JSON.parse(new TextDecoder().decode(value)) as Record<string, unknown>;
    return { owner: String(owner), stillMs: typeof stillMs === "number" ? stillMs : undefined };
  } catch {
    // Not one of ours.
    return { owner: "", stillMs: undefined };
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
      const giveBack = async (): Promise<void> => (await parts.bucket()).undo(revision);
      try {
        await giveBack();
      } catch (thrown) {
        log.warn("storage.lock_left", { lock: key, ...errorFields(thrown) });
        void giveBackLater(giveBack, clock);
      }
    },
  };
}

/** NATS is away: others would wait for what nobody holds when it is back. It is that very write that is taken away, or none. */
async function giveBackLater(giveBack: () => Promise<void>, clock: Clock): Promise<void> {
  for (const until = clock.now() + LOCK_MS; clock.now() < until; ) {
    await sleep(clock, LEFT_AGAIN_MS);
    try {
      return await giveBack();
    } catch {
      // Said already; it vanishes by itself.
    }
  }
}

/** The revision of what stands there, where that is ours. */
async function ours(bucket: Bucket, key: string, id: string): Promise<number | undefined> {
  const found = await bucket.get(key);
  return found && new TextDecoder().decode(found.value).includes(id) ? found.revision : undefined;
}
