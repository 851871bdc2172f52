/** Durable, atomic, private files: what a reader or a power cut sees is the old value or the new one, never a part. */
import { randomBytes } from "node:crypto";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";
import { EdgeError, messageOf } from "../errors.ts";

export const FOLDER_MODE = 0o700;
export const FILE_MODE = 0o600;
/** No key may hold a tilde, so files of our own never meet a key. */
export const OWN_MARK = "~";

/** The system's error code ("ENOENT") of anything thrown. */
export function systemCode(thrown: unknown): string | undefined {
  const code = (thrown as { code?: unknown } | undefined)?.code;
  return typeof code === "string" ? code : undefined;
}

/**
 * Makes a folder and those above it for this user only, each durable in its parent. Not by `mkdir`'s own recursion: on a
 * file system that refuses folders by ENOENT (/proc) Node 26.10 tries again for ever.
 */
export async function makeFolder(folder: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await mkdir(folder, FOLDER_MODE);
      return await syncFolder(dirname(folder));
    } catch (thrown) {
      const code = systemCode(thrown);
      if (code === "EEXIST" && (await stat(folder)).isDirectory()) return;
      if (code !== "ENOENT" || tries > 0 || dirname(folder) === folder) throw thrown;
      await makeFolder(dirname(folder));
    }
  }
}

/** Makes a rename or a new entry in `folder` survive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } catch (thrown) {
    // Some file systems (network, FUSE) cannot sync a folder; the value itself is on disk by now.
    if (!["EINVAL", "ENOTSUP", "EPERM", "EBADF"].includes(systemCode(thrown) ?? "")) throw thrown;
  } finally {
    await handle.close();
  }
}

/** Replaces `path` by `value` atomically; replaces a symbolic link rather than writing through it. */
export async function writeAtomically(path: string, value: Uint8Array): Promise<void> {
  const folder = dirname(path);
  const draft = join(folder, `${OWN_MARK}${randomBytes(12).toString("hex")}`);
  try {
    const handle = await open(draft, "wx", FILE_MODE);
    try {
      await handle.writeFile(value);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(draft, path);
  } catch (thrown) {
    // The draft may not exist, or the disk may refuse this too; what failed first is what the caller must hear.
    await rm(draft, { force: true }).catch(() => {});
    throw thrown;
  }
  await syncFolder(folder);
}

const ADVICE: Readonly<Record<string, string>> = {
  EACCES: "give this user access to it (chown), or set `storage` to another folder",
  EPERM: "give this user access to it (chown), or set `storage` to another folder",
  EROFS: "the file system is read-only: mount it writable, or set `storage` to another folder",
  ENOSPC: "the disk is full: free some space",
  EDQUOT: "the disk quota is used up: free some space",
  ENOTDIR: "a file stands where a folder must be: move it away, or set `storage` to another folder",
  EEXIST: "a file stands where a folder must be: move it away, or set `storage` to another folder",
  EISDIR: "a folder stands where a file must be: move it away",
  EIO: "the disk reports errors: check it",
  EMFILE: "too many open files: raise the limit (ulimit -n)",
};

/** One line for the operator: the place, the reason and what to do. */
export function storageError(doing: "read" | "write", place: string, thrown: unknown): EdgeError {
  if (thrown instanceof EdgeError) return thrown;
  const code = systemCode(thrown);
  const advice = (code && ADVICE[code]) ?? "check the folder";
  const reason = code ?? messageOf(thrown);
  return new EdgeError(
    doing === "read" ? "STORAGE_UNREADABLE" : "STORAGE_UNWRITABLE",
    `storage: user ${userName()} cannot ${doing} ${place} (${reason}): ${advice}`,
    { source: "storage", cause: thrown },
  );
}

function userName(): string {
  try {
    const { username, uid } = userInfo();
    // Bun 1.4 asks the environment, which may not know.
    return username === "unknown" ? String(uid) : username;
  } catch {
    // A container's user may have no entry in /etc/passwd; its number says enough.
    return String(process.getuid?.() ?? "?");
  }
}
