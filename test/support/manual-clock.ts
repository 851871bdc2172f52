/** Clocks for tests: one that stands still until told, and one that flows and can be moved forward. */
import type { Clock } from "../../src/clock.ts";

export interface ManualClock extends Clock {
  /** Moves time on and runs every timer that falls due, in order, letting promises settle between them. */
  advance(ms: number): Promise<void>;
  /** How many timers are set. */
  pending(): number;
}

/** Noon of a day in 2026, so that dates read well in failures. */
const START_WALL = Date.UTC(2026, 5, 1, 12, 0, 0);

/** Lets everything that is ready run: promise jobs, and I/O that has finished. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A clock that stands still until {@link ManualClock.advance}. */
export function manualClock(startWall: number = START_WALL): ManualClock {
  let now = 0;
  let order = 0;
  const timers = new Map<number, { at: number; work: () => void }>();
  const nextDue = (limit: number): number | undefined => {
    let found: number | undefined;
    for (const [id, timer] of timers) {
      if (timer.at > limit) continue;
      const best = found === undefined ? undefined : timers.get(found);
      if (!best || timer.at < best.at) found = id;
    }
    return found;
  };
  return {
    now: () => now,
    wall: () => startWall + now,
    after(delayMs, work) {
      const id = order++;
      timers.set(id, { at: now + Math.max(0, delayMs), work });
      return { cancel: () => void timers.delete(id) };
    },
    async advance(ms) {
      const end = now + ms;
      await settle();
      for (let id = nextDue(end); id !== undefined; id = nextDue(end)) {
        const timer = timers.get(id);
        timers.delete(id);
        if (!timer) continue;
        now = Math.max(now, timer.at);
        timer.work();
        await settle();
      }
      now = end;
      await settle();
    },
    pending: () => timers.size,
  };
}

export interface JumpingClock extends Clock {
  /** Moves `now` and `wall` forward at once; timers that are due by then run on the next turn. */
  jump(ms: number): void;
}

/** Real time that can be moved forward, for tests against real programs that keep their own time. */
export function jumpingClock(): JumpingClock {
  let offset = 0;
  const waiting = new Set<{ at: number; work: () => void; handle: ReturnType<typeof setTimeout> }>();
  const now = (): number => performance.now() + offset;
  return {
    now,
    wall: () => Date.now() + offset,
    after(delayMs, work) {
      const entry = { at: now() + delayMs, work, handle: setTimeout(() => {}, 0) };
      const arm = (): void => {
        clearTimeout(entry.handle);
        entry.handle = setTimeout(
          () => {
            if (now() < entry.at - 1) return arm();
            waiting.delete(entry);
            work();
          },
          Math.min(Math.max(0, entry.at - now()), 2 ** 30),
        );
      };
      arm();
      waiting.add(entry);
      return {
        cancel() {
          clearTimeout(entry.handle);
          waiting.delete(entry);
        },
      };
    },
    jump(ms) {
      offset += ms;
      for (const entry of [...waiting]) {
        if (entry.at > now()) continue;
        clearTimeout(entry.handle);
        waiting.delete(entry);
        setImmediate(entry.work);
      }
    },
  };
}
