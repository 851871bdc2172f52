/**
 * Many hosts and many edges on one NATS server: how soon a change reaches all edges, what they hold in memory, and what goes
 * over the wire. The edges are the storage part of real ones: copy, watch and cards, without listeners.
 *
 *     node bench/fleet-scale.ts --hosts 10000 --edges 20 --changes 50 --agents 1000
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { systemClock } from "../src/clock.ts";
import { silentLog } from "../src/log.ts";
import { openNatsStorage } from "../src/storage/nats.ts";
import { makeFleetKey, parseFleetKeys } from "../src/storage/seal.ts";
import { cpuSeconds, memory } from "./cpu.ts";
import { freePort } from "./process.ts";

const EDGES = fileURLToPath(new URL("./programs/fleet-edges.ts", import.meta.url));
/** As large as a bundle: a P-256 key and a chain of two. */
const BUNDLE_BYTES = 3500;
const WRITERS = 32;
const QUIET_MS = 60_000;
const REACH_BOUND_MS = 30_000;

const now = (): number => performance.timeOrigin + performance.now();
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const mega = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
const at = (sorted: readonly number[], part: number): string =>
  (sorted[Math.floor(part * (sorted.length - 1))] ?? 0).toFixed(0);

interface Edges {
  readonly pid: number;
  readonly readyAt: Promise<number>;
}

