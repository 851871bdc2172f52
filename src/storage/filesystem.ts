/** Storage in a folder of one machine: a file per value, readable by this user only. */
import { randomBytes } from "node:crypto";
import { chmod, readdir, readFile, rm, stat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { Log } from "../log.ts";
import { acquireFileLock } from "./file-lock.ts";
import { FOLDER_MODE, makeFolder, OWN_MARK, storageError, systemCode, writeAtomically } from "./files.ts";
import { checkKey, checkPrefix } from "./keys.ts";
import { createQueue } from "./queue.ts";
import type { Storage } from "./storage.ts";

export interface FilesystemStorageOptions {
  clock: Clock;
  log: Log;
}

/**
 * Opens the folder `root`, which is made on the first write. Folders are 0700, files 0600. Several processes may share it.
 * A key cannot be a value and a folder at once: with "a" stored, "a/b" is refused.
 */
export function openFilesystemStorage(root: string, options: FilesystemStorageOptions): Storage {
  const { log } = options;
  const base = resolve(root);
  const queue = createQueue();
  const closed = new AbortController();
  const pathOf = (key: string): string => join(base, checkKey(key));

  const store = async (path: string, value: Uint8Array): Promise<void> => {
    try {
      // The folder is there but for the first time: it is not looked for each time.
      await writeAtomically(path, value).catch(async (thrown: unknown) => {
        if (systemCode(thrown) !== "ENOENT") throw thrown;
        await makeFolder(dirname(path));
        await writeAtomically(path, value);
      });
    } catch (thrown) {
      throw storageError("write", path, thrown);
    }
  };

  return {
    async load(key) {
      const path = pathOf(key);
      try {
        const bytes = await readFile(path);
        return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      } catch (thrown) {
        // A folder stands where a key is asked for: there is no such value.
        if (["ENOENT", "ENOTDIR", "EISDIR"].includes(systemCode(thrown) ?? "")) return undefined;
        throw storageError("read", path, thrown);
      }
    },

    store: async (key, value) => store(pathOf(key), value),

    async delete(key) {
      const path = pathOf(key);
      try {
        await rm(path, { force: true });
      } catch (thrown) {
        if (systemCode(thrown) === "ENOTDIR") return;
        throw storageError("write", path, thrown);
      }
    },

    async list(prefix) {
      const found: string[] = [];
      const walk = async (key: string): Promise<void> => {
        const folder = join(base, key);
        const entries = await readdir(folder, { withFileTypes: true }).catch((thrown: unknown) => {
          if (["ENOENT", "ENOTDIR"].includes(systemCode(thrown) ?? "")) return [];
          throw storageError("read", folder, thrown);
        });
        for (const entry of entries) {
          if (entry.name.includes(OWN_MARK)) continue;
          // Links to folders are not followed: they could lead in a circle.
          if (entry.isDirectory()) await walk(`${key}${entry.name}/`);
          else found.push(`${key}${entry.name}`);
        }
      };
      await walk(checkPrefix(prefix));
      return found;
    },

    async withLock(name, work, signal) {
      const path = join(base, `locks${OWN_MARK}`, checkKey(name));
      const until = signal ? AbortSignal.any([signal, closed.signal]) : closed.signal;
      // First in line within this process, so that only one of us asks the disk.
      const leave = await queue.enter(name, until);
      try {
        const lock = await acquireFileLock(path, options, until);
        try {
          return await work(lock.signal);
        } finally {
          await lock.release();
        }
      } finally {
        leave();
      }
    },

    async check() {
      // A name of its own: several hosts and edges may check at once.
      const probe = join(base, `check${OWN_MARK}${randomBytes(12).toString("hex")}`);
      const wanted = new TextEncoder().encode(`skerry ${options.clock.wall()}`);
      try {
        await makeFolder(base);
        const { mode } = await stat(base);
        if (mode & 0o077) {
          log.warn("storage.permissions", { folder: base, mode: (mode & 0o777).toString(8), wanted: "700" });
          // Best effort: on a shared mount it may be another's folder, and the files themselves are 0600.
          await chmod(base, FOLDER_MODE).catch(() => {});
        }
        await writeAtomically(probe, wanted);
        const got = await readFile(probe);
        if (!got.equals(wanted)) {
          throw new EdgeError(
            "STORAGE_CORRUPT",
            `storage: ${base} does not give back what was written: check the disk`,
            {
              source: "storage",
            },
          );
        }
        await rm(probe, { force: true });
      } catch (thrown) {
        throw storageError("write", base, thrown);
      }
    },

    async close() {
      closed.abort(new EdgeError("SHUTTING_DOWN", "storage: closed", { source: "storage" }));
    },
  };
}
