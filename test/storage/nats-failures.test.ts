/** What an edge's storage does when NATS is away, lost, another's, or refuses. */
import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Kvm } from "@nats-io/kv";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { EdgeError } from "../../src/errors.ts";
import { type Log, type LogFields, silentLog } from "../../src/log.ts";
import { openLocalCopy } from "../../src/storage/local-copy.ts";
import { type NatsStorageOptions, openNatsStorage } from "../../src/storage/nats.ts";
import { fleetStatus, resealFleet, restoreFleet } from "../../src/storage/nats-admin.ts";
import { openBucket } from "../../src/storage/nats-bucket.ts";
import { isAway } from "../../src/storage/nats-connection.ts";
import { openBuckets } from "../../src/storage/nats-fleet.ts";
import { acquireNatsLock, type HeldNatsLock, LOCK_MS, STILL_MS } from "../../src/storage/nats-lock.ts";
import { createSealer } from "../../src/storage/seal.ts";
import { type ManualClock, manualClock } from "../support/manual-clock.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { freePort } from "../support/ports.ts";
import { eventually } from "../support/processes.ts";

type NatsStorage = ReturnType<typeof openNatsStorage>;

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string | undefined => value && new TextDecoder().decode(value);
const key = randomBytes(32);

let nats: Nats;
let folder: string;
const opened: NatsStorage[] = [];

beforeAll(async () => {
  nats = await startNats();
  folder = await mkdtemp(join(tmpdir(), "skerry-nats-"));
}, 60_000);
afterEach(async () => {
  for (const storage of opened.splice(0)) await storage.close();
  await nats.start();
});
afterAll(async () => {
  await nats?.close();
  await rm(folder, { recursive: true, force: true });
});

function options(more: Partial<NatsStorageOptions> & { bucket?: string } = {}): NatsStorageOptions {
  const { bucket = `b${randomBytes(8).toString("hex")}`, ...rest } = more;
  return {
    place: { servers: nats.servers, bucket },
    keys: [key],
    copy: join(folder, randomBytes(8).toString("hex")),
    clock: systemClock,
    log: silentLog,
    ...rest,
  };
}

function open(given: NatsStorageOptions): NatsStorage {
  const storage = openNatsStorage(given);
  opened.push(storage);
  return storage;
}

async function failureOf(work: Promise<unknown>): Promise<EdgeError> {
  const thrown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(thrown).toBeInstanceOf(EdgeError);
  return thrown as EdgeError;
}

function recording(): { log: Log; events: (LogFields & { event: string })[] } {
  const events: (LogFields & { event: string })[] = [];
  const at = (event: string, fields: LogFields = {}): void => void events.push({ ...fields, event });
  return { events, log: { debug: at, info: at, warn: at, error: at, flush() {} } };
}

/** Until the copy holds so many values. */
const copied = (given: NatsStorageOptions, count: number): Promise<true> =>
  eventually("the copy is written", async () => {
    const names = await readdir(given.copy, { recursive: true, withFileTypes: true }).catch(() => []);
    return names.filter((entry) => entry.isFile() && entry.name.endsWith("~")).length === count;
  });
const away = (storage: NatsStorage): Promise<true> =>
  eventually("it is away", () => storage.away() !== undefined);
const back = (storage: NatsStorage): Promise<true> =>
  eventually("it is back", () => storage.away() === undefined);

