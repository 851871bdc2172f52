/** Whom a command acts as that root runs beside an edge of somebody else's. */
import { chownSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { testCa } from "../support/ca.ts";
import { command, configFile, type Runtime, skerry } from "../support/edge.ts";
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

test.skipIf(!LINUX_ROOT).each<Runtime>(["node", "bun", "deno"])(
  "a pair that root alone may read is imported as the storage's owner, on %s (needs root)",
  async (runtime) => {
    const host = "a.example.test";
    const storage = mkdtempSync(join(tmpdir(), "skerry-owner-"));
    chownSync(storage, NOBODY, NOBODY);
    const pair = await (await testCa()).issueFor([host]);
    const folder = mkdtempSync(join(tmpdir(), "skerry-pair-"));
    const [cert, key] = [join(folder, "a.pem"), join(folder, "a.key")];
    writeFileSync(cert, pair.chain, { mode: 0o600 });
    writeFileSync(key, pair.key, { mode: 0o600 });
    const config = await configFile({
      listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
      storage: `file:${storage}`,
      acme: { directory: "https://127.0.0.1:1/directory", agreeToTerms: true },
      backends: { web: { servers: ["http://127.0.0.1:1"] } },
      hosts: { [host]: { backend: "web" } },
    });
    const args = ["certs", "import", host, "--cert", cert, "--key", key, "--config", config];
    const { code, output } = await skerry(runtime, args);
    expect(code, output).toBe(0);
    const left = readdirSync(storage, { recursive: true, encoding: "utf8" });
    expect(left.filter((name) => name.includes(host))).not.toEqual([]);
    expect(left.map((name) => [name, statSync(join(storage, name)).uid])).toEqual(
      left.map((name) => [name, NOBODY]),
    );
    for (const each of [storage, folder]) rmSync(each, { recursive: true });
  },
);
