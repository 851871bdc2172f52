/** The line before a backend whose servers are all full: first come, first served, each until its deadline. */
import type { Clock, Timer } from "../clock.ts";
import type { Lease, Server } from "./server.ts";
import type { PickSink } from "./sink.ts";

/** A request in the line. */
export interface Waiter {
  /** Servers it has been to and will not go to again. */
  readonly tried: readonly Server[] | undefined;
  readonly repeatable: boolean;
  readonly key: string | undefined;
  /** Hears how its server was picked. */
  readonly sink: PickSink | undefined;
  /** Called once: with a lease, or without one where the deadline passed. */
  readonly done: (lease: Lease | undefined) => void;
}

export interface Place extends Waiter {
  readonly deadline: number;
  /** Whether it still stands in the line. */
  waits: boolean;
  next: Place | undefined;
  previous: Place | undefined;
}

export class WaitingLine {
  private readonly clock: Clock;
  private head: Place | undefined;
  private tail: Place | undefined;
  private timer: Timer | undefined;
  private serving = false;
  size = 0;
  /** Those that would take any server: nobody may overtake them. */
  open = 0;

  constructor(clock: Clock) {
    this.clock = clock;
  }

  add(waiter: Waiter, timeoutMs: number): Place {
    const deadline = this.clock.now() + timeoutMs;
    const place: Place = { ...waiter, deadline, waits: true, next: undefined, previous: this.tail };
    if (this.tail) this.tail.next = place;
    else this.head = place;
    this.tail = place;
    this.size++;
    if (place.tried === undefined) this.open++;
    if (this.head === place) this.arm();
    return place;
  }

  /** Idempotent. */
  remove(place: Place): void {
    if (!place.waits) return;
    place.waits = false;
    const wasHead = this.head === place;
    if (place.previous) place.previous.next = place.next;
    else this.head = place.next;
    if (place.next) place.next.previous = place.previous;
    else this.tail = place.previous;
    this.size--;
    if (place.tried === undefined) this.open--;
    if (wasHead) this.arm();
  }

  /**
   * Gives what room there is to those who wait. What they do with it may call this again: the loop sees to that.
   * @param exhausted whether nobody could be served, wherever they have been
   */
  serve(take: (place: Place) => Lease | undefined, exhausted: () => boolean): void {
    if (this.serving) return;
    this.serving = true;
    try {
      let place = this.head;
      while (place) {
        const lease = take(place);
        if (lease) {
          this.remove(place);
          place.done(lease);
          place = this.head;
        } else if (exhausted()) return;
        // The room that there is may be on servers it has been to; others need not wait for that.
        else place = place.next;
      }
    } finally {
      this.serving = false;
    }
  }

  /** One timer, for who has waited longest. */
  private arm(): void {
    this.timer?.cancel();
    this.timer =
      this.head && this.clock.after(Math.max(this.head.deadline - this.clock.now(), 0), this.expire);
  }

  private readonly expire = (): void => {
    this.timer = undefined;
    const now = this.clock.now();
    for (let place = this.head; place && place.deadline <= now; place = this.head) {
      this.remove(place);
      place.done(undefined);
    }
    // A timer may run a little before its time.
    if (this.head && this.timer === undefined) this.arm();
  };
}
