import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), "runtime-script.ts");

const EXPECTED = `value: two
modes: 700,700,600
absent: 3
value as folder: STORAGE_UNWRITABLE
folder as value: STORAGE_UNWRITABLE
left behind: b
list: a/b,link
most inside: 1
most inside after a crash: 1
locks left: 
lock of the dead: had
lock of the silent after: 16 s
check of a file: STORAGE_UNWRITABLE
check of /proc: STORAGE_UNWRITABLE
closed to others: 700
`;

test.each([
  ["node", []],
  ["bun", []],
  ["deno", ["run", "-A", "--quiet"]],
])("on %s the folder, its locks and its refusals are the same", async (runtime, args) => {
  const folder = await mkdtemp(join(tmpdir(), "skerry-storage-"));
  try {
    const { stdout } = await promisify(execFile)(runtime, [...args, SCRIPT, folder], { timeout: 25_000 });
    expect(stdout).toBe(EXPECTED);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
