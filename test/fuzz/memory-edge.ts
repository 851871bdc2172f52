/**
 * An edge without listeners: HTTP/1.1 connections in memory in front, real servers behind. Everything between, from the
 * parser through router, middleware, proxy and pool to the upstream's socket, is what `skerry serve` runs.
 */
import { duplexPair } from "node:stream";
import { systemClock, systemRandom } from "../../src/clock.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { createHandler } from "../../src/edge/handler.ts";
import { createProxying } from "../../src/edge/proxying.ts";
import { createRouteTable } from "../../src/edge/routes.ts";
import { createTrust } from "../../src/edge/trust.ts";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";
import { installWebGlobals } from "../../src/exchange/web-globals.ts";
import { sendResponse } from "../../src/exchange/web-response.ts";
import { serveHttp1 } from "../../src/http1/server.ts";
import { silentLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { backendApp } from "../../src/middleware/host-app.ts";
import { failExchange } from "../../src/proxy/problem.ts";
import { HOSTS } from "./requests.ts";

export interface MemoryEdge {
  /** Sends the chunks and FIN on a connection of their own; gives all that came back, as latin1. */
  talk(chunks: readonly Buffer[]): Promise<string>;
  /** Answers of the server that bear another request's id. */
  readonly strays: string[];
  /** Answers by 200 that came from the server. */
  readonly answered: number;
  close(): Promise<void>;
}

/** An edge that serves every host of the generator from the one server at `url`. */
export function memoryEdge(url: string): MemoryEdge {
  installWebGlobals();
  const clock = systemClock;
  const metrics = createMetrics();
  const proxying = createProxying({ clock, random: systemRandom, log: silentLog, metrics });
  const { backends } = resolveConfig({
    acme: { directory: "https://127.0.0.1:1/dir", email: "fuzz@example.com", agreeToTerms: true },
    backends: { witness: { servers: [url], maxIdleConnections: 64 } },
    hosts: Object.fromEntries(HOSTS.map((host) => [host, { backend: "witness" }])),
  });
  proxying.backends.update(backends);
  const strays: string[] = [];
  let answered = 0;
  const routes = createRouteTable(
    HOSTS.map((host) => ({
      host,
      app: backendApp(
        async (c) => {
          const response = await proxying.forward(c.req.raw, c.get("edge") as never, "witness");
          const id = response.headers.get("x-witness");
          if (response.status === 200) answered++;
          if (id !== null && id !== c.get("edge").requestId)
            strays.push(`${id} for ${c.get("edge").requestId}`);
          return response;
        },
        [],
        { host },
      ),
    })),
  );
  const trust = createTrust([]);
  const onExchange = createHandler({
    routes: () => routes,
    trust: () => trust,
    location: "memory",
    proxying,
    accessLog: () => false,
    clock,
    log: silentLog,
    metrics,
    send: (exchange, response) => sendResponse(exchange, response),
    fail: (exchange, error, context) => failExchange(exchange, error, context),
  });
  let id = 0;
  return {
    strays,
    get answered() {
      return answered;
    },
    close: () => proxying.close(),
    talk: (chunks) =>
      new Promise((resolve) => {
        const [ours, theirs] = duplexPair({ allowHalfOpen: true });
        const got: Buffer[] = [];
        const done = (): void => {
          theirs.destroy();
          ours.destroy();
          resolve(Buffer.concat(got).toString("latin1"));
        };
        theirs.on("data", (chunk: Buffer) => got.push(chunk));
        theirs.on("end", done);
        theirs.on("error", done);
        ours.on("close", done);
        serveHttp1(ours as unknown as ByteStream, {
          connection: { id: ++id, remoteAddress: "192.0.2.1", remotePort: 4711, localPort: 443 },
          scheme: "https",
          limits: DEFAULT_LIMITS,
          clock,
          onExchange,
          onOffence() {},
          onClose() {},
        });
        for (const chunk of chunks) theirs.write(chunk);
        theirs.end();
      }),
  };
}