describe("while NATS is away", () => {
  test("a connection that is lost before the buckets are opened is no server that is too old", async () => {
    const { place, keys, clock } = options();
    const connection = await connect({ servers: [...nats.servers], maxReconnectAttempts: -1 });
    try {
      await nats.kill();
      await eventually("the connection is lost", () => connection.info === undefined);
      const parts = { place, sealer: createSealer(keys), known: undefined, clock };
      const failure = await failureOf(openBuckets(connection, parts));
      expect(isAway(failure), failure.message).toBe(true);
    } finally {
      await connection.close();
    }
  });

  test("values and lists come from the copy, writes are refused, and all is well again when it is back", async () => {
    const { log, events } = recording();
    const given = options({ log });
    const storage = open(given);
    await storage.store("certificates/a", bytes("one"));
    await copied(given, 2);
    await nats.kill();
    await away(storage);
    expect(text(await storage.load("certificates/a"))).toBe("one");
    expect(await storage.load("certificates/b")).toBeUndefined();
    expect(await storage.list("certificates/")).toEqual(["certificates/a"]);
    const failure = await failureOf(storage.store("certificates/a", bytes("two")));
    expect(failure.code).toBe("STORAGE_UNWRITABLE");
    expect(failure.message).toMatch(/is away .*nothing was changed/);
    await failureOf(storage.delete("certificates/a"));
    await failureOf(storage.update("certificates/a", () => bytes("three")));
    await nats.start();
    await back(storage);
    await storage.store("certificates/a", bytes("two"));
    expect(text(await storage.load("certificates/a"))).toBe("two");
    expect(events.map(({ event }) => event).filter((event) => /away|back/.test(event))).toEqual([
      "storage.away",
      "storage.back",
    ]);
  });

  test("an edge starts from its copy, and is tied to NATS as soon as it is there", async () => {
    const given = options();
    const before = openNatsStorage(given);
    await before.store("certificates/a", bytes("one"));
    await copied(given, 2);
    await before.close();
    await nats.kill();
    const storage = open(given);
    await storage.check();
    expect(storage.away()?.reason).toMatch(/refused/i);
    expect(text(await storage.load("certificates/a"))).toBe("one");
    expect(await storage.list("")).toEqual(["certificates/a"]);
    await nats.start();
    await back(storage);
    await storage.store("certificates/a", bytes("two"));
    expect(text(await storage.load("certificates/a"))).toBe("two");
  });

  test("nothing older is found than was read or written before, nor than what could not be stored", async () => {
    const [given, peers] = [options({ bucket: "kept" }), options({ bucket: "kept" })];
    const [storage, peer] = [open(given), open(peers)];
    await storage.check();
    await peer.check();
    const onDisk = async (): Promise<string | undefined> => {
      const found = await openLocalCopy(given.copy).read("certificates/a");
      return found && text(createSealer([key]).open("certificates/a", found.sealed));
    };
    await peer.store("certificates/a", bytes("0"));
    await eventually("it is told", async () => (await storage.list("certificates/")).length === 1);
    for (let n = 1; n <= 30; n++) {
      if (n % 2 === 0) await peer.store("certificates/a", bytes(String(n)));
      else await storage.update("certificates/a", () => bytes(String(n)));
      if (n % 2 === 0) expect(text(await storage.load("certificates/a"))).toBe(String(n));
      expect(await onDisk()).toBe(String(n));
    }
    await nats.kill();
    await away(storage);
    await storage.keep("certificates/a", bytes("31"));
    await storage.close();
    const again = open(given);
    expect(text(await again.load("certificates/a"))).toBe("31");
    await nats.start();
    await back(again);
    expect(text(await again.load("certificates/a"))).toBe("30");
    await peer.store("certificates/a", bytes("32"));
    await eventually("the next one takes its place", async () => (await onDisk()) === "32");
  });

  test("an edge that has no copy says where it looked and why it did not start", async () => {
    const port = await freePort();
    const storage = open(options({ place: { servers: [`127.0.0.1:${port}`], bucket: "b" } }));
    const failure = await failureOf(storage.check());
    expect(failure.code).toBe("STORAGE_UNREADABLE");
    expect(failure.message).toContain(`nats://127.0.0.1:${port} is away`);
  });

  test("who wants a lock waits until NATS is back, or until told", async () => {
    const storage = open(options());
    await storage.check();
    await nats.kill();
    await away(storage);
    const stop = new AbortController();
    const waiting = storage.withLock("issue/a", async () => "had");
    const other = storage.withLock("issue/b", async () => "had", stop.signal);
    stop.abort(new Error("no time"));
    await expect(other).rejects.toThrow("no time");
    await nats.start();
    expect(await waiting).toBe("had");
  });

  test("changes that were made meanwhile are told when it is back", async () => {
    const given = options();
    const [one, two] = [open(given), open({ ...given, copy: `${given.copy}-two` })];
    await Promise.all([one.check(), two.check()]);
    const told: string[] = [];
    two.watch("certificates/", (changed) => told.push(changed));
    for (let round = 0; round < 2; round++) {
      await nats.kill();
      await Promise.all([away(one), away(two)]);
      await nats.start();
      await back(one);
      await one.store(`certificates/${round}`, bytes("v"));
      await eventually("the other hears of it", () => told.includes(`certificates/${round}`), 5000);
    }
  });

  test("what changed before NATS was back for an edge that began with its copy is told, and read as it is", async () => {
    const given = options();
    const place = { ...given, copy: `${given.copy}-two` };
    const [one, two] = [open(given), openNatsStorage(place)];
    await one.store("dynamic/config", bytes("old"));
    await two.load("dynamic/config");
    await copied(place, 2);
    await two.close();
    const again = open({ ...place, place: { ...given.place, servers: ["127.0.0.1:1"] } });
    expect(text(await again.load("dynamic/config"))).toBe("old");
    await again.close();
    await nats.kill();
    const late = open(place);
    const read: (string | undefined)[] = [];
    late.watch("dynamic/", (changed) => {
      void late.load(changed).then((value) => read.push(text(value)));
    });
    expect(text(await late.load("dynamic/config"))).toBe("old");
    await nats.start();
    // Another edge is first to come back, and changes it at once.
    await eventually("it is written", () =>
      one.store("dynamic/config", bytes("new")).then(
        () => true,
        () => false,
      ),
    );
    await eventually("it is told", () => read.at(-1) === "new");
    expect(read).not.toContain("old");
  });

  test("what was deleted while an edge was down is gone from its copy", async () => {
    const given = options();
    const [one, two] = [open(given), openNatsStorage({ ...given, copy: `${given.copy}-two` })];
    await one.store("tokens/a", bytes("v"));
    await two.check();
    await copied({ ...given, copy: `${given.copy}-two` }, 2);
    await two.close();
    await one.delete("tokens/a");
    const again = open({ ...given, copy: `${given.copy}-two` });
    await again.check();
    await copied({ ...given, copy: `${given.copy}-two` }, 1);
  });
});

