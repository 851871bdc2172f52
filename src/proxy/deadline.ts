/** A bound on the wait for a response head, for transports that have none of their own. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { ResponseHandler, Transport, UpstreamRequest } from "../exchange/dispatch.ts";

/** The same transport, whose requests fail with UPSTREAM_TIMEOUT (504) where no head came within `timeoutMs`. */
export function withResponseTimeout(transport: Transport, timeoutMs: number, clock: Clock): Transport {
  return {
    ...(transport.sendsExtra !== undefined && { sendsExtra: transport.sendsExtra }),
    dispatch(request: UpstreamRequest, handler: ResponseHandler) {
      const timer = clock.after(timeoutMs, () => {
        const error = new EdgeError("UPSTREAM_TIMEOUT", "the server gave no response in time", {
          source: "upstream",
          status: 504,
        });
        cancel(error);
        handler.failed(error);
      });
      const cancel = transport.dispatch(request, {
        inform: (status, headers) => handler.inform(status, headers),
        respond(head, body) {
          timer.cancel();
          handler.respond(head, body);
        },
        upgraded(head, stream) {
          timer.cancel();
          handler.upgraded(head, stream);
        },
        failed(error) {
          timer.cancel();
          handler.failed(error);
        },
      });
      return (error) => {
        timer.cancel();
        cancel(error);
      };
    },
    close: () => transport.close(),
  };
}
