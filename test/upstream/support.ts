import type { Clock, Random, Timer } from "../../src/clock.ts";
import type { Transport } from "../../src/exchange/dispatch.ts";
import type { Outcome } from "../../src/upstream/ejection.ts";
import type { Pool } from "../../src/upstream/pool.ts";
import type { Lease, Server } from "../../src/upstream/server.ts";

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

/** Requests to one server of the pool of the moment. */
export function asking(
  pool: () => Pool,
  clock: () => ManualClock,
): {
  on(server: Server): Lease;
  /** Some that are answered after so long. */
  serve(server: Server, tookMs: number, times?: number): void;
  fail(server: Server, times: number, outcome?: Outcome): void;
} {
  const on = (server: Server): Lease => {
    const others = pool()
      .members()
      .filter((member) => member !== server);
    return pool().lease(others)!;
  };
  return {
    on,
    serve(server, tookMs, times = 3) {
      for (let i = 0; i < times; i++) {
        const lease = on(server);
        clock().advance(tookMs);
        lease.answered();
        lease.settle("ok");
      }
    },
    fail(server, times, outcome = "unreachable") {
      for (let i = 0; i < times; i++) on(server).settle(outcome);
    },
  };
}

/** The share of `id` among requests that come one after the other. */
export function shareOf(pool: Pool, id: string, requests: number): number {
  let count = 0;
  for (let i = 0; i < requests; i++) {
    const lease = pool.lease()!;
    if (lease.server.id === id) count++;
    lease.settle("abandoned");
  }
  return count / requests;
}

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
