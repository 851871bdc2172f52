/** What `/readyz` says of certificates and backends, and what `/metrics` counts of certificates. */
import { mkdtempSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createAdminApp } from "../../src/admin/app.ts";
import { systemClock } from "../../src/clock.ts";
import type { AdminSource, CertificateView, ServerView } from "../../src/edge/admin-source.ts";
import { createMetrics } from "../../src/metrics.ts";
import { bundleOf, encodeBundle } from "../../src/tls/bundle.ts";
import { issuerName } from "../../src/tls/issuer.ts";
import { type CertificateStatus, createMeters } from "../../src/tls/keeper.ts";
import { createLocalCa } from "../../src/tls/local-ca.ts";
import { visit, visitPlain } from "../runtime/client.ts";
import { configFile, startEdge } from "../support/edge.ts";
import { manualClock } from "../support/manual-clock.ts";

const DAY_MS = 86_400_000;
const LIFETIME_MS = 90 * DAY_MS;

function adminOf(parts: Partial<AdminSource>): ReturnType<typeof createAdminApp> {
  return createAdminApp({
    metrics: createMetrics(),
    version: "1",
    location: "here",
    state: () => "ready",
    certificates: () => [],
    backends: () => [],
    ...parts,
  });
}

async function readiness(parts: Partial<AdminSource>): Promise<{ status: number; body: unknown }> {
  const answer = await adminOf(parts).request("/readyz");
  return { status: answer.status, body: await answer.json() };
}

test("the address itself tells what can be asked, each of which has an answer", async () => {
  const app = adminOf({});
  const answer = await app.request("/");
  const [title, empty, ...paths] = (await answer.text()).trimEnd().split("\n");
  expect([answer.status, title, empty]).toEqual([200, "Skerry 1", ""]);
  expect(paths).toContain("/metrics");
  // Requests are kept where the config asks for it, and there is no fleet here.
  for (const path of paths.filter((path) => !["/requests", "/edges", "/agents"].includes(path)))
    expect([path, (await app.request(path)).status]).toEqual([path, 200]);
});

const server = (state: ServerView["state"]): ServerView => ({
  id: "127.0.0.1:1",
  state,
  inFlight: 0,
  latencyMs: undefined,
  weight: 1,
});

describe("readyz", () => {
  test.each<[CertificateView, string | undefined]>([
    [{ host: "a.test", state: "valid", emergency: false }, undefined],
    // Overdue, and a warning in the log; visitors are well for a while yet.
    [{ host: "a.test", state: "expiring", emergency: false }, undefined],
    [{ host: "a.test", state: "expiring" }, undefined],
    [{ host: "a.test", state: "expiring", emergency: true }, "a.test: certificate expiring"],
    [{ host: "a.test", state: "expired", emergency: true }, "a.test: certificate expired"],
    [{ host: "a.test", state: "missing", emergency: false }, "a.test: certificate missing"],
  ])("of %o says %s, and goes on taking traffic", async (certificate, problem) => {
    const { status, body } = await readiness({ certificates: () => [certificate] });
    expect(status).toBe(200);
    expect(body).toEqual(problem ? { status: "degraded", problems: [problem] } : { status: "ready" });
  });

  test("names every host in trouble, and no other", async () => {
    const certificates: CertificateView[] = [
      { host: "good.test", state: "valid", emergency: false },
      { host: "late.test", state: "expiring", emergency: true },
      { host: "none.test", state: "missing" },
    ];
    const { body } = await readiness({ certificates: () => certificates });
    expect(body).toEqual({
      status: "degraded",
      problems: ["late.test: certificate expiring", "none.test: certificate missing"],
    });
  });

  test("is degraded where all servers of a backend are out, and not where one is left", async () => {
    const backends = (...states: ServerView["state"][]) => [
      { name: "web", configured: 2, servers: states.map(server) },
    ];
    expect(await readiness({ backends: () => backends("ejected", "unhealthy") })).toEqual({
      status: 200,
      body: {
        status: "degraded",
        problems: ["web: no server is available: 127.0.0.1:1 is ejected, 127.0.0.1:1 is unhealthy"],
      },
    });
    expect((await readiness({ backends: () => backends("ejected", "available") })).body).toEqual({
      status: "ready",
    });
  });

  test("names why the last servers serve nobody, and backends without any", async () => {
    const failing: ServerView = { ...server("available"), failing: "unreachable" };
    const broken: ServerView = { ...server("available"), id: "127.0.0.1:2", failing: "broken" };
    const many = Array.from({ length: 5 }, () => server("unhealthy"));
    const backends = [
      { name: "alone", configured: 1, servers: [failing] },
      { name: "two", configured: 2, servers: [failing, broken] },
      { name: "helped", configured: 2, servers: [failing, server("available")] },
      { name: "many", configured: 5, servers: many },
      { name: "wormholes", configured: 0, servers: [] },
      { name: "names", configured: 1, servers: [] },
    ];
    const { status, body } = await readiness({ backends: () => backends });
    expect(status).toBe(200);
    expect(body).toEqual({
      status: "degraded",
      problems: [
        "alone: no server is available: 127.0.0.1:1 cannot be reached",
        "two: no server is available: 127.0.0.1:1 cannot be reached, 127.0.0.1:2 breaks requests off",
        `many: no server is available: ${Array(3).fill("127.0.0.1:1 is unhealthy").join(", ")}, and 2 more`,
        "wormholes: no wormhole has joined",
        "names: no server: its names stand for no address",
      ],
    });
  });

  test.each(["starting", "draining"] as const)(
    "is 503 while %s, whatever the certificates",
    async (state) => {
      const certificates = (): CertificateView[] => [{ host: "a.test", state: "missing" }];
      expect(await readiness({ state: () => state, certificates })).toEqual({
        status: 503,
        body: { status: state },
      });
    },
  );
});

