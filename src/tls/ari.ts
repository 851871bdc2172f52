/** Renewal information (RFC 9773): how a certificate is named to its CA, and when the CA wants it renewed. */
import "reflect-metadata";
import { AuthorityKeyIdentifierExtension, X509Certificate } from "@peculiar/x509";
import type { Random } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { splitChain, type Validity } from "./certificate.ts";

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

/** What a CA says of one certificate. Wall times in milliseconds. */
export interface RenewalInfo {
  readonly start: number;
  readonly end: number;
  /** Why, where it is out of the ordinary: a page for people. */
  readonly explanationUrl: string | undefined;
  /** When to ask again, within {@link clampCheck}'s bounds. */
  readonly checkAfterMs: number;
}

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** RFC 9773 §4.3.2 leaves it to us where the CA says nothing. */
const DEFAULT_CHECK_MS = 6 * 3_600_000;
const MAX_URL = 500;

/** RFC 9773 §4.3: neither a storm nor a blackout because of what a CA writes. */
export function clampCheck(retryAfterMs: number | undefined): number {
  return Math.min(Math.max(retryAfterMs ?? DEFAULT_CHECK_MS, MINUTE_MS), DAY_MS);
}

/** Reads a CA's answer. Throws ACME_PROBLEM where it is no window. */
export function parseRenewalInfo(data: unknown, retryAfterMs: number | undefined): RenewalInfo {
  const { suggestedWindow, explanationURL } = (typeof data === "object" && data ? data : {}) as {
    suggestedWindow?: { start?: unknown; end?: unknown } | null;
    explanationURL?: unknown;
  };
  const start = Date.parse(String(suggestedWindow?.start));
  const end = Date.parse(String(suggestedWindow?.end));
  // RFC 9773 §4.2: a window that ends before it begins MUST be treated as no answer.
  if (!(start < end)) {
    throw new EdgeError("ACME_PROBLEM", "the CA's renewal information holds no window", {
      source: "ca",
      retry: "any",
    });
  }
  const url = typeof explanationURL === "string" && /^https?:\/\/[!-~]+$/.test(explanationURL);
  return {
    start,
    end,
    explanationUrl: url ? explanationURL.slice(0, MAX_URL) : undefined,
    checkAfterMs: clampCheck(retryAfterMs),
  };
}

/** RFC 9773 §4.2: a uniform draw from the window, so that all who were told the same part ways. */
export function chooseTime({ start, end }: { start: number; end: number }, random: Random): number {
  return Math.floor(start + (end - start) * random());
}

/** The moment from which a certificate is renewed whatever a CA suggests: a twentieth of its life left. */
export function emergencyStart({ notBefore, notAfter }: Validity): number {
  return notAfter - (notAfter - notBefore) / 20;
}

const base64url = (hex: string): string => Buffer.from(hex, "hex").toString("base64url");
