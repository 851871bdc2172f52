/** How the last streams ended: a late frame means different things on each (RFC 9113 §5.1). */

const KEPT = 256;
const NAMES = ["ended", "reset by peer", "reset by us"] as const;

/** `ended`: both sides said END_STREAM. */
export type Ending = (typeof NAMES)[number];

export class Recent {
  readonly #ids = new Uint32Array(KEPT);
  readonly #endings = new Uint8Array(KEPT);
  #next = 0;

  add(id: number, ending: Ending): void {
    // A stream that was reset stays so, although it is forgotten right afterwards.
    const last = (this.#next + KEPT - 1) % KEPT;
    if (this.#ids[last] === id) return;
    this.#ids[this.#next] = id;
    this.#endings[this.#next] = ending === "ended" ? 0 : ending === "reset by peer" ? 1 : 2;
    this.#next = (this.#next + 1) % KEPT;
  }

  /** Undefined for a stream that ended long ago, or never was. */
  find(id: number): Ending | undefined {
    const at = this.#ids.lastIndexOf(id);
    return at < 0 ? undefined : NAMES[this.#endings[at]!];
  }
}
