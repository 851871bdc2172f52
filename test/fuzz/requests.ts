/** Random requests: good ones put together from parts, known bad ones, and both mutated where parsers have disagreed. */
import { REFUSED, REQUESTS } from "../http1/fixtures.ts";

/** Chance from a seed: the same everywhere (mulberry32). */
export interface Draws {
  /** From [0, 1). */
  next(): number;
  below(n: number): number;
  pick<T>(list: readonly T[]): T;
}

export function draws(seed: number): Draws {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number): number => Math.floor(next() * n);
  return { next, below, pick: (list) => list[below(list.length)]! };
}

/** The hosts that generated requests ask for; `Host: a.test` is the one that passes everywhere. */
export const HOSTS: readonly string[] = ["a.test", "b.test", "c.test"];

const GOOD: readonly string[] = Object.values(REQUESTS);
const SEEDS: readonly string[] = [...GOOD, ...Object.values(REFUSED).map(([, text]) => text)];

/** Bytes and pieces at which parsers have disagreed. */
const PIECES: readonly string[] = [
  ...'\r\n \t\0\x0b\x0c\x7f\x80\x85\xa0\xff:;,0-+_"#@\\'.split(""),
  "\r\n",
  "0x",
  "//",
  "\r\n ",
  "\r\n\t",
  "\r\n\r\n",
  "\n\n",
  "\r\r\n",
  "chunked",
  "Chunked",
  "xchunked",
  "identity",
  "0\r\n\r\n",
  "5\r\nhello\r\n",
  "5;a=b\r\nhello\r\n",
  "Content-Length: 5\r\n",
  "Content-Length: 0\r\n",
  "Content-Length: 05\r\n",
  "Content-Length : 5\r\n",
  "Content_Length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding:\tchunked\r\n",
  "Transfer-Encoding: chunked \r\n",
  "Transfer-Encoding\x0b: chunked\r\n",
  "Transfer_Encoding: chunked\r\n",
  "Host: b.test\r\n",
  "Connection: close\r\n",
  "Connection: keep-alive\r\n",
  "Connection: Host, Content-Length, Transfer-Encoding\r\n",
  "Keep-Alive: timeout=1\r\n",
  "TE: trailers\r\n",
  "Trailer: Content-Length\r\n",
  "Expect: 100-continue\r\n",
  "Upgrade: websocket\r\nConnection: upgrade\r\n",
  "Upgrade: h2c\r\nConnection: upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
  "X-HTTP-Method-Override: DELETE\r\n",
  "X-Forwarded-Host: c.test\r\n",
  "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
  "HTTP/1.0",
  "HTTP/1.1",
  "HTTP/1.2",
  "HTTP/0.9",
  "http://c.test/",
];

const METHODS = [
  "GET",
  "GET",
  "POST",
  "POST",
  "PUT",
  "DELETE",
  "PATCH",
  "HEAD",
  "OPTIONS",
  "PROPFIND",
] as const;
const PATHS = [
  "/",
  "/a",
  "/a/../b",
  "//a",
  "/%2e%2e/",
  "/a?b=c&d",
  "/?",
  "/a;b",
  "/%00",
  "http://a.test/x",
] as const;
const FIELDS = [
  "Accept: */*",
  "Cookie: a=b; c=d",
  "cookie: e=f",
  "X-Empty:",
  "X-Tab:\ta\tb\t",
  "X-Latin: \xe9\xff",
  'X-Quoted: "a\\"b"',
  "Connection: keep-alive",
  "Connection: x-gone",
  "X-Gone: here",
  "TE: trailers, deflate;q=0.5",
  "Expect: 100-continue",
  "Content-Type: text/plain",
  "X_Under: 1",
] as const;

function bodyOf(draw: Draws, most: number): string {
  const size = draw.below(most + 1);
  // Bodies that look like framing are the ones that get smuggled.
  if (draw.next() < 0.3) return draw.pick(SEEDS).slice(0, size);
  let body = "";
  while (body.length < size) body += String.fromCharCode(draw.below(256));
  return body;
}

