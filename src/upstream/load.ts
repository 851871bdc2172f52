/**
 * How long a server takes to its response head, as a peak-EWMA: a slow answer counts at once and in full, a fast one
 * only slowly, so that the balancer is quick to leave and slow to come back.
 */

/** The time in which an old sample loses 63 % of its say, in milliseconds. */
export const TAU_MS = 10_000;

/** A server's first answers carry connecting and warming up; the best of so many makes its first estimate. */
export const WARM_UP_SAMPLES = 3;

/**
 * A peak is history once all answers of so many milliseconds, and at least so many of them, were faster: fading alone
 * would keep a server that is well again from its share for half a minute.
 */
export const RECENT_MS = 1000;
export const RECENT_SAMPLES = 16;

/** Differences below this are noise to the balancer: less than so many milliseconds, … */
export const NOISE_MS = 5;
/**
 * … or less than this ratio. In flight then decides alone, since a slower server holds its requests longer. Samples of
 * servers that are alike differ so much by chance: at 1.25 a thousand equal servers at 90 % load took 6 % longer than
 * without latencies, at 1.6 less than 4 %, and what is really slow is found as well.
 */
export const NOISE_RATIO = 1.6;

/** One server's latency in milliseconds. */
export class PeakEwma {
  private value = 0;
  /** When it begins to fade: the last sample, or the end of a penalty's hold. */
  private at = 0;
  private samples = 0;
  /** The slowest of the latest answers, how many these are, and since when they are counted. */
  private worst = 0;
  private recent = 0;
  private since = 0;

  /** Whether there are enough samples to judge by. */
  get warm(): boolean {
    return this.samples >= WARM_UP_SAMPLES;
  }

  /** What was last learnt, without fading, and when. */
  get last(): number {
    return this.value;
  }

  get lastAt(): number {
    return this.at;
  }

  /** Takes a sample at monotonic time `now`; `rest` is where old samples fade to. */
  observe(latencyMs: number, now: number, rest: number): void {
    if (this.samples < WARM_UP_SAMPLES) {
      this.value = this.samples === 0 ? latencyMs : Math.min(this.value, latencyMs);
      this.samples++;
    } else {
      const old = this.read(now, rest);
      this.value = latencyMs >= old ? latencyMs : latencyMs + (this.value - latencyMs) * this.kept(now);
    }
    if (now > this.at) this.at = now;
    this.remember(latencyMs, now);
  }

  private remember(latencyMs: number, now: number): void {
    if (this.recent++ === 0) {
      this.since = now;
      this.worst = latencyMs;
    } else if (latencyMs > this.worst) this.worst = latencyMs;
    if (this.recent < RECENT_SAMPLES || now - this.since < RECENT_MS) return;
    if (this.worst < this.value) this.value = this.worst;
    this.recent = 0;
  }

  /** What was measured is of a server that is no more: it is judged anew, as one that just joined. */
  forget(): void {
    this.value = this.samples = this.recent = 0;
  }

  /**
   * The estimate at `now`. Without new samples it fades to `rest` (half of what the pool usually takes): low enough
   * for a server that was slow to be tried again, and never so low that in flight stops counting, as fading to nothing
   * would do for a server that hangs.
   */
  read(now: number, rest: number): number {
    return rest + (this.value - rest) * this.kept(now);
  }

  /** A bad answer that came fast must not look like a fast server. The penalty fades only after `holdMs`. */
  penalise(latencyMs: number, now: number, rest: number, holdMs = 0): void {
    this.value = Math.max(latencyMs, this.read(now, rest));
    this.at = Math.max(this.at, now + holdMs);
    this.samples = WARM_UP_SAMPLES;
    this.recent = 0;
  }

  private kept(now: number): number {
    return now <= this.at ? 1 : Math.exp((this.at - now) / TAU_MS);
  }
}

/** Whether two latencies are too close to tell servers apart by. */
export function alike(a: number, b: number): boolean {
  const low = Math.min(a, b);
  const high = Math.max(a, b);
  return high - low <= NOISE_MS || high <= low * NOISE_RATIO;
}

/** The median of some numbers, the lower one of an even count; undefined of none. Sorts its argument. */
export function median(numbers: number[]): number | undefined {
  numbers.sort((a, b) => a - b);
  return numbers[(numbers.length - 1) >> 1];
}