describe("the local copy", () => {
  test("is sealed, and for this user only", async () => {
    const before = process.umask(0);
    try {
      const given = options();
      const storage = open(given);
      await storage.store("certificates/a", bytes("a private key"));
      await copied(given, 2);
      const path = join(given.copy, "certificates/a~");
      expect(((await stat(path)).mode & 0o777).toString(8)).toBe("600");
      expect(((await stat(given.copy)).mode & 0o777).toString(8)).toBe("700");
      expect(
        (await import("node:fs/promises").then(({ readFile }) => readFile(path))).includes("private"),
      ).toBe(false);
    } finally {
      process.umask(before);
    }
  });
});

test("a copy that cannot be written is told, and the edge works on", async () => {
  const { log, events } = recording();
  const copy = join(folder, "a-file");
  await writeFile(copy, "");
  const storage = open(options({ copy, log }));
  await storage.check();
  await storage.store("certificates/a", bytes("one"));
  expect(text(await storage.load("certificates/a"))).toBe("one");
  await eventually("it is told", () => events.some(({ event }) => event === "storage.copy_failed"));
});

test("a cluster of three goes on with any two of them", async () => {
  const three = await startNats({ servers: 3 });
  try {
    const storage = open(options({ place: { servers: three.servers, bucket: "b" } }));
    await storage.store("certificates/a", bytes("one"));
    for (const index of [0, 1, 2]) {
      await three.kill(index);
      const value = `without ${index}`;
      // A new leader is chosen within seconds; meanwhile writes are refused, and reads come from the copy.
      await eventually("it is stored", () =>
        storage.store("certificates/a", bytes(value)).then(
          () => true,
          () => false,
        ),
      );
      expect(text(await storage.load("certificates/a"))).toBe(value);
      expect(await storage.withLock("issue/a", async () => "had")).toBe("had");
      await three.start();
    }
  } finally {
    for (const storage of opened.splice(0)) await storage.close();
    await three.close();
  }
}, 90_000);