function chunked(draw: Draws, body: string): string {
  let text = "";
  for (let at = 0; at < body.length; ) {
    const size = 1 + draw.below(body.length - at);
    const digits =
      draw.next() < 0.2
        ? size
            .toString(16)
            .toUpperCase()
            .padStart(1 + draw.below(6), "0")
        : size.toString(16);
    text += `${digits}${draw.next() < 0.2 ? ';x="y"' : ""}\r\n${body.slice(at, at + size)}\r\n`;
    at += size;
  }
  return `${text}0\r\n${draw.next() < 0.2 ? "X-Trailer: a\r\n" : ""}\r\n`;
}

/** A request that RFC 9112 allows. */
export function goodRequest(draw: Draws, mostBody = 64): string {
  let fields = `${draw.pick(["Host", "host", "HOST"])}: ${draw.pick(HOSTS)}\r\n`;
  for (let n = draw.below(4); n > 0; n--) fields += `${draw.pick(FIELDS)}\r\n`;
  const method = draw.pick(METHODS);
  const line = `${method} ${draw.pick(PATHS)} HTTP/1.1\r\n`;
  const kind = draw.below(3);
  if (kind === 0) return `${line}${fields}\r\n`;
  const body = bodyOf(draw, mostBody);
  if (kind === 1) return `${line}${fields}Content-Length: ${body.length}\r\n\r\n${body}`;
  return `${line}${fields}Transfer-Encoding: chunked\r\n\r\n${chunked(draw, body)}`;
}

function mutateOnce(draw: Draws, text: string): string {
  const { below, pick } = draw;
  const at = below(text.length + 1);
  const end = Math.min(text.length, at + 1 + below(8));
  switch (below(6)) {
    case 0:
      return text.slice(0, at) + text.slice(end);
    case 1:
      return text.slice(0, at) + pick(PIECES) + text.slice(at);
    case 2:
      return text.slice(0, at) + pick(PIECES) + text.slice(end);
    case 3:
      return text.slice(0, at) + String.fromCharCode(below(256)) + text.slice(at + 1);
    case 4:
      return text.slice(0, end) + text.slice(at);
    default: {
      // A piece after a line end, where fields begin.
      const line = text.indexOf("\r\n", at);
      return line < 0 ? text : text.slice(0, line + 2) + pick(PIECES) + text.slice(line + 2);
    }
  }
}

/** Latin1 text of one to three requests, two in five of them untouched. */
export function randomRequests(draw: Draws): string {
  let text = draw.next() < 0.6 ? goodRequest(draw) : draw.pick(draw.next() < 0.6 ? GOOD : SEEDS);
  while (draw.next() < 0.25) text += draw.next() < 0.7 ? goodRequest(draw) : draw.pick(SEEDS);
  if (draw.next() < 0.4) return text;
  for (let n = draw.below(3); n >= 0; n--) text = mutateOnce(draw, text);
  return text;
}

/** The bytes as they might arrive: in one piece, cut in two or a few, or one by one. */
export function randomCuts(draw: Draws, bytes: Buffer): Buffer[] {
  const kind = draw.below(10);
  if (kind < 5 || bytes.length < 2) return [bytes];
  if (kind === 9) return everyByte(bytes);
  const cuts: Buffer[] = [];
  let at = 0;
  for (let n = kind - 4; n > 0 && at < bytes.length - 1; n--) {
    const next = at + 1 + draw.below(bytes.length - at - 1);
    cuts.push(bytes.subarray(at, next));
    at = next;
  }
  cuts.push(bytes.subarray(at));
  return cuts;
}

export function everyByte(bytes: Buffer): Buffer[] {
  return Array.from(bytes, (_byte, at) => bytes.subarray(at, at + 1));
}
