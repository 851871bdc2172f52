import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import { ReceiveWindow, roundTrip } from "../../src/http2/flow.ts";
import { DEFAULT_WINDOW } from "../../src/http2/frames.ts";

describe("receive windows", () => {
  const FAR_MS = 125;
  test("an eighth of a window is given back at once, never less", () => {
    const window = new ReceiveWindow(1000, 1000, 1000);
    expect(window.receive(1000)).toBe(true);
    expect(window.receive(1)).toBe(false);
    expect(window.consume(124, 0, FAR_MS)).toBe(0);
    expect(window.consume(1, 0, FAR_MS)).toBe(125);
  });

  test("a reader that keeps up makes it grow, up to the bound", () => {
    const window = new ReceiveWindow(1000, 3000, 1000);
    let now = 1000;
    for (let i = 0; i < 10; i++) {
      now += 10;
      window.consume(window.size / 2, now, FAR_MS);
    }
    expect(window.size).toBe(3000);
  });

  test("a reader that always has bytes waiting does not, however much it takes", () => {
    const window = new ReceiveWindow(1000, 4000, 1000);
    window.receive(1000);
    for (let now = 1000; now < 2000; now += 10) {
      // The peer fills at once whatever it is given.
      const given = window.consume(100, now, FAR_MS);
      if (given > 0) window.receive(given);
    }
    expect(window.size).toBe(1000);
  });

  test("one that catches up now and then does", () => {
    const window = new ReceiveWindow(1000, 4000, 1000);
    for (let now = 1000; now < 2000; now += 50) {
      window.receive(250);
      window.consume(125, now, FAR_MS);
      window.consume(125, now + 1, FAR_MS);
    }
    expect(window.size).toBe(4000);
  });

  test("one that looked fast until buffers beyond it were full loses what it won", () => {
    const window = new ReceiveWindow(1000, 32_000, 1000);
    const fill = (given: number): void => {
      if (given > 0) expect(window.receive(given)).toBe(true);
    };
    let held = 1000;
    window.receive(held);
    const take = (bytes: number, now: number): void => {
      const given = window.consume(bytes, now, FAR_MS);
      held += given - bytes;
      fill(given);
    };
    for (let i = 0; i < 40; i++) take(held, 1000 + i);
    expect(window.size).toBe(32_000);
    for (let now = 2000; held > 1000; now += 100) {
      expect(now).toBeLessThan(20_000);
      take(500, now);
    }
    expect(window.size).toBe(1000);
  });

  /** How long 100 MiB take up a line with a round trip of 80 ms, and the largest window meanwhile. */
  function upLine(mibPerMs: number, window: ReceiveWindow): { ms: number; most: number } {
    const MIB = 2 ** 20;
    const first = window.size;
    const flying: { at: number; bytes: number; given: boolean }[] = [];
    // Our SETTINGS are on their way to the client when its first bytes come.
    let may = DEFAULT_WINDOW;
    let left = 100 * MIB;
    let coming = left;
    let now = 0;
    for (; coming > 0; now++) {
      if (now === 80) may += first - DEFAULT_WINDOW;
      while (flying[0] !== undefined && flying[0].at <= now) {
        const { bytes, given } = flying.shift()!;
        if (given) {
          may += bytes;
          continue;
        }
        coming -= bytes;
        expect(window.receive(bytes)).toBe(true);
        const give = window.consume(bytes, now, now < 120 ? roundTrip() : roundTrip(80));
        if (give > 0) flying.push({ at: now + 40, bytes: give, given: true });
      }
      const bytes = Math.floor(Math.min(mibPerMs * MIB, may, left));
      may -= bytes;
      left -= bytes;
      if (bytes > 0) flying.push({ at: now + 40, bytes, given: false });
    }
    return { ms: now, most: window.size };
  }

  test("a long line is filled soon, however fast it is, and the window is no larger than that takes", () => {
    const { streamWindowBytes, maxStreamWindowBytes } = DEFAULT_LIMITS.http2;
    // What it takes without windows: 100 MiB at the line's rate, and 40 ms on the way.
    for (const [rate, floor] of [
      [0.25, 440],
      [0.064, 1603],
      [0.016, 6290],
    ] as const) {
      const { ms, most } = upLine(rate, new ReceiveWindow(streamWindowBytes, maxStreamWindowBytes, 40));
      expect(ms).toBeLessThan(floor + 240);
      expect(most).toBeLessThanOrEqual(Math.min(maxStreamWindowBytes, 12 * rate * 80 * 2 ** 20));
    }
  });

  test("a near peer gets no large one, however fast it is", () => {
    const { streamWindowBytes, maxStreamWindowBytes } = DEFAULT_LIMITS.http2;
    const window = new ReceiveWindow(streamWindowBytes, maxStreamWindowBytes, 0);
    // 150 MiB per second for a second, in whose first moments a server's buffers look like a fast server.
    for (let now = 0; now < 1000; now += 0.1) {
      window.receive(15_728);
      window.consume(15_728, now, roundTrip(1));
    }
    expect(window.size).toBeLessThanOrEqual(2.5 * 2 ** 20);
  });

  test("whatever sender and reader do, no byte of it is lost or given twice", () => {
    const step = fc.record({
      send: fc.double({ min: 0, max: 1, noNaN: true }),
      take: fc.double({ min: 0, max: 1, noNaN: true }),
      ms: fc.nat(300),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const window = new ReceiveWindow(1000, 20_000, 0);
        let now = 0;
        let may = 1000;
        let held = 0;
        const take = (bytes: number): void => {
          const given = window.consume(bytes, now, FAR_MS);
          expect(given).toBeGreaterThanOrEqual(0);
          held -= bytes;
          may += given;
          expect(window.size).toBeGreaterThanOrEqual(1000);
          expect(window.size).toBeLessThanOrEqual(20_000);
        };
        for (const { send, take: part, ms } of steps) {
          now += ms;
          const sent = Math.round(may * send);
          expect(window.receive(sent)).toBe(true);
          may -= sent;
          held += sent;
          take(Math.round(held * part));
        }
        // A sender that has used all it had, and a reader that then takes everything, are never stuck.
        window.receive(may);
        held += may;
        may = 0;
        take(held);
        expect(may).toBeGreaterThan(0);
      }),
    );
  });

  test("a slow reader does not", () => {
    const window = new ReceiveWindow(1000, 4000, 0);
    for (let now = 1000; now < 20_000; now += 1000) window.consume(500, now, FAR_MS);
    expect(window.size).toBe(1000);
  });
});
