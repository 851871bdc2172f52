/** The admin API on a listener of its own, by the same wire engine as everything else. */
import { EdgeError } from "../errors.ts";
import type { Exchange } from "../exchange/exchange.ts";
import { lazyRequest } from "../exchange/web-request.ts";
import { sendResponse } from "../exchange/web-response.ts";
import { createConnections } from "./connections.ts";
import { type Listener, type ListenerOptions, openPlainListener } from "./listeners.ts";
import type { App } from "./routes.ts";

export interface AdminListenerOptions extends Omit<ListenerOptions, "onExchange" | "connections"> {
  readonly app: App;
  fail(exchange: Exchange, error: EdgeError): void;
}

export interface AdminListener extends Listener {
  /** Cuts what is open. */
  close(): void;
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
