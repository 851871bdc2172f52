/** A program: dials the port that it is told, reads in every way that a reader may, and prints what came. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { systemClock } from "../../src/clock.ts";
import { dial } from "../../src/proxy/connect.ts";

/** What one connection brought: its bytes, their hash, and the sizes of the first chunks. */
export interface Came {
  readonly bytes: number;
  readonly hash: string;
}

const port = Number(process.argv[2]);

function open(): Promise<Socket> {
  return new Promise((resolve, reject) => {
    dial({ host: "127.0.0.1", port }, { clock: systemClock, timeoutMs: 5000 }, (error, socket) =>
      socket ? resolve(socket) : reject(error),
    );
  });
}

/** Reads to the end. Every chunk is kept until then, so that one which was written over would show. */
async function read(socket: Socket, pauseEvery: number, giveBack: boolean): Promise<Came> {
  const chunks: Buffer[] = [];
  let seen = 0;
  socket.on("data", (chunk: Buffer) => {
    seen++;
    if (giveBack && seen === 2 && chunk.length > 1) {
      chunks.push(chunk.subarray(0, 1));
      socket.unshift(chunk.subarray(1));
      return;
    }
    chunks.push(chunk);
    if (pauseEvery > 0 && seen % pauseEvery === 0) {
      socket.pause();
      setImmediate(() => socket.resume());
    }
  });
  const ended = once(socket, "end");
  socket.resume();
  await ended;
  const all = Buffer.concat(chunks);
  return { bytes: all.length, hash: createHash("sha256").update(all).digest("hex") };
}

const results: Record<string, Came> = {};
const plain = open();
const paused = open();
const given = open();
const late = open();
// Nobody listens on this one until the others are through: the server speaks first, and nothing of it may be lost.
const lateSocket = await late;
const sockets = await Promise.all([plain, paused, given]);
const [first, second, third] = await Promise.all([
  read(sockets[0], 0, false),
  read(sockets[1], 3, false),
  read(sockets[2], 0, true),
]);
results.plain = first;
results.paused = second;
results.given = third;
results.late = await read(lateSocket, 0, false);
process.stdout.write(JSON.stringify(results));
process.exit(0);
