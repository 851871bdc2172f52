/** Four servers behind each proxy, one of which falls ill under load: what clients see of it. Used by balance and failover. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { chooseCores } from "../machine.ts";
import { type Child, freePort, launch, stopAll } from "../process.ts";
import { caddy } from "../targets/caddy.ts";
import { haproxy } from "../targets/haproxy.ts";
import { nginx } from "../targets/nginx.ts";
import { skerryOnNode } from "../targets/skerry.ts";
import { type RunningTarget, startTarget, type Target } from "../targets/target.ts";
import * as tuned from "./faults-configs.ts";

const PROGRAM = fileURLToPath(new URL("../programs/server.ts", import.meta.url));
const CONNECTIONS = 16;
/** Beyond it wrk counts a request as failed. */
const PATIENCE_S = 8;

/** One of the servers; it can be ended and come back on its port. */
export class Ill {
  readonly port: number;
  private readonly cores: string;
  private child: Child;

  private constructor(port: number, cores: string) {
    this.port = port;
    this.cores = cores;
    this.child = this.launched();
  }

  static async start(cores: string): Promise<Ill> {
    const server = new Ill(await freePort(), cores);
    await server.listening();
    return server;
  }

  private launched(): Child {
    return launch("server", [process.execPath, PROGRAM, String(this.port)], { cores: this.cores });
  }

  private async listening(): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      if ((await this.count()) !== undefined) return;
      await wait(25);
    }
    throw new Error("a server did not start");
  }

  /** Undefined while it does not answer. */
  async count(): Promise<number | undefined> {
    const url = `http://127.0.0.1:${this.port}/count`;
    return fetch(url, { signal: AbortSignal.timeout(500) })
      .then(async (answer) => Number(await answer.text()))
      .catch(() => undefined);
  }

  async mode(mode: "ok" | "slow" | "busy" | "hang"): Promise<void> {
    await fetch(`http://127.0.0.1:${this.port}/set?mode=${mode}`);
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.child.pid, signal);
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.child.exited;
  }

  async restart(): Promise<void> {
    this.child = this.launched();
    await this.listening();
  }

  async stop(): Promise<void> {
    if (!this.child.running()) return;
    this.signal("SIGCONT");
    await this.child.stop();
  }
}

export interface FaultCase {
  readonly title: string;
  readonly seconds: number;
  /** Makes `ill` ill while load runs. Resolves at the moment from which it is well again, or never was not. */
  run(ill: Ill): Promise<void>;
  /** Whether to measure how long the ill one takes to get its share back. */
  readonly returns?: boolean;
}

interface Seen {
  readonly requests: number;
  readonly failed: number;
  readonly ms: readonly number[];
  readonly shareMs: number | undefined;
}

/** wrk says p99.9 and the longest only to a script. */
const SCRIPT = `done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %f %f %f %f\\n", summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency:percentile(99.9) / 1000, latency.max / 1000))
end
`;

const TARGETS: readonly Target[] = [
  { ...nginx, prepare: tuned.nginx },
  { ...haproxy, prepare: tuned.haproxy },
  { ...caddy, prepare: tuned.caddy },
  { ...skerryOnNode, prepare: tuned.skerry(skerryOnNode) },
];

/** Milliseconds until the last of `servers` gets three fifths of what each of the others gets. */
async function untilShared(servers: readonly Ill[], giveUpMs: number): Promise<number | undefined> {
  const began = performance.now();
  const counts = (): Promise<number[]> => Promise.all(servers.map(async (one) => (await one.count()) ?? 0));
  let before = await counts();
  while (performance.now() - began < giveUpMs) {
    const at = performance.now() - began;
    await wait(250);
    const now = await counts();
    const got = now.map((count, index) => count - before[index]!);
    const others = got.slice(0, -1).reduce((sum, count) => sum + count, 0) / (got.length - 1);
    if (others > 5 && got.at(-1)! >= 0.6 * others) return at;
    before = now;
  }
  return undefined;
}

async function measure(
  target: RunningTarget,
  case_: FaultCase,
  servers: readonly Ill[],
  script: string,
  cores: string,
): Promise<Seen> {
  const args = ["-t1", `-c${CONNECTIONS}`, `-d${case_.seconds}s`, `--timeout=${PATIENCE_S}s`, "-s", script];
  const load = launch("wrk", ["wrk", ...args, `${target.url}/`], { cores, keepAll: true });
  await wait(2000);
  await case_.run(servers.at(-1)!);
  const shareMs = case_.returns ? await untilShared(servers, 15_000) : undefined;
  await load.exited;
  const [, ...numbers] = /RESULT (\S+) (\S+) (\S+) (\S+) (\S+) (\S+)/.exec(load.output().stdout) ?? [];
  const [requests = 0, failed = 0, ...ms] = numbers.map(Number);
  return { requests, failed, ms, shareMs };
}

/** Prints a table for each case. Exits with 1 where Skerry failed a request. */
export async function benchFaults(cases: readonly FaultCase[], only: readonly string[]): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "skerry-faults-"));
  const { proxy: core, load: cores } = chooseCores();
  const [certPath, keyPath, script] = ["cert.pem", "key.pem", "done.lua"].map((name) => join(folder, name));
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", keyPath!];
  execFileSync("openssl", ["req", "-x509", "-days", "2", ...key, ...subject, "-out", certPath!], {
    stdio: "ignore",
  });
  writeFileSync(script!, SCRIPT);
  try {
    for (const case_ of cases) {
      const head =
        "| proxy | requests | failed | p50 ms | p99 ms | p99.9 ms | longest ms | back in share after s |";
      process.stdout.write(`\n### ${case_.title}\n\n${head}\n|---|---:|---:|---:|---:|---:|---:|---:|\n`);
      for (const target of TARGETS) {
        if (only.length > 0 && !only.includes(target.name)) continue;
        const servers = await Promise.all([1, 2, 3, 4].map(() => Ill.start(cores)));
        const backends = servers.map(({ port }) => port) as unknown as readonly [number, number];
        const site = { folder, core, backends, certPath: certPath!, keyPath: keyPath!, rules: false };
        const running = await startTarget(target, site);
        const { requests, failed, ms, shareMs } = await measure(running, case_, servers, script!, cores);
        await Promise.all([running.stop(), ...servers.map((server) => server.stop())]);
        const back = shareMs === undefined ? "–" : (shareMs / 1000).toFixed(1);
        const cells = [requests, failed, ...ms.map((value) => value.toFixed(1)), back];
        process.stdout.write(`| ${target.label()} | ${cells.join(" | ")} |\n`);
        if (failed > 0 && target.name === "node") process.exitCode = 1;
      }
    }
  } finally {
    await stopAll();
    rmSync(folder, { recursive: true, force: true });
  }
}
