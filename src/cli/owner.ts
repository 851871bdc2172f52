/** Commands that write into an edge's storage while the edge runs as another user. */
import { stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";

/** The folder of `file:…`; undefined where it is stored elsewhere. */
function folderOf(storage: string): string | undefined {
  if (storage.startsWith("file://")) return fileURLToPath(storage);
  return storage.startsWith("file:") ? storage.slice("file:".length) : undefined;
}

/**
 * Root that writes where the storage belongs to somebody else becomes that user, for the rest of this process: `docker exec …
 * skerry token create` and `sudo skerry …` run as root where the edge does not, and it could not read what root leaves.
 */
export async function actAsOwner(storage: string): Promise<void> {
  const { getuid, setuid, setgid, setgroups } = process;
  const folder = folderOf(storage);
  if (folder === undefined || getuid?.() !== 0 || !setuid || !setgid) return;
  const owner = await stat(folder).catch(() => undefined); // Made on the first write.
  if (owner === undefined || owner.uid === 0) return;
  // Deno 2.9.5 has none: there root's further groups stay until the command ends.
  setgroups?.call(process, [owner.gid]);
  setgid.call(process, owner.gid);
  setuid.call(process, owner.uid);
}
