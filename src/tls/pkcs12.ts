/**
 * PKCS#12 (RFC 7292): a key and its chain in one file with a password, as Windows, Java and appliances take it. By hand on
 * node-forge's ASN.1, as forge itself knows RSA keys only. Key: PBES2 with AES-256-CBC; integrity: HMAC-SHA-256.
 */
import { createCipheriv, createPrivateKey, pbkdf2Sync, randomBytes, X509Certificate } from "node:crypto";
import forge from "node-forge";
import type { KeyPair } from "./bundle.ts";
import { splitChain } from "./certificate.ts";

const { asn1 } = forge;
const { Class, Type } = asn1;
type Asn1 = forge.asn1.Asn1;

const ITERATIONS = 100_000;
/** forge has OIDs by name, but not all of these. */
const OID = {
  data: "1.2.840.113549.1.7.1",
  keyBag: "1.2.840.113549.1.12.10.1.2",
  certBag: "1.2.840.113549.1.12.10.1.3",
  x509: "1.2.840.113549.1.9.22.1",
  friendlyName: "1.2.840.113549.1.9.20",
  localKeyId: "1.2.840.113549.1.9.21",
  pbes2: "1.2.840.113549.1.5.13",
  pbkdf2: "1.2.840.113549.1.5.12",
  hmacSha256: "1.2.840.113549.2.9",
  aes256: "2.16.840.1.101.3.4.1.42",
  sha256: "2.16.840.1.101.3.4.2.1",
};

const binary = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const make = (type: forge.asn1.Type, value: string | Asn1[]): Asn1 =>
  asn1.create(Class.UNIVERSAL, type, Array.isArray(value), value as never);
const sequence = (...items: Asn1[]): Asn1 => make(Type.SEQUENCE, items);
const octets = (bytes: Uint8Array): Asn1 => make(Type.OCTETSTRING, binary(bytes));
const oid = (value: string): Asn1 => make(Type.OID, asn1.oidToDer(value).getBytes());
const integer = (value: number): Asn1 => make(Type.INTEGER, asn1.integerToDer(value).getBytes());
const nothing = (): Asn1 => make(Type.NULL, "");
const tagged = (item: Asn1): Asn1 => asn1.create(Class.CONTEXT_SPECIFIC, 0 as forge.asn1.Type, true, [item]);
const der = (item: Asn1): Buffer => Buffer.from(asn1.toDer(item).getBytes(), "latin1");

/** `name` is what key stores show it as. */
export function toPkcs12({ key, chain }: KeyPair, password: string, name: string): Buffer {
  const certificates = splitChain(chain).map((pem) => new X509Certificate(pem));
  const id = Buffer.from(certificates[0]?.fingerprint256.replaceAll(":", "") ?? "", "hex");
  const leafAttributes = make(Type.SET, [
    sequence(oid(OID.friendlyName), make(Type.SET, [make(Type.BMPSTRING, name)])),
    sequence(oid(OID.localKeyId), make(Type.SET, [octets(id)])),
  ]);
  const certBags = certificates.map((certificate, index) =>
    sequence(
      oid(OID.certBag),
      tagged(sequence(oid(OID.x509), tagged(octets(certificate.raw)))),
      ...(index === 0 ? [leafAttributes] : []),
    ),
  );
  const keyBag = sequence(oid(OID.keyBag), tagged(shroud(key, password)), leafAttributes);
  const content = (bags: Asn1[]): Asn1 => sequence(oid(OID.data), tagged(octets(der(sequence(...bags)))));
  const safe = der(sequence(content(certBags), content([keyBag])));
  return der(sequence(integer(3), sequence(oid(OID.data), tagged(octets(safe))), macOf(safe, password)));
}

/** RFC 5208 §6 EncryptedPrivateKeyInfo by RFC 8018 §6.2. */
function shroud(key: string, password: string): Asn1 {
  const plain = createPrivateKey(key).export({ type: "pkcs8", format: "der" });
  const salt = randomBytes(16);
  const iv = randomBytes(16);
  const secret = pbkdf2Sync(Buffer.from(password, "utf8"), salt, ITERATIONS, 32, "sha256");
  const cipher = createCipheriv("aes-256-cbc", secret, iv);
  const sealed = Buffer.concat([cipher.update(plain), cipher.final()]);
  const derivation = sequence(
    oid(OID.pbkdf2),
    sequence(octets(salt), integer(ITERATIONS), sequence(oid(OID.hmacSha256), nothing())),
  );
  const scheme = sequence(oid(OID.aes256), octets(iv));
  return sequence(sequence(oid(OID.pbes2), sequence(derivation, scheme)), octets(sealed));
}

/** RFC 7292 appendix B: a key derived in PKCS#12's own way, which forge knows. */
function macOf(safe: Uint8Array, password: string): Asn1 {
  const salt = randomBytes(16);
  const { pbe } = forge as unknown as {
    pbe: {
      generatePkcs12Key(
        password: string,
        salt: forge.util.ByteStringBuffer,
        id: number,
        iterations: number,
        length: number,
        digest: forge.md.MessageDigest,
      ): forge.util.ByteStringBuffer;
    };
  };
  const rounds = 2048;
  const key = pbe.generatePkcs12Key(
    password,
    forge.util.createBuffer(binary(salt)),
    3,
    rounds,
    32,
    forge.md.sha256.create(),
  );
  const hmac = forge.hmac.create();
  hmac.start("sha256", key);
  hmac.update(binary(safe));
  const digest = Buffer.from(hmac.digest().getBytes(), "latin1");
  return sequence(
    sequence(sequence(oid(OID.sha256), nothing()), octets(digest)),
    octets(salt),
    integer(rounds),
  );
}
