/** From header blocks to heads and back: what RFC 9113 §8 asks of a message, and how our own are written. */
import type { RequestHead, ResponseHead } from "../exchange/exchange.ts";
import type { HeaderList } from "../exchange/headers.ts";
import { CONNECTION_FIELDS, TOKEN } from "./field-names.ts";
import { HpackWriter } from "./hpack.ts";
import { knownName, writeKnown } from "./known-fields.ts";

/** Visible ASCII and obs-text; a fragment has no place in a request target. */
const PATH = /^\/[!-"$-~\x80-\xff]*$/;
/** A host, or an IP literal, with an optional port. No user information (RFC 9113 §8.3.1). */
const AUTHORITY = /^(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?$/;

/** A decoded request, with what the engine wants to know of it. */
export interface DecodedRequest {
  readonly head: RequestHead;
  /** From Content-Length; undefined where there is none. */
  readonly contentLength: number | undefined;
  readonly expectsContinue: boolean;
}

/** Whether an authority may be asked for; also checks Host. */
export function isAuthority(value: string): boolean {
  return AUTHORITY.test(value);
}

/** Parses a Content-Length; -1 where it is none. */
export function parseLength(value: string): number {
  if (value.length === 0 || value.length > 15) return -1;
  let length = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}

/** Checks a regular field; returns what is wrong with it. `te` is only for requests. */
function fieldFault(name: string, value: string): string | undefined {
  if (CONNECTION_FIELDS.has(name)) return "a connection-specific field";
  if (name === "te" && value.toLowerCase() !== "trailers") return "TE other than trailers";
  return undefined;
}

/**
 * Makes a request of decoded fields, or returns what is malformed about them (RFC 9113 §8.2, §8.3). `secure` decides the
 * scheme that counts: the connection's, not the client's word.
 */
export function requestFrom(fields: HeaderList, scheme: "http" | "https"): DecodedRequest | string {
  let method: string | undefined;
  let path: string | undefined;
  let authority: string | undefined;
  let claimed: string | undefined;
  let protocol: string | undefined;
  let host: string | undefined;
  let cookie: string | undefined;
  let length: number | undefined;
  let expectsContinue = false;
  const headers: HeaderList = [];
  let at = 0;
  for (; at < fields.length; at += 2) {
    const name = fields[at]!;
    if (name.charCodeAt(0) !== 58) break;
    const value = fields[at + 1]!;
    let earlier: string | undefined;
    switch (name) {
      case ":method":
        earlier = method;
        method = value;
        break;
      case ":path":
        earlier = path;
        path = value;
        break;
      case ":authority":
        earlier = authority;
        authority = value;
        break;
      case ":scheme":
        earlier = claimed;
        claimed = value;
        break;
      case ":protocol":
        earlier = protocol;
        protocol = value;
        break;
      default:
        return `pseudo-header ${name}`;
    }
    if (earlier !== undefined) return `a second ${name}`;
  }
  for (; at < fields.length; at += 2) {
    const name = fields[at]!;
    const value = fields[at + 1]!;
    switch (name) {
      case "cookie":
        // RFC 9113 §8.2.3: crumbs are joined before they meet anything that is not HTTP/2.
        if (cookie !== undefined) {
          cookie += `; ${value}`;
          continue;
        }
        cookie = value;
        break;
      case "host":
        if (host !== undefined) return "a second Host";
        host = value;
        break;
      case "content-length": {
        const parsed = parseLength(value);
        if (parsed < 0) return "an invalid Content-Length";
        if (length !== undefined) return "a second Content-Length";
        length = parsed;
        break;
      }
      case "expect":
        expectsContinue = value.toLowerCase() === "100-continue";
        break;
      default: {
        if (name.charCodeAt(0) === 58) return "a pseudo-header after a field";
        const fault = fieldFault(name, value);
        if (fault !== undefined) return fault;
      }
    }
    headers.push(name, value);
  }
  if (cookie !== undefined) {
    const place = headers.indexOf("cookie");
    headers[place + 1] = cookie;
  }
  if (method === undefined || !TOKEN.test(method)) return "no valid :method";
  if (authority !== undefined && host !== undefined && !sameAuthority(authority, host))
    return ":authority and Host differ";
  const target = authority ?? host;
  if (target === undefined || !AUTHORITY.test(target)) return "no valid :authority";
  if (method === "CONNECT" && protocol === undefined) {
    if (path !== undefined || claimed !== undefined) return "CONNECT with :path or :scheme";
    if (authority === undefined) return "CONNECT without :authority";
    path = authority;
  } else {
    if (protocol !== undefined && (method !== "CONNECT" || !TOKEN.test(protocol))) return "a stray :protocol";
    if (claimed === undefined || claimed === "") return "no :scheme";
    if (path === undefined || !(PATH.test(path) || (path === "*" && method === "OPTIONS")))
      return "no valid :path";
  }
  const head: RequestHead = {
    method,
    path,
    authority: target,
    scheme,
    headers,
    protocol: protocol?.toLowerCase(),
    memo: {},
  };
  return { head, contentLength: length, expectsContinue };
}

function sameAuthority(a: string, b: string): boolean {
  return a === b || a.toLowerCase() === b.toLowerCase();
}

/** A decoded response. `contentLength` as in requests. */
export interface DecodedResponse {
  readonly head: ResponseHead;
  readonly contentLength: number | undefined;
}

/** Makes a response of decoded fields, or returns what is malformed about them. */
export function responseFrom(fields: HeaderList): DecodedResponse | string {
  const text = fields[1];
  if (fields[0] !== ":status" || text === undefined || !/^[1-5][0-9][0-9]$/.test(text))
    return "no valid :status";
  const headers: HeaderList = [];
  let length: number | undefined;
  for (let at = 2; at < fields.length; at += 2) {
    const name = fields[at]!;
    const value = fields[at + 1]!;
    if (name.charCodeAt(0) === 58) return "a stray pseudo-header";
    if (CONNECTION_FIELDS.has(name)) return "a connection-specific field";
    if (name === "content-length") {
      const parsed = parseLength(value);
      if (parsed < 0 || (length !== undefined && length !== parsed)) return "an invalid Content-Length";
      if (length !== undefined) continue;
      length = parsed;
    }
    headers.push(name, value);
  }
  return { head: { status: Number(text), reason: "", headers, memo: {} }, contentLength: length };
}

/** Whether a trailer section is well formed: no pseudo-headers, nothing about the connection (RFC 9113 §8.1). */
export function trailersFault(fields: HeaderList): string | undefined {
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at]!;
    if (name.charCodeAt(0) === 58) return "a pseudo-header among trailers";
    if (CONNECTION_FIELDS.has(name)) return "a connection-specific field";
  }
  return undefined;
}

