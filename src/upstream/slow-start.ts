/** A server that is new or back warms up first: its weight rises from a tenth to the whole. */

import type { Clock } from "../clock.ts";
import type { Member } from "./member.ts";

/** The least share of its weight that a warming server has. */
export const LEAST_SHARE = 0.1;
/** Steps in which the weight rises. */
const STEPS = 20;
const SHORTEST_STEP_MS = 50;

/** The share of its weight that a server has `elapsedMs` after it joined. */
export function warmth(elapsedMs: number, slowStartMs: number): number {
  return elapsedMs >= slowStartMs ? 1 : Math.max(LEAST_SHARE, elapsedMs / slowStartMs);
}

/** How long a weight stays as it is. */
export function stepMs(slowStartMs: number): number {
  return Math.max(slowStartMs / STEPS, SHORTEST_STEP_MS);
}

/** Lets members start slowly, where others are warm and can take what they do not. */
export function beginWarming(
  members: readonly Member[],
  all: readonly Member[],
  slowStartMs: number,
  now: number,
): void {
  if (slowStartMs === 0) return;
  const helped = all.some((one) => one.fit && one.warmingSince === undefined && !members.includes(one));
  if (helped) for (const member of members) member.warmingSince = now;
}

/** The weights of a pool's members as far as they are warm. */
export class Warming {
  private readonly clock: Clock;
  private readonly onStep: () => void;
  private stepping = false;

  /** @param onStep called when weights are to be worked out again */
  constructor(clock: Clock, onStep: () => void) {
    this.clock = clock;
    this.onStep = onStep;
  }

  weigh(all: readonly Member[], slowStartMs: number): void {
    const now = this.clock.now();
    let some = false;
    for (const member of all) {
      const { warmingSince, weight } = member;
      const share = warmingSince === undefined ? 1 : warmth(now - warmingSince, slowStartMs);
      if (share === 1) member.warmingSince = undefined;
      else some = true;
      member.share = weight * share;
    }
    if (!some || this.stepping) return;
    this.stepping = true;
    this.clock.after(stepMs(slowStartMs), () => {
      this.stepping = false;
      this.onStep();
    });
  }
}
