/**
 * One timer for many that are to be looked after now and then: nothing that a request does sets a timer or reads the clock.
 * Deadlines count from the last round's time plus one period, so a bound strikes at most one period late, never early.
 */
import type { Clock, Timer } from "../clock.ts";
import { type Placed, Roster } from "./roster.ts";

export class Rounds<T extends Placed> {
  /** Monotonic milliseconds at the last round. */
  now: number;
  readonly periodMs: number;
  readonly #clock: Clock;
  readonly #members = new Roster<T>();
  readonly #visit: (member: T) => void;
  #timer: Timer | undefined;

  /** @param visit called once in each round for each member; `now` is monotonic milliseconds */
  constructor(clock: Clock, periodMs: number, visit: (member: T, now: number) => void) {
    this.#clock = clock;
    this.periodMs = periodMs;
    this.now = clock.now();
    this.#visit = (member) => visit(member, this.now);
  }

  /** When something that starts now and may take `ms` is overdue. */
  deadline(ms: number): number {
    return this.now + this.periodMs + ms;
  }

  add(member: T): void {
    if (this.#timer === undefined) {
      this.now = this.#clock.now();
      this.#arm();
    }
    this.#members.add(member);
  }

  remove(member: T): void {
    this.#members.delete(member);
  }

  #arm(): void {
    this.#timer = this.#clock.after(this.periodMs, () => {
      this.now = this.#clock.now();
      try {
        this.#members.visit(this.#visit);
      } finally {
        // Not before: who comes meanwhile, as into the room that a request leaves which fails, would set a second timer for
        // good. And a fault in one visit does not end the rounds.
        this.#timer = undefined;
        if (this.#members.size > 0) this.#arm();
      }
    });
  }
}

/** How coarse the bounds of connections are. */
export const SWEEP_MS = 1000;

export interface Swept extends Placed {
  /** Called once a second. `now` is monotonic milliseconds. */
  sweep(now: number): void;
}

const sweeps = new WeakMap<Clock, Rounds<Swept>>();

/** The rounds of all connections that share a clock, whichever protocol they speak. */
export function sweepsOf(clock: Clock): Rounds<Swept> {
  let rounds = sweeps.get(clock);
  if (rounds === undefined) {
    rounds = new Rounds(clock, SWEEP_MS, (member, now) => member.sweep(now));
    sweeps.set(clock, rounds);
  }
  return rounds;
}
