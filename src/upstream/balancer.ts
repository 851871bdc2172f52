/**
 * Random draws, and the power of two of them: draw two *distinct* servers, take the better. One choice lets queues grow
 * like log n / log log n, two like log log n (Mitzenmacher 2001); a draw with replacement would waste 1/n of the choices
 * and with two servers pick the worse one a quarter of the time.
 */
import type { Random } from "../clock.ts";

/**
 * What can be drawn from. While all weights are alike a draw is O(1); otherwise it walks down a tree of sums, O(log n),
 * in which one weight can be changed in O(log n) too. An item of weight 0 is not drawn.
 */
export class Candidates<T> {
  readonly list: readonly T[];
  /** The weight of most: of all of them as long as `odd` is 0. */
  private readonly common: number;
  /** How many weigh something else. */
  private odd = 0;
  /** Node i is the sum of nodes 2i and 2i + 1; the weights themselves start at `leaves`. Made when first needed. */
  private tree: Float64Array | undefined;
  private readonly leaves: number;

  constructor(list: readonly T[], weightOf: (item: T) => number) {
    this.list = list;
    const n = list.length;
    this.leaves = n < 2 ? 1 : 2 ** (32 - Math.clz32(n - 1));
    this.common = n === 0 ? 0 : weightOf(list[0]!);
    for (const item of list) if (weightOf(item) !== this.common) this.odd++;
    if (this.odd > 0) this.tree = this.planted((i) => weightOf(list[i]!));
  }

  /** The tree of sums; undefined where all weights are equal. */
  get sums(): Float64Array | undefined {
    return this.odd === 0 ? undefined : this.tree;
  }

  /** Whether there is nothing to draw. */
  get empty(): boolean {
    return this.odd === 0 ? this.list.length === 0 || this.common === 0 : this.tree![1] === 0;
  }

  weight(index: number): number {
    return this.tree === undefined ? this.common : this.tree[this.leaves + index]!;
  }

  set(index: number, weight: number): void {
    const before = this.weight(index);
    if (weight === before) return;
    this.tree ??= this.planted(() => this.common);
    this.odd += (weight === this.common ? 0 : 1) - (before === this.common ? 0 : 1);
    const { tree } = this;
    let node = this.leaves + index;
    tree[node] = weight;
    // Sums are added up anew, never adjusted: what weighs nothing stays exactly nothing.
    for (node >>= 1; node >= 1; node >>= 1) tree[node] = tree[2 * node]! + tree[2 * node + 1]!;
  }

  /** The index at `point` on the line of weights, from 0 to their sum. */
  at(point: number): number {
    const { leaves } = this;
    const tree = this.tree!;
    let node = 1;
    while (node < leaves) {
      const left = tree[2 * node]!;
      const goLeft = point < left || tree[2 * node + 1] === 0;
      if (!goLeft) point -= left;
      node = goLeft ? 2 * node : 2 * node + 1;
    }
    return node - leaves;
  }

  /** The same, on a line from which the stretch of `skip` was cut out. */
  atWithout(point: number, skip: number): number {
    const { leaves } = this;
    const tree = this.tree!;
    const weight = tree[leaves + skip]!;
    let node = 1;
    let height = 31 - Math.clz32(leaves);
    while (node < leaves) {
      height--;
      const above = (leaves + skip) >> height;
      const left = tree[2 * node]! - (above === 2 * node ? weight : 0);
      const right = tree[2 * node + 1]! - (above === 2 * node + 1 ? weight : 0);
      const goLeft = point < left || right <= 0;
      if (!goLeft) point -= left;
      node = goLeft ? 2 * node : 2 * node + 1;
    }
    const found = node - leaves;
    return found === skip || found >= this.list.length ? this.neighbour(skip) : found;
  }

  /** Where rounding landed on what was cut out. */
  private neighbour(of: number): number {
    const n = this.list.length;
    for (let step = 1; step < n; step++) if (this.weight((of + step) % n) > 0) return (of + step) % n;
    return of;
  }

  private planted(weightAt: (index: number) => number): Float64Array {
    const { leaves } = this;
    const tree = new Float64Array(2 * leaves);
    for (let i = 0; i < this.list.length; i++) tree[leaves + i] = weightAt(i);
    for (let node = leaves - 1; node >= 1; node--) tree[node] = tree[2 * node]! + tree[2 * node + 1]!;
    return tree;
  }
}

/** @param weightOf a finite number, 0 for one that is not to be drawn now */
export function candidates<T>(list: readonly T[], weightOf: (item: T) => number): Candidates<T> {
  return new Candidates(list, weightOf);
}

/** Draws one item in proportion to the weights. */
export function pickOne<T>(from: Candidates<T>, random: Random): T | undefined {
  if (from.empty) return undefined;
  const { list, sums } = from;
  return sums === undefined ? list[Math.floor(random() * list.length)] : list[from.at(random() * sums[1]!)];
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
  if (from.empty) return undefined;
  const { list, sums } = from;
  const n = list.length;
  if (n === 1) return list[0];
  let a: number;
  let b: number;
  if (sums === undefined) {
    a = Math.floor(random() * n);
    b = n === 2 ? 1 - a : Math.floor(random() * (n - 1));
    if (n > 2 && b >= a) b++;
  } else {
    const total = sums[1]!;
    a = from.at(random() * total);
    const rest = total - from.weight(a);
    if (rest <= 0) return list[a];
    b = n === 2 ? 1 - a : from.atWithout(random() * rest, a);
    if (a === b) return list[a];
  }
  const first = list[a]!;
  const second = list[b]!;
  return better(second, first) ? second : first;
}
