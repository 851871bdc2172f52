/** Connections to fixed servers: TCP, and TLS with the server's certificate verified. */
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { boundReading } from "../runtime.ts";

export interface DialTarget {
  readonly host: string;
  readonly port: number;
  /** Present for TLS. */
  readonly tls?: {
    /** PEM of the authorities to trust. @default the system's */
    readonly ca?: string | undefined;
    /** Protocols to offer. @default none */
    readonly alpn?: readonly string[];
  };
}

export interface DialOptions {
  readonly clock: Clock;
  /** From the start to the end of the TLS handshake. */
  readonly timeoutMs: number;
}

/** Told once: an error (UPSTREAM_CONNECT, safe to repeat elsewhere), or a connected socket without listeners. */
export type Dialled = (error: EdgeError | undefined, socket?: Socket) => void;

function refused(message: string, status: number, cause?: unknown): EdgeError {
  return new EdgeError("UPSTREAM_CONNECT", message, { source: "upstream", retry: "any", status, cause });
}

/** Connects. Returns a function that gives up (idempotent; `done` is then not called). */
export function dial(target: DialTarget, options: DialOptions, done: Dialled): () => void {
  const { host, port, tls } = target;
  const name = `${host}:${port}`;
  const socket: Socket = tls
    ? connectTls({
        host,
        port,
        // Verification is on by default, and a name is what it verifies; RFC 6066 §3 allows no addresses in SNI.
        ...(isIP(host) ? {} : { servername: host }),
        ...(tls.ca !== undefined && { ca: tls.ca }),
        ...(tls.alpn && { ALPNProtocols: [...tls.alpn] }),
      })
    : connectTcp({ host, port });
  const ready = tls ? "secureConnect" : "connect";
  let settled = false;

  const settle = (): boolean => {
    if (settled) return false;
    settled = true;
    timer.cancel();
    socket.removeListener(ready, onReady);
    socket.removeListener("error", onError);
    socket.removeListener("close", onClose);
    return true;
  };
  const giveUp = (error: EdgeError | undefined): void => {
    if (!settle()) return;
    // Destroying may raise an error that is of no interest any more, and must not be unheard.
    socket.on("error", () => {});
    socket.destroy();
    if (error) done(error);
  };
  const onReady = (): void => {
    if (!settle()) return;
    socket.setNoDelay(true);
    if (tls) boundReading(socket);
    done(undefined, socket);
  };
  const onError = (cause: Error): void =>
    giveUp(refused(`cannot connect to ${name}: ${cause.message}`, 502, cause));
  const onClose = (): void => giveUp(refused(`${name} closed the connection while connecting`, 502));

  socket.on(ready, onReady);
  socket.on("error", onError);
  socket.on("close", onClose);
  const timer = options.clock.after(options.timeoutMs, () =>
    giveUp(refused(`no connection to ${name} within ${options.timeoutMs} ms`, 504)),
  );
  return () => giveUp(undefined);
}
