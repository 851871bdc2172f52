/** The admin API: is it alive, is it ready, what does it count, what does it hold. Bound to loopback by default. */
import { Hono } from "hono";
import type { AdminSource } from "../edge/admin-source.ts";
import { degradations } from "../edge/readiness.ts";
import { certificateRoutes } from "./certificates.ts";
import { hostRoutes, serverRoutes } from "./dynamic.ts";
import { fleetRoutes } from "./fleet.ts";
import { requestRoutes } from "./requests.ts";

/**
 * - `GET /`: what else can be asked, for who opens the address in a browser.
 * - `GET /livez`: 200 while the process answers at all.
 * - `GET /readyz`: 200 when it takes traffic (`ready`, or `degraded` with the reasons), 503 while starting or draining.
 * - `GET /metrics`: Prometheus text.
 * - `GET /certificates`, `GET /backends`, `GET /wormholes`: JSON.
 * - `GET /edges`, `GET /agents`, `GET /certificates/HOST`: see `fleet.ts`.
 * - `GET /requests`, `GET /requests/ID`: see `requests.ts`.
 * - `GET /hosts`, and what changes hosts and servers: see `dynamic.ts`.
 * - `POST /certificates/HOST/…`: see `certificates.ts`.
 */
export function createAdminApp(source: AdminSource): Hono {
  const app = new Hono();
  app.get("/livez", (c) => c.json({ status: "alive", version: source.version, location: source.location }));
  app.get("/readyz", (c) => {
    const state = source.state();
    if (state !== "ready") return c.json({ status: state }, 503);
    const problems = degradations(source);
    return c.json(problems.length > 0 ? { status: "degraded", problems } : { status: "ready" });
  });
  app.get("/metrics", async (c) =>
    c.body(await source.metrics.expose(), 200, { "Content-Type": source.metrics.contentType }),
  );
  app.get("/certificates", (c) => c.json({ certificates: source.certificates() }));
  if (source.actions) app.route("/certificates", certificateRoutes(source.actions));
  app.get("/backends", (c) => c.json({ backends: source.backends() }));
  if (source.dynamic) {
    app.route("/backends", serverRoutes(source.dynamic));
    app.route("/hosts", hostRoutes(source.dynamic));
  }
  app.get("/wormholes", (c) => c.json({ wormholes: source.wormholes?.() ?? [] }));
  app.route("/", fleetRoutes(source));
  app.route(
    "/requests",
    requestRoutes(() => source.requests?.()),
  );
  const paths = app.routes
    .filter(({ method, path }) => method === "GET" && !path.includes(":"))
    .map(({ path }) => path);
  const index = `Skerry ${source.version}\n\n${[...new Set(paths)].sort().join("\n")}\n`;
  return app.get("/", (c) => c.text(index));
}
