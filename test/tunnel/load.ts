/** Requests that may be repeated, all the time. */
import { setTimeout as pause } from "node:timers/promises";
import { ask, type World } from "./processes.ts";

export interface LoadReport {
  /** What was no 200, one line each. */
  readonly failures: readonly string[];
  readonly requests: number;
  readonly slowestMs: number;
}

/** Asks `at` for these paths by turns, each from a visitor of its own, until it is told to stop. */
export function load(
  at: World,
  paths: readonly string[] = ["/", "/", "/slow?ms=100", "/bytes?n=300000"],
): () => Promise<LoadReport> {
  const failures: string[] = [];
  let requests = 0;
  let slowestMs = 0;
  let running = true;
  const work = async (path: string): Promise<void> => {
    while (running) {
      const from = performance.now();
      await ask(at, path).then(
        ({ status, body }) => {
          if (status !== 200) failures.push(`${path} ${status} ${body.slice(0, 80)}`);
        },
        (error: unknown) => failures.push(`${path} ${error}`),
      );
      slowestMs = Math.max(slowestMs, performance.now() - from);
      requests++;
      await pause(5);
    }
  };
  const workers = paths.map(work);
  return async () => {
    running = false;
    await Promise.all(workers);
    return { failures, requests, slowestMs };
  };
}
