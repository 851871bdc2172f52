/** What a client far away is let to send after its first burst. */
import { afterEach, expect, test } from "vitest";
import { ahead } from "../../src/http2/ahead.ts";
import {
  DATA,
  encodeFrame,
  HEADERS,
  PREFACE,
  readUint32,
  SETTINGS,
  settingsPayload,
  WINDOW_UPDATE,
} from "../../src/http2/frames.ts";
import { echo, fields, RawClient, type Served, serve } from "./support.ts";

const MIB = 2 ** 20;
const PIECE = Buffer.alloc(13_107);

let served: Served | undefined;
afterEach(() => served?.close());

/** A client that sends all it may before it has heard from the server: five pieces, 65,535 bytes. */
async function burst(handshakeMs: number): Promise<RawClient> {
  served = await serve(echo, { handshakeMs });
  const client = new RawClient(served.port);
  client.send(PREFACE, encodeFrame(SETTINGS, 0, 0, settingsPayload([])));
  client.headers(1, 4, fields({ ":method": "POST" }));
  client.send(...Array.from({ length: 5 }, () => encodeFrame(DATA, 0, 1, PIECE)));
  await client.alive();
  return client;
}

const given = (client: RawClient, id: number): number =>
  client.frames
    .filter(({ type, streamId }) => type === WINDOW_UPDATE && streamId === id)
    .reduce((sum, { payload }) => sum + readUint32(payload, 0), 0);

test("one whose handshake took long is given what a fast line holds at once, until its request is over", async () => {
  const before = ahead.left;
  const client = await burst(80);
  expect(given(client, 1)).toBeGreaterThan(25 * MIB);
  expect(given(client, 0)).toBeGreaterThan(25 * MIB);
  expect(before - ahead.left).toBeGreaterThan(25 * MIB);
  client.send(encodeFrame(DATA, 1, 1, PIECE));
  await client.next(({ type }) => type === HEADERS);
  expect(ahead.left).toBe(before);
});

test("one that is cut off gives back what it was lent", async () => {
  const before = ahead.left;
  const client = await burst(80);
  expect(ahead.left).toBeLessThan(before);
  for (const session of served?.sessions ?? []) session.destroy();
  await client.ended();
  expect(ahead.left).toBe(before);
});

test("one whose handshake was quick gets a megabyte", async () => {
  const client = await burst(5);
  expect(given(client, 1)).toBeLessThanOrEqual(MIB);
});
