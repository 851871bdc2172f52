import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeFleetKey } from "../../src/storage/seal.ts";
import { command, type Runtime } from "../support/edge.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { run } from "../support/processes.ts";

const EXPECTED = `told of: certificates/_.example.test
value: one
large: 1048576
list: certificates/_.example.test,large
deleted: none
counted by four edges: 20
turns: 20, at once 1
`;

let one: Nats;
let three: Nats;
beforeAll(async () => {
  [one, three] = await Promise.all([startNats(), startNats({ servers: 3 })]);
}, 60_000);
afterAll(async () => {
  await Promise.all([one?.close(), three?.close()]);
});

const runtimes: Runtime[] = ["node", "bun", "deno"];
test.each(runtimes.flatMap((runtime) => [1, 3].map((servers) => [runtime, servers] as const)))(
  "on %s with %i servers values, watch, compare-and-set and locks are the same",
  async (runtime, servers) => {
    const nats = servers === 1 ? one : three;
    const folder = await mkdtemp(join(tmpdir(), "skerry-nats-"));
    try {
      const [program, ...before] = command(runtime, "test/storage/nats-runtime-script.ts");
      const args = [nats.servers.join(","), `r${randomBytes(6).toString("hex")}`, folder, makeFleetKey()];
      const { stdout, stderr } = await run(program, [...before, ...args], { boundMs: 30_000 });
      expect(stdout, stderr).toBe(EXPECTED);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
);
