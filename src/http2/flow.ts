/** Flow control (RFC 9113 §5.2): the receiving half. The sending half is a plain number per stream and connection. */

/** A quarter of a window taken within this time means that the window, not the reader, sets the pace. */
const GROW_WITHIN_MS = 125;
const GROW_PART = 4;
/** A reader that never has less than this part of the window waiting is the one that sets the pace. */
const BEHIND_PART = 8;

/**
 * Windows are topped up by this part of their size. What is owed below that is missing on the way: at a half, a sender that
 * waits for each update would fill half of a long path only.
 */
const TOP_UP_PART = 8;

/**
 * What a peer may still send. It shrinks as bytes come, and is topped up only as the reader takes them, in small steps.
 * A reader that keeps up doubles the window until `max`, so that a long path fills without a guess at its delay. One that is
 * always behind, as a server on a fast line that is slower than its client, does not: a larger window would only hold more.
 */
export class ReceiveWindow {
  #size: number;
  readonly #max: number;
  #available: number;
  #owed = 0;
  /** Taken since `#since`; at a quarter of the window it is decided whether to grow. */
  #taken = 0;
  #since = -GROW_WITHIN_MS;
  /** The least that waited for the reader since then. */
  #least = Number.POSITIVE_INFINITY;

  constructor(size: number, max: number) {
    this.#size = size;
    this.#max = Math.max(size, max);
    this.#available = size;
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
  consume(bytes: number, now: number): number {
    this.#owed += bytes;
    this.#taken += bytes;
    const waiting = this.#size - this.#available - this.#owed;
    if (waiting < this.#least) this.#least = waiting;
    let grown = 0;
    if (this.#taken * GROW_PART >= this.#size) {
      const keepsUp = this.#least * BEHIND_PART < this.#size;
      if (this.#size < this.#max && keepsUp && now - this.#since < GROW_WITHIN_MS) {
        grown = Math.min(this.#size, this.#max - this.#size);
        this.#size += grown;
      }
      this.#taken = 0;
      this.#since = now;
      this.#least = Number.POSITIVE_INFINITY;
    }
    if (grown === 0 && this.#owed * TOP_UP_PART < this.#size) return 0;
    const give = this.#owed + grown;
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

  constructor(size: number, max: number) {
    this.#window = new ReceiveWindow(size, max);
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
  release(bytes: number, now: number): number {
    this.#held -= bytes;
    const give = this.#owed - Math.max(0, this.#held - this.#budget);
    if (give <= 0) return 0;
    this.#owed -= give;
    return this.#window.consume(give, now);
  }
}
