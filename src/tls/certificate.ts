/** Facts of a PEM certificate, and when it ought to be renewed. */
import { X509Certificate } from "node:crypto";
import type { Random } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { serialOf } from "../runtime.ts";

/** In milliseconds of wall time. */
export interface Validity {
  readonly notBefore: number;
  readonly notAfter: number;
}

export interface CertificateFacts extends Validity {
  /** DNS names and addresses of the subject's alternative names, lower case. */
  readonly names: readonly string[];
  /** Hexadecimal, in whole bytes. */
  readonly serial: string;
  readonly issuerName: string;
  /** The parsed leaf. */
  readonly leaf: X509Certificate;
  /** The rest of the chain, in the order given. */
  readonly chain: readonly X509Certificate[];
  covers(host: string): boolean;
}

const PEM_BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const DAY_MS = 86_400_000;

/** The certificates of a PEM text, each with its own armour. */
export function splitChain(pem: string): string[] {
  return pem.match(PEM_BLOCK) ?? [];
}

/** Reads a chain, leaf first. Throws CERTIFICATE_INVALID, naming `what`. */
export function certificateFacts(pem: string, what: string): CertificateFacts {
  const [leaf, ...chain] = parseChain(pem, what);
  if (!leaf) throw invalid(what, "holds no PEM certificate");
  const notBefore = Date.parse(leaf.validFrom);
  const notAfter = Date.parse(leaf.validTo);
  if (!(notBefore < notAfter)) throw invalid(what, "has no readable dates");
  return {
    names: alternativeNames(leaf),
    serial: serialOf(leaf),
    issuerName: leaf.issuer.replaceAll("\n", ", "),
    notBefore,
    notAfter,
    leaf,
    chain,
    // A wildcard is covered by itself alone; the runtimes differ in what they say of it.
    covers: (host) =>
      host.startsWith("*.")
        ? alternativeNames(leaf).includes(host.toLowerCase())
        : leaf.checkHost(host, { subject: "never" }) !== undefined,
  };
}

/** Throws CERTIFICATE_INVALID unless each certificate is signed by the one after it. */
export function checkChainOrder(facts: CertificateFacts, what: string): void {
  let subject = facts.leaf;
  for (const issuer of facts.chain) {
    if (!subject.checkIssued(issuer) || !subject.verify(issuer.publicKey)) {
      throw invalid(what, "has a chain out of order: each certificate must be signed by the next one");
    }
    subject = issuer;
  }
}

/** Where half of what is left must do: so short that a third would leave no time for trouble. */
const SHORT_LIFETIME_MS = 10 * DAY_MS;

/** The moment from which a certificate ought to be renewed: a third of its life left, or half where it lives under 10 days. */
export function renewalStart({ notBefore, notAfter }: Validity): number {
  const lifetime = notAfter - notBefore;
  return notAfter - lifetime / (lifetime < SHORT_LIFETIME_MS ? 2 : 3);
}

/** {@link renewalStart} moved by up to ±5 % of the lifetime, so that certificates obtained together part ways. */
export function renewalTime(validity: Validity, random: Random): number {
  const spread = (validity.notAfter - validity.notBefore) / 20;
  return renewalStart(validity) + spread * (2 * random() - 1);
}

function parseChain(pem: string, what: string): X509Certificate[] {
  try {
    return splitChain(pem).map((block) => new X509Certificate(block));
  } catch (cause) {
    throw invalid(what, "holds a certificate that cannot be parsed", cause);
  }
}

function alternativeNames(leaf: X509Certificate): string[] {
  const names: string[] = [];
  for (const part of (leaf.subjectAltName ?? "").split(", ")) {
    const colon = part.indexOf(":");
    const kind = part.slice(0, colon);
    if (kind === "DNS" || kind === "IP Address") names.push(part.slice(colon + 1).toLowerCase());
  }
  return names;
}

/** An EdgeError that says which certificate is wrong and how. */
export function invalid(what: string, how: string, cause?: unknown): EdgeError {
  return new EdgeError("CERTIFICATE_INVALID", `${what} ${how}`, { source: "operator", cause });
}
