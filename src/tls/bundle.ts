/** A certificate with its key as one value, so that no reader ever pairs a new key with an old chain. */
import { createHash, createPrivateKey, type KeyObject } from "node:crypto";
import { EdgeError } from "../errors.ts";
import { certificateFacts, checkChainOrder, invalid, type Validity } from "./certificate.ts";

/** What a handshake needs. */
export interface KeyPair {
  /** PKCS#8 PEM. */
  readonly key: string;
  /** PEM, leaf first. */
  readonly chain: string;
}

export interface Bundle extends KeyPair, Validity {
  readonly host: string;
  readonly names: readonly string[];
  /** The issuer's name ({@link Issuer.name}), or "file" for the operator's own. */
  readonly issuer: string;
  /** Only ever rises for one host. */
  readonly generation: number;
  /** RFC 9773 §4.1: names this certificate to its CA's renewal information. */
  readonly ariId?: string;
  /** The CA's profile that it was ordered with. */
  readonly profile?: string;
  /** Wall time in milliseconds. */
  readonly obtainedAt: number;
}

/** A bundle from a key pair that fits, with everything that its certificate says. Throws CERTIFICATE_INVALID, naming `what`. */
export function bundleOf(
  pair: KeyPair,
  facts: Pick<Bundle, "host" | "issuer" | "generation" | "obtainedAt" | "ariId" | "profile">,
  what: string,
): Bundle {
  const certificate = certificateFacts(pair.chain, what);
  if (!certificate.leaf.checkPrivateKey(privateKey(pair.key, what))) {
    throw invalid(what, "does not belong to its private key");
  }
  const { names, notBefore, notAfter } = certificate;
  return { ...facts, key: pair.key, chain: pair.chain, names, notBefore, notAfter };
}

/** Throws CERTIFICATE_INVALID where clients would refuse it: not for its host, or a chain out of order. */
export function checkServable(bundle: Bundle, what: string): void {
  const certificate = certificateFacts(bundle.chain, what);
  if (!certificate.covers(bundle.host)) {
    throw invalid(what, `is for ${bundle.names.join(", ") || "no name"}, not for ${bundle.host}`);
  }
  checkChainOrder(certificate, what);
}

const VERSION = 1;

export function encodeBundle(bundle: Bundle): Uint8Array {
  const { notBefore, notAfter, obtainedAt, ...rest } = bundle;
  const dates = { notBefore: iso(notBefore), notAfter: iso(notAfter), obtainedAt: iso(obtainedAt) };
  // Vouched for only after a look: what does not fit together is found when it is read.
  const digest = isSound(bundle) ? { digest: digestOf(bundle) } : {};
  const value = { version: VERSION, ...rest, ...dates, ...digest };
  return new TextEncoder().encode(`${JSON.stringify(value, null, 1)}\n`);
}

/**
 * Over everything that was checked when the certificate came, so that reading it back need not check it again: ten thousand
 * times two signatures would hold up a start for seconds.
 */
function digestOf(bundle: Bundle): string {
  const { key, chain, host, names, issuer, generation, notBefore, notAfter, obtainedAt } = bundle;
  const dates = [notBefore, notAfter, obtainedAt].map(iso);
  const facts = [key, chain, host, names, issuer, generation, dates, bundle.ariId, bundle.profile];
  return createHash("sha256").update(JSON.stringify(facts)).digest("base64url");
}

/**
 * Reads and checks a stored bundle: the key fits the leaf, the leaf covers the host, the chain is in order.
 * Throws STORAGE_CORRUPT or CERTIFICATE_INVALID, naming `what`.
 */
export function decodeBundle(bytes: Uint8Array, host: string, what: string): Bundle {
  const value = parse(bytes, what);
  const { version, key, chain, issuer, generation, obtainedAt, ariId, profile, host: written } = value;
  if (version !== VERSION) throw corrupt(what, `has the unknown version ${String(version)}`);
  if (typeof key !== "string" || typeof chain !== "string" || typeof issuer !== "string") {
    throw corrupt(what, "lacks its key, chain or issuer");
  }
  if (typeof generation !== "number" || !Number.isSafeInteger(generation) || generation < 0) {
    throw corrupt(what, "has no generation");
  }
  if (written !== host) throw corrupt(what, `is for ${String(written)}, not for ${host}`);
  const at = typeof obtainedAt === "string" ? Date.parse(obtainedAt) : Number.NaN;
  const facts = {
    host,
    issuer,
    generation,
    obtainedAt: Number.isNaN(at) ? 0 : at,
    ...(typeof ariId === "string" && { ariId }),
    ...(typeof profile === "string" && { profile }),
  };
  const known = vouchedFor(value, { ...facts, key, chain });
  if (known) return known;
  const bundle = bundleOf({ key, chain }, facts, what);
  checkServable(bundle, what);
  return bundle;
}

function isSound(bundle: Bundle): boolean {
  try {
    checkServable(bundleOf(bundle, bundle, bundle.host), bundle.host);
    return true;
  } catch {
    return false;
  }
}

/** The bundle as it was stored, where its digest says that nothing of it has changed since. */
function vouchedFor(
  { digest, names, notBefore, notAfter }: Record<string, unknown>,
  facts: Omit<Bundle, "names" | "notBefore" | "notAfter">,
): Bundle | undefined {
  if (typeof digest !== "string" || !Array.isArray(names)) return undefined;
  const dates = { notBefore: Date.parse(String(notBefore)), notAfter: Date.parse(String(notAfter)) };
  if (!(dates.notBefore < dates.notAfter)) return undefined;
  const bundle = { ...facts, names: names as string[], ...dates };
  return digestOf(bundle) === digest ? bundle : undefined;
}

function parse(bytes: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    // The parser's message may quote the key, so it is not kept as a cause.
    throw corrupt(what, "is not JSON");
  }
  if (typeof value !== "object" || value === null) throw corrupt(what, "is not a JSON object");
  return value as Record<string, unknown>;
}

function privateKey(pem: string, what: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw invalid(what, "has a private key that cannot be parsed", cause);
  }
}

const iso = (ms: number): string => new Date(ms).toISOString();

function corrupt(what: string, how: string): EdgeError {
  return new EdgeError("STORAGE_CORRUPT", `${what} ${how}`, { source: "storage" });
}
