/** What operators may do with certificates, for `skerry certs`. */
import { Hono } from "hono";
import { EdgeError } from "../errors.ts";
import type { CertificateActions } from "../tls/actions.ts";
import { REVOCATION_REASONS, type RevocationReason } from "../tls/revocation.ts";

/**
 * - `POST /certificates/HOST/renew` with `{ "force": true }`: 200 with its status once the new one is served.
 * - `POST /certificates/HOST/revoke` with `{ "reason": "keyCompromise" }`.
 * - `POST /certificates/HOST/reload`: looks at storage.
 *
 * Bodies are JSON. Whatever comes from a web page is refused: a page on this machine's browser must not order anything.
 */
export function certificateRoutes(actions: CertificateActions): Hono {
  const app = new Hono();
  app.use(async (c, next) => {
    if (c.req.method !== "POST") return next();
    if (c.req.header("origin") !== undefined || c.req.header("sec-fetch-site") !== undefined)
      return c.json({ code: "BAD_REQUEST", message: "not for web pages" }, 403);
    if (!c.req.header("content-type")?.startsWith("application/json"))
      return c.json({ code: "BAD_REQUEST", message: "takes application/json" }, 415);
    return next();
  });
  app.onError((thrown, c) => {
    if (!(thrown instanceof EdgeError)) throw thrown;
    return c.json({ code: thrown.code, message: thrown.message }, thrown.status as 409);
  });
  app.post("/:host/renew", async (c) => {
    const { force } = await bodyOf(c.req.raw);
    return c.json(await actions.renew(c.req.param("host"), force === true, c.req.raw.signal));
  });
  app.post("/:host/revoke", async (c) => {
    const { reason } = await bodyOf(c.req.raw);
    if (typeof reason !== "string" || !Object.hasOwn(REVOCATION_REASONS, reason))
      throw badRequest(`reason is one of ${Object.keys(REVOCATION_REASONS).join(", ")}`);
    return c.json(await actions.revoke(c.req.param("host"), reason as RevocationReason, c.req.raw.signal));
  });
  app.post("/:host/reload", async (c) => c.json(await actions.reload(c.req.param("host"))));
  return app;
}

async function bodyOf(request: Request): Promise<Record<string, unknown>> {
  try {
    const value: unknown = await request.json();
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw badRequest("the body is no JSON object");
}

function badRequest(message: string): EdgeError {
  return new EdgeError("BAD_REQUEST", message, { source: "operator", status: 400 });
}
