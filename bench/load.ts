/** The load generators, wrk and h2load: how to call them and how to read what they print. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Child, launch } from "./process.ts";
import { quantile } from "./stats.ts";

export interface LoadResult {
  readonly requests: number;
  /** Answers other than 2xx and 3xx, failed streams, and socket errors together. */
  readonly errors: number;
  readonly seconds: number;
  /** Body bytes received; undefined where the generator does not tell. */
  readonly bytes: number | undefined;
  readonly p50Ms: number | undefined;
  readonly p99Ms: number | undefined;
}

export interface Load {
  readonly child: Child;
  /** Rejects where the generator itself failed. */
  result(): Promise<LoadResult>;
}

export interface LoadTarget {
  readonly url: string;
  readonly cores: string;
}

export interface WrkOptions extends LoadTarget {
  readonly connections: number;
  readonly seconds: number;
  /** A connection for every request. @default false */
  readonly close?: boolean;
}

export function wrk(options: WrkOptions): Load {
  const args = ["-t1", `-c${options.connections}`, `-d${Math.ceil(options.seconds)}s`, "--latency"];
  if (options.close) args.push("-H", "Connection: close");
  const child = launch("wrk", ["wrk", ...args, options.url], { cores: options.cores, keepAll: true });
  return { child, result: async () => parseWrk(await finished(child)) };
}

export interface H2loadOptions extends LoadTarget {
  readonly folder: string;
  readonly protocol: "h1" | "h2";
  readonly connections: number;
  /** @default 1 */
  readonly streams?: number;
  /** Run this long, or… */
  readonly seconds?: number;
  /** …until this many requests are answered. */
  readonly requests?: number;
  /** A file to post. */
  readonly upload?: string;
  /** How much an HTTP/2 client lets come, as powers of two: of a stream and of the connection. @default 16, 16 */
  readonly windowBits?: readonly [stream: number, connection: number];
}

let logs = 0;

export function h2load(options: H2loadOptions): Load {
  const log = join(options.folder, `h2load-${++logs}.log`);
  const args = ["-t1", `-c${options.connections}`, `-m${options.streams ?? 1}`, `--log-file=${log}`];
  if (options.seconds !== undefined) args.push(`-D${Math.ceil(options.seconds)}`);
  if (options.requests !== undefined) args.push(`-n${options.requests}`);
  if (options.protocol === "h1") args.push("--h1");
  if (options.upload !== undefined) args.push(`-d${options.upload}`);
  const [stream, connection] = options.windowBits ?? [];
  if (stream !== undefined) args.push(`-w${stream}`, `-W${connection}`);
  const child = launch("h2load", ["h2load", ...args, options.url], { cores: options.cores, keepAll: true });
  return {
    child,
    async result() {
      const report = await finished(child);
      const latency = parseH2loadLog(readFileSync(log, "latin1"));
      rmSync(log, { force: true });
      return { ...parseH2load(report), ...latency };
    },
  };
}

async function finished(child: Child): Promise<string> {
  const code = await child.exited;
  const { stdout, stderr } = child.output();
  if (code !== 0) throw new Error(`${child.name} ended with ${code}: ${stderr.trim().slice(-300)}`);
  return stdout;
}

const UNIT_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** "1.39ms" as 1.39; undefined for anything that is not a duration. */
export function parseDuration(text: string | undefined): number | undefined {
  const [, value, unit = ""] = /^([\d.]+)(us|ms|s|m|h)$/.exec(text ?? "") ?? [];
  const factor = UNIT_MS[unit];
  return value === undefined || factor === undefined ? undefined : Number(value) * factor;
}

export function parseWrk(text: string): LoadResult {
  const total = /(\d+) requests in ([\d.]+\w+),/.exec(text);
  if (total === null) throw new Error(`wrk printed no total: ${text.slice(-300)}`);
  const sockets = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(text);
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(text)?.[1] ?? 0);
  return {
    requests: Number(total[1]),
    seconds: (parseDuration(total[2]) ?? Number.NaN) / 1000,
    bytes: undefined,
    errors: (sockets?.slice(1).reduce((sum, count) => sum + Number(count), 0) ?? 0) + refused,
    p50Ms: parseDuration(/^\s+50%\s+(\S+)/m.exec(text)?.[1]),
    p99Ms: parseDuration(/^\s+99%\s+(\S+)/m.exec(text)?.[1]),
  };
}

export function parseH2load(text: string): LoadResult {
  const total = /requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(
    text,
  );
  const seconds = parseDuration(/finished in ([\d.]+\w+),/.exec(text)?.[1]);
  if (total === null || seconds === undefined)
    throw new Error(`h2load printed no total: ${text.slice(-300)}`);
  const [, , succeeded, failed] = total.map(Number);
  const codes = /status codes: \d+ 2xx, \d+ 3xx, (\d+) 4xx, (\d+) 5xx/.exec(text);
  const refused = Number(codes?.[1] ?? 0) + Number(codes?.[2] ?? 0);
  return {
    requests: succeeded ?? 0,
    seconds: seconds / 1000,
    bytes: Number(/\((\d+)\) data/.exec(text)?.[1] ?? Number.NaN),
    errors: Math.max(failed ?? 0, refused), // h2load counts a 4xx or 5xx as failed too
    p50Ms: undefined,
    p99Ms: undefined,
  };
}

/** Reads h2load's log: start in µs, status, duration in µs, one request a line. */
export function parseH2loadLog(text: string): { p50Ms: number | undefined; p99Ms: number | undefined } {
  const durations: number[] = [];
  for (const line of text.split("\n")) {
    const duration = Number(line.slice(line.lastIndexOf("\t") + 1));
    if (line !== "" && Number.isFinite(duration)) durations.push(duration / 1000);
  }
  if (durations.length === 0) return { p50Ms: undefined, p99Ms: undefined };
  return { p50Ms: quantile(durations, 0.5), p99Ms: quantile(durations, 0.99) };
}
