/** What a connection's once-a-second visit compares with the visit before. */
import type { Limits } from "../exchange/limits.ts";
import { SWEEP_MS } from "../exchange/rounds.ts";

export class Watch {
  #bodyMs = 0;
  #waiting = 0;
  #stalledMs = 0;
  #sent = 0;
  #silentMs = 0;

  /** A body begins, or the time it took so far no longer counts. */
  bodyBegins(): void {
    this.#bodyMs = 0;
  }

  /** Whether a body of which `received` bytes came falls below the least rate, after its grace. */
  tooSlow(received: number, limits: Limits): boolean {
    const { minBodyBytesPerSecond, bodyGraceMs } = limits;
    this.#bodyMs += SWEEP_MS;
    return this.#bodyMs > bodyGraceMs && received * 1000 < minBodyBytesPerSecond * this.#bodyMs;
  }

  /** Whether `waiting` bytes wait to be written, and none left for `ms`. */
  stalled(waiting: number, ms: number): boolean {
    const stuck = waiting > 0 && waiting === this.#waiting;
    this.#waiting = waiting;
    this.#stalledMs = stuck ? this.#stalledMs + SWEEP_MS : 0;
    return stuck && this.#stalledMs >= ms;
  }

  /** Whether an answer of which `sent` bytes went out has said nothing for `ms`. */
  silent(sent: number, ms: number): boolean {
    this.#silentMs = sent === this.#sent ? this.#silentMs + SWEEP_MS : 0;
    this.#sent = sent;
    return this.#silentMs > ms;
  }
}
