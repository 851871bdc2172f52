/** Tokens without a pin: the edge is verified as any site is, by the system's authorities and the name that is dialled. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { testCa } from "../support/ca.ts";
import type { Runtime } from "../support/edge.ts";
import { joined, newToken, type World, world, wormhole } from "./processes.ts";

/** It resolves everywhere, and certificates of a test's CA may have it. */
const NAME = "localhost";

let at: World;
let token: string;
/** What makes a runtime trust the test's CA as it does the public ones. */
let trust: Record<string, string>;

beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), "skerry-public-"));
  const ca = await testCa();
  const pair = await ca.issueFor([NAME]);
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
    return join(folder, name);
  };
  const tls = { cert: file("cert.pem", pair.chain), key: file("key.pem", pair.key) };
  const root = file("root.pem", ca.rootPem);
  trust = { NODE_EXTRA_CA_CERTS: root };
  at = await world("node", { config: { hosts: { [NAME]: { backend: "web", tls } } } });
  const address = `${NAME}:${at.edge.https.port}`;
  ({ token } = await newToken("node", at.config, "--public-ca", "--address", address));
});
afterAll(async () => {
  await at.edge.stop();
});

describe.each<Runtime>(["node", "bun", "deno"])("a token for a public CA, with an agent on %s", (runtime) => {
  test("joins by the host's own certificate where its authority is trusted", async () => {
    const fields = JSON.parse(Buffer.from(token.slice(5), "base64url").toString()) as Record<string, unknown>;
    expect(Object.keys(fields).sort()).toEqual(["a", "b", "i", "s"]);
    const agent = wormhole(runtime, token, "statler", { env: trust });
    await joined(agent);
    expect((await agent.stop()).code).toBe(0);
  });

  test.each([
    ["whose authority is not trusted", {}, undefined],
    ["that is dialled by another name", "trust", "127.0.0.1"],
  ] as const)("tells nothing to an edge %s", async (_what, env, host) => {
    const agent = wormhole(runtime, token, "refused", {
      env: env === "trust" ? trust : env,
      args: host === undefined ? [] : ["--edge", `${host}:${at.edge.https.port}`],
    });
    await agent.saw(/wormhole\.unreachable[^\n]*127\.0\.0\.1[^\n]*(certificate|verified|issuer)/i);
    expect(agent.output()).not.toContain("wormhole.joined");
    expect((await agent.stop()).code).toBe(0);
    // Neither taken nor turned away: the edge has not heard of it.
    expect(at.edge.process.output()).not.toContain("refused");
    expect(at.edge.logs("tunnel.rejected")).toEqual([]);
  });
});
