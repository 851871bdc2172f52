/** What a socket to a server reads, on every runtime: all of it, in order, whoever listens when. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { command } from "../support/edge.ts";
import { run } from "../support/processes.ts";
import type { Came } from "./reading-script.ts";

/** Small reads, then many large ones, then small ones again: the reader changes its buffers twice. */
const parts = [
  ...Array.from({ length: 40 }, (_, at) => randomBytes(1 + at * 31)),
  randomBytes(3_000_000),
  ...Array.from({ length: 40 }, (_, at) => randomBytes(1 + at * 17)),
];
const whole = Buffer.concat(parts);
const expected: Came = { bytes: whole.length, hash: createHash("sha256").update(whole).digest("hex") };
let server: Server;

beforeAll(async () => {
  server = createServer((socket) => {
    socket.setNoDelay(true);
    socket.on("error", () => {});
    const next = (at: number): void => {
      if (at === parts.length) {
        socket.end();
        return;
      }
      // One part for each turn, so that the parts of several connections come in between each other.
      socket.write(parts[at] as Buffer, () => setImmediate(next, at + 1));
    };
    next(0);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
afterAll(() => {
  server.close();
});

describe.each(["node", "bun", "deno"] as const)("on %s", (runtime) => {
  test("every byte of four connections arrives once, whether read at once, with pauses, given back or late", async () => {
    const [program, ...rest] = command(runtime, "test/proxy/reading-script.ts");
    const port = (server.address() as AddressInfo).port;
    const { stdout, stderr, code } = await run(program, [...rest, String(port)]);
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      plain: expected,
      paused: expected,
      given: expected,
      late: expected,
    });
  });
});
