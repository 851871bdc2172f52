import { execFile } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePorts } from "../support/ports.ts";

const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), "faults-script.ts");

const EXPECTED = [
  { name: "nobody listens", code: "ACME_UNREACHABLE", retry: "any" },
  { name: "a CA that is not trusted", code: "ACME_UNREACHABLE", retry: "any", advice: "trustedCa" },
  { name: "a CA that nobody vouches for", code: "ACME_UNREACHABLE", retry: "any", advice: "trustedCa" },
  { name: "no TLS where it should be", code: "ACME_UNREACHABLE", retry: "any" },
  { name: "no answer", code: "ACME_TIMEOUT", retry: "any" },
  { name: "told to stop while waiting", message: "told to stop" },
  { name: "a connection closed at once", code: "ACME_UNREACHABLE", retry: "any" },
  { name: "a connection closed in mid-answer", code: "ACME_UNREACHABLE", retry: "any" },
  { name: "an answer that stops in the middle", code: "ACME_TIMEOUT", retry: "any" },
  {
    name: "too many requests",
    code: "ACME_PROBLEM",
    retry: "never",
    type: "rateLimited",
    retryAfterMs: 7000,
  },
  { name: "a broken CA", code: "ACME_PROBLEM", retry: "any", type: "none", retryAfterMs: 5000 },
  { name: "one connection for several calls", statuses: [200, 200, 200], connections: 1 },
  { name: "a connection closed after each answer", statuses: [200, 200, 200], connections: 3 },
  {
    name: "a kept connection closed without an answer",
    statuses: [200, 200, 200],
    requests: 4,
  },
  {
    name: "a CA that dies after it took what must not be done twice",
    told: [200, "ACME_UNREACHABLE", 200],
    taken: ["a", "b", "c"].map((nonce) => JSON.stringify({ nonce })),
  },
];

let pebble: Pebble;
beforeAll(async () => {
  pebble = await startPebble({ httpPort: (await freePorts(1))[0]! });
});
afterAll(() => pebble?.close());

test.each([
  ["node", []],
  ["bun", []],
  ["deno", ["run", "-A", "--quiet"]],
])("on %s every trouble of a CA is told by its code, and none hangs", async (runtime, args) => {
  const { stdout } = await promisify(execFile)(runtime, [...args, SCRIPT, pebble.directory, pebble.caPath], {
    timeout: 20_000,
  });
  expect(
    stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
  ).toEqual(EXPECTED);
});
