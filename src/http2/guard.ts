/** Counts what costs us more than it costs a peer, per second (CVE-2023-44487 and its kin). */
import type { Http2Limits, Offence } from "../exchange/limits.ts";

const SECOND_MS = 1000;

/** Each method returns the offence once its limit is passed, else undefined. */
export class Guard {
  readonly #limits: Http2Limits;
  #since = Number.NEGATIVE_INFINITY;
  #resets = 0;
  #pings = 0;
  #settings = 0;
  #empty = 0;
  #updates = 0;

  constructor(limits: Http2Limits) {
    this.#limits = limits;
  }

  /** A new second begins. Credit that DATA and streams earned lasts, so that it need not fall into the same second. */
  tick(now: number): void {
    if (now - this.#since < SECOND_MS) return;
    this.#since = now;
    this.#resets = this.#pings = this.#settings = 0;
    if (this.#empty > 0) this.#empty = 0;
    if (this.#updates > 0) this.#updates = 0;
  }

  reset(): Offence | undefined {
    return ++this.#resets > this.#limits.maxResetsPerSecond ? "h2_resets" : undefined;
  }

  ping(): Offence | undefined {
    return ++this.#pings > this.#limits.maxPingsPerSecond ? "h2_pings" : undefined;
  }

  settings(): Offence | undefined {
    return ++this.#settings > this.#limits.maxSettingsPerSecond ? "h2_settings" : undefined;
  }

  empty(): Offence | undefined {
    return ++this.#empty > this.#limits.maxEmptyFramesPerSecond ? "h2_empty_frames" : undefined;
  }

  windowUpdate(): Offence | undefined {
    return ++this.#updates > this.#limits.maxWindowUpdatesPerSecond ? "h2_window_updates" : undefined;
  }

  /** Our DATA calls for two updates: the stream's and the connection's. */
  dataSent(): void {
    if (this.#updates > -100_000) this.#updates -= 2;
  }

  /** A stream may come with priorities: two frames of that kind are no abuse. */
  streamOpened(): void {
    if (this.#empty > -1000) this.#empty -= 2;
  }
}
