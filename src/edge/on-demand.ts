/** Requests for names on demand whose handshake this process has not seen. */
import type { Exchange } from "../exchange/exchange.ts";
import type { OnDemand } from "../tls/on-demand.ts";
import { hostOf, type Route } from "./routes.ts";

/**
 * Asks for permission before a request for an unknown name is answered: a resumed session chooses no certificate, so after
 * a restart the first that is heard of a name may be a request. Only for the name that the connection was made for.
 */
export function permitFirst(
  onDemand: OnDemand,
  find: (authority: string) => Route | undefined,
  handle: (exchange: Exchange) => void,
): (exchange: Exchange) => void {
  return (exchange) => {
    const { authority } = exchange.head;
    const host = hostOf(authority);
    const serverName = exchange.connection.tls?.serverName;
    if (find(authority) || serverName === undefined || (serverName !== "" && serverName !== host))
      return handle(exchange);
    // `permit` never rejects; without permission the handler says that there is no such host.
    void onDemand.permit(host).then(() => handle(exchange));
  };
}
