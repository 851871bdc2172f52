/** How much waits for a client that does not read, while memory is on loan to its connection. */
import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import type { Loan } from "../../src/exchange/scratch.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";
import { Outbox } from "../../src/http1/outbox.ts";

/** A connection that has taken a loan and drains no more. */
function stuck(): { outbox: Outbox; held: () => number } {
  let held = 0;
  const stream = Object.assign(new EventEmitter(), {
    destroyed: false,
    writableNeedDrain: true,
    write(chunk: Uint8Array | string) {
      held += chunk.length;
      return false;
    },
    cork() {},
    uncork() {},
  }) as unknown as ByteStream;
  const loan = {
    possible: true,
    outstanding: true,
    write: (_scratch: Buffer, size: number) => stream.write(new Uint8Array(size)),
    drained() {},
  } as unknown as Loan;
  return { outbox: new Outbox(stream, loan), held: () => held };
}

test("one that brings memory of its own waits at once", () => {
  const { outbox, held } = stuck();
  outbox.bytes(new Uint8Array(100_000));
  expect(outbox.send()).toBe(false);
  expect(held()).toBe(100_000);
});

test.each([1_000, 20_000, 100_000, 147_000])(
  "one that lends chunks of %i bytes waits before long",
  (size) => {
    const { outbox, held } = stuck();
    let given = 0;
    do {
      outbox.copy(new Uint8Array(size));
      given += size;
    } while (outbox.send() && given < 2_000_000);
    expect(given).toBeLessThan(300_000);
    expect(held()).toBeLessThan(300_000);
  },
);
