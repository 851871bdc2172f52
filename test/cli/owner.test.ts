/** Whom a command acts as that root runs beside an edge of somebody else's. */
import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { command, type Runtime } from "../support/edge.ts";
import { start } from "../support/processes.ts";

const NOBODY = 65_534;
const LINUX_ROOT = process.platform === "linux" && process.getuid?.() === 0;

test.skipIf(!LINUX_ROOT).each<[Runtime, keeps: number[]]>([
  ["node", []],
  ["bun", []],
  // Deno 2.9.5 has no setgroups.
  ["deno", [4, 27]],
])(
  "root in the groups 4 and 27 becomes the storage's owner; on %s it keeps the groups %j (needs root)",
  async (runtime, keeps) => {
    const storage = mkdtempSync(join(tmpdir(), "skerry-owner-"));
    chownSync(storage, NOBODY, NOBODY);
    const [program, ...args] = command(runtime, "test/cli/owner-script.ts");
    const child = start(program, [...args, `file:${storage}`], { under: ["setpriv", "--groups", "4,27"] });
    const { code } = await child.ended;
    expect([code, child.stderr()]).toEqual([0, ""]);
    expect(JSON.parse(child.stdout())).toEqual([NOBODY, NOBODY, keeps]);
    rmSync(storage, { recursive: true });
  },
);
