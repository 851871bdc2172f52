/** What a pool's servers usually take to a response head. */
import { median } from "./load.ts";
import type { Member } from "./member.ts";

/** How often it is worked out again. */
const EVERY_MS = 1000;
/** From how many members: more would not make it better, only slower. */
const MEDIAN_OF = 128;

export class UsualLatency {
  /** The median of warm members, in milliseconds; 0 while unknown. */
  value = 0;
  private at = Number.NEGATIVE_INFINITY;

  learn(now: number, all: readonly Member[]): void {
    if (now - this.at <= EVERY_MS) return;
    this.at = now;
    const known: number[] = [];
    const rest = this.value / 2;
    const step = Math.max(1, all.length / MEDIAN_OF);
    for (let i = 0; i < all.length; i += step) {
      const { load } = all[Math.floor(i)]!;
      if (load.warm) known.push(load.read(now, rest));
    }
    this.value = median(known) ?? 0;
  }
}
