/**
 * A flood of random names against hosts on demand: 100,000 handshakes in a minute for names that nobody allows, beside one
 * host that is served. Tells how many orders were made (none), how memory grew, what a refusal costs, and what the flood
 * did to the host's visitors. The edge, the flood and the visitors are a process each.
 *
 *     node bench/on-demand-flood.ts --names 100000 --seconds 60 --runtime node
 *     node bench/on-demand-flood.ts --ask          # permission is asked of a service instead of a function
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import tls from "node:tls";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { systemClock } from "../src/clock.ts";
import { createLocalCa } from "../src/tls/local-ca.ts";
import { clientHello, inRecords } from "../test/support/raw-hello.ts";
import { cpuSeconds, memory } from "./cpu.ts";

const SELF = fileURLToPath(import.meta.url);
const CLI = fileURLToPath(new URL("../src/cli/skerry.ts", import.meta.url));
const HOST = "good.example.com";
const AT_ONCE = 200;
/** Between two visits of the host. */
const PAUSE_MS = 20;
const CALM_SECONDS = 10;
const RUNTIMES: Readonly<Record<string, readonly [string, readonly string[]]>> = {
  node: [process.execPath, process.execArgv],
  bun: ["bun", []],
  deno: ["deno", ["run", "-A", "--quiet"]],
};

const { values } = parseArgs({
  options: {
    names: { type: "string", default: "100000" },
    seconds: { type: "string", default: "60" },
    runtime: { type: "string", default: "node" },
    ask: { type: "boolean", default: false },
    /** The flood's own process: the port to flood. */
    flood: { type: "string" },
  },
});
const names = Number(values.names);
const seconds = Number(values.seconds);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** One hello for a random name; resolves with whether the edge refused it by an alert. */
function stranger(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    let alert = false;
    const socket = connect({ host: "127.0.0.1", port }, () => {
      socket.write(inRecords(clientHello(Buffer.from(`${randomBytes(8).toString("hex")}.example.com`))));
    });
    socket.on("data", (bytes: Buffer) => {
      alert = bytes[0] === 21;
      socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(alert));
  });
}

async function flood(port: number): Promise<void> {
  let sent = 0;
  let refused = 0;
  const began = systemClock.now();
  const one = async (): Promise<void> => {
    while (sent < names) {
      // Spread over the time, in as far as the machine can.
      const due = began + (sent++ / names) * seconds * 1000;
      const wait = due - systemClock.now();
      if (wait > 0) await pause(wait);
      if (await stranger(port)) refused++;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, one));
  const took = (systemClock.now() - began) / 1000;
  console.log(`flood: ${names} names in ${took.toFixed(1)} s, ${refused} refused with an alert`);
}

interface Edge {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly port: number;
  /** Of the edge, by name and labels. */
  metrics(): Promise<(name: RegExp) => number>;
}

async function startEdge(folder: string, permission: string): Promise<Edge> {
  const file = join(folder, "skerry.config.ts");
  const host = `{ backend: "web", tls: { cert: "cert.pem", key: "key.pem" } }`;
  writeFileSync(
    file,
    `export default {
  listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
  storage: "file:./certs",
  acme: { directory: "https://127.0.0.1:9/dir", agreeToTerms: true },
  backends: { web: { servers: ["http://127.0.0.1:9"] } },
  hosts: { "${HOST}": ${host} },
  onDemand: { ${permission}, backend: "web" },
  limits: { maxConnectionsPerClient: 1_000_000 },
  accessLog: false,
};
`,
  );
  const [command, flags] = RUNTIMES[values.runtime] ?? [values.runtime, []];
  const child = spawn(command, [...flags, CLI, "serve", "--config", file], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NO_COLOR: "1" },
  });
  process.once("exit", () => child.kill("SIGKILL"));
  for await (const line of createInterface({ input: child.stdout })) {
    const event = line.startsWith("{") ? (JSON.parse(line) as Record<string, unknown>) : {};
    if (event.event !== "edge.ready") continue;
    child.stdout.resume();
    const { port } = event.https as { port: number };
    const admin = event.admin as { port: number };
    const metrics = async () => {
      const text = await (await fetch(`http://127.0.0.1:${admin.port}/metrics`)).text();
      return (name: RegExp): number =>
        text
          .split("\n")
          .filter((each) => name.test(each))
          .reduce((sum, each) => sum + Number(each.slice(each.lastIndexOf(" "))), 0);
    };
    return { child, pid: child.pid!, port, metrics };
  }
  throw new Error("the edge did not become ready");
}

