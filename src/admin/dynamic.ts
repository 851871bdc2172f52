/** Hosts and servers that are added and removed for the whole fleet, for `skerry hosts` and `skerry backends`. */
import { type Context, Hono } from "hono";
import type { DynamicEdit } from "../config/dynamic.ts";
import type { DynamicActions } from "../edge/dynamic.ts";
import { EdgeError } from "../errors.ts";
import { answerError, badRequest, bodyOf, refusePages } from "./guard.ts";

/**
 * - `GET /hosts`: all hosts, each with its backend and its `source`, "config" or "dynamic".
 * - `POST /hosts` with `{ "host": "app.example.com", "backend": "web" }`, and `"replace": true` for one that has another
 *   backend; `DELETE /hosts/HOST`.
 *
 * A change is answered when this edge serves it: 200 with what was done, 400 for what is malformed, 404 for what is not
 * there, 409 for what the config or an earlier change says, 503 while the storage is away.
 */
export function hostRoutes(dynamic: DynamicActions): Hono {
  const app = routes();
  app.get("/", (c) => c.json({ generation: dynamic.generation(), hosts: dynamic.hosts() }));
  app.post("/", async (c) => {
    const { host, backend, replace } = await bodyOf(c.req.raw);
    const edit = { kind: "add-host", host: text(host, "host"), backend: text(backend, "backend") } as const;
    return change(c, dynamic, { ...edit, replace: replace === true });
  });
  app.delete("/:host", (c) => change(c, dynamic, { kind: "remove-host", host: c.req.param("host") }));
  return app;
}

/**
 * - `POST /backends/BACKEND/servers` with `{ "url": "http://10.0.0.7:8000" }` and, if wished, a `weight` and a `location`.
 * - `DELETE /backends/BACKEND/servers/URL`, with the URL percent-encoded.
 */
export function serverRoutes(dynamic: DynamicActions): Hono {
  const app = routes();
  app.post("/:backend/servers", async (c) => {
    const { url, weight, location } = await bodyOf(c.req.raw);
    if (weight !== undefined && typeof weight !== "number") throw badRequest("weight is a number");
    const backend = c.req.param("backend");
    return change(c, dynamic, {
      kind: "add-server",
      backend,
      url: text(url, "url"),
      ...(weight !== undefined && { weight }),
      ...(location !== undefined && { location: text(location, "location") }),
    });
  });
  app.delete("/:backend/servers/:url{.+}", (c) => {
    const { backend, url } = c.req.param();
    return change(c, dynamic, { kind: "remove-server", backend: backend ?? "", url: url ?? "" });
  });
  return app;
}

function routes(): Hono {
  const app = new Hono();
  app.use(refusePages);
  app.onError(answerError);
  return app;
}

async function change(c: Context, dynamic: DynamicActions, edit: DynamicEdit): Promise<Response> {
  try {
    const { said, changed, generation } = await dynamic.edit(edit);
    return c.json({ message: said, changed, generation });
  } catch (thrown) {
    if (!(thrown instanceof EdgeError) || thrown.source !== "storage") throw thrown;
    return c.json({ code: thrown.code, message: thrown.message }, 503);
  }
}

function text(value: unknown, name: string): string {
  if (typeof value === "string") return value;
  throw badRequest(`${name} is missing, or no text`);
}
