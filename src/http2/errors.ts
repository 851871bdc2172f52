/** Error codes of RFC 9113 §7 and the one error that codecs throw. */
import { EdgeError, type Retry } from "../errors.ts";

export const NO_ERROR = 0x0;
export const PROTOCOL_ERROR = 0x1;
export const INTERNAL_ERROR = 0x2;
export const FLOW_CONTROL_ERROR = 0x3;
export const SETTINGS_TIMEOUT = 0x4;
export const STREAM_CLOSED = 0x5;
export const FRAME_SIZE_ERROR = 0x6;
export const REFUSED_STREAM = 0x7;
export const CANCEL = 0x8;
export const COMPRESSION_ERROR = 0x9;
export const CONNECT_ERROR = 0xa;
export const ENHANCE_YOUR_CALM = 0xb;
export const INADEQUATE_SECURITY = 0xc;
export const HTTP_1_1_REQUIRED = 0xd;

const NAMES = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED",
] as const;

/** The name of an error code for a log line; unknown codes in hexadecimal. */
export function codeName(code: number): string {
  return NAMES[code] ?? `0x${code.toString(16)}`;
}

/** A breach of RFC 9113 or RFC 7541 found by a codec: always the connection's end (`http2Code` goes into GOAWAY). */
export class Http2Error extends EdgeError {
  readonly http2Code: number;

  constructor(http2Code: number, message: string) {
    super("PROTOCOL_ERROR", message, { source: "downstream", status: 400 });
    this.name = "Http2Error";
    this.http2Code = http2Code;
  }
}

/** The client's side went away: what an exchange's listeners and body sinks hear. */
export function clientGone(message: string): EdgeError {
  return new EdgeError("CLIENT_CLOSED", message, { source: "downstream", status: 499 });
}

/** The server's side failed: what a dispatched request hears. */
export function upstreamReset(message: string, retry: Retry): EdgeError {
  return new EdgeError(retry === "any" ? "UPSTREAM_REFUSED" : "UPSTREAM_RESET", message, {
    source: "upstream",
    retry,
    status: 502,
  });
}
