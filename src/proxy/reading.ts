/**
 * How a TCP socket to a server reads. By itself Node takes 64 KiB for every read and trims them to what came: for an answer
 * of a kilobyte that costs more than parsing it. So small reads share one buffer and are copied out of it, and only a
 * socket that brings much gets buffers of its own, which are passed on as they are. Whoever keeps nothing of what it is
 * given is lent the shared one.
 */
import type { OnReadOpts, Socket } from "node:net";
import { LENT_BYTES } from "../exchange/scratch.ts";
import type { Borrower, ByteStream } from "../exchange/stream.ts";
import { joinsWrites, readsIntoGivenBuffers } from "../runtime.ts";

const READ_BYTES = 65_536;
const SHARED_BYTES = joinsWrites ? LENT_BYTES : READ_BYTES;
/** A read of at least this many bytes is likely one of many. */
const MUCH_BYTES = 16_384;

/** What any socket reads into. It holds nothing beyond one callback. */
let common: Buffer | undefined;

/**
 * The `onread` option for one socket. What is read goes through the socket's stream as ever: "data", `pause` and `unshift`
 * work, and what nobody listens to yet is kept. Undefined where the runtime reads well by itself.
 */
export function reading(): { attach(socket: Socket): void; readonly onread: OnReadOpts } | undefined {
  if (!readsIntoGivenBuffers) return undefined;
  common ??= Buffer.allocUnsafeSlow(SHARED_BYTES);
  const shared = common;
  let socket: Socket | undefined;
  let borrower: Borrower | undefined;
  let next = shared;
  return {
    attach(to) {
      socket = to;
      if (!joinsWrites) return;
      (to as ByteStream).lend = (whom) => {
        borrower = whom;
      };
    },
    onread: {
      // Asked for again after every read.
      buffer: () => next,
      callback(bytes, buffer) {
        if (socket === undefined) return false;
        const mine = buffer === shared;
        if (mine && borrower?.borrows && socket.readableFlowing && socket.readableLength === 0) {
          borrower.borrow(bytes === SHARED_BYTES ? shared : shared.subarray(0, bytes));
          return true;
        }
        let chunk: Buffer;
        if (mine) {
          chunk = Buffer.allocUnsafe(bytes);
          shared.copy(chunk, 0, 0, bytes);
        } else chunk = (buffer as Buffer).subarray(0, bytes);
        const more = socket.push(chunk);
        next = bytes < MUCH_BYTES || borrower?.borrows ? shared : Buffer.allocUnsafeSlow(READ_BYTES);
        return more;
      },
    },
  };
}
