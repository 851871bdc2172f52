/** Skerry itself as a child process, from source, on any of the three runtimes. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BIN, type Child, type Ended, ROOT, run, type StartOptions, start } from "./processes.ts";

export type Runtime = "node" | "bun" | "deno";

/** One JSON line of the log. */
export type LogLine = { level: string; time: string; event: string } & Record<string, unknown>;

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface EdgeProcess {
  readonly runtime: Runtime;
  readonly http: Address;
  readonly https: Address;
  readonly admin: Address;
  readonly process: Child;
  /** The log so far; lines that are no JSON are an error. */
  logs(event?: string): LogLine[];
  stop(signal?: NodeJS.Signals): Promise<Ended>;
}

/** How each runtime runs a source file of ours. */
export function command(runtime: Runtime, file: string): [string, ...string[]] {
  const program = join(BIN, runtime);
  const path = join(ROOT, file);
  return runtime === "deno" ? [program, "run", "-A", path] : [program, path];
}

/** Runs `skerry …` to its end. */
export function skerry(
  runtime: Runtime,
  args: readonly string[],
  options: { cwd?: string; boundMs?: number; env?: Record<string, string> } = {},
): ReturnType<typeof run> {
  const [program, ...before] = command(runtime, "src/cli/skerry.ts");
  return run(program, [...before, ...args], options);
}

/** A fresh folder with one file in it; answers the file's path. */
export function configFile(content: string | object, name = "skerry.config.json"): string {
  const folder = mkdtempSync(join(tmpdir(), "skerry-edge-"));
  const path = join(folder, name);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content, undefined, 2));
  return path;
}

/** Starts `skerry serve` (or other words) with a config file and waits until it serves. */
export async function startEdge(
  runtime: Runtime,
  config: string,
  options: StartOptions & { args?: readonly string[]; boundMs?: number } = {},
): Promise<EdgeProcess> {
  const [program, ...before] = command(runtime, "src/cli/skerry.ts");
  const args = options.args ?? ["serve", "--config", config];
  const child = start(program, [...before, ...args], options);
  await child.saw(/"event":"edge\.ready"[^\n]*\n/, options.boundMs ?? 20_000);
  const lines = (): LogLine[] =>
    child
      .stdout()
      .slice(0, child.stdout().lastIndexOf("\n") + 1)
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as LogLine);
  const ready = lines().find((line) => line.event === "edge.ready");
  if (!ready) throw new Error(`no edge.ready line on standard output\n${child.output()}`);
  return {
    runtime,
    http: address(ready.http),
    https: address(ready.https),
    admin: address(ready.admin),
    process: child,
    logs: (event) => (event ? lines().filter((line) => line.event === event) : lines()),
    stop: (signal = "SIGTERM") => child.stop(signal),
  };
}

/** Reads "127.0.0.1:80", "[::1]:80" or {host, port}. */
export function address(value: unknown): Address {
  if (typeof value === "object" && value !== null && "port" in value) {
    const { host, address: ip, port } = value as { host?: string; address?: string; port: number };
    return { host: host ?? ip ?? "127.0.0.1", port };
  }
  const found = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(String(value));
  if (!found) throw new Error(`edge.ready: no address in ${JSON.stringify(value)}`);
  return { host: found[1] ?? found[2] ?? "127.0.0.1", port: Number(found[3]) };
}
