/** Whether a connection may ask a host anything: client certificates are a matter of the connection, not of the request. */
import { EdgeError } from "../errors.ts";
import type { Exchange } from "../exchange/exchange.ts";
import { hostOf, type Route } from "./routes.ts";

/** What keeps an exchange from its route, if anything does. */
export function clientAuthError(route: Route, exchange: Exchange): EdgeError | undefined {
  const state = exchange.connection.tls?.clientAuth;
  if (state === undefined && route.clientAuth === undefined) return undefined;
  if (route.clientAuth === undefined || state?.host !== hostOf(exchange.head.authority))
    return new EdgeError(
      "MISDIRECTED",
      route.clientAuth === undefined
        ? `a connection with a client certificate for ${state?.host} asks for ${route.host}`
        : `${route.host} asks for client certificates in the handshake, and this connection was made for another name`,
      { source: "downstream", status: 421 },
    );
  if (state.refused !== undefined)
    return new EdgeError("CLIENT_CERTIFICATE", state.refused, { source: "downstream", status: 403 });
  if (route.clientAuth === "required" && !state.certificate)
    return new EdgeError(
      "CLIENT_CERTIFICATE",
      `${route.host} takes a client certificate, and none was shown`,
      {
        source: "downstream",
        status: 403,
      },
    );
  return undefined;
}
