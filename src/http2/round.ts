/** Whose turn it is to send: a queue in which each stream stands at most once. */
import type { Http2Stream } from "./stream.ts";

export class Round {
  #streams: Http2Stream[] = [];
  #head = 0;

  get length(): number {
    return this.#streams.length - this.#head;
  }

  add(stream: Http2Stream): void {
    if (stream.inRound) return;
    stream.inRound = true;
    this.#streams.push(stream);
  }

  /** Takes the first. MUST NOT be called when empty. */
  next(): Http2Stream {
    const stream = this.#streams[this.#head++]!;
    stream.inRound = false;
    if (this.#head === this.#streams.length) {
      this.#streams.length = 0;
      this.#head = 0;
    } else if (this.#head > 256) {
      this.#streams.splice(0, this.#head);
      this.#head = 0;
    }
    return stream;
  }

  clear(): void {
    for (let i = this.#head; i < this.#streams.length; i++) this.#streams[i]!.inRound = false;
    this.#streams = [];
    this.#head = 0;
  }
}
