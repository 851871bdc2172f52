/** Metrics in Prometheus' text format. Names begin with `skerry_`, units are base units (seconds, bytes). */
import { Counter, Gauge, type Metric, Registry } from "prom-client";

export interface Metrics {
  /** A number that only rises. Resolve `labels(…)` once and keep the child where the path is hot. */
  counter<L extends string>(
    name: string,
    help: string,
    labelNames?: readonly L[],
    collect?: (counter: Counter<L>) => void,
  ): Counter<L>;
  gauge<L extends string>(
    name: string,
    help: string,
    labelNames?: readonly L[],
    collect?: (gauge: Gauge<L>) => void,
  ): Gauge<L>;
  histogram<L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    buckets: readonly number[],
  ): Histogram;
  /** The whole exposition, and the content type to send it with. */
  expose(): Promise<string>;
  readonly contentType: string;
}

/** How values are spread. */
export interface Histogram {
  /** The series of these label values; cheap to observe with, so keep it where the path is hot. */
  labels(...values: string[]): Observer;
}

export interface Observer {
  observe(value: number): void;
}

/** A registry of its own, so that two edges in one process do not share counts. Asking twice for a name gives the same metric. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const known = <M>(name: string): M | undefined => registry.getSingleMetric(name) as M | undefined;
  return {
    counter: (name, help, labelNames = [], collect = undefined) =>
      known(name) ??
      new Counter({
        name,
        help,
        labelNames,
        registers: [registry],
        ...collecting(collect),
      }),
    gauge: (name, help, labelNames = [], collect) =>
      known(name) ??
      new Gauge({
        name,
        help,
        labelNames,
        registers: [registry],
        ...collecting(collect),
      }),
    histogram(name, help, labelNames, buckets) {
      const made = known<Spread>(name) ?? new Spread(name, help, labelNames, buckets);
      registry.registerMetric(made as unknown as Metric);
      return made;
    },
    expose: () => registry.metrics(),
    contentType: registry.contentType,
  };
}

/** As prom-client asks for it: a function whose `this` is the metric. */
function collecting<M>(collect: ((metric: M) => void) | undefined): { collect?: (this: M) => void } {
  if (!collect) return {};
  return {
    collect() {
      collect(this);
    },
  };
}

/**
 * A histogram in the form that prom-client's registry exposes. Its own looks the labels up and checks them again at every
 * observation, which took 1 % of an edge's time under load.
 */
class Spread implements Histogram {
  readonly name: string;
  readonly help: string;
  readonly type = "histogram";
  readonly aggregator = "sum";
  readonly #labelNames: readonly string[];
  readonly #bounds: readonly number[];
  readonly #series: Map<string, Series> = new Map();

  constructor(name: string, help: string, labelNames: readonly string[], bounds: readonly number[]) {
    this.name = name;
    this.help = help;
    this.#labelNames = labelNames;
    this.#bounds = bounds;
  }

  labels(...values: string[]): Observer {
    const key = JSON.stringify(values);
    let series = this.#series.get(key);
    if (series === undefined) {
      const labels = Object.fromEntries(this.#labelNames.map((name, at) => [name, values[at] ?? ""]));
      series = new Series(labels, this.#bounds);
      this.#series.set(key, series);
    }
    return series;
  }

  /** What the registry asks for. Buckets are cumulative: each counts all values up to its bound. */
  get(): Promise<object> {
    const { name, help, type, aggregator } = this;
    const values: object[] = [];
    for (const { labels, counts, sum } of this.#series.values()) {
      let total = 0;
      counts.forEach((count, at) => {
        total += count;
        const le = this.#bounds[at] ?? "+Inf";
        values.push({ metricName: `${name}_bucket`, labels: { le, ...labels }, value: total });
      });
      values.push({ metricName: `${name}_sum`, labels, value: sum });
      values.push({ metricName: `${name}_count`, labels, value: total });
    }
    return Promise.resolve({ name, help, type, aggregator, values });
  }
}

class Series implements Observer {
  readonly labels: Record<string, string>;
  /** One for each bound, and one for what is above them all. */
  readonly counts: number[];
  readonly #bounds: readonly number[];
  sum = 0;

  constructor(labels: Record<string, string>, bounds: readonly number[]) {
    this.labels = labels;
    this.#bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let at = 0;
    while (at < bounds.length && value > bounds[at]!) at++;
    this.counts[at]!++;
    this.sum += value;
  }
}
