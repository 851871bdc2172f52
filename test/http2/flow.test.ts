import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import { Ahead } from "../../src/http2/ahead.ts";
import { ReceiveBudget, ReceiveWindow, roundTrip } from "../../src/http2/flow.ts";
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
  function upLine(
    mibPerMs: number,
    window: ReceiveWindow,
    handshakeMs?: number,
  ): { ms: number; most: number } {
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
        const give = window.consume(bytes, now, roundTrip(now < 120 ? handshakeMs : 80));
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

  test("one whose handshake told how far it is waits for a single round trip, however fast the line is", () => {
    const { streamWindowBytes, maxStreamWindowBytes } = DEFAULT_LIMITS.http2;
    for (const [rate, floor] of [
      [0.5, 240],
      [0.25, 440],
      [0.064, 1603],
      [0.016, 6290],
    ] as const) {
      const ahead = new Ahead(128 * 2 ** 20);
      const window = new ReceiveWindow(streamWindowBytes, maxStreamWindowBytes, 40, ahead);
      const { ms, most } = upLine(rate, window, 80);
      expect(ms).toBeLessThan(floor + 105);
      expect(most).toBeLessThanOrEqual(Math.min(maxStreamWindowBytes, 12 * rate * 80 * 2 ** 20));
    }
  });

  describe("with room ahead", () => {
    const MIB = 2 ** 20;
    const FIRST = 262_144;
    const FAR = roundTrip(80);
    const burst = (ahead: Ahead, roundTripMs: number): ReceiveWindow => {
      const window = new ReceiveWindow(FIRST, 64 * MIB, 0, ahead);
      window.receive(65_535);
      expect(window.consume(65_535, 0, roundTripMs)).toBe(window.size - (FIRST - 65_535));
      return window;
    };

    test("a burst from far away opens a window to what its pace would fill, and what is lent comes back once it is used", () => {
      const ahead = new Ahead(128 * MIB);
      const window = burst(ahead, FAR);
      expect(window.size).toBeGreaterThan(25 * MIB);
      // Three quarters of a megabyte it has by itself.
      expect(ahead.left).toBe(128 * MIB - (window.size - 4 * FIRST));
      // A slow server's buffers take as much.
      window.receive(15 * MIB);
      window.consume(15 * MIB, 200, FAR);
      expect(ahead.left).toBeLessThan(128 * MIB);
      expect(window.size).toBeLessThan(32 * MIB);
      window.receive(8 * MIB);
      window.consume(8 * MIB, 400, FAR);
      expect(ahead.left).toBe(128 * MIB);
    });

    test("what a window has beyond 32 MiB stays lent until all of it was read", () => {
      const ahead = new Ahead(128 * MIB);
      const window = burst(ahead, FAR);
      window.receive(16 * MIB);
      window.consume(16 * MIB, 10, FAR);
      expect(window.size).toBeGreaterThan(48 * MIB);
      window.receive(16 * MIB);
      window.consume(16 * MIB, 80, FAR);
      expect(ahead.left).toBe(128 * MIB - (window.size - 120 * 262_144));
      window.receive(MIB);
      window.finish(0);
      expect(ahead.left).toBeLessThan(128 * MIB);
      window.finish(MIB);
      expect(ahead.left).toBe(128 * MIB);
    });

    test("a window that is closed gives back what it was lent, once", () => {
      const ahead = new Ahead(128 * MIB);
      const window = burst(ahead, FAR);
      window.close();
      window.close();
      expect(ahead.left).toBe(128 * MIB);
    });

    test("all windows together get no more than there is, and then grow by steps", () => {
      const ahead = new Ahead(40 * MIB);
      burst(ahead, FAR);
      burst(ahead, FAR);
      expect(ahead.left).toBe(0);
      expect(burst(ahead, FAR).size).toBe(4 * FIRST);
    });

    test.each([
      ["near", roundTrip(5)],
      ["not known to be far", roundTrip()],
    ])("a peer that is %s gets nothing of it", (_, roundTripMs) => {
      const ahead = new Ahead(128 * MIB);
      expect(burst(ahead, roundTripMs).size).toBe(4 * FIRST);
      expect(ahead.left).toBe(128 * MIB);
    });

    test("one whose first bytes come slowly gets no more than their pace would fill", () => {
      const ahead = new Ahead(128 * MIB);
      const window = new ReceiveWindow(FIRST, 64 * MIB, 0, ahead);
      window.receive(65_535);
      // 1.25 MB a second, a tenth of a megabyte on the way.
      window.consume(65_535, 52, FAR);
      expect(window.size).toBeLessThanOrEqual(5 * FIRST);
    });

    test("a connection's window follows, and goes back when no stream is left", () => {
      const budget = new ReceiveBudget(4 * MIB, 64 * MIB, 0);
      expect(budget.widen(60 * MIB)).toBe(56 * MIB);
      expect(budget.widen(40 * MIB)).toBe(0);
      budget.narrow();
      expect(budget.size).toBe(32 * MIB);
      // What was promised is not promised again until the window is down to its size.
      budget.receive(28 * MIB);
      expect(budget.release(28 * MIB, 1000, FAR)).toBe(0);
      budget.receive(2 * MIB);
      expect(budget.release(2 * MIB, 2000, FAR)).toBe(2 * MIB);
    });
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
      fc.property(fc.array(step, { maxLength: 300 }), fc.boolean(), (steps, far) => {
        const ahead = new Ahead(10_000);
        const window = new ReceiveWindow(1000, 20_000, 0, far ? ahead : undefined);
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
        expect(ahead.left).toBeGreaterThanOrEqual(0);
        window.close();
        expect(ahead.left).toBe(10_000);
      }),
    );
  });

  test("a slow reader does not", () => {
    const window = new ReceiveWindow(1000, 4000, 0);
    for (let now = 1000; now < 20_000; now += 1000) window.consume(500, now, FAR_MS);
    expect(window.size).toBe(1000);
  });
});
