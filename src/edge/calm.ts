/**
 * Memory after a rush of new connections. Making one takes many times what it keeps, and a heap that has grown by that gives
 * nothing back while it rests: on some runtimes two thousand connections then cost twice what they need.
 */
import type { Clock } from "../clock.ts";
import type { Heap } from "../runtime.ts";

/** How often it is looked at while connections come. */
const LOOK_MS = 250;
/** So many new ones between two looks are a rush. */
const RUSH = 50;
/** So many more than before leave enough behind that a collection is worth its while. */
const BURST = 1_000;
/** Hardly anything comes: at most so many chunks between two looks, twice in a row. */
const CALM_CHUNKS = 4;
const CALM_LOOKS = 2;
/** At least from one burst's last collection to the next one's first. */
const REST_MS = 10_000;

export interface Calm {
  opened(): void;
  closed(): void;
}

/** Is to be told of every connection. */
export function createCalm(clock: Clock, heap: Heap): Calm {
  if (heap.collections === 0) return { opened() {}, closed() {} };
  let looking = false;
  let fresh = 0;
  let open = 0;
  /** As many were open at the last collection, or fewer since. */
  let known = 0;
  let left = 0;
  let seen = 0;
  let calm = 0;
  let restUntil = clock.now();

  const arm = (): void => {
    looking = true;
    clock.after(LOOK_MS, look);
  };
  const look = (): void => {
    looking = false;
    // What outlives its making in a rush are connections, which grow old anyway: more room would only hold more garbage.
    heap.mayGrow(fresh < RUSH);
    const chunks = heap.chunks();
    calm = chunks - seen <= CALM_CHUNKS ? calm + 1 : 0;
    seen = chunks;
    if (open - known >= BURST && clock.now() >= restUntil) {
      left = heap.collections;
      known = open;
    }
    if (left > 0 && calm >= CALM_LOOKS) {
      calm = 0;
      left -= 1;
      heap.collect();
      restUntil = clock.now() + REST_MS;
    }
    if (fresh > 0 || left > 0 || open - known >= BURST) arm();
    fresh = 0;
  };

  return {
    opened() {
      fresh += 1;
      open += 1;
      if (!looking) arm();
    },
    closed() {
      open -= 1;
      known = Math.min(known, open);
    },
  };
}
