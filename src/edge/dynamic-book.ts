/** Dynamic hosts and servers in storage: changed by commands and the admin API of any edge, read by all. */
import { type DynamicBase, type DynamicEdit, type DynamicState, editDynamic } from "../config/dynamic.ts";
import { decodeDynamic, encodeDynamic } from "../config/dynamic-text.ts";
import type { Storage } from "../storage/storage.ts";
import { updateValue } from "../storage/update.ts";

/** One value, so that a change sees all that it must fit. */
export const DYNAMIC_KEY = "dynamic/config";
export const DYNAMIC_PREFIX = "dynamic/";

export interface DynamicChange {
  /** What was done, for people. */
  readonly said: string;
  /** False where it was so already. */
  readonly changed: boolean;
  readonly generation: number;
}

export interface DynamicBook {
  /** @throws EdgeError STORAGE_UNREADABLE or STORAGE_CORRUPT */
  read(): Promise<DynamicState>;
  /**
   * As {@link read}; undefined where nothing has changed since the last time it was asked.
   */
  news(): Promise<DynamicState | undefined>;
  /**
   * Changes what all edges have, by compare-and-set: of changes at once none is lost.
   *
   * @throws EdgeError CONFIG_INVALID, USAGE, STORAGE_UNWRITABLE
   */
  edit(edit: DynamicEdit, base: DynamicBase): Promise<DynamicChange>;
}

const NONE = new Uint8Array();

export function createDynamicBook(
  storage: Pick<Storage, "load" | "store" | "update" | "withLock">,
): DynamicBook {
  let seen: Uint8Array | "nothing yet" | undefined = "nothing yet";
  return {
    async read() {
      return decodeDynamic(await storage.load(DYNAMIC_KEY), DYNAMIC_KEY);
    },
    async news() {
      const bytes = await storage.load(DYNAMIC_KEY);
      if (seen !== "nothing yet" && Buffer.compare(bytes ?? NONE, seen ?? NONE) === 0) return undefined;
      const state = decodeDynamic(bytes, DYNAMIC_KEY);
      seen = bytes;
      return state;
    },
    async edit(edit, base) {
      const last: { outcome?: DynamicChange; refusal?: unknown } = {};
      await updateValue(storage, DYNAMIC_KEY, (current) => {
        try {
          const before = decodeDynamic(current, DYNAMIC_KEY);
          const { state, said } = editDynamic(before, edit, base);
          const { generation } = state ?? before;
          last.outcome = { said, changed: state !== undefined, generation };
          return state && encodeDynamic(state);
        } catch (thrown) {
          // Not the storage's failure, so not to be told as one.
          last.refusal = thrown;
          return undefined;
        }
      });
      // The last of the tries counts; one that was refused was not tried again.
      if (last.refusal !== undefined || !last.outcome) throw last.refusal;
      return last.outcome;
    },
  };
}
