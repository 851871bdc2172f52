import { execFileSync } from "node:child_process";
import acme from "acme-client";
import { expect, test } from "vitest";
import type { KeyType } from "../../src/config/config.ts";
import { newKey } from "../../src/tls/certificate-key.ts";
import { certificateRequest } from "../../src/tls/certificate-request.ts";

test.each<[KeyType, string]>([
  ["p256", "ecdsa-with-SHA256"],
  ["p384", "ecdsa-with-SHA384"],
  ["rsa2048", "sha256WithRSAEncryption"],
])("a request of a %s key is one that OpenSSL verifies", async (type, algorithm) => {
  const pem = certificateRequest("app.example.com", await newKey(type)).toString();
  const text = execFileSync("openssl", ["req", "-verify", "-noout", "-text"], {
    input: pem,
    encoding: "utf8",
  });
  expect(text).toContain(`Signature Algorithm: ${algorithm}`);
  expect(text).toContain("DNS:app.example.com");
  expect(text).toContain("Digital Signature, Key Encipherment");
  expect(text).toMatch(/Subject: *\n/);
});

test("a request asks for its name alone, a wildcard too", async () => {
  const key = await newKey();
  for (const name of ["app.example.com", "*.example.com", `${"a".repeat(60)}.example.com`]) {
    const read = acme.crypto.readCsrDomains(certificateRequest(name, key));
    expect(read.altNames).toEqual([name]);
  }
});
