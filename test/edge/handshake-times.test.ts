import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { createHandshakeTimes } from "../../src/edge/handshake-times.ts";

const from = (remotePort: number): Socket => ({ remoteAddress: "192.0.2.1", remotePort }) as Socket;

test("a handshake's time is told once, to the socket of the same peer", () => {
  let now = 1000;
  const times = createHandshakeTimes({ now: () => now });
  times.begin(from(1));
  now += 30;
  times.begin(from(2));
  now += 50;
  expect(times.end(from(1))).toBe(80);
  expect(times.end(from(1))).toBeUndefined();
  expect(times.end(from(2))).toBe(50);
  expect(times.end(from(3))).toBeUndefined();
});

test("handshakes that never end are forgotten, the oldest first", () => {
  const times = createHandshakeTimes({ now: () => 0 });
  for (let port = 1; port <= 1025; port++) times.begin(from(port));
  expect(times.end(from(1))).toBeUndefined();
  expect(times.end(from(2))).toBe(0);
  expect(times.end(from(1025))).toBe(0);
});
