import { execFile } from "node:child_process";
import { expect, test } from "vitest";
import { command, type Runtime } from "../support/edge.ts";
import { environment } from "../support/processes.ts";

for (const runtime of ["node", "bun", "deno"] satisfies Runtime[])
  test(`server and client work over TCP on ${runtime}`, async () => {
    const [program, ...args] = command(runtime, "test/http1/smoke.ts");
    const output = await new Promise<string>((resolve, reject) => {
      execFile(program, args, { timeout: 25_000, env: environment() }, (error, stdout, stderr) =>
        error ? reject(new Error(`${error.message}\n${stderr}`)) : resolve(stdout),
      );
    });
    expect(JSON.parse(output)).toMatchObject({ runtime });
  });
