import "reflect-metadata";
import { once } from "node:events";
import {
  type Agent,
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestListener,
  type RequestOptions,
  type Server,
} from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import * as x509 from "@peculiar/x509";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { BackendConfig } from "../../src/config/config.ts";
import type { EdgeError } from "../../src/errors.ts";
import type { RequestContext } from "../../src/exchange/context.ts";
import type { Exchange } from "../../src/exchange/exchange.ts";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import { lazyRequest } from "../../src/exchange/web-request.ts";
import { sendResponse } from "../../src/exchange/web-response.ts";
import { serveHttp1 } from "../../src/http1/server.ts";
import type { Http1Transport } from "../../src/http1/transport.ts";
import { serveHttp2 } from "../../src/http2/server.ts";
import { createMetrics } from "../../src/metrics.ts";
import { createForwarder } from "../../src/proxy/forward.ts";
import { failExchange } from "../../src/proxy/problem.ts";
import { splice } from "../../src/proxy/splice.ts";
import { transportFor } from "../../src/proxy/transport.ts";
import { createPool, DEFAULT_BALANCING, type Pool } from "../../src/upstream/pool.ts";
import { DEFAULT_RETRY } from "../../src/upstream/retry.ts";
import { seeded } from "../upstream/support.ts";

/** A self-signed certificate for one name. */
export async function testCertificate(name: string): Promise<{ key: string; cert: string }> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const cert = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: "01",
    name: `CN=${name}`,
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.SubjectAlternativeNameExtension([{ type: "dns", value: name }]),
      new x509.BasicConstraintsExtension(true),
    ],
  });
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { key: x509.PemConverter.encode(pkcs8, "PRIVATE KEY"), cert: cert.toString("pem") };
}

export interface Backend {
  readonly port: number;
  readonly server: Server;
  /** Requests so far. */
  count: number;
  /** Closes listener and connections at once, as a killed process does. */
  kill(): Promise<void>;
}

const backends: Backend[] = [];
const proxies: { close(): void }[] = [];

/** A real node:http server on the loopback. */
export async function startBackend(handler: RequestListener, port = 0): Promise<Backend> {
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    backend.count++;
    handler(request, response);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const backend: Backend = {
    port: (server.address() as AddressInfo).port,
    server,
    count: 0,
    async kill() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.resetAndDestroy();
      await closed;
    },
  };
  backends.push(backend);
  return backend;
}

/** A port where nothing listens. */
export async function deadPort(): Promise<number> {
  const backend = await startBackend(() => {});
  await backend.kill();
  return backend.port;
}

export interface ProxyOptions {
  readonly backend?: Partial<BackendConfig>;
  readonly trusted?: boolean;
  readonly clock?: Clock;
  /** Clients speak HTTP/2 (with prior knowledge) instead of HTTP/1.1. */
  readonly http2?: boolean;
  /** What middleware would do: gets `forward` and may do something else. */
  readonly app?: (request: Request, next: () => Promise<Response>) => Promise<Response>;
}

export interface TestProxy {
  readonly port: number;
  readonly url: string;
  readonly pool: Pool;
  readonly contexts: RequestContext[];
}

/** The whole data plane of one backend: our HTTP/1.1 server, `forward`, a pool, our HTTP/1.1 client. */
export async function startProxy(ports: readonly number[], options: ProxyOptions = {}): Promise<TestProxy> {
  const clock = options.clock ?? systemClock;
  const config: BackendConfig = {
    name: "web",
    servers: ports.map((port) => ({
      id: `http://127.0.0.1:${port}`,
      protocol: "http",
      host: "127.0.0.1",
      port,
      weight: 1,
    })),
    health: undefined,
    tls: undefined,
    connectTimeoutMs: 1000,
    bodyTimeoutMs: 0,
    totalTimeoutMs: 0,
    responseTimeoutMs: 30_000,
    maxIdleConnections: 64,
    idleTimeoutMs: 4000,
    maxConnections: 1024,
    balancing: DEFAULT_BALANCING,
    retry: DEFAULT_RETRY,
    hedge: undefined,
    ...options.backend,
  };
  const pool = createPool("web", { clock, random: seeded(1), balancing: config.balancing });
  pool.update(
    config.servers.map((server) => ({
      id: server.id,
      transport: () => transportFor(server, config, { clock }),
    })),
  );
  const forward = createForwarder({ clock, metrics: createMetrics() });
  const contexts: RequestContext[] = [];
  const handle = async (exchange: Exchange): Promise<void> => {
    const context: RequestContext = {
      requestId: `id-${contexts.length + 1}`,
      host: exchange.head.authority,
      location: "test",
      clientAddress: exchange.connection.remoteAddress,
      tlsVersion: undefined,
      server: undefined,
      attempts: 0,
      exchange,
      peerTrusted: options.trusted ?? false,
      startedAt: clock.now(),
      backend: undefined,
      upstreamMs: undefined,
      error: undefined,
    };
    contexts.push(context);
    try {
      const request = lazyRequest(exchange);
      const next = (): Promise<Response> => forward(request, context, pool, config);
      const response = await (options.app ? options.app(request, next) : next());
      sendResponse(exchange, response, (client, upgrade) => splice(client, upgrade.stream, clock));
    } catch (thrown) {
      failExchange(exchange, thrown as EdgeError, context);
    }
  };
  const server = createTcpServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on("error", () => {});
    const serve = options.http2 ? serveHttp2 : serveHttp1;
    serve(socket, {
      connection: {
        id: 1,
        remoteAddress: socket.remoteAddress ?? "",
        remotePort: socket.remotePort ?? 0,
        localPort: socket.localPort ?? 0,
      },
      scheme: "http",
      limits: DEFAULT_LIMITS,
      clock,
      onExchange: handle,
      onOffence() {},
      onClose() {},
    });
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  proxies.push({
    close() {
      server.close();
      for (const socket of sockets) socket.destroy();
      for (const { transport } of pool.members()) {
        transport.close();
        (transport as Partial<Http1Transport>).destroy?.();
      }
    },
  });
  const { port } = server.address() as AddressInfo;
  return { port, url: `http://127.0.0.1:${port}`, pool, contexts };
}

/** Ends everything that the tests of a file started. */
export async function stopAll(): Promise<void> {
  for (const proxy of proxies.splice(0)) proxy.close();
  await Promise.all(
    backends.splice(0).map((backend) => (backend.server.listening ? backend.kill() : undefined)),
  );
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly rawHeaders: string[];
  readonly trailers: IncomingMessage["trailers"];
  readonly body: string;
}

/** One request by node:http, to its end; rejects where the connection breaks. */
export function ask(
  url: string,
  options: RequestOptions & { body?: string | Buffer; agent?: Agent } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { body, ...rest } = options;
    const outgoing = httpRequest(url, { agent: false, ...rest }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("error", reject);
      incoming.on("end", () =>
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers,
          rawHeaders: incoming.rawHeaders,
          trailers: incoming.trailers,
          body: Buffer.concat(chunks).toString(),
        }),
      );
    });
    outgoing.on("error", reject);
    // Node frames no body of a GET or DELETE by itself.
    if (body !== undefined) outgoing.setHeader("content-length", Buffer.byteLength(body));
    outgoing.end(body);
  });
}

/** Waits, a turn of the event loop at a time, until something is so; the test's own time limit is the bound. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
