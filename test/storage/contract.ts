/** What every storage must do, whatever it keeps values in. */
import { setTimeout as wait } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import type { Storage } from "../../src/storage/storage.ts";

/** One place that several storages open, as several edges would. */
export interface ContractPlace {
  open(): Promise<Storage>;
  /** Removes everything. */
  close(): Promise<void>;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string | undefined => value && new TextDecoder().decode(value);

/** Takes a lock and keeps it until told. */
export async function hold(
  storage: Storage,
  name: string,
): Promise<{ signal: AbortSignal; leave: () => Promise<void> }> {
  return new Promise((resolve, reject) => {
    const done = storage.withLock(name, (signal) => {
      return new Promise<void>((release) => {
        const leave = (): Promise<void> => {
          release();
          return done;
        };
        resolve({ signal, leave });
      });
    });
    done.catch(reject);
  });
}

/**
 * Runs the suite. `shared`: whether two storages opened at one place see each other.
 *
 * @example
 * ```ts
 * storageContract("filesystem", async () => ({ open: async () => openFilesystemStorage(…), close: … }), { shared: true });
 * ```
 */
export function storageContract(
  name: string,
  makePlace: () => Promise<ContractPlace>,
  { shared }: { shared: boolean },
): void {
  describe(`${name} keeps the storage contract:`, () => {
    const places: ContractPlace[] = [];
    const storages: Storage[] = [];
    const openAt = async (place: ContractPlace): Promise<Storage> => {
      const storage = await place.open();
      storages.push(storage);
      return storage;
    };
    const newPlace = async (): Promise<ContractPlace> => {
      const place = await makePlace();
      places.push(place);
      return place;
    };
    const fresh = async (): Promise<Storage> => openAt(await newPlace());

    afterEach(async () => {
      for (const storage of storages.splice(0)) await storage.close();
      for (const place of places.splice(0)) await place.close();
    });

    test("a value comes back as it was stored, and a second one replaces it", async () => {
      const storage = await fresh();
      const all = Uint8Array.from({ length: 256 }, (_, index) => index);
      await storage.store("a/b", all);
      expect(await storage.load("a/b")).toEqual(all);
      await storage.store("a/b", bytes("short"));
      expect(text(await storage.load("a/b"))).toBe("short");
      await storage.store("a/empty", new Uint8Array(0));
      expect((await storage.load("a/empty"))?.length).toBe(0);
    });

    test("a value of a mebibyte is kept whole", async () => {
      const storage = await fresh();
      const large = new Uint8Array(1 << 20).fill(7);
      await storage.store("large", large);
      expect(Buffer.compare((await storage.load("large")) ?? bytes(""), large)).toBe(0);
    });

    test("changing the bytes given or got does not change what is stored", async () => {
      const storage = await fresh();
      const given = bytes("abc");
      await storage.store("k", given);
      given[0] = 0;
      const got = await storage.load("k");
      got![1] = 0;
      expect(text(await storage.load("k"))).toBe("abc");
    });

    test("what was never stored, or was deleted, is undefined; deleting it again is nothing", async () => {
      const storage = await fresh();
      expect(await storage.load("none")).toBeUndefined();
      expect(await storage.load("none/below")).toBeUndefined();
      await storage.store("k", bytes("v"));
      await storage.delete("k");
      await storage.delete("k");
      await storage.delete("none/below");
      expect(await storage.load("k")).toBeUndefined();
      expect(await storage.list("")).toEqual([]);
    });

    test("list gives the keys below a prefix, and only those", async () => {
      const storage = await fresh();
      for (const key of ["certificates/a.example.test", "certificates/x/b", "certificatesque/c", "d"]) {
        await storage.store(key, bytes(key));
      }
      await storage.withLock("certificates/lock", async () => {});
      expect((await storage.list("certificates/")).sort()).toEqual([
        "certificates/a.example.test",
        "certificates/x/b",
      ]);
      expect((await storage.list("")).length).toBe(4);
      expect(await storage.list("nothing/")).toEqual([]);
    });

    test("keys that could leave the storage are refused", async () => {
      const storage = await fresh();
      const odd = [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../b",
        "a/./b",
        "a\\b",
        "a\0b",
        "a b",
        "ä",
        "~a",
        "*",
        "a:b",
        "x".repeat(300),
      ];
      for (const key of odd) {
        await expect(storage.load(key), JSON.stringify(key)).rejects.toBeInstanceOf(EdgeError);
        await expect(storage.store(key, bytes("v")), JSON.stringify(key)).rejects.toBeInstanceOf(EdgeError);
        await expect(storage.delete(key), JSON.stringify(key)).rejects.toBeInstanceOf(EdgeError);
        await expect(
          storage.withLock(key, async () => {}),
          JSON.stringify(key),
        ).rejects.toBeInstanceOf(EdgeError);
      }
      for (const prefix of ["a", "../", "/", "a//"]) {
        await expect(storage.list(prefix), prefix).rejects.toBeInstanceOf(EdgeError);
      }
    });

    test("every character that keys may have is kept", async () => {
      const storage = await fresh();
      const key = "A-Z_a.z0=9/...a/.hidden/x--/_wildcard.example.test";
      await storage.store(key, bytes("v"));
      expect(text(await storage.load(key))).toBe("v");
      expect(await storage.list("")).toEqual([key]);
      const long = `certificates/${"a".repeat(253)}`;
      await storage.store(long, bytes("v"));
      expect(text(await storage.load(long))).toBe("v");
    });

    test("who reads while others write sees one whole value", async () => {
      const storage = await fresh();
      const values = Array.from({ length: 8 }, (_, index) => new Uint8Array(20_000).fill(index));
      await storage.store("k", values[0]!);
      let writing = true;
      const writers = Promise.all(
        values.map(async (value) => {
          for (let turn = 0; turn < 5; turn++) await storage.store("k", value);
        }),
      ).finally(() => {
        writing = false;
      });
      while (writing) {
        const got = await storage.load("k");
        expect(got?.length).toBe(20_000);
        expect(got?.every((byte) => byte === got[0])).toBe(true);
      }
      await writers;
    });

    test("twenty who race for a lock hold it one at a time, and all get it", async () => {
      const place = await newPlace();
      const opened = await Promise.all(Array.from({ length: shared ? 4 : 1 }, () => openAt(place)));
      let inside = 0;
      let most = 0;
      let turns = 0;
      await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          opened[index % opened.length]!.withLock("issue/a.example.test", async () => {
            most = Math.max(most, ++inside);
            await wait(2);
            inside--;
            turns++;
          }),
        ),
      );
      expect({ most, turns, inside }).toEqual({ most: 1, turns: 20, inside: 0 });
    });

    test("different names do not wait for each other", async () => {
      const storage = await fresh();
      await storage.withLock("a", () => storage.withLock("b", async () => {}));
    });

    test("a lock gives back what its work gives, and is free again when its work throws", async () => {
      const storage = await fresh();
      expect(await storage.withLock("a", async () => 5)).toBe(5);
      await expect(storage.withLock("a", () => Promise.reject(new Error("inside")))).rejects.toThrow(
        "inside",
      );
      expect(await storage.withLock("a", async (signal) => signal.aborted)).toBe(false);
    });

    test("who waits for a lock gives up when told, and the next in line still gets it", async () => {
      const place = await newPlace();
      const storage = await openAt(place);
      const other = shared ? await openAt(place) : storage;
      const held = await hold(storage, "a");
      const giveUp = new AbortController();
      const waiting = other.withLock("a", async () => "never", giveUp.signal);
      const next = other.withLock("a", async () => "next");
      giveUp.abort(new Error("no time"));
      await expect(waiting).rejects.toThrow("no time");
      await expect(other.withLock("a", async () => 1, giveUp.signal)).rejects.toThrow("no time");
      await held.leave();
      expect(await next).toBe("next");
    });

    test("a storage that works passes its own check, twenty at once, and leaves nothing behind", async () => {
      const storage = await fresh();
      await Promise.all(Array.from({ length: 20 }, () => storage.check()));
      expect(await storage.list("")).toEqual([]);
    });

    test("closing twice is closing once", async () => {
      const storage = await fresh();
      await storage.close();
      await storage.close();
    });

    if (!shared) return;

    test("what one edge stores, another loads", async () => {
      const place = await newPlace();
      const [one, two] = [await openAt(place), await openAt(place)];
      await one.store("k", bytes("v"));
      expect(text(await two.load("k"))).toBe("v");
    });
  });
}
