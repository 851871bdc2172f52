/** Remembers how the servers of the last requests were picked, for operators who ask why. Off, it costs a comparison. */
import type { Clock } from "../clock.ts";
import type { ExplainConfig } from "../config/retrying.ts";
import { EdgeError } from "../errors.ts";
import type { AttemptTrace } from "../exchange/trace.ts";
import { serverTiming, tenth } from "../proxy/trace.ts";
import type { EdgeRequest } from "./request-context.ts";
import { hostOf } from "./routes.ts";

/** One request as the admin API shows it. */
export interface ExplainedRequest {
  readonly id: string;
  /** When its head was complete. */
  readonly time: string;
  readonly client: string;
  readonly method: string;
  readonly host: string;
  readonly path: string;
  readonly status: number;
  /** From its head to the last byte of its answer. */
  readonly ms: number;
  readonly backend?: string;
  readonly code?: string;
  readonly attempts: readonly AttemptTrace[];
}

export interface Explaining {
  /** Makes a request write its attempts down, where the config asks for it. */
  begin(request: EdgeRequest): void;
  /** Keeps a request that is over. Returns what the access log is to say of it. */
  end(
    request: EdgeRequest,
    status: number,
    tookMs: number,
    error: unknown,
  ): readonly AttemptTrace[] | undefined;
  /** Undefined where nothing is kept; else the newest first. */
  last(): readonly ExplainedRequest[] | undefined;
}

/** A path can be as long as a head may be; so much of it tells which one it was. */
const LONGEST_PATH = 512;

export function createExplaining(config: () => ExplainConfig | undefined, clock: Clock): Explaining {
  /** A ring: `at` is where the next one goes, and the oldest lies once it is full. */
  let ring: ExplainedRequest[] = [];
  let at = 0;
  let size = 0;

  const newestFirst = (): ExplainedRequest[] => [...ring.slice(0, at).reverse(), ...ring.slice(at).reverse()];

  const resize = (wanted: number): void => {
    ring = newestFirst().slice(0, wanted).reverse();
    size = wanted;
    at = ring.length === size ? 0 : ring.length;
  };

  return {
    begin(request) {
      if (config() !== undefined) request.trace = { attempts: [] };
    },
    end(request, status, tookMs, error) {
      const explain = config();
      const { trace } = request;
      if (!explain || !trace) return undefined;
      if (explain.last !== size) resize(explain.last);
      if (size > 0) {
        ring[at] = explained(request, trace.attempts, status, tookMs, error ?? request.error, clock);
        at = (at + 1) % size;
      }
      return explain.accessLog ? trace.attempts : undefined;
    },
    last: () => (config() === undefined ? undefined : newestFirst()),
  };
}

function explained(
  request: EdgeRequest,
  attempts: readonly AttemptTrace[],
  status: number,
  tookMs: number,
  reason: unknown,
  clock: Clock,
): ExplainedRequest {
  const { head } = request.exchange;
  return {
    id: request.requestId,
    time: new Date(clock.wall() - tookMs).toISOString(),
    client: request.clientAddress,
    method: head.method,
    host: request.host || hostOf(head.authority),
    path: head.path.slice(0, LONGEST_PATH),
    status,
    ms: tenth(tookMs),
    ...(request.backend !== undefined && { backend: request.backend }),
    ...(reason instanceof EdgeError && { code: reason.code }),
    attempts,
  };
}

/**
 * The answer with what a trusted client is told: X-Skerry-Attempts, and Server-Timing where attempts are written down.
 * It comes after all middleware, so that no cache keeps it for others.
 */
export function withAttempts(response: Response, request: EdgeRequest, nowMs: number): Response {
  const answer = mutable(response);
  answer.headers.set("X-Skerry-Attempts", String(request.attempts));
  if (request.trace)
    answer.headers.append("Server-Timing", serverTiming(request.trace, nowMs - request.startedAt));
  return answer;
}

/** What `fetch` or `Response.redirect` gave cannot be changed; a copy of it can. */
function mutable(response: Response): Response {
  try {
    response.headers.delete("X-Skerry-Attempts");
    return response;
  } catch {
    return new Response(response.body, response);
  }
}
