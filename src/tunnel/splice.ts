/** The agent's one trick: a stream of the tunnel and a connection to the target, made one. */
import type { ByteStream } from "../exchange/stream.ts";

/**
 * Joins `a` and `b`, at the pace of the slower. A clean end of one direction is passed on as such and the other goes on;
 * whatever is cut short cuts the other, so that a truncated body never looks whole.
 */
export function joinStreams(a: ByteStream, b: ByteStream): void {
  pass(a, b);
  pass(b, a);
}

function pass(from: ByteStream, to: ByteStream): void {
  let ended = false;
  from.on("data", (chunk) => {
    if (!to.destroyed && !to.write(chunk)) from.pause();
  });
  to.on("drain", () => void from.resume());
  from.on("end", () => {
    ended = true;
    if (!to.destroyed) to.end();
  });
  from.on("error", (error) => {
    // The other side must see a cut, not an end; whoever owns the stream knows why.
    if (!to.destroyed) to.destroy(error);
  });
  from.on("close", () => {
    if (!ended && !to.destroyed) to.destroy(new Error("the other side was cut"));
  });
}
