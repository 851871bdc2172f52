import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FLOW_CONTROL_ERROR, PROTOCOL_ERROR } from "../../src/http2/errors.ts";
import {
  DATA,
  encodeFrame,
  GOAWAY,
  PING,
  PREFACE,
  SETTINGS,
  settingsPayload,
  WINDOW_UPDATE,
} from "../../src/http2/frames.ts";
import { casesFor, OPEN, WHOLE } from "./cases.ts";
import { expectOutcome } from "./outcome.ts";
import { fields, RawClient, type Served, serve, uint32 } from "./support.ts";

const POST = fields({ ":method": "POST" });

let served: Served;
beforeAll(async () => {
  served = await serve();
});
afterAll(() => served.close());

describe("the server keeps RFC 9113 and RFC 7541", () => {
  for (const [section, fact, act, outcome] of casesFor("http", "127.0.0.1")) {
    const name =
      typeof outcome === "string"
        ? ""
        : "connection" in outcome
          ? " is a connection error"
          : " is a stream error";
    test(`§${section} ${fact}${name}`, async () => {
      const client = new RawClient(served.port);
      try {
        await client.handshake();
        await act(client);
        await expectOutcome(client, outcome);
      } finally {
        client.socket.destroy();
      }
    });
  }

  test("§3.4 a wrong preface is a connection error", async () => {
    const client = new RawClient(served.port);
    client.send(Buffer.from("INVALID CONNECTION PREFACE\r\n\r\n"));
    expect(await client.goaway()).toBe(PROTOCOL_ERROR);
  });

  test("§3.4 a first frame other than SETTINGS is a connection error", async () => {
    const client = new RawClient(served.port);
    client.send(PREFACE, encodeFrame(PING, 0, 0, Buffer.alloc(8)));
    expect(await client.goaway()).toBe(PROTOCOL_ERROR);
  });

  test("§3.4 the server's first frame is SETTINGS", async () => {
    const client = new RawClient(served.port);
    client.send(PREFACE);
    const first = await client.next();
    expect(first).toMatchObject({ type: SETTINGS, flags: 0, streamId: 0 });
    client.socket.destroy();
  });

  test("§6.8 a client that goes away is answered what it asked for, and then let go", async () => {
    const client = new RawClient(served.port);
    await client.handshake();
    client.headers(1, OPEN, POST);
    client.send(encodeFrame(GOAWAY, 0, 0, Buffer.alloc(8)));
    expect(await client.alive()).toBe(true);
    client.send(encodeFrame(DATA, 1, 1, Buffer.from("late")));
    expect((await client.next((frame) => frame.type === DATA))?.payload.toString()).toBe("late");
    await client.ended();
  });

  test("§6.9.2 DATA waits for windows, also for one that went negative", async () => {
    const client = new RawClient(served.port);
    const data = async (): Promise<string> => (await client.next((f) => f.type === DATA))!.payload.toString();
    await client.handshake([[4, 3]]);
    client.headers(1, WHOLE);
    expect(await data()).toBe("hel");
    client.send(
      encodeFrame(SETTINGS, 0, 0, settingsPayload([[4, 1]])),
      encodeFrame(WINDOW_UPDATE, 0, 1, uint32(2)),
    );
    expect(await client.alive()).toBe(true);
    client.send(encodeFrame(WINDOW_UPDATE, 0, 1, uint32(1)));
    expect(await data()).toBe("l");
    client.send(encodeFrame(SETTINGS, 0, 0, settingsPayload([[4, 100]])));
    expect(await data()).toBe("o, frames");
    client.socket.destroy();
  });

  test("§6.9 DATA beyond a stream's window is a stream error", async () => {
    const stuck = await serve(() => {}, {});
    const client = new RawClient(stuck.port);
    await client.handshake();
    client.headers(1, OPEN, POST);
    for (let i = 0; i < 17; i++) client.send(encodeFrame(DATA, 0, 1, Buffer.alloc(16_384)));
    expect(await client.reset(1)).toBe(FLOW_CONTROL_ERROR);
    expect(await client.alive()).toBe(true);
    client.socket.destroy();
    await stuck.close();
  });
});
