/** Which header fields go on, which stop here, and which the edge writes. Pure, and kept on the heads they are of. */
import type { DownstreamConnection, HttpVersion, ResponseHead } from "../exchange/exchange.ts";
import { responseHead } from "../exchange/exchange.ts";
import type { HeaderList } from "../exchange/headers.ts";
import { getHeader, hasToken, isName } from "../exchange/headers.ts";
import { type Forwarding, forwardingFields } from "./forwarded.ts";

/** What becomes of a field. */
const KEEP = 0;
/** Means something to the next hop alone (RFC 9110 §7.6.1), or is written anew by the transport. */
const DROP = 1;
const CONNECTION = 2;
const TE = 3;
/** Written by the edge; a trusted proxy's value is taken in. */
const FORWARDING = 4;
/** Says where a request came from as well: kept from trusted proxies only. */
const HEARSAY = 5;
const VIA = 6;
type Kind = 0 | 1 | 2 | 3 | 4 | 5 | 6;

const HOP: ReadonlySet<string> = new Set([
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authentication-info",
  "proxy-authorization",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/** Dropped from requests besides: framing and host are the transport's, `Proxy` would set HTTP_PROXY in a CGI ("httpoxy"). */
const NOT_FORWARDED: ReadonlySet<string> = new Set(["host", "content-length", "proxy", "x-request-id"]);

const FORWARDED: ReadonlySet<string> = new Set([
  "forwarded",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
]);

/**
 * What Connection may name without effect. A client that could delete these could undo what the edge or a proxy before
 * it says of it (CVE-2024-45410), or change what a message means.
 */
const GUARDED: ReadonlySet<string> = new Set([
  "authorization",
  "cache-control",
  "content-encoding",
  "content-length",
  "content-type",
  "cookie",
  "expect",
  "forwarded",
  "host",
  "set-cookie",
  "via",
  "x-real-ip",
  "x-request-id",
]);

/** Names come from clients, so what is remembered of them has a bound. */
const MOST_NAMES = 1024;
const LONGEST_NAME = 64;
const requestKinds = new Map<string, Kind>();

/** Some servers read `_` and `.` in names as `-`, so that x_forwarded_for would pass for ours (CVE-2026-88011). */
function isAlias(lower: string): boolean {
  if (!/[_.]/.test(lower)) return false;
  const plain = lower.replace(/[_.]/g, "-");
  return (
    plain.startsWith("x-forwarded-") ||
    FORWARDED.has(plain) ||
    plain === "x-real-ip" ||
    plain === "x-request-id"
  );
}

function kindOf(name: string): Kind {
  const known = requestKinds.get(name);
  if (known !== undefined) return known;
  const lower = name.toLowerCase();
  let kind: Kind = KEEP;
  if (lower === "connection") kind = CONNECTION;
  else if (lower === "te") kind = TE;
  else if (lower === "via") kind = VIA;
  else if (FORWARDED.has(lower)) kind = FORWARDING;
  else if (lower.startsWith("x-forwarded-") || lower === "x-real-ip") kind = HEARSAY;
  else if (HOP.has(lower) || NOT_FORWARDED.has(lower) || isAlias(lower)) kind = DROP;
  if (requestKinds.size < MOST_NAMES && name.length <= LONGEST_NAME) requestKinds.set(name, kind);
  return kind;
}

/** The fields that Connection names, in lower case; undefined where it names none that would be there. */
function namedFields(headers: HeaderList): ReadonlySet<string> | undefined {
  let names: Set<string> | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    if (!isName(headers[i]!, "connection")) continue;
    const value = headers[i + 1]!;
    if (isName(value, "keep-alive") || isName(value, "close") || isName(value, "upgrade")) continue;
    for (const part of value.split(",")) {
      const token = part.trim().toLowerCase();
      if (token === "" || GUARDED.has(token) || token.startsWith("x-forwarded-")) continue;
      names ??= new Set();
      names.add(token);
    }
  }
  return names;
}

/** What is known of a request besides its fields. */
export interface RequestFacts extends Forwarding {
  readonly version: HttpVersion;
  readonly connection: DownstreamConnection;
  /** The name in Via: "skerry", maybe with this edge's id. */
  readonly via: string;
}

const MEMO = Symbol("request headers");

interface Memo {
  readonly facts: Pick<RequestFacts, "connection" | "peerTrusted" | "clientAddress" | "via">;
  readonly headers: HeaderList;
}

/** End-to-end ones as received, then Via and who the client is. */
function buildRequest(headers: HeaderList, facts: RequestFacts): HeaderList {
  const out: HeaderList = [];
  const named = namedFields(headers);
  let via = "";
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!;
    const value = headers[i + 1]!;
    switch (kindOf(name)) {
      case KEEP:
        if (named === undefined || !named.has(name.toLowerCase())) out.push(name, value);
        break;
      case TE:
        // Transfer codings are the next hop's; that the client reads trailers holds all the way (gRPC asks for it).
        if (hasToken(value, "trailers")) out.push("TE", "trailers");
        break;
      case HEARSAY:
        if (facts.peerTrusted) out.push(name, value);
        break;
      case VIA:
        via += `${value}, `;
        break;
    }
  }
  out.push("Via", `${via}${facts.version} ${facts.via}`);
  forwardingFields(headers, facts, out);
  return out;
}

