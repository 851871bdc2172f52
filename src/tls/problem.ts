/** What a CA says when it refuses (RFC 8555 §6.7, RFC 7807), as facts. */
import { EdgeError } from "../errors.ts";

const PREFIX = "urn:ietf:params:acme:error:";
const MAX_DETAIL = 500;

export interface ProblemFacts {
  /** Without the ACME prefix: "rateLimited", "unauthorized"; "none" where the answer was no problem document. */
  readonly type: string;
  /** HTTP status. */
  readonly status: number;
  readonly detail: string;
  readonly subproblems: readonly string[];
  /** How long the CA asks us to wait, where it does. */
  readonly retryAfterMs: number | undefined;
}

/** The cause of every EdgeError ACME_PROBLEM and ACME_CHALLENGE_FAILED. */
export class AcmeProblem extends Error implements ProblemFacts {
  readonly type: string;
  readonly status: number;
  readonly detail: string;
  readonly subproblems: readonly string[];
  readonly retryAfterMs: number | undefined;

  constructor(facts: ProblemFacts) {
    super(`${facts.type} (${facts.status}): ${[facts.detail, ...facts.subproblems].join("; ")}`);
    this.name = "AcmeProblem";
    this.type = facts.type;
    this.status = facts.status;
    this.detail = facts.detail;
    this.subproblems = facts.subproblems;
    this.retryAfterMs = facts.retryAfterMs;
  }
}

/** The CA's own words in anything thrown, where there are any. */
export function problemOf(thrown: unknown): AcmeProblem | undefined {
  return thrown instanceof EdgeError && thrown.cause instanceof AcmeProblem ? thrown.cause : undefined;
}

/** Reads an answer of status 400 or more. */
export function parseProblem(
  response: { status: number; headers: Record<string, string>; data: unknown },
  wall: number,
): AcmeProblem {
  const retryAfterMs = parseRetryAfter(response.headers["retry-after"], wall);
  return problemFrom(response.data, response.status, retryAfterMs);
}

/** Reads a problem object, such as the `error` of a challenge. */
export function problemFrom(value: unknown, status: number, retryAfterMs?: number): AcmeProblem {
  const document = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const parts = Array.isArray(document.subproblems) ? document.subproblems : [];
  return new AcmeProblem({
    type: shortType(document.type),
    status: typeof document.status === "number" ? document.status : status,
    detail: clean(document.detail) || `status ${status}`,
    subproblems: parts.slice(0, 10).map((part: Record<string, unknown> | null) => {
      return `${shortType(part?.type)}: ${clean(part?.detail)}`;
    }),
    retryAfterMs,
  });
}

/** RFC 9110 §10.2.3: seconds, or a date. Undefined where there is none that makes sense. */
export function parseRetryAfter(value: string | undefined, wall: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  // Without the zone it is no HTTP date, and Date.parse would make one of almost anything ("-1" is in 2001).
  const at = value.endsWith(" GMT") ? Date.parse(value) : Number.NaN;
  return Number.isNaN(at) ? undefined : Math.max(0, at - wall);
}

function shortType(type: unknown): string {
  if (typeof type !== "string") return "none";
  return type.startsWith(PREFIX) ? type.slice(PREFIX.length) : type.slice(0, 100);
}

/** A CA's text goes into logs: one line, of bounded length. */
function clean(detail: unknown): string {
  if (typeof detail !== "string") return "";
  return detail.replace(/[\x00-\x1f\x7f]+/g, " ").slice(0, MAX_DETAIL);
}
