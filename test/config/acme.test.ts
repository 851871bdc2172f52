import { describe, expect, test } from "vitest";
import { resolveConfig } from "../../src/config/resolve.ts";

const base = { backends: { web: {} }, hosts: { "a.example.com": { backend: "web" } } };
const acmeOf = (acme: object) => ({
  ...base,
  acme: { email: "ops@example.com", agreeToTerms: true, ...acme },
});

function problems(input: unknown): string {
  try {
    resolveConfig(input);
  } catch (thrown) {
    return (thrown as Error).message;
  }
  return "";
}

describe("acme", () => {
  test("takes a binding, a profile, a chain, a key type and CAs to fall back to", () => {
    const eab = { kid: "kid-1", hmacKey: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" };
    const config = resolveConfig({
      ...acmeOf({
        profile: "shortlived",
        preferredChain: "ISRG Root X2",
        keyType: "p384",
        concurrency: 8,
        fallback: [{ directory: "https://ca.example.net/dir", agreeToTerms: true, eab }],
      }),
      hosts: { "a.example.com": { backend: "web", keyType: "rsa2048", profile: "tlsserver" } },
    });
    expect(config.acme).toMatchObject({
      profile: "shortlived",
      preferredChain: "ISRG Root X2",
      keyType: "p384",
      concurrency: 8,
    });
    // The address and the key type are the operator's, not the CA's.
    expect(config.acme?.fallback).toMatchObject([
      { directory: "https://ca.example.net/dir", email: "ops@example.com", keyType: "p384", eab },
    ]);
    expect(config.acme?.fallback?.[0]?.profile).toBeUndefined();
    expect(config.hosts.get("a.example.com")).toMatchObject({ keyType: "rsa2048", profile: "tlsserver" });
  });

  test.each([
    [{ keyType: "rsa1024" }, /^acme\.keyType: /],
    [{ profile: "short lived" }, /^acme\.profile: not the name of a profile: "short lived"/],
    [{ eab: { kid: "a" } }, /^acme\.eab\.hmacKey/],
    [{ concurrency: 0 }, /^acme\.concurrency: must be a whole number/],
    [{ fallback: [{ agreeToTerms: true }] }, /^acme\.fallback\[0\]\.directory/],
    [
      { fallback: [{ directory: "https://ca.example.net/dir" }] },
      /fallback\[0\]\.agreeToTerms: must be true/,
    ],
    [
      { fallback: [{ directory: "https://acme-v02.api.letsencrypt.org/directory", agreeToTerms: true }] },
      /fallback\[0\]\.directory: is a CA that was named before/,
    ],
  ])("%j is refused where it is wrong", (acme, line) => {
    expect(problems(acmeOf(acme))).toMatch(line);
  });

  test("does not repeat a binding's key that is no key", () => {
    const said = problems(acmeOf({ eab: { kid: "a", hmacKey: "hunter2 hunter2 hunter2" } }));
    expect(said).toContain("acme.eab.hmacKey: not a base64url key");
    expect(said).not.toContain("hunter2");
  });
});
