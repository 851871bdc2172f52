/** Clients that leave while the edge asks whether their name may be served. */
import { expect, test } from "vitest";
import { command } from "../support/edge.ts";
import { run } from "../support/processes.ts";

test.each(["node", "bun", "deno"] as const)(
  "a client that vanishes while its name is decided on is no fault of the process, on %s",
  async (runtime) => {
    const [program, ...rest] = command(runtime, "test/edge/vanish-script.ts");
    const { stdout, stderr, code } = await run(program, rest);
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toEqual({ uncaught: [] });
  },
);
