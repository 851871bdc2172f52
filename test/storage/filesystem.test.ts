import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { EdgeError } from "../../src/errors.ts";
import { type Log, silentLog } from "../../src/log.ts";
import { openFilesystemStorage } from "../../src/storage/filesystem.ts";
import { manualClock } from "../support/manual-clock.ts";
import { hold, storageContract } from "./contract.ts";

const HERE = dirname(fileURLToPath(import.meta.url));
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const options = { clock: systemClock, log: silentLog };

storageContract(
  "filesystem",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "skerry-storage-"));
    return {
      open: async () => openFilesystemStorage(join(folder, "root"), options),
      close: () => rm(folder, { recursive: true, force: true }),
    };
  },
  { shared: true },
);

let folder: string;
let root: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "skerry-storage-"));
  root = join(folder, "root");
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8);

async function failureOf(work: Promise<unknown>): Promise<EdgeError> {
  const thrown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(thrown).toBeInstanceOf(EdgeError);
  return thrown as EdgeError;
}

/** Runs a script on its own process; its lines of output can be waited for. */
function startChild(script: string, ...args: string[]) {
  const child = spawn("node", [join(HERE, script), root, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const line = async (wanted: string): Promise<void> => {
    let output = "";
    for await (const chunk of child.stdout) {
      output += chunk;
      if (output.includes(wanted)) return;
    }
    throw new Error(`the child ended without saying ${wanted}`);
  };
  return { child, line };
}

describe("the folder", () => {
  test("folders are 0700 and files 0600, whatever the umask", async () => {
    const before = process.umask(0);
    try {
      const storage = openFilesystemStorage(root, options);
      await storage.store("certificates/a", bytes("v"));
      expect([await modeOf(root), await modeOf(join(root, "certificates"))]).toEqual(["700", "700"]);
      expect(await modeOf(join(root, "certificates/a"))).toBe("600");
      await storage.withLock("issue/a", async () => {
        expect(await modeOf(join(root, "locks~/issue/a"))).toBe("600");
      });
    } finally {
      process.umask(before);
    }
  });

  test("nothing but values is left after stores, failed stores and locks", async () => {
    const storage = openFilesystemStorage(root, options);
    await storage.store("a/b", bytes("v"));
    await failureOf(storage.store("a/b/c", bytes("v")));
    await storage.withLock("x/y", async () => {});
    expect(await readdir(join(root, "a"))).toEqual(["b"]);
    expect(await readdir(join(root, "locks~/x"))).toEqual([]);
  });

  test("a store replaces a link rather than writing through it", async () => {
    const outside = join(folder, "outside");
    await writeFile(outside, "untouched");
    await mkdir(root);
    await symlink(outside, join(root, "k"));
    const storage = openFilesystemStorage(root, options);
    await storage.store("k", bytes("new"));
    expect(await readFile(outside, "utf8")).toBe("untouched");
    expect(await readFile(join(root, "k"), "utf8")).toBe("new");
  });

  test("links that lead in a circle do not stop a list", async () => {
    const storage = openFilesystemStorage(root, options);
    await storage.store("a/b", bytes("v"));
    await symlink(root, join(root, "a/circle"));
    expect((await storage.list("a/")).includes("a/b")).toBe(true);
  });

  test("values survive kill -9 in the midst of writing: old or new, never a part", async () => {
    for (let round = 0; round < 3; round++) {
      const { child, line } = startChild("crash-writer.ts");
      await line("writing");
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
      const value = await openFilesystemStorage(root, options).load("crash/value");
      expect(value?.length).toBe(200_000);
      expect(value?.every((byte) => byte === value[0])).toBe(true);
    }
    // What a crash leaves behind is no key.
    expect(await openFilesystemStorage(root, options).list("")).toEqual(["crash/value"]);
  });
});

describe("check", () => {
  test("names a folder that is a file, with the reason and what to do", async () => {
    await writeFile(root, "");
    const failure = await failureOf(openFilesystemStorage(root, options).check());
    expect(failure.code).toBe("STORAGE_UNWRITABLE");
    expect(failure.message).toContain(root);
    expect(failure.message).toMatch(/\((EEXIST|ENOTDIR)\): a file stands where a folder must be/);
  });

  test("names a folder on a file system that cannot be written", async () => {
    const failure = await failureOf(openFilesystemStorage("/proc/skerry-storage", options).check());
    expect(failure.message).toMatch(/^storage: user \S+ cannot write \/proc\/skerry-storage \(E\w+\): /);
    expect(failure.message).not.toContain("\n");
  });

  test("says that a full disk is full", async () => {
    const failure = await failureOf(openFilesystemStorage("/dev/full", options).check());
    expect(failure.code).toBe("STORAGE_UNWRITABLE");
  });

  test("closes a folder that others may read, and says so", async () => {
    await mkdir(root);
    await chmod(root, 0o755);
    const events: string[] = [];
    const log: Log = { ...silentLog, warn: (event) => void events.push(event) };
    await openFilesystemStorage(root, { clock: systemClock, log }).check();
    expect(events).toEqual(["storage.permissions"]);
    expect(await modeOf(root)).toBe("700");
  });
});

describe("a lock", () => {
  test("of a process that was killed is free at once", async () => {
    const { child, line } = startChild("lock-holder.ts");
    await line("held");
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
    // A clock that stands still: no time passes until the lock is had.
    const storage = openFilesystemStorage(root, { clock: manualClock(), log: silentLog });
    expect(await storage.withLock("issue/a", async () => "had")).toBe("had");
  });

  test("is not taken from a process that lives, for as long as it refreshes", async () => {
    const holderClock = manualClock();
    const waiterClock = manualClock();
    const held = await hold(openFilesystemStorage(root, { clock: holderClock, log: silentLog }), "a");
    let had = false;
    const waiting = openFilesystemStorage(root, { clock: waiterClock, log: silentLog }).withLock(
      "a",
      async () => {
        had = true;
      },
    );
    for (let second = 0; second < 60; second += 5) {
      await holderClock.advance(5000);
      await until(async () => holderClock.pending() > 0);
      await stepUntil(waiterClock, 5000);
    }
    expect({ had, lost: held.signal.aborted }).toEqual({ had: false, lost: false });
    await held.leave();
    await stepUntil(waiterClock, 1000, () => had);
    await waiting;
  });

  test("of an owner that stands still is taken over, and the owner's signal aborts when it moves again", async () => {
    const holderClock = manualClock();
    const waiterClock = manualClock();
    const held = await hold(openFilesystemStorage(root, { clock: holderClock, log: silentLog }), "a");
    let had = false;
    let done = (): void => {};
    const taking = openFilesystemStorage(root, { clock: waiterClock, log: silentLog }).withLock("a", () => {
      had = true;
      return new Promise<void>((resolve) => (done = resolve));
    });
    await stepUntil(waiterClock, 20_000, () => had);
    expect(had).toBe(true);
    await holderClock.advance(6000);
    await until(async () => held.signal.aborted);
    expect(held.signal.reason).toMatchObject({ code: "STORAGE_LOCKED" });
    await held.leave();
    // The old owner's release must not free what is another's by now.
    expect(await readdir(join(root, "locks~"))).toContain("a");
    done();
    await taking;
    expect(await readdir(join(root, "locks~"))).toEqual([]);
  });

  test("whose file is empty, from a crash between two steps, is taken over in time", async () => {
    await mkdir(join(root, "locks~"), { recursive: true });
    await writeFile(join(root, "locks~/a"), "");
    await utimes(join(root, "locks~/a"), 0, 0);
    const clock = manualClock();
    let had = false;
    const taking = openFilesystemStorage(root, { clock, log: silentLog }).withLock("a", async () => {
      had = true;
    });
    await stepUntil(clock, 20_000, () => had);
    await taking;
  });

  test("that cannot be made says why", async () => {
    await writeFile(root, "");
    const failure = await failureOf(openFilesystemStorage(root, options).withLock("a", async () => {}));
    expect(failure.code).toBe("STORAGE_UNWRITABLE");
  });

  test("is no longer waited for when the storage is closed", async () => {
    const storage = openFilesystemStorage(root, options);
    const held = await hold(storage, "a");
    const waiting = failureOf(storage.withLock("a", async () => {}));
    await storage.close();
    expect((await waiting).code).toBe("SHUTTING_DOWN");
    await held.leave();
  });
});

/** Waits for something that disks or processes do, for at most five seconds. */
async function until(reached: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 5000;
  while (!(await reached())) {
    if (performance.now() > end) throw new Error("it did not come");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Moves a clock by quarter seconds, with time for the disk between them. */
async function stepUntil(
  clock: ReturnType<typeof manualClock>,
  ms: number,
  reached = () => false,
): Promise<void> {
  for (let passed = 0; passed < ms && !reached(); passed += 250) {
    await until(async () => reached() || clock.pending() > 0);
    await clock.advance(250);
  }
  if (!reached()) return;
}
