/** What `proxy("web")` does: finds the running edge by the request, and forwards to the backend's pool. */
import type { Context, Handler } from "hono";
import type { Clock, Random } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { type EdgeEnv, PROXIED_BACKEND, type RequestContext } from "../exchange/context.ts";
import { contextOf } from "../exchange/web-request.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { createForwarder } from "../proxy/forward.ts";
import { createCheck } from "../proxy/probe.ts";
import { createResolve } from "../proxy/resolve-dns.ts";
import { transportFor } from "../proxy/transport.ts";
import { type Backends, createBackends } from "./backends.ts";
import { EdgeRequest } from "./request-context.ts";

export interface Proxying {
  readonly backends: Backends;
  forward(request: Request, context: RequestContext, backend: string): Promise<Response>;
  close(): Promise<void>;
}

export function createProxying(parts: {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** @default "skerry" */
  readonly via?: string;
  /** Where the edge is, where somebody said it. */
  readonly location?: string | undefined;
}): Proxying {
  const forward = createForwarder(parts);
  const backends = createBackends({
    ...parts,
    transport: (server, backend) => transportFor(server, backend, parts),
    check: createCheck(parts),
    resolve: (servers) => createResolve({ clock: parts.clock, servers }),
  });
  return {
    backends,
    forward(request, context, name) {
      const backend = backends.get(name);
      if (backend) return forward(request, context, backend.pool, backend.config);
      return Promise.reject(
        new EdgeError("NO_BACKEND", `proxy("${name}"): no backend of that name is configured`, {
          source: "operator",
          status: 503,
        }),
      );
    },
    close: () => backends.close(),
  };
}

/** The handler of a backend whose edge is known. */
export function proxyHandler(proxying: Proxying, backend: string): Handler<EdgeEnv> {
  return (c) => proxying.forward(c.req.raw, requestContext(c), backend);
}

/**
 * A Hono handler that forwards the request to a backend of the config, and answers with what its server says.
 *
 * @example
 * ```ts
 * new Hono().all("/v1/*", proxy("api")).get("/", (c) => c.text("hello"));
 * ```
 * @param backend - a name from `backends`; one that is not there is a problem of the config where this handler is in a route,
 *   and otherwise answered with 503
 */
export function proxy(backend: string): Handler<EdgeEnv> {
  const handler: Handler<EdgeEnv> = (c) => {
    const context = requestContext(c);
    if (!(context instanceof EdgeRequest)) throw outside();
    return context.proxying.forward(c.req.raw, context, backend);
  };
  return Object.assign(handler, { [PROXIED_BACKEND]: backend });
}

/** A middleware may have put another request in place of ours (`c.req.raw = …`); `c.var.edge` stays. */
function requestContext(c: Context<EdgeEnv>): RequestContext {
  const context = (c.get("edge") as RequestContext | undefined) ?? contextOf(c.req.raw);
  if (!context) throw outside();
  return context;
}

function outside(): EdgeError {
  return new EdgeError("INTERNAL", "proxy() works only in apps that an edge serves", { source: "operator" });
}
