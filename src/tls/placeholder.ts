/** A self-signed certificate for hosts that wait for their first real one: the handshake works, and nobody is told to trust it. */
import { generateKeyPair, randomBytes } from "node:crypto";
import { promisify } from "node:util";
import forge from "node-forge";
import type { Clock } from "../clock.ts";
import type { KeyPair } from "./bundle.ts";

const DAY_MS = 86_400_000;
const NAME = [{ name: "commonName", value: "Skerry placeholder" }];

/** Makes one: an RSA key off the event loop, then a signature of some milliseconds on it. */
export async function createPlaceholder(clock: Clock): Promise<KeyPair> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)("rsa", { modulusLength: 2048 });
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = forge.pki.publicKeyFromPem(
    publicKey.export({ type: "spki", format: "pem" }) as string,
  );
  // A leading zero nibble keeps the serial number positive.
  certificate.serialNumber = `0${randomBytes(16).toString("hex").slice(1)}`;
  certificate.validity.notBefore = new Date(clock.wall() - DAY_MS);
  certificate.validity.notAfter = new Date(clock.wall() + 3650 * DAY_MS);
  certificate.setSubject(NAME);
  certificate.setIssuer(NAME);
  certificate.setExtensions([
    { name: "basicConstraints", cA: false },
    { name: "keyUsage", digitalSignature: true, keyEncipherment: true },
    { name: "extKeyUsage", serverAuth: true },
    // RFC 2606 §2: a name that is never anybody's.
    { name: "subjectAltName", altNames: [{ type: 2, value: "placeholder.invalid" }] },
  ]);
  // PKCS#1, which forge reads without another conversion.
  const signer = forge.pki.privateKeyFromPem(privateKey.export({ type: "pkcs1", format: "pem" }) as string);
  certificate.sign(signer, forge.md.sha256.create());
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
    chain: forge.pki.certificateToPem(certificate),
  };
}
