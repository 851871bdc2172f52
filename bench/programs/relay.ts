/**
 * A long line in user space: `relay.ts PORT DELAY_MS` leads to PORT on loopback, and adds the delay to every byte in each
 * direction. It has no rate of its own, and prints "relay PORT" once it listens.
 */
import { connect, createServer, type Socket } from "node:net";

/** What one direction of one connection holds before it reads no more: 32 MiB, 400 MiB/s at a round trip of 80 ms. */
const MOST_BYTES = 32 * 2 ** 20;
/** Reads that come so soon after each other go on together, in one call. */
const TOGETHER_MS = 1;

const [target = 0, delayMs = 0] = process.argv.slice(2).map(Number);

interface Piece {
  readonly dueMs: number;
  readonly chunk: Buffer | undefined;
}

/** One direction: what was read waits its time and goes on in the same order. An end waits like a byte. */
function lead(from: Socket, to: Socket): void {
  let waiting: Piece[] = [];
  let bytes = 0;
  let blocked = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const read = (chunk: Buffer | undefined): void => {
    waiting.push({ dueMs: performance.now() + delayMs, chunk });
    bytes += chunk?.length ?? 0;
    if (bytes >= MOST_BYTES) from.pause();
    if (!blocked) timer ??= setTimeout(move, delayMs);
  };
  const move = (): void => {
    timer = undefined;
    if (to.destroyed) return;
    const now = performance.now();
    let due = 0;
    to.cork();
    for (
      let piece = waiting[0];
      piece !== undefined && piece.dueMs <= now && !blocked;
      piece = waiting[due]
    ) {
      due += 1;
      if (piece.chunk === undefined) to.end();
      else {
        bytes -= piece.chunk.length;
        blocked = !to.write(piece.chunk);
      }
    }
    to.uncork();
    waiting = due === 0 ? waiting : waiting.slice(due);
    if (bytes < MOST_BYTES) from.resume();
    const next = waiting[0];
    if (next !== undefined && !blocked) timer = setTimeout(move, Math.max(TOGETHER_MS, next.dueMs - now));
  };
  from.on("data", read).on("end", () => read(undefined));
  to.on("drain", () => {
    blocked = false;
    if (timer === undefined) move();
  });
}

const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
  const origin = connect({ port: target, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
  for (const [one, other] of [
    [client, origin],
    [origin, client],
  ] as const) {
    lead(one, other);
    one.on("error", () => other.destroy()).on("close", () => other.destroySoon());
  }
});
server.listen({ port: 0, host: "127.0.0.1" }, () => {
  const address = server.address();
  if (address !== null && typeof address === "object") process.stdout.write(`relay ${address.port}\n`);
});
