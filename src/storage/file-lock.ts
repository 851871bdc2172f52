/**
 * Locks between processes by files made with O_EXCL. The owner touches its file every few seconds; a file that stands
 * still, or whose process is gone, is taken over. A process that was frozen for longer finds its lock lost: its signal aborts.
 */
import { randomBytes } from "node:crypto";
import { readlinkSync } from "node:fs";
import { open, readFile, rename, rm, stat, utimes } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { threadId } from "node:worker_threads";
import { type Clock, sleep, type Timer } from "../clock.ts";
import { EdgeError, errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import { FILE_MODE, makeFolder, OWN_MARK, storageError, systemCode } from "./files.ts";

/** How often the owner touches its file. */
const REFRESH_MS = 5000;
/** A file that was not touched for so long, as the one who waits saw it, is nobody's. */
const STALE_MS = 16_000;
/** How often one who waits looks again. */
const POLL_MS = 250;

interface Owner {
  id: string;
  pid: number;
  thread: number;
  /** Machine and process namespace: where `pid` means something. */
  host: string;
}

/** Locks held by this thread, whatever storage they were taken through. */
const held = new Set<string>();
const here = `${hostname()}/${processNamespace()}`;

export interface HeldLock {
  /** Aborts when the lock is no longer ours. */
  readonly signal: AbortSignal;
  release(): Promise<void>;
}

/** Waits until `path` is ours; rejects when `signal` aborts. */
export async function acquireFileLock(
  path: string,
  options: { clock: Clock; log: Log },
  signal?: AbortSignal,
): Promise<HeldLock> {
  const { clock, log } = options;
  const owner: Owner = {
    id: randomBytes(12).toString("hex"),
    pid: process.pid,
    thread: threadId,
    host: here,
  };
  let seen = "";
  let seenAt = clock.now();
  for (;;) {
    signal?.throwIfAborted();
    held.add(owner.id);
    if (await create(path, owner)) return hold(path, owner, options);
    held.delete(owner.id);
    const other = await look(path);
    if (!other) continue;
    if (other.mark !== seen) {
      seen = other.mark;
      seenAt = clock.now();
    }
    const still = clock.now() - seenAt;
    if (isGone(other.owner) || still >= STALE_MS) {
      held.add(owner.id);
      if (await takeOver(path, other.mark, owner, still >= 2 * STALE_MS)) {
        log.warn("storage.lock_taken_over", { path, pid: other.owner?.pid, host: other.owner?.host });
        return hold(path, owner, options);
      }
      held.delete(owner.id);
    }
    await sleep(clock, POLL_MS, signal);
  }
}

function hold(path: string, owner: Owner, { clock, log }: { clock: Clock; log: Log }): HeldLock {
  const lost = new AbortController();
  let timer: Timer | undefined;
  let touched = clock.now();
  let released = false;
  const lose = (reason: string): void => {
    held.delete(owner.id);
    log.warn("storage.lock_lost", { path, reason });
    lost.abort(
      new EdgeError("STORAGE_LOCKED", `storage: the lock ${path} was lost: ${reason}`, { source: "storage" }),
    );
  };
  const refresh = async (): Promise<void> => {
    if (clock.now() - touched >= STALE_MS) return lose("this process stood still for too long");
    try {
      if ((await look(path))?.owner?.id !== owner.id)
        return released ? undefined : lose("another process took it");
      if (released) return;
      const seconds = clock.wall() / 1000;
      await utimes(path, seconds, seconds);
      touched = clock.now();
    } catch (thrown) {
      // Not lost yet: it may work the next time, and until STALE_MS nobody may take it.
      log.warn("storage.lock_refresh_failed", { path, ...errorFields(thrown) });
    }
    if (!released) arm();
  };
  const arm = (): void => {
    timer = clock.after(REFRESH_MS, () => void refresh());
  };
  arm();
  return {
    signal: lost.signal,
    async release() {
      if (released) return;
      released = true;
      timer?.cancel();
      try {
        // Only our own file: after a take-over it is another's.
        if (!lost.signal.aborted && (await look(path))?.owner?.id === owner.id)
          await rm(path, { force: true });
      } finally {
        // Not before the file is gone, or it would look like one left by a crash.
        held.delete(owner.id);
      }
    },
  };
}

async function create(path: string, owner: Owner): Promise<boolean> {
  for (let tries = 0; ; tries++) {
    try {
      const handle = await open(path, "wx", FILE_MODE);
      try {
        await handle.writeFile(JSON.stringify(owner));
      } catch (thrown) {
        // A full disk: an empty file would lock everybody out for a while.
        await rm(path, { force: true });
        throw thrown;
      } finally {
        await handle.close();
      }
      return true;
    } catch (thrown) {
      const code = systemCode(thrown);
      if (code === "EEXIST") return false;
      if (code !== "ENOENT" || tries > 3) throw storageError("write", path, thrown);
      await makeFolder(dirname(path));
    }
  }
}

/** Who holds it and a mark that changes whenever the file is touched; undefined where there is no file. */
async function look(path: string): Promise<{ owner: Owner | undefined; mark: string } | undefined> {
  try {
    const { mtimeMs, ino } = await stat(path);
    const text = await readFile(path, "utf8");
    return { owner: parseOwner(text), mark: `${ino}:${mtimeMs}:${text}` };
  } catch (thrown) {
    if (systemCode(thrown) === "ENOENT") return undefined;
    throw storageError("read", path, thrown);
  }
}

function parseOwner(text: string): Owner | undefined {
  try {
    const value = JSON.parse(text) as Partial<Owner> | null;
    return typeof value?.id === "string" && typeof value.pid === "number" ? (value as Owner) : undefined;
  } catch {
    // Empty or half written: its maker is between two steps, or died there; time will tell.
    return undefined;
  }
}

/** Whether the owner is certain not to live any more; only known for owners in our own process namespace. */
function isGone(owner: Owner | undefined): boolean {
  if (!owner || owner.host !== here) return false;
  if (owner.pid === process.pid) return owner.thread === threadId && !held.has(owner.id);
  try {
    process.kill(owner.pid, 0);
    return false;
  } catch (thrown) {
    return systemCode(thrown) === "ESRCH";
  }
}

/**
 * Puts our file in the place of a stale one, in one step, so that there is no moment without a lock. A guard file lets one
 * at a time try; one left by a crash in here is broken after a while.
 */
async function takeOver(path: string, mark: string, owner: Owner, breakGuard: boolean): Promise<boolean> {
  const guard = `${path}${OWN_MARK}`;
  if (breakGuard) await rm(guard, { force: true });
  if (!(await create(guard, owner))) return false;
  try {
    // Somebody may have been first, or the owner may have woken up.
    if ((await look(path))?.mark !== mark) return false;
    const draft = join(dirname(path), `${OWN_MARK}${owner.id}`);
    await create(draft, owner);
    await rename(draft, path);
    return true;
  } catch (thrown) {
    throw storageError("write", path, thrown);
  } finally {
    await rm(guard, { force: true });
  }
}

/** Containers may share a host name and a folder, but not their process numbers. */
function processNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    // Only Linux has it; elsewhere the host name says enough.
    return "";
  }
}
