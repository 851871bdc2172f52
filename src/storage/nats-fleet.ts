/** Whose bucket it is: a sealed mark in it names the fleet, so that nobody's values are mixed with another's. */
import { randomBytes } from "node:crypto";
import type { NatsConnection, ServerInfo } from "@nats-io/transport-node";
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { LocalCopy } from "./local-copy.ts";
import { type Bucket, type BucketFacts, openBucket } from "./nats-bucket.ts";
import { awayError, isMissing, type NatsPlace, natsError, placeName } from "./nats-connection.ts";
import { FLEET_KEY } from "./nats-keys.ts";
import { LOCK_MS } from "./nats-lock.ts";
import type { Sealer } from "./seal.ts";

export interface Buckets {
  readonly values: Bucket;
  readonly locks: Bucket;
  readonly facts: BucketFacts;
  readonly fleet: string;
  /** The mark, as it is stored. */
  readonly mark: { readonly sealed: Uint8Array; readonly revision: number };
}

/** The bucket is not the one that this edge knows. What it knows is served; nothing is written. */
export class OtherFleet extends Error {}

/** What to do about it, in the words of who is called at night. */
const RESTORE = '; edges serve on from their copies; "skerry fleet restore" on one of them fills it again';

const ID = /^[0-9a-f]{16}$/;

/** The fleet that a copy belongs to. @throws EdgeError where the fleet key is another one */
export async function fleetOfCopy(copy: LocalCopy, sealer: Sealer): Promise<string | undefined> {
  const found = await copy.read(FLEET_KEY);
  return found && idIn(sealer.open(FLEET_KEY, found.sealed));
}

/**
 * Opens both buckets. Where no fleet is `known` they are made and marked if they are not there, unless `make` is false;
 * otherwise they must be there and be that fleet's.
 *
 * @throws OtherFleet, and EdgeError for what an operator must mend
 */
export async function openBuckets(
  connection: NatsConnection,
  parts: { place: NatsPlace; sealer: Sealer; known: string | undefined; make?: boolean; clock: Clock },
): Promise<Buckets> {
  const { place, sealer, known, clock } = parts;
  const at = placeName(place);
  const info = serverOf(connection, place);
  checkVersion(info.version, at);
  const replicas = replicasFor(info, place);
  const { make = known === undefined } = parts;
  try {
    const values = await openBucket(connection, { name: place.bucket, replicas, make, clock });
    const facts = await values.facts();
    const mark =
      (await values.get(FLEET_KEY)) ?? (make ? await setMark(values, facts, sealer, place) : undefined);
    if (!mark) throw new OtherFleet(`the bucket ${place.bucket} lost its values${RESTORE}`);
    const fleet = idIn(sealer.open(FLEET_KEY, mark.value));
    if (known !== undefined && fleet !== known)
      throw new OtherFleet(
        `the bucket ${place.bucket} belongs to fleet ${fleet}, and this edge to ${known}: after a loss, an edge without a copy ` +
          `may have begun it; stop that edge, remove the buckets ${place.bucket} and ${place.bucket}-locks${RESTORE}`,
      );
    // Nothing of worth is in there, so it may be made anew at any time.
    const locks = await openBucket(connection, {
      name: `${place.bucket}-locks`,
      replicas,
      maxAgeMs: LOCK_MS,
      make: true,
      clock,
    });
    const { maxAgeMs } = await locks.facts();
    if (maxAgeMs !== LOCK_MS)
      throw new EdgeError(
        "CONFIG_INVALID",
        `storage: the bucket ${place.bucket}-locks at ${at} keeps values for ${maxAgeMs} ms, not ${LOCK_MS}: remove it, Skerry makes it anew`,
        { source: "operator" },
      );
    return { values, locks, facts, fleet, mark: { sealed: mark.value, revision: mark.revision } };
  } catch (thrown) {
    if (!make && isMissing(thrown)) throw new OtherFleet(`the bucket ${place.bucket} is gone${RESTORE}`);
    if (thrown instanceof OtherFleet) throw thrown;
    throw natsError("read", `the bucket ${place.bucket}`, place, thrown);
  }
}

/**
 * What the server says of itself. The client forgets it with the connection: then nobody is there to be too old, or alone.
 *
 * @throws EdgeError for NATS that is away
 */
export function serverOf(connection: NatsConnection, place: NatsPlace): ServerInfo {
  const { info } = connection;
  if (!info) throw awayError("read", `the bucket ${place.bucket}`, place, "the connection was lost");
  return info;
}

/** How many copies of a value a bucket has that is made now. */
export function replicasFor({ cluster }: ServerInfo, place: NatsPlace): number {
  return place.replicas ?? (cluster ? 3 : 1);
}

async function setMark(
  values: Bucket,
  facts: BucketFacts,
  sealer: Sealer,
  place: NatsPlace,
): Promise<{ value: Uint8Array; revision: number }> {
  if (facts.values > 0) throw foreign(facts, place);
  const value = sealMark(sealer, randomBytes(8).toString("hex"));
  const revision = await values.create(FLEET_KEY, value);
  if (revision !== undefined) return { value, revision };
  const theirs = await values.get(FLEET_KEY);
  if (!theirs) throw foreign(facts, place);
  return theirs;
}

export function sealMark(sealer: Sealer, fleet: string): Uint8Array {
  return sealer.seal(FLEET_KEY, Buffer.from(JSON.stringify({ version: 1, fleet })));
}

function foreign(facts: BucketFacts, { bucket, servers }: NatsPlace): EdgeError {
  return new EdgeError(
    "CONFIG_INVALID",
    `storage: the bucket ${bucket} at nats://${servers.join(",")} holds ${facts.values} values that are not Skerry's: ` +
      "set storage.nats.bucket to another name; nothing was changed",
    { source: "operator" },
  );
}

/** The fleet that an opened mark names. */
export function idIn(mark: Uint8Array): string {
  const { fleet } = JSON.parse(new TextDecoder().decode(mark)) as { fleet?: unknown };
  if (typeof fleet === "string" && ID.test(fleet)) return fleet;
  throw new EdgeError("STORAGE_CORRUPT", "storage: the mark of the fleet cannot be read", {
    source: "storage",
  });
}

function checkVersion(version: string, at: string): void {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  if (major > 2 || (major === 2 && minor >= 9)) return;
  throw new EdgeError(
    "CONFIG_INVALID",
    `storage: ${at} runs nats-server ${version}; Skerry needs 2.9 or newer`,
    { source: "operator" },
  );
}

/** What an operator ought to know of the servers' settings, a line each. */
export function unsafeSettings({ facts }: Buckets, connection: NatsConnection): string[] {
  const { version = "", max_payload = 0, cluster } = connection.info ?? {};
  const [, minor = 0] = version.split(".").map(Number);
  return [
    ...(facts.replicas === 1
      ? [
          cluster
            ? "replicas is 1 in a cluster: the server that holds the bucket may not fail; set storage.nats.replicas to 3"
            : "replicas is 1, at a single server: when it is down nothing new can be ordered; three servers keep going",
        ]
      : []),
    ...(version.startsWith("2.") && minor < 10
      ? [`nats-server ${version} gets no more fixes: 2.11 or newer is recommended`]
      : []),
    ...(max_payload < 1 << 20 ? [`max_payload is ${max_payload} bytes: 1 MiB or more is recommended`] : []),
  ];
}
