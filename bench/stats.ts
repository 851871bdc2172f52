/** The arithmetic of a comparison: pure functions, no readings and no output. */

/** The `q` quantile (0 to 1) of `values`, interpolated between neighbours; NaN for none. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  const high = Math.ceil(at);
  const below = sorted[low]!;
  return below + (sorted[high]! - below) * (at - low);
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Distance between the quartiles as a fraction of the median: 0 where all agree, NaN for none. */
export function spread(values: readonly number[]): number {
  const middle = median(values);
  if (middle === 0) return 0;
  return (quantile(values, 0.75) - quantile(values, 0.25)) / Math.abs(middle);
}

/** One value of one metric, and the round it was taken in. */
export interface Reading {
  readonly round: number;
  readonly value: number;
}

/**
 * `mine / theirs` for every round in which both were measured. Only readings of one round are compared:
 * what disturbed the machine then disturbed both.
 */
export function ratiosByRound(mine: readonly Reading[], theirs: readonly Reading[]): number[] {
  const base = new Map(theirs.map((reading) => [reading.round, reading.value]));
  const ratios: number[] = [];
  for (const { round, value } of mine) {
    const other = base.get(round);
    if (other !== undefined && other > 0 && Number.isFinite(value)) ratios.push(value / other);
  }
  return ratios;
}

export interface Ratio {
  /** Median of the ratios within rounds. */
  readonly median: number;
  /** Their interquartile range over that median. */
  readonly spread: number;
  readonly rounds: number;
}

/** Undefined where no round has both. */
export function ratioTo(mine: readonly Reading[], theirs: readonly Reading[]): Ratio | undefined {
  const ratios = ratiosByRound(mine, theirs);
  if (ratios.length === 0) return undefined;
  return { median: median(ratios), spread: spread(ratios), rounds: ratios.length };
}

/**
 * Which rows are too noisy to be believed: those whose ratio to the baseline spreads beyond `bound`,
 * or, where there is no baseline, whose own values do.
 */
export function noisyRows(
  rows: ReadonlyMap<string, readonly Reading[]>,
  baseline: string | undefined,
  bound: number,
): string[] {
  const theirs = baseline === undefined ? undefined : rows.get(baseline);
  const noisy: string[] = [];
  for (const [name, mine] of rows) {
    const own = spread(mine.map((reading) => reading.value));
    const seen =
      theirs === undefined || name === baseline ? own : (ratioTo(mine, theirs)?.spread ?? Number.NaN);
    if (seen > bound) noisy.push(name);
  }
  return noisy;
}

/** `items` begun at another place each round, so that no one is always first. */
export function rotated<T>(items: readonly T[], round: number): T[] {
  if (items.length === 0) return [];
  const from = round % items.length;
  return [...items.slice(from), ...items.slice(0, from)];
}
