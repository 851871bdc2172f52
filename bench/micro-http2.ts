/**
 * CPU time of the HTTP/2 engine alone: a server that answers 1 KiB, loaded by h2load, on each runtime.
 *
 * `node bench/micro-http2.ts` runs all; `RUNTIME bench/micro-http2.ts serve` is the server.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { systemClock } from "../src/clock.ts";
import { bytesSource } from "../src/exchange/body.ts";
import { responseHead } from "../src/exchange/exchange.ts";
import { DEFAULT_LIMITS } from "../src/exchange/limits.ts";
import { serveHttp2 } from "../src/http2/server.ts";

const LIMITS = { ...DEFAULT_LIMITS, maxRequestsPerConnection: Number.POSITIVE_INFINITY };
const FIELDS = ["Content-Type", "text/plain", "Cache-Control", "no-store", "X-Served-By", "bench"];

/** Prints its port, then on each line of standard input the CPU microseconds per request since the last. */
function serve(): void {
  const body = Buffer.alloc(1024, "x");
  const large = Buffer.alloc(1_048_576, "y");
  const same = responseHead(200, FIELDS);
  let count = 0;
  let cpu = process.cpuUsage();
  const server = createServer({ noDelay: true }, (socket) => {
    serveHttp2(socket, {
      connection: { id: 0, remoteAddress: "", remotePort: 0, localPort: 0 },
      scheme: "http",
      limits: LIMITS,
      clock: systemClock,
      onExchange(x) {
        count++;
        if (x.head.path === "/fresh") x.respond(responseHead(200, FIELDS), bytesSource(body));
        else if (x.head.path === "/later")
          setImmediate(() => x.respond(responseHead(200, FIELDS), bytesSource(body)));
        else x.respond(same, x.head.path === "/large" ? large : body);
      },
      onOffence() {},
      onClose() {},
    });
  });
  process.stdin.on("data", () => {
    const used = process.cpuUsage(cpu);
    process.stdout.write(`${((used.user + used.system) / Math.max(count, 1)).toFixed(2)}\n`);
    count = 0;
    cpu = process.cpuUsage();
  });
  process.stdin.on("end", () => process.exit(0));
  server.listen(0, "127.0.0.1", () => process.stdout.write(`${(server.address() as AddressInfo).port}\n`));
}

const CASES: readonly [name: string, path: string, requests: number, clients: number, streams: number][] = [
  ["warm-up", "/", 100_000, 10, 32],
  ["same head, 10 × 32 streams", "/", 200_000, 10, 32],
  ["fresh head, 10 × 32 streams", "/fresh", 200_000, 10, 32],
  ["fresh head, answered later, 10 × 32 streams", "/later", 200_000, 10, 32],
  ["fresh head, 50 × 1 stream", "/fresh", 50_000, 50, 1],
  ["1 MiB, 4 × 4 streams", "/large", 2_000, 4, 4],
];

async function measure(runtime: string, args: string[]): Promise<void> {
  const script = fileURLToPath(import.meta.url);
  const bin = fileURLToPath(new URL(`../node_modules/.bin/${runtime}`, import.meta.url));
  const server = spawn(bin, [...args, script, "serve"], { stdio: ["pipe", "pipe", "inherit"] });
  const line = async (): Promise<string> => String((await once(server.stdout, "data"))[0]).trim();
  const port = await line();
  for (const [name, path, requests, clients, streams] of CASES) {
    server.stdin.write("\n");
    await line();
    const load = spawn("h2load", [
      ...["-n", `${requests}`, "-c", `${clients}`, "-m", `${streams}`, "-w", "20", "-W", "20"],
      `http://127.0.0.1:${port}${path}`,
    ]);
    let out = "";
    load.stdout.on("data", (chunk) => {
      out += chunk;
    });
    await once(load, "exit");
    server.stdin.write("\n");
    const cpu = await line();
    const rate = /, ([\d.]+) req\/s/.exec(out)?.[1];
    const failed = /(\d+) failed/.exec(out)?.[1];
    console.log(
      `${runtime.padEnd(5)} ${name.padEnd(44)} ${cpu.padStart(8)} µs CPU/request ${rate} req/s, ${failed} failed`,
    );
  }
  server.stdin.end();
  await once(server, "exit");
}

if (process.argv[2] === "serve") serve();
else {
  await measure("node", []);
  await measure("bun", []);
  await measure("deno", ["run", "-A"]);
}
