import { createPublicKey, X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { EdgeError } from "../../src/errors.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { thumbprintOf } from "../../src/tls/account.ts";
import { ariId } from "../../src/tls/ari.ts";
import { type Bundle, bundleOf, decodeBundle, encodeBundle } from "../../src/tls/bundle.ts";
import { certificateFacts, renewalStart, renewalTime, splitChain } from "../../src/tls/certificate.ts";
import { newKey } from "../../src/tls/certificate-key.ts";
import { CHALLENGE_PREFIX, createHttpChallenge } from "../../src/tls/challenge.ts";
import { createLocalCa, openLocalCa } from "../../src/tls/local-ca.ts";
import { createPlaceholder } from "../../src/tls/placeholder.ts";

const DAY = 86_400_000;
const ca = await createLocalCa(systemClock);

async function bundleFor(host: string, facts: Partial<Bundle> = {}): Promise<Bundle> {
  const pair = await ca.issueFor([host]);
  const base = { host, issuer: "local", generation: 3, obtainedAt: Date.UTC(2026, 0, 2), ...facts };
  return bundleOf(pair, base, "test");
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (thrown) {
    return thrown instanceof EdgeError ? thrown.code : String(thrown);
  }
  return "none";
}

describe("facts of a certificate", () => {
  test("names, dates and serial come from the leaf; a wildcard covers one label", async () => {
    const { chain } = await ca.issueFor(["*.example.test", "Example.test", "127.0.0.1"], 30 * DAY);
    const facts = certificateFacts(chain, "test");
    expect(facts.names).toEqual(["*.example.test", "example.test", "127.0.0.1"]);
    expect(facts.notAfter - systemClock.wall()).toBeGreaterThan(30 * DAY - 60_000);
    expect(facts.serial).toMatch(/^[4-7][0-9a-f]{31}$/);
    expect(["a.example.test", "example.test", "a.b.example.test", "other.test"].map(facts.covers)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });

  test.each(["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"])(
    "%j is refused by name",
    (pem) => {
      expect(() => certificateFacts(pem, "certs/a.pem")).toThrow(/^certs\/a.pem holds/);
      expect(codeOf(() => certificateFacts(pem, "x"))).toBe("CERTIFICATE_INVALID");
    },
  );

  test("renewal begins at a third of life left, or half where it lives under ten days", () => {
    expect(renewalStart({ notBefore: 0, notAfter: 90 * DAY })).toBe(60 * DAY);
    expect(renewalStart({ notBefore: 0, notAfter: 10 * DAY })).toBeCloseTo((20 / 3) * DAY);
    expect(renewalStart({ notBefore: 0, notAfter: 6 * DAY })).toBe(3 * DAY);
    const early = renewalTime({ notBefore: 0, notAfter: 90 * DAY }, () => 0);
    const late = renewalTime({ notBefore: 0, notAfter: 90 * DAY }, () => 1);
    expect([early / DAY, late / DAY]).toEqual([55.5, 64.5]);
  });
});

describe("a bundle", () => {
  test("comes back from its bytes as it was", async () => {
    const bundle = await bundleFor("a.example.test", { ariId: "a.b" });
    expect(decodeBundle(encodeBundle(bundle), "a.example.test", "k")).toEqual(bundle);
    const readable = JSON.parse(new TextDecoder().decode(encodeBundle(bundle)));
    expect(readable).toMatchObject({ version: 1, obtainedAt: "2026-01-02T00:00:00.000Z" });
  });

  test("with any byte cut off, or with a part of another, is refused by name", async () => {
    const bundle = await bundleFor("a.example.test");
    const other = await bundleFor("b.example.test");
    const bytes = encodeBundle(bundle);
    for (let length = 0; length < bytes.length - 2; length += 97) {
      expect(
        codeOf(() => decodeBundle(bytes.subarray(0, length), "a.example.test", "k")),
        String(length),
      ).toBe("STORAGE_CORRUPT");
    }
    const mixed = (facts: object): Uint8Array => encodeBundle({ ...bundle, ...facts } as Bundle);
    const read = (value: Uint8Array): string => codeOf(() => decodeBundle(value, "a.example.test", "k"));
    expect(read(mixed({ key: other.key }))).toBe("CERTIFICATE_INVALID");
    expect(read(mixed({ chain: other.chain }))).toBe("CERTIFICATE_INVALID");
    expect(read(mixed({ key: other.key, chain: other.chain }))).toBe("CERTIFICATE_INVALID");
    expect(read(mixed({ chain: bundle.chain + other.chain }))).toBe("CERTIFICATE_INVALID");
    expect(read(mixed({ key: "rubbish" }))).toBe("CERTIFICATE_INVALID");
    for (const facts of [
      { generation: -1 },
      { generation: "1" },
      { host: "b.example.test" },
      { issuer: undefined },
    ]) {
      expect(read(mixed(facts)), JSON.stringify(facts)).toBe("STORAGE_CORRUPT");
    }
    expect(read(new TextEncoder().encode('{"version":2}'))).toBe("STORAGE_CORRUPT");
    expect(read(mixed({ chain: bundle.chain + ca.rootPem }))).toBe("none");
  });

  test("that is damaged is refused without a word of its key", async () => {
    const bytes = encodeBundle(await bundleFor("a.example.test"));
    const text = new TextDecoder().decode(bytes).replace('"version": 1', '"version": 1 PRIVATE');
    try {
      decodeBundle(new TextEncoder().encode(text), "a.example.test", "k");
      expect.unreachable();
    } catch (thrown) {
      expect(`${(thrown as Error).message} ${(thrown as Error).cause}`).not.toMatch(/PRIVATE|BEGIN|MIG/);
    }
  });
});

describe("the local CA", () => {
  test("stays the same in one storage, and its certificates chain to its root", async () => {
    const storage = createMemoryStorage();
    const opened = await Promise.all([openLocalCa(storage, systemClock), openLocalCa(storage, systemClock)]);
    const again = await openLocalCa(storage, systemClock);
    expect(new Set([...opened, again].map(({ rootPem }) => rootPem)).size).toBe(1);
    const leaf = new X509Certificate((await again.issueFor(["a.example.test"])).chain);
    const root = new X509Certificate(again.rootPem);
    expect(leaf.checkIssued(root) && leaf.verify(root.publicKey)).toBe(true);
    expect(root.ca).toBe(true);
    expect(leaf.ca).toBe(false);
  });

  test("that cannot be read is not replaced silently", async () => {
    const storage = createMemoryStorage();
    await storage.store("local-ca/root", new TextEncoder().encode("{}"));
    await expect(openLocalCa(storage, systemClock)).rejects.toMatchObject({ code: "STORAGE_CORRUPT" });
  });
});

describe("the placeholder", () => {
  test("is an RSA certificate for nobody that fits its key", async () => {
    const { key, chain } = await createPlaceholder(systemClock);
    const bundle = bundleOf(
      { key, chain },
      { host: "x", issuer: "", generation: 0, obtainedAt: 0 },
      "placeholder",
    );
    expect(bundle.names).toEqual(["placeholder.invalid"]);
    expect(createPublicKey(key).asymmetricKeyType).toBe("rsa");
  });
});

describe("renewal information", () => {
  test("names a certificate by its issuer's key and its serial number, as RFC 9773 §4.1 does", () => {
    // The certificate of RFC 9773, Appendix A.
    const example = `-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----`;
    expect(ariId(example)).toBe("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
  });
});

describe("an account's thumbprint", () => {
  test("is that of RFC 7638, whatever the key's encoding", async () => {
    const key = await newKey();
    expect(thumbprintOf(key)).toMatch(/^[\w-]{43}$/);
    expect(thumbprintOf(key)).toBe(thumbprintOf(key.replaceAll("\n", "\r\n")));
  });
});

describe("a challenge", () => {
  const challenge = createHttpChallenge();

  test("is not answered before the account is known", () => {
    expect(challenge.answer(`${CHALLENGE_PREFIX}abc`)).toBeUndefined();
  });

  test("that comes before the account is known is answered as soon as it is, if not given up before", async () => {
    const early = createHttpChallenge();
    const giveUp = new AbortController();
    const waiting = early.answerSoon(`${CHALLENGE_PREFIX}abc`, new AbortController().signal);
    const impatient = early.answerSoon(`${CHALLENGE_PREFIX}abc`, giveUp.signal);
    giveUp.abort();
    expect(await impatient).toBeUndefined();
    expect(await early.answerSoon("/other", new AbortController().signal)).toBeUndefined();
    early.setThumbprint("print");
    expect(await waiting).toBe("abc.print");
    expect(await early.answerSoon(`${CHALLENGE_PREFIX}abc`, AbortSignal.abort())).toBe("abc.print");
  });

  test("is answered for any token of base64url, and nothing else", () => {
    challenge.setThumbprint("print");
    expect(challenge.answer(`${CHALLENGE_PREFIX}aZ0-_`)).toBe("aZ0-_.print");
    expect(challenge.answer(`${CHALLENGE_PREFIX}${"a".repeat(128)}`)).toBe(`${"a".repeat(128)}.print`);
    for (const path of [
      "",
      "/",
      CHALLENGE_PREFIX,
      `${CHALLENGE_PREFIX}a/b`,
      `${CHALLENGE_PREFIX}../x`,
      `${CHALLENGE_PREFIX}a?b`,
      `${CHALLENGE_PREFIX}a.b`,
      `${CHALLENGE_PREFIX}a%20`,
      `${CHALLENGE_PREFIX}a\n`,
      `${CHALLENGE_PREFIX}<script>`,
      `${CHALLENGE_PREFIX}${"a".repeat(129)}`,
      `/x${CHALLENGE_PREFIX}abc`,
    ]) {
      expect(challenge.answer(path), path).toBeUndefined();
    }
  });
});

test("a chain is split at its armour", async () => {
  const { chain } = await ca.issueFor(["a"]);
  expect(splitChain(`text\n${chain}\r\nmore ${ca.rootPem}`).length).toBe(2);
});
