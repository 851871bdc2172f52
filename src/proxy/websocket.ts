/**
 * The handshake of WebSockets where the two sides speak different HTTP versions: HTTP/1 proves it with a key
 * (RFC 6455 §4), HTTP/2 needs none (RFC 8441 §5).
 */
import { createHash, randomBytes } from "node:crypto";
import type { HttpVersion } from "../exchange/exchange.ts";
import { getHeader, type HeaderList, withHeader, withoutHeader } from "../exchange/headers.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** The Sec-WebSocket-Accept for a Sec-WebSocket-Key. */
export function acceptOf(key: string): string {
  return createHash("sha1")
    .update(key + GUID)
    .digest("base64");
}

/** A request's fields with a key, made where an HTTP/2 client sent none. */
export function withKey(headers: HeaderList): HeaderList {
  if (getHeader(headers, "sec-websocket-key") !== undefined) return headers;
  return withHeader(headers, "Sec-WebSocket-Key", randomBytes(16).toString("base64"));
}

/**
 * The answer's fields for a client of `version`: with the proof where it waits for one, without where it does not.
 * Undefined when the server's proof is wrong, that is, when it did not understand.
 */
export function acceptedFields(
  headers: HeaderList,
  sent: HeaderList,
  version: HttpVersion,
): HeaderList | undefined {
  const expected = acceptOf(getHeader(sent, "sec-websocket-key") ?? "");
  const given = getHeader(headers, "sec-websocket-accept");
  if (given !== undefined && given.trim() !== expected) return undefined;
  if (version === "2") return withoutHeader(headers, "sec-websocket-accept");
  return given === undefined ? withHeader(headers, "Sec-WebSocket-Accept", expected) : headers;
}
