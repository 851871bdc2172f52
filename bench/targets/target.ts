/** What every proxy under test is: a way to start it, and a way to list its processes. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { connect } from "node:tls";
import { processTree } from "../cpu.ts";
import { freePort, launch } from "../process.ts";

export type Protocol = "h1" | "h2";

/** A name that resolves to loopback everywhere, so that wrk and h2load can send it as SNI. */
export const HOSTNAME = "localhost";

/** A request with this header is refused with 403 by the first rule; no load sends it. */
export const DENY_HEADER = "x-bench-deny";
/** The second rule sets this on every answer. */
export const EDGE_HEADER = "x-bench-edge";

/** What a proxy is told about the run. */
export interface Site {
  /** Its own, to write a config in. */
  readonly folder: string;
  readonly port: number;
  readonly backends: readonly [number, number];
  readonly certPath: string;
  readonly keyPath: string;
  /** Whether to read one request header and set one response header on every request. */
  readonly rules: boolean;
}

export interface Target {
  readonly name: string;
  /** For the report, with the version that runs here. */
  label(): string;
  readonly protocols: readonly Protocol[];
  /** Debian's programs that it is made of. */
  readonly programs: readonly string[];
  /** Writes its config into `site.folder` and says how to run it. */
  prepare(site: Site): Command;
}

export interface Command {
  readonly command: readonly string[];
  readonly env?: Record<string, string>;
}

export interface RunningTarget {
  readonly target: Target;
  readonly site: Site;
  readonly url: string;
  /** All of its processes now. */
  pids(): number[];
  running(): boolean;
  /** What it printed of an error, for a report of why it failed. */
  lastWords(): string;
  stop(): Promise<void>;
}

export interface StartOptions extends Omit<Site, "folder" | "port"> {
  readonly folder: string;
  readonly core: number;
}

const START_TIMEOUT_MS = 20_000;
let starts = 0;

/** Starts a proxy on its core and waits until it shakes hands. */
export async function startTarget(target: Target, options: StartOptions): Promise<RunningTarget> {
  const folder = join(options.folder, `${target.name}-${++starts}`);
  mkdirSync(folder, { recursive: true });
  const site: Site = { ...options, folder, port: await freePort() };
  const { command, env } = target.prepare(site);
  const child = launch(target.name, command, {
    cores: String(options.core),
    cwd: folder,
    env: { NODE_ENV: "production", NO_COLOR: "1", ...env },
  });
  const lastWords = (): string => {
    const { stdout, stderr } = child.output();
    const said = stderr.trim() || stdout.trim();
    // A stack trace follows its message: from the first line that tells of an error, or else the end.
    const from = said.search(/^.*(?:error|cannot|fail)/im);
    return from < 0 ? said.slice(-600) : said.slice(from, from + 600);
  };
  const giveUp = Date.now() + START_TIMEOUT_MS;
  while (!(await shakesHands(site.port))) {
    if (!child.running() || Date.now() > giveUp) {
      await child.stop();
      throw new Error(`${target.name} did not start: ${lastWords() || "it said nothing"}`);
    }
    await wait(50);
  }
  return {
    target,
    site,
    url: `https://${HOSTNAME}:${site.port}`,
    pids: () => processTree(child.pid),
    running: () => child.running(),
    lastWords,
    stop: () => child.stop(),
  };
}

function shakesHands(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, servername: HOSTNAME, rejectUnauthorized: false });
    const done = (ready: boolean): void => {
      socket.destroy();
      resolve(ready);
    };
    socket.setTimeout(2_000, () => done(false));
    socket.once("secureConnect", () => done(true)).on("error", () => done(false));
  });
}
