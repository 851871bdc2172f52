import { createHash, X509Certificate } from "node:crypto";
import { connect } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { createConnections } from "../../src/edge/connections.ts";
import { openSecureListener, type SecureListener } from "../../src/edge/secure-listener.ts";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import { challengeCertificate, createAlpnChallenge } from "../../src/tls/alpn-challenge.ts";
import { createPlaceholder } from "../../src/tls/placeholder.ts";
import { protocolOptions } from "../../src/tls/profile.ts";
import { createResolver } from "../../src/tls/resolver.ts";

const AUTHORIZATION = "token.thumbprint";

test("a challenge's certificate is for the name alone, with the digest in a critical extension", async () => {
  const { chain, key } = await challengeCertificate("a.example.test", AUTHORIZATION, systemClock.wall());
  const leaf = new X509Certificate(chain);
  expect(leaf.subjectAltName).toBe("DNS:a.example.test");
  const digest = createHash("sha256").update(AUTHORIZATION).digest("hex");
  // RFC 8737 §3: id-pe-acmeIdentifier, TRUE, an OCTET STRING in an OCTET STRING.
  expect(leaf.raw.toString("hex")).toContain(`06082b0601050507011f0101ff04220420${digest}`);
  // keyUsage, critical: digitalSignature.
  expect(leaf.raw.toString("hex")).toContain("0603551d0f0101ff040403020780");
  expect(key).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
});

describe("the secure listener with TLS-ALPN-01", () => {
  const challenge = createAlpnChallenge(() => systemClock.wall());
  let listener: SecureListener;

  beforeAll(async () => {
    const resolver = createResolver();
    const placeholder = await createPlaceholder(systemClock);
    resolver.setPlaceholder(placeholder);
    resolver.configure(["a.example.test", "b.example.test"]);
    listener = await openSecureListener({
      address: { host: "127.0.0.1", port: 0 },
      limits: () => DEFAULT_LIMITS,
      clock: systemClock,
      connections: createConnections(() => 100),
      onExchange: () => {},
      onOffence: () => {},
      protocol: protocolOptions("intermediate"),
      handshakeTimeoutMs: 5000,
      secureContext: (name) => resolver.secureContext(name),
      placeholder,
      clientAuth: undefined,
      alpnChallenge: challenge,
      authorize: () => true,
      onHandshakeError: () => {},
    });
  });
  afterAll(() => listener?.stop());

  const greet = (servername: string, ALPNProtocols: string[]): Promise<string> =>
    new Promise((resolve) => {
      const { port } = listener.address;
      const socket = connect({
        host: "127.0.0.1",
        port,
        servername,
        ALPNProtocols,
        rejectUnauthorized: false,
      });
      socket.once("error", () => resolve("refused"));
      socket.once("secureConnect", () => {
        resolve(`${socket.alpnProtocol} ${socket.getPeerX509Certificate()?.subjectAltName}`);
        socket.destroy();
      });
    });
  const ordinary = "DNS:placeholder.invalid";

  test("shows the answer to who asks for that protocol alone, and visitors what they came for", async () => {
    expect(await greet("a.example.test", ["acme-tls/1"])).toBe("refused");
    const takeAway = await challenge.expect("a.example.test", AUTHORIZATION);
    expect(await greet("a.example.test", ["acme-tls/1"])).toBe("acme-tls/1 DNS:a.example.test");
    expect(await greet("A.Example.TEST", ["acme-tls/1"])).toBe("acme-tls/1 DNS:a.example.test");
    expect(await greet("a.example.test", ["acme-tls/1", "h2"])).toBe(`h2 ${ordinary}`);
    expect(await greet("a.example.test", ["h2", "http/1.1"])).toBe(`h2 ${ordinary}`);
    expect(await greet("b.example.test", ["acme-tls/1"])).toBe("refused");
    takeAway();
    expect(await greet("a.example.test", ["acme-tls/1"])).toBe("refused");
    expect(await greet("a.example.test", ["http/1.1"])).toBe(`http/1.1 ${ordinary}`);
  });

  test("an earlier order's end does not end a later one's answer", async () => {
    const first = await challenge.expect("a.example.test", "first");
    const second = await challenge.expect("a.example.test", "second");
    first();
    expect(await greet("a.example.test", ["acme-tls/1"])).toBe("acme-tls/1 DNS:a.example.test");
    second();
    expect(challenge.pending).toBe(false);
  });
});
