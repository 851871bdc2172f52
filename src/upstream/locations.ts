/**
 * Which location serves how much: the nearest one everything, as long as enough of its servers are well; what they cannot
 * take goes to the next. Pure, so that it can be checked apart from pools.
 */
import { alike } from "./load.ts";

/** Why a request went to another location than the edge's. */
export type SpillReason = "unhealthy" | "full" | "loaded" | "tried" | "no local";
export type PlaceReason = "local" | `spill: ${SpillReason}`;

/**
 * A location serves all that it gets until fewer than 1/1.4 of its servers (71 %) are well: so much more than their usual
 * share the others are trusted with. Envoy's overprovisioning factor.
 */
export const OVERPROVISIONING = 1.4;

/**
 * What share of the requests each location gets, in the order of preference. They add up to 1 as long as anybody is well
 * anywhere, and are all 0 otherwise.
 *
 * @param well of each location the share of its servers that is well, by weight, from 0 to 1
 */
export function locationShares(well: readonly number[]): number[] {
  const able = well.map((share) => Math.min(1, share * OVERPROVISIONING));
  // Where all together are too few, each takes its part of what they can take.
  const total = Math.min(
    1,
    able.reduce((sum, one) => sum + one, 0),
  );
  let left = total;
  return able.map((one) => {
    const taken = Math.min(one, left);
    left -= taken;
    return total === 0 ? 0 : taken / total;
  });
}

/**
 * Requests in flight from which a server can be too busy for its location. A slow answer alone is no reason to send others
 * far away: it may be what was asked for, and as slow there.
 */
export const BUSY_FROM = 8;

/** How far away a location counts while nobody has measured it, in milliseconds. */
export const UNMEASURED_MS = 200;

/**
 * Whether a request is clearly better off at a server elsewhere: that one answers sooner even from there, beyond noise, and
 * has less to do for its speed.
 *
 * @param busy requests in flight and this one, over the weight
 */
export function isRelief(hereMs: number, hereBusy: number, thereMs: number, thereBusy: number): boolean {
  return thereMs < hereMs && !alike(hereMs, thereMs) && thereMs * thereBusy < hereMs * hereBusy;
}
