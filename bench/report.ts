/** What was measured, as a value, as JSON, and as tables in Markdown that read well on a terminal too. */
import type { Machine } from "./machine.ts";
import { NOISE_BOUND, type Row, readings } from "./measure.ts";
import type { Case, Metric } from "./scenarios/scenario.ts";
import { median, ratioTo, spread } from "./stats.ts";

export interface Report {
  readonly date: string;
  readonly machine: Machine;
  readonly options: { readonly rounds: number; readonly seconds: number; readonly rules: boolean };
  readonly cases: readonly CaseReport[];
}

export interface CaseReport {
  readonly scenario: string;
  readonly id: string;
  readonly title: string;
  readonly metrics: readonly Metric[];
  readonly rows: readonly RowReport[];
}

export interface RowReport {
  readonly target: string;
  readonly label: string;
  /** Rounds that were measured. */
  readonly rounds: number;
  /** By metric key. */
  readonly medians: Readonly<Record<string, number>>;
  /** By baseline, then by metric key: the median of the ratios within rounds. */
  readonly ratios: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Interquartile range of the first metric over its median. */
  readonly spread: number;
  readonly noisy: boolean;
  readonly errors: number;
  readonly failures: readonly string[];
  /** Every sample, so that anyone can compute something else. */
  readonly samples: readonly {
    readonly round: number;
    readonly errors: number;
    readonly values: Readonly<Record<string, number>>;
  }[];
}

export function reportCase(
  scenario: string,
  case_: Case,
  rows: readonly Row[],
  baselines: readonly string[],
): CaseReport {
  const reported = rows.map((row): RowReport => {
    const keys = new Set(row.samples.flatMap(({ sample }) => Object.keys(sample.values)));
    const medians: Record<string, number> = {};
    for (const key of keys) medians[key] = median(readings(row, key).map(({ value }) => value));
    const ratios: Record<string, Record<string, number>> = {};
    for (const name of baselines) {
      const baseline = rows.find(({ target }) => target.name === name);
      if (baseline === undefined || baseline.samples.length === 0) continue;
      const byKey: Record<string, number> = {};
      for (const key of keys) {
        const ratio = ratioTo(readings(row, key), readings(baseline, key));
        if (ratio !== undefined) byKey[key] = ratio.median;
      }
      ratios[name] = byKey;
    }
    const first = case_.metrics[0]?.key ?? "";
    return {
      target: row.target.name,
      label: row.target.label(),
      rounds: row.samples.length,
      medians,
      ratios,
      spread: spread(readings(row, first).map(({ value }) => value)),
      noisy: row.noisy,
      errors: row.samples.reduce((sum, { sample }) => sum + sample.errors, 0),
      failures: row.failures,
      samples: row.samples.map(({ round, sample }) => ({ round, ...sample })),
    };
  });
  return { scenario, id: case_.id, title: case_.title, metrics: case_.metrics, rows: reported };
}

/** How much of the proxy's core others may use before a row is marked. */
const FOREIGN_BOUND_PERCENT = 5;

export function caseTable(case_: CaseReport, baselines: readonly string[]): string {
  const [first, ...others] = case_.metrics;
  if (first === undefined) return "";
  const compared = baselines.filter((name) => case_.rows.some((row) => row.ratios[name] !== undefined));
  const head = [
    "proxy",
    first.title,
    ...compared.map((name) => `× ${name}`),
    ...others.map((metric) => metric.title),
    "spread",
    "notes",
  ];
  const body = case_.rows.map((row) => [
    row.label,
    number(row.medians[first.key], first.digits),
    ...compared.map((name) => number(row.ratios[name]?.[first.key], 2)),
    ...others.map((metric) => number(row.medians[metric.key], metric.digits)),
    row.rounds > 0 ? `${Math.round(row.spread * 100)} %` : "–",
    notes(row),
  ]);
  return table(head, body);
}

function notes(row: RowReport): string {
  const said: string[] = [];
  if (row.errors > 0) said.push(`**${row.errors} errors**`);
  if (row.noisy) said.push(`noisy: spread beyond ${NOISE_BOUND * 100} % in ${row.rounds} rounds`);
  const foreign = row.medians.foreignPercent ?? 0;
  if (foreign > FOREIGN_BOUND_PERCENT) said.push(`${Math.round(foreign)} % of the core used by others`);
  if (row.failures.length > 0) said.push(`failed ${row.failures.length}×: ${oneLine(row.failures[0] ?? "")}`);
  return said.join("; ");
}

/** One line for a table's cell, without paths of the machine it ran on. */
function oneLine(text: string): string {
  const words = text
    .replaceAll(/\s+/g, " ")
    .replaceAll("|", "/")
    .replaceAll(/(?:file:\/\/)?(?:\/[\w.@+-]+){2,}/g, "…");
  return words.length > 120 ? `${words.slice(0, 117)}…` : words;
}

function number(value: number | undefined, digits: number): string {
  if (value === undefined || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** The first and last columns are words, the others numbers. */
function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const widths = head.map((title, at) =>
    Math.max(3, ...[title, ...body.map((row) => row[at] ?? "")].map((cell) => cell.length)),
  );
  const words = (at: number): boolean => at === 0 || at === head.length - 1;
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, at) => (words(at) ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join(" | ")} |`;
  const rule = `|${widths.map((width, at) => (words(at) ? "-".repeat(width + 2) : `${"-".repeat(width + 1)}:`)).join("|")}|`;
  return [line(head), rule, ...body.map(line)].join("\n");
}

export function markdown(report: Report, baselines: readonly string[]): string {
  const { machine, options } = report;
  const about = [
    `Measured ${report.date.slice(0, 10)} on ${machine.processor}, ${machine.cores} cores, ${machine.memoryGib} GiB,`,
    `${machine.system}, Linux ${machine.kernel}; medians of ${options.rounds} rounds of ${options.seconds} s (more where noisy),`,
    options.rules
      ? "one request header read and one response header set on every request."
      : "without middleware.",
  ].join("\n");
  const tables = report.cases.map((case_) => `### ${case_.title}\n\n${caseTable(case_, baselines)}`);
  return [about, ...tables].join("\n\n");
}

/** `page` with what stands between its two marks replaced; throws where it has none. */
export function intoPage(page: string, text: string, name = "bench"): string {
  const prefix = name === "bench" ? name : `bench:${name}`;
  const [first, last] = [`<!-- ${prefix}:begin -->`, `<!-- ${prefix}:end -->`];
  const [begin, end] = [page.indexOf(first), page.indexOf(last)];
  if (begin < 0 || end < begin) throw new Error(`the page needs ${first} and ${last}`);
  return `${page.slice(0, begin + first.length)}\n\n${text}\n\n${page.slice(end)}`;
}
