/** From what a config says of hosts to what answers each of them. */
import type { HostConfig, HostHandler, ResolvedConfig } from "../config/config.ts";
import type { EdgeError } from "../errors.ts";
import type { RequestContext } from "../exchange/context.ts";
import { joinHeader } from "../exchange/headers.ts";
import { lazyResponse } from "../exchange/web-response.ts";
import type { Log } from "../log.ts";
import { backendApp, prepareApp } from "../middleware/host-app.ts";
import { problem } from "../proxy/problem.ts";
import type { OnDemand } from "../tls/on-demand.ts";
import { withHsts, withLocation } from "./answer-fields.ts";
import { type Proxying, proxyHandler } from "./proxying.ts";
import {
  type App,
  createRouteTable,
  madeWhenAsked,
  onceEach,
  type Route,
  type RouteTable,
} from "./routes.ts";

export interface RoutingParts {
  readonly proxying: Proxying;
  readonly log: Log;
  /** Names that are served besides the config's hosts. */
  readonly onDemand: Pick<OnDemand, "has"> | undefined;
}

/** Makes the table of a config. Hosts that are the same in two configs keep their apps. */
export function createRouting({
  proxying,
  log,
  onDemand,
}: RoutingParts): (config: ResolvedConfig) => RouteTable {
  const report = (error: EdgeError, context: RequestContext | undefined): void => {
    if (error.source === "upstream" || error.source === "downstream") return;
    const { cause } = error;
    log.error("middleware.failed", {
      id: context?.requestId,
      host: context?.host,
      code: error.code,
      message: error.message,
      ...(cause instanceof Error && { stack: cause.stack }),
    });
  };
  const appOf = (handler: HostHandler, host: string): App => {
    const options = { host, report, answer };
    switch (handler.kind) {
      case "backend":
        return madeWhenAsked(() => backendApp(proxyHandler(proxying, handler.backend), handler.use, options));
      case "app":
        prepareApp(handler.app, options);
        return handler.app;
      default:
        return handler satisfies never;
    }
  };
  const routeOf = onceEach(
    ({ name, handler, hsts, clientAuth }: HostConfig): Route => ({
      host: name,
      app: withHsts(appOf(handler, name), hsts),
      clientAuth: clientAuth && (clientAuth.required ? "required" : "optional"),
    }),
  );
  return ({ hosts, onDemand: others, location, locationHeader }) => {
    const told = (inner: App): App => withLocation(inner, locationHeader ? location : undefined);
    const app = others && told(withHsts(appOf(others.handler, "hosts on demand"), others.hsts));
    return createRouteTable(
      [...hosts.values()].map(routeOf).map((route) => ({ ...route, app: told(route.app) })),
      (host) => (app && onDemand?.has(host) ? { host, app, label: "on-demand" } : undefined),
    );
  };
}

/** What a client is told of an error, as it likes to read it. */
function answer(error: EdgeError, context: RequestContext | undefined): Response {
  const accept = context && joinHeader(context.exchange.head.headers, "accept");
  const { head, body } = problem(error, { accept, requestId: context?.requestId });
  return lazyResponse(head, body);
}
