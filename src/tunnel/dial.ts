/** From an agent to an edge: TLS whose other end is verified before a byte of ours goes out. */
import { isIP } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { boundReading } from "../runtime.ts";
import { ALPN, TUNNEL_NAME } from "./protocol.ts";
import { pinOf } from "./token.ts";

export interface DialEdge {
  /** An address, or a name that is resolved here. */
  readonly host: string;
  readonly port: number;
  /** The name to verify where there is no pin. */
  readonly name: string;
  readonly pin: string | undefined;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

const failed = (message: string, cause?: unknown): EdgeError =>
  new EdgeError("UPSTREAM_CONNECT", message, { source: "upstream", retry: "any", status: 502, cause });

/**
 * Calls back once, with an error or a verified socket; returns a function that gives up.
 *
 * With a pin the edge shows the tunnel's own certificate, whose digest must be the pin: its key was proved by the
 * handshake, so neither names nor authorities nor dates matter. Without, the system's authorities and the name do.
 */
export function dialEdge(
  to: DialEdge,
  done: (error: EdgeError | undefined, socket?: TLSSocket) => void,
): () => void {
  const { host, port, name, pin } = to;
  const where = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const socket = connect({
    host,
    port,
    ALPNProtocols: [ALPN],
    ...(pin !== undefined
      ? { servername: TUNNEL_NAME, rejectUnauthorized: false }
      : isIP(name)
        ? {}
        : { servername: name }),
  });
  let settled = false;
  const settle = (): boolean => {
    if (settled) return false;
    settled = true;
    timer.cancel();
    socket.removeListener("error", onError);
    socket.removeListener("close", onClose);
    return true;
  };
  const giveUp = (error?: EdgeError): void => {
    if (!settle()) return;
    socket.on("error", () => {}); // Of no interest any more, and must not be unheard.
    socket.destroy();
    if (error) done(error);
  };
  const onError = (cause: Error): void =>
    giveUp(failed(`cannot connect to ${where}: ${cause.message}`, cause));
  const onClose = (): void => giveUp(failed(`${where} closed the connection while connecting`));
  socket.on("error", onError);
  socket.on("close", onClose);
  socket.on("secureConnect", () => {
    if (settled) return;
    if (pin !== undefined) {
      const { raw } = socket.getPeerCertificate();
      if (!raw || pinOf(raw) !== pin)
        return giveUp(
          failed(`${where} is not the edge that this token was made for; nothing was told to it`),
        );
    } else if (!socket.authorized)
      return giveUp(failed(`${where} cannot be verified: ${socket.authorizationError}`));
    if (socket.alpnProtocol !== ALPN)
      return giveUp(failed(`${where} speaks no ${ALPN}: is it a Skerry edge?`));
    if (!settle()) return;
    socket.setNoDelay(true);
    boundReading(socket);
    done(undefined, socket);
  });
  const timer = to.clock.after(to.timeoutMs, () =>
    giveUp(failed(`no connection to ${where} within ${to.timeoutMs} ms`)),
  );
  return () => giveUp();
}
