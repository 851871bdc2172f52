/**
 * Time and chance. No other file calls `Date.now`, `performance.now`, `Math.random` or the timers:
 * whatever waits, draws or stamps takes a {@link Clock} or a {@link Random}, so tests never sleep.
 */
import { slowToReadTime } from "./runtime.ts";

/** A timer that was set; cancelling one that ran already does nothing. */
export interface Timer {
  cancel(): void;
}

/** `now` is monotonic, for durations; `wall` is for dates, such as those in certificates. Both in milliseconds. */
export interface Clock {
  now(): number;
  wall(): number;
  /** Runs `work` once after `delayMs`. A timer never keeps the process alive by itself. */
  after(delayMs: number, work: () => void): Timer;
}

/** A uniform draw from [0, 1). */
export type Random = () => number;

/** setTimeout counts in a signed 32-bit integer; a longer wait fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Reads `read` once in a turn of the event loop: what runs between two waits has the same time. A turn here is a fraction
 * of a millisecond, and a request asks nine times.
 */
export function oncePerTurn(read: () => number): () => number {
  let time: number | undefined;
  const turn = Promise.resolve();
  const forget = (): void => {
    time = undefined;
  };
  return () => {
    if (time === undefined) {
      time = read();
      turn.then(forget);
    }
    return time;
  };
}

const readNow = (): number => performance.now();

/** The machine's own clock. */
export const systemClock: Clock = {
  now: slowToReadTime ? oncePerTurn(readNow) : readNow,
  wall: () => Date.now(),
  after(delayMs, work) {
    let handle: ReturnType<typeof setTimeout>;
    let left = delayMs;
    const arm = (): void => {
      const step = Math.min(Math.max(left, 0), LONGEST_TIMER_MS);
      left -= step;
      handle = setTimeout(left > 0 ? arm : work, step);
      handle.unref?.();
    };
    arm();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** The runtime's own source of chance; good for balancing and jitter, never for secrets. */
export const systemRandom: Random = Math.random;

/** Keeps the process alive, which timers of a {@link Clock} do not, until it is cancelled. */
export function stayAlive(): Timer {
  const handle = setInterval(() => {}, LONGEST_TIMER_MS);
  return { cancel: () => clearInterval(handle) };
}

/** Resolves after `delayMs`, or rejects with the signal's reason as soon as `signal` aborts. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const stop = (): void => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.after(delayMs, () => {
      signal?.removeEventListener("abort", stop);
      resolve();
    });
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** `value` moved by up to ±`fraction` of itself. */
export function jitter(value: number, fraction: number, random: Random): number {
  return value * (1 + fraction * (2 * random() - 1));
}
