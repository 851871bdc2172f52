/** Sends a request to a server of a pool and brings back its answer; tries another server where that is safe. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { RequestContext } from "../exchange/context.ts";
import { responseHead } from "../exchange/exchange.ts";
import { requestParts } from "../exchange/web-request.ts";
import { lazyResponse } from "../exchange/web-response.ts";
import type { Metrics } from "../metrics.ts";
import type { Pool } from "../upstream/pool.ts";
import { DEFAULT_POLICY, type ForwardPolicy, PoolFacts } from "./facts.ts";
import { Forwarding } from "./forwarding.ts";
import { isLoop, maxForwards } from "./headers.ts";
import { isUpgrade } from "./upgrade.ts";

export interface ForwarderOptions {
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** This edge's name in Via; the same name met five times is a loop. @default "skerry" */
  readonly via?: string;
}

/**
 * Forwards a request; `policy` says when to try again beyond what is always safe. Resolves with the answer at its head; the body follows at the client's pace.
 * Rejects with an EdgeError: NO_SERVER (503), UPSTREAM_… (502, 504), CLIENT_CLOSED (499) or PROTOCOL_ERROR (508).
 */
export type Forward = (
  request: Request,
  context: RequestContext,
  pool: Pool,
  policy?: ForwardPolicy,
) => Promise<Response>;

export function createForwarder(options: ForwarderOptions): Forward {
  const { clock, metrics } = options;
  const via = options.via ?? "skerry";
  const retries = metrics.counter("skerry_upstream_retries_total", "Requests sent to another server.", [
    "backend",
  ]);
  const failures = metrics.counter(
    "skerry_upstream_failures_total",
    "Attempts without an answer, by error.",
    ["backend", "code"],
  );
  const hedges = metrics.counter(
    "skerry_upstream_hedges_total",
    "Second attempts while the first was slow: sent, and won where they were the ones to answer.",
    ["backend", "event"],
  );
  const known = new WeakMap<Pool, PoolFacts>();
  const factsOf = (pool: Pool): PoolFacts => {
    let facts = known.get(pool);
    if (!facts) {
      const retried = retries.labels(pool.name);
      facts = new PoolFacts(clock, {
        retried: () => retried.inc(),
        failed: (code) => failures.inc({ backend: pool.name, code }),
        hedged: (event) => hedges.inc({ backend: pool.name, event }),
      });
      known.set(pool, facts);
    }
    return facts;
  };

  return (request, context, pool, policy = DEFAULT_POLICY) => {
    const answer = Promise.withResolvers<Response>();
    context.backend = pool.name;
    const facts = factsOf(pool);
    facts.policy = policy;
    facts.request();
    try {
      const parts = requestParts(request);
      if (isLoop(parts.headers, via)) throw loopError();
      if (parts.method === "CONNECT" && !isUpgrade(parts.protocol)) throw connectError();
      const hops = maxForwards(parts.method, parts.headers);
      if (hops === 0) answer.resolve(finalRecipient(parts.method));
      else new Forwarding(parts, hops, context, pool, facts, clock, via, answer).attempt();
    } catch (thrown) {
      answer.reject(thrown);
    }
    return answer.promise;
  };
}

/** A tunnel to anywhere is what an open proxy gives, and no backend is one. */
function connectError(): EdgeError {
  return new EdgeError("BAD_REQUEST", "CONNECT is not forwarded", { source: "downstream", status: 501 });
}

function loopError(): EdgeError {
  const message = "the request has passed this edge too often: does a backend point back at it?";
  return new EdgeError("PROTOCOL_ERROR", message, { source: "operator", status: 508 });
}

/** Max-Forwards ran out: the edge answers as if the request had been meant for it (RFC 9110 §7.6.2). */
function finalRecipient(method: string): Response {
  // A TRACE would echo the client's cookies and credentials to whatever script sent it.
  return lazyResponse(
    method === "TRACE" ? responseHead(405, ["Allow", "OPTIONS"]) : responseHead(204),
    undefined,
  );
}
