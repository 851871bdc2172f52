/** Child processes with captured output, bounded waits, and an end: whatever a test file starts is gone after it. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

/** The project's folder. */
export const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));

/** Where npm put node, bun and deno. */
export const BIN: string = join(ROOT, "node_modules", ".bin");

/** This process's environment, with the project's own programs first on the PATH. */
export function environment(extra: Record<string, string> = {}): NodeJS.ProcessEnv {
  return { ...process.env, NO_COLOR: "1", PATH: `${BIN}${delimiter}${process.env.PATH ?? ""}`, ...extra };
}

export interface StartOptions {
  cwd?: string;
  env?: Record<string, string>;
  /** A program and its first arguments that become the program, such as `ip netns exec NAME`. */
  under?: readonly string[];
}

export interface Ended {
  /** Undefined where a signal ended it. */
  readonly code: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

export interface Child {
  readonly pid: number;
  /** Everything written so far, both streams as they came. */
  output(): string;
  stdout(): string;
  stderr(): string;
  /** Resolves when the process is gone and its output is read to the end. */
  readonly ended: Promise<Ended>;
  running(): boolean;
  /** Waits until the output matches; rejects with the output when the process ends or `boundMs` passes first. */
  saw(pattern: RegExp, boundMs?: number): Promise<RegExpExecArray>;
  /** Sends a signal, does not wait. */
  signal(signal: NodeJS.Signals): void;
  /** Ends it politely, after `boundMs` by force; tells how it ended. */
  stop(signal?: NodeJS.Signals, boundMs?: number): Promise<Ended>;
  /** kill -9 to it and to all that it started, as when a container goes. */
  killAll(): Promise<Ended>;
  /** Resident memory in bytes, of the process itself. */
  rss(): number;
}

const living = new Set<Child>();

/** Starts a program. Its whole output is kept: start nothing that writes without bound. */
export function start(command: string, args: readonly string[], options: StartOptions = {}): Child {
  const name = [command, ...args].join(" ");
  const [program, ...rest] = [...(options.under ?? []), command, ...args];
  const child: ChildProcess = spawn(program!, rest, {
    cwd: options.cwd ?? ROOT,
    env: environment(options.env),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let both = "";
  let out = "";
  let err = "";
  let over: Ended | undefined;
  const watchers = new Set<() => void>();
  const wake = (): void => {
    for (const watcher of [...watchers]) watcher();
  };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    both += text;
    wake();
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    err += text;
    both += text;
    wake();
  });
  const ended = new Promise<Ended>((resolve) => {
    const finish = (end: Ended): void => {
      if (over) return;
      over = end;
      living.delete(self);
      wake();
      resolve(end);
    };
    child.once("error", (error) => {
      both += `${error.message}\n`;
      finish({ code: undefined, signal: undefined });
    });
    child.once("close", (code, signal) => finish({ code: code ?? undefined, signal: signal ?? undefined }));
  });
  const self: Child = {
    pid: child.pid ?? -1,
    output: () => both,
    stdout: () => out,
    stderr: () => err,
    ended,
    running: () => over === undefined,
    saw: (pattern, boundMs = 20_000) =>
      new Promise((resolve, reject) => {
        const bound = setTimeout(() => {
          done();
          reject(new Error(`${name}: no ${pattern} within ${boundMs} ms\n${tail(both)}`));
        }, boundMs);
        const done = (): void => {
          clearTimeout(bound);
          watchers.delete(look);
        };
        const look = (): void => {
          const found = pattern.exec(both);
          if (found) {
            done();
            resolve(found);
          } else if (over) {
            done();
            reject(
              new Error(`${name}: ended (${over.code ?? over.signal}) before ${pattern}\n${tail(both)}`),
            );
          }
        };
        watchers.add(look);
        look();
      }),
    signal: (signal) => void child.kill(signal),
    async stop(signal = "SIGTERM", boundMs = 15_000) {
      if (!over) child.kill(signal);
      const force = setTimeout(() => child.kill("SIGKILL"), boundMs);
      const end = await ended;
      clearTimeout(force);
      return end;
    },
    killAll() {
      for (const pid of child.pid === undefined || over ? [] : family(child.pid)) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // It ended by itself meanwhile.
        }
      }
      return ended;
    },
    rss() {
      const found = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"));
      if (!found) throw new Error(`${name}: no VmRSS, the process is gone`);
      return Number(found[1]) * 1024;
    },
  };
  living.add(self);
  return self;
}

/** Runs a program to its end. */
export async function run(
  command: string,
  args: readonly string[],
  options: StartOptions & { boundMs?: number } = {},
): Promise<Ended & { output: string; stdout: string; stderr: string }> {
  const child = start(command, args, options);
  const bound = setTimeout(() => child.signal("SIGKILL"), options.boundMs ?? 60_000);
  const end = await child.ended;
  clearTimeout(bound);
  return { ...end, output: child.output(), stdout: child.stdout(), stderr: child.stderr() };
}

/** A process and its descendants, children first. */
function family(pid: number): number[] {
  let children: string[] = [];
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  } catch {
    // It is gone.
  }
  return [...children.filter((each) => each !== "").flatMap((each) => family(Number(each))), pid];
}

/** Looks again every 20 ms until `probe` gives something; the last error or a timeout otherwise. */
export async function eventually<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  boundMs = 20_000,
): Promise<T> {
  const until = performance.now() + boundMs;
  let last: unknown;
  while (performance.now() < until) {
    try {
      const found = await probe();
      if (found !== undefined && found !== false) return found;
      last = undefined;
    } catch (error) {
      last = error;
    }
    await pause(20);
  }
  throw new Error(`${what}: not within ${boundMs} ms`, { cause: last });
}

/** Waits until somebody accepts connections at a loopback port. */
export function listening(port: number, boundMs = 20_000): Promise<true> {
  return eventually(
    `port ${port} answers`,
    () =>
      new Promise<true | undefined>((resolve) => {
        const socket = connect({ port, host: "127.0.0.1" });
        socket.once("connect", () => {
          socket.destroy();
          resolve(true);
        });
        socket.once("error", () => resolve(undefined));
      }),
    boundMs,
  );
}

/** Ends everything this file started. */
export async function endAll(): Promise<void> {
  await Promise.all([...living].map((child) => child.stop("SIGTERM", 3000)));
}

function tail(text: string): string {
  return text.length > 4000 ? `…${text.slice(-4000)}` : text;
}

afterAll(endAll);
// A worker that is ended early runs no hooks.
process.once("exit", () => {
  for (const child of living) child.signal("SIGKILL");
});
