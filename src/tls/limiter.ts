/** So many at a time; the rest wait in line. */

export interface Limiter {
  /** Runs `work` when there is room; rejects with the signal's reason where it aborts before that. */
  run<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T>;
}

export function createLimiter(concurrency: number): Limiter {
  let running = 0;
  const line: (() => void)[] = [];
  const enter = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      if (running < concurrency) {
        running++;
        return resolve();
      }
      // The place of the one who leaves goes to the next in line, so `running` stays.
      const go = (): void => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      const leave = (): void => {
        const place = line.indexOf(go);
        if (place >= 0) line.splice(place, 1);
        reject(signal.reason);
      };
      line.push(go);
      signal.addEventListener("abort", leave, { once: true });
    });
  return {
    async run(work, signal) {
      await enter(signal);
      try {
        return await work();
      } finally {
        const next = line.shift();
        if (next) next();
        else running--;
      }
    },
  };
}
