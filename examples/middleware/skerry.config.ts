/** A host that is a whole Hono app: what Hono can do, a host can do. */
import { Hono } from "hono";
import { basicAuth } from "hono/basic-auth";
import { defineEdge, type EdgeEnv, hooks, proxy } from "skerry";
import { rateLimit } from "skerry/middleware";

const {
  SERVER = "http://127.0.0.1:3000",
  HTTP = "[::]:80",
  HTTPS = "[::]:443",
  ADMIN = "127.0.0.1:9180",
} = process.env;

/** Every answer says which edge it passed, and which server gave it. */
const stamp = hooks({
  response(c) {
    c.res.headers.set("x-edge", c.var.edge.location);
    if (c.var.edge.server) c.res.headers.set("x-served-by", c.var.edge.server);
  },
});

const api = new Hono<EdgeEnv>()
  .use(stamp)
  .get("/", (c) => c.text(`hello from ${c.var.edge.location}\n`))
  .use("/admin/*", basicAuth({ username: "ops", password: process.env.OPS_PASSWORD ?? "change me" }))
  .all("/admin/*", proxy("web"))
  .use("/v1/*", rateLimit({ limit: 5, windowMs: 60_000 }))
  .all("/v1/*", proxy("web"));

export default defineEdge({
  listen: { http: HTTP, https: HTTPS, admin: ADMIN },
  location: "example",
  acme: { email: "ops@example.com", agreeToTerms: true },
  backends: { web: { servers: [SERVER] } },
  hosts: {
    "api.localhost": api,
    "www.localhost": { backend: "web", use: [stamp] },
  },
});
