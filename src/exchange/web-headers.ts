/**
 * `Headers` over a flat list: reads are answered from the list itself, changes are recorded and leave the list alone,
 * so that a shared head stays shared and the last set of changes made to it can be used again.
 */
import type { HeaderList } from "./headers.ts";
import { getHeaders, isName, joinHeader } from "./headers.ts";
import { delegateRest } from "./web-native.ts";

/** Recorded changes: `[operation, name, value, …]`; `=` sets, `+` appends, `-` removes (its value is ""). */
export type HeaderChanges = readonly string[];

const NONE: HeaderChanges = Object.freeze([]);
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const BAD_VALUE = /[\0\r\n]|[^\0-\xff]/;

/** Names come from code, hence from a small set: remembering them saves a check and a lower-casing per call. */
const lowered = new Map<string, string>();

function lowerName(name: unknown): string {
  const known = lowered.get(name as string);
  if (known !== undefined) return known;
  const text = `${name}`;
  if (!TOKEN.test(text)) throw new TypeError(`"${text}" is no header name`);
  const lower = text.toLowerCase();
  if (lowered.size < 1024 && text.length < 64) lowered.set(text, lower);
  return lower;
}

function cleanValue(value: unknown): string {
  const text = `${value}`.replace(/^[\t\n\r ]+|[\t\n\r ]+$/g, "");
  if (BAD_VALUE.test(text)) throw new TypeError("a header value holds a character that may not stand there");
  return text;
}

function applyChange(list: HeaderList, operation: string, name: string, value: string): HeaderList {
  if (operation === "+") {
    list.push(name, value);
    return list;
  }
  const next: HeaderList = [];
  let placed = operation === "-";
  for (let i = 0; i < list.length; i += 2) {
    if (!isName(list[i]!, name)) next.push(list[i]!, list[i + 1]!);
    else if (!placed) {
      next.push(name, value);
      placed = true;
    }
  }
  if (!placed) next.push(name, value);
  return next;
}

/** A list with changes applied. The result is the given list itself where there are none. */
export function applyChanges(base: HeaderList, changes: HeaderChanges): HeaderList {
  if (changes.length === 0) return base;
  let list = base.slice();
  for (let i = 0; i < changes.length; i += 3)
    list = applyChange(list, changes[i]!, changes[i + 1]!, changes[i + 2]!);
  return list;
}

export function sameChanges(a: HeaderChanges, b: HeaderChanges): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** All values of a name as `get` shows them. Cookies are joined as RFC 6265 §4.2.1 writes them. */
function combined(list: HeaderList, lower: string): string | undefined {
  return lower === "cookie" ? getHeaders(list, lower).join("; ") || undefined : joinHeader(list, lower);
}

export type Pair = [name: string, value: string];

/** Sorted and combined as the Fetch standard iterates (§5.1 "sort and combine"); every Set-Cookie by itself. */
function sortAndCombine(list: HeaderList): Pair[] {
  const names = new Set<string>();
  for (let i = 0; i < list.length; i += 2) names.add(list[i]!.toLowerCase());
  const pairs: Pair[] = [];
  for (const name of [...names].sort()) {
    if (name === "set-cookie") for (const value of getHeaders(list, name)) pairs.push([name, value]);
    else pairs.push([name, combined(list, name) ?? ""]);
  }
  return pairs;
}

/** Behaves like `Headers`. Cheap to make: nothing is copied before the first change is read back. */
export class LazyHeaders {
  readonly #base: HeaderList;
  #changes: string[];
  #changesShared: boolean;
  #list: HeaderList | undefined;
  #sorted: Pair[] | undefined;

  /** `changes` may be shared with others: they are copied before one is added. */
  constructor(base: HeaderList, changes: HeaderChanges = NONE) {
    this.#base = base;
    this.#changes = changes as string[];
    this.#changesShared = true;
    this.#list = undefined;
    this.#sorted = undefined;
  }

  static isLazy(value: unknown): value is LazyHeaders {
    return typeof value === "object" && value !== null && #base in value;
  }

  static baseOf(headers: LazyHeaders): HeaderList {
    return headers.#base;
  }

  /** What was changed so far; the caller MUST NOT alter it. It is not altered here either: later changes go to a copy. */
  static changesOf(headers: LazyHeaders): HeaderChanges {
    headers.#changesShared = true;
    return headers.#changes;
  }

