/** Sends one request through an app as the edge does: lazy in, lazy out, into an exchange that keeps the answer. */
import type { RequestContext } from "../../src/exchange/context.ts";
import { getHeader } from "../../src/exchange/headers.ts";
import { installWebGlobals } from "../../src/exchange/web-globals.ts";
import { lazyRequest, setRequestContext } from "../../src/exchange/web-request.ts";
import { sendResponse } from "../../src/exchange/web-response.ts";
import type { MemoryExchange, MemoryExchangeOptions } from "../exchange/memory-exchange.ts";
import { memoryExchange } from "../exchange/memory-exchange.ts";

export interface Ran {
  readonly exchange: MemoryExchange;
  readonly context: RequestContext;
  readonly status: number;
  readonly bytes: Uint8Array;
  readonly text: string;
  header(name: string): string | undefined;
}

interface App {
  fetch(request: Request): Response | Promise<Response>;
}

export interface RunOptions extends MemoryExchangeOptions {
  clientAddress?: string;
}

export async function run(app: App, options: RunOptions = {}): Promise<Ran> {
  installWebGlobals();
  const exchange = memoryExchange(options);
  const context: RequestContext = {
    exchange,
    requestId: "r1",
    host: "app.example.com",
    location: "yvr",
    clientAddress: options.clientAddress ?? "192.0.2.1",
    tlsVersion: "TLSv1.3",
    peerTrusted: false,
    startedAt: 0,
    server: undefined,
    attempts: 0,
    backend: undefined,
    upstreamMs: undefined,
    error: undefined,
  };
  const request = lazyRequest(exchange);
  setRequestContext(request, context);
  sendResponse(exchange, await app.fetch(request));
  const headers = exchange.answer?.head.headers ?? [];
  const bytes = await exchange.bytes();
  return {
    exchange,
    context,
    status: exchange.status,
    bytes,
    text: Buffer.from(bytes).toString(),
    header: (name) => getHeader(headers, name),
  };
}
