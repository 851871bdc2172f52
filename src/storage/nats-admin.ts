/** What operators do with a fleet's storage as a whole: fill it again from an edge's copy, and seal it with a new key. */
import type { NatsConnection } from "@nats-io/transport-node";
import { type Clock, sleep, stayAlive } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { openLocalCopy } from "./local-copy.ts";
import { type NatsStorageOptions, openNatsStorage } from "./nats.ts";
import { openBucket } from "./nats-bucket.ts";
import { awayError, connectToNats, type NatsPlace, natsError, placeName } from "./nats-connection.ts";
import {
  type Buckets,
  fleetOfCopy,
  idIn,
  OtherFleet,
  openBuckets,
  replicasFor,
  sealMark,
  serverOf,
  unsafeSettings,
} from "./nats-fleet.ts";
import { decodeKey, encodeKey, FLEET_KEY } from "./nats-keys.ts";
import { holderOf } from "./nats-lock.ts";
import { createSealer, type Sealer } from "./seal.ts";

const DIAL_MS = 8000;

async function withConnection<T>(
  place: NatsPlace,
  clock: Clock,
  work: (connection: NatsConnection) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const awake = stayAlive();
  let lastFailure = "no answer";
  const onFailure = (why: string): void => {
    lastFailure = why;
  };
  const dialling = connectToNats(place, { clock, name: "skerry fleet", signal: stop.signal, onFailure });
  const late = sleep(clock, DIAL_MS, stop.signal).then(() => {
    throw awayError("read", "anything", place, lastFailure);
  });
  late.catch(() => {});
  try {
    const connection = await Promise.race([dialling, late]);
    try {
      return await work(connection);
    } finally {
      await connection.close();
    }
  } finally {
    awake.cancel();
    stop.abort(new Error("over"));
    // Rejects with that, or was handled above.
    dialling.catch(() => {});
  }
}

export interface Restored {
  readonly fleet: string;
  /** How many values of each kind: certificates, tokens, … */
  readonly kinds: Readonly<Record<string, number>>;
  /** All of them, those too that were there already. */
  readonly values: number;
  /** Put back by a run before this one, which did not come to its end. */
  readonly present: number;
  /** Keys whose copies were damaged, and left out. */
  readonly damaged: readonly string[];
}

/**
 * Puts back what an edge's copy holds into a bucket that lost its values. Values that are there stay, so it may be run again
 * after it was interrupted; the mark comes last, and with it the edges. What no key opens is of no use to anybody, and must not
 * keep the rest away.
 *
 * @throws EdgeError where the bucket has a fleet, or a value is sealed with a key that is not among those given
 */
export function restoreFleet(options: NatsStorageOptions): Promise<Restored> {
  const { place, clock } = options;
  const sealer = createSealer(options.keys);
  const copy = openLocalCopy(options.copy);
  return withConnection(place, clock, async (connection) => {
    const fleet = await fleetOfCopy(copy, sealer);
    if (fleet === undefined)
      throw new EdgeError(
        "USAGE",
        `${options.copy} is no copy of a fleet's storage: run this on an edge that was up when NATS lost it, with that edge's config`,
        { source: "operator" },
      );
    try {
      const replicas = replicasFor(serverOf(connection, place), place);
      const bucket = await openBucket(connection, { name: place.bucket, replicas, make: true, clock });
      const mark = await bucket.get(FLEET_KEY);
      if (mark) throw notOver(place, idIn(sealer.open(FLEET_KEY, mark.value)), fleet);
      const kinds: Record<string, number> = {};
      const damaged: string[] = [];
      let present = 0;
      for (const key of await copy.keys()) {
        if (key === FLEET_KEY) continue;
        const found = await copy.read(key);
        if (!found || !opens(sealer, key, found.sealed)) {
          damaged.push(key);
          continue;
        }
        if ((await bucket.create(encodeKey(key), found.sealed)) === undefined) present++;
        const [kind = key] = key.split("/");
        kinds[kind] = (kinds[kind] ?? 0) + 1;
      }
      await bucket.create(FLEET_KEY, sealMark(sealer, fleet));
      const values = Object.values(kinds).reduce((sum, count) => sum + count, 0);
      return { fleet, kinds, values, present, damaged };
    } catch (thrown) {
      throw natsError("write", `the bucket ${place.bucket}`, place, thrown);
    }
  });
}