describe("a bucket that was lost", () => {
  test("leaves edges serving and writing nothing, until it is restored from a copy", async () => {
    const given = options();
    const storage = open(given);
    await storage.store("certificates/a", bytes("one"));
    await storage.store("tokens/a", bytes("token"));
    await copied(given, 3);
    await nats.wipe();
    await nats.start();
    await eventually("it knows", () => storage.away()?.reason.includes("is gone"));
    expect(text(await storage.load("certificates/a"))).toBe("one");
    await failureOf(storage.store("certificates/a", bytes("two")));
    // A start is no other.
    const started = open({ ...given, copy: given.copy });
    await started.check();
    expect(started.away()?.reason).toContain("is gone");
    expect(text(await started.load("certificates/a"))).toBe("one");

    expect(await restoreFleet(given)).toMatchObject({ values: 2 });
    await Promise.all([back(storage), back(started)]);
    expect((await storage.list("")).sort()).toEqual(["certificates/a", "tokens/a"]);
    await storage.store("certificates/a", bytes("two"));
    expect(text(await started.load("certificates/a"))).toBe("two");
    expect((await failureOf(restoreFleet(given))).message).toContain("has this fleet");
  });

  test("a restore leaves out and names what is damaged, and stops before a value of another key", async () => {
    const given = options();
    const storage = open(given);
    for (const name of ["whole", "cut", "changed"]) await storage.store(`tokens/${name}`, bytes(name));
    await copied(given, 4);
    await storage.close();
    const copy = openLocalCopy(given.copy);
    const found = (await copy.read("tokens/changed"))!;
    found.sealed[found.sealed.length - 1]! ^= 1;
    await copy.write("tokens/changed", found);
    await writeFile(join(given.copy, "tokens", "cut~"), "skerry-co");
    await nats.wipe();
    await nats.start();
    const strange = createSealer([randomBytes(32)]).seal("tokens/strange", bytes("strange"));
    await copy.write("tokens/strange", { ...found, sealed: strange });
    expect((await failureOf(restoreFleet(given))).code).toBe("STORAGE_UNREADABLE");
    await copy.remove("tokens/strange");
    const { values, damaged } = await restoreFleet(given);
    expect([values, [...damaged].sort()]).toEqual([1, ["tokens/changed", "tokens/cut"]]);
  });

  test("is not made anew by who looks at it, and not restored over a fleet that was begun meanwhile", async () => {
    const given = options();
    const storage = open(given);
    await storage.store("tokens/a", bytes("token"));
    await copied(given, 2);
    await nats.wipe();
    await nats.start();
    expect((await failureOf(fleetStatus(given))).message).toMatch(/is gone; .*"skerry fleet restore"/);
    const elsewhere = { ...given, copy: `${given.copy}-none` };
    expect((await failureOf(fleetStatus(elsewhere))).message).toContain("there is no fleet");
    expect((await failureOf(restoreFleet(elsewhere))).message).toContain("is no copy of a fleet's storage");
    // An edge without a copy begins one.
    const stranger = open(elsewhere);
    await stranger.check();
    await eventually("it knows", () => storage.away()?.reason.includes("belongs to fleet"));
    expect((await failureOf(restoreFleet(given))).message).toMatch(
      /has a fleet \(\w{16}\), and this copy is of \w{16}: .*remove the buckets/,
    );
  });
});