/** Milliseconds from connecting to the end of the handshake. */
function handshake(port: number, ca: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const began = systemClock.now();
    const socket = tls.connect(
      { host: "127.0.0.1", port, servername: HOST, ca, ALPNProtocols: ["h2"] },
      () => {
        resolve(systemClock.now() - began);
        socket.destroy();
      },
    );
    socket.on("error", reject);
  });
}

async function visits(port: number, ca: string, until: () => boolean): Promise<number[]> {
  const took: number[] = [];
  do {
    took.push(await handshake(port, ca));
    await pause(PAUSE_MS);
  } while (!until());
  return took.sort((a, b) => a - b);
}

const at = (sorted: readonly number[], part: number): string =>
  (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN).toFixed(1);
const show = (what: string, sorted: readonly number[]): void =>
  console.log(`${what}: ${sorted.length} handshakes, p50 ${at(sorted, 0.5)} ms, p99 ${at(sorted, 0.99)} ms`);

async function main(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "skerry-flood-"));
  const ca = await createLocalCa(systemClock);
  const { chain, key } = await ca.issueFor([HOST]);
  writeFileSync(join(folder, "cert.pem"), chain);
  writeFileSync(join(folder, "key.pem"), key, { mode: 0o600 });
  const service = createServer((_, response) => response.writeHead(404).end()).listen(0, "127.0.0.1");
  await once(service, "listening");
  const ask = `ask: "http://127.0.0.1:${(service.address() as AddressInfo).port}/"`;
  const edge = await startEdge(folder, values.ask ? ask : "allow: () => false");
  try {
    await visits(edge.port, ca.rootPem, deadline(2));
    const calmCpu = cpuSeconds([edge.pid]);
    show("calm", await visits(edge.port, ca.rootPem, deadline(CALM_SECONDS)));
    const calm = (cpuSeconds([edge.pid]) - calmCpu) / CALM_SECONDS;

    const resident = [memory([edge.pid]).rssKib / 1024];
    const [cpu, began] = [cpuSeconds([edge.pid]), systemClock.now()];
    let over = false;
    const args = [SELF, "--names", values.names, "--seconds", values.seconds, "--flood", String(edge.port)];
    const flooding = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"] });
    process.once("exit", () => flooding.kill("SIGKILL"));
    const ended = once(flooding, "exit").then(() => {
      over = true;
    });
    const watching = (async () => {
      while (!over) {
        await pause(1000);
        resident.push(memory([edge.pid]).rssKib / 1024);
      }
    })();
    const during = await visits(edge.port, ca.rootPem, () => over);
    await Promise.all([ended, watching]);
    const took = (systemClock.now() - began) / 1000;
    const used = cpuSeconds([edge.pid]) - cpu;
    show("flooded", during);
    const metric = await edge.metrics();
    const asked = metric(/^skerry_on_demand_total\{/);
    const orders = metric(/^skerry_certificate_renewals_total\{/);
    const hosts = metric(/^skerry_on_demand_hosts /);
    console.log(`asked for ${asked} names; ${orders} orders, ${hosts} hosts served on demand`);
    const each = ((used - calm * took) / names) * 1e6;
    console.log(
      `the edge: ${((used / took) * 100).toFixed(0)} % of a core, ${(calm * 100).toFixed(0)} % when calm: ${each.toFixed(0)} µs for a refusal`,
    );
    console.log(
      `resident: ${resident[0]?.toFixed(0)} MiB before, ${Math.max(...resident).toFixed(0)} at most, ${resident.at(-1)?.toFixed(0)} at last`,
    );
  } finally {
    edge.child.kill("SIGKILL");
    service.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function deadline(inSeconds: number): () => boolean {
  const end = systemClock.now() + inSeconds * 1000;
  return () => systemClock.now() > end;
}

if (values.flood === undefined) await main();
else await flood(Number(values.flood));
process.exit(0);
