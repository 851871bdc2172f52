/** What is in force of the config, and how another one comes in its place: whole, or not at all. */
import type { ResolvedConfig } from "../config/config.ts";
import { errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Backends } from "./backends.ts";
import type { Certificates } from "./certificates.ts";
import type { Issuing } from "./issuing.ts";
import type { RouteTable } from "./routes.ts";
import { createTrust, type Trust } from "./trust.ts";
import type { Tunnels } from "./tunnels.ts";

/** Replaced as one: who reads it twice may have two. */
export interface InForce {
  readonly config: ResolvedConfig;
  readonly routes: RouteTable;
  readonly trust: Trust;
}

export interface FollowingParts {
  routes(config: ResolvedConfig): RouteTable;
  readonly backends: Pick<Backends, "update">;
  readonly issuing: Pick<Issuing, "follow">;
  readonly certificates: Pick<Certificates, "follow">;
  readonly tunnels: Pick<Tunnels, "refresh">;
  readonly log: Log;
}

export interface Following {
  readonly now: InForce;
  /**
   * Makes the edge be what `next` says; calls must not overlap. Where it rejects everything is as it was.
   * @param namesWaitMs how long the names of new servers are waited for
   */
  follow(next: ResolvedConfig, namesWaitMs?: number): Promise<void>;
}

export function createFollowing(first: ResolvedConfig, parts: FollowingParts): Following {
  const { backends, issuing, certificates, tunnels, log } = parts;
  const made = (config: ResolvedConfig): InForce => ({
    config,
    routes: parts.routes(config),
    trust: createTrust(config.trustedProxies),
  });
  const prove = async ({ config }: InForce): Promise<void> => {
    issuing.follow(config.acme);
    await certificates.follow(config);
  };
  const following = {
    now: made(first),
    async follow(config: ResolvedConfig, namesWaitMs?: number) {
      const before = following.now;
      // Built before anything changes: a route that cannot be made leaves everything as it was.
      const next = made(config);
      // What goes stays until nothing can be refused any more, with the wormholes that it has.
      const both = new Map([...before.config.backends, ...config.backends]);
      await backends.update(both, config.dns, namesWaitMs);
      following.now = next;
      try {
        await prove(next);
      } catch (thrown) {
        following.now = before;
        await backends.update(before.config.backends, before.config.dns, 0);
        await prove(before).catch((again: unknown) => log.error("config.not_restored", errorFields(again)));
        throw thrown;
      }
      await backends.update(config.backends, config.dns, 0);
      tunnels.refresh();
    },
  };
  return following;
}
