import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import v8 from "node:v8";
import { describe, expect, test } from "vitest";
import { alpnOptions, giveBack, heap, spare } from "../src/runtime.ts";

/** Both ends of a connection. */
async function pair(): Promise<{ ours: Socket; theirs: Socket; close(): void }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const theirs = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [ours] = (await once(server, "connection")) as [Socket];
  return {
    ours,
    theirs,
    close() {
      ours.destroy();
      theirs.destroy();
      server.close();
    },
  };
}

describe("a spared socket", () => {
  test("gives everything to a reader that stops again and again", async () => {
    const { ours, theirs, close } = await pair();
    spare(ours);
    let bytes = 0;
    let chunks = 0;
    ours.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (++chunks % 3 !== 0) return;
      ours.pause();
      setImmediate(() => ours.resume());
    });
    theirs.end(Buffer.alloc(8_000_000));
    await once(ours, "end");
    expect(bytes).toBe(8_000_000);
    close();
  });

  test("takes little while nobody reads, and goes on from there", async () => {
    const { ours, theirs, close } = await pair();
    spare(ours);
    let bytes = 0;
    ours.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    ours.pause();
    theirs.end(Buffer.alloc(64_000_000));
    await expect
      .poll(() => ours.readableLength, { timeout: 5000 })
      .toBeGreaterThanOrEqual(ours.readableHighWaterMark);
    expect(ours.readableLength).toBeLessThan(1_000_000);
    expect(theirs.writableLength).toBeGreaterThan(0);
    expect(bytes).toBe(0);
    ours.resume();
    await once(ours, "end");
    expect(bytes).toBe(64_000_000);
    close();
  });

  test("forgets a timer that is over, and takes a new one", async () => {
    const { ours, close } = await pair();
    ours.setTimeout(60_000);
    ours.setTimeout(0);
    spare(ours);
    ours.setTimeout(1);
    await once(ours, "timeout", { signal: AbortSignal.timeout(5000) });
    close();
  });
});

describe("what was read of a connection and is given back", () => {
  const BYTES = Buffer.from(Array.from({ length: 2_500 }, (_, at) => at % 251));

  test("is read again whole, in pieces that fill no buffer of TLS, and what comes after it as it comes", async () => {
    const { ours, theirs, close } = await pair();
    ours.pause();
    giveBack(ours, BYTES);
    const pieces: Buffer[] = [];
    for (let piece = ours.read(); piece !== null; piece = ours.read()) pieces.push(piece as Buffer);
    expect(Buffer.concat(pieces)).toEqual(BYTES);
    expect(Math.max(...pieces.map(({ length }) => length))).toBeLessThan(1_024);
    const later = once(ours, "data");
    ours.resume();
    theirs.write(BYTES);
    expect((await later)[0]).toEqual(BYTES);
    close();
  });

  test("is not read by one that failed at its first piece", async () => {
    const { ours, close } = await pair();
    ours.pause();
    giveBack(ours, BYTES);
    expect(ours.read()).toHaveLength(1_000);
    ours.destroy();
    expect(ours.read()).toBeNull();
    close();
  });
});

test("of what a client offers in ALPN, the server's favourite is taken, or nothing", () => {
  const { ALPNCallback } = alpnOptions(["h2", "http/1.1"]);
  expect(ALPNCallback?.({ protocols: ["http/1.1", "h2"] })).toBe("h2");
  expect(ALPNCallback?.({ protocols: ["http/1.1"] })).toBe("http/1.1");
  expect(ALPNCallback?.({ protocols: ["imap"] })).toBeUndefined();
});

test("a collection on Node frees what is young and of no use", () => {
  const young = (): number =>
    v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space")?.space_used_size ?? 0;
  // The first one makes what collects, and what lives through two is young no more.
  heap.collect();
  heap.collect();
  const before = young();
  // Less than fills the space, so that nothing is collected by itself.
  for (let at = 0; at < 5_000; at++) JSON.parse('{"a":[1,2,3]}');
  const filled = young();
  expect(filled - before).toBeGreaterThan(200_000);
  heap.collect();
  expect(filled - young()).toBeGreaterThan(100_000);
});
