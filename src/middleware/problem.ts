/** Error answers as problem documents (RFC 9457): what a client may know, in a form that programs can read. */
import { STATUS_CODES } from "node:http";
import type { EdgeError } from "../errors.ts";

export interface ProblemOptions {
  /** A sentence for the client. Nothing internal goes in. */
  detail?: string;
  /** Fields of the answer. */
  headers?: Record<string, string>;
}

/** An answer `{ "type": "about:blank", "title", "status", "code" }`. */
export function problem(status: number, code: string, options: ProblemOptions = {}): Response {
  const { detail, headers } = options;
  const title = STATUS_CODES[status] ?? "Error";
  return new Response(
    JSON.stringify({ type: "about:blank", title, status, code, ...(detail !== undefined && { detail }) }),
    {
      status,
      headers: { "content-type": "application/problem+json", "cache-control": "no-store", ...headers },
    },
  );
}

/** What a client sees of an error: its status and code, never its message. */
export function problemOf(error: EdgeError): Response {
  return problem(error.status, error.code);
}
