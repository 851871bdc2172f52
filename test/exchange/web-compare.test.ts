import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checks, inputsOf } from "./web-compare.ts";

const RUNS = 400;

describe("lazy objects do what native ones do", () => {
  test.each(checks)("$name", async ({ inputs, lazily, natively }) => {
    await fc.assert(
      fc.asyncProperty(inputs, async (args) => {
        expect(await lazily(args)).toBe(await natively(args));
      }),
      { numRuns: RUNS },
    );
  });
});

const script = fileURLToPath(new URL("web-compare.ts", import.meta.url));
const bin = join(dirname(createRequire(import.meta.url).resolve("vitest/package.json")), "../.bin");

async function replayOn(command: string, args: string[]): Promise<string> {
  const seed = 20_261_123;
  const runs = RUNS / 2;
  const expected: Record<string, string[]> = {};
  for (const check of checks) {
    const outcomes: string[] = [];
    for (const input of inputsOf(check, seed, runs)) outcomes.push(await check.natively(input));
    expected[check.name] = outcomes;
  }
  const child = spawn(join(bin, command), [...args, script, String(seed), String(runs)]);
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  child.stderr.on("data", (chunk) => {
    output += chunk;
  });
  child.stdin.end(JSON.stringify(expected));
  const [code] = await once(child, "close");
  return code === 0 ? output : `exit ${code}\n${output}`;
}

describe("lazy objects on another runtime do what Node's native ones do", () => {
  test.each([
    ["bun", []],
    ["deno", ["run", "-A"]],
  ])("%s", async (command, args) => {
    expect(await replayOn(command, args)).toBe("");
  });
});
