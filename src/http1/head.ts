/** From a head's text and llhttp's offsets to a checked request or response: what RFC 9112 asks beyond syntax. */
import { isIPv6 } from "node:net";
import { type RequestHead, type ResponseHead, responseHead } from "../exchange/exchange.ts";
import { type HeaderList, hasToken, isName } from "../exchange/headers.ts";
import type { Offence } from "../exchange/limits.ts";
import type { Parser } from "./llhttp.ts";

/** A length that is not a number of bytes. */
export const CHUNKED = -1;
export const UNTIL_CLOSE = -2;

/** What cannot be framed or understood with certainty. `status` is what a client is told before its connection closes. */
export class HeadError extends Error {
  readonly status: number;
  readonly offence: Offence;

  constructor(status: number, message: string, offence: Offence = "malformed") {
    super(message);
    this.status = status;
    this.offence = offence;
  }
}

/** A request's head with what its connection needs to know. Immutable, for it may be handed out again. */
export interface ParsedRequest {
  readonly head: RequestHead;
  readonly version: "1.0" | "1.1";
  /** Bytes of body, or {@link CHUNKED}. A request without a body has 0. */
  readonly length: number;
  /** Whether the request said that it has a body, if an empty one. */
  readonly framed: boolean;
  readonly keepAlive: boolean;
  /** The client waits for "100 Continue". */
  readonly expects: boolean;
}

export interface ParsedResponse {
  readonly head: ResponseHead;
  /** Bytes of body if the request was not a HEAD, {@link CHUNKED} or {@link UNTIL_CLOSE}. */
  readonly length: number;
  readonly keepAlive: boolean;
  /** The protocol of a 101, lower case. */
  readonly protocol: string | undefined;
}

/** The fields in a head that frame or steer the connection; filled by {@link readFields}. */
interface Steering {
  hosts: number;
  host: string;
  length: number;
  transferEncoding: string | undefined;
  connection: string | undefined;
  upgrade: string | undefined;
  expect: string | undefined;
}

/** DNS names, IPv4, and the underscores that live in the wild; userinfo, lists and percent signs have no place here. */
const HOST = /^[A-Za-z0-9._~-]+(?::\d{0,5})?$/;
const LITERAL = /^\[([0-9A-Fa-f:.]+)\](?::\d{0,5})?$/;

/** Whether `authority` is host[:port] (RFC 9110 §7.2). */
export function isAuthority(authority: string): boolean {
  if (!HOST.test(authority)) {
    const literal = LITERAL.exec(authority);
    if (literal === null || !isIPv6(literal[1]!)) return false;
  }
  const colon = authority.lastIndexOf(":");
  return colon < 0 || authority.endsWith("]") || Number(authority.slice(colon + 1)) < 65_536;
}

function append(list: string | undefined, value: string): string {
  return list === undefined ? value : `${list}, ${value}`;
}

/** Digits only; llhttp has seen to that, save for white space at the end and numbers beyond 2^53. */
function contentLength(value: string): number {
  const length = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(length)) throw new HeadError(400, "bad Content-Length");
  return length;
}

function readFields(text: string, parser: Parser, maxFields: number): HeaderList {
  steering.hosts = 0;
  steering.host = "";
  steering.length = -1;
  steering.transferEncoding = steering.connection = steering.upgrade = steering.expect = undefined;
  const { fields } = parser;
  const n = fields.length;
  if (n > maxFields * 4) throw new HeadError(431, "too many header fields", "head_count");
  const headers: HeaderList = new Array<string>(n >> 1);
  for (let i = 0, at = 0; i < n; i += 4, at += 2) {
    const name = text.slice(fields[i], fields[i + 1]);
    const start = fields[i + 2]!;
    let end = fields[i + 3]!;
    // llhttp leaves white space after a value in it (RFC 9112 §5.1: not part of the value).
    for (let c = text.charCodeAt(end - 1); end > start && (c === 32 || c === 9); c = text.charCodeAt(end - 1))
      end--;
    const value = text.slice(start, end);
    headers[at] = name;
    headers[at + 1] = value;
    switch (name.length) {
      case 4:
        if (isName(name, "host")) {
          steering.hosts++;
          steering.host = value;
        }
        break;
      case 6:
        if (isName(name, "expect")) steering.expect = append(steering.expect, value);
        break;
      case 7:
        if (isName(name, "upgrade")) steering.upgrade = append(steering.upgrade, value);
        break;
      case 10:
        if (isName(name, "connection")) steering.connection = append(steering.connection, value);
        break;
      case 14:
        if (isName(name, "content-length")) {
          if (steering.length >= 0) throw new HeadError(400, "repeated Content-Length");
          steering.length = contentLength(value);
        }
        break;
      case 17:
        if (isName(name, "transfer-encoding"))
          steering.transferEncoding = append(steering.transferEncoding, value);
        break;
    }
  }
  return headers;
}

/** One for all heads: it is filled and read within one call. */
const steering: Steering = {
  hosts: 0,
  host: "",
  length: -1,
  transferEncoding: undefined,
  connection: undefined,
  upgrade: undefined,
  expect: undefined,
};

