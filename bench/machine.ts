/** What this runs on: cores to pin to, programs to need, and a description for the report. */
import { execFileSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { delimiter, join } from "node:path";

export interface Cores {
  /** The proxy under test has this one for itself. */
  readonly proxy: number;
  /** Load, backends and this program, as taskset reads it. */
  readonly load: string;
}

/** The first core that this process may use for the proxy, the others for everything else. */
export function chooseCores(): Cores {
  const status = readFileSync("/proc/self/status", "latin1");
  const allowed = parseCoreList(/^Cpus_allowed_list:\s*(\S+)/m.exec(status)?.[1] ?? "0");
  const [proxy, ...load] = allowed;
  if (proxy === undefined || load.length === 0) {
    throw new Error("the benchmark needs two cores: one for the proxy, one for load and backends");
  }
  return { proxy, load: load.join(",") };
}

/** "0-2,5" as [0, 1, 2, 5]. */
export function parseCoreList(text: string): number[] {
  return text.split(",").flatMap((part) => {
    const [first = 0, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, at) => first + at);
  });
}

/** Keeps this program itself off the proxy's core. */
export function moveSelf(cores: Cores): void {
  execFileSync("taskset", ["-a", "-cp", cores.load, String(process.pid)], { stdio: "ignore" });
}

const DEBIAN_PACKAGES: Readonly<Record<string, string>> = {
  nginx: "nginx",
  haproxy: "haproxy",
  caddy: "caddy",
  wrk: "wrk",
  h2load: "nghttp2-client",
  openssl: "openssl",
  taskset: "util-linux",
};

/** Where a program is, looking also where Debian keeps servers; undefined where it is not installed. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"];
  for (const folder of folders) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not in this folder
    }
  }
  return undefined;
}

/** The one line that installs whatever of `programs` is missing, or undefined. */
export function missingPrograms(programs: Iterable<string>): string | undefined {
  const missing = [...new Set(programs)].filter((name) => findProgram(name) === undefined);
  if (missing.length === 0) return undefined;
  return `apt-get install -y --no-install-recommends ${missing.map((name) => DEBIAN_PACKAGES[name] ?? name).join(" ")}`;
}

/** The first version number that `command` prints on either stream. */
export function versionOf(command: readonly string[]): string {
  try {
    const [file = "", ...args] = command;
    const text = execFileSync("sh", ["-c", '"$0" "$@" 2>&1 || true', file, ...args], { encoding: "utf8" });
    return /\d+\.\d+(?:\.\d+)?/.exec(text)?.[0] ?? "unknown";
  } catch {
    return "unknown";
  }
}

export interface Machine {
  readonly processor: string;
  readonly cores: number;
  readonly memoryGib: number;
  readonly kernel: string;
  readonly system: string;
}

export function describeMachine(): Machine {
  const osRelease = readFileSync("/etc/os-release", "utf8");
  return {
    processor: cpus()[0]?.model.trim() ?? "unknown",
    cores: Math.max(availableParallelism(), cpus().length),
    memoryGib: Math.round(totalmem() / 2 ** 30),
    kernel: /^\d+\.\d+/.exec(release())?.[0] ?? release(),
    system: /^PRETTY_NAME="?([^"\n]*)/m.exec(osRelease)?.[1] ?? "Linux",
  };
}
