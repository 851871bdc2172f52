import { once } from "node:events";
import { createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { BackendConfig, ServerConfig } from "../../src/config/config.ts";
import { collect } from "../../src/exchange/body.ts";
import type { Transport } from "../../src/exchange/dispatch.ts";
import { transportFor } from "../../src/proxy/transport.ts";
import { DEFAULT_BALANCING } from "../../src/upstream/pool.ts";
import { DEFAULT_RETRY } from "../../src/upstream/retry.ts";
import { testCertificate } from "./support.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

const backend: BackendConfig = {
  name: "web",
  servers: [],
  health: undefined,
  tls: undefined,
  connectTimeoutMs: 1000,
  bodyTimeoutMs: 0,
  totalTimeoutMs: 0,
  responseTimeoutMs: 5000,
  maxIdleConnections: 4,
  idleTimeoutMs: 4000,
  maxConnections: 1024,
  balancing: DEFAULT_BALANCING,
  retry: DEFAULT_RETRY,
  hedge: undefined,
};
const serverConfig = (protocol: ServerConfig["protocol"], host: string, port: number): ServerConfig => ({
  id: `${protocol}://${host}:${port}`,
  protocol,
  host,
  port,
  weight: 1,
});
async function listen(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => server.close());
  return (server.address() as AddressInfo).port;
}
function get(transport: Transport): Promise<{ status: number; body: string }> {
  ends.unshift(() => transport.close());
  return new Promise((resolve, reject) => {
    transport.dispatch(
      {
        method: "GET",
        path: "/x",
        scheme: "https",
        authority: "app.example.com",
        headers: ["Accept", "*/*"],
        body: undefined,
        protocol: undefined,
      },
      {
        inform() {},
        respond(head, body) {
          const read = body ? collect(body) : Promise.resolve(Buffer.alloc(0));
          read.then((bytes) => resolve({ status: head.status, body: Buffer.from(bytes).toString() }), reject);
        },
        upgraded() {},
        failed: reject,
      },
    );
  });
}

describe("transportFor", () => {
  test("https: speaks HTTP/1.1 over verified TLS to a server that has nothing else", async () => {
    const { key, cert } = await testCertificate("localhost");
    const server = createHttpsServer({ key, cert }, (request, response) =>
      response.end(`${request.httpVersion} ${request.headers.host}`),
    );
    const port = await listen(server);
    ends.unshift(() => server.closeAllConnections());
    const config = serverConfig("https", "localhost", port);
    expect(await get(transportFor(config, backend, { clock: systemClock, ca: cert }))).toEqual({
      status: 200,
      body: "1.1 app.example.com",
    });
    await expect(get(transportFor(config, backend, { clock: systemClock }))).rejects.toMatchObject({
      code: "UPSTREAM_CONNECT",
      retry: "any",
    });
  });

  test("h2c: speaks HTTP/2 at once", async () => {
    const server = createHttp2Server();
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      stream.respond({ ":status": 200 });
      stream.end(`${headers[":path"]} ${headers[":authority"]}`);
    });
    const port = await listen(server);
    const transport = transportFor(serverConfig("h2c", "127.0.0.1", port), backend, { clock: systemClock });
    expect(await get(transport)).toEqual({ status: 200, body: "/x app.example.com" });
  });
});
