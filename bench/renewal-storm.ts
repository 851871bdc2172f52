/**
 * A storm of renewals: certificates that live for a minute and a half are renewed all the time, by Pebble, while visitors come.
 * Tells how many handshakes failed, what the visitors were served, how fast orders went, and what the edge used.
 *
 *     node bench/renewal-storm.ts --hosts 2000 --lifetime 90 --minutes 10
 *     node --cpu-prof --cpu-prof-dir=profiles bench/renewal-storm.ts --hosts 200 --minutes 1     # of both processes
 */
import { type ChildProcess, spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import tls from "node:tls";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { systemClock } from "../src/clock.ts";
import { type AcmeFront, startAcmeFront } from "../test/support/acme-front.ts";
import { type Pebble, startPebble } from "../test/support/pebble.ts";
import { freePorts } from "../test/support/ports.ts";
import { cpuSeconds, memory } from "./cpu.ts";

const CLI = fileURLToPath(new URL("../src/cli/skerry.ts", import.meta.url));
/** One after the other, each: so that the visitors are no storm of their own. */
const VISITORS = 4;
const PAUSE_MS = 20;
/** From finalizing an order to its certificate: a public CA takes longer. */
const ISSUE_MS = 250;

const { values } = parseArgs({
  options: {
    hosts: { type: "string", default: "2000" },
    /** Seconds. */
    lifetime: { type: "string", default: "90" },
    minutes: { type: "string", default: "10" },
    /** Orders at once. */
    concurrency: { type: "string", default: "64" },
    /** What the edge runs on: node, bun or deno. */
    runtime: { type: "string", default: "node" },
  },
});
const [hosts, lifetime, minutes, concurrency] = [
  values.hosts,
  values.lifetime,
  values.minutes,
  values.concurrency,
].map(Number) as [number, number, number, number];
/** With the flags that this process was given, such as those of a profiler. */
const RUNTIMES: Readonly<Record<string, readonly [string, readonly string[]]>> = {
  node: [process.execPath, process.execArgv],
  bun: ["bun", []],
  deno: ["deno", ["run", "-A", "--quiet"]],
};
const fail = (message: string): never => {
  console.error(message);
  process.exit(2);
};
const names = Array.from({ length: hosts }, (_, n) => `h${n}.storm.test`);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Pebble, whose answer to finalizing comes when the certificate is made. Who asks for the order before that may meet its
 * issuing between two takings of one lock, and Pebble stops for good (letsencrypt/pebble#554).
 */
async function careful(pebble: Pebble): Promise<AcmeFront> {
  const front = await startAcmeFront(pebble);
  front.keepAlive = true;
  front.on("finalize", async (_, forward) => {
    const reply = await forward();
    await pause(ISSUE_MS);
    return reply;
  });
  return front;
}

interface Edge {
  readonly pid: number;
  readonly port: number;
  /** Events of its log, counted. */
  readonly events: Map<string, number>;
  stop(): Promise<void>;
}

async function startEdge(folder: string, ca: AcmeFront, httpPort: number, backend: string): Promise<Edge> {
  const config = {
    listen: { http: `127.0.0.1:${httpPort}`, https: "127.0.0.1:0", admin: "127.0.0.1:0" },
    storage: `file:${join(folder, "certs")}`,
    acme: { directory: ca.directory, trustedCa: ca.caPath, agreeToTerms: true, concurrency },
    backends: { web: { servers: [backend] } },
    hosts: Object.fromEntries(names.map((name) => [name, { backend: "web" }])),
    limits: { maxConnectionsPerClient: 10_000 },
    accessLog: false,
  };
  const file = join(folder, "skerry.config.json");
  writeFileSync(file, JSON.stringify(config));
  const [command, flags] = RUNTIMES[values.runtime] ?? fail(`there is no runtime "${values.runtime}"`);
  const child: ChildProcess = spawn(command, [...flags, CLI, "serve", "--config", file], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NO_COLOR: "1" },
  });
  process.once("exit", () => child.kill("SIGKILL"));
  const events = new Map<string, number>();
  const count = (event: string): number => events.get(event) ?? 0;
  const port = new Promise<number>((resolve, reject) => {
    child.once("exit", () => reject(new Error("the edge did not become ready")));
    createInterface({ input: child.stdout! }).on("line", (line) => {
      if (!line.startsWith("{")) return;
      const { event, https, message } = JSON.parse(line) as {
        event: string;
        https?: { port: number };
        message?: string;
      };
      events.set(event, (events.get(event) ?? 0) + 1);
      if (event === "certificate.failed" && count("failure told") < 5) {
        events.set("failure told", count("failure told") + 1);
        console.log(`failed: ${message}`);
      }
      if (event === "edge.ready" && https) resolve(https.port);
    });
  });
  return {
    pid: child.pid!,
    port: await port,
    events,
    async stop() {
      const gone = once(child, "exit");
      child.kill("SIGTERM");
      await gone;
    },
  };
}

interface Tally {
  /** Milliseconds of handshakes that went well. */
  readonly took: number[];
  /** By what went wrong in the handshake. */
  readonly failed: Map<string, number>;
  /** Handshakes that went well, with a certificate that had expired. */
  expired: number;
  /** With a placeholder, or a certificate for another name. */
  foreign: number;
  /** Requests that were not answered with 200. */
  unanswered: number;
}