/** "chunked" and nothing else is a coding that we can take off. */
function chunked(minor: number): boolean {
  if (steering.transferEncoding === undefined) return false;
  // RFC 9112 §6.1: a Transfer-Encoding in HTTP/1.0, or beside a Content-Length, is faulty framing.
  if (minor === 0) throw new HeadError(400, "Transfer-Encoding in HTTP/1.0");
  if (steering.length >= 0) throw new HeadError(400, "Content-Length beside Transfer-Encoding");
  if (!isName(steering.transferEncoding, "chunked")) throw new HeadError(400, "unknown transfer coding");
  return true;
}

function persistent(minor: number): boolean {
  const { connection } = steering;
  if (connection === undefined) return minor === 1;
  if (hasToken(connection, "close")) return false;
  return minor === 1 || hasToken(connection, "keep-alive");
}

/** The protocol we switch to, if it is asked for as RFC 9110 §7.8 says. Any other ask is ignored, as that section allows. */
function upgradeTo(): string | undefined {
  return hasToken(steering.upgrade, "websocket") && hasToken(steering.connection, "upgrade")
    ? "websocket"
    : undefined;
}

/** Checks what {@link parser} found in `text`, a whole request head. Throws a {@link HeadError}. */
export function buildRequest(
  text: string,
  parser: Parser,
  scheme: "http" | "https",
  maxFields: number,
): ParsedRequest {
  const { lineStart, lineEnd } = parser;
  const method = text.slice(0, lineStart - 1);
  // llhttp lets more than one space pass between the three parts, and a missing version.
  if (text.charCodeAt(lineStart - 1) !== 32 || method.includes(" "))
    throw new HeadError(400, "bad request line");
  if (!text.startsWith(" HTTP/", lineEnd)) throw new HeadError(400, "bad request line");
  const minor = text.startsWith("1.1\r\n", lineEnd + 6)
    ? 1
    : text.startsWith("1.0\r\n", lineEnd + 6)
      ? 0
      : -1;
  if (minor < 0) throw new HeadError(505, "HTTP version not supported");

  const headers = readFields(text, parser, maxFields);
  if (method === "CONNECT") throw new HeadError(400, "CONNECT is not supported");
  if (steering.hosts > 1 || (steering.hosts === 0 && minor === 1))
    throw new HeadError(400, "exactly one Host is needed");
  // An empty Host is for targets without an authority (RFC 9112 §3.2); an edge serves none of these.
  if (steering.hosts === 1 && !isAuthority(steering.host)) throw new HeadError(400, "bad Host");
  const target = text.slice(lineStart, lineEnd);
  let path = target;
  let authority = steering.host;
  if (target.charCodeAt(0) !== 47) {
    if (target === "*") {
      if (method !== "OPTIONS") throw new HeadError(400, "bad request target");
    } else {
      const absolute = /^https?:\/\/([^/?#]*)/i.exec(target);
      if (absolute === null || !isAuthority(absolute[1]!)) throw new HeadError(400, "bad request target");
      // RFC 9112 §3.2.2: the target's authority replaces the one in Host.
      authority = absolute[1]!;
      path = target.slice(absolute[0].length);
      if (path === "") path = method === "OPTIONS" ? "*" : "/";
      else if (path.charCodeAt(0) === 63) path = `/${path}`;
    }
  }
  if (path.includes("#")) throw new HeadError(400, "fragment in request target");

  const isChunked = chunked(minor);
  const length = isChunked ? CHUNKED : Math.max(steering.length, 0);
  const protocol = minor === 1 && method === "GET" && length === 0 ? upgradeTo() : undefined;
  return {
    head: { method, path, authority, scheme, headers, protocol, memo: {} },
    version: minor === 1 ? "1.1" : "1.0",
    length,
    framed: isChunked || steering.length >= 0,
    keepAlive: persistent(minor),
    expects: minor === 1 && length !== 0 && hasToken(steering.expect, "100-continue"),
  };
}

/** Checks a whole response head. Throws a {@link HeadError}; its status is for requests, so callers make their own. */
export function buildResponse(text: string, parser: Parser, maxFields: number): ParsedResponse {
  const { status } = parser;
  const minor = text.startsWith("HTTP/1.1 ") ? 1 : text.startsWith("HTTP/1.0 ") ? 0 : -1;
  if (minor < 0) throw new HeadError(505, "HTTP version not supported");
  if (status < 100 || status > 599) throw new HeadError(400, "bad status");
  const headers = readFields(text, parser, maxFields);
  const isChunked = chunked(minor);
  const bare = status < 200 || status === 204 || status === 304;
  const length = bare ? 0 : isChunked ? CHUNKED : steering.length >= 0 ? steering.length : UNTIL_CLOSE;
  return {
    head: responseHead(status, headers, text.slice(parser.lineStart, parser.lineEnd)),
    length,
    keepAlive: length !== UNTIL_CLOSE && persistent(minor),
    protocol: status === 101 ? upgradeTo() : undefined,
  };
}
