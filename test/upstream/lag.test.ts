import { expect, test } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { BEAT_MS, LATE_MS, startLagMonitor } from "../../src/upstream/lag.ts";
import { createPool } from "../../src/upstream/pool.ts";
import { manualClock, noTransport, seeded } from "./support.ts";

/** A clock whose timers run when they are told to, however late that is. */
function lazyClock(): Clock & { time: number; beat(): void; readonly set: boolean } {
  let next: (() => void) | undefined;
  return {
    time: 0,
    now() {
      return this.time;
    },
    wall: () => 0,
    after(_delay, work) {
      next = work;
      return {
        cancel() {
          next = undefined;
        },
      };
    },
    beat: () => next?.(),
    get set() {
      return next !== undefined;
    },
  };
}

test("a loop whose beats come in time never lagged", () => {
  const clock = manualClock();
  const lag = startLagMonitor(clock);
  for (let i = 0; i < 50; i++) {
    const from = clock.now();
    clock.advance(37);
    expect(lag.lagged(from, clock.now())).toBe(false);
  }
  lag.stop();
});

test("an overdue beat is lag before it runs, and after it for what began before", () => {
  const clock = lazyClock();
  const lag = startLagMonitor(clock);
  clock.time = BEAT_MS + LATE_MS;
  expect(lag.lagged(50, clock.time)).toBe(false);
  clock.time = BEAT_MS + LATE_MS + 1;
  expect(lag.lagged(50, clock.time)).toBe(true);
  clock.beat();
  expect(lag.lagged(50, clock.time)).toBe(true);
  clock.time += 10;
  expect(lag.lagged(clock.time - 5, clock.time)).toBe(false);
  lag.stop();
  expect(clock.set).toBe(false);
});

test("a latency measured while our own loop lagged does not count", () => {
  const clock = manualClock();
  let lagging = false;
  const lag = { lagged: () => lagging, stop() {} };
  const pool = createPool("web", { clock, random: seeded(1), lag });
  const server = pool.add({ id: "a", transport: noTransport });
  const serve = (tookMs: number): void => {
    const lease = pool.lease()!;
    clock.advance(tookMs);
    lease.answered();
    lease.settle("ok");
  };
  for (let i = 0; i < 3; i++) serve(5);
  lagging = true;
  serve(400);
  lagging = false;
  expect(server.latencyMs).toBeLessThan(6);
  serve(400);
  expect(server.latencyMs).toBe(400);
});
