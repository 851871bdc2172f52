/** What windows may be opened before their readers have shown that they take as much. */

/** The least round trip, as measured, for which it is worth it. */
export const FAR_MS = 20;
/** How much of it there is, for all connections of this process together. */
const AHEAD_BYTES = 128 * 2 ** 20;

/**
 * A sender far away waits a round trip for each step that its window grows by. So a window may take its steps at
 * once, on the word of a first burst; servers that then turn out to be slow hold no more than `bytes` of all such windows.
 */
export class Ahead {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  get left(): number {
    return this.#left;
  }

  /** As much of `bytes` as there is. */
  take(bytes: number): number {
    const taken = Math.min(bytes, this.#left);
    this.#left -= taken;
    return taken;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }
}

export const ahead: Ahead = new Ahead(AHEAD_BYTES);