/**
 * The list for {@link UpstreamRequest.headers}, but for X-Request-Id. With a `memo` (the head's) a repeated head gives the
 * same list again; treat it as immutable.
 */
export function requestHeaders(
  headers: HeaderList,
  facts: RequestFacts,
  memo?: Record<symbol, unknown>,
): HeaderList {
  const known = memo?.[MEMO] as Memo | undefined;
  if (
    known !== undefined &&
    known.facts.connection === facts.connection &&
    known.facts.peerTrusted === facts.peerTrusted &&
    known.facts.clientAddress === facts.clientAddress &&
    known.facts.via === facts.via
  )
    return known.headers;
  const list = buildRequest(headers, facts);
  if (memo) memo[MEMO] = { facts, headers: list } satisfies Memo;
  return list;
}

/** How often a request may pass this edge: an app may well call itself through it, a loop does it for ever. */
const MOST_PASSES = 5;

/** Whether Via says that the request has been here too often (answer 508). */
export function isLoop(headers: HeaderList, via: string): boolean {
  let passes = 0;
  for (let i = 0; i < headers.length; i += 2) {
    if (!isName(headers[i]!, "via")) continue;
    for (const entry of headers[i + 1]!.split(",")) {
      const [, receivedBy] = entry.trim().split(/[ \t]+/, 2);
      if (receivedBy === via) passes++;
    }
  }
  return passes >= MOST_PASSES;
}

/**
 * Max-Forwards of an OPTIONS or TRACE (RFC 9110 §7.6.2): 0 when the edge must answer itself, a number to go on with
 * after taking one off, undefined where it does not apply.
 */
export function maxForwards(method: string, headers: HeaderList): number | undefined {
  if (method !== "OPTIONS" && method !== "TRACE") return undefined;
  const value = getHeader(headers, "max-forwards");
  if (value === undefined || !/^\d{1,9}$/.test(value)) return undefined;
  return Number(value);
}

const responseKinds = new Map<string, boolean>();

/** Whether a response field stops here. */
function stops(name: string): boolean {
  const known = responseKinds.get(name);
  if (known !== undefined) return known;
  const lower = name.toLowerCase();
  // What another edge says of its own attempts is for this one alone.
  const drop = lower === "connection" || lower === "te" || lower === "x-skerry-attempts" || HOP.has(lower);
  if (responseKinds.size < MOST_NAMES && name.length <= LONGEST_NAME) responseKinds.set(name, drop);
  return drop;
}

/** The end-to-end fields of a response, 1xx included; the same list where none stops. */
export function responseHeaders(headers: HeaderList): HeaderList {
  let first = 0;
  while (first < headers.length && !stops(headers[first]!)) first += 2;
  if (first >= headers.length) return headers;
  const named = namedFields(headers);
  const out: HeaderList = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i]!;
    if (!stops(name) && !named?.has(name.toLowerCase())) out.push(name, headers[i + 1]!);
  }
  return out;
}

const STRIPPED = Symbol("stripped response");

/**
 * The head that goes to the client, kept on the one it is made from. No Via is added: RFC 9110 §7.6.3 leaves that to a
 * gateway, and it would tell every visitor what the site runs on while telling its operator nothing new.
 */
export function clientHead(head: ResponseHead): ResponseHead {
  const known = head.memo[STRIPPED] as ResponseHead | undefined;
  if (known !== undefined) return known;
  const headers = responseHeaders(head.headers);
  const stripped = headers === head.headers ? head : responseHead(head.status, headers, head.reason);
  head.memo[STRIPPED] = stripped;
  return stripped;
}
