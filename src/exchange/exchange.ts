/** One request and its answer, whatever the wire version. Both wire engines produce it, the edge answers it. */
import type { EdgeError } from "../errors.ts";
import type { ByteSource } from "./body.ts";
import type { HeaderList } from "./headers.ts";
import type { ByteStream } from "./stream.ts";

export type HttpVersion = "1.0" | "1.1" | "2";

/** What is known of the client's connection; one object per connection, shared by its exchanges. */
export interface DownstreamConnection {
  readonly id: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localPort: number;
  /** Absent on a plain connection. */
  readonly tls?: {
    /** "TLSv1.3" or "TLSv1.2". */
    readonly version: string;
    /** The server name of the handshake, lower case, "" where the client sent none. */
    readonly serverName: string;
    readonly alpn: string;
    readonly cipher: string;
    /** Set where the client was asked for a certificate. */
    readonly clientAuth?: ClientAuthState | undefined;
  };
}

/** What came of asking a client for a certificate. */
export interface ClientAuthState {
  /** The host that asked; the connection is good for no other. */
  readonly host: string;
  /** Undefined where none was shown, or one that is not believed. */
  readonly certificate: ClientCertificate | undefined;
  /** Why the one that was shown is not believed. */
  readonly refused: string | undefined;
}

/** A client's certificate, verified against the host's authorities. */
export interface ClientCertificate {
  /** "CN=alice, O=Example". */
  readonly subject: string;
  readonly issuer: string;
  /** Subject alternative names, each with its kind: "DNS:a.example.com", "email:alice@example.com". */
  readonly names: readonly string[];
  /** Hexadecimal, lower case. */
  readonly serial: string;
  /** SHA-256, "AB:CD:…". */
  readonly fingerprint256: string;
  /** Wall time in milliseconds. */
  readonly notAfter: number;
}

/**
 * A request's head. Immutable: engines may hand out the same object again for equal bytes on one connection,
 * so layers may hang what they derived from it onto `memo` under a symbol of their own.
 */
export interface RequestHead {
  readonly method: string;
  /** Origin form with query ("/a?b=c"), or "*" for OPTIONS. */
  readonly path: string;
  /** Host or :authority, checked but as received (may carry a port). */
  readonly authority: string;
  readonly scheme: "http" | "https";
  /** As received, Host included in HTTP/1; without pseudo-headers in HTTP/2. */
  readonly headers: HeaderList;
  /** What the client asks to switch to, in lower case ("websocket"), by Upgrade or extended CONNECT. */
  readonly protocol: string | undefined;
  readonly memo: Record<symbol, unknown>;
}

/** A response's head; immutable and shareable like {@link RequestHead}. */
export interface ResponseHead {
  readonly status: number;
  /** As received in HTTP/1, "" otherwise; never needed. */
  readonly reason: string;
  readonly headers: HeaderList;
  readonly memo: Record<symbol, unknown>;
}

/** What may follow a head: nothing, bytes that are all here, or a source. */
export type Body = undefined | Uint8Array | ByteSource;

/**
 * One request and its answer.
 *
 * Implementers MUST: frame the body for every method; add no body to HEAD, 204 and 304 answers; add `Date` where it is
 * missing; drop connection-specific fields for HTTP/2; call each close listener exactly once, whatever happens; tolerate
 * every call after the client is gone (it then does nothing, and cancels a given source).
 */
export interface Exchange {
  readonly version: HttpVersion;
  readonly head: RequestHead;
  /** Undefined where the request has none. An answered exchange drains or refuses what was left unread, boundedly. */
  readonly body: ByteSource | undefined;
  readonly connection: DownstreamConnection;
  /** True from `respond`, `accept` or `reset` on. */
  readonly answered: boolean;
  /** True once the last byte left or the client is gone. */
  readonly closed: boolean;
  /** Whether the client waits for "100 Continue" before its body and none was sent. */
  readonly expectsContinue: boolean;
  /** Sends an informational response (1xx but 101); silently nothing towards HTTP/1.0 clients. */
  inform(status: number, headers: HeaderList): void;
  /**
   * Answers. Called once. `headers` are the final ones, end-to-end fields only; a Content-Length in them MUST match the
   * body. Framing (Content-Length, chunked, END_STREAM, Connection) is the engine's.
   */
  respond(head: ResponseHead, body?: Body): void;
  /** Answers an upgrade: 101 (HTTP/1, with Connection and Upgrade added) or 200 (extended CONNECT); bytes then flow. */
  accept(headers: HeaderList): ByteStream;
  /** Ends the exchange without a clean end: the client sees a reset or a cut connection, never a short body as whole. */
  reset(error: EdgeError): void;
  /** Runs once when the exchange ends: without an error after the last byte was handed to the socket, else with why. */
  onClose(listener: (error: EdgeError | undefined) => void): void;
  /** The final status that was answered, or 0. */
  readonly status: number;
  /** Bytes of answer body handed to the socket so far; for the access log. */
  readonly bytesSent: number;
}

/** Makes a head. */
export function responseHead(status: number, headers: HeaderList = [], reason = ""): ResponseHead {
  return { status, reason, headers, memo: {} };
}

export function requestHead(
  fields: Omit<RequestHead, "memo" | "protocol"> & { protocol?: string | undefined },
): RequestHead {
  return { protocol: undefined, ...fields, memo: {} };
}
