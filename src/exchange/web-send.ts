/** From a response's parts to `exchange.respond`: final fields, and a Content-Length that tells the truth. */
import type { ByteSource } from "./body.ts";
import type { Body, Exchange, ResponseHead } from "./exchange.ts";
import { responseHead } from "./exchange.ts";
import type { HeaderList } from "./headers.ts";
import { getHeaders, isName, withoutHeader } from "./headers.ts";
import type { HeaderChanges } from "./web-headers.ts";
import { applyChanges, sameChanges } from "./web-headers.ts";
import { exactly, sourceOf } from "./web-stream.ts";

const CHANGED = Symbol("changed");
const DIGITS = /^[0-9]{1,15}$/;

/** RFC 9110 §7.6.1: these are between two neighbours, and framing is the engine's. */
export function isConnectionField(name: string): boolean {
  switch (name.length) {
    case 7:
      return isName(name, "upgrade");
    case 10:
      return isName(name, "connection") || isName(name, "keep-alive");
    case 16:
      return isName(name, "proxy-connection");
    case 17:
      return isName(name, "transfer-encoding");
    default:
      return false;
  }
}

function endToEnd(list: HeaderList): HeaderList {
  const kept: HeaderList = [];
  for (let i = 0; i < list.length; i += 2)
    if (!isConnectionField(list[i]!)) kept.push(list[i]!, list[i + 1]!);
  return kept;
}

/** The head with changed fields; the same object again while heads and changes repeat. */
export function changedHead(head: ResponseHead, changes: HeaderChanges): ResponseHead {
  if (changes.length === 0) return head;
  const last = head.memo[CHANGED] as { changes: HeaderChanges; head: ResponseHead } | undefined;
  if (last && sameChanges(last.changes, changes)) return last.head;
  const changed = responseHead(head.status, endToEnd(applyChanges(head.headers, changes)), head.reason);
  head.memo[CHANGED] = { changes, head: changed };
  return changed;
}

export function asBody(taken: Uint8Array | ByteSource | ReadableStream): Uint8Array | ByteSource {
  return taken instanceof ReadableStream ? sourceOf(taken) : taken;
}

/** Answers with a Content-Length that tells the truth, or with none. */
export function respondChecked(exchange: Exchange, head: ResponseHead, body: Body): void {
  const claims = getHeaders(head.headers, "content-length");
  // RFC 9110 §8.6: here it says what a GET would have been answered with.
  if (claims.length === 0 || exchange.head.method === "HEAD" || head.status === 304)
    exchange.respond(head, body);
  else {
    const promised = claims.length === 1 && DIGITS.test(claims[0]!) ? Number(claims[0]) : undefined;
    const length = body === undefined ? 0 : body.length;
    if (promised !== undefined && length === promised) exchange.respond(head, body);
    else if (promised !== undefined && length === undefined)
      exchange.respond(head, exactly(body as ByteSource, promised));
    else {
      const { status, reason, headers } = head;
      exchange.respond(responseHead(status, withoutHeader(headers, "content-length"), reason), body);
    }
  }
}
