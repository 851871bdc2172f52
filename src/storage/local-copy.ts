/** What an edge keeps on its own disk of a fleet's storage: sealed as it is there, a file per value, 0600. */
import { readdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makeFolder, OWN_MARK, storageError, systemCode, writeAtomically } from "./files.ts";

/** A value as it was last seen. */
export interface Copied {
  /** Which bucket it was in, as a bucket may be made anew and count from one again. */
  readonly bucket: string;
  readonly revision: number;
  readonly sealed: Uint8Array;
}

export interface LocalCopy {
  readonly folder: string;
  read(key: string): Promise<Copied | undefined>;
  write(key: string, value: Copied): Promise<void>;
  remove(key: string): Promise<void>;
  keys(): Promise<string[]>;
}

const HEAD = /^skerry-copy 1 (\S+) (\d+)\n/;

export function openLocalCopy(folder: string): LocalCopy {
  // A key may be a value and a folder at once, so values end with a mark that keys cannot have.
  const pathOf = (key: string): string => join(folder, `${key}${OWN_MARK}`);
  return {
    folder,
    async read(key) {
      const path = pathOf(key);
      try {
        return parse(await readFile(path));
      } catch (thrown) {
        if (["ENOENT", "ENOTDIR"].includes(systemCode(thrown) ?? "")) return undefined;
        throw storageError("read", path, thrown);
      }
    },
    async write(key, { bucket, revision, sealed }) {
      const path = pathOf(key);
      try {
        await makeFolder(dirname(path));
        await writeAtomically(
          path,
          Buffer.concat([Buffer.from(`skerry-copy 1 ${bucket} ${revision}\n`), sealed]),
        );
      } catch (thrown) {
        throw storageError("write", path, thrown);
      }
    },
    async remove(key) {
      const path = pathOf(key);
      try {
        await rm(path, { force: true });
      } catch (thrown) {
        if (systemCode(thrown) !== "ENOTDIR") throw storageError("write", path, thrown);
      }
    },
    async keys() {
      const found: string[] = [];
      const walk = async (below: string): Promise<void> => {
        const entries = await readdir(join(folder, below), { withFileTypes: true }).catch(
          (thrown: unknown) => {
            if (["ENOENT", "ENOTDIR"].includes(systemCode(thrown) ?? "")) return [];
            throw storageError("read", folder, thrown);
          },
        );
        for (const entry of entries) {
          if (entry.isDirectory()) await walk(`${below}${entry.name}/`);
          // A draft that a crash left begins with the mark.
          else if (entry.name.endsWith(OWN_MARK) && !entry.name.startsWith(OWN_MARK))
            found.push(below + entry.name.slice(0, -OWN_MARK.length));
        }
      };
      await walk("");
      return found;
    },
  };
}

/** Undefined for what is no copy: the engine has the value, or it is lost as if it were not there. */
function parse(bytes: Buffer): Copied | undefined {
  const end = bytes.indexOf(10) + 1;
  const [, bucket, revision] = HEAD.exec(bytes.subarray(0, end).toString("latin1")) ?? [];
  if (bucket === undefined) return undefined;
  return { bucket, revision: Number(revision), sealed: bytes.subarray(end) };
}
