/** How the last streams ended: a late frame means different things on each (RFC 9113 §5.1). */

const KEPT = 256;

export class Recent {
  readonly #ids = new Uint32Array(KEPT);
  readonly #byUs = new Uint8Array(KEPT);
  #next = 0;

  add(id: number, byUs: boolean): void {
    // A stream that we reset stays so, although it is forgotten right afterwards.
    const last = (this.#next + KEPT - 1) % KEPT;
    if (this.#ids[last] === id) return;
    this.#ids[this.#next] = id;
    this.#byUs[this.#next] = byUs ? 1 : 0;
    this.#next = (this.#next + 1) % KEPT;
  }

  /** Undefined for a stream that ended long ago, or never was. */
  find(id: number): "reset by us" | "over" | undefined {
    const at = this.#ids.lastIndexOf(id);
    if (at < 0) return undefined;
    return this.#byUs[at] === 1 ? "reset by us" : "over";
  }
}
