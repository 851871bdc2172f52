/** What a connection lets its peer send: its own window and those of its streams. */
import { ahead } from "./ahead.ts";
import type { ConnectionFacts } from "./ending.ts";
import { ReceiveBudget, ReceiveWindow } from "./flow.ts";
import { DEFAULT_WINDOW } from "./frames.ts";
import { Listening } from "./listening.ts";

export abstract class Receiving extends Listening {
  protected settingsAcked = false;
  readonly #window: ReceiveBudget;

  constructor(facts: ConnectionFacts) {
    super(facts);
    const { connectionWindowBytes, maxConnectionWindowBytes } = facts.limits.http2;
    const size = Math.max(connectionWindowBytes, DEFAULT_WINDOW);
    this.#window = new ReceiveBudget(size, maxConnectionWindowBytes, this.now);
  }

  /** The connection's window. */
  protected get windowBytes(): number {
    return this.#window.size;
  }

  /** The peer sent `bytes` of DATA. False when it had no right to. */
  protected takes(bytes: number): boolean {
    return this.#window.receive(bytes);
  }

  newReceiveWindow(): ReceiveWindow {
    const { streamWindowBytes, maxStreamWindowBytes } = this.limits.http2;
    // Until our SETTINGS are acknowledged the peer goes by the default.
    const size = this.settingsAcked ? streamWindowBytes : Math.max(streamWindowBytes, DEFAULT_WINDOW);
    return new ReceiveWindow(size, maxStreamWindowBytes, this.now, ahead);
  }

  /** Bytes of DATA are no longer held by us. */
  credit(bytes: number): void {
    this.#update(this.#window.release(bytes, this.now, this.roundTripMs));
  }

  /** A stream's window is `size` now. */
  widen(size: number): void {
    this.#update(this.#window.widen(size));
  }

  /** No stream is left. */
  protected narrow(): void {
    this.#window.narrow();
  }

  #update(increment: number): void {
    if (increment === 0 || this.closed) return;
    this.output.windowUpdate(0, increment);
    this.schedule();
  }
}
