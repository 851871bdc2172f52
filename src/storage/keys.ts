/** What a storage key may be. Everything outside this alphabet is free for an implementation's own files. */
import { EdgeError } from "../errors.ts";

const SEGMENT = /^[A-Za-z0-9._=-]{1,253}$/;

/** Whether it stays within the storage and never meets its own files. */
export function isKey(text: string): boolean {
  return text.split("/").every((segment) => SEGMENT.test(segment) && segment !== "." && segment !== "..");
}

/** Throws where `key` is none. */
export function checkKey(key: string): string {
  if (isKey(key)) return key;
  throw new EdgeError("INTERNAL", `${JSON.stringify(key)} is not a storage key`, { source: "internal" });
}

/** A prefix for `list`: empty, or a key with a slash after it. */
export function checkPrefix(prefix: string): string {
  if (prefix === "") return prefix;
  if (!prefix.endsWith("/")) {
    throw new EdgeError("INTERNAL", `the prefix ${JSON.stringify(prefix)} must end with "/"`);
  }
  checkKey(prefix.slice(0, -1));
  return prefix;
}
