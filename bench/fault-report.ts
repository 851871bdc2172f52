/** What clients saw of an ill server: from h2load's log of every request to a table. Pure. */
import { quantile } from "./stats.ts";

export interface Request {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** -1 where there was no answer. */
  readonly status: number;
  readonly ms: number;
}

/** Reads h2load's log: start in µs since the epoch, status, duration in µs, one request a line. */
export function parseRequests(log: string): Request[] {
  const requests: Request[] = [];
  for (const line of log.split("\n")) {
    const [at, status, took] = line.split("\t").map(Number);
    // The last line is cut off where the generator was ended.
    if (at === undefined || status === undefined || took === undefined || !Number.isFinite(took)) continue;
    requests.push({ at: at / 1000, status, ms: took / 1000 });
  }
  return requests;
}

/** The outcome of one proxy in one case. */
export interface Seen {
  readonly target: string;
  readonly label: string;
  readonly requests: number;
  readonly failed: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly longestMs: number;
  /** The same proxy just before, with all servers well. */
  readonly calmP999Ms: number;
  /** From the moment that the server was well again to its share of the requests; undefined where it never got it. */
  readonly shareMs: number | undefined;
  /** How much of the proxy's core others used, and how much of the load's cores was used. */
  readonly foreignPercent: number;
  readonly loadPercent: number;
  /** The slowest ones, by when they began after the fault: to find out why. */
  readonly slowest: readonly { readonly afterMs: number; readonly ms: number; readonly status: number }[];
}

export interface Moments {
  /** Milliseconds since the epoch: when the proxy was warm, and when the fault came. */
  readonly warmAt: number;
  readonly faultAt: number;
}

const SLOWEST = 20;

export function isFailed({ status }: Request): boolean {
  return status < 200 || status >= 400;
}

/** A request counts to the time of the fault when it *ended* after it: those under way then are what it is about. */
export function summarise(
  requests: readonly Request[],
  { warmAt, faultAt }: Moments,
): Pick<Seen, "requests" | "failed" | "p50Ms" | "p99Ms" | "p999Ms" | "longestMs" | "calmP999Ms" | "slowest"> {
  const calm = requests.filter(({ at, ms }) => at >= warmAt && at + ms < faultAt).map(({ ms }) => ms);
  const ill = requests.filter(({ at, ms }) => at + ms >= faultAt);
  const took = ill.map(({ ms }) => ms);
  return {
    requests: ill.length,
    failed: ill.filter(isFailed).length,
    p50Ms: quantile(took, 0.5),
    p99Ms: quantile(took, 0.99),
    p999Ms: quantile(took, 0.999),
    longestMs: took.reduce((most, ms) => Math.max(most, ms), 0),
    calmP999Ms: quantile(calm, 0.999),
    slowest: [...ill]
      .sort((a, b) => b.ms - a.ms)
      .slice(0, SLOWEST)
      .map(({ at, ms, status }) => ({ afterMs: Math.round(at - faultAt), ms: Math.round(ms), status })),
  };
}

/** How much of a core others may use before a row is marked, and how busy the load's cores may be. */
const FOREIGN_BOUND_PERCENT = 5;
const LOAD_BOUND_PERCENT = 90;

function notes({ foreignPercent, loadPercent }: Seen): string {
  const said: string[] = [];
  if (foreignPercent > FOREIGN_BOUND_PERCENT)
    said.push(`${Math.round(foreignPercent)} % of the core used by others`);
  if (loadPercent > LOAD_BOUND_PERCENT) said.push(`load's cores ${Math.round(loadPercent)} % busy`);
  return said.join("; ");
}

/** @param returns whether the server comes back, so that it can have its share again */
export function faultTable(rows: readonly Seen[], returns: boolean): string {
  const head = ["proxy", "requests", "failed", "p50 ms", "p99 ms", "p99.9 ms", "longest ms", "p99.9 before"];
  const lines = [
    [...head, ...(returns ? ["back in share after s"] : []), "notes"],
    ["---", ...head.slice(1).map(() => "---:"), ...(returns ? ["---:"] : []), "---"],
    ...rows.map((row) => [
      row.label,
      row.requests.toLocaleString("en"),
      row.failed > 0 ? `**${row.failed}**` : "0",
      ...[row.p50Ms, row.p99Ms, row.p999Ms, row.longestMs, row.calmP999Ms].map((ms) => ms.toFixed(1)),
      ...(returns ? [row.shareMs === undefined ? "never" : (row.shareMs / 1000).toFixed(1)] : []),
      notes(row),
    ]),
  ];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}
