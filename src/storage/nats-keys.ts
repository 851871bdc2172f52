/** Storage keys as NATS subjects: "/" parts tokens, and what tokens may not hold is written as "=" and two hex digits. */
import { isKey } from "./keys.ts";

/** Own values stand beside those of callers: no encoded key has "=" before anything but hex digits. */
export const FLEET_KEY = "=fleet";
export const PROBE_PREFIX = "=check.";
export const CLAIM_PREFIX = "=next.";

/** `certificates/app.example.com` → `certificates.app=2Eexample=2Ecom`. */
export function encodeKey(key: string): string {
  return key.replaceAll("=", "=3D").replaceAll(".", "=2E").replaceAll("/", ".");
}

/**
 * Undefined for what no storage key encodes to: our own values, and those of somebody else. Whoever may write there could
 * otherwise have the copy's files written wherever `=2E=2E` leads.
 */
export function decodeKey(subject: string): string | undefined {
  if (/=(?!3D|2E)/.test(subject)) return undefined;
  const key = subject.replaceAll(".", "/").replaceAll("=2E", ".").replaceAll("=3D", "=");
  return isKey(key) && encodeKey(key) === subject ? key : undefined;
}
