/** So many at a time; the rest wait in line. */

export interface Limiter {
  /**
   * Runs `work` when there is room; rejects with the signal's reason where it aborts before that. What is `urgent` goes
   * before all that is not.
   */
  run<T>(work: () => Promise<T>, signal: AbortSignal, urgent?: boolean): Promise<T>;
}

export function createLimiter(concurrency: number): Limiter {
  let running = 0;
  const urgently = new Set<() => void>();
  const inLine = new Set<() => void>();
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
    const line = urgently.size > 0 ? urgently : inLine;
    const [next] = line;
    if (next) {
      line.delete(next);
      next();
    } else running--;
  };
  return {
    async run(work, signal, urgent = false) {
      await enter(signal, urgent ? urgently : inLine);
      try {
        return await work();
      } finally {
        leave();
      }
    },
  };
}
