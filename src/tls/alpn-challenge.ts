/** TLS-ALPN-01 (RFC 8737): a certificate for nobody but the CA, shown to who asks for the protocol "acme-tls/1" and for nothing else. */
import { createHash, randomBytes, webcrypto } from "node:crypto";
import { createServer, type Server } from "node:tls";
import type { Solver } from "./validate.ts";

export const ACME_PROTOCOL = "acme-tls/1";

/** id-pe-acmeIdentifier. */
const ACME_IDENTIFIER = "1.3.6.1.5.5.7.1.31";
const DAY_MS = 86_400_000;
const HANDSHAKE_MS = 10_000;

export interface AlpnChallenge {
  /** Whether anything is pending: only then a ClientHello is worth a look. */
  readonly pending: boolean;
  /** The TLS server, which never listens, for a ClientHello with this name and these protocols; undefined for an ordinary one. */
  answerFor(serverName: string, protocols: readonly string[]): Server | undefined;
  /** Shows the answer from now on; the result ends that. */
  expect(name: string, keyAuthorization: string): Promise<() => void>;
}

export function createAlpnChallenge(wall: () => number): AlpnChallenge {
  const servers = new Map<string, Server>();
  return {
    get pending() {
      return servers.size > 0;
    },
    answerFor(serverName, protocols) {
      if (protocols.length !== 1 || protocols[0] !== ACME_PROTOCOL) return undefined;
      return servers.get(serverName);
    },
    async expect(name, keyAuthorization) {
      const { key, chain } = await challengeCertificate(name, keyAuthorization, wall());
      const server = createServer(
        {
          key,
          cert: chain,
          minVersion: "TLSv1.2",
          ALPNProtocols: [ACME_PROTOCOL],
          handshakeTimeout: HANDSHAKE_MS,
        },
        (socket) => {
          // The CA has seen what it came for, and goes.
          socket.on("error", () => {});
          socket.end();
        },
      );
      server.on("tlsClientError", (_error, socket) => void socket.destroy());
      servers.set(name, server);
      return () => {
        // A later order for the name may have put its own there.
        if (servers.get(name) === server) servers.delete(name);
      };
    },
  };
}

export function alpnSolver(challenge: AlpnChallenge): Solver {
  return {
    type: "tls-alpn-01",
    fits: ({ type }, wildcard) => type === "dns" && !wildcard,
    async present({ name, keyAuthorization }) {
      const takeAway = await challenge.expect(name, keyAuthorization);
      return async () => takeAway();
    },
  };
}

/**
 * RFC 8737 §3: self-signed, the name alone, and the digest in a critical extension. With digitalSignature, which BoringSSL
 * wants of every key that signs a handshake.
 */
export async function challengeCertificate(
  name: string,
  keyAuthorization: string,
  wall: number,
): Promise<{ key: string; chain: string }> {
  // Loaded with the first challenge: nobody else needs it.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const digest = createHash("sha256").update(keyAuthorization).digest();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      // A leading zero nibble keeps the serial number positive.
      serialNumber: `0${randomBytes(16).toString("hex").slice(1)}`,
      name: "CN=Skerry challenge",
      notBefore: new Date(wall - DAY_MS),
      notAfter: new Date(wall + 7 * DAY_MS),
      signingAlgorithm: algorithm,
      keys: keys as CryptoKeyPair,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.SubjectAlternativeNameExtension([{ type: "dns", value: name }]),
        // An OCTET STRING of 32 bytes.
        new x509.Extension(ACME_IDENTIFIER, true, Buffer.concat([Uint8Array.of(4, 32), digest])),
      ],
    },
    webcrypto as never,
  );
  const pkcs8 = await webcrypto.subtle.exportKey("pkcs8", keys.privateKey);
  const body = Buffer.from(pkcs8)
    .toString("base64")
    .replace(/.{64}(?=.)/g, "$&\n");
  return {
    key: `-----BEGIN PRIVATE KEY-----\n${body}\n-----END PRIVATE KEY-----\n`,
    chain: certificate.toString("pem"),
  };
}
