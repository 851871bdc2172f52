/** Metrics in Prometheus' text format. Names begin with `skerry_`, units are base units (seconds, bytes). */
import { Counter, Gauge, Histogram, Registry } from "prom-client";

export interface Metrics {
  /** A number that only rises. Resolve `labels(…)` once and keep the child where the path is hot. */
  counter<L extends string>(name: string, help: string, labelNames?: readonly L[]): Counter<L>;
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
  ): Histogram<L>;
  /** The whole exposition, and the content type to send it with. */
  expose(): Promise<string>;
  readonly contentType: string;
}

/** A registry of its own, so that two edges in one process do not share counts. Asking twice for a name gives the same metric. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  const known = <M>(name: string): M | undefined => registry.getSingleMetric(name) as M | undefined;
  return {
    counter: (name, help, labelNames = []) =>
      known(name) ?? new Counter({ name, help, labelNames, registers: [registry] }),
    gauge: (name, help, labelNames = [], collect) =>
      known(name) ??
      new Gauge({
        name,
        help,
        labelNames,
        registers: [registry],
        ...(collect && {
          collect() {
            collect(this);
          },
        }),
      }),
    histogram: (name, help, labelNames, buckets) =>
      known(name) ?? new Histogram({ name, help, labelNames, buckets: [...buckets], registers: [registry] }),
    expose: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
