// Run on each runtime: what depends on the system, as lines of "fact: value". argv: a folder.
import { chmod, mkdir, readdir, readFile, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { openFilesystemStorage } from "../../src/storage/filesystem.ts";
import { manualClock } from "../support/manual-clock.ts";

// The clock's timers keep no process alive.
setInterval(() => {}, 1000);
const folder = process.argv[2] ?? "";
const root = join(folder, "deep/root");
const options = { clock: systemClock, log: silentLog };
const storage = openFilesystemStorage(root, options);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const say = (fact: string, value: unknown): void => console.log(`${fact}: ${value}`);
const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8);
const codeOf = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => "none",
    (thrown) => (thrown as { code?: string }).code,
  );

await storage.check();
await storage.store("a/b", bytes("one"));
await storage.store("a/b", bytes("two"));
say("value", new TextDecoder().decode(await storage.load("a/b")));
say("modes", [await modeOf(root), await modeOf(join(root, "a")), await modeOf(join(root, "a/b"))]);
say("absent", [await storage.load("x"), await storage.load("a"), await storage.load("a/b/c")].length);
say("value as folder", await codeOf(storage.store("a/b/c", bytes("v"))));
say("folder as value", await codeOf(storage.store("a", bytes("v"))));
say("left behind", await readdir(join(root, "a")));
await symlink(join(folder, "outside"), join(root, "link"));
await storage.store("link", bytes("inside"));
say("list", (await storage.list("")).sort());

let inside = 0;
let most = 0;
let dead = "";
const openings = Array.from({ length: 5 }, () => openFilesystemStorage(root, options));
const race = (): Promise<unknown> =>
  Promise.all(
    Array.from({ length: 20 }, (_, index) =>
      openings[index % 5]?.withLock("race", async () => {
        most = Math.max(most, ++inside);
        await storage.load("a/b");
        inside--;
      }),
    ),
  );
await race();
say("most inside", most);
// The same, with a lock left by a process that is no more.
await storage.withLock("gone", async () => {
  const text = await readFile(join(root, "locks~/gone"), "utf8");
  dead = JSON.stringify({ ...JSON.parse(text), id: "x", pid: 2 ** 22 + 1 });
});
await writeFile(join(root, "locks~/race"), dead);
most = 0;
await race();
say("most inside after a crash", most);
say("locks left", await readdir(join(root, "locks~")));

// An owner that is no more: a process number that cannot be, on this machine and in this namespace.
await writeFile(join(root, "locks~/dead"), dead);
say(
  "lock of the dead",
  await openFilesystemStorage(root, { clock: manualClock(), log: silentLog }).withLock(
    "dead",
    async () => "had",
  ),
);

// An owner on another machine that stands still: time decides.
await writeFile(join(root, "locks~/far"), JSON.stringify({ id: "x", pid: 1, thread: 0, host: "elsewhere" }));
await utimes(join(root, "locks~/far"), 1, 1);
const clock = manualClock();
let had = false;
const taking = openFilesystemStorage(root, { clock, log: silentLog }).withLock("far", async () => {
  had = true;
});
// One step for each look at the file, which takes the disk a moment.
while (!had)
  await (clock.pending() > 0 ? clock.advance(250) : new Promise((resolve) => setImmediate(resolve)));
await taking;
say("lock of the silent after", `${Math.ceil(clock.now() / 1000)} s`);

await writeFile(join(folder, "file"), "");
say("check of a file", await codeOf(openFilesystemStorage(join(folder, "file"), options).check()));
say("check of /proc", await codeOf(openFilesystemStorage("/proc/skerry", options).check()));
await mkdir(join(folder, "open"), { mode: 0o755 });
await chmod(join(folder, "open"), 0o755);
await openFilesystemStorage(join(folder, "open"), options).check();
say("closed to others", await modeOf(join(folder, "open")));
process.exit(0);
