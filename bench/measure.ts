/** Rounds: every proxy once per round, one after the other, and more rounds where the first were too noisy. */
import type { Backends } from "./backends.ts";
import { checkTarget } from "./check.ts";
import type { Cores } from "./machine.ts";
import type { Bench, Case, Sample } from "./scenarios/scenario.ts";
import { noisyRows, type Reading, rotated } from "./stats.ts";
import { type RunningTarget, type StartOptions, startTarget, type Target } from "./targets/target.ts";

/** A ratio whose interquartile range is beyond this part of its median is too noisy. */
export const NOISE_BOUND = 0.15;
/** How often a noisy row's rounds are run again. */
const MOST_REPEATS = 2;
/** So many failures of a proxy in one case, or starts in a row, are enough to know. */
const MOST_FAILURES = 3;

export interface Plan {
  readonly rounds: number;
  readonly seconds: number;
  readonly rules: boolean;
  readonly baselines: readonly string[];
  readonly cores: Cores;
  readonly folder: string;
  readonly backends: Backends;
  readonly certPath: string;
  readonly keyPath: string;
  /** Told as things happen, for a person who waits. */
  readonly say: (text: string) => void;
}

export interface Row {
  readonly target: Target;
  readonly samples: { readonly round: number; readonly sample: Sample }[];
  /** Why samples are missing. */
  readonly failures: string[];
  noisy: boolean;
}

/** Keeps the proxies running between rounds and cases. */
export class Fleet {
  readonly #plan: Plan;
  readonly #running = new Map<string, RunningTarget>();
  readonly #failedStarts = new Map<string, number>();

  constructor(plan: Plan) {
    this.#plan = plan;
  }

  /** The running proxy, started and checked first where it does not run or `fresh` is asked for. */
  async get(target: Target, fresh: boolean): Promise<RunningTarget> {
    const { folder, backends, certPath, keyPath, rules, cores } = this.#plan;
    const old = this.#running.get(target.name);
    if (old?.running() && !fresh) return old;
    await old?.stop();
    const failed = this.#failedStarts.get(target.name) ?? 0;
    if (failed >= MOST_FAILURES) throw new Error(`${target.name} did not start ${failed} times before`);
    this.#failedStarts.set(target.name, failed + 1);
    const options: StartOptions = {
      folder,
      core: cores.proxy,
      backends: backends.ports,
      certPath,
      keyPath,
      rules,
    };
    const started = await startTarget(target, options);
    this.#running.set(target.name, started);
    await checkTarget(started);
    this.#failedStarts.delete(target.name);
    return started;
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#running.values()].map((target) => target.stop()));
    this.#running.clear();
  }
}

/** All rows of one case. A proxy that fails has its reason in its row; the others go on. */
export async function measureCase(
  case_: Case,
  targets: readonly Target[],
  fleet: Fleet,
  plan: Plan,
): Promise<Row[]> {
  const rows = new Map<string, Row>();
  for (const target of targets) {
    if (target.protocols.includes(case_.protocol)) {
      rows.set(target.name, { target, samples: [], failures: [], noisy: false });
    }
  }
  let round = 0;
  const runRounds = async (wanted: readonly Row[]): Promise<void> => {
    for (let done = 0; done < plan.rounds; done++, round++) {
      for (const row of rotated(wanted, round)) await measureOnce(case_, row, round, fleet, plan);
    }
  };

  // A first load that is not counted warms whatever compiles as it runs.
  for (const row of rows.values()) if (!case_.fresh) await warm(case_, row, fleet, plan);
  await runRounds([...rows.values()]);
  markNoisy(case_, rows, plan);
  for (let repeat = 1; repeat <= MOST_REPEATS; repeat++) {
    const noisy = [...rows.values()].filter((row) => row.noisy);
    if (noisy.length === 0 || plan.rounds < 2) break;
    const names = noisy.map((row) => row.target.name);
    plan.say(`  too noisy: ${names.join(", ")}; ${plan.rounds} more rounds (all rounds count)`);
    // Their baselines run again with them, since ratios are taken within a round.
    await runRounds(
      [...rows.values()].filter((row) => row.noisy || plan.baselines.includes(row.target.name)),
    );
    markNoisy(case_, rows, plan);
  }
  return [...rows.values()];
}

async function measureOnce(case_: Case, row: Row, round: number, fleet: Fleet, plan: Plan): Promise<void> {
  if (row.failures.length >= MOST_FAILURES) return;
  try {
    const bench = await benchFor(row.target, case_.fresh ?? false, fleet, plan, plan.seconds);
    const sample = await case_.sample(bench);
    if (!bench.target.running()) throw new Error(`it ended under load: ${bench.target.lastWords()}`);
    row.samples.push({ round, sample });
    const [first] = case_.metrics;
    const value =
      first === undefined ? "" : `${sample.values[first.key]?.toFixed(first.digits)} ${first.title}`;
    const errors = sample.errors > 0 ? `, ${sample.errors} ERRORS` : "";
    plan.say(`  round ${round + 1} ${row.target.name.padEnd(12)} ${value}${errors}`);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    row.failures.push(message);
    plan.say(`  round ${round + 1} ${row.target.name.padEnd(12)} FAILED: ${message}`);
  }
}

async function warm(case_: Case, row: Row, fleet: Fleet, plan: Plan): Promise<void> {
  try {
    await case_.sample(await benchFor(row.target, false, fleet, plan, 1));
  } catch (error) {
    // Counts as one failure; the rounds show whether it stays.
    row.failures.push(error instanceof Error ? error.message : String(error));
  }
}

async function benchFor(
  target: Target,
  fresh: boolean,
  fleet: Fleet,
  plan: Plan,
  seconds: number,
): Promise<Bench> {
  return {
    target: await fleet.get(target, fresh),
    backends: plan.backends,
    folder: plan.folder,
    loadCores: plan.cores.load,
    proxyCore: plan.cores.proxy,
    seconds,
  };
}

/** A row's readings of one metric. */
export function readings(row: Row, key: string): Reading[] {
  return row.samples.flatMap(({ round, sample }) => {
    const value = sample.values[key];
    return value === undefined || !Number.isFinite(value) ? [] : [{ round, value }];
  });
}

function markNoisy(case_: Case, rows: ReadonlyMap<string, Row>, plan: Plan): void {
  const key = case_.metrics[0]?.key ?? "";
  const byName = new Map([...rows].map(([name, row]) => [name, readings(row, key)]));
  const baseline = plan.baselines.find((name) => (byName.get(name)?.length ?? 0) > 0);
  const noisy = noisyRows(byName, baseline, NOISE_BOUND);
  for (const [name, row] of rows) row.noisy = noisy.includes(name);
}
