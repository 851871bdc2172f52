/**
 * A flood of random names against hosts on demand: 100,000 handshakes for names that nobody allows, beside one host that is
 * served. Tells how many orders were made (none), how memory grew, and what the flood did to the host's visitors.
 *
 *     node bench/on-demand-flood.ts [names] [seconds]
 */
import { randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { systemClock } from "../src/clock.ts";
import { createEdge, EdgeError } from "../src/index.ts";
import { createLog } from "../src/log.ts";
import { createLocalCa } from "../src/tls/local-ca.ts";
import { clientHello, inRecords } from "../test/support/raw-hello.ts";

const NAMES = Number(process.argv[2] ?? 100_000);
const SECONDS = Number(process.argv[3] ?? 60);
const HOST = "good.example.com";
const AT_ONCE = 200;

const folder = mkdtempSync(join(tmpdir(), "skerry-flood-"));
const ca = await createLocalCa(systemClock);
const { chain, key } = await ca.issueFor([HOST]);
writeFileSync(join(folder, "cert.pem"), chain);
writeFileSync(join(folder, "key.pem"), key);

let orders = 0;
let asked = 0;
const edge = await createEdge(
  {
    listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
    storage: "memory:",
    acme: { agreeToTerms: true },
    backends: { web: {} },
    hosts: {
      [HOST]: { backend: "web", tls: { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") } },
    },
    onDemand: { allow: () => ++asked < 0, backend: "web" },
    limits: { maxConnectionsPerClient: 1_000_000 },
    accessLog: false,
  },
  {
    log: createLog({ level: "error", write: () => {} }),
    issuer: {
      name: "none",
      issue() {
        orders++;
        return Promise.reject(new EdgeError("ACME_UNREACHABLE", "nothing is issued here", { source: "ca" }));
      },
    },
  },
);
const { port } = edge.addresses.https;
const resident = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1]) / 1024;

/** Milliseconds from connecting to the end of the handshake. */
function handshake(): Promise<number> {
  return new Promise((resolve, reject) => {
    const began = performance.now();
    const socket = tls.connect(
      { host: "127.0.0.1", port, servername: HOST, ca: ca.rootPem, ALPNProtocols: ["h2"] },
      () => {
        resolve(performance.now() - began);
        socket.destroy();
      },
    );
    socket.on("error", reject);
  });
}

/** One hello for a random name; resolves when the edge has hung up. */
function stranger(): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port }, () => {
      socket.write(inRecords(clientHello(Buffer.from(`${randomBytes(8).toString("hex")}.example.com`))));
    });
    socket.on("data", () => socket.destroy());
    socket.on("error", () => {});
    socket.on("close", () => resolve());
  });
}

async function visits(until: () => boolean): Promise<number[]> {
  const took: number[] = [];
  do {
    took.push(await handshake());
    await new Promise((resolve) => setTimeout(resolve, 20));
  } while (!until());
  return took.sort((a, b) => a - b);
}

const at = (sorted: readonly number[], part: number): string =>
  (sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN).toFixed(1);
const show = (what: string, sorted: readonly number[]): void =>
  console.log(`${what}: ${sorted.length} handshakes, p50 ${at(sorted, 0.5)} ms, p99 ${at(sorted, 0.99)} ms`);

let calm = 0;
show("calm", await visits(() => ++calm >= 150));
const before = resident();
let sent = 0;
let over = false;
const began = performance.now();
const flood = Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    while (sent < NAMES) {
      // Spread over the time, in as far as the machine can.
      const due = began + (sent / NAMES) * SECONDS * 1000;
      sent++;
      const wait = due - performance.now();
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      await stranger();
    }
  }),
).then(() => {
  over = true;
});
const during = await visits(() => over);
await flood;
const seconds = (performance.now() - began) / 1000;
console.log(`flood: ${NAMES} names in ${seconds.toFixed(1)} s, ${asked} asked for, ${orders} orders`);
show("flooded", during);
console.log(
  `memory: ${before.toFixed(0)} MB before, ${resident().toFixed(0)} MB after (this process, with the flood's own side)`,
);
await edge.close();
process.exit(0);
