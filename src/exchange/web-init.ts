/** What the arguments of `new Response` mean to a lazy one, checked as the Fetch standard checks them. */
import type { ResponseHead } from "./exchange.ts";
import { responseHead } from "./exchange.ts";
import type { HeaderList } from "./headers.ts";
import { hasHeader } from "./headers.ts";
import { bodyOf, WebBody } from "./web-body.ts";
import type { HeaderChanges } from "./web-headers.ts";
import { applyChanges, changesFrom } from "./web-headers.ts";
import { NativeResponse } from "./web-native.ts";
import type { UpgradeHandle } from "./web-response.ts";

/** What a lazy response consists of. */
export interface Made {
  readonly head: ResponseHead;
  readonly changes: HeaderChanges;
  readonly body: WebBody | undefined;
  /** Whether the body is the one that came with the head, so that the head's Content-Length holds. */
  readonly paired: boolean;
  readonly upgrade: UpgradeHandle | undefined;
}

/** A body, and the content type that it brings along. */
export interface Content {
  readonly body: WebBody;
  readonly type: HeaderChanges;
}

export const NONE: HeaderChanges = [];
const TEXT: HeaderChanges = ["+", "content-type", "text/plain;charset=UTF-8"];
const FORM: HeaderChanges = ["+", "content-type", "application/x-www-form-urlencoded;charset=UTF-8"];
export const JSON_TYPE: HeaderChanges = ["+", "content-type", "application/json"];
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/;

/** Heads without fields, one per status, so that answers made here share what is derived from them. */
const bare = new Map<string | number, ResponseHead>();

function bareHead(status: number, reason: string): ResponseHead {
  const key = reason === "" ? status : `${status} ${reason}`;
  const known = bare.get(key);
  if (known) return known;
  const head = responseHead(status, [], reason);
  // Reasons may be anything, so only some are kept.
  if (bare.size < 1024) bare.set(key, head);
  return head;
}

export function hasNoBody(status: number): boolean {
  return status === 204 || status === 205 || status === 304 || status === 101;
}

/** WebIDL's `unsigned short`, then the range that the standard allows. */
function checkStatus(value: unknown): number {
  const status = value === undefined ? 200 : Number(value) & 0xffff;
  if (status < 200 || status > 599) throw new RangeError(`a response's status is 200 to 599, not ${value}`);
  return status;
}

function checkReason(value: unknown): string {
  if (value === undefined) return "";
  const reason = `${value}`;
  if (!REASON.test(reason)) throw new TypeError("statusText holds a character that may not stand there");
  return reason;
}

export function contentFrom(init: unknown): Content {
  if (typeof init === "string") return { body: new WebBody(init), type: TEXT };
  if (typeof init !== "object" && typeof init !== "function") return contentFrom(`${init}`);
  if (init instanceof URLSearchParams) return { body: new WebBody(init.toString()), type: FORM };
  if (init instanceof ReadableStream) {
    const known = bodyOf(init);
    if (known?.untouched) return { body: known, type: NONE };
  } else if (init instanceof ArrayBuffer) {
    return { body: new WebBody(new Uint8Array(init.slice(0))), type: NONE };
  } else if (ArrayBuffer.isView(init) && init.buffer instanceof ArrayBuffer) {
    const bytes = new Uint8Array(init.buffer, init.byteOffset, init.byteLength).slice();
    return { body: new WebBody(bytes), type: NONE };
  }
  // Blobs, forms, streams of others and whatever has a toString: the runtime knows best.
  const native = new NativeResponse(init as BodyInit);
  const type = native.headers.get("content-type");
  return { body: new WebBody(native), type: type === null ? NONE : ["+", "content-type", type] };
}

/** Adds the body's own content type where none was given. */
export function withType(base: HeaderList, changes: HeaderChanges, type: HeaderChanges): HeaderChanges {
  if (type.length === 0 || hasHeader(applyChanges(base, changes), "content-type")) return changes;
  return changes.length === 0 ? type : [...changes, ...type];
}

export function makeFrom(content: Content | undefined, init: ResponseInit | null | undefined): Made {
  if (init !== undefined && init !== null && typeof init !== "object" && typeof init !== "function")
    throw new TypeError("a response's init must be an object");
  const status = checkStatus(init?.status);
  const head = bareHead(status, checkReason(init?.statusText));
  const changes = changesFrom(init?.headers);
  if (content === undefined) return { head, changes, body: undefined, paired: false, upgrade: undefined };
  if (hasNoBody(status)) throw new TypeError(`a response of status ${status} has no body`);
  return {
    head,
    changes: withType(head.headers, changes, content.type),
    body: content.body,
    paired: false,
    upgrade: undefined,
  };
}
