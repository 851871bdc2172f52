/** What a long line leaves of HTTP/1.1's speed to HTTP/2: from pairs of transfers to a table. Pure. */
import { median } from "./stats.ts";

export const WAYS = ["h1", "h2"] as const;
export type Way = (typeof WAYS)[number];
export type Direction = "up" | "down";

/** One body that went through the line. */
export interface Transfer {
  /** From the start of the connection to the last byte of the answer. */
  readonly seconds: number;
  /** CPU time of the proxy. */
  readonly cpuUsPerMib: number;
  /** How busy each was meanwhile, in percent of a core: what of the three sets the pace. */
  readonly proxyPercent: number;
  readonly relayPercent: number;
  readonly loadPercent: number;
  readonly errors: number;
}

/** The same body over both, one right after the other. */
export type Pair = Readonly<Record<Way, Transfer>>;

/** One proxy in one direction. */
export interface FarRow {
  readonly target: string;
  readonly label: string;
  readonly direction: Direction;
  readonly mib: number;
  readonly pairs: readonly Pair[];
}

/** Throughput of HTTP/2 by that of HTTP/1.1 in each pair. */
export function ratios({ pairs }: FarRow): number[] {
  return pairs.map(({ h1, h2 }) => h1.seconds / h2.seconds);
}

export function isWhole({ pairs }: FarRow): boolean {
  return pairs.every(({ h1, h2 }) => h1.errors + h2.errors === 0);
}

const HEAD = [
  "proxy",
  "h1 s",
  "h2 s",
  "h1 MiB/s",
  "h2 MiB/s",
  "h1 CPU µs/MiB",
  "h2 CPU µs/MiB",
  "h2 / h1",
  "of each pair",
  "proxy, relay, load busy %: h1",
  "h2",
];

/** CPU time is counted in steps of 10 ms: below so many MiB it says nothing. */
const LEAST_MIB_FOR_CPU = 10;

/** Medians of the pairs; the ratio's is that of the ratios. */
export function farTable(rows: readonly FarRow[]): string {
  const lines = [HEAD, HEAD.map((_, at) => (at === 0 ? "---" : "---:")), ...rows.map(cells)];
  return lines.map((line) => `| ${line.join(" | ")} |`).join("\n");
}

function cells(row: FarRow): string[] {
  const { label, mib, pairs } = row;
  if (pairs.length === 0) return [label, ...HEAD.slice(1).map(() => "–")];
  const middle = (way: Way, of: (transfer: Transfer) => number): number =>
    median(pairs.map((pair) => of(pair[way])));
  const both = (of: (transfer: Transfer) => number, digits: number): string[] =>
    WAYS.map((way) => middle(way, of).toFixed(digits));
  const each = ratios(row);
  const busy = (way: Way): string =>
    [
      middle(way, (transfer) => transfer.proxyPercent),
      middle(way, (transfer) => transfer.relayPercent),
      middle(way, (transfer) => transfer.loadPercent),
    ]
      .map((percent) => percent.toFixed(0))
      .join(", ");
  return [
    isWhole(row) ? label : `${label} (**errors**)`,
    ...both(({ seconds }) => seconds, 2),
    ...both(({ seconds }) => mib / seconds, 0),
    ...(mib < LEAST_MIB_FOR_CPU ? ["–", "–"] : both(({ cpuUsPerMib }) => cpuUsPerMib, 0)),
    median(each).toFixed(2),
    each.map((ratio) => ratio.toFixed(2)).join(" "),
    busy("h1"),
    busy("h2"),
  ];
}
