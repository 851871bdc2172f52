import type { Clock, Random, Timer } from "../../src/clock.ts";
import type { Transport } from "../../src/exchange/dispatch.ts";

export interface ManualClock extends Clock {
  advance(ms: number): void;
}

/** A clock that stands still until it is advanced; timers then run in order. */
export function manualClock(): ManualClock {
  let time = 0;
  const timers: { at: number; work: () => void }[] = [];
  return {
    now: () => time,
    wall: () => 1_700_000_000_000 + time,
    after(delayMs, work): Timer {
      const timer = { at: time + delayMs, work };
      timers.push(timer);
      return {
        cancel() {
          const index = timers.indexOf(timer);
          if (index >= 0) timers.splice(index, 1);
        },
      };
    },
    advance(ms) {
      const until = time + ms;
      for (;;) {
        timers.sort((a, b) => a.at - b.at);
        const next = timers[0];
        if (!next || next.at > until) break;
        timers.shift();
        time = Math.max(time, next.at);
        next.work();
      }
      time = until;
    },
  };
}

/** A seeded uniform source (mulberry32). */
export function seeded(seed: number): Random {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** For tests that never send anything. */
export const noTransport: Transport = {
  dispatch: () => () => {},
  close: () => Promise.resolve(),
};

/** The clock, and how many of its timers were set at once, at most. */
export function counted(clock: ManualClock): { clock: ManualClock; most: () => number } {
  let [set, most] = [0, 0];
  const after: ManualClock["after"] = (delayMs, work) => {
    most = Math.max(most, ++set);
    return clock.after(delayMs, () => {
      set--;
      work();
    });
  };
  return { clock: { ...clock, after }, most: () => most };
}
