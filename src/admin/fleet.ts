/** The fleet from any of its edges: `skerry edges`, `skerry agents`, and on how many edges a certificate is live. */
import { Hono } from "hono";
import type { AdminSource } from "../edge/admin-source.ts";

/**
 * - `GET /edges`: the edges that share storage.
 * - `GET /agents`: containers that are joined by wormholes, with the edges that hold each.
 * - `GET /certificates/HOST`: one host's certificate, and `fleet`: on which edges it is live, of the generation that is asked
 *   for (`?generation=3`) or the newest that any serves; 404 for no host of this edge.
 */
export function fleetRoutes({ fleet, certificates }: Pick<AdminSource, "fleet" | "certificates">): Hono {
  const app = new Hono();
  app.get("/certificates/:host", async (c) => {
    const host = c.req.param("host").toLowerCase();
    const status = certificates().find((each) => each.host === host);
    if (!status)
      return c.json({ code: "CERTIFICATE_MISSING", message: `${host} is no host of this edge` }, 404);
    const newest = Number(c.req.query("generation")) || 0;
    return c.json({ ...status, ...(fleet && { fleet: await fleet.live(host, newest) }) });
  });
  if (!fleet) return app;
  app.get("/edges", (c) => c.json(fleet.edges()));
  app.get("/agents", async (c) => c.json(await fleet.agents()));
  return app;
}
