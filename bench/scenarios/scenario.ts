/** What a scenario is made of, and the two ways to take one sample. */
import { setTimeout as wait } from "node:timers/promises";
import { type Backends, MIB } from "../backends.ts";
import { coreBusySeconds, cpuSeconds, memory } from "../cpu.ts";
import type { Load, LoadResult } from "../load.ts";
import type { Protocol, RunningTarget } from "../targets/target.ts";

/** One number that is reported. */
export interface Metric {
  readonly key: string;
  readonly title: string;
  /** Digits after the point. */
  readonly digits: number;
}

/** One proxy's readings in one round, by metric key; a reading that could not be taken is left out. */
export interface Sample {
  readonly values: Readonly<Record<string, number>>;
  /** Requests that were not answered as they should. */
  readonly errors: number;
}

export interface Bench {
  readonly target: RunningTarget;
  readonly backends: Backends;
  /** For files of the run. */
  readonly folder: string;
  /** Where load runs, as taskset reads it. */
  readonly loadCores: string;
  readonly proxyCore: number;
  /** How long one sample is measured. */
  readonly seconds: number;
}

/** One row of conditions: its table has a line for each proxy. */
export interface Case {
  readonly id: string;
  readonly title: string;
  readonly protocol: Protocol;
  /** The first is the one that ratios and spread are told of; lower is better in it. */
  readonly metrics: readonly Metric[];
  /** Whether the proxy is started anew for every sample. @default false */
  readonly fresh?: boolean;
  sample(bench: Bench): Promise<Sample>;
}

export interface Scenario {
  readonly name: string;
  readonly about: string;
  readonly cases: readonly Case[];
}

/** Before the window: handshakes are done by then and the just-in-time compilers are warm. */
const WARM_SECONDS = 1;
const TAIL_SECONDS = 0.5;

export const REQUEST_METRICS: readonly Metric[] = [
  { key: "cpuUs", title: "CPU µs/request", digits: 1 },
  { key: "perSecond", title: "requests/s", digits: 0 },
  { key: "corePercent", title: "core %", digits: 0 },
  { key: "p50Ms", title: "p50 ms", digits: 2 },
  { key: "p99Ms", title: "p99 ms", digits: 2 },
  { key: "rssMib", title: "RSS MiB", digits: 0 },
  { key: "pssMib", title: "PSS MiB", digits: 0 },
];

/**
 * Measures CPU and requests in a window in the middle of a steady load. Requests are counted by the backends,
 * so opening and closing the load's connections is outside of it on both sides of the division.
 */
export async function sampleWindow(
  bench: Bench,
  startLoad: (seconds: number) => Load,
  warmSeconds: number = WARM_SECONDS,
): Promise<Sample> {
  const load = startLoad(warmSeconds + bench.seconds + TAIL_SECONDS);
  try {
    await wait(warmSeconds * 1000);
    const before = await snapshot(bench);
    await wait(bench.seconds * 1000);
    const after = await snapshot(bench);
    const result = await load.result();
    const requests = after.requests - before.requests;
    return {
      values: { ...usage(bench, before, after, requests), ...latency(result) },
      errors: result.errors,
    };
  } finally {
    await load.child.stop();
  }
}

/** Measures a fixed amount of work from start to end: `mib` in all, of which `downMib` must come back. */
export async function sampleWhole(
  bench: Bench,
  load: () => Load,
  mib: number,
  downMib: number,
): Promise<Sample> {
  const before = await snapshot(bench);
  const running = load();
  try {
    const result = await running.result();
    const after = await snapshot(bench);
    const { cpuUs, perSecond: _, ...rest } = usage(bench, before, after, mib);
    const short = result.errors === 0 && (result.bytes ?? 0) < downMib * MIB ? 1 : 0;
    return {
      values: { cpuUsPerMib: cpuUs ?? Number.NaN, mibPerSecond: mib / result.seconds, ...rest },
      errors: result.errors + short,
    };
  } finally {
    await running.child.stop();
  }
}

export interface Snapshot {
  readonly atMs: number;
  readonly cpu: number;
  readonly coreBusy: number;
  readonly requests: number;
}

export async function snapshot(bench: Bench): Promise<Snapshot> {
  const requests = await bench.backends.requests();
  return {
    atMs: performance.now(),
    cpu: cpuSeconds(bench.target.pids()),
    coreBusy: coreBusySeconds(bench.proxyCore),
    requests,
  };
}

/** What the proxy used between two snapshots, for each of `units`. */
export function usage(
  bench: Bench,
  before: Snapshot,
  after: Snapshot,
  units: number,
): Record<string, number> {
  const seconds = (after.atMs - before.atMs) / 1000;
  const cpu = after.cpu - before.cpu;
  const { rssKib, pssKib } = memory(bench.target.pids());
  return {
    cpuUs: units > 0 ? (cpu / units) * 1e6 : Number.NaN,
    perSecond: units / seconds,
    corePercent: (cpu / seconds) * 100,
    // What others did on the proxy's core meanwhile: a disturbed run shows here.
    foreignPercent: Math.max(0, ((after.coreBusy - before.coreBusy - cpu) / seconds) * 100),
    rssMib: rssKib / 1024,
    pssMib: pssKib / 1024,
  };
}

function latency({ p50Ms, p99Ms }: LoadResult): Record<string, number> {
  return { ...(p50Ms === undefined ? {} : { p50Ms }), ...(p99Ms === undefined ? {} : { p99Ms }) };
}