function newTally(): Tally {
  return { took: [], failed: new Map(), expired: 0, foreign: 0, unanswered: 0 };
}

/** One visitor's connection and request, as with `Connection: close`. */
async function visit(port: number, servername: string, tally: Tally): Promise<void> {
  const began = systemClock.now();
  const socket = tls.connect({ host: "127.0.0.1", port, servername, rejectUnauthorized: false });
  try {
    await once(socket, "secureConnect");
    tally.took.push(systemClock.now() - began);
    const { raw } = socket.getPeerCertificate();
    const leaf = new X509Certificate(raw);
    if (!leaf.checkHost(servername, { subject: "never" })) tally.foreign++;
    else if (Date.parse(leaf.validTo) < systemClock.wall()) tally.expired++;
    let text = "";
    socket.setEncoding("latin1").on("data", (more: string) => {
      text += more;
    });
    const ended = once(socket, "end");
    socket.write(`GET / HTTP/1.1\r\nhost: ${servername}\r\nconnection: close\r\n\r\n`);
    await ended;
    if (!text.startsWith("HTTP/1.1 200 ")) tally.unanswered++;
  } catch (thrown) {
    const { code = "error" } = thrown as { code?: string };
    tally.failed.set(code, (tally.failed.get(code) ?? 0) + 1);
  } finally {
    socket.destroy();
  }
}

const share = (sorted: readonly number[], part: number): string =>
  (sorted[Math.floor(part * (sorted.length - 1))] ?? Number.NaN).toFixed(1);

// Stopped early, it takes the edge and the CA along.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));

const folder = mkdtempSync(join(tmpdir(), "skerry-storm-"));
const backend = createServer((_, response) => response.end("ok")).listen(0, "127.0.0.1");
await once(backend, "listening");
const [httpPort = 0] = await freePorts(1);
const pebble = await startPebble({ httpPort, validitySeconds: lifetime });
const ca = await careful(pebble);
const edge = await startEdge(
  folder,
  ca,
  httpPort,
  `http://127.0.0.1:${(backend.address() as AddressInfo).port}`,
);
const count = (event: string): number => edge.events.get(event) ?? 0;
const orders = (): number => count("certificate.obtained") + count("certificate.renewed");

try {
  const began = systemClock.now();
  while (count("certificate.obtained") < hosts) {
    if (systemClock.now() - began > 600_000)
      throw new Error("not every host got a certificate in ten minutes");
    await pause(200);
  }
  const seconds = (systemClock.now() - began) / 1000;
  console.log(
    `${hosts} hosts obtained in ${seconds.toFixed(0)} s, ${(orders() / seconds).toFixed(1)} orders/s`,
  );
  console.log(`to renew each at half of ${lifetime} s takes ${((2 * hosts) / lifetime).toFixed(1)} orders/s`);

  const tally = newTally();
  const [cpu, made, failures, first] = [
    cpuSeconds([edge.pid]),
    orders(),
    count("certificate.failed"),
    systemClock.now(),
  ];
  const end = first + minutes * 60_000;
  const resident: number[] = [];
  const watching = (async () => {
    while (systemClock.now() < end) {
      resident.push(memory([edge.pid]).rssKib / 1024);
      ca.requests.length = 0;
      await pause(1000);
    }
  })();
  const visiting = Array.from({ length: VISITORS }, async (_, visitor) => {
    for (let n = visitor; systemClock.now() < end; n += VISITORS) {
      // A step that shares no factor with most counts, so that all hosts have their turn.
      await visit(edge.port, names[(n * 7919) % hosts]!, tally);
      await pause(PAUSE_MS);
    }
  });
  await Promise.all([watching, ...visiting]);

  const took = (systemClock.now() - first) / 1000;
  const sorted = tally.took.sort((a, b) => a - b);
  const failed = [...tally.failed].map(([what, times]) => `${times} ${what}`).join(", ") || "none";
  console.log(
    `${took.toFixed(0)} s: ${((orders() - made) / took).toFixed(1)} orders/s, ${count("certificate.failed") - failures} failed`,
  );
  console.log(
    `${sorted.length} handshakes, p50 ${share(sorted, 0.5)} ms, p99 ${share(sorted, 0.99)} ms; failed: ${failed}`,
  );
  console.log(
    `served: ${tally.expired} expired, ${tally.foreign} of another name, ${tally.unanswered} requests without 200`,
  );
  const cores = (cpuSeconds([edge.pid]) - cpu) / took;
  console.log(
    `the edge: ${(cores * 100).toFixed(0)} % of a core; resident ${resident[0]?.toFixed(0)} MiB at first, ` +
      `${Math.max(...resident).toFixed(0)} at most, ${resident.at(-1)?.toFixed(0)} at last`,
  );
  const every = Math.max(1, Math.ceil(resident.length / 10));
  const course = resident.filter((_, second) => second % every === 0).map((mib) => mib.toFixed(0));
  console.log(`resident each ${every} s: ${course.join(", ")} MiB`);
} finally {
  await edge.stop();
  await ca.close();
  await pebble.close();
  backend.close();
  rmSync(folder, { recursive: true, force: true });
}
process.exit(0);
