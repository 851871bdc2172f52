import { describe, expect, test } from "vitest";
import { resolveConfig } from "../../src/config/resolve.ts";
import { refuseChange } from "../../src/edge/reload.ts";

const hook = () => ({ present: async () => {}, remove: async () => {} });
const withAcme = (more: object) =>
  resolveConfig({
    listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
    storage: "memory:",
    acme: { agreeToTerms: true, ...more },
    backends: { web: { servers: ["http://127.0.0.1:9"] } },
    hosts: { "a.example.com": { backend: "web" } },
  });

describe("a reload", () => {
  test("follows another DNS hook or provider", () => {
    const cloudflare = { provider: "cloudflare", tokenFile: "/run/secrets/cloudflare" };
    expect(() => refuseChange(withAcme({ dns: hook() }), withAcme({ dns: hook() }))).not.toThrow();
    expect(() => refuseChange(withAcme({ dns: hook() }), withAcme({ dns: cloudflare }))).not.toThrow();
  });

  test.each([
    ["the first DNS hook", {}, { dns: hook() }],
    ["one DNS hook less", { dns: hook() }, {}],
    ["another CA", { dns: hook() }, { dns: hook(), directory: "https://ca.example.com/dir" }],
  ])("refuses %s and says that it takes a restart", (_, before, after) => {
    expect(() => refuseChange(withAcme(before), withAcme(after))).toThrow(/^acme: .*takes a restart/);
  });
});
