/** Requests that may be repeated, all the time. */
import { setTimeout as pause } from "node:timers/promises";
import { ask, type World } from "./processes.ts";

export interface LoadReport {
  /** What was no 200 or got no answer, one line each. */
  readonly failures: readonly string[];
  /** Long answers that broke off, one line each: who has had a part of one cannot be given another's. */
  readonly cut: readonly string[];
  readonly requests: number;
  readonly slowestMs: number;
}

/** More than comes in one piece; one visitor at a time asks for it. */
const LONG = "/bytes";

/** Asks `at` for these paths by turns, each from a visitor of its own, until it is told to stop. */
export function load(
  at: World,
  paths: readonly string[] = ["/", "/", "/slow?ms=100", `${LONG}?n=300000`],
): () => Promise<LoadReport> {
  const failures: string[] = [];
  const cut: string[] = [];
  let requests = 0;
  let slowestMs = 0;
  let running = true;
  const work = async (path: string): Promise<void> => {
    while (running) {
      const from = performance.now();
      let answered = false;
      await ask(at, path, { answered: () => (answered = true) }).then(
        ({ status, body }) => {
          if (status !== 200) failures.push(`${path} ${status} ${body.slice(0, 80)}`);
        },
        (error: unknown) => (answered && path.startsWith(LONG) ? cut : failures).push(`${path} ${error}`),
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
    return { failures, cut, requests, slowestMs };
  };
}
