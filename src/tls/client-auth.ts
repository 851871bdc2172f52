/** What a client's certificate says, and whether it may be believed (mutual TLS). */
import { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { LRUCache } from "lru-cache";
import { runtimeName, serialOf } from "../runtime.ts";

/** A client's certificate that was verified; the same as `ClientCertificate` of the exchange. */
export interface VerifiedCertificate {
  readonly subject: string;
  readonly issuer: string;
  readonly names: readonly string[];
  readonly serial: string;
  readonly fingerprint256: string;
  /** Wall time in milliseconds. */
  readonly notAfter: number;
}

export interface ClientIdentity {
  readonly certificate: VerifiedCertificate | undefined;
  /** Why the certificate that was shown is not believed. */
  readonly refused: string | undefined;
}

export type Identify = (socket: TLSSocket) => ClientIdentity;

const NONE: ClientIdentity = { certificate: undefined, refused: undefined };
const MAX_KNOWN = 10_000;

/**
 * Makes the judge of one TLS server's clients. A judge must not be shared between servers that trust different authorities.
 *
 * Deno 2.9.6 says `authorized` of every resumed session, even where the certificate was refused when the session began, so
 * there a resumed session counts only where its certificate was verified in a full handshake before.
 */
export function createIdentify(wall: () => number): Identify {
  const verified = new LRUCache<string, true>({ max: MAX_KNOWN });
  return (socket) => {
    const raw = (socket.getPeerCertificate() as { raw?: Uint8Array } | undefined)?.raw;
    if (!raw) return NONE;
    const leaf = new X509Certificate(raw);
    const certificate = describe(leaf);
    if (!socket.authorized) {
      const { authorizationError } = socket as { authorizationError?: unknown };
      const why = authorizationError instanceof Error ? authorizationError.message : authorizationError;
      return {
        certificate: undefined,
        refused: `the client's certificate is refused: ${why ?? "not verified"}`,
      };
    }
    // A session may outlive the certificate that it began with.
    if (wall() > certificate.notAfter)
      return { certificate: undefined, refused: "the client's certificate has expired" };
    const { fingerprint256 } = certificate;
    if (!socket.isSessionReused()) verified.set(fingerprint256, true);
    else if (runtimeName === "deno" && !verified.get(fingerprint256))
      return { certificate: undefined, refused: "the client's certificate was never verified" };
    return { certificate, refused: undefined };
  };
}

function describe(leaf: X509Certificate): VerifiedCertificate {
  const oneLine = (name: string): string => name.replaceAll("\n", ", ");
  return {
    subject: oneLine(leaf.subject),
    issuer: oneLine(leaf.issuer),
    names: leaf.subjectAltName ? leaf.subjectAltName.split(", ") : [],
    serial: serialOf(leaf),
    fingerprint256: leaf.fingerprint256,
    notAfter: Date.parse(leaf.validTo),
  };
}