function opens(sealer: Sealer, key: string, sealed: Uint8Array): boolean {
  try {
    sealer.open(key, sealed);
    return true;
  } catch (thrown) {
    if (thrown instanceof EdgeError && thrown.code === "STORAGE_CORRUPT") return false;
    throw thrown;
  }
}

function notOver(place: NatsPlace, theirs: string, ours: string): EdgeError {
  const where = `the bucket ${place.bucket} at ${placeName(place)}`;
  return new EdgeError(
    "USAGE",
    theirs === ours
      ? `${where} has this fleet (${ours}): it is not lost, or was restored already; "skerry edges" shows who is tied to it`
      : `${where} has a fleet (${theirs}), and this copy is of ${ours}: nothing is restored over it. Where an edge without a copy began ` +
          `that one after the loss, stop that edge, remove the buckets ${place.bucket} and ${place.bucket}-locks, and run this again`,
    { source: "operator" },
  );
}

/** Who looks makes no fleet: where storage was lost that would be in the way of its return. */
async function openExisting(
  connection: NatsConnection,
  parts: { place: NatsPlace; sealer: Sealer; known: string | undefined; clock: Clock },
): Promise<Buckets> {
  const { place, known } = parts;
  try {
    return await openBuckets(connection, { ...parts, make: false });
  } catch (thrown) {
    if (!(thrown instanceof OtherFleet)) throw thrown;
    const message =
      known === undefined
        ? `there is no fleet in the bucket ${place.bucket} at ${placeName(place)} yet: the first edge that starts makes it`
        : `storage: ${thrown.message} (${placeName(place)})`;
    throw new EdgeError("STORAGE_UNREADABLE", message, { source: "storage", cause: thrown });
  }
}

/** Seals every value anew with the first of the keys; those sealed with the others are opened for it. */
export async function resealFleet(options: NatsStorageOptions): Promise<{ keyId: string; values: number }> {
  const { place, clock } = options;
  const sealer = createSealer(options.keys);
  const storage = openNatsStorage(options);
  let values = 0;
  try {
    await storage.check();
    for (const key of await storage.list("")) {
      if (await storage.update(key, (value) => value)) values++;
    }
  } finally {
    await storage.close();
  }
  await withConnection(place, clock, async (connection) => {
    const {
      values: bucket,
      fleet,
      mark,
    } = await openExisting(connection, { place, sealer, known: undefined, clock });
    await bucket.put(FLEET_KEY, sealMark(sealer, fleet), mark.revision);
  });
  return { keyId: sealer.keyId, values };
}

export interface FleetStatus {
  readonly fleet: string;
  readonly server: string;
  readonly replicas: number;
  readonly values: number;
  /** Of the key that seals, here. */
  readonly keyId: string;
  readonly unsafe: readonly string[];
  /** Locks that are held now, and by which process; one that is dead is followed within a minute. */
  readonly locks: readonly { readonly name: string; readonly owner: string }[];
}

export function fleetStatus(options: NatsStorageOptions): Promise<FleetStatus> {
  const { place, clock } = options;
  const sealer = createSealer(options.keys);
  const copy = openLocalCopy(options.copy);
  return withConnection(place, clock, async (connection) => {
    const found = await openExisting(connection, {
      place,
      sealer,
      known: await fleetOfCopy(copy, sealer),
      clock,
    });
    const locks: { name: string; owner: string }[] = [];
    for await (const key of await found.locks.kv.keys()) {
      const name = decodeKey(key);
      const held = name === undefined ? undefined : await found.locks.get(key);
      if (name !== undefined && held) locks.push({ name, owner: holderOf(held.value).owner });
    }
    return {
      fleet: found.fleet,
      server: connection.info?.version ?? "",
      replicas: found.facts.replicas,
      values: found.facts.values,
      keyId: sealer.keyId,
      unsafe: unsafeSettings(found, connection),
      locks,
    };
  });
}