export async function benchFleet(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      hosts: { type: "string", default: "10000" },
      edges: { type: "string", default: "20" },
      changes: { type: "string", default: "50" },
      agents: { type: "string", default: "0" },
    },
  });
  const [hosts, edges, changes] = [values.hosts, values.edges, values.changes].map(Number) as [
    number,
    number,
    number,
  ];
  // Copies of twenty machines on one disk would measure that disk.
  const root = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "skerry-fleet-"));
  const children: ChildProcess[] = [];
  const run = (command: string, argv: readonly string[], env: Record<string, string> = {}): ChildProcess => {
    const child = spawn(command, argv, {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, ...env },
    });
    children.push(child);
    return child;
  };
  const end = (): void => {
    for (const child of children) child.kill("SIGKILL");
  };
  process.once("exit", end);
  const [port, monitor] = [await freePort(), await freePort()];
  const server = `127.0.0.1:${port}`;
  writeFileSync(
    join(root, "nats.conf"),
    `listen: "${server}"\nhttp: "127.0.0.1:${monitor}"\nmax_payload: 2MB\njetstream { store_dir: "${join(root, "nats")}" }\n`,
  );
  const nats = run("nats-server", ["-l", join(root, "nats.log"), "-c", join(root, "nats.conf")]);
  const key = makeFleetKey();
  const storage = openNatsStorage({
    ...{ place: { servers: [server], bucket: "skerry" }, keys: parseFleetKeys(key, "bench") },
    ...{ copy: join(root, "writer"), clock: systemClock, log: silentLog },
  });
  /** Bytes to and from all clients so far. */
  const traffic = async (): Promise<{ in: number; out: number }> => {
    const { in_bytes, out_bytes } = (await (await fetch(`http://127.0.0.1:${monitor}/varz`)).json()) as {
      in_bytes: number;
      out_bytes: number;
    };
    return { in: in_bytes, out: out_bytes };
  };
  let onSeen: (key: string, when: number) => void = () => {};
  const startEdges = (count: number): Edges => {
    const folder = join(root, `edges-${children.length}`);
    mkdirSync(folder);
    const child = run(
      process.execPath,
      [EDGES, server, folder, String(count), String(hosts), values.agents],
      {
        SKERRY_FLEET_KEY: key,
      },
    );
    const readyAt = new Promise<number>((resolve, reject) => {
      child.once("exit", () => reject(new Error("the edges ended")));
      createInterface({ input: child.stdout! }).on("line", (line) => {
        const told = JSON.parse(line) as { event: string; key: string; at: number };
        if (told.event === "ready") resolve(told.at);
        else onSeen(told.key, told.at);
      });
    });
    return { pid: child.pid!, readyAt };
  };
  /** Milliseconds from before a write until each edge had read it, the last one last. */
  const change = async (key: string, value: Uint8Array): Promise<number[]> => {
    const seen: number[] = [];
    const began = now();
    const all = new Promise<void>((resolve, reject) => {
      systemClock.after(REACH_BOUND_MS, () => reject(new Error(`${key} reached ${seen.length} edges only`)));
      onSeen = (which, when) => {
        if (which === key) seen.push(when - began);
        if (seen.length === edges) resolve();
      };
    });
    await storage.store(key, value);
    await all;
    return seen.sort((a, b) => a - b);
  };
  try {
    await storage.check();
    const began = now();
    const left = Array.from({ length: hosts }, (_, n) => n).values();
    const write = async (): Promise<void> => {
      for (const n of left) await storage.store(`certificates/h${n}.bench.test`, randomBytes(BUNDLE_BYTES));
    };
    await Promise.all(Array.from({ length: WRITERS }, write));
    console.log(`${hosts} certificates stored in ${((now() - began) / 1000).toFixed(1)} s`);

    const before = await traffic();
    const empty = startEdges(0);
    await empty.readyAt;
    const startedAt = now();
    const one = startEdges(1);
    console.log(`one edge has everything after ${(((await one.readyAt) - startedAt) / 1000).toFixed(1)} s`);
    const first = await traffic();
    const othersAt = now();
    const others = startEdges(edges - 1);
    console.log(
      `${edges - 1} more that start at once after ${(((await others.readyAt) - othersAt) / 1000).toFixed(1)} s; ` +
        `a start reads ${mega(first.out - before.out)}`,
    );
    await pause(QUIET_MS / 2);
    const rss = (pid: number): number => memory([pid]).rssKib * 1024;
    console.log(
      `memory: ${mega((rss(others.pid) - rss(empty.pid)) / (edges - 1))} per edge over one without storage ` +
        `(${mega(rss(one.pid) - rss(empty.pid))} of one alone); NATS ${mega(rss(nats.pid!))}`,
    );

    const quiet = await traffic();
    const cpu = cpuSeconds([one.pid]);
    const natsCpu = cpuSeconds([nats.pid!]);
    await pause(QUIET_MS);
    const then = await traffic();
    const perEdge = (bytes: number): string =>
      `${(bytes / edges / (QUIET_MS / 1000) / 1000).toFixed(2)} KB/s`;
    console.log(
      `while nothing changes${values.agents === "0" ? "" : ` but the load of ${values.agents} agents`}, each edge: writes ${perEdge(then.in - quiet.in)}, reads ${perEdge(then.out - quiet.out)}, ` +
        `CPU ${((cpuSeconds([one.pid]) - cpu) / (QUIET_MS / 1e5)).toFixed(1)} %; ` +
        `NATS CPU ${((cpuSeconds([nats.pid!]) - natsCpu) / (QUIET_MS / 1e5)).toFixed(1)} %`,
    );

    for (const [what, bytes] of [
      ["certificate", BUNDLE_BYTES],
      ["list of added hosts", 100_000],
    ] as const) {
      const last: number[] = [];
      const each: number[] = [];
      const from = await traffic();
      for (let n = 0; n < changes; n++) {
        const key =
          bytes === BUNDLE_BYTES ? `certificates/h${(n * 37) % hosts}.bench.test` : "dynamic/config";
        const took = await change(key, randomBytes(bytes));
        each.push(...took);
        last.push(took.at(-1)!);
      }
      const to = await traffic();
      last.sort((a, b) => a - b);
      each.sort((a, b) => a - b);
      console.log(
        `a changed ${what} (${(bytes / 1000).toFixed(1)} KB) is read by an edge after ${at(each, 0.5)} ms (median), by all ${edges} after ` +
          `${at(last, 0.5)} ms (median), ${at(last, 1)} ms (worst of ${changes}); ` +
          `${((to.out - from.out) / changes / edges / 1000).toFixed(1)} KB per change and edge`,
      );
    }
  } finally {
    await storage.close();
    end();
    await Promise.all(children.map((child) => child.exitCode ?? child.signalCode ?? once(child, "exit")));
    rmSync(root, { recursive: true, force: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await benchFleet(process.argv.slice(2));
  process.exit(0);
}
