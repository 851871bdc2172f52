/** A server that is new or back warms up first: its weight rises from a tenth to the whole. */

/** The least share of its weight that a warming server has. */
export const LEAST_SHARE = 0.1;
/** Steps in which the weight rises. */
const STEPS = 20;
const SHORTEST_STEP_MS = 50;

/** The share of its weight that a server has `elapsedMs` after it joined. */
export function warmth(elapsedMs: number, slowStartMs: number): number {
  return elapsedMs >= slowStartMs ? 1 : Math.max(LEAST_SHARE, elapsedMs / slowStartMs);
}

/** How long a weight stays as it is. */
export function stepMs(slowStartMs: number): number {
  return Math.max(slowStartMs / STEPS, SHORTEST_STEP_MS);
}
