/**
 * An edge's tie to the fleet's storage: connected or away, and the copy on its disk kept up to date by a watch. Nothing here
 * gives up: servers that come back are found again, and what changed meanwhile is told.
 */
import type { NatsConnection } from "@nats-io/transport-node";
import { type Clock, sleep, stayAlive, type Timer } from "../clock.ts";
import { EdgeError, errorFields, messageOf } from "../errors.ts";
import type { Log } from "../log.ts";
import { type LocalCopy, openLocalCopy } from "./local-copy.ts";
import type { Bucket } from "./nats-bucket.ts";
import { awayError, connectToNats, isAway, isMissing, type NatsPlace, placeName } from "./nats-connection.ts";
import { type Buckets, fleetOfCopy, OtherFleet, openBuckets, unsafeSettings } from "./nats-fleet.ts";
import { decodeKey, encodeKey, FLEET_KEY } from "./nats-keys.ts";
import { type Change, createMirror, type Mirror } from "./nats-mirror.ts";
import type { Sealer } from "./seal.ts";

export interface SessionOptions {
  readonly place: NatsPlace;
  readonly sealer: Sealer;
  /** Where the local copy lies. */
  readonly copy: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Of the connection, for people who look at the server. */
  readonly name: string;
  readonly onChange: (key: string) => void;
}

export interface Away {
  readonly since: number;
  readonly reason: string;
}

export interface Session {
  readonly copy: LocalCopy;
  readonly mirror: Mirror;
  /** Resolves when values are at hand, in NATS or in the copy. Rejects with what an operator must mend; may be tried again. */
  start(): Promise<void>;
  /** Undefined while NATS is away. */
  buckets(): Buckets | undefined;
  locks(): Promise<Bucket>;
  /** Resolves when the copy has what was read or written, or the disk is slow: a start without NATS finds nothing older. */
  copied(key: string, revision: number, sealed: Uint8Array): Promise<void>;
  /** Puts into the copy what NATS has not got. */
  keep(key: string, sealed: Uint8Array): Promise<void>;
  /** The largest value that the server takes. */
  maxBytes(): number;
  /** Whether the mirror holds all keys. */
  isMirrored(): boolean;
  away(): Away | undefined;
  /** A request was not answered. */
  failed(thrown: unknown): void;
  close(): Promise<void>;
}

/** How long a start waits for NATS: with a copy there is something to serve meanwhile. */
const START_MS = 8000;
const START_WITH_COPY_MS = 3000;
const PROBE_MS = 5000;
/** Nobody waits longer for the copy: a disk may stand still, and what it would tell of may be a token that was revoked. */
const DISK_MS = 1000;
const PROBE_AWAY_MS = 1000;
/** Values that live for moments, or belong to one edge: of no use once NATS was away. */
const PASSING = /^(edges|challenges)\//;
/** Marks of such values that were deleted are taken away at a start: so many at most. */
const MOST_MARKS = 10_000;

