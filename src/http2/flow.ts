/** Flow control (RFC 9113 §5.2): the receiving half. The sending half is a plain number per stream and connection. */
import { type Ahead, FAR_MS } from "./ahead.ts";

/** A quarter of a window taken within a round trip means that the window, not the line, may set the pace. */
const GROW_PART = 4;
/** One taken in this part of a round trip means that it is far too small. */
const MUCH_SOONER = 8;
/** What a round trip is taken for at least: peers and this process are late now and then. */
const LEAST_ROUND_TRIP_MS = 10;
/** And at most, or until it is known: a peer that delays its answer must not look far away. */
const MOST_ROUND_TRIP_MS = 250;
/** Room for what a round trip takes longer than the one that was measured. */
const ROUND_TRIP_SLACK = 1.5;
/** How many times what came in a round trip, at the pace of a burst, a window is opened at once. */
const BURST_TIMES = 4;
/** A window is not made for a line faster than 2 Gbit/s: that of a near peer would hold what is on no line. */
const MOST_BYTES_PER_MS = 262_144;
/** And is not larger than this, however far the peer is. Where a burst was faster, more is lent up to twice of both. */
const MOST_BYTES = 33_554_432;
const LENT_TIMES = 2;
/** What a slow server's buffers, and those on the way to it, may take as if it were a fast one. */
const PROOF_BYTES = 16_777_216;
/** A reader that never has less than this part of the window waiting is the one that sets the pace. */
const BEHIND_PART = 8;
/** One that never has less than this part waiting gets a smaller window. */
const STUCK_PART = 2;

/**
 * Windows are topped up by this part of their size. What is owed below that is missing on the way: at a half, a sender that
 * waits for each update would fill half of a long path only.
 */
const TOP_UP_PART = 8;
/** And in such steps at the most. */
const TOP_UP_BYTES = 1_048_576;

/** How long a round trip may take, from one that was measured; infinite until one was. */
export function roundTrip(measuredMs?: number): number {
  if (measuredMs === undefined) return Number.POSITIVE_INFINITY;
  return Math.min(Math.max(measuredMs * ROUND_TRIP_SLACK, LEAST_ROUND_TRIP_MS), MOST_ROUND_TRIP_MS);
}

/**
 * What a peer may still send. It shrinks as bytes come, and is topped up only as the reader takes them, in small steps.
 * A reader that keeps up makes it grow until `max`, so that a long path fills: to some times of what is under way
 * at the most, as a window that holds more than the line does brings nothing but memory. One that is
 * always behind, as a server on a fast line that is slower than its client, does not: a larger window would only hold more.
 * Such a server looks fast until the buffers on the way to it are full, so a window that grew too far is halved again.
 * For a peer that is far away it grows at once to what the pace of a burst would fill, as far as `ahead` lends it.
 */
export class ReceiveWindow {
  #size: number;
  readonly #first: number;
  readonly #max: number;
  readonly #ahead: Ahead | undefined;
  /** What `ahead` lent of it. */
  #lent = 0;
  #available: number;
  /** Taken and not given back yet; negative after the window shrank. */
  #owed = 0;
  /** Taken since `#since`; at a quarter of the window it is decided whether to grow. */
  #taken = 0;
  #since: number;
  /** Taken before that. */
  #takenBefore = 0;
  /** The least that waited for the reader since then. */
  #least = Number.POSITIVE_INFINITY;

  constructor(size: number, max: number, now: number, ahead?: Ahead) {
    this.#size = size;
    this.#first = size;
    this.#max = Math.max(size, max);
    this.#ahead = ahead;
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
      if (keepsUp) {
        grown = this.#growth(now - this.#since, roundTripMs);
        this.#size += grown;
        this.#owed += grown;
      } else if (this.#least * STUCK_PART > this.#size && this.#size > this.#first) {
        // What was promised stands; it is not given again once it was used.
        const less = Math.min(this.#size - this.#first, this.#size >>> 1);
        this.#size -= less;
        this.#owed -= less;
      }
      this.#takenBefore += this.#taken;
      this.#taken = 0;
      this.#since = now;
      this.#least = Number.POSITIVE_INFINITY;
    }
    if (this.#owed <= 0) return 0;
    if (grown === 0 && this.#owed < Math.min(this.#size / TOP_UP_PART, TOP_UP_BYTES)) return 0;
    const give = this.#owed;
    this.#owed = 0;
    this.#available += give;
    return give;
  }

  /** Opens it to `size`, as far as it may be opened. Returns what a WINDOW_UPDATE should now give. */
  widen(size: number): number {
    const grown = Math.min(size, this.#max) - this.#size;
    if (grown <= 0) return 0;
    this.#size += grown;
    this.#available += grown;
    return grown;
  }

  /** Undoes {@link widen}, as far as it was beyond what any window is by itself. */
  narrow(): void {
    const less = this.#size - Math.max(this.#first, MOST_BYTES);
    if (less <= 0) return;
    this.#size -= less;
    this.#owed -= less;
  }

  /** The reader took `bytes` of what came to an end, which asks for no more. */
  finish(bytes: number): void {
    this.#owed += bytes;
    if (this.#size - this.#available - this.#owed <= 0) this.#repay(0);
  }

  /** Nothing of it is held any more. */
  close(): void {
    this.#repay(0);
  }

  /** How much larger it should be, now that a quarter of it was taken in `tookMs`. */
  #growth(tookMs: number, roundTripMs: number): number {
    const round = Math.min(roundTripMs, MOST_ROUND_TRIP_MS);
    const most = Math.floor(Math.min(this.#max, MOST_BYTES, round * MOST_BYTES_PER_MS));
    const proven = this.#takenBefore + this.#taken >= PROOF_BYTES;
    // What it has come to by keeping up is its own.
    if (proven) this.#repay(Math.max(0, this.#size - most));
    if (tookMs >= round) return 0;
    const factor = tookMs * MUCH_SOONER < round ? 4 : 2;
    const won = Math.max(0, Math.min(this.#size * (factor - 1), most - this.#size));
    if (roundTripMs < FAR_MS * ROUND_TRIP_SLACK || roundTripMs > MOST_ROUND_TRIP_MS) return won;
    const burst = (this.#taken / Math.max(tookMs, 1)) * round * BURST_TIMES;
    const wanted = Math.min(
      this.#max,
      burst,
      LENT_TIMES * MOST_BYTES,
      LENT_TIMES * round * MOST_BYTES_PER_MS,
    );
    return won + this.#borrow(wanted - this.#size - won);
  }

  #borrow(bytes: number): number {
    if (this.#ahead === undefined || bytes <= 0) return 0;
    const lent = this.#ahead.take(Math.floor(bytes));
    this.#lent += lent;
    return lent;
  }

  /** Gives back all but `kept` of what was lent. */
  #repay(kept: number): void {
    const back = this.#lent - kept;
    if (back <= 0) return;
    this.#ahead?.give(back);
    this.#lent = kept;
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
    this.#budget = Math.min(max, MOST_BYTES) / 2;
  }

  get size(): number {
    return this.#window.size;
  }

  /** A stream's window was opened to `size`. Returns what a WINDOW_UPDATE should now give, so that it is of use. */
  widen(size: number): number {
    return this.#window.widen(size);
  }

  narrow(): void {
    this.#window.narrow();
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
