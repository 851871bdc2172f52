/**
 * Whether our own event loop was late. What came while it was says nothing of the servers: an answer that lay in the
 * socket's buffer for 80 ms of ours must not count as 80 ms of theirs.
 */
import type { Clock, Timer } from "../clock.ts";

/** How often the loop is asked. */
export const BEAT_MS = 100;
/** A beat that is later than this was held up; timers are never exact. */
export const LATE_MS = 20;

export interface LagMonitor {
  /** Whether the loop was held up at any time from `since` to `now`, both monotonic. */
  lagged(since: number, now: number): boolean;
  stop(): void;
}

/** Costs one timer each {@link BEAT_MS}, which keeps no process alive. */
export function startLagMonitor(clock: Clock): LagMonitor {
  let due = clock.now() + BEAT_MS;
  let lastLate = Number.NEGATIVE_INFINITY;
  const beat = (): void => {
    const now = clock.now();
    if (now - due > LATE_MS) lastLate = now;
    due = now + BEAT_MS;
    timer = clock.after(BEAT_MS, beat);
  };
  let timer: Timer = clock.after(BEAT_MS, beat);
  return {
    // A beat that is overdue has not been able to say so yet.
    lagged: (since, now) => now - due > LATE_MS || since <= lastLate,
    stop: () => timer.cancel(),
  };
}
