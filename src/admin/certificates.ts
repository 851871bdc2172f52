/** What operators may do with certificates, for `skerry certs`. */
import { Hono } from "hono";
import type { CertificateActions } from "../tls/actions.ts";
import { REVOCATION_REASONS, type RevocationReason } from "../tls/revocation.ts";
import { answerError, badRequest, bodyOf, refusePages } from "./guard.ts";

/**
 * - `POST /certificates/HOST/renew` with `{ "force": true }`: 200 with its status once the new one is served.
 * - `POST /certificates/HOST/revoke` with `{ "reason": "keyCompromise" }`.
 * - `POST /certificates/HOST/reload`: looks at storage.
 *
 * Bodies are JSON. Whatever comes from a web page is refused.
 */
export function certificateRoutes(actions: CertificateActions): Hono {
  const app = new Hono();
  app.use(refusePages);
  app.onError(answerError);
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
