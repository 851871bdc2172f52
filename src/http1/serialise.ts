/** Heads as text. What was serialised once hangs on the head's `memo`, so a head that is sent again costs nothing. */
import { EdgeError } from "../errors.ts";
import type { UpstreamRequest } from "../exchange/dispatch.ts";
import type { ResponseHead } from "../exchange/exchange.ts";
import { type HeaderList, hasToken, isName } from "../exchange/headers.ts";
import { isAuthority } from "./head.ts";

/** Characters that would end a field, or that no field may hold. */
const BAD_VALUE = /[^\t\x20-\x7e\x80-\xff]/;
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const TARGET = /^[\x21-\x7e]+$/;

/** Whether a field can be sent: nothing in it can end the line (response splitting). */
export function isField(name: string, value: string): boolean {
  return TOKEN.test(name) && !BAD_VALUE.test(value);
}

/** Fields as lines. Those that cannot be sent are an error of ours: INTERNAL. */
export function fieldLines(headers: HeaderList): string {
  let lines = "";
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!;
    const value = headers[i + 1]!;
    if (!isField(name, value))
      throw new EdgeError("INTERNAL", `header field ${JSON.stringify(name)} cannot be sent`);
    lines += `${name}: ${value}\r\n`;
  }
  return lines;
}

/** A response's head as text, without framing. */
export interface ResponseText {
  /** Status line and fields, each with its line end; no empty line. */
  readonly lines: string;
  /** `lines` and the empty line, in bytes where it is sent again: encoding them costs more than copying. */
  whole: Uint8Array | undefined;
  readonly hasDate: boolean;
  /** The Content-Length among `lines`, or -1. */
  readonly length: number;
  /** The fields asked to close the connection. */
  readonly close: boolean;
}

const TEXT: unique symbol = Symbol("http1.response");

const REASONS: Record<number, string> = {
  100: "Continue",
  101: "Switching Protocols",
  103: "Early Hints",
  200: "OK",
  201: "Created",
  202: "Accepted",
  204: "No Content",
  206: "Partial Content",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  304: "Not Modified",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  414: "URI Too Long",
  421: "Misdirected Request",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
};

/** "HTTP/1.1 200 OK\r\n". A server answers in its own version, whatever the client's (RFC 9112 §2.3). */
export function statusLine(status: number, reason: string): string {
  const phrase = reason === "" ? (REASONS[status] ?? "") : reason;
  if (BAD_VALUE.test(phrase)) throw new EdgeError("INTERNAL", "reason phrase cannot be sent");
  return `HTTP/1.1 ${status} ${phrase}\r\n`;
}

/** A whole short answer after which the connection closes. */
export function refusalText(status: number, message: string, dateLine: string): string {
  const length = message.length + 1;
  return `${statusLine(status, "")}${dateLine}Content-Type: text/plain\r\nContent-Length: ${length}\r\nConnection: close\r\n\r\n${message}\n`;
}

/** Serialises a response's head, once for each head object. Connection and Transfer-Encoding are the engine's own. */
export function responseText(head: ResponseHead): ResponseText {
  const known = head.memo[TEXT] as ResponseText | undefined;
  if (known !== undefined) {
    known.whole ??= Buffer.from(`${known.lines}\r\n`, "latin1");
    return known;
  }
  const { headers, status } = head;
  let lines = statusLine(status, head.reason);
  let hasDate = false;
  let close = false;
  let length = -1;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!;
    const value = headers[i + 1]!;
    switch (name.length) {
      case 4:
        if (isName(name, "date")) hasDate = true;
        break;
      case 10:
        if (isName(name, "connection")) {
          if (hasToken(value, "close")) close = true;
          continue;
        }
        if (isName(name, "keep-alive")) continue;
        break;
      case 14:
        if (isName(name, "content-length")) {
          // RFC 9110 §8.6: no Content-Length in a 204.
          if (length >= 0 || status === 204) continue;
          length = /^\d{1,15}$/.test(value) ? Number(value) : -1;
          if (length < 0) continue;
        }
        break;
      case 17:
        if (isName(name, "transfer-encoding")) continue;
        break;
    }
    if (!isField(name, value))
      throw new EdgeError("INTERNAL", `header field ${JSON.stringify(name)} cannot be sent`);
    lines += `${name}: ${value}\r\n`;
  }
  const text: ResponseText = { lines, whole: undefined, hasDate, length, close };
  head.memo[TEXT] = text;
  return text;
}

