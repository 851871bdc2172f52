/**
 * Certificate requests (PKCS#10, RFC 2986) for one name. Made of node-forge's ASN.1 and a signature of the runtime: a
 * twentieth of the time that a library takes which reads a schema for it, and an order has one.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign } from "node:crypto";
import forge from "node-forge";

const { asn1 } = forge;
const { Type, Class } = asn1;
type Asn1 = forge.asn1.Asn1;

/** RFC 2985 §5.4.2, RFC 5280 §4.2.1.3 and §4.2.1.6; RFC 5758 §3.2, RFC 8017 appendix C. */
const EXTENSION_REQUEST = "1.2.840.113549.1.9.14";
const KEY_USAGE = "2.5.29.15";
const ALTERNATIVE_NAMES = "2.5.29.17";
const ECDSA_SHA256 = "1.2.840.10045.4.3.2";
const ECDSA_SHA384 = "1.2.840.10045.4.3.3";
const RSA_SHA256 = "1.2.840.113549.1.1.11";
/** GeneralName's dNSName. */
const DNS_NAME = 2 as forge.asn1.Type;

const make = (type: forge.asn1.Type, value: string | Asn1[]): Asn1 =>
  asn1.create(Class.UNIVERSAL, type, typeof value !== "string", value as Asn1[]);
const sequence = (...items: Asn1[]): Asn1 => make(Type.SEQUENCE, items);
const oid = (id: string): Asn1 => make(Type.OID, asn1.oidToDer(id).getBytes());
const octets = (inner: Asn1): Asn1 => make(Type.OCTETSTRING, asn1.toDer(inner).getBytes());
/** Without unused bits before the value, unless said otherwise. */
const bits = (value: string, unused = 0): Asn1 => make(Type.BITSTRING, String.fromCharCode(unused) + value);

/** A request for `name` in PEM, signed by `key`, a PKCS#8 PEM. */
export function certificateRequest(name: string, key: string): Buffer {
  const privateKey = createPrivateKey(key);
  const spki = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  const wanted = sequence(
    // digitalSignature and keyEncipherment: the first and the third bit of eight, five of which are not used.
    sequence(oid(KEY_USAGE), octets(bits("\xa0", 5))),
    sequence(
      oid(ALTERNATIVE_NAMES),
      octets(sequence(asn1.create(Class.CONTEXT_SPECIFIC, DNS_NAME, false, name))),
    ),
  );
  const attribute = sequence(oid(EXTENSION_REQUEST), make(Type.SET, [wanted]));
  const info = sequence(
    make(Type.INTEGER, "\0"),
    // No subject: the name is among the alternative names.
    sequence(),
    asn1.fromDer(spki.toString("latin1")),
    asn1.create(Class.CONTEXT_SPECIFIC, 0 as forge.asn1.Type, true, [attribute]),
  );
  const { hash, algorithm } = signatureOf(privateKey);
  const signature = sign(hash, Buffer.from(asn1.toDer(info).getBytes(), "latin1"), privateKey);
  const request = asn1.toDer(sequence(info, algorithm, bits(signature.toString("latin1")))).getBytes();
  const text = Buffer.from(request, "latin1")
    .toString("base64")
    .replace(/.{64}(?=.)/g, "$&\n");
  return Buffer.from(`-----BEGIN CERTIFICATE REQUEST-----\n${text}\n-----END CERTIFICATE REQUEST-----\n`);
}

function signatureOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): {
  hash: string;
  algorithm: Asn1;
} {
  if (asymmetricKeyType === "rsa") {
    return { hash: "sha256", algorithm: sequence(oid(RSA_SHA256), make(Type.NULL, "")) };
  }
  return asymmetricKeyDetails?.namedCurve === "secp384r1"
    ? { hash: "sha384", algorithm: sequence(oid(ECDSA_SHA384)) }
    : { hash: "sha256", algorithm: sequence(oid(ECDSA_SHA256)) };
}
