/** Asking again and again: quickly at first, then ever more slowly, or when the other side says. */
import { type Clock, sleep } from "../clock.ts";
import { EdgeError } from "../errors.ts";

/** A CA without a queue is done in some ten milliseconds; one that asks to wait longer is obeyed. */
const FIRST_MS = 25;
const GROWTH = 1.8;
const LONGEST_MS = 10_000;
const LONGEST_RETRY_AFTER_MS = 60_000;

export interface PollOptions {
  what: string;
  clock: Clock;
  signal: AbortSignal;
  timeoutMs: number;
  /** How long the other side asked to wait before the first look. @default a moment */
  firstMs?: number | undefined;
  /** True when it is done; otherwise how long the other side asks to wait, where it does. */
  look(): Promise<true | number | undefined>;
  /** Whether to look again in spite of what `look` threw: a lost packet must not cost an order. At most five in a row. */
  forgive?(thrown: unknown): boolean;
}

const MOST_FORGIVEN = 5;

/** Resolves when `look` gives true; rejects with what it throws, ACME_TIMEOUT, or the signal's reason. */
export async function pollUntil(options: PollOptions): Promise<void> {
  const { what, clock, signal, timeoutMs, firstMs = FIRST_MS, look, forgive } = options;
  let forgiven = 0;
  const end = clock.now() + timeoutMs;
  await sleep(clock, Math.min(firstMs, LONGEST_RETRY_AFTER_MS, timeoutMs), signal);
  for (let wait = FIRST_MS; ; wait = Math.min(wait * GROWTH, LONGEST_MS)) {
    let seen: true | number | undefined;
    try {
      seen = await look();
      forgiven = 0;
    } catch (thrown) {
      if (signal.aborted || !forgive?.(thrown) || ++forgiven > MOST_FORGIVEN) throw thrown;
    }
    if (seen === true) return;
    const pause = seen === undefined ? wait : Math.min(Math.max(seen, wait), LONGEST_RETRY_AFTER_MS);
    if (clock.now() + pause > end) {
      throw new EdgeError("ACME_TIMEOUT", `${what} took longer than ${timeoutMs} ms`, { source: "ca" });
    }
    await sleep(clock, pause, signal);
  }
}
