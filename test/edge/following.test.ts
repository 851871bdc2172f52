/** A changed config is in force whole, or not at all, whichever part of the edge cannot follow it. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAdminApp } from "../../src/admin/app.ts";
import type { ResolvedConfig } from "../../src/config/config.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { type Edge, startEdge } from "../../src/edge/edge.ts";
import { silentLog } from "../../src/log.ts";
import { type Answer, handshake, visit } from "../runtime/client.ts";
import { type Origin, startOrigin } from "../runtime/origin.ts";
import { testCa } from "../support/ca.ts";

const [STAYS, GOES, COMES] = ["stays.example.test", "goes.example.test", "comes.example.test"];
let origins: Record<"old" | "new", Origin>;
let folder: string;
let ca: string;
let edge: Edge;

beforeAll(async () => {
  origins = { old: await startOrigin("old"), new: await startOrigin("new") };
  folder = mkdtempSync(join(tmpdir(), "skerry-following-"));
  const authority = await testCa();
  const { chain, key } = await authority.issueFor([STAYS, GOES, COMES]);
  ca = authority.rootPem;
  writeFileSync(join(folder, "all.pem"), chain);
  writeFileSync(join(folder, "all.key"), key, { mode: 0o600 });
  edge = await startEdge(before(), { log: silentLog, admin: createAdminApp });
});
afterAll(async () => {
  await edge?.close();
  for (const origin of Object.values(origins)) origin.close();
  rmSync(folder, { recursive: true, force: true });
});

function configOf(backends: Record<string, Origin>, hosts: Record<string, string>): ResolvedConfig {
  const tls = { cert: "all.pem", key: "all.key" };
  return resolveConfig(
    {
      listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
      storage: "memory:",
      accessLog: false,
      // Nobody asks it: every host has own files, and nothing is allowed on demand.
      acme: { directory: "https://127.0.0.1:9/directory", agreeToTerms: true },
      backends: Object.fromEntries(
        Object.entries(backends).map(([name, { url }]) => [name, { servers: [url] }]),
      ),
      hosts: Object.fromEntries(Object.entries(hosts).map(([name, backend]) => [name, { backend, tls }])),
      onDemand: { allow: () => false, backend: Object.keys(backends)[0] },
    },
    { folder },
  );
}
const before = (): ResolvedConfig =>
  configOf({ web: origins.old, gone: origins.old }, { [STAYS]: "web", [GOES]: "gone" });
const after = (): ResolvedConfig =>
  configOf({ web: origins.new, fresh: origins.new }, { [STAYS]: "web", [COMES]: "fresh" });
const ask = (host: string): Promise<Answer> => visit({ port: edge.addresses.https.port, host, ca });
const backends = async (): Promise<string[]> => {
  const answer = await fetch(`http://127.0.0.1:${edge.addresses.admin.port}/backends`);
  const said = (await answer.json()) as { backends: { name: string; servers: { id: string }[] }[] };
  return said.backends.map(({ name, servers }) => `${name} ${servers.map(({ id }) => id).join()}`).sort();
};

test("a config whose certificates cannot be followed leaves hosts, backends and certificates as they were", async () => {
  const next = after();
  const refused: ResolvedConfig = {
    ...next,
    onDemand: Object.defineProperty({ ...next.onDemand! }, "permission", {
      get() {
        throw new Error("nobody to ask");
      },
    }),
  };
  await expect(edge.reload(refused)).rejects.toThrow("nobody to ask");
  for (const host of [STAYS, GOES])
    expect(await ask(host)).toMatchObject({ status: 200, body: "You have reached old\n" });
  await expect(handshake({ port: edge.addresses.https.port, host: COMES })).rejects.toThrow();
  expect(await backends()).toEqual([`gone ${origins.old.url}`, `web ${origins.old.url}`]);

  await edge.reload(next);
  for (const host of [STAYS, COMES])
    expect(await ask(host)).toMatchObject({ status: 200, body: "You have reached new\n" });
  await expect(handshake({ port: edge.addresses.https.port, host: GOES })).rejects.toThrow();
  expect(await backends()).toEqual([`fresh ${origins.new.url}`, `web ${origins.new.url}`]);
});
