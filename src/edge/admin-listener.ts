/** The admin API on a listener of its own, by the same wire engine as everything else. */
import { isIP } from "node:net";
import { EdgeError } from "../errors.ts";
import type { Exchange } from "../exchange/exchange.ts";
import { lazyRequest } from "../exchange/web-request.ts";
import { sendResponse } from "../exchange/web-response.ts";
import { createConnections } from "./connections.ts";
import { type Listener, type ListenerOptions, openPlainListener } from "./listeners.ts";
import { type App, hostOf } from "./routes.ts";

export interface AdminListenerOptions extends Omit<ListenerOptions, "onExchange" | "connections"> {
  readonly app: App;
  fail(exchange: Exchange, error: EdgeError): void;
}

export interface AdminListener extends Listener {
  /** Cuts what is open. */
  close(): void;
}

const isLocalName = (host: string): boolean => host === "localhost" || host.endsWith(".localhost");
const isAddress = (host: string): boolean => isIP(host.replace(/^\[|\]$/g, "")) !== 0;

/**
 * Whether a request to loopback is meant for it. A web page whose name its owner lets resolve to 127.0.0.1 (DNS rebinding)
 * could read all that the admin API says: it is the same origin to a browser, which marks it in no other way.
 */
export function isMeant(listensOn: string, authority: string): boolean {
  const loopback = isLocalName(listensOn) || listensOn === "::1" || /^127\.[\d.]+$/.test(listensOn);
  const host = hostOf(authority);
  return !loopback || host === "" || isLocalName(host) || isAddress(host);
}

export async function openAdmin(options: AdminListenerOptions): Promise<AdminListener> {
  const connections = createConnections(() => options.limits().maxConnectionsPerClient);
  const failed = (exchange: Exchange, thrown: unknown): void =>
    options.fail(
      exchange,
      thrown instanceof EdgeError
        ? thrown
        : new EdgeError("INTERNAL", "the admin API failed", { cause: thrown }),
    );
  const onExchange = async (exchange: Exchange): Promise<void> => {
    const { authority } = exchange.head;
    if (!isMeant(options.address.host, authority)) {
      const message = `the admin API on loopback answers to addresses and to localhost, not to ${JSON.stringify(authority)}`;
      return failed(exchange, new EdgeError("MISDIRECTED", message, { source: "downstream", status: 421 }));
    }
    try {
      sendResponse(exchange, await options.app.fetch(lazyRequest(exchange)));
    } catch (thrown) {
      failed(exchange, thrown);
    }
  };
  const listener = await openPlainListener({ ...options, connections, onExchange }, "listen.admin");
  return {
    address: listener.address,
    stop: () => listener.stop(),
    close() {
      listener.stop();
      connections.destroy();
    },
  };
}