describe("metrics of certificates", () => {
  const clock = manualClock();
  const status = (host: string, facts: Partial<CertificateStatus>): CertificateStatus => ({
    host,
    source: "acme",
    state: "valid",
    generation: 1,
    names: [host],
    issuer: "ca",
    notBefore: clock.wall() - LIFETIME_MS / 2,
    notAfter: clock.wall() + LIFETIME_MS / 2,
    nextAttemptAt: undefined,
    failure: undefined,
    ...facts,
  });

  test("tell the part of life that is left and how many hosts are in each state", async () => {
    const metrics = createMetrics();
    let all = [
      status("half.test", {}),
      status("late.test", { notAfter: clock.wall() + LIFETIME_MS / 100, state: "expiring", emergency: true }),
      status("gone.test", { notAfter: clock.wall() - DAY_MS, state: "expired", emergency: true }),
      status("none.test", { notBefore: undefined, notAfter: undefined, state: "missing" }),
    ];
    createMeters(metrics, clock, () => all);
    const app = adminOf({ metrics });
    const read = async (): Promise<string> => (await app.request("/metrics")).text();

    const text = await read();
    expect(text).toContain('skerry_certificate_lifetime_left_ratio{host="half.test"} 0.5\n');
    expect(text).toMatch(/skerry_certificate_lifetime_left_ratio\{host="late\.test"\} 0\.019/);
    // Never below nothing, so that one alarm threshold is enough; how long ago tells the other gauge.
    expect(text).toContain('skerry_certificate_lifetime_left_ratio{host="gone.test"} 0\n');
    expect(text).toContain('skerry_certificate_expires_seconds{host="gone.test"} -86400\n');
    expect(text).not.toContain("none.test");
    for (const [state, count] of Object.entries({
      valid: 1,
      expiring: 1,
      expired: 1,
      missing: 1,
      emergency: 2,
    })) {
      expect(text).toContain(`skerry_certificate_hosts{state="${state}"} ${count}\n`);
    }

    // A host that is gone leaves no line behind, a state that has none goes to 0.
    all = [status("half.test", {})];
    const later = await read();
    expect(later).not.toContain("late.test");
    expect(later).toContain('skerry_certificate_hosts{state="emergency"} 0\n');
  });
});

test("an edge that cannot renew a certificate near its end serves it, and says so", async () => {
  const host = "late.example.test";
  // Nobody listens there.
  const directory = "https://127.0.0.1:9/dir";
  const root = mkdtempSync(join(tmpdir(), "skerry-late-"));
  const past = systemClock.wall() - 0.97 * LIFETIME_MS;
  const ca = await createLocalCa({ ...systemClock, wall: () => past });
  const pair = await ca.issueFor([host], LIFETIME_MS);
  const facts = { host, issuer: issuerName(directory), generation: 1, obtainedAt: past };
  await mkdir(join(root, "certificates"), { mode: 0o700 });
  await writeFile(join(root, "certificates", host), encodeBundle(bundleOf(pair, facts, host)), {
    mode: 0o600,
  });
  const edge = await startEdge(
    "node",
    configFile({
      listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
      storage: `file:${root}`,
      acme: { directory, agreeToTerms: true },
      backends: { web: { servers: ["http://127.0.0.1:9"] } },
      hosts: { [host]: { backend: "web" } },
    }),
  );
  const admin = async (path: string) => visitPlain({ port: edge.admin.port, host: "127.0.0.1", path });
  try {
    const ready = await admin("/readyz");
    expect(ready.status).toBe(200);
    expect(JSON.parse(ready.body)).toEqual({
      status: "degraded",
      problems: [`${host}: certificate expiring`],
    });
    const metrics = (await admin("/metrics")).body;
    expect(metrics).toMatch(
      new RegExp(`^skerry_certificate_lifetime_left_ratio\\{host="${host}"\\} 0\\.0[23]`, "m"),
    );
    expect(metrics).toMatch(/^skerry_certificate_hosts\{state="emergency"\} 1$/m);
    await edge.process.saw(/"event":"certificate\.expiring"/);
    // Whatever the CA does, visitors get the one that is still good.
    const answer = await visit({ port: edge.https.port, host, ca: ca.rootPem });
    expect(answer.status).toBe(502);
  } finally {
    await edge.stop();
  }
});