const writer = new HpackWriter();

/** What the last block that {@link writeFields} wrote contained. */
export interface WrittenFields {
  /** -1 without Content-Length. */
  contentLength: number;
  hasDate: boolean;
}

const written: WrittenFields = { contentLength: -1, hasDate: false };

/** Appends end-to-end fields; connection-specific ones are dropped. Undefined when a value has control bytes. */
export function writeFields(
  into: HpackWriter,
  headers: HeaderList,
  withLength: boolean,
): WrittenFields | undefined {
  written.contentLength = -1;
  written.hasDate = false;
  for (let i = 0; i < headers.length; i += 2) {
    const known = knownName(headers[i]!);
    const name = known.lower;
    if (name === "") continue;
    const value = headers[i + 1]!;
    if (name === "content-length") {
      if (!withLength) continue;
      const length = parseLength(value);
      if (length < 0) return undefined;
      written.contentLength = length;
    } else if (name === "date") written.hasDate = true;
    if (!writeKnown(into, known, value)) return undefined;
  }
  return written;
}

/** A block of fields alone, for trailers. Fields with control bytes are left out. */
export function encodeFields(headers: HeaderList): Buffer {
  writer.length = 0;
  for (let i = 0; i < headers.length; i += 2) {
    const name = knownName(headers[i]!).lower;
    if (name !== "") writer.field(name, headers[i + 1]!);
  }
  return writer.take();
}
