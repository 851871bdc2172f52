import { once } from "node:events";
import { mkdtempSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createHttp2Server, createSecureServer } from "node:http2";
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { HealthConfig, ServerConfig } from "../../src/config/config.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { createCheck, type FixedServer } from "../../src/proxy/probe.ts";
import { good } from "../config/malformed.ts";
import { manualClock } from "../upstream/support.ts";
import { deadPort, startBackend, startProxy, stopAll, testCertificate, until } from "./support.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
  await stopAll();
});

/** A server of a config, with everything that is filled in. */
function fixed(url: string, health: object = {}): FixedServer & { health: HealthConfig } {
  const tls = url.startsWith("https") ? { verify: false } : undefined;
  const input = {
    ...good,
    backends: { web: { servers: [url], health: { timeoutMs: 5000, ...health }, tls } },
  };
  const backend = resolveConfig(input).backends.get("web")!;
  return { server: backend.servers[0]!, backend, health: backend.health! };
}

async function check(url: string, health: object = {}, clock: Clock = systemClock): Promise<boolean> {
  const of = fixed(url, health);
  return createCheck({ clock })(undefined as never, of.health, of);
}

async function listen(server: Server, where: number | string = 0): Promise<string> {
  server.listen(typeof where === "string" ? { path: where } : { port: where, host: "127.0.0.1" });
  await once(server, "listening");
  ends.push(() => server.close());
  return typeof where === "string" ? `unix:${where}` : `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test.each([
  [200, true],
  [204, true],
  [302, true],
  [404, false],
  [500, false],
])("a server that answers %i is well: %s", async (status, well) => {
  const seen: string[] = [];
  const backend = await startBackend((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.host} ${request.headers["user-agent"]}`);
    response.writeHead(status).end();
  });
  expect(await check(`http://127.0.0.1:${backend.port}`, { path: "/healthz" })).toBe(well);
  expect(seen).toEqual([`GET /healthz 127.0.0.1:${backend.port} skerry-health`]);
});

test.each([
  ["200-299,401", 401, true],
  ["200-299,401", 302, false],
  ["500-599", 503, true],
])("with status %s, an answer of %i is good: %s", async (status, answered, well) => {
  const backend = await startBackend((_, response) => void response.writeHead(answered).end());
  expect(await check(`http://127.0.0.1:${backend.port}`, { status })).toBe(well);
});

test("a body is looked into, in its first 64 KiB, across chunks", async () => {
  const backend = await startBackend((request, response) => {
    if (request.url === "/late") response.write(Buffer.alloc(100_000));
    response.write("status: o");
    setImmediate(() => response.end("k"));
  });
  const url = `http://127.0.0.1:${backend.port}`;
  expect(await check(url, { body: "status: ok" })).toBe(true);
  expect(await check(url, { body: "status: up" })).toBe(false);
  expect(await check(url, { body: "status: ok", path: "/late" })).toBe(false);
});

test("an answer without a body contains nothing", async () => {
  const backend = await startBackend((_, response) => void response.writeHead(204).end());
  expect(await check(`http://127.0.0.1:${backend.port}`, { body: "ok" })).toBe(false);
});

test("a server that is not there is not well", async () => {
  const port = await deadPort();
  expect(await check(`http://127.0.0.1:${port}`)).toBe(false);
  expect(await check(`http://127.0.0.1:${port}`, { tcp: true })).toBe(false);
});

test("a TCP check connects, says nothing and leaves", async () => {
  const heard: unknown[] = [];
  let gone = 0;
  const address = await listen(
    createTcpServer((socket) => {
      socket.on("data", (chunk) => heard.push(chunk));
      socket.on("error", () => {});
      socket.on("close", () => gone++);
    }),
  );
  for (const protocol of ["http", "https", "h2c"])
    expect(await check(`${protocol}://${address}`, { tcp: true })).toBe(true);
  await until(() => gone === 3);
  expect(heard).toEqual([]);
});

describe("a check goes by a connection of its own", () => {
  test("which is closed after it", async () => {
    let connections = 0;
    let gone = 0;
    const backend = await startBackend((_, response) => void response.end("ok"));
    backend.server.on("connection", (socket) => {
      connections++;
      socket.on("close", () => gone++);
    });
    for (let i = 0; i < 3; i++) expect(await check(`http://127.0.0.1:${backend.port}`)).toBe(true);
    expect(connections).toBe(3);
    await until(() => gone === 3);
  });

  test("over a Unix socket", async () => {
    const path = join(mkdtempSync(join(tmpdir(), "skerry-probe-")), "app.sock");
    const hosts: unknown[] = [];
    const url = await listen(
      createServer((request, response) => {
        hosts.push(request.headers.host);
        response.end("ok");
      }),
      path,
    );
    expect(await check(url)).toBe(true);
    expect(await check(url, { tcp: true })).toBe(true);
    expect(hosts).toEqual(["localhost"]);
  });

  test("by HTTP/2 without TLS", async () => {
    const server = createHttp2Server((request, response) =>
      response.writeHead(request.url === "/up" ? 200 : 500).end("ok"),
    );
    const url = `h2c://${await listen(server)}`;
    expect(await check(url, { path: "/up", body: "ok" })).toBe(true);
    expect(await check(url, { path: "/down" })).toBe(false);
  });

  test("by TLS, in what the server chooses", async () => {
    const versions: string[] = [];
    const server = createSecureServer(await testCertificate("web.test"), (request, response) => {
      versions.push(`${request.httpVersion} ${request.headers[":scheme"]}`);
      response.end("ok");
    });
    expect(await check(`https://${await listen(server)}`)).toBe(true);
    expect(versions).toEqual(["2.0 https"]);
  });
});

test("a server that does not answer in time is not well, and its work is cancelled", async () => {
  let gone = false;
  const backend = await startBackend((_, response) => {
    response.on("close", () => {
      gone = true;
    });
  });
  const clock = manualClock();
  const answer = check(`http://127.0.0.1:${backend.port}`, { timeoutMs: 200 }, clock);
  await until(() => backend.count === 1);
  clock.advance(200);
  expect(await answer).toBe(false);
  await until(() => gone);
});

test("an endless answer is judged by its head and not read on", async () => {
  let gone = false;
  const backend = await startBackend((_, response) => {
    response.on("close", () => {
      gone = true;
    });
    const pump = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(16_384)));
    };
    response.on("drain", pump);
    pump();
  });
  expect(await check(`http://127.0.0.1:${backend.port}`)).toBe(true);
  await until(() => gone);
});

test("a server that joined by itself is asked over the way it came by", async () => {
  const backend = await startBackend((_, response) => void response.end("ok"));
  const { pool } = await startProxy([backend.port]);
  const { health } = fixed("http://127.0.0.1:1");
  const ask = createCheck({ clock: systemClock });
  expect(await ask(pool.members()[0]!, health, undefined)).toBe(true);
  expect(await ask(pool.members()[0]!, { ...health, tcp: true }, undefined)).toBe(true);
  expect(backend.count).toBe(1);
});

test("a resolved member is asked by its name at its address", async () => {
  const hosts: unknown[] = [];
  const backend = await startBackend((request, response) => {
    hosts.push(request.headers.host);
    response.end("ok");
  });
  const of = fixed(`http://web.internal:${backend.port}`);
  const server: ServerConfig = { ...of.server, address: "127.0.0.1" };
  expect(await createCheck({ clock: systemClock })(undefined as never, of.health, { ...of, server })).toBe(
    true,
  );
  expect(hosts).toEqual([`web.internal:${backend.port}`]);
});
