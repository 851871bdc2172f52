/**
 * Finds out when a server that refuses connections accepts them again, by opening one and closing it: so no request is
 * spent on a server that is gone, and none is needed to notice that it is back.
 */
import { type Clock, jitter, type Random, type Timer } from "../clock.ts";
import type { Pool } from "./pool.ts";
import type { Server } from "./server.ts";

/** The wait after the first knock, which comes at once. */
export const FIRST_WAIT_MS = 250;
/**
 * While nobody opens the wait is a twentieth of the time that the server is gone by then, and at most so long: by so much
 * one that is back is noticed late.
 */
export const LONGEST_WAIT_MS = 1000;
const SHARE_OF_AWAY = 1 / 20;
/** Where somebody opens, and the server is ejected all the same, requests probe it. The wait then doubles, up to this. */
export const LONGEST_OPEN_WAIT_MS = 30_000;
/** How far a knock may be from its beat, so that the edges of a fleet do not knock in step. */
const JITTER = 0.1;

export interface KnockingDeps {
  readonly pool: Pick<Pool, "watch" | "postpone">;
  /** Whether a connection can be made; undefined where there is no door. MUST settle soon; a rejection counts as no. */
  readonly knock: (server: Server) => Promise<boolean> | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

/** Knocks at every server that is ejected, until it is not, or until it is stopped. */
export function startKnocking({ pool, knock, clock, random }: KnockingDeps): { stop(): void } {
  const followed = new Map<Server, { timer: Timer | undefined }>();

  const forget = (server: Server): void => {
    followed.get(server)?.timer?.cancel();
    followed.delete(server);
  };
  const follow = (server: Server): void => {
    const own: { timer: Timer | undefined } = { timer: undefined };
    const since = clock.now();
    let openMs = FIRST_WAIT_MS / 2;
    let gone = false;
    const heard = (opened: boolean): void => {
      // It may have been restored, and even ejected again, since.
      if (followed.get(server) !== own) return;
      // A server that took connections all along has other troubles, and requests probe it at their own pace.
      if (!opened) {
        gone = true;
        openMs = FIRST_WAIT_MS / 2;
        pool.postpone(server.id, Number.POSITIVE_INFINITY);
        later(Math.min(Math.max((clock.now() - since) * SHARE_OF_AWAY, FIRST_WAIT_MS), LONGEST_WAIT_MS));
        return;
      }
      if (gone) pool.postpone(server.id, 0);
      gone = false;
      openMs = Math.min(openMs * 2, LONGEST_OPEN_WAIT_MS);
      later(openMs);
    };
    const later = (delayMs: number): void => {
      own.timer = clock.after(jitter(delayMs, JITTER, random), () => {
        const answer = knock(server);
        if (answer === undefined) forget(server);
        else answer.then(heard, () => heard(false));
      });
    };
    followed.set(server, own);
    // At once: one that is started anew by its supervisor may be back before long, and must be known to have been gone.
    later(0);
  };

  const unwatch = pool.watch((event) => {
    forget(event.server);
    if (event.kind === "ejected") follow(event.server);
  });
  return {
    stop() {
      unwatch();
      for (const server of [...followed.keys()]) forget(server);
    },
  };
}
