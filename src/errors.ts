/** Errors are facts that callers act on: what happened (`code`), where (`source`), and whether to try again (`retry`). */

/** Every code that an {@link EdgeError} may carry. Add here before use. */
export type ErrorCode =
  // configuration and start
  | "CONFIG_INVALID"
  | "CONFIG_UNREADABLE"
  | "LISTEN_FAILED"
  | "USAGE"
  // storage
  | "STORAGE_UNREADABLE"
  | "STORAGE_UNWRITABLE"
  | "STORAGE_LOCKED"
  | "STORAGE_CORRUPT"
  // certificates
  | "CERTIFICATE_INVALID"
  | "CERTIFICATE_MISSING"
  | "ACME_PROBLEM"
  | "ACME_UNREACHABLE"
  | "ACME_TIMEOUT"
  | "ACME_CHALLENGE_FAILED"
  | "ACME_LIMITED"
  | "DNS_FAILED"
  | "PREFLIGHT_FAILED"
  // downstream
  | "BAD_REQUEST"
  | "LIMIT_EXCEEDED"
  | "CLIENT_CLOSED"
  | "CLIENT_TIMEOUT"
  | "UNKNOWN_HOST"
  | "MISDIRECTED"
  | "CLIENT_CERTIFICATE"
  // upstream
  | "NO_BACKEND"
  | "NO_SERVER"
  | "UPSTREAM_BUSY"
  | "UPSTREAM_CONNECT"
  | "UPSTREAM_REFUSED"
  | "UPSTREAM_RESET"
  | "UPSTREAM_PROTOCOL"
  | "UPSTREAM_TIMEOUT"
  // inside
  | "MIDDLEWARE_FAILED"
  | "PROTOCOL_ERROR"
  | "SHUTTING_DOWN"
  | "INTERNAL";

export type ErrorSource = "downstream" | "upstream" | "ca" | "storage" | "operator" | "internal";

/**
 * Whether the same request may go to another server.
 * `any`: provably not accepted, so any method may; `idempotent`: only methods that may be repeated; `never`.
 */
export type Retry = "any" | "idempotent" | "never";

export interface EdgeErrorFacts {
  /** @default "internal" */
  source?: ErrorSource;
  /** @default "never" */
  retry?: Retry;
  /** The HTTP status that tells a client of it. @default 500 */
  status?: number;
  cause?: unknown;
}

/** The one error class of the edge. Its message is for the operator's log; clients see only `status` and `code`. */
export class EdgeError extends Error {
  readonly code: ErrorCode;
  readonly source: ErrorSource;
  readonly retry: Retry;
  readonly status: number;

  constructor(code: ErrorCode, message: string, facts: EdgeErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = "EdgeError";
    this.code = code;
    this.source = facts.source ?? "internal";
    this.retry = facts.retry ?? "never";
    this.status = facts.status ?? 500;
  }
}

/** What a log line says of anything thrown: never a stack for an {@link EdgeError}, which was foreseen. */
export function errorFields(thrown: unknown): Record<string, unknown> {
  if (thrown instanceof EdgeError) {
    const cause = thrown.cause instanceof Error ? { cause: thrown.cause.message } : {};
    return { code: thrown.code, source: thrown.source, message: thrown.message, ...cause };
  }
  if (thrown instanceof Error) {
    const code = (thrown as { code?: unknown }).code;
    return {
      code: typeof code === "string" ? code : "INTERNAL",
      message: thrown.message,
      stack: thrown.stack,
    };
  }
  return { code: "INTERNAL", message: String(thrown) };
}

/** The message of anything thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
