/** One coarse timer for all connections of a clock: no timer per stream, none per connection. */
import type { Clock } from "../clock.ts";

/** How coarse: a timeout may strike this much late. */
export const SWEEP_MS = 1000;

export interface Swept {
  sweep(now: number): void;
}

const sweeps = new WeakMap<Clock, Set<Swept>>();

/** Calls `item.sweep` about once in {@link SWEEP_MS} until {@link unsweep}. */
export function enrol(clock: Clock, item: Swept): void {
  let items = sweeps.get(clock);
  if (items === undefined) {
    items = new Set();
    sweeps.set(clock, items);
    arm(clock, items);
  }
  items.add(item);
}

export function unsweep(clock: Clock, item: Swept): void {
  sweeps.get(clock)?.delete(item);
}

function arm(clock: Clock, items: Set<Swept>): void {
  clock.after(SWEEP_MS, () => {
    if (items.size === 0) {
      sweeps.delete(clock);
      return;
    }
    const now = clock.now();
    for (const item of items) item.sweep(now);
    arm(clock, items);
  });
}
