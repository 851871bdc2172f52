/** A handshake with a certificate that is already chosen. */
import type { Socket } from "node:net";
import { type SecureContext, TLSSocket } from "node:tls";

export interface Handshake {
  readonly context: SecureContext;
  readonly protocols: readonly string[];
  readonly timeoutMs: number;
}

/** Does what a TLS server does with a connection, and calls one of both functions, once. */
export function shakeHands(
  socket: Socket,
  { context, protocols, timeoutMs }: Handshake,
  secured: (socket: TLSSocket) => void,
  failed: (error: NodeJS.ErrnoException, socket: TLSSocket) => void,
): void {
  const options = {
    isServer: true,
    secureContext: context,
    ALPNProtocols: [...protocols],
    handshakeTimeout: timeoutMs,
    requestCert: false,
    rejectUnauthorized: false,
  };
  const tlsSocket = new TLSSocket(socket, options);
  const fail = (error: NodeJS.ErrnoException): void => {
    letGo();
    failed(error, tlsSocket);
  };
  const left = (): void => fail(Object.assign(new Error("socket hang up"), { code: "ECONNRESET" }));
  const done = (): void => {
    letGo();
    // A connection may be idle for long: from here on it keeps nothing of this.
    tlsSocket.on("_tlsError", destroy);
    secured(tlsSocket);
  };
  const letGo = (): void => {
    tlsSocket.removeListener("_tlsError", fail);
    tlsSocket.removeListener("close", left);
    tlsSocket.removeListener("secure", done);
  };
  // Errors of a socket that no TLS server owns come by this name alone, before and after the handshake.
  tlsSocket.on("_tlsError", fail);
  tlsSocket.on("close", left);
  tlsSocket.on("secure", done);
  // What is told by both names is known by the first.
  tlsSocket.on("error", ignore);
}

function destroy(this: TLSSocket): void {
  this.destroy();
}

function ignore(): void {}
