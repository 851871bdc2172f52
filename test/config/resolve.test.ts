import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { Hono } from "hono";
import { describe, expect, test } from "vitest";
import { resolveConfig } from "../../src/config/resolve.ts";
import { EdgeError } from "../../src/errors.ts";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import { command } from "../support/edge.ts";
import { run } from "../support/processes.ts";
import { acme, backend, good, hosts, MALFORMED, servers } from "./malformed.ts";

function problems(input: unknown): string[] {
  try {
    resolveConfig(input);
  } catch (error) {
    expect(error).toBeInstanceOf(EdgeError);
    expect((error as EdgeError).code).toBe("CONFIG_INVALID");
    return (error as EdgeError).message.split("\n");
  }
  return [];
}

const exactly = (line: string): RegExp => new RegExp(`^${line.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")}$`);

describe("a malformed config", () => {
  test.each(MALFORMED)("%s gives one line with its path", (_what, input, line) => {
    const lines = problems(input);
    expect(lines[0]).toMatch(line instanceof RegExp ? line : exactly(line));
    for (const each of lines) expect(each).not.toMatch(/^\s*at |Zod|\n/);
  });

  test.each(["bun", "deno"] as const)("gives the same lines on %s", async (runtime) => {
    const [program, ...args] = command(runtime, "test/config/malformed.ts");
    const { stdout, stderr, code } = await run(program, [...args, "print"]);
    expect(code, stderr).toBe(0);
    const said = JSON.parse(stdout) as string[][];
    MALFORMED.forEach(([what, , line], index) => {
      expect(said[index]?.[0], what).toMatch(line instanceof RegExp ? line : exactly(line));
    });
  });

  test("has all its problems listed, those of the shape and those between fields", () => {
    const lines = problems({
      ...servers("nope", "http://a"),
      listen: { http: "x" },
      hosts: { "a.example.test": { backend: "wbe" } },
    });
    expect(lines).toEqual([
      'listen.http: not host:port: "x"',
      'backends.web.servers[0]: not a URL: "nope"',
      'hosts["a.example.test"].backend: no backend "wbe"; did you mean "web"?',
    ]);
  });

  test("keeps passwords in URLs out of the message", () => {
    const [line] = problems(servers("http://ops:hunter2@a"));
    expect(line).toMatch(/^backends\.web\.servers\[0\]: a server's URL takes no user name or password/);
    expect(line).not.toContain("hunter2");
  });

  test("stays on one line whatever its values hold", () => {
    expect(problems(hosts({ "a\nb": { backend: "web" } }))).toEqual(['hosts["a\\nb"]: not a host name']);
  });
});

describe("any input at all", () => {
  const strange = fc.oneof(
    fc.jsonValue(),
    fc.anything(),
    fc.constantFrom("http://[::1", "::", "a:b:c", "file:", "http://a:b@c", "\u0000", "xn--", "%00"),
  );

  test("is taken or refused with an EdgeError, never with another", () => {
    const fields = ["listen", "storage", "location", "acme", "backends", "hosts", "trustedProxies", "limits"];
    const anyConfig = fc.dictionary(
      fc.constantFrom(...fields),
      fc.oneof(strange, fc.dictionary(fc.string(), strange)),
    );
    fc.assert(
      fc.property(fc.oneof(strange, anyConfig), (input) => {
        for (const line of problems(input)) expect(line).not.toBe("");
      }),
      { numRuns: 500 },
    );
  });

  test("put into one place of a good config names that place or is taken", () => {
    const places: [string, (value: unknown) => unknown][] = [
      ["backends.web.servers[0]", (value) => servers(value)],
      ["backends.web.health", (value) => backend({ health: value })],
      ['hosts["a.example.test"]', (value) => hosts({ "a.example.test": value })],
      ["trustedProxies", (value) => ({ ...good, trustedProxies: value })],
      ["listen", (value) => ({ ...good, listen: value })],
      ["limits", (value) => ({ ...good, limits: value })],
    ];
    fc.assert(
      fc.property(fc.constantFrom(...places), strange, ([path, put], value) => {
        for (const line of problems(put(value))) expect(line.startsWith(path), line).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});

describe("a good config", () => {
  test("has every default filled in", () => {
    const config = resolveConfig(good, { folder: "/srv/edge" });
    expect(config).toMatchObject({
      file: undefined,
      listen: {
        http: { host: "::", port: 80 },
        https: { host: "::", port: 443 },
        admin: { host: "127.0.0.1", port: 9180 },
      },
      storage: "file:/srv/edge/certs",
      acme: { ...acme, trustedCa: undefined, email: undefined },
      trustedProxies: [],
      limits: DEFAULT_LIMITS,
      drainTimeoutMs: 30_000,
      accessLog: true,
      logLevel: "info",
    });
    expect(config.location).not.toBe("");
    expect(config.backends.get("web")).toEqual({
      name: "web",
      servers: [{ id: "http://10.0.0.5:8000", protocol: "http", host: "10.0.0.5", port: 8000, weight: 1 }],
      tls: undefined,
      health: undefined,
      connectTimeoutMs: 1_000,
      responseTimeoutMs: 60_000,
      bodyTimeoutMs: 300_000,
      totalTimeoutMs: 0,
      maxIdleConnections: 64,
      idleTimeoutMs: 4_000,
      maxConnections: 4096,
      balancing: {
        balance: "p2c",
        slowStartMs: 0,
        maxInFlight: 4096,
        queue: { max: 1024, timeoutMs: 5000 },
        panicThreshold: 0,
      },
      retry: { statuses: [], maxRetries: 1, budget: 0.2, floor: 10 },
      hedge: undefined,
    });
    expect(config.hosts.get("a.example.test")).toEqual({
      name: "a.example.test",
      tls: undefined,
      handler: { kind: "backend", backend: "web", use: [] },
    });
  });

  test("names servers as they are written, with the port of their protocol", () => {
    const config = resolveConfig(
      servers("https://b.internal", "h2c://[::1]:50051/", { url: "http://C:81", weight: 3 }),
    );
    expect(config.backends.get("web")?.servers).toEqual([
      { id: "https://b.internal", protocol: "https", host: "b.internal", port: 443, weight: 1 },
      { id: "h2c://[::1]:50051/", protocol: "h2c", host: "::1", port: 50051, weight: 1 },
      { id: "http://C:81", protocol: "http", host: "c", port: 81, weight: 3 },
    ]);
  });

  test("takes sockets, relative to its folder, and names with SRV records", () => {
    const config = resolveConfig(servers("unix:app.sock", "unix:/run/b.sock", "srv+http://_http._tcp.web"), {
      folder: "/srv/edge",
    });
    const socket = { protocol: "http", host: "localhost", port: 0, weight: 1 };
    expect(config.backends.get("web")?.servers).toEqual([
      { ...socket, id: "unix:app.sock", socket: "/srv/edge/app.sock" },
      { ...socket, id: "unix:/run/b.sock", socket: "/run/b.sock" },
      {
        id: "srv+http://_http._tcp.web",
        protocol: "http",
        host: "_http._tcp.web",
        port: 0,
        weight: 1,
        srv: true,
      },
    ]);
  });

  test("has DNS bounds that fit each other", () => {
    expect(resolveConfig(good).dns).toEqual({
      servers: [],
      minTtlMs: 1000,
      maxTtlMs: 60_000,
      keepStaleMs: 300_000,
    });
    const dns = { servers: ["10.0.0.53", "::1", "10.0.0.53:5353"], minTtlMs: 90_000 };
    expect(resolveConfig({ ...good, dns }).dns).toEqual({
      servers: ["10.0.0.53:53", "[::1]:53", "10.0.0.53:5353"],
      minTtlMs: 90_000,
      maxTtlMs: 90_000,
      keepStaleMs: 300_000,
    });
  });

  test("carries the text of a backend's certificates", () => {
    const folder = mkdtempSync(join(tmpdir(), "skerry-config-"));
    writeFileSync(join(folder, "ca.pem"), "-----BEGIN CERTIFICATE-----\nabc\n");
    const input = backend({ servers: ["https://a"], tls: { ca: "ca.pem", serverName: "Web.Internal" } });
    expect(resolveConfig(input, { folder }).backends.get("web")?.tls).toEqual({
      ca: "-----BEGIN CERTIFICATE-----\nabc\n",
      cert: undefined,
      key: undefined,
      serverName: "web.internal",
      verify: true,
    });
  });

  test("reads ranges of statuses", () => {
    const { health } = resolveConfig(backend({ health: { status: "200-299, 401" } })).backends.get("web")!;
    expect(health?.statuses).toEqual([
      [200, 299],
      [401, 401],
    ]);
  });

  test("fills in what a health check leaves out", () => {
    expect(resolveConfig(backend({ health: { path: "/healthz" } })).backends.get("web")?.health).toEqual({
      tcp: false,
      path: "/healthz",
      statuses: [[200, 399]],
      body: undefined,
      startUnhealthy: false,
      intervalMs: 10_000,
      timeoutMs: 2_000,
      rise: 1,
      fall: 3,
    });
  });

  test("keeps the limits that it does not name", () => {
    const { limits } = resolveConfig({ ...good, limits: { maxHeaders: 50, http2: { maxStreams: 10 } } });
    expect(limits).toEqual({
      ...DEFAULT_LIMITS,
      maxHeaders: 50,
      http2: { ...DEFAULT_LIMITS.http2, maxStreams: 10 },
    });
  });

  test("may say undefined where it could say nothing", () => {
    const { listen, limits } = resolveConfig({
      ...good,
      listen: { http: undefined },
      limits: { maxHeaders: undefined, http2: undefined },
    });
    expect(listen.http.port).toBe(80);
    expect(limits).toEqual(DEFAULT_LIMITS);
  });

  test("has its host names as certificates carry them", () => {
    const names = ["BÜCHER.example.com.", "xn--bcher-kva.example.org", "localhost"];
    const config = resolveConfig(hosts(Object.fromEntries(names.map((name) => [name, { backend: "web" }]))));
    expect([...config.hosts.keys()]).toEqual([
      "xn--bcher-kva.example.com",
      "xn--bcher-kva.example.org",
      "localhost",
    ]);
  });

  test("knows a Hono app by its structure, even one of another copy of Hono", () => {
    const app = new Hono();
    const foreign = { fetch: () => new Response(), routes: [] };
    const config = resolveConfig(hosts({ "a.example.test": app, "b.example.test": foreign }));
    expect(config.hosts.get("a.example.test")?.handler).toEqual({ kind: "app", app });
    expect(config.hosts.get("b.example.test")?.handler).toEqual({ kind: "app", app: foreign });
  });

  test("needs no acme where every host has its own certificate, whose paths become absolute", () => {
    const folder = mkdtempSync(join(tmpdir(), "skerry-config-"));
    writeFileSync(join(folder, "a.pem"), "-----BEGIN CERTIFICATE-----\n");
    writeFileSync(join(folder, "a.key"), "-----BEGIN EC PRIVATE KEY-----\n");
    const config = resolveConfig(
      {
        ...good,
        acme: undefined,
        hosts: { "a.example.test": { backend: "web", tls: { cert: "a.pem", key: "./a.key" } } },
      },
      { folder },
    );
    expect(config.acme).toBeUndefined();
    expect(config.hosts.get("a.example.test")?.tls).toEqual({
      certPath: join(folder, "a.pem"),
      keyPath: join(folder, "a.key"),
    });
  });

  test("needs neither acme nor tls files where certificates are local", () => {
    const { acme: _, ...rest } = good;
    const config = resolveConfig(
      {
        ...rest,
        hosts: { "a.example.test": { backend: "web", tls: { cert: "/nowhere", key: "/nowhere" } } },
      },
      { certificates: "local" },
    );
    expect(config.hosts.get("a.example.test")?.tls).toBeUndefined();
  });

  test("carries the text of the trusted CA", () => {
    const folder = mkdtempSync(join(tmpdir(), "skerry-config-"));
    writeFileSync(join(folder, "ca.pem"), "-----BEGIN CERTIFICATE-----\nabc\n");
    const config = resolveConfig({ ...good, acme: { ...acme, trustedCa: "ca.pem" } }, { folder });
    expect(config.acme?.trustedCa).toBe("-----BEGIN CERTIFICATE-----\nabc\n");
  });

  test("may listen on port 0 everywhere, and on :port for every address", () => {
    const { listen } = resolveConfig({
      ...good,
      listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: ":0" },
    });
    expect(listen.admin).toEqual({ host: "::", port: 0 });
  });
});
