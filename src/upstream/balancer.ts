/**
 * The power of two random choices: draw two *distinct* servers, take the better. One choice lets queues grow like
 * log n / log log n, two like log log n (Mitzenmacher 2001); a draw with replacement would waste 1/n of the choices and
 * with two servers pick the worse one a quarter of the time.
 */
import type { Random } from "../clock.ts";

/** What can be drawn from, prepared once per change of its members so that a draw is cheap. */
export interface Candidates<T> {
  readonly list: readonly T[];
  /** Running sums of the weights; undefined where all weights are equal, which makes a draw O(1) instead of O(log n). */
  readonly sums: readonly number[] | undefined;
}

/** @param weightOf a positive, finite number */
export function candidates<T>(list: readonly T[], weightOf: (item: T) => number): Candidates<T> {
  const sums: number[] = [];
  let total = 0;
  let equal = true;
  for (const item of list) {
    const weight = weightOf(item);
    if (weight !== weightOf(list[0]!)) equal = false;
    total += weight;
    sums.push(total);
  }
  return { list, sums: equal ? undefined : sums };
}

/** The first index whose running sum is above `point`. */
function indexAt(sums: readonly number[], point: number): number {
  let low = 0;
  let high = sums.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sums[middle]! > point) high = middle;
    else low = middle + 1;
  }
  return low;
}

/**
 * Draws two distinct items, each in proportion to its weight, and returns the better one.
 *
 * @param better whether `second` beats `first`. On a tie say no: which of the two was drawn first is the coin, and it
 * falls in proportion to the weights.
 */
export function pickTwo<T>(
  from: Candidates<T>,
  better: (second: T, first: T) => boolean,
  random: Random,
): T | undefined {
  const { list, sums } = from;
  const n = list.length;
  if (n < 2) return list[0];
  let a: number;
  let b: number;
  if (sums === undefined) {
    a = Math.floor(random() * n);
    b = n === 2 ? 1 - a : Math.floor(random() * (n - 1));
    if (n > 2 && b >= a) b++;
  } else {
    const total = sums[n - 1]!;
    a = indexAt(sums, random() * total);
    if (n === 2) b = 1 - a;
    else {
      // The second draw is from the line of weights with the first one's stretch cut out: exact, and without rejection.
      const start = a === 0 ? 0 : sums[a - 1]!;
      const width = sums[a]! - start;
      const point = random() * (total - width);
      b = indexAt(sums, point < start ? point : point + width);
      // Rounding may land a point on the cut itself.
      if (b === a) b = a === n - 1 ? a - 1 : a + 1;
    }
  }
  const first = list[a]!;
  const second = list[b]!;
  return better(second, first) ? second : first;
}
