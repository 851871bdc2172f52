/** Flow control (RFC 9113 §5.2): the receiving half. The sending half is a plain number per stream and connection. */

/** A quarter of a window taken within a round trip means that the window, not the line, may set the pace. */
const GROW_PART = 4;
/** One taken in this part of a round trip means that it is far too small. */
const MUCH_SOONER = 8;
/** What a round trip is taken for at least: peers and this process are late now and then. */
const LEAST_ROUND_TRIP_MS = 10;
/** And at most, or until it is known: a peer that delays its answer must not look far away. */
const MOST_ROUND_TRIP_MS = 250;
/** No line is taken to be faster than 2 Gbit/s: a window of a near peer would hold what is on no line. */
const MOST_BYTES_PER_MS = 262_144;
/** A reader that never has less than this part of the window waiting is the one that sets the pace. */
const BEHIND_PART = 8;
/** One that never has less than this part waiting gets a smaller window. */
const STUCK_PART = 2;

/**
 * Windows are topped up by this part of their size. What is owed below that is missing on the way: at a half, a sender that
 * waits for each update would fill half of a long path only.
 */
const TOP_UP_PART = 8;

/** How long a round trip may take, from one that was measured. */
export function roundTrip(measuredMs: number = MOST_ROUND_TRIP_MS): number {
  return Math.min(Math.max(measuredMs * 1.5, LEAST_ROUND_TRIP_MS), MOST_ROUND_TRIP_MS);
}

/**
 * What a peer may still send. It shrinks as bytes come, and is topped up only as the reader takes them, in small steps.
 * A reader that keeps up makes it grow until `max`, so that a long path fills: to some times of what is under way
 * at the most, as a window that holds more than the line does brings nothing but memory. One that is
 * always behind, as a server on a fast line that is slower than its client, does not: a larger window would only hold more.
 * Such a server looks fast until the buffers on the way to it are full, so a window that grew too far is halved again.
 */
export class ReceiveWindow {
  #size: number;
  readonly #first: number;
  readonly #max: number;
  #available: number;
  /** Taken and not given back yet; negative after the window shrank. */
  #owed = 0;
  /** Taken since `#since`; at a quarter of the window it is decided whether to grow. */
  #taken = 0;
  #since: number;
  /** The least that waited for the reader since then. */
  #least = Number.POSITIVE_INFINITY;

  constructor(size: number, max: number, now: number) {
    this.#size = size;
    this.#first = size;
    this.#max = Math.max(size, max);
    this.#available = size;
    this.#since = now;
  }

  /** The window that is held open, in bytes. */
  get size(): number {
    return this.#size;
  }

  /** The peer sent `bytes`. False when it had no right to. */
  receive(bytes: number): boolean {
    this.#available -= bytes;
    return this.#available >= 0;
  }

  /** The reader took `bytes`. Returns what a WINDOW_UPDATE should now give back, or 0 for not yet. */
  consume(bytes: number, now: number, roundTripMs: number): number {
    this.#owed += bytes;
    this.#taken += bytes;
    const waiting = this.#size - this.#available - this.#owed;
    if (waiting < this.#least) this.#least = waiting;
    let grown = 0;
    // The byte less is for 65,535, which is all that a peer sends before it has heard of a larger window.
    if ((this.#taken + 1) * GROW_PART >= this.#size) {
      const keepsUp = this.#least * BEHIND_PART < this.#size;
      const most = Math.min(this.#max, roundTripMs * MOST_BYTES_PER_MS);
      if (this.#size < most && keepsUp && now - this.#since < roundTripMs) {
        const factor = (now - this.#since) * MUCH_SOONER < roundTripMs ? 4 : 2;
        grown = Math.min(this.#size * (factor - 1), most - this.#size);
        this.#size += grown;
        this.#owed += grown;
      } else if (this.#least * STUCK_PART > this.#size && this.#size > this.#first) {
        // What was promised stands; it is not given again once it was used.
        const less = Math.min(this.#size - this.#first, this.#size >>> 1);
        this.#size -= less;
        this.#owed -= less;
      }
      this.#taken = 0;
      this.#since = now;
      this.#least = Number.POSITIVE_INFINITY;
    }
    if (this.#owed <= 0 || (grown === 0 && this.#owed * TOP_UP_PART < this.#size)) return 0;
    const give = this.#owed;
    this.#owed = 0;
    this.#available += give;
    return give;
  }
}

/**
 * A connection's window, shared by its streams. What waits for a reader counts against a budget of half the largest
 * window instead of the window itself, so that a stuck stream stops itself and not its neighbours.
 */
export class ReceiveBudget {
  readonly #window: ReceiveWindow;
  readonly #budget: number;
  #held = 0;
  #owed = 0;

  constructor(size: number, max: number, now: number) {
    this.#window = new ReceiveWindow(size, max, now);
    this.#budget = max / 2;
  }

  get size(): number {
    return this.#window.size;
  }

  /** The peer sent `bytes`, which are held until released. False when it had no right to. */
  receive(bytes: number): boolean {
    this.#held += bytes;
    this.#owed += bytes;
    return this.#window.receive(bytes);
  }

  /** `bytes` are no longer held. Returns what a WINDOW_UPDATE should now give back, or 0 for not yet. */
  release(bytes: number, now: number, roundTripMs: number): number {
    this.#held -= bytes;
    const give = this.#owed - Math.max(0, this.#held - this.#budget);
    if (give <= 0) return 0;
    this.#owed -= give;
    return this.#window.consume(give, now, roundTripMs);
  }
}
