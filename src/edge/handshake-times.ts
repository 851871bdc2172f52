/** How long clients take to answer in the TLS handshake: one round trip, known before they ask for anything. */
import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";

/** Handshakes under way that are remembered; those that fail are pushed out by later ones. */
const MOST = 1024;

export interface HandshakeTimes {
  /** TLS gets the connection now. */
  begin(socket: Socket): void;
  /** It is through. Milliseconds since; undefined where that is not known. */
  end(socket: Socket): number | undefined;
}

/** By address and port: the runtimes make another socket of the one that TLS gets, and do not tell of which. */
export function createHandshakeTimes(clock: Pick<Clock, "now">): HandshakeTimes {
  const begun = new Map<string, number>();
  const peer = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;
  return {
    begin(socket) {
      if (begun.size >= MOST) for (const [oldest] of begun) if (begun.delete(oldest)) break;
      begun.set(peer(socket), clock.now());
    },
    end(socket) {
      const key = peer(socket);
      const at = begun.get(key);
      if (at === undefined) return undefined;
      begun.delete(key);
      return clock.now() - at;
    },
  };
}
