/** Active checks: asks every member of a pool how it is, and marks those that fail. */
import { type Clock, jitter, type Random, type Timer } from "../clock.ts";
import type { Pool } from "./pool.ts";
import type { Server } from "./server.ts";

/** How far a check may be from its beat, so that the edges of a fleet do not ask in step. */
const JITTER = 0.1;

export interface HealthOptions {
  readonly path: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Good answers in a row that bring a server back. */
  readonly rise: number;
  /** Bad ones in a row that take it out. */
  readonly fall: number;
}

/** Whether the server is well. MUST settle, by `timeoutMs` or soon after; a rejection counts as ill. */
export type Probe = (server: Server, path: string, timeoutMs: number) => Promise<boolean>;

export interface HealthDeps {
  readonly pool: Pick<Pool, "members" | "mark" | "watch">;
  readonly probe: Probe;
  readonly clock: Clock;
  readonly random: Random;
}

/** Checks until it is stopped. Every member is asked at once when it joins, then every `intervalMs` ± 10 %. */
export function startHealthChecks(options: HealthOptions, deps: HealthDeps): { stop(): void } {
  const { pool, probe, clock, random } = deps;
  const timers = new Map<Server, Timer | undefined>();
  let stopped = false;

  const follow = (server: Server): void => {
    if (timers.has(server)) return;
    let good = 0;
    let bad = 0;
    const judge = (well: boolean): void => {
      good = well ? good + 1 : 0;
      bad = well ? 0 : bad + 1;
      if (well && server.state !== "available" && good >= options.rise) {
        pool.mark(server.id, true);
      } else if (!well && server.state !== "unhealthy" && bad >= options.fall) {
        pool.mark(server.id, false);
      }
    };
    const check = (): void => {
      timers.set(server, undefined);
      probe(server, options.path, options.timeoutMs)
        // Whatever kept the probe from answering is the server's fault as far as its health goes.
        .catch(() => false)
        .then((well) => {
          if (stopped || !timers.has(server)) return;
          judge(well);
          timers.set(server, clock.after(jitter(options.intervalMs, JITTER, random), check));
        });
    };
    check();
  };
  const forget = (server: Server): void => {
    timers.get(server)?.cancel();
    timers.delete(server);
  };

  const unwatch = pool.watch((event) => {
    if (event.kind === "added") follow(event.server);
    else if (event.kind === "removed") forget(event.server);
  });
  for (const server of pool.members()) follow(server);
  return {
    stop() {
      stopped = true;
      unwatch();
      for (const server of [...timers.keys()]) forget(server);
    },
  };
}
