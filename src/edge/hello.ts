/** A look at a connection's ClientHello before TLS gets it. */
import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";
import { serverNameOf } from "../tls/client-hello.ts";

/**
 * Calls `done` once with the server name of the ClientHello, "" where there is none, and gives back every byte that was
 * read. A client that does not get so far within `timeoutMs`, or leaves, is let go without a word.
 */
export function peekServerName(
  socket: Socket,
  { clock, timeoutMs }: { clock: Clock; timeoutMs: number },
  done: (serverName: string) => void,
): void {
  let seen: Buffer | undefined;
  const leave = (): void => {
    timer.cancel();
    socket.removeListener("data", onData);
    socket.removeListener("end", drop);
    socket.removeListener("error", drop);
  };
  const drop = (): void => {
    leave();
    // A reset may still come after it.
    socket.on("error", () => {});
    socket.destroy();
  };
  const timer = clock.after(timeoutMs, drop);
  const onData = (chunk: Buffer): void => {
    seen = seen ? Buffer.concat([seen, chunk]) : chunk;
    const name = serverNameOf(seen);
    if (name === undefined) return;
    leave();
    socket.pause();
    socket.unshift(seen);
    done(name);
  };
  socket.on("data", onData);
  socket.on("end", drop);
  socket.on("error", drop);
}
