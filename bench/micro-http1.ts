/**
 * What the HTTP/1.1 engine costs, alone: `node|bun|deno run -A bench/micro-http1.ts`.
 * Parsing is timed in a loop. Serving and forwarding are counted in this process's CPU time per request, while a second
 * process (always Node) plays client and origin over loopback with 1 KiB answers on kept-alive connections.
 */
import { spawn } from "node:child_process";
import { createServer, type Socket, connect as tcpConnect } from "node:net";
import { fileURLToPath } from "node:url";
import { systemClock } from "../src/clock.ts";
import type { Exchange } from "../src/exchange/exchange.ts";
import { responseHead } from "../src/exchange/exchange.ts";
import { DEFAULT_LIMITS } from "../src/exchange/limits.ts";
import type { ByteStream } from "../src/exchange/stream.ts";
import { HeadCache, requestReader, responseReader } from "../src/http1/parser.ts";
import { serveHttp1 } from "../src/http1/server.ts";
import { createHttp1Transport } from "../src/http1/transport.ts";
import { runtimeName, runtimeVersion } from "../src/runtime.ts";

const CONNECTIONS = 16;
const REQUESTS = Number(process.env.REQUESTS ?? 60_000);
const REQUEST = Buffer.from(
  "GET /api/items?page=2 HTTP/1.1\r\nHost: app.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\nCookie: session=0123456789abcdef\r\n\r\n",
);
const BODY = Buffer.alloc(1024, "x");
const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Mon, 01 Jun 2026 12:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: ${BODY.length}\r\nConnection: keep-alive\r\nETag: "abcdef"\r\nCache-Control: no-store\r\n\r\n${BODY}`,
  "latin1",
);

function timed(name: string, work: (i: number) => void): void {
  const loops = 300_000;
  for (let i = 0; i < loops / 3; i++) work(i);
  const from = performance.now();
  for (let i = 0; i < loops; i++) work(i);
  console.log(
    `${name.padEnd(34)} ${(((performance.now() - from) * 1000) / loops).toFixed(2).padStart(7)} µs`,
  );
}

function parsing(): void {
  const limits = { maxHeadBytes: 16_384, maxHeaders: 100 };
  const known = requestReader(limits, "http", new HeadCache(2));
  timed("request head, seen before", () => void known.push(REQUEST, 0));
  const other = Buffer.from(REQUEST);
  const fresh = requestReader(limits, "http", new HeadCache(2));
  timed("request head, new", (i) => {
    // Another path each time: three letters over, so that no entry of the cache fits.
    other[7] = 97 + (i % 3);
    fresh.push(other, 0);
  });
  const seen = responseReader(limits, new HeadCache(2));
  timed("response head, seen before", () => void seen.push(RESPONSE, 0));
}

/** The other process: opens connections to `port`, sends requests in turn, counts answers by bytes. */
async function load(port: number, requests: number, distinct: boolean): Promise<void> {
  let left = requests;
  let open = CONNECTIONS;
  await new Promise<void>((resolve) => {
    for (let c = 0; c < CONNECTIONS; c++) {
      const socket = tcpConnect({ port, host: "127.0.0.1", noDelay: true });
      let size = 0;
      let got = 0;
      const ask = (): void => {
        if (left-- <= 0) {
          socket.destroy();
          if (--open === 0) resolve();
          return;
        }
        if (!distinct) socket.write(REQUEST);
        else socket.write(REQUEST.toString("latin1").replace("page=2", `page=${left}`), "latin1");
      };
      socket.on("connect", ask);
      socket.on("data", (chunk: Buffer) => {
        if (size === 0) size = chunk.indexOf("\r\n\r\n") + 4 + BODY.length;
        got += chunk.length;
        if (got < size) return;
        got = size = 0;
        ask();
      });
      socket.on("error", (error) => {
        console.error(error);
        process.exit(1);
      });
    }
  });
}

function listen(onSocket: (socket: Socket) => void): Promise<{ port: number; close(): void }> {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, onSocket);
  return new Promise((resolve) =>
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      resolve({
        port: typeof address === "object" && address ? address.port : 0,
        close: () => server.close(),
      });
    }),
  );
}

async function measure(
  name: string,
  onExchange: (exchange: Exchange) => void,
  distinct: boolean,
): Promise<void> {
  let id = 0;
  const server = await listen((socket) =>
    serveHttp1(socket as ByteStream, {
      connection: { id: id++, remoteAddress: "127.0.0.1", remotePort: 1, localPort: 1 },
      scheme: "http",
      limits: DEFAULT_LIMITS,
      clock: systemClock,
      onExchange,
      onOffence: (reason) => console.log("offence", reason),
      onClose() {},
    }),
  );
  for (const [round, requests] of [REQUESTS / 3, REQUESTS].entries()) {
    const before = process.cpuUsage();
    const from = performance.now();
    await other("load", String(server.port), String(requests), distinct ? "distinct" : "same").ended;
    if (round === 0) continue;
    const used = process.cpuUsage(before);
    const cpu = (used.user + used.system) / requests;
    const rate = requests / ((performance.now() - from) / 1000);
    console.log(`${name.padEnd(34)} ${cpu.toFixed(1).padStart(7)} µs CPU, ${Math.round(rate)} req/s`);
  }
  server.close();
}

function other(...args: string[]): { ended: Promise<void>; port: Promise<number>; stop(): void } {
  const node = process.env.NODE ?? (runtimeName === "node" ? process.execPath : "node");
  const child = spawn(node, [fileURLToPath(import.meta.url), ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  return {
    ended: new Promise((resolve) => child.on("close", () => resolve())),
    port: new Promise((resolve) => child.stdout.once("data", (data) => resolve(Number(String(data))))),
    stop: () => child.kill(),
  };
}

const [role, port, requests, kind] = process.argv.slice(2);
if (role === "load") {
  await load(Number(port), Number(requests), kind === "distinct");
  process.exit(0);
} else if (role === "origin") {
  const server = await listen((socket) => {
    socket.on("data", () => socket.write(RESPONSE));
    socket.on("error", () => {});
    socket.on("end", () => socket.end());
  });
  process.stdout.write(String(server.port));
} else {
  console.log(`${runtimeName} ${runtimeVersion}`);
  parsing();
  const head = responseHead(200, ["Content-Type", "text/plain", "Server", "x", "Cache-Control", "no-store"]);
  await measure("answer 1 KiB, same request", (exchange) => exchange.respond(head, BODY), false);
  await measure("answer 1 KiB, new paths", (exchange) => exchange.respond(head, BODY), true);
  const origin = other("origin");
  const upstream = await origin.port;
  const transport = createHttp1Transport({
    clock: systemClock,
    connect(done) {
      const socket = tcpConnect({ port: upstream, host: "127.0.0.1", noDelay: true });
      socket.once("connect", () => done(undefined, socket as ByteStream));
      return () => socket.destroy();
    },
  });
  const forward = (exchange: Exchange): void => {
    const { head } = exchange;
    transport.dispatch(
      {
        method: head.method,
        path: head.path,
        scheme: "http",
        authority: head.authority,
        headers: head.headers,
        body: exchange.body,
        protocol: undefined,
        memo: head.memo,
      },
      {
        inform() {},
        respond: (answer, body) => exchange.respond(answer, body),
        upgraded() {},
        failed: (error) => exchange.reset(error),
      },
    );
  };
  await measure("forward 1 KiB, same request", forward, false);
  await measure("forward 1 KiB, new paths", forward, true);
  transport.destroy();
  origin.stop();
  process.exit(0);
}
