import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DATA, encodeFrame, HEADERS, PREFACE, SETTINGS } from "../../src/http2/frames.ts";
import { block, fields, RawClient, type Served, serve } from "./support.ts";

let served: Served;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served.close());

async function stillServes(): Promise<void> {
  const client = new RawClient(served.port);
  await client.handshake();
  client.headers(1, 0x5);
  expect(await client.next((frame) => frame.type === DATA)).toBeDefined();
  client.socket.destroy();
}

describe("whatever bytes come", () => {
  test("a request split at every byte is answered the same", async () => {
    const request = Buffer.concat([
      PREFACE,
      encodeFrame(SETTINGS, 0, 0),
      encodeFrame(HEADERS, 0x4, 1, block(fields({ ":method": "POST" }))),
      encodeFrame(DATA, 0x9, 1, Buffer.from([2, 104, 105, 0, 0])),
    ]);
    for (let cut = 1; cut < request.length; cut++) {
      const client = new RawClient(served.port);
      client.send(request.subarray(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      client.send(request.subarray(cut));
      const data = await client.next((frame) => frame.type === DATA);
      expect(data?.payload.toString()).toBe("hi");
      client.socket.destroy();
    }
  });

  test("any frames end at most their own connection", async () => {
    const frame = fc
      .record({
        type: fc.nat(11),
        flags: fc.nat(63),
        id: fc.oneof(fc.constantFrom(0, 1, 3, 5, 7), fc.nat(20)),
        payload: fc.oneof(
          fc.uint8Array({ maxLength: 40 }),
          fc.constantFrom(block(), block(fields({ ":method": "POST" })), Buffer.alloc(4, 1), Buffer.alloc(8)),
        ),
      })
      .map(({ type, flags, id, payload }) => encodeFrame(type, flags, id, payload));
    await fc.assert(
      fc.asyncProperty(fc.array(frame, { minLength: 1, maxLength: 30 }), async (frames) => {
        const client = new RawClient(served.port);
        await client.handshake();
        client.send(...frames);
        // Either the connection lives and answers, or it was ended by GOAWAY, its own or ours.
        const alive = await client.alive();
        const left = frames.some((each) => each[3] === 7);
        if (!alive && !left) expect(client.frames.some((each) => each.type === 7)).toBe(true);
        client.socket.destroy();
      }),
      { numRuns: 300 },
    );
    await stillServes();
  });

  test("noise ends at most its own connection", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 30, maxLength: 500 }), async (noise) => {
        const client = new RawClient(served.port);
        client.send(PREFACE, encodeFrame(SETTINGS, 0, 0), noise);
        client.socket.end();
        await client.ended();
      }),
      { numRuns: 200 },
    );
    await stillServes();
  });
});
