/** A command beside a running edge whose storage is a folder, on each runtime. */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { handshake, visit, visitPlain } from "../runtime/client.ts";
import { type Origin, startOrigin } from "../runtime/origin.ts";
import { testCa } from "../support/ca.ts";
import { configFile, type Runtime, skerry, startEdge } from "../support/edge.ts";
import { eventually } from "../support/processes.ts";

const [FIXED, ADDED] = ["fixed.example.test", "added.example.test"];
let origin: Origin;
let ca: string;
let folder: string;

beforeAll(async () => {
  origin = await startOrigin("origin");
  const authority = await testCa();
  const { chain, key } = await authority.issueFor([FIXED, ADDED]);
  ca = authority.rootPem;
  folder = join(mkdtempSync(join(tmpdir(), "skerry-dynamic-")), "own");
  mkdirSync(folder, { mode: 0o700 });
  writeFileSync(join(folder, "all.pem"), chain);
  writeFileSync(join(folder, "all.key"), key, { mode: 0o600 });
});
afterAll(() => origin?.close());

describe.each<Runtime>(["node", "bun", "deno"])("%s", (runtime) => {
  const config = (hosts: object = { [FIXED]: { backend: "web" } }): string =>
    configFile({
      listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
      storage: "file:./certs",
      tls: { folder },
      backends: { web: { servers: [origin.url] } },
      hosts,
    });

  test("hosts are added and removed while no edge runs, and beside one, which keeps them over a restart", async () => {
    const file = config();
    const command = (...args: string[]): ReturnType<typeof skerry> =>
      skerry(runtime, [...args, "--config", file]);
    const first = await command("backends", "add-server", "late", origin.url);
    expect(first.output).toBe(`new backend late has ${origin.url}\n`);
    let edge = await startEdge(runtime, file);
    await expect(handshake({ port: edge.https.port, host: ADDED })).rejects.toThrow();

    expect((await command("hosts", "add", ADDED, "--backend", "late")).output).toBe(
      `${ADDED} is served from late\n`,
    );
    const began = performance.now();
    const body = await eventually("it is served", () =>
      visit({ port: edge.https.port, host: ADDED, ca }).then(
        (answer) => answer.status === 200 && answer.body,
      ),
    );
    expect(performance.now() - began).toBeLessThan(1000);
    expect(body).toBe("You have reached origin\n");

    await edge.stop();
    edge = await startEdge(runtime, file);
    expect((await visit({ port: edge.https.port, host: ADDED, ca })).status).toBe(200);
    const listed = await visitPlain({ port: edge.admin.port, host: "localhost", path: "/hosts" });
    expect(JSON.parse(listed.body)).toEqual({
      generation: 2,
      hosts: [
        { host: FIXED, backend: "web", source: "config" },
        { host: ADDED, backend: "late", source: "dynamic" },
      ],
    });

    expect((await command("hosts", "remove", ADDED)).output).toBe(`removed ${ADDED}\n`);
    await eventually("it is refused", () =>
      handshake({ port: edge.https.port, host: ADDED }).then(
        () => false,
        () => true,
      ),
    );
    const table = await command("backends", "list");
    expect(table.stdout).toBe(`web   ${origin.url}  config\nlate  ${origin.url}  dynamic\n`);
    await edge.stop();
  }, 60_000);

  test("a config may leave all hosts to commands", async () => {
    const file = config({});
    const check = await skerry(runtime, ["check", "--config", file]);
    expect(check.stdout).toBe('ok: 0 hosts (add some with "skerry hosts add"), 1 backend, 1 server\n');
    const edge = await startEdge(runtime, file);
    await expect(handshake({ port: edge.https.port, host: ADDED })).rejects.toThrow();
    await skerry(runtime, ["hosts", "add", ADDED, "--backend", "web", "--config", file]);
    await eventually("it is served", () =>
      visit({ port: edge.https.port, host: ADDED, ca }).then(({ status }) => status === 200),
    );
    await edge.stop();
  }, 60_000);

  test("a token is made for a backend that began with an added server", async () => {
    const file = config();
    const token = ["token", "create", "late", "--address", "127.0.0.1:1", "--config", file];
    const before = await skerry(runtime, token);
    expect(before.code).toBe(2);
    expect(before.stderr).toContain('no backend "late"');
    await skerry(runtime, ["backends", "add-server", "late", origin.url, "--config", file]);
    expect((await skerry(runtime, token)).stdout).toMatch(/^WORMHOLE_TOKEN=/);
  }, 60_000);

  test("certificates of added hosts are listed, and looked at, whether an edge runs or not", async () => {
    const file = config();
    await skerry(runtime, ["hosts", "add", ADDED, "--backend", "web", "--config", file]);
    const list = await skerry(runtime, ["certs", "list", "--json", "--config", file]);
    const rows = JSON.parse(list.stdout) as { host: string; state: string; source: string }[];
    expect(rows.map(({ host }) => host)).toEqual([FIXED, ADDED]);
    const show = await skerry(runtime, ["certs", "show", ADDED, "--json", "--config", file]);
    expect(JSON.parse(show.stdout)).toMatchObject({ host: ADDED });
    const stranger = await skerry(runtime, ["certs", "show", "else.example.test", "--config", file]);
    expect([stranger.code, stranger.stderr]).toEqual([
      2,
      'skerry: else.example.test is not a host of this config; "skerry certs list" shows them\n',
    ]);
  }, 60_000);

  test("what a command cannot do it says in one line, and changes nothing", async () => {
    const file = config();
    const lines = async (...args: string[]): Promise<string> => {
      const { code, stdout, stderr } = await skerry(runtime, [...args, "--config", file]);
      expect([code, stdout]).toEqual([2, ""]);
      return stderr;
    };
    expect(await lines("hosts", "add", "not_a_name", "--backend", "web")).toMatch(
      /^skerry: hosts\.not_a_name: not a host name\n$/,
    );
    expect(await lines("hosts", "add", ADDED, "--backend", "wep")).toMatch(
      /^skerry: .*no backend "wep"; did you mean "web"\?\n$/,
    );
    expect(await lines("hosts", "add", ADDED)).toMatch(
      /^skerry: required option '--backend <name>' not specified/,
    );
    expect(await lines("backends", "add-server", "web", "10.0.0.7:80")).toContain(
      'did you mean "http://10.0.0.7:80"?',
    );
    expect((await skerry(runtime, ["hosts", "list", "--json", "--config", file])).stdout).toBe(
      `${JSON.stringify([{ host: FIXED, backend: "web", source: "config" }], undefined, 2)}\n`,
    );
  }, 60_000);
});
