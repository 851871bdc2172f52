/** The fault matrix, on Node in this process and on the others in one of their own. */
import { execFile } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Lab, startLab } from "./lab.ts";
import { matrixOf, resetMatrix } from "./matrix-cases.ts";

const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), "matrix-script.ts");

let lab: Lab;
beforeAll(async () => {
  lab = await startLab();
});
afterEach(() => resetMatrix(lab));
afterAll(() => lab?.close());

describe("on node", () => {
  // The names alone: each case is looked up when the lab is there.
  test.each(Object.keys(matrixOf({} as Lab)))("%s", (name) => matrixOf(lab)[name]!());
});

test.each([
  ["bun", []],
  ["deno", ["run", "-A", "--quiet"]],
] as const)("on %s the same troubles end as well", { timeout: 240_000 }, async (runtime, args) => {
  const { stdout } = await promisify(execFile)(runtime, [...args, SCRIPT], { timeout: 220_000 });
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { name: string; error?: string });
  expect(lines.filter(({ error }) => error !== undefined)).toEqual([]);
  expect(lines.map(({ name }) => name)).toEqual(Object.keys(matrixOf({} as Lab)));
});
