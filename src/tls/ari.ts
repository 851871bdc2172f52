/** Renewal information (RFC 9773): how a certificate is named to its CA. */
import "reflect-metadata";
import { AuthorityKeyIdentifierExtension, X509Certificate } from "@peculiar/x509";
import { splitChain } from "./certificate.ts";

/** RFC 9773 §4.1: base64url of the issuer's key identifier, a dot, and that of the serial number's DER bytes. */
export function ariId(chain: string): string | undefined {
  const [leaf] = splitChain(chain);
  if (!leaf) return undefined;
  const certificate = new X509Certificate(leaf);
  const keyId = certificate.getExtension(AuthorityKeyIdentifierExtension)?.keyId;
  if (keyId === undefined) return undefined;
  let serial = certificate.serialNumber;
  if (serial.length % 2) serial = `0${serial}`;
  // DER keeps an integer positive with a leading zero byte.
  if (Number.parseInt(serial.slice(0, 2), 16) >= 0x80) serial = `00${serial}`;
  return `${base64url(keyId)}.${base64url(serial)}`;
}

const base64url = (hex: string): string => Buffer.from(hex, "hex").toString("base64url");
