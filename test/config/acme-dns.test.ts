import { afterEach, describe, expect, test } from "vitest";
import { resolveConfig } from "../../src/config/resolve.ts";
import { EdgeError } from "../../src/errors.ts";

const SECRET = Buffer.from("a secret of a key").toString("base64");
const RFC2136 = {
  provider: "rfc2136",
  server: "127.0.0.1:5353",
  key: { name: "Edge.", algorithm: "hmac-sha512", secret: SECRET },
};

function input(acme: object, host = "*.example.com"): object {
  return {
    acme: { agreeToTerms: true, ...acme },
    backends: { web: { servers: ["http://127.0.0.1:1"] } },
    hosts: { [host]: { backend: "web" } },
  };
}

function problems(config: object): string[] {
  try {
    resolveConfig(config);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(EdgeError);
    return (thrown as EdgeError).message.split("\n");
  }
  return [];
}

afterEach(() => {
  delete process.env.SKERRY_TEST_TOKEN;
});

describe("acme.dns", () => {
  test("takes a name server with its key", () => {
    expect(resolveConfig(input({ dns: RFC2136 })).acme?.dns).toEqual({
      kind: "rfc2136",
      server: { host: "127.0.0.1", port: 5353 },
      zone: undefined,
      key: { name: "edge", algorithm: "hmac-sha512", secret: SECRET },
    });
  });

  test("takes a secret from the environment, and says which variable is not set", () => {
    const key = { name: "edge", secret: "env:SKERRY_TEST_TOKEN" };
    const config = input({ dns: { ...RFC2136, key } });
    expect(problems(config)).toEqual([
      "acme.dns.key.secret: the environment variable SKERRY_TEST_TOKEN is not set",
    ]);
    process.env.SKERRY_TEST_TOKEN = SECRET;
    expect(resolveConfig(config).acme?.dns).toMatchObject({ key: { secret: SECRET } });
  });

  test("takes code", () => {
    const hook = { present: async () => {}, remove: async () => {} };
    expect(resolveConfig(input({ dns: hook })).acme?.dns).toEqual({ kind: "hook", hook });
  });

  test("never holds a token, only where it is", () => {
    process.env.SKERRY_TEST_TOKEN = "very-secret";
    const config = resolveConfig(input({ dns: { provider: "cloudflare", token: "env:SKERRY_TEST_TOKEN" } }));
    expect(config.acme?.dns).toMatchObject({ kind: "cloudflare", token: { env: "SKERRY_TEST_TOKEN" } });
    expect(JSON.stringify(config)).not.toContain("very-secret");
  });

  test.each([
    [
      "a token itself, without repeating it",
      { dns: { provider: "cloudflare", token: "abcdef" } },
      /^acme\.dns\.token: write "env:NAME"(?!.*abcdef)/,
    ],
    ["no token", { dns: { provider: "cloudflare" } }, /^acme\.dns: needs either tokenFile or token/],
    [
      "an unknown provider",
      { dns: { provider: "rout53" } },
      /^acme\.dns: expected \{ provider: "rfc2136" \}/,
    ],
    ["half a hook", { dns: { present: () => {} } }, /^acme\.dns: expected/],
    [
      "a server by name",
      { dns: { ...RFC2136, server: "ns1.example.com" } },
      /^acme\.dns\.server: not the address of a DNS server/,
    ],
    [
      "a secret that is no base64",
      { dns: { ...RFC2136, key: { name: "k", secret: "se cret" } } },
      /^acme\.dns\.key\.secret: must be base64/,
    ],
    ["DNS-01 without dns", { challenges: ["dns-01"] }, /^acme\.challenges: dns-01 needs acme\.dns/],
    ["an unknown challenge", { challenges: ["dns-02"] }, /^acme\.challenges\[0\]: expected one of "http-01"/],
  ])("refuses %s", (_what, acme, message) => {
    const found = problems(input(acme, "app.example.com"));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(message);
  });
});

describe("a wildcard", () => {
  test("is taken with acme.dns, with dns-persist-01, and with files of its own", () => {
    for (const acme of [{ dns: RFC2136 }, { challenges: ["dns-persist-01"] }]) {
      expect([...resolveConfig(input(acme, "*.Example.COM")).hosts.keys()]).toEqual(["*.example.com"]);
    }
  });

  test("is refused where nothing can prove it", () => {
    for (const acme of [{}, { challenges: ["http-01", "tls-alpn-01"] }]) {
      expect(problems(input(acme))).toEqual([
        `hosts["*.example.com"]: a wildcard's certificate takes DNS-01: set acme.dns, or list each name`,
      ]);
    }
  });

  test.each(["*", "*.*.example.com", "a.*.example.com", "a*.example.com", "*.com", "*.", "*.-.com"])(
    "%s is none",
    (host) => {
      expect(problems(input({ dns: RFC2136 }, host))).toHaveLength(1);
    },
  );
});
