/** The last requests, and why each went to the server that it went to. */
import { Hono } from "hono";
import type { ExplainedRequest } from "../edge/explain.ts";

const OFF = 'nothing is remembered: set "explain": {} in the config';
const SHOWN = 100;

/**
 * - `GET /requests`: the newest first, 100 of them or `?limit=N`; `?status=503`, `?host=…`, `?server=…`, `?backend=…` and
 *   `?retried` (sent more than once) narrow it down.
 * - `GET /requests/ID`: one, or 404.
 */
export function requestRoutes(last: () => readonly ExplainedRequest[] | undefined): Hono {
  const app = new Hono();
  app.get("/", (c) => {
    const all = last();
    if (!all) return c.json({ error: OFF, requests: [] }, 404);
    const query = c.req.query();
    const limit = Number(query.limit ?? SHOWN);
    if (!(limit >= 0)) return c.json({ error: "limit must be a number" }, 400);
    const found = all.filter(
      ({ status, host, backend, attempts }) =>
        (query.status === undefined || String(status) === query.status) &&
        (query.host === undefined || host === query.host) &&
        (query.backend === undefined || backend === query.backend) &&
        (query.server === undefined || attempts.some(({ server }) => server === query.server)) &&
        (query.retried === undefined || attempts.length > 1),
    );
    return c.json({ requests: found.slice(0, limit) });
  });
  // An id that a trusted proxy gave may hold a slash.
  app.get("/:id{.+}", (c) => {
    const all = last();
    if (!all) return c.json({ error: OFF }, 404);
    const found = all.find(({ id }) => id === c.req.param("id"));
    return found ? c.json(found) : c.json({ error: "no such request among the last ones" }, 404);
  });
  return app;
}
