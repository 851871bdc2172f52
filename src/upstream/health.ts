/** Active checks: asks every member of a pool how it is, and marks those that fail. */
import { type Clock, jitter, type Random, type Timer } from "../clock.ts";
import type { HealthConfig } from "../config/config.ts";
import type { Pool } from "./pool.ts";
import type { Server } from "./server.ts";

/** How far a check may be from its beat, so that the edges of a fleet do not ask in step. */
const JITTER = 0.1;

/** Whether the server is well. MUST settle, by `check.timeoutMs` or soon after; a rejection counts as ill. */
export type Probe = (server: Server, check: HealthConfig) => Promise<boolean>;

export interface HealthDeps {
  readonly pool: Pick<Pool, "members" | "mark" | "watch">;
  readonly probe: Probe;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * Checks until it is stopped. Every member is asked at once, then every `intervalMs` ± 10 %. One that joins gets requests
 * meanwhile, unless `startUnhealthy`, and its first check decides alone: nothing is known yet that could outweigh it.
 */
export function startHealthChecks(options: HealthConfig, deps: HealthDeps): { stop(): void } {
  const { pool, probe, clock, random } = deps;
  const timers = new Map<Server, Timer | undefined>();
  let stopped = false;

  const follow = (server: Server, joins: boolean): void => {
    if (timers.has(server)) return;
    let fresh = joins;
    let good = 0;
    let bad = 0;
    const judge = (well: boolean): void => {
      good = well ? good + 1 : 0;
      bad = well ? 0 : bad + 1;
      const rise = fresh ? 1 : options.rise;
      const fall = fresh ? 1 : options.fall;
      fresh = false;
      if (well && server.state !== "available" && good >= rise) pool.mark(server.id, true);
      else if (!well && server.state !== "unhealthy" && bad >= fall) pool.mark(server.id, false);
    };
    const check = (): void => {
      timers.set(server, undefined);
      probe(server, options)
        // Whatever kept the probe from answering is the server's fault as far as its health goes.
        .catch(() => false)
        .then((well) => {
          if (stopped || !timers.has(server)) return;
          judge(well);
          timers.set(server, clock.after(jitter(options.intervalMs, JITTER, random), check));
        });
    };
    if (joins && options.startUnhealthy) pool.mark(server.id, false);
    check();
  };
  const forget = (server: Server): void => {
    timers.get(server)?.cancel();
    timers.delete(server);
  };

  const unwatch = pool.watch((event) => {
    if (event.kind === "added") follow(event.server, true);
    else if (event.kind === "removed") forget(event.server);
  });
  for (const server of pool.members()) follow(server, false);
  return {
    stop() {
      stopped = true;
      unwatch();
      for (const server of [...timers.keys()]) forget(server);
    },
  };
}
