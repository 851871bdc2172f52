/** A certificate authority of one's own, for `skerry dev` and for tests: its root is trusted by those who choose to. */
import "reflect-metadata";
import { X509Certificate as NodeCertificate, randomBytes } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import type { KeyPair } from "./bundle.ts";
import type { Issuer } from "./issuer.ts";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const DAY_MS = 86_400_000;
const ROOT_KEY = "local-ca/root";
const ROOT_NAME = "CN=Skerry local CA";

export interface LocalCa {
  /** The root's certificate: what browsers and clients must trust. */
  readonly rootPem: string;
  /** A certificate for names and addresses. @default 90 days */
  issueFor(names: readonly string[], lifetimeMs?: number): Promise<KeyPair>;
}

/** Opens the CA kept in `storage`, or makes one. Its root lives for ten years. */
export async function openLocalCa(storage: Storage, clock: Clock): Promise<LocalCa> {
  const load = async (): Promise<KeyPair | undefined> => {
    const bytes = await storage.load(ROOT_KEY);
    return bytes && parseRoot(bytes);
  };
  const root =
    (await load()) ??
    (await storage.withLock("local-ca", async () => {
      const known = await load();
      if (known) return known;
      const made = await createRoot(clock);
      await storage.store(ROOT_KEY, new TextEncoder().encode(JSON.stringify(made)));
      return made;
    }));
  return localCa(root, clock);
}

/** A CA that lives in memory only. */
export async function createLocalCa(clock: Clock): Promise<LocalCa> {
  return localCa(await createRoot(clock), clock);
}

/** Writes the root's certificate to a file, for those who want to trust it; it holds no secret. Gives back the path. */
export async function writeRoot(ca: LocalCa, path: string): Promise<string> {
  await writeFile(path, ca.rootPem, { mode: 0o644 });
  return path;
}

/** The local CA as an issuer, in place of one that speaks ACME. */
export function createLocalIssuer(ca: LocalCa, lifetimeMs?: number): Issuer {
  return { name: "local", issue: async (host) => ({ ...(await ca.issueFor([host], lifetimeMs)) }) };
}

function parseRoot(bytes: Uint8Array): KeyPair {
  try {
    const { key, chain } = JSON.parse(new TextDecoder().decode(bytes)) as KeyPair;
    new NodeCertificate(chain);
    return { key, chain };
  } catch {
    throw new EdgeError(
      "STORAGE_CORRUPT",
      `${ROOT_KEY} cannot be read: move it away to make a new local CA`,
      {
        source: "storage",
      },
    );
  }
}

async function createRoot(clock: Clock): Promise<KeyPair> {
  const keys = await newKeys();
  const root = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: ROOT_NAME,
    notBefore: new Date(clock.wall() - DAY_MS),
    notAfter: new Date(clock.wall() + 3650 * DAY_MS),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { key: await exportKey(keys.privateKey), chain: `${root.toString("pem")}\n` };
}

async function localCa(root: KeyPair, clock: Clock): Promise<LocalCa> {
  const certificate = new NodeCertificate(root.chain);
  const publicKey = await importSpki(certificate);
  const signingKey = await importPkcs8(root.key);
  return {
    rootPem: root.chain,
    async issueFor(names, lifetimeMs = 90 * DAY_MS) {
      const keys = await newKeys();
      const leaf = await X509CertificateGenerator.create({
        serialNumber: serial(),
        subject: "",
        issuer: ROOT_NAME,
        // A minute ago, for clients whose clocks are late; never half of a short life, or it would be due at once.
        notBefore: new Date(clock.wall() - Math.min(60_000, lifetimeMs / 10)),
        notAfter: new Date(clock.wall() + lifetimeMs),
        publicKey: keys.publicKey,
        signingKey,
        signingAlgorithm: ALGORITHM,
        extensions: [
          new SubjectAlternativeNameExtension(
            names.map((value) => ({ type: isIP(value) ? ("ip" as const) : ("dns" as const), value })),
            true,
          ),
          new BasicConstraintsExtension(false, undefined, true),
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
          await AuthorityKeyIdentifierExtension.create(publicKey),
          await SubjectKeyIdentifierExtension.create(keys.publicKey),
        ],
      });
      return { key: await exportKey(keys.privateKey), chain: `${leaf.toString("pem")}\n` };
    },
  };
}

/** Positive and 126 bits long, as RFC 5280 §4.1.2.2 wants it. */
function serial(): string {
  const bytes = randomBytes(16);
  bytes[0] = (bytes[0]! & 0x3f) | 0x40;
  return bytes.toString("hex");
}

async function newKeys(): Promise<CryptoKeyPair> {
  return (await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"])) as CryptoKeyPair;
}

async function exportKey(key: CryptoKey): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", key)).toString("base64");
  return `-----BEGIN PRIVATE KEY-----\n${der.replace(/.{64}(?=.)/g, "$&\n")}\n-----END PRIVATE KEY-----\n`;
}

function importPkcs8(pem: string): Promise<CryptoKey> {
  const der = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64");
  return crypto.subtle.importKey("pkcs8", der, ALGORITHM, false, ["sign"]);
}

function importSpki(certificate: NodeCertificate): Promise<CryptoKey> {
  const der = certificate.publicKey.export({ type: "spki", format: "der" });
  return crypto.subtle.importKey("spki", new Uint8Array(der), ALGORITHM, true, ["verify"]);
}