const REQUEST_TEXT: unique symbol = Symbol("http1.request");

interface RequestText {
  readonly headers: HeaderList;
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly lines: string;
}

/**
 * Request line, Host and fields; no framing, no empty line. Kept on `request.memo` where the caller gives one.
 * Throws BAD_REQUEST for what HTTP/1.1 cannot say: other wire versions let more pass (RFC 9113 §8.2.1).
 */
function requestLines(request: UpstreamRequest): string {
  const { method, path, authority, headers, memo } = request;
  const known = memo?.[REQUEST_TEXT] as RequestText | undefined;
  if (
    known !== undefined &&
    known.headers === headers &&
    known.method === method &&
    known.path === path &&
    known.authority === authority
  )
    return known.lines;
  if (!TOKEN.test(method) || method === "CONNECT") throw badRequest("method");
  if (!TARGET.test(path) || (path.charCodeAt(0) !== 47 && path !== "*")) throw badRequest("path");
  if (!isAuthority(authority)) throw badRequest("authority");
  let lines = `${method} ${path} HTTP/1.1\r\nHost: ${authority}\r\n`;
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!;
    const value = headers[i + 1]!;
    if (steers(name)) continue;
    if (!isField(name, value)) throw badRequest("header field");
    lines += `${name}: ${value}\r\n`;
  }
  if (memo !== undefined)
    memo[REQUEST_TEXT] = { headers, method, path, authority, lines } satisfies RequestText;
  return lines;
}

/** Fields that differ each time, so nothing of them is kept. */
function extraLines(extra: HeaderList): string {
  let lines = "";
  for (let i = 0; i < extra.length; i += 2) {
    if (!isField(extra[i]!, extra[i + 1]!)) throw badRequest("header field");
    lines += `${extra[i]}: ${extra[i + 1]}\r\n`;
  }
  return lines;
}

/** Fields that only this engine writes: two of them would be two framings. */
function steers(name: string): boolean {
  switch (name.length) {
    case 4:
      return isName(name, "host");
    case 7:
      return isName(name, "upgrade");
    case 10:
      return isName(name, "connection") || isName(name, "keep-alive");
    case 14:
      return isName(name, "content-length");
    case 17:
      return isName(name, "transfer-encoding");
    default:
      return false;
  }
}

function badRequest(what: string): EdgeError {
  return new EdgeError("BAD_REQUEST", `the request's ${what} cannot be sent in HTTP/1.1`, {
    source: "downstream",
    status: 400,
  });
}

/** A request's whole head as text. Throws BAD_REQUEST, see {@link requestLines}. */
export function requestText(request: UpstreamRequest): string {
  const { extra } = request;
  const lines = extra === undefined ? requestLines(request) : requestLines(request) + extraLines(extra);
  if (request.protocol !== undefined) {
    if (!TOKEN.test(request.protocol)) throw badRequest("protocol");
    return `${lines}Connection: Upgrade\r\nUpgrade: ${request.protocol}\r\n\r\n`;
  }
  const { body } = request;
  if (body !== undefined)
    return body.length === undefined
      ? `${lines}Transfer-Encoding: chunked\r\n\r\n`
      : `${lines}Content-Length: ${body.length}\r\n\r\n`;
  // RFC 9110 §8.6: methods that expect content say so when there is none.
  const { method } = request;
  if (method === "POST" || method === "PUT" || method === "PATCH") return `${lines}Content-Length: 0\r\n\r\n`;
  return `${lines}\r\n`;
}
