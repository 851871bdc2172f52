/** An active health check: a GET over the server's own transport, so that it takes the way that requests take. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { ByteSource } from "../exchange/body.ts";
import type { Probe } from "../upstream/health.ts";

/** More of an answer's body is not read for the sake of keeping the connection. */
const MOST_BODY_BYTES = 65_536;

/** The server's own name where its id is a URL; a wormhole serves whatever it is asked as. */
function authorityOf(id: string): string {
  return URL.parse(id)?.host || "localhost";
}

/** Well is who answers with a status from 200 to 399 in time. */
export function probeByDispatch(clock: Clock): Probe {
  return (server, path, timeoutMs) =>
    new Promise((resolve) => {
      const judge = (well: boolean): void => {
        timer.cancel();
        resolve(well);
      };
      const timer = clock.after(timeoutMs, () => {
        cancel(new EdgeError("UPSTREAM_TIMEOUT", "no answer to a health check", { source: "upstream" }));
        resolve(false);
      });
      const cancel = server.transport.dispatch(
        {
          method: "GET",
          path,
          scheme: "http",
          authority: authorityOf(server.id),
          headers: ["User-Agent", "skerry-health", "Accept", "*/*"],
          body: undefined,
          protocol: undefined,
        },
        {
          inform() {},
          respond(head, body) {
            if (body) discard(body);
            judge(head.status >= 200 && head.status < 400);
          },
          upgraded(_head, stream) {
            stream.destroy();
            judge(false);
          },
          failed: () => judge(false),
        },
      );
    });
}

function discard(body: ByteSource): void {
  let read = 0;
  body.start({
    write(chunk) {
      read += chunk.length;
      if (read <= MOST_BODY_BYTES) return true;
      body.cancel();
      return false;
    },
    end() {},
    abort() {},
  });
}
