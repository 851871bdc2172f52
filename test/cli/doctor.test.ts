/** `skerry doctor` as a person runs it, beside an edge, on all three runtimes. */
import { createServer } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { configFile, type EdgeProcess, type Runtime, skerry, startEdge } from "../support/edge.ts";
import { type Knot, startKnot } from "../support/knot.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePorts } from "../support/ports.ts";
import { eventually } from "../support/processes.ts";

const RUNTIMES: readonly Runtime[] = ["node", "bun", "deno"];

let knot: Knot;
let pebble: Pebble;
let edge: EdgeProcess;
let config: string;
let closed: number;
const origin = createServer((socket) => socket.destroy());

beforeAll(async () => {
  const [httpPort = 0, nobody = 0] = await freePorts(2);
  closed = nobody;
  await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
  knot = await startKnot({
    zones: {
      test: [],
      "example.test": ["good 60 A 127.0.0.1", "broken 60 A 127.0.0.1", "own 60 A 127.0.0.1"],
    },
  });
  pebble = await startPebble({ httpPort, dnsServer: knot.address });
  config = configFile({
    listen: { http: `127.0.0.1:${httpPort}`, https: "127.0.0.1:0", admin: "127.0.0.1:0" },
    storage: "file:./certs",
    acme: {
      directory: pebble.directory,
      trustedCa: pebble.caPath,
      agreeToTerms: true,
      dnsServers: [knot.address],
    },
    backends: {
      web: { servers: [`http://127.0.0.1:${(origin.address() as { port: number }).port}`] },
      down: { servers: [`http://127.0.0.1:${closed}`] },
    },
    hosts: {
      "good.example.test": { backend: "web" },
      "broken.example.test": { backend: "down" },
      "missing.example.test": { backend: "web" },
    },
  });
  edge = await startEdge("node", config);
  await eventually("two certificates", () => edge.logs("certificate.obtained").length === 2);
  await eventually("a failure", () => edge.logs("certificate.failed").length > 0);
});

afterAll(async () => {
  await edge?.stop();
  await pebble?.close();
  await knot?.stop();
  origin.close();
});

const ports = (): string[] => [
  ...["--http-port", String(edge.http.port)],
  ...["--https-port", String(edge.https.port)],
];

describe.each(RUNTIMES)("on %s", (runtime) => {
  test("a host that is well has a ✓ for everything", async () => {
    const result = await skerry(runtime, ["doctor", "good.example.test", "--config", config, ...ports()]);
    expect(result.stderr).toBe("");
    const lines = result.stdout.trimEnd().split("\n");
    expect(lines.map((line) => line.slice(0, 13).trim())).toEqual(
      ["config", "account", "ca", "clock", "dns", "port 80", "caa", "port 443", "certificate", "backend"].map(
        (check) => `✓ ${check}`,
      ),
    );
    expect(result.stdout).toMatch(
      /certificate +from 127\.0\.0\.1-\d+-dir, 2 in its chain: valid until \d{4}-/,
    );
    expect(result.code).toBe(0);
  });

  test("what is wrong has a ✗ and what to do about it, and the exit code says so", async () => {
    const args = ["--config", config, "--http-port", String(closed), "--https-port", String(edge.https.port)];
    const broken = await skerry(runtime, ["doctor", "broken.example.test", ...args]);
    expect(broken.stdout).toMatch(
      new RegExp(
        `✗ port 80 +127\\.0\\.0\\.1:${closed}: it cannot be reached.*\\n +→ open port ${closed} to this edge`,
      ),
    );
    expect(broken.stdout).toMatch(
      new RegExp(
        `✗ backend +http://127\\.0\\.0\\.1:${closed}: .*\\n +→ start it, or mend backends\\.down\\.servers`,
      ),
    );
    expect(broken.stdout.match(/^✗/gm)).toHaveLength(2);
    expect(broken.code).toBe(1);

    const missing = await skerry(runtime, ["doctor", "missing.example.test", ...args, "--json"]);
    const { host, ok, checks } = JSON.parse(missing.stdout) as {
      host: string;
      ok: boolean;
      checks: { check: string; ok: boolean; message: string; fix?: string }[];
    };
    expect({ host, ok }).toEqual({ host: "missing.example.test", ok: false });
    const wrong = checks.filter((check) => !check.ok);
    expect(wrong.map(({ check }) => check)).toEqual(["dns", "certificate", "order"]);
    expect(wrong[0]?.fix).toContain("add an A record (IPv4) or AAAA record (IPv6) for missing.example.test");
    expect(wrong[2]?.message).toMatch(/the last order failed \(\w+\): /);
    expect(missing.code).toBe(1);
  });

  test("a host that is none, or not of this config, is said to be so", async () => {
    const strange = await skerry(runtime, ["doctor", "strange.example.test", "--config", config]);
    expect(strange).toMatchObject({ code: 1, stderr: "" });
    expect(strange.stdout).toMatch(
      /^✗ config +strange\.example\.test is not a host of this config\n +→ add /,
    );
    const none = await skerry(runtime, ["doctor", "http://x", "--config", config]);
    expect(none).toMatchObject({ code: 2, stdout: "" });
    expect(none.stderr).toMatch(/^skerry: .*a host name, not a URL.*\n$/);
  });
});
