/** A look at a connection's ClientHello before TLS gets it. */
import type { Socket } from "node:net";
import type { Clock } from "../clock.ts";
import { giveBack } from "../runtime.ts";
import { type ClientHello, clientHelloOf } from "../tls/client-hello.ts";

/**
 * Calls `done` once with what the ClientHello says, and gives back every byte that was
 * read. A client that does not get so far within `timeoutMs`, or leaves, is let go without a word.
 */
export function peekHello(
  socket: Socket,
  { clock, timeoutMs }: { clock: Clock; timeoutMs: number },
  done: (hello: ClientHello) => void,
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
    const hello = clientHelloOf(seen);
    if (hello === undefined) return;
    leave();
    socket.pause();
    giveBack(socket, seen);
    done(hello);
  };
  socket.on("data", onData);
  socket.on("end", drop);
  socket.on("error", drop);
}

/** RFC 8446 §6.2: a fatal alert, unrecognized_name; in a record as TLS 1.2 and 1.3 both write it before they agree. */
const UNRECOGNIZED_NAME = Buffer.from([21, 3, 3, 0, 2, 2, 112]);

/** Tells a client that its name is not served here, as browsers can show, and hangs up. */
export function refuseName(socket: Socket): void {
  socket.on("error", () => {});
  socket.end(UNRECOGNIZED_NAME, () => socket.destroy());
}
