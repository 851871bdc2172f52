/** Renewal information (RFC 9773): how a certificate is named to its CA, and when the CA wants it renewed. */
import { X509Certificate } from "node:crypto";
import forge from "node-forge";
import type { Random } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { splitChain, type Validity } from "./certificate.ts";

const { asn1 } = forge;
const { Type, Class } = asn1;
/** RFC 5280 §4.2.1.1, as DER. */
const AUTHORITY_KEY_ID = asn1.oidToDer("2.5.29.35").getBytes();

/** RFC 9773 §4.1: base64url of the issuer's key identifier, a dot, and that of the serial number's DER bytes. */
export function ariId(chain: string): string | undefined {
  const [leaf] = splitChain(chain);
  if (!leaf) return undefined;
  const certificate = asn1.fromDer(new X509Certificate(leaf).raw.toString("latin1"));
  const fields = parts(parts(certificate)[0]);
  const serial = fields.find(({ type, tagClass }) => tagClass === Class.UNIVERSAL && type === Type.INTEGER);
  const extensions = fields.find(
    ({ type, tagClass }) => tagClass === Class.CONTEXT_SPECIFIC && Number(type) === 3,
  );
  for (const each of parts(parts(extensions)[0])) {
    const [id, ...rest] = parts(each);
    if (id?.value !== AUTHORITY_KEY_ID) continue;
    const value = rest.at(-1)?.value;
    if (typeof value !== "string") return undefined;
    // Its keyIdentifier is [0]; issuer and serial number, which some have beside it, are [1] and [2].
    const keyId = parts(asn1.fromDer(value)).find(({ type }) => Number(type) === 0)?.value;
    if (typeof keyId !== "string" || typeof serial?.value !== "string") return undefined;
    return `${base64url(keyId)}.${base64url(serial.value)}`;
  }
  return undefined;
}

const parts = (item: forge.asn1.Asn1 | undefined): forge.asn1.Asn1[] =>
  Array.isArray(item?.value) ? item.value : [];

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

/** Of the bytes that forge keeps as characters. */
const base64url = (bytes: string): string => Buffer.from(bytes, "latin1").toString("base64url");
