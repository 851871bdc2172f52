/** Two byte streams made one: what comes from either goes to the other, at the pace of the slower. */
import { type Clock, systemClock } from "../clock.ts";
import type { ByteStream } from "../exchange/stream.ts";

/** How long a stream may take to send the rest after its partner is gone. */
const LINGER_MS = 1000;

/**
 * Joins `a` and `b` until both are closed. A half-close is passed on and the other direction goes on; an error, or a
 * close without an end, destroys both.
 */
export function splice(a: ByteStream, b: ByteStream, clock: Clock = systemClock): void {
  pipe(a, b, clock);
  pipe(b, a, clock);
  a.resume();
  b.resume();
}

function pipe(from: ByteStream, to: ByteStream, clock: Clock): void {
  let ended = false;
  from.on("data", (chunk) => {
    if (to.destroyed) return;
    if (!to.write(chunk)) from.pause();
  });
  to.on("drain", () => from.resume());
  from.on("end", () => {
    ended = true;
    if (!to.destroyed) to.end();
  });
  from.on("error", () => {
    // Whose fault it was is known to whoever owns the stream; here it only means that the other must end as well.
    from.destroy();
    to.destroy();
  });
  from.on("close", () => {
    if (to.destroyed) return;
    if (!ended || to.writableLength === 0) to.destroy();
    else clock.after(LINGER_MS, () => to.destroy());
  });
}
