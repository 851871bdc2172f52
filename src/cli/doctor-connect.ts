/** How `skerry doctor` connects: to find out, and no further. */
import { X509Certificate } from "node:crypto";
import { connect as connectTcp, isIPv6, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { type Clock, sleep } from "../clock.ts";
import { EdgeError, messageOf } from "../errors.ts";

export interface DoctorOptions {
  readonly clock: Clock;
  /** As the world sees them. */
  readonly httpPort: number;
  readonly httpsPort: number;
  readonly signal: AbortSignal;
}

const CONNECT_MS = 5000;

/** Undefined where a connection is accepted; otherwise why not. */
export function reachable(
  target: { host: string; port: number } | { path: string },
  options: DoctorOptions,
): Promise<string | undefined> {
  return within(
    options,
    () => connectTcp(target),
    "connect",
    () => undefined,
  );
}

/** The certificate that is shown, or why there is none; with `verify` a text for one that is refused. */
export function handshake(
  address: string,
  name: string,
  options: DoctorOptions,
  verify = false,
): Promise<X509Certificate | string | undefined> {
  const start = (): Socket =>
    connectTls({ host: address, port: options.httpsPort, servername: name, rejectUnauthorized: verify });
  return within(options, start, "secureConnect", (socket) => {
    const raw = (socket as TLSSocket).getPeerCertificate()?.raw;
    return raw ? new X509Certificate(raw) : "it shows no certificate";
  });
}

async function within<T>(
  { clock, signal }: DoctorOptions,
  start: () => Socket,
  event: string,
  done: (socket: Socket) => T,
): Promise<T | string> {
  const stop = new AbortController();
  const socket = start();
  const result = new Promise<T | string>((resolve) => {
    socket.once(event, () => resolve(done(socket)));
    // Later ones are of no interest any more.
    socket.on("error", (error: NodeJS.ErrnoException) =>
      resolve(messageOf(error) || (error.code ?? "refused")),
    );
    socket.once("close", () => resolve("the connection was closed"));
  });
  const late = sleep(clock, CONNECT_MS, AbortSignal.any([signal, stop.signal])).then(
    () => `no answer within ${CONNECT_MS / 1000} s`,
    () => "given up",
  );
  try {
    return await Promise.race([result, late]);
  } finally {
    stop.abort(new EdgeError("SHUTTING_DOWN", "it is over"));
    socket.destroy();
  }
}

export const formatted = (host: string, port: number): string =>
  isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
