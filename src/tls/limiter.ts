/** So many at a time; the rest wait in line. */

/** A place that a work has. */
export interface Place {
  /** Gives it to the next in line, while this work waits for somebody else. */
  lend(): void;
  /** Waits for one again, before all others, where it was lent; rejects with the signal's reason. */
  back(signal: AbortSignal): Promise<void>;
}

export interface Limiter {
  /**
   * Runs `work` when there is room; rejects with the signal's reason where it aborts before that. What is `urgent` goes
   * before all that is not.
   */
  run<T>(work: (place: Place) => Promise<T>, signal: AbortSignal, urgent?: boolean): Promise<T>;
}

export function createLimiter(concurrency: number): Limiter {
  let running = 0;
  const returning = new Set<() => void>();
  const urgently = new Set<() => void>();
  const inLine = new Set<() => void>();
  const lines = [returning, urgently, inLine];
  const enter = (signal: AbortSignal, line: Set<() => void>): Promise<void> =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      if (running < concurrency) {
        running++;
        return resolve();
      }
      // The place of the one who leaves goes to the next in line, so `running` stays.
      const go = (): void => {
        signal.removeEventListener("abort", giveUp);
        resolve();
      };
      const giveUp = (): void => {
        line.delete(go);
        reject(signal.reason);
      };
      line.add(go);
      signal.addEventListener("abort", giveUp, { once: true });
    });
  const leave = (): void => {
    const line = lines.find(({ size }) => size > 0);
    const [next] = line ?? [];
    if (next) {
      line?.delete(next);
      next();
    } else running--;
  };
  return {
    async run(work, signal, urgent = false) {
      await enter(signal, urgent ? urgently : inLine);
      let state: "placed" | "lent" | "over" = "placed";
      try {
        return await work({
          lend() {
            if (state !== "placed") return;
            state = "lent";
            leave();
          },
          async back(until) {
            if (state !== "lent") return;
            await enter(until, returning);
            state = "placed";
          },
        });
      } finally {
        if (state === "placed") leave();
        state = "over";
      }
    },
  };
}
