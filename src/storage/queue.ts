/** Turns within one process: whoever asks for a name waits for those who asked before, or until its signal aborts. */

export interface Queue {
  /** Resolves with a release function when it is this caller's turn; rejects with the signal's reason. */
  enter(name: string, signal?: AbortSignal): Promise<() => void>;
}

export function createQueue(): Queue {
  /** Present while a name is held; the list holds those who wait, first come first. */
  const waiting = new Map<string, (() => void)[]>();

  const release = (name: string): void => {
    const next = waiting.get(name)?.shift();
    if (next) next();
    else waiting.delete(name);
  };
  /** A turn is given back once, however often its holder says so. */
  const turn = (name: string): (() => void) => {
    let held = true;
    return () => {
      if (held) release(name);
      held = false;
    };
  };

  return {
    enter(name, signal) {
      return new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason);
        const line = waiting.get(name);
        if (!line) {
          waiting.set(name, []);
          return resolve(turn(name));
        }
        const go = (): void => {
          signal?.removeEventListener("abort", leave);
          resolve(turn(name));
        };
        const leave = (): void => {
          const place = line.indexOf(go);
          if (place >= 0) line.splice(place, 1);
          reject(signal?.reason);
        };
        line.push(go);
        signal?.addEventListener("abort", leave, { once: true });
      });
    },
  };
}
