/** What a storage key may be. Everything outside this alphabet is free for an implementation's own files. */
import { EdgeError } from "../errors.ts";

const SEGMENT = /^[A-Za-z0-9._=-]{1,253}$/;

/** Throws a TypeError-like EdgeError where `key` could leave the storage or meet its own files. */
export function checkKey(key: string): string {
  for (const segment of key.split("/")) {
    if (!SEGMENT.test(segment) || segment === "." || segment === "..") {
      throw new EdgeError("INTERNAL", `${JSON.stringify(key)} is not a storage key`, { source: "internal" });
    }
  }
  return key;
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
