/** The admin API: is it alive, is it ready, what does it count, what does it hold. Bound to loopback by default. */
import { Hono } from "hono";
import type { Metrics } from "../metrics.ts";

/** What the admin API reads; it changes nothing. */
export interface AdminSource {
  readonly metrics: Metrics;
  readonly version: string;
  readonly location: string;
  state(): "starting" | "ready" | "draining";
  /** One entry per host that is served by HTTPS. */
  certificates(): readonly CertificateView[];
  backends(): readonly BackendView[];
}

/** One host's certificate; whatever else the source knows of it is shown too. */
export interface CertificateView {
  readonly host: string;
  readonly state: "valid" | "expiring" | "expired" | "missing";
}

export interface BackendView {
  readonly name: string;
  readonly servers: readonly ServerView[];
}

export interface ServerView {
  readonly id: string;
  readonly state: "available" | "ejected" | "probing" | "unhealthy";
  readonly inFlight: number;
  readonly latencyMs: number | undefined;
  readonly weight: number;
}

/** Hosts that visitors cannot use as they should, each with why. */
function degraded(source: AdminSource): string[] {
  const hosts = source
    .certificates()
    .filter(({ state }) => state === "missing" || state === "expired")
    .map(({ host, state }) => `${host}: certificate ${state}`);
  const backends = source
    .backends()
    .filter(({ servers }) => servers.length > 0 && servers.every(({ state }) => state !== "available"))
    .map(({ name }) => `${name}: no server is available`);
  return [...hosts, ...backends];
}

/**
 * - `GET /livez`: 200 while the process answers at all.
 * - `GET /readyz`: 200 when it takes traffic (`ready`, or `degraded` with the reasons), 503 while starting or draining.
 * - `GET /metrics`: Prometheus text.
 * - `GET /certificates`, `GET /backends`: JSON.
 */
export function createAdminApp(source: AdminSource): Hono {
  const app = new Hono();
  app.get("/livez", (c) => c.json({ status: "alive", version: source.version, location: source.location }));
  app.get("/readyz", (c) => {
    const state = source.state();
    if (state !== "ready") return c.json({ status: state }, 503);
    const problems = degraded(source);
    return c.json(problems.length > 0 ? { status: "degraded", problems } : { status: "ready" });
  });
  app.get("/metrics", async (c) =>
    c.body(await source.metrics.expose(), 200, { "Content-Type": source.metrics.contentType }),
  );
  app.get("/certificates", (c) => c.json({ certificates: source.certificates() }));
  app.get("/backends", (c) => c.json({ backends: source.backends() }));
  return app;
}
