/** Storage that ends with the process: for tests, and for an edge that brings its own certificates. */
import { checkKey, checkPrefix } from "./keys.ts";
import { createQueue } from "./queue.ts";
import type { Storage } from "./storage.ts";

/** Values are copied in and out, so a caller cannot change what is stored. Locks hold within this process. */
export function createMemoryStorage(): Storage {
  const values = new Map<string, Uint8Array>();
  const queue = createQueue();
  return {
    async load(key) {
      return values.get(checkKey(key))?.slice();
    },
    async store(key, value) {
      values.set(checkKey(key), value.slice());
    },
    async delete(key) {
      values.delete(checkKey(key));
    },
    async list(prefix) {
      checkPrefix(prefix);
      return [...values.keys()].filter((key) => key.startsWith(prefix));
    },
    async withLock(name, work, signal) {
      const leave = await queue.enter(checkKey(name), signal);
      try {
        // Nobody can take a lock away within one process, so the signal never aborts.
        return await work(new AbortController().signal);
      } finally {
        leave();
      }
    },
    async check() {},
    async close() {},
  };
}
