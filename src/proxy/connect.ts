/** Connections to servers: TCP, Unix sockets, and TLS with the server's certificate verified. */
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { offersOwnSessions, spare } from "../runtime.ts";
import { reading } from "./reading.ts";

/** How to speak TLS. */
export interface DialTls {
  /** The name to ask for and to verify. @default `host` */
  readonly serverName?: string | undefined;
  /** PEM of the authorities to trust. @default the system's */
  readonly ca?: string | undefined;
  /** PEM of our certificate and its key, for a server that asks. @default none */
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  /** @default true */
  readonly verify?: boolean;
  /** Protocols to offer. @default none */
  readonly alpn?: readonly string[];
  /** Where to keep the server's session, so that the next handshake is a short one. @default none */
  readonly sessions?: { last: Buffer | undefined };
}

export interface DialTarget {
  /** A name or an address. */
  readonly host: string;
  readonly port: number;
  /** The path of a Unix socket; host and port are then for messages only. */
  readonly socket?: string | undefined;
  /** Present for TLS. */
  readonly tls?: DialTls;
}

export interface DialOptions {
  readonly clock: Clock;
  /** From the start to the end of the TLS handshake. */
  readonly timeoutMs: number;
}

/** Told once: an error (UPSTREAM_CONNECT, safe to repeat elsewhere), or a connected socket without listeners. */
export type Dialled = (error: EdgeError | undefined, socket?: Socket) => void;

/** Between two probes of a silent connection, so that a machine that vanished is noticed in the end. */
const KEEP_ALIVE_MS = 30_000;

function refused(message: string, status: number, cause?: unknown): EdgeError {
  return new EdgeError("UPSTREAM_CONNECT", message, { source: "upstream", retry: "any", status, cause });
}

function openTls(
  where: { host: string; port: number } | { path: string },
  host: string,
  tls: DialTls,
): TLSSocket {
  const name = tls.serverName ?? host;
  const sessions = offersOwnSessions ? tls.sessions : undefined;
  const last = sessions?.last;
  const socket = connectTls({
    // Without a host of its own, as over a Unix socket, this is what is verified.
    host,
    ...where,
    // Verification is on by default, and a name is what it verifies; RFC 6066 §3 allows no addresses in SNI.
    ...(isIP(name) ? {} : { servername: name }),
    rejectUnauthorized: tls.verify !== false,
    ...(tls.ca !== undefined && { ca: tls.ca }),
    ...(tls.cert !== undefined && { cert: tls.cert, key: tls.key }),
    ...(tls.alpn && { ALPNProtocols: [...tls.alpn] }),
    ...(last && { session: last }),
  });
  if (sessions)
    socket.on("session", (session) => {
      sessions.last = session;
    });
  return socket;
}

function openTcp(where: { host: string; port: number } | { path: string }): Socket {
  const reads = reading();
  if (reads === undefined) return connectTcp(where);
  const socket = connectTcp({ ...where, onread: reads.onread });
  reads.attach(socket);
  return socket;
}

/** Connects. Returns a function that gives up (idempotent; `done` is then not called). */
export function dial(target: DialTarget, options: DialOptions, done: Dialled): () => void {
  const { host, port, socket: path, tls } = target;
  const name = path ?? (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);
  const where = path === undefined ? { host, port } : { path };
  const socket: Socket = tls ? openTls(where, host, tls) : openTcp(where);
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
    // A session that the server will not resume must not be offered for ever.
    if (error && tls?.sessions) tls.sessions.last = undefined;
    // Destroying may raise an error that is of no interest any more, and must not be unheard.
    socket.on("error", () => {});
    socket.destroy();
    if (error) done(error);
  };
  const onReady = (): void => {
    if (!settle()) return;
    if (path === undefined) {
      socket.setNoDelay(true);
      socket.setKeepAlive(true, KEEP_ALIVE_MS);
    }
    spare(socket);
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