  /** The fields as they stand: the base list itself where nothing changed. */
  static listOf(headers: LazyHeaders): HeaderList {
    if (headers.#changes.length === 0) return headers.#base;
    headers.#list ??= applyChanges(headers.#base, headers.#changes);
    return headers.#list;
  }

  #change(operation: string, lower: string, value: string): void {
    if (this.#changesShared) {
      this.#changes = this.#changes.slice();
      this.#changesShared = false;
    }
    this.#changes.push(operation, lower, value);
    this.#list = undefined;
    this.#sorted = undefined;
  }

  #pairs(): Pair[] {
    this.#sorted ??= sortAndCombine(LazyHeaders.listOf(this));
    return this.#sorted;
  }

  get(name: string): string | null {
    return combined(LazyHeaders.listOf(this), lowerName(name)) ?? null;
  }

  has(name: string): boolean {
    const lower = lowerName(name);
    const list = LazyHeaders.listOf(this);
    for (let i = 0; i < list.length; i += 2) if (isName(list[i]!, lower)) return true;
    return false;
  }

  set(name: string, value: string): void {
    // biome-ignore lint/complexity/noArguments: a missing value is an error, an undefined one is "undefined"
    if (arguments.length < 2) throw new TypeError("Headers.set takes a name and a value");
    const lower = lowerName(name);
    this.#change("=", lower, cleanValue(value));
  }

  append(name: string, value: string): void {
    // biome-ignore lint/complexity/noArguments: a missing value is an error, an undefined one is "undefined"
    if (arguments.length < 2) throw new TypeError("Headers.append takes a name and a value");
    const lower = lowerName(name);
    this.#change("+", lower, cleanValue(value));
  }

  delete(name: string): void {
    if (this.has(name)) this.#change("-", lowerName(name), "");
  }

  getSetCookie(): string[] {
    return getHeaders(LazyHeaders.listOf(this), "set-cookie");
  }

  // Live, as the standard's are: the pairs are looked up anew at every step.
  *entries(): Generator<Pair, undefined, unknown> {
    for (let i = 0; i < this.#pairs().length; i++) {
      const [name, value] = this.#pairs()[i]!;
      yield [name, value];
    }
  }

  *keys(): Generator<string, undefined, unknown> {
    for (let i = 0; i < this.#pairs().length; i++) yield this.#pairs()[i]![0];
  }

  *values(): Generator<string, undefined, unknown> {
    for (let i = 0; i < this.#pairs().length; i++) yield this.#pairs()[i]![1];
  }

  forEach(visit: (value: string, name: string, headers: Headers) => void, thisArg?: unknown): void {
    if (typeof visit !== "function") throw new TypeError("Headers.forEach takes a function");
    for (let i = 0; i < this.#pairs().length; i++) {
      const [name, value] = this.#pairs()[i]!;
      visit.call(thisArg, value, name, this as unknown as Headers);
    }
  }

  [Symbol.iterator](): Generator<Pair, undefined, unknown> {
    return this.entries();
  }
}

delegateRest(LazyHeaders, Headers, (headers) => new Headers([...headers.entries()]));

/** The changes that make an empty list what a `HeadersInit` says; throws TypeError as the standard does. */
export function changesFrom(init: unknown): HeaderChanges {
  if (init === undefined) return NONE;
  if (init === null || typeof init !== "object") throw new TypeError("headers must be an object");
  const changes: string[] = [];
  if (LazyHeaders.isLazy(init)) {
    const list = LazyHeaders.listOf(init);
    for (let i = 0; i < list.length; i += 2) changes.push("+", list[i]!.toLowerCase(), list[i + 1]!);
  } else if (Symbol.iterator in init) {
    for (const pair of init as Iterable<unknown>) {
      if (pair === null || typeof pair !== "object" || !(Symbol.iterator in pair))
        throw new TypeError("a header is a pair of name and value");
      const parts = Array.isArray(pair) ? pair : [...(pair as Iterable<unknown>)];
      if (parts.length !== 2) throw new TypeError("a header is a pair of name and value");
      const lower = lowerName(parts[0]);
      changes.push("+", lower, cleanValue(parts[1]));
    }
  } else {
    for (const name of Object.keys(init)) {
      const lower = lowerName(name);
      changes.push("+", lower, cleanValue((init as Record<string, unknown>)[name]));
    }
  }
  return changes;
}

/** Whether some change concerns `lower`. */
export function changesTouch(changes: HeaderChanges, lower: string): boolean {
  for (let i = 1; i < changes.length; i += 3) if (changes[i] === lower) return true;
  return false;
}