export function openSession(options: SessionOptions): Session {
  const { place, sealer, clock, log } = options;
  const copy = openLocalCopy(options.copy);
  const closed = new AbortController();
  let connection: NatsConnection | undefined;
  let open: Buckets | undefined;
  let fleet: string | undefined;
  let away: Away | undefined;
  let mirrored = false;
  /** Changes that were seen before NATS was back for everybody: all that there is, where the copy was served from the start. */
  const untold = new Set<string>();
  let starting: Promise<void> | undefined;
  let probing: Promise<void> | undefined;
  let timer: Timer | undefined;
  let lastFailure = "no answer";
  let refused = "";
  let behind = false;
  /** Writes to the disk, one after another; what somebody waits for goes before all that nobody does. */
  const urgent: (() => Promise<void>)[] = [];
  const writes: (() => Promise<void>)[] = [];
  let disk: Promise<void> | undefined;
  /** Up to here the bucket was read as a whole, and the copy follows when it can. */
  let readWhole = 0;
  /** The revision of each value that the copy has since. */
  const onDisk = new Map<string, number>();

  const writeOn = async (): Promise<void> => {
    for (;;) {
      const next = urgent.shift() ?? writes.shift();
      if (!next) {
        // At once: what comes after this begins anew.
        disk = undefined;
        return;
      }
      await next();
    }
  };
  const toDisk = (work: () => Promise<void>, line: (() => Promise<void>)[] = writes): Promise<void> =>
    new Promise((resolve) => {
      line.push(() =>
        work()
          .catch((thrown: unknown) => {
            // Visitors are served from memory; only a start without NATS would miss it.
            log.warn("storage.copy_failed", errorFields(thrown));
          })
          .then(resolve),
      );
      disk ??= writeOn();
    });
  const writeCopy = async (
    key: string,
    bucket: string,
    revision: number,
    sealed: Uint8Array,
  ): Promise<void> => {
    try {
      const before = await copy.read(key).catch(() => undefined);
      if (before?.bucket === bucket && before.revision >= revision) return;
      await copy.write(key, { bucket, revision, sealed });
    } finally {
      // Where the disk fails that was said, and the next start reads from NATS.
      if (revision > readWhole) onDisk.set(key, revision);
    }
  };
  const persist = (key: string, { revision, value }: Change, bucket: string): void => {
    void toDisk(() => (value === undefined ? copy.remove(key) : writeCopy(key, bucket, revision, value)));
  };
  let created = "";
  let marks: number[] = [];
  const mirror = createMirror((change) => {
    const key = decodeKey(change.key);
    if (key === undefined) return;
    if (!PASSING.test(key)) persist(key, change, created);
    // Of keys that never come again, so that the bucket would grow for ever.
    else if (!mirrored && change.value === undefined && marks.length < MOST_MARKS)
      marks.push(change.revision);
    if (change.own) return;
    // Who looks while NATS is away gets what the copy has, which may not be this yet.
    if (away) untold.add(key);
    else if (mirrored) options.onChange(key);
  });

  const goAway = (reason: string): void => {
    if (closed.signal.aborted) return;
    if (!away) log.warn("storage.away", { at: placeName(place), reason });
    away = { since: away?.since ?? clock.wall(), reason };
    probeIn(PROBE_AWAY_MS);
  };
  const comeBack = (): void => {
    if (!away || closed.signal.aborted) return;
    log.info("storage.back", { at: placeName(place), afterMs: Math.round(clock.wall() - away.since) });
    away = undefined;
    refused = "";
    const keys = [...untold];
    untold.clear();
    for (const key of keys) options.onChange(key);
  };

  /** Others saw them long ago; who did not looks for itself. */
  const forgetMarks = async (values: Bucket): Promise<void> => {
    const old = marks;
    marks = [];
    try {
      for (const revision of old) {
        if (closed.signal.aborted) return;
        await values.undo(revision);
      }
    } catch (thrown) {
      // The next start takes them away.
      log.debug("storage.marks_left", errorFields(thrown));
    }
  };

  /** Opens what is there, and follows it. */
  const establish = async (link: NatsConnection): Promise<void> => {
    const found = await openBuckets(link, { place, sealer, known: fleet, clock });
    const first = fleet === undefined || open === undefined;
    fleet = found.fleet;
    created = bucketName(found);
    if (first) for (const what of unsafeSettings(found, link)) log.warn("storage.unsafe", { what });
    const wasMirrored = mirrored;
    mirrored = wasMirrored && open !== undefined;
    readWhole = found.facts.lastRevision;
    onDisk.clear();
    await mirror.begin(found.values);
    open = found;
    mirrored = true;
    void forgetMarks(found.values);
    const { sealed, revision } = found.mark;
    void toDisk(async () => {
      await copy.write(FLEET_KEY, { bucket: created, revision, sealed });
      // What the bucket no longer has was deleted while this edge was not there.
      for (const key of await copy.keys()) {
        if (key !== FLEET_KEY && !mirror.has(encodeKey(key))) await copy.remove(key);
      }
    });
  };

  /** Nothing that time alone would mend: said once. */
  const sayRefused = (thrown: unknown): void => {
    const reason = messageOf(thrown);
    if (closed.signal.aborted || reason === refused) return;
    refused = reason;
    log.error("storage.refused", { ...errorFields(thrown), code: "STORAGE_UNREADABLE" });
  };

  const probe = async (): Promise<void> => {
    const link = connection;
    if (closed.signal.aborted) return;
    if (!link) {
      // Who was refused is let in when somebody has mended it there.
      if (!dialling) dialOn().catch(sayRefused);
      return;
    }
    try {
      if (!open) await establish(link);
      else {
        const facts = await open.values.facts().catch((thrown: unknown) => {
          if (isMissing(thrown)) return undefined;
          throw thrown;
        });
        const other = !facts || bucketName({ ...open, facts }) !== created;
        if (other || away) await openBuckets(link, { place, sealer, known: fleet, clock });
        if (other) await establish(link);
        else if (facts.lastRevision > mirror.seen && (behind || away)) {
          // The consumer was lost with its server: nothing comes any more.
          behind = false;
          await mirror.resume(open.values);
        } else behind = facts.lastRevision > mirror.seen;
      }
      comeBack();
    } catch (thrown) {
      if (!isAway(thrown)) sayRefused(thrown);
      goAway(messageOf(thrown));
    }
  };
  const probeIn = (delayMs: number): void => {
    if (closed.signal.aborted) return;
    timer?.cancel();
    timer = clock.after(delayMs, () => {
      probing ??= probe().finally(() => {
        probing = undefined;
        probeIn(away ? PROBE_AWAY_MS : behind ? 500 : PROBE_MS);
      });
    });
  };

  const follow = async (link: NatsConnection): Promise<void> => {
    for await (const { type } of link.status()) {
      if (type === "disconnect" || type === "staleConnection") goAway("the connection was lost");
      else if (type === "reconnect") probeIn(0);
    }
  };
  let dialling: Promise<void> | undefined;
  const dial = async (): Promise<void> => {
    const { signal } = closed;
    const onFailure = (why: string): void => {
      lastFailure = why;
    };
    connection = await connectToNats(place, { clock, name: options.name, signal, onFailure });
    void follow(connection);
  };
  const dialOn = (): Promise<void> => {
    dialling ??= dial().finally(() => {
      dialling = undefined;
    });
    return dialling;
  };

  const begin = async (): Promise<void> => {
    fleet ??= await fleetOfCopy(copy, sealer);
    const dialled = dialOn();
    // It goes on after the wait; who waits hears of it here.
    dialled.catch(() => {});
    const boundMs = fleet === undefined ? START_MS : START_WITH_COPY_MS;
    let bound: Timer | undefined;
    const tooLong = new Promise<"too long">((resolve) => {
      bound = clock.after(boundMs, () => resolve("too long"));
    });
    try {
      const first = connection ? undefined : await Promise.race([dialled, tooLong]);
      if (first === "too long") throw awayError("read", "anything", place, lastFailure);
      const until = clock.now() + boundMs;
      for (;;) {
        try {
          if (connection) await establish(connection);
          break;
        } catch (thrown) {
          // A cluster that is choosing a leader answers soon.
          if (!isAway(thrown) || clock.now() >= until) throw thrown;
          lastFailure = messageOf(thrown);
          await sleep(clock, 100, closed.signal);
        }
      }
      probeIn(PROBE_MS);
    } catch (thrown) {
      const wiped = thrown instanceof OtherFleet;
      if (fleet === undefined || closed.signal.aborted || !(wiped || isAway(thrown))) throw thrown;
      if (wiped) log.error("storage.refused", { message: thrown.message, code: "STORAGE_UNREADABLE" });
      refused = messageOf(thrown);
      goAway(wiped ? thrown.message : lastFailure);
      dialling?.catch(sayRefused);
    } finally {
      bound?.cancel();
    }
  };

  return {
    copy,
    mirror,
    start() {
      if (closed.signal.aborted) return Promise.reject(closed.signal.reason);
      if (starting) return starting;
      // Nothing else may keep the process alive while it waits for a server that is not there.
      const awake = stayAlive();
      starting = begin()
        .catch((thrown: unknown) => {
          starting = undefined;
          throw thrown;
        })
        .finally(() => awake.cancel());
      return starting;
    },
    buckets: () => (away ? undefined : open),
    async locks() {
      if (away || !open) throw awayError("write", "a lock", place, away?.reason ?? lastFailure);
      return open.locks;
    },
    async copied(key, revision, sealed) {
      if (PASSING.test(key) || revision <= readWhole || (onDisk.get(key) ?? 0) >= revision) return;
      const late = new AbortController();
      const bucket = created;
      const write = async (): Promise<void> => {
        // Not where it was deleted since.
        if (mirror.has(encodeKey(key)) || mirror.seen < revision)
          await writeCopy(key, bucket, revision, sealed);
      };
      const written = toDisk(write, urgent).finally(() => late.abort());
      await Promise.race([written, sleep(clock, DISK_MS, late.signal).catch(() => {})]);
    },
    async keep(key, sealed) {
      await toDisk(async () => {
        const { bucket = created, revision = 0 } = (await copy.read(key)) ?? {};
        await copy.write(key, { bucket, revision, sealed });
      }, urgent);
    },
    maxBytes: () => connection?.info?.max_payload ?? 1 << 20,
    isMirrored: () => mirrored,
    away: () => away,
    failed(thrown) {
      if (isAway(thrown)) goAway(messageOf(thrown));
    },
    async close() {
      if (closed.signal.aborted) return;
      closed.abort(new EdgeError("SHUTTING_DOWN", "storage: closed", { source: "storage" }));
      timer?.cancel();
      mirror.stop();
      await Promise.allSettled([starting, dialling]);
      await connection?.close();
      await probing;
      await disk;
    },
  };
}

/** A bucket that is made anew counts from one again, so it is told by when it was made. */
function bucketName({ fleet, facts }: Pick<Buckets, "fleet" | "facts">): string {
  return `${fleet}/${facts.created}`;
}
