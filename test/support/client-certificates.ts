/** Certificates that clients show of themselves. */
import "reflect-metadata";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;
const NOW = Date.now();

export interface ClientPair {
  readonly cert: string;
  readonly key: string;
}

export interface ClientCa {
  readonly rootPem: string;
  issue(subject: string, options?: { usage?: "client" | "server"; expired?: boolean }): Promise<ClientPair>;
}

const newKeys = async (): Promise<CryptoKeyPair> =>
  (await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as CryptoKeyPair;

async function keyPem(key: CryptoKey): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", key)).toString("base64");
  return `-----BEGIN PRIVATE KEY-----\n${der.replace(/.{64}(?=.)/g, "$&\n")}\n-----END PRIVATE KEY-----\n`;
}

let serial = 16;

export async function clientCa(name = "Staff CA"): Promise<ClientCa> {
  const rootKeys = await newKeys();
  const root = await X509CertificateGenerator.createSelfSigned({
    serialNumber: (++serial).toString(16),
    name: `CN=${name}`,
    notBefore: new Date(NOW - 10 * DAY_MS),
    notAfter: new Date(NOW + 10 * DAY_MS),
    keys: rootKeys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(true, 1, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  return {
    rootPem: `${root.toString("pem")}\n`,
    async issue(subject, { usage = "client", expired = false } = {}) {
      const keys = await newKeys();
      const leaf = await X509CertificateGenerator.create({
        serialNumber: (++serial).toString(16),
        subject,
        issuer: `CN=${name}`,
        notBefore: new Date(NOW - 5 * DAY_MS),
        notAfter: new Date(expired ? NOW - DAY_MS : NOW + DAY_MS),
        publicKey: keys.publicKey,
        signingKey: rootKeys.privateKey,
        signingAlgorithm: ALGORITHM,
        extensions: [
          new BasicConstraintsExtension(false, undefined, true),
          new ExtendedKeyUsageExtension([
            usage === "client" ? ExtendedKeyUsage.clientAuth : ExtendedKeyUsage.serverAuth,
          ]),
        ],
      });
      return { cert: `${leaf.toString("pem")}\n`, key: await keyPem(keys.privateKey) };
    },
  };
}
