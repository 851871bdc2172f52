/** What commands do where somebody else than a healthy edge is at the admin address. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { expect, test, vi } from "vitest";
import { runningEdge } from "../../src/cli/certs-edge.ts";
import { parseStorage } from "../../src/config/parse.ts";
import { command, configFile } from "../support/edge.ts";
import { run } from "../support/processes.ts";

test("who takes the connection and says nothing is told of, and not waited for", async () => {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => void sockets.add(socket));
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  try {
    expect(await runningEdge({ listen: { admin: { host: "127.0.0.1", port } } }, 50)).toBeUndefined();
    expect(said.mock.calls.join()).toContain(
      `127.0.0.1:${port} did not answer within 0.05 s: is that an edge that hangs?`,
    );
  } finally {
    said.mockRestore();
    for (const socket of sockets) socket.destroy();
    silent.close();
  }
});

test("a host that is no name is told", async () => {
  const [program, ...before] = command("node", "src/cli/skerry.ts");
  const config = configFile({
    storage: "memory:",
    acme: { agreeToTerms: true },
    backends: { web: { servers: ["http://127.0.0.1:9"] } },
    hosts: { "a.example.com": { backend: "web" } },
  });
  const { code, stderr } = await run(program, [...before, "certs", "show", "bad name", "--config", config]);
  expect(stderr).toMatch(/^skerry: "bad name": .+\n$/);
  expect(code).toBe(2);
});

test.each(["file://elsewhere/x", "file:///%zz"])("%s is no folder of this machine", (text) => {
  expect(parseStorage(text)).toHaveProperty("problem");
});
