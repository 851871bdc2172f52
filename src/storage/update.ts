/** Replacing a value with nobody writing in between, whatever the storage. */
import type { Storage } from "./storage.ts";

/**
 * As {@link Storage.update}; where a storage has none, under a lock, which excludes all that change the value by this
 * function.
 */
export async function updateValue(
  storage: Pick<Storage, "load" | "store" | "update" | "withLock">,
  key: string,
  change: (current: Uint8Array | undefined) => Uint8Array | undefined,
): Promise<boolean> {
  if (storage.update) return storage.update(key, change);
  return storage.withLock(`update/${key}`, async (signal) => {
    const next = change(await storage.load(key));
    if (next === undefined) return false;
    signal.throwIfAborted();
    await storage.store(key, next);
    return true;
  });
}
