/** Hono's own `proxy()` helper on `@hono/node-server`, with the two rules as middleware. */
import { createSecureServer } from "node:http2";
import { serve } from "@hono/node-server";
import { getConnInfo } from "@hono/node-server/conninfo";
import { Hono } from "hono";
import { proxy } from "hono/proxy";
import { DENY_HEADER, EDGE_HEADER } from "../targets/target.ts";
import { pickBackend, serverOptions, site } from "./site.ts";

const app = new Hono();
if (site.rules) {
  app.use(async (c, next) => {
    if (c.req.header(DENY_HEADER) !== undefined) return c.text("denied", 403);
    return next();
  });
  app.use(async (c, next) => {
    await next();
    c.header(EDGE_HEADER, "hono");
  });
}
app.all("*", (c) => {
  const { pathname, search } = new URL(c.req.url);
  return proxy(`${pickBackend()}${pathname}${search}`, {
    ...c.req,
    headers: {
      ...c.req.header(),
      "x-forwarded-for": getConnInfo(c).remote.address,
      "x-forwarded-proto": "https",
    },
  });
});

serve({
  fetch: app.fetch,
  hostname: "127.0.0.1",
  port: site.port,
  createServer: createSecureServer,
  serverOptions,
});
