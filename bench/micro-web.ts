/**
 * What the lazy web objects cost: one request through Hono with two middlewares, from the exchange to the answer.
 * Run on each runtime: `node bench/micro-web.ts`, `bun bench/micro-web.ts`, `deno run -A bench/micro-web.ts`.
 */
import { Hono } from "hono";
import { bytesSource } from "../src/exchange/body.ts";
import type { Exchange } from "../src/exchange/exchange.ts";
import { requestHead, responseHead } from "../src/exchange/exchange.ts";
import { installWebGlobals } from "../src/exchange/web-globals.ts";
import { lazyRequest } from "../src/exchange/web-request.ts";
import { lazyResponse, sendResponse } from "../src/exchange/web-response.ts";
import { runtimeName, runtimeVersion } from "../src/runtime.ts";

const REQUESTS = 200_000;
const body = Buffer.alloc(1024, "x");
const head = requestHead({
  method: "GET",
  path: "/hello?name=a",
  authority: "app.example.com",
  scheme: "https",
  headers: ["Host", "app.example.com", "Accept", "*/*", "User-Agent", "bench", "Accept-Encoding", "gzip"],
});
const answer = responseHead(200, [
  "Content-Type",
  "text/html",
  "Content-Length",
  "1024",
  "Server",
  "x",
  "ETag",
  '"1"',
]);

function nullExchange(): Exchange {
  return {
    version: "1.1",
    head,
    body: undefined,
    connection: { id: 1, remoteAddress: "192.0.2.1", remotePort: 1, localPort: 443 },
    answered: false,
    closed: false,
    expectsContinue: false,
    bytesSent: 0,
    status: 0,
    inform() {},
    respond() {},
    accept() {
      throw new Error("not asked for");
    },
    reset() {},
    onClose() {},
  };
}

const reads = new Hono().use(async (c, next) => {
  c.req.header("user-agent");
  await next();
});

const cases: Record<string, { fetch(request: Request): Response | Promise<Response> }> = {
  "no middleware": new Hono().all("*", () => lazyResponse(answer, bytesSource(body))),
  "c.res.headers.set": new Hono()
    .route("/", reads)
    .use(async (c, next) => {
      await next();
      c.res.headers.set("x-served-by", "skerry");
    })
    .all("*", () => lazyResponse(answer, bytesSource(body))),
  "c.header": new Hono()
    .route("/", reads)
    .use(async (c, next) => {
      await next();
      c.header("x-served-by", "skerry");
    })
    .all("*", () => lazyResponse(answer, bytesSource(body))),
  "c.text": new Hono()
    .route("/", reads)
    .use(async (c, next) => {
      await next();
      c.header("x-served-by", "skerry");
    })
    .all("*", (c) => c.text("hello")),
};

async function run(
  app: { fetch(request: Request): Response | Promise<Response> },
  requests: number,
): Promise<number> {
  const started = performance.now();
  for (let i = 0; i < requests; i++) {
    const exchange = nullExchange();
    sendResponse(exchange, await app.fetch(lazyRequest(exchange)));
  }
  return ((performance.now() - started) / requests) * 1000;
}

installWebGlobals();
for (const [name, app] of Object.entries(cases)) {
  await run(app, REQUESTS / 10);
  const took = Math.min(await run(app, REQUESTS), await run(app, REQUESTS));
  console.log(`${runtimeName} ${runtimeVersion}  ${name.padEnd(20)} ${took.toFixed(2)} µs`);
}
