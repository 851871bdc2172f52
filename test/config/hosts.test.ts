/** What hosts may have besides a backend: an app with settings, HSTS, client certificates; hosts on demand; TLS. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Hono } from "hono";
import { describe, expect, test } from "vitest";
import type { EdgeConfig } from "../../src/config/input.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { configJsonSchema } from "../../src/config/schema.ts";
import { proxy } from "../../src/edge/proxying.ts";
import { EdgeError } from "../../src/errors.ts";
import { testCa } from "../support/ca.ts";
import { acme, good, hosts } from "./malformed.ts";

const A = "a.example.test";

function problems(input: unknown): string[] {
  try {
    resolveConfig(input);
    return [];
  } catch (error) {
    expect(error).toBeInstanceOf(EdgeError);
    return (error as EdgeError).message.split("\n");
  }
}

const hostOf = (host: unknown) => resolveConfig(hosts({ [A]: host })).hosts.get(A);

describe("a host", () => {
  test("whose app forwards to a backend that is not there is a problem, once", () => {
    const inner = new Hono().get("/deep", proxy("wbe"));
    const app = new Hono().all("/v1/*", proxy("wbe")).get("/ok", proxy("web")).route("/in", inner);
    const input = { acme, backends: { web: {} } };
    const said = 'proxy("wbe"): no such backend; did you mean "web"?';
    expect(problems({ ...input, hosts: { [A]: app } })).toEqual([`hosts["${A}"]: ${said}`]);
    expect(problems({ ...input, hosts: { [A]: { app } } })).toEqual([`hosts["${A}"].app: ${said}`]);
    const fine = new Hono().all("*", proxy("web")).use(async (_c, next) => next());
    expect(problems({ ...input, hosts: { [A]: fine } })).toEqual([]);
  });

  test("may be an app with a certificate of its own", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skerry-hosts-"));
    const { chain, key } = await (await testCa()).issueFor([A]);
    writeFileSync(join(folder, "a.pem"), chain);
    writeFileSync(join(folder, "a.key"), key);
    const app = new Hono();
    const input: EdgeConfig = { hosts: { [A]: { app, tls: { cert: "a.pem", key: "a.key" } } } };
    expect(resolveConfig(input, { folder }).hosts.get(A)).toMatchObject({
      handler: { kind: "app", app },
      tls: { certPath: join(folder, "a.pem"), keyPath: join(folder, "a.key") },
    });
  });

  test.each([
    [
      { app: new Hono(), backend: "web" },
      `hosts["${A}"].backend: means nothing beside app; let the app do it`,
    ],
    [{ app: new Hono(), use: [] }, `hosts["${A}"].use: means nothing beside app; let the app do it`],
    [{ app: {} }, `hosts["${A}"].app: expected a Hono app, got an object`],
    [{ tls: { cert: "a", key: "b" } }, `hosts["${A}"].backend: missing`],
    [
      { backend: "web", clientAuth: { ca: "/nowhere" } },
      /clientAuth\.ca: cannot read "\/nowhere": no such file$/,
    ],
    [{ backend: "web", hsts: { preload: true } }, /hsts\.preload: takes includeSubDomains: true and maxAge/],
    [{ backend: "web", hsts: "yes" }, /hsts: expected/],
  ])("%j is refused with what is wrong", (host, line) => {
    const [first] = problems(hosts({ [A]: host }));
    if (typeof line === "string") expect(first).toBe(line);
    else expect(first).toMatch(line);
  });

  test("says Strict-Transport-Security as RFC 6797 has it", () => {
    expect(hostOf({ backend: "web" })?.hsts).toBeUndefined();
    expect(hostOf({ backend: "web", hsts: false })?.hsts).toBeUndefined();
    expect(hostOf({ backend: "web", hsts: true })?.hsts).toBe("max-age=63072000");
    expect(hostOf({ backend: "web", hsts: { maxAgeSeconds: 0 } })?.hsts).toBe("max-age=0");
    expect(hostOf({ backend: "web", hsts: { includeSubDomains: true, preload: true } })?.hsts).toBe(
      "max-age=63072000; includeSubDomains; preload",
    );
  });
});

describe("hosts on demand", () => {
  const allow = (): boolean => true;

  test("need a permission, a handler and a CA", () => {
    expect(problems({ ...good, onDemand: { backend: "web" } })).toEqual([
      "onDemand: takes one of allow and ask: whoever points a name here would get a certificate otherwise",
    ]);
    expect(problems({ ...good, onDemand: { allow, ask: "http://127.0.0.1/", backend: "web" } })).toHaveLength(
      1,
    );
    expect(problems({ ...good, onDemand: { allow } })).toEqual(["onDemand.backend: missing"]);
    expect(problems({ ...good, onDemand: { allow, backend: "wbe" } })[0]).toMatch(/no backend "wbe"/);
    expect(problems({ backends: good.backends, hosts: {}, onDemand: { allow, backend: "web" } })[0]).toMatch(
      /^acme: missing, but onDemand orders certificates/,
    );
    const [line] = problems({ ...good, onDemand: { ask: "http://ops:hunter2@a/", backend: "web" } });
    expect(line).toBe("onDemand.ask: takes no user name or password");
  });

  test("do without any other host, and have defaults", () => {
    const config = resolveConfig({
      acme,
      backends: good.backends,
      hosts: {},
      onDemand: { ask: "http://127.0.0.1:5555/check", backend: "web" },
    });
    expect(config.acme).toBeDefined();
    expect(config.onDemand).toEqual({
      permission: { kind: "ask", url: "http://127.0.0.1:5555/check" },
      handler: { kind: "backend", backend: "web", use: [] },
      hsts: undefined,
      handshakeWaitMs: 10_000,
      maxHosts: 10_000,
    });
  });
});

describe("tls", () => {
  test("is Mozilla's intermediate without a folder, unless told", () => {
    expect(resolveConfig(good).tls).toEqual({ profile: "intermediate", folder: undefined });
    const config = resolveConfig({ ...good, tls: { profile: "modern", folder: "own" } }, { folder: "/srv" });
    expect(config.tls).toEqual({ profile: "modern", folder: "/srv/own" });
    expect(problems({ ...good, tls: { profile: "old" } })[0]).toMatch(/^tls\.profile: expected one of/);
  });

  test("with a folder makes acme optional", () => {
    expect(problems({ backends: good.backends, hosts: good.hosts, tls: { folder: "own" } })).toEqual([]);
  });
});

test("the JSON Schema knows no code, and a host without it needs its backend", () => {
  const text = JSON.stringify(configJsonSchema());
  for (const code of ['"app":', '"use":', '"allow":']) expect(text).not.toContain(code);
  const { properties } = configJsonSchema() as { properties: Record<string, { required?: string[] }> };
  expect(properties.onDemand?.required).toEqual(["ask", "backend"]);
});
