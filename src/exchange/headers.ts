/**
 * Header lists: flat, `[name, value, name, value, …]`, names as received, order and repeats kept.
 * Flat because a proxy mostly passes headers on: no object per field, no hashing, no lower-casing until asked.
 */

/** Names and values in turn. Values are latin1 strings (one char, one byte). Treat a received list as immutable. */
export type HeaderList = string[];

const A = 65;
const Z = 90;

/** Whether `name` is `lower`, which MUST be in lower case already. */
export function isName(name: string, lower: string): boolean {
  if (name === lower) return true;
  const n = lower.length;
  if (name.length !== n) return false;
  for (let i = 0; i < n; i++) {
    let c = name.charCodeAt(i);
    if (c >= A && c <= Z) c |= 0x20;
    if (c !== lower.charCodeAt(i)) return false;
  }
  return true;
}

/** The first value of `lower` (a lower-case name), or undefined. */
export function getHeader(headers: HeaderList, lower: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) if (isName(headers[i]!, lower)) return headers[i + 1];
  return undefined;
}

/** Every value of `lower`, in order. */
export function getHeaders(headers: HeaderList, lower: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < headers.length; i += 2) if (isName(headers[i]!, lower)) values.push(headers[i + 1]!);
  return values;
}

/** All values of `lower` joined by ", ", as RFC 9110 §5.3 allows for list fields; undefined where there is none. */
export function joinHeader(headers: HeaderList, lower: string): string | undefined {
  let joined: string | undefined;
  for (let i = 0; i < headers.length; i += 2)
    if (isName(headers[i]!, lower))
      joined = joined === undefined ? headers[i + 1]! : `${joined}, ${headers[i + 1]}`;
  return joined;
}

export function hasHeader(headers: HeaderList, lower: string): boolean {
  return getHeader(headers, lower) !== undefined;
}

/** A new list without the fields named `lower`. */
export function withoutHeader(headers: HeaderList, lower: string): HeaderList {
  const kept: HeaderList = [];
  for (let i = 0; i < headers.length; i += 2)
    if (!isName(headers[i]!, lower)) kept.push(headers[i]!, headers[i + 1]!);
  return kept;
}

/** A new list in which `name` has just this value, at the end. */
export function withHeader(headers: HeaderList, name: string, value: string): HeaderList {
  const list = withoutHeader(headers, name.toLowerCase());
  list.push(name, value);
  return list;
}

/** Whether a comma-separated list field contains `token`, compared case-insensitively. */
export function hasToken(value: string | undefined, token: string): boolean {
  if (!value) return false;
  for (const part of value.split(",")) if (isName(part.trim(), token)) return true;
  return false;
}
