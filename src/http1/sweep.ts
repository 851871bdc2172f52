/**
 * One timer for all connections that share a clock: a visit each second. No request sets a timer or reads the clock;
 * deadlines count from the last visit's time plus one period, so a limit strikes at most one second late, never early.
 */
import type { Clock, Timer } from "../clock.ts";

export const PERIOD_MS = 1000;

export interface Swept {
  /** Called once a second. `now` is monotonic milliseconds. */
  sweep(now: number): void;
}

export class Sweeper {
  /** Monotonic milliseconds at the last visit. */
  now: number;
  readonly #clock: Clock;
  readonly #members: Set<Swept> = new Set();
  #timer: Timer | undefined;
  #date = "";

  constructor(clock: Clock) {
    this.#clock = clock;
    this.now = clock.now();
  }

  /** When something that starts now and may take `ms` is overdue. */
  deadline(ms: number): number {
    return this.now + PERIOD_MS + ms;
  }

  /** The Date field with its line end, made at most once a second. */
  dateLine(): string {
    if (this.#date === "") this.#date = `Date: ${new Date(this.#clock.wall()).toUTCString()}\r\n`;
    return this.#date;
  }

  add(member: Swept): void {
    if (this.#timer === undefined) {
      this.now = this.#clock.now();
      this.#date = "";
      this.#arm();
    }
    this.#members.add(member);
  }

  remove(member: Swept): void {
    this.#members.delete(member);
  }

  #arm(): void {
    this.#timer = this.#clock.after(PERIOD_MS, () => {
      this.now = this.#clock.now();
      this.#date = "";
      try {
        for (const member of this.#members) member.sweep(this.now);
      } finally {
        // Not before: who comes meanwhile would set a second timer for good.
        this.#timer = undefined;
        if (this.#members.size > 0) this.#arm();
      }
    });
  }
}

const sweepers = new WeakMap<Clock, Sweeper>();

/** The sweeper of this clock. */
export function sweeperOf(clock: Clock): Sweeper {
  let sweeper = sweepers.get(clock);
  if (sweeper === undefined) {
    sweeper = new Sweeper(clock);
    sweepers.set(clock, sweeper);
  }
  return sweeper;
}