describe("a start is refused", () => {
  test("with another fleet key, and nothing is changed", async () => {
    const given = options();
    const storage = open(given);
    await storage.store("certificates/a", bytes("one"));
    const stranger = open({ ...given, keys: [randomBytes(32)], copy: `${given.copy}-other` });
    const failure = await failureOf(stranger.check());
    expect(failure.code).toBe("STORAGE_UNREADABLE");
    expect(failure.message).toContain(createSealer([key]).keyId);
    await failureOf(stranger.store("certificates/a", bytes("two")));
    expect(text(await storage.load("certificates/a"))).toBe("one");
    // Its own copy does not open either.
    await copied(given, 2);
    await nats.kill();
    const offline = open({ ...given, keys: [randomBytes(32)] });
    expect((await failureOf(offline.check())).code).toBe("STORAGE_UNREADABLE");
  });

  test("by a bucket that somebody else filled, and nothing is changed", async () => {
    const given = options();
    const connection = await connect({ servers: [...nats.servers] });
    const kv = await new Kvm(connection).create(given.place.bucket);
    await kv.put("certificates.a", "theirs");
    const failure = await failureOf(open(given).check());
    expect(failure.code).toBe("CONFIG_INVALID");
    expect(failure.message).toMatch(/holds 1 values that are not Skerry's/);
    expect((await kv.get("certificates.a"))?.string()).toBe("theirs");
    expect((await kv.status()).values).toBe(1);
    await connection.close();
  });

  test("by the wrong password, and a user with too few rights", async () => {
    const bucket = "rights";
    const allowed = `"$JS.API.INFO", "$JS.API.STREAM.INFO.>", "$JS.API.STREAM.CREATE.>"`;
    const enough = [
      "$JS.API.INFO",
      ...[bucket, `${bucket}-locks`].flatMap((name) => [
        `$JS.API.STREAM.*.KV_${name}`,
        `$JS.API.STREAM.MSG.*.KV_${name}`,
        `$KV.${name}.>`,
      ]),
      "$JS.API.CONSUMER.>",
      "$JS.FC.>",
    ]
      .map((subject) => JSON.stringify(subject))
      .join(", ");
    const strict = await startNats({
      more: `accounts { A { jetstream: enabled, users: [
        { user: all, password: secret },
        { user: enough, password: secret, permissions: { publish: { allow: [${enough}] }, subscribe: "_INBOX.>" } },
        { user: few, password: secret, permissions: { publish: { allow: [${allowed}] }, subscribe: ">" } } ] } }`,
    });
    try {
      const as = (credentials: string): NatsStorageOptions =>
        options({ place: { servers: strict.servers, bucket, credentials } });
      expect((await failureOf(open(as("all:wrong")).check())).message).toMatch(/refuses these credentials/);
      const storage = open(as("enough:secret"));
      await storage.check();
      await storage.store("a", bytes("v"));
      await storage.update("a", () => bytes("w"));
      expect(await storage.list("")).toEqual(["a"]);
      await storage.withLock("a", () => storage.delete("a"));
      const failure = await failureOf(open(as("few:secret")).check());
      expect(failure.message).toMatch(/too few rights .*no publish on "\$/);
    } finally {
      for (const storage of opened.splice(0)) await storage.close();
      await strict.close();
    }
  });
});

describe("a lock", () => {
  const newBucket = (connection: NatsConnection, maxAgeMs: number): ReturnType<typeof openBucket> =>
    openBucket(connection, {
      name: `b${randomBytes(8).toString("hex")}`,
      replicas: 1,
      maxAgeMs,
      make: true,
      clock: systemClock,
    });
  /** As a fleet's, on a connection of its own. */
  const locks = async () => {
    const connection = await connect({ servers: [...nats.servers] });
    const bucket = await newBucket(connection, LOCK_MS);
    const parts = { bucket: async () => bucket, random: () => 0.5, log: silentLog, owner: "test" };
    return { connection, bucket, parts };
  };
  const never = new AbortController().signal;
  /** Until the one who waits has asked, and sleeps again. */
  const pass = async (clock: ManualClock, ms: number, over: () => boolean): Promise<void> => {
    for (let passed = 0; passed < ms && !over(); passed += 1000) {
      await clock.advance(1000);
      await eventually("an answer", () => over() || clock.pending() > 0);
    }
  };

  test("whose owner died is taken over when it has stood still for as long as its owner says, and not before", async () => {
    const { connection, bucket, parts } = await locks();
    const { log, events } = recording();
    // Its clock stands still, so it renews nothing.
    await acquireNatsLock("a", { ...parts, owner: "the dead one", clock: manualClock() }, never);
    const clock = manualClock();
    let next: HeldNatsLock | undefined;
    const waiting = acquireNatsLock("a", { ...parts, log, clock }, never).then((lock) => {
      next = lock;
    });
    await eventually("it waits", () => clock.pending() > 0);
    await pass(clock, STILL_MS - 2000, () => next !== undefined);
    expect(next).toBeUndefined();
    expect(events).toEqual([]);
    await pass(clock, 10_000, () => next !== undefined);
    await waiting;
    expect(events).toMatchObject([
      { event: "storage.lock_taken_over", lock: "a", owner: "the dead one", stoodMs: expect.any(Number) },
    ]);
    expect((await bucket.get("a")) !== undefined).toBe(true);
    await next?.release();
    await connection.close();
  });

  test("whose owner lives is never taken over", async () => {
    const { connection, parts } = await locks();
    const [mine, theirs] = [manualClock(), manualClock()];
    const lock = await acquireNatsLock("a", { ...parts, clock: mine }, never);
    const stop = new AbortController();
    let got = false;
    const waiting = acquireNatsLock("a", { ...parts, clock: theirs }, stop.signal).then(
      () => {
        got = true;
      },
      () => {},
    );
    await eventually("it waits", () => theirs.pending() > 0);
    for (let second = 0; second < 2 * LOCK_MS; second += 5000) {
      await pass(theirs, 5000, () => got);
      await mine.advance(5000);
      await eventually("a renewal", () => mine.pending() > 0);
    }
    expect(got).toBe(false);
    expect(lock.signal.aborted).toBe(false);
    stop.abort(new Error("over"));
    await waiting;
    await lock.release();
    await connection.close();
  });

  test("that could not be given back while NATS was away is given back when it is there", async () => {
    const { connection, bucket, parts } = await locks();
    let gone = false;
    const clock = manualClock();
    const lock = await acquireNatsLock(
      "a",
      {
        ...parts,
        clock,
        bucket: async () => {
          if (gone) throw new Error("away");
          return bucket;
        },
      },
      never,
    );
    gone = true;
    await lock.release();
    await clock.advance(3000);
    expect((await bucket.get("a")) !== undefined).toBe(true);
    gone = false;
    await clock.advance(1000);
    await eventually("it is free", async () => (await bucket.get("a")) === undefined);
    await connection.close();
  });

  test("that says nothing of itself, and whose owner died, is had by the next one when it has expired, and not before", async () => {
    const connection = await connect({ servers: [...nats.servers] });
    const bucket = await newBucket(connection, 1000);
    const parts = { bucket: async () => bucket, random: () => 0.5, log: silentLog, owner: "test" };
    const began = performance.now();
    await bucket.create("a", bytes("of an earlier version"));
    const next = await acquireNatsLock("a", { ...parts, clock: systemClock }, never);
    expect(performance.now() - began).toBeGreaterThan(900);
    await next.release();
    await connection.close();
  });

  test("that cannot be renewed is lost before it may be another's", async () => {
    const clock = manualClock();
    const connection = await connect({ servers: [...nats.servers] });
    const bucket = await newBucket(connection, LOCK_MS);
    let gone = false;
    const parts = {
      bucket: async () => {
        if (gone) throw new Error("away");
        return bucket;
      },
      clock,
      random: () => 0.5,
      log: silentLog,
      owner: "test",
    };
    const lock = await acquireNatsLock("a", parts, new AbortController().signal);
    for (let second = 0; second < 120; second += 5) {
      await clock.advance(5000);
      // A renewal goes to the server and back.
      await eventually("a renewal", () => clock.pending() > 0);
    }
    expect(lock.signal.aborted).toBe(false);
    gone = true;
    let passed = 0;
    for (; !lock.signal.aborted && passed < 120; passed++) {
      await clock.advance(1000);
      await eventually("a try", () => lock.signal.aborted || clock.pending() > 0);
    }
    // Ten seconds before who waits may take it.
    expect(passed).toBeLessThanOrEqual((STILL_MS - 10_000) / 1000);
    expect(lock.signal.reason).toMatchObject({ code: "STORAGE_LOCKED" });
    gone = false;
    await lock.release();
    await connection.close();
  });

  test("is shown with its owner", async () => {
    const given = options();
    const storage = open(given);
    await storage.withLock("issue/a.example.com", async () => {
      const { locks } = await fleetStatus(given);
      expect(locks).toEqual([
        { name: "issue/a.example.com", owner: expect.stringContaining(String(process.pid)) },
      ]);
    });
    expect((await fleetStatus(given)).locks).toEqual([]);
  });

  test("that somebody else has by now is lost at the next renewal, and is not given back for them", async () => {
    const clock = manualClock();
    const connection = await connect({ servers: [...nats.servers] });
    const bucket = await newBucket(connection, LOCK_MS);
    const parts = { bucket: async () => bucket, clock, random: () => 0.5, log: silentLog, owner: "test" };
    const lock = await acquireNatsLock("a", parts, never);
    // As if a minute had passed while this process stood still.
    await bucket.undo((await bucket.last("a")).revision);
    const theirs = await acquireNatsLock("a", parts, never);
    await clock.advance(15_000);
    await eventually("it is lost", () => lock.signal.aborted);
    await lock.release();
    expect((await bucket.get("a")) !== undefined).toBe(true);
    expect(theirs.signal.aborted).toBe(false);
    await theirs.release();
    expect(await bucket.get("a")).toBeUndefined();
    await connection.close();
  });
});

describe("fleet keys", () => {
  test("are changed while edges run: both are accepted, all is sealed anew, the old one goes", async () => {
    const next = randomBytes(32);
    const given = options();
    const old = open(given);
    await old.store("certificates/a", bytes("one"));
    const both = open({ ...given, keys: [key, next], copy: `${given.copy}-both` });
    expect(text(await both.load("certificates/a"))).toBe("one");
    expect(await resealFleet({ ...given, keys: [next, key], copy: `${given.copy}-cli` })).toMatchObject({
      keyId: createSealer([next]).keyId,
      values: 1,
    });
    expect(text(await both.load("certificates/a"))).toBe("one");
    const fresh = open({ ...given, keys: [next], copy: `${given.copy}-next` });
    await fresh.check();
    expect(text(await fresh.load("certificates/a"))).toBe("one");
    expect((await failureOf(old.load("certificates/a"))).code).toBe("STORAGE_UNREADABLE");
  });
});

test("a server that listens but never speaks does not hold a start for ever", async () => {
  const { createServer } = await import("node:net");
  const silent = createServer(() => {});
  const port = await freePort();
  await new Promise<void>((resolve) => silent.listen(port, "127.0.0.1", resolve));
  const failure = await failureOf(
    open(options({ place: { servers: [`127.0.0.1:${port}`], bucket: "b" } })).check(),
  );
  expect(failure.message).toContain("is away");
  silent.close();
});
