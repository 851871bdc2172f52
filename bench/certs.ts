/**
 * `npm run bench -- certs`: an edge with many stored certificates: how long it takes to be ready, how much memory it holds
 * above an edge with one, and how long the first handshake for a host takes, beside a second one: what both have in common
 * is the machine's doing.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { systemClock } from "../src/clock.ts";
import { bundleOf, encodeBundle } from "../src/tls/bundle.ts";
import { issuerName } from "../src/tls/issuer.ts";
import { createLocalCa } from "../src/tls/local-ca.ts";
import { cpuSeconds } from "./cpu.ts";

/** Nobody listens there, and nothing is due. */
const DIRECTORY = "https://127.0.0.1:9/dir";
const CLI = fileURLToPath(new URL("../src/cli/skerry.ts", import.meta.url));
const START_BOUND_MS = 60_000;

const hostAt = (index: number): string => `h${index}.bench.test`;

/** Stores `count` certificates as an edge would. */
async function fill(root: string, count: number): Promise<void> {
  const ca = await createLocalCa(systemClock);
  const folder = join(root, "certificates");
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const issuer = issuerName(DIRECTORY);
  for (let from = 0; from < count; from += 50) {
    const some = Array.from({ length: Math.min(50, count - from) }, (_, index) => hostAt(from + index));
    await Promise.all(
      some.map(async (host) => {
        const { key, chain } = await ca.issueFor([host]);
        // As long as a public CA's: a leaf and an intermediate.
        const pair = { key, chain: chain + ca.rootPem };
        const facts = { host, issuer, generation: 1, obtainedAt: systemClock.wall() };
        await writeFile(join(folder, host), encodeBundle(bundleOf(pair, facts, host)), { mode: 0o600 });
      }),
    );
  }
}

interface Running {
  readonly readyMs: number;
  /** CPU time until then: unlike the clock's, it hardly depends on what else runs. */
  readonly cpuMs: number;
  readonly httpsPort: number;
  rssBytes(): number;
  stop(): Promise<void>;
}

async function startEdge(root: string, hosts: number): Promise<Running> {
  const config = {
    listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
    storage: `file:${root}`,
    acme: { directory: DIRECTORY, agreeToTerms: true },
    backends: { web: { servers: ["http://127.0.0.1:9"] } },
    hosts: Object.fromEntries(Array.from({ length: hosts }, (_, n) => [hostAt(n), { backend: "web" }])),
    logLevel: "info",
  };
  const file = join(root, `config-${hosts}.json`);
  await writeFile(file, JSON.stringify(config));
  const began = systemClock.now();
  const child: ChildProcess = spawn(process.execPath, [CLI, "serve", "--config", file], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NO_COLOR: "1" },
  });
  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  };
  const timer = systemClock.after(START_BOUND_MS, () => child.kill("SIGKILL"));
  for await (const line of createInterface({ input: child.stdout! })) {
    const event = line.startsWith("{") ? (JSON.parse(line) as Record<string, unknown>) : {};
    if (event.event !== "edge.ready") continue;
    timer.cancel();
    const readyMs = systemClock.now() - began;
    const cpuMs = cpuSeconds([child.pid!]) * 1000;
    child.stdout!.resume();
    const { port } = event.https as { port: number };
    const rssBytes = (): number =>
      Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))?.[1] ?? 0) * 1024;
    return { readyMs, cpuMs, httpsPort: port, rssBytes, stop };
  }
  throw new Error("the edge did not become ready");
}

/** Milliseconds of one full handshake. */
async function handshake(port: number, servername: string): Promise<number> {
  const began = systemClock.now();
  const socket = connect({ host: "127.0.0.1", port, servername, rejectUnauthorized: false });
  try {
    await once(socket, "secureConnect");
    const names = socket.getPeerX509Certificate()?.subjectAltName;
    if (names !== `DNS:${servername}`) throw new Error(`${servername} got ${names}`);
    return systemClock.now() - began;
  } finally {
    socket.destroy();
  }
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const mega = (bytes: number): string => `${Math.round(bytes / 1048576)} MiB`;

export async function benchCertificates(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { hosts: { type: "string", default: "10000" }, handshakes: { type: "string", default: "500" } },
  });
  const hosts = Number(values.hosts);
  const root = mkdtempSync(join(tmpdir(), "skerry-bench-certs-"));
  let running: Running | undefined;
  try {
    console.log(`storing ${hosts} certificates …`);
    await fill(root, hosts);
    running = await startEdge(root, 1);
    await pause(3000);
    const empty = running.rssBytes();
    console.log(
      `an edge with 1 host:  ready in ${Math.round(running.readyMs)} ms (CPU ${Math.round(running.cpuMs)} ms), ${mega(empty)} resident`,
    );
    await running.stop();
    running = await startEdge(root, hosts);
    await pause(3000);
    const full = running.rssBytes();
    console.log(
      `an edge with ${hosts}: ready in ${Math.round(running.readyMs)} ms (CPU ${Math.round(running.cpuMs)} ms), ${mega(full)} resident, ${mega(full - empty)} more`,
    );
    await handshake(running.httpsPort, hostAt(0));
    const count = Math.min(Number(values.handshakes), hosts - 1);
    for (const turn of ["first", "second"]) {
      const took: number[] = [];
      for (let n = 1; n <= count; n++) {
        took.push(await handshake(running.httpsPort, hostAt(Math.floor((n * (hosts - 1)) / count))));
      }
      took.sort((a, b) => a - b);
      const at = (part: number): string => (took[Math.floor(part * (took.length - 1))] ?? 0).toFixed(1);
      console.log(
        `${turn} handshakes of ${count} hosts: median ${at(0.5)} ms, p99 ${at(0.99)} ms, worst ${at(1)} ms`,
      );
    }
    console.log(`resident after them: ${mega(running.rssBytes())}`);
  } finally {
    await running?.stop();
    rmSync(root, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await benchCertificates(process.argv.slice(2));
