/** `skerry certs` against a real CA, beside a running edge and without one. */
import { execFileSync } from "node:child_process";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { handshake } from "../runtime/client.ts";
import { testCa } from "../support/ca.ts";
import { command, configFile, skerry, startEdge } from "../support/edge.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePort } from "../support/ports.ts";
import { endAll } from "../support/processes.ts";

const A = "a.example.test";
const B = "b.example.test";

let pebble: Pebble;
let httpPort: number;

beforeAll(async () => {
  httpPort = await freePort();
  pebble = await startPebble({ httpPort });
});
// They share the port that the CA knocks at.
afterEach(endAll);
afterAll(() => pebble?.close());

async function config(): Promise<string> {
  return configFile({
    listen: { http: `127.0.0.1:${httpPort}`, https: "127.0.0.1:0", admin: `127.0.0.1:${await freePort()}` },
    storage: "file:./certs",
    acme: { directory: pebble.directory, trustedCa: pebble.caPath, agreeToTerms: true },
    backends: { web: { servers: ["http://127.0.0.1:1"] } },
    hosts: { [A]: { backend: "web" }, [B]: { backend: "web" } },
  });
}

type Row = Record<string, unknown> & { host: string };

describe.each(["node", "bun", "deno"] as const)("on %s", { timeout: 120_000 }, (runtime) => {
  test("certificates are obtained, shown, exported, renewed and revoked without an edge", async () => {
    const path = await config();
    const run = (...args: string[]) => skerry(runtime, ["certs", ...args, "--config", path]);
    const rows = async (): Promise<Row[]> => JSON.parse((await run("list", "--json")).stdout) as Row[];

    expect(await rows()).toMatchObject([
      { host: A, state: "missing", source: "acme", names: [], serial: null, generation: null, live: null },
      { host: B, state: "missing" },
    ]);
    const obtained = await run("renew", A);
    expect(obtained, obtained.output).toMatchObject({ code: 0 });
    expect(obtained.stdout).toMatch(/^a\.example\.test: renewed, generation 1, until 20/);
    const [first] = await rows();
    expect(first).toMatchObject({
      host: A,
      state: "valid",
      names: [A],
      generation: 1,
      keyType: "p256",
      live: null,
    });
    expect(String(first?.serial)).toMatch(/^[0-9a-f]+$/);
    expect(Date.parse(String(first?.notAfter))).toBeGreaterThan(Date.now());

    const early = await run("renew", A);
    expect(early.code).toBe(1);
    expect(early.stderr).toMatch(/^skerry: a\.example\.test is not due for renewal before 20.*: use --force/);
    expect((await run("show", A)).stdout).toMatch(/^edge\s+not running/m);
    expect(await run("show", "c.example.test")).toMatchObject({
      code: 2,
      stdout: "",
      stderr: 'skerry: c.example.test is not a host of this config; "skerry certs list" shows them\n',
    });

    const folder = mkdtempSync(join(tmpdir(), "skerry-export-"));
    expect((await run("export", A, "--out", folder)).code).toBe(0);
    const chain = readFileSync(join(folder, `${A}.crt`), "utf8");
    const key = createPrivateKey(readFileSync(join(folder, `${A}.key`)));
    expect(new X509Certificate(chain).checkPrivateKey(key)).toBe(true);
    expect(statSync(join(folder, `${A}.key`)).mode & 0o777).toBe(0o600);
    // Never over a key that is there.
    expect((await run("export", A, "--out", folder)).stderr).toContain("is there already");

    expect((await run("export", A, "--pkcs12", join(folder, "a.p12"))).stderr).toContain("--password-stdin");
    const [program, ...before] = command(runtime, "src/cli/skerry.ts");
    execFileSync(
      program,
      [
        ...before,
        "certs",
        "export",
        A,
        "--config",
        path,
        "--pkcs12",
        join(folder, "a.p12"),
        "--password-stdin",
      ],
      { input: "correct horse é\n" },
    );
    const opened = execFileSync(
      "openssl",
      ["pkcs12", "-in", join(folder, "a.p12"), "-passin", "pass:correct horse é", "-nodes"],
      { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] },
    );
    expect(opened).toContain(`friendlyName: ${A}`);
    expect(createPrivateKey(opened).export({ type: "pkcs8", format: "pem" })).toBe(
      key.export({ type: "pkcs8", format: "pem" }),
    );

    const revoked = await run("revoke", A, "--reason", "keyCompromise");
    expect(revoked, revoked.output).toMatchObject({ code: 0 });
    expect(revoked.stdout).toContain(`revoked ${first?.serial} (keyCompromise); generation 2 is served`);
    const [second] = await rows();
    expect(second).toMatchObject({ generation: 2, state: "valid" });
    // Pebble refuses what is revoked already, which tells that it was.
    expect(second?.fingerprint256).not.toBe(first?.fingerprint256);
    const stored = JSON.parse(readFileSync(join(dirname(path), "certs/certificates", A), "utf8")) as {
      key: string;
    };
    expect(stored.key).not.toBe(key.export({ type: "pkcs8", format: "pem" }));
    expect((await run("revoke", A, "--reason", "boredom")).code).toBe(2);
  });

  test("a running edge does the work, and serves what was imported", async () => {
    const path = await config();
    const edge = await startEdge(runtime, path);
    const run = (...args: string[]) => skerry(runtime, ["certs", ...args, "--config", path]);
    const serial = async (host: string): Promise<string> =>
      (await handshake({ port: edge.https.port, host })).certificate.serialNumber.toLowerCase();
    await edge.process.saw(/"host":"a\.example\.test"[^\n]*"event":"certificate\.obtained"/, 30_000);
    const before = await serial(A);
    const renewed = await run("renew", A, "--force");
    expect(renewed, renewed.output).toMatchObject({ code: 0 });
    expect(await serial(A)).not.toBe(before);
    const rows = JSON.parse((await run("list", "--json")).stdout) as Row[];
    expect(rows[0]).toMatchObject({ host: A, serial: await serial(A), generation: 2 });
    expect(rows[0]?.live).toMatchObject({ host: A, state: "valid", generation: 2 });
    expect((await run("list")).stdout).toMatch(/^HOST\s+STATE\s+UNTIL \(UTC\)\s+ISSUER\s+GEN\s+EDGE\n/);

    const pair = await (await testCa()).issueFor([B]);
    const folder = mkdtempSync(join(tmpdir(), "skerry-import-"));
    writeFileSync(join(folder, "b.pem"), pair.chain);
    writeFileSync(join(folder, "b.key"), pair.key);
    const wrong = await run("import", A, "--cert", join(folder, "b.pem"), "--key", join(folder, "b.key"));
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toContain(`is for ${B}, not for ${A}`);
    const imported = await run("import", B, "--cert", join(folder, "b.pem"), "--key", join(folder, "b.key"));
    expect(imported, imported.output).toMatchObject({ code: 0 });
    expect(await serial(B)).toBe(new X509Certificate(pair.chain).serialNumber.toLowerCase());
    const unknown = await run("renew", "c.example.test");
    expect(unknown.stderr).toContain("c.example.test is no host of this edge");
    expect(existsSync(join(dirname(path), "certs"))).toBe(true);

    const at = `http://127.0.0.1:${edge.admin.port}/certificates/${A}/renew`;
    const post = (headers: Record<string, string>) => fetch(at, { method: "POST", body: "{}", headers });
    expect((await post({ "content-type": "text/plain" })).status).toBe(415);
    expect((await post({ "content-type": "application/json", origin: "https://evil.example" })).status).toBe(
      403,
    );
    await edge.stop();
  });
});
