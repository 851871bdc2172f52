/** Children of a run: each pinned to its cores, in a process group of its own, and ended by id. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as wait } from "node:timers/promises";

const STOP_GRACE_MS = 4_000;
const KEPT_OUTPUT = 64 * 1024;

export interface Child {
  readonly name: string;
  readonly pid: number;
  readonly stdin: NonNullable<ChildProcess["stdin"]>;
  /** Everything printed so far (the last 64 KiB of each). */
  output(): { stdout: string; stderr: string };
  /** Resolves with the exit code, or null after a signal. */
  readonly exited: Promise<number | null>;
  running(): boolean;
  /** Ends the child's whole group; calling it again does nothing. */
  stop(): Promise<void>;
}

export interface LaunchOptions {
  /** As taskset understands it: "0" or "1,2". */
  readonly cores: string;
  readonly cwd?: string;
  readonly env?: Record<string, string>;
  /** Keep all of stdout, for programs whose report is read. @default false */
  readonly keepAll?: boolean;
}

const alive = new Set<Child>();

export function launch(name: string, command: readonly string[], options: LaunchOptions): Child {
  const process_ = spawn("taskset", ["-c", options.cores, ...command], {
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, ...options.env },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const pid = process_.pid;
  if (pid === undefined) throw new Error(`${name} did not start`);

  const kept = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    process_[stream].setEncoding("utf8").on("data", (text: string) => {
      const all = kept[stream] + text;
      kept[stream] = options.keepAll ? all : all.slice(-KEPT_OUTPUT);
    });
  }
  process_.stdin.on("error", () => {}); // a child may end before it reads; its exit code tells

  let ended = false;
  const exited = once(process_, "close").then(([code]) => {
    ended = true;
    alive.delete(child);
    return code as number | null;
  });
  const child: Child = {
    name,
    pid,
    stdin: process_.stdin,
    output: () => kept,
    exited,
    running: () => !ended,
    async stop() {
      if (ended) return;
      signalGroup(pid, "SIGTERM");
      const graceful = await Promise.race([exited.then(() => true), wait(STOP_GRACE_MS, false)]);
      if (!graceful) signalGroup(pid, "SIGKILL");
      await exited;
    },
  };
  alive.add(child);
  return child;
}

/** Runs a program to its end and returns what it printed; rejects where it fails. */
export async function run(name: string, command: readonly string[], options: LaunchOptions): Promise<string> {
  const child = launch(name, command, { ...options, keepAll: true });
  const code = await child.exited;
  const { stdout, stderr } = child.output();
  if (code !== 0) throw new Error(`${name} ended with ${code}: ${(stderr || stdout).trim().slice(-600)}`);
  return stdout;
}

export async function stopAll(): Promise<void> {
  await Promise.all([...alive].map((child) => child.stop()));
}

/** For the very end of this process, where nothing can be awaited. */
export function killAllNow(): void {
  for (const child of alive) signalGroup(child.pid, "SIGKILL");
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // the group has ended by itself
  }
}

/** A port on loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}
