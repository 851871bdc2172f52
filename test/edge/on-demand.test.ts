/** Customers' names from the first visitor to the next start, with a real CA and a service that is asked. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { visit, visitPlain } from "../runtime/client.ts";
import { configFile, startEdge } from "../support/edge.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePort } from "../support/ports.ts";
import { clientHello, firstAnswer, inRecords } from "../support/raw-hello.ts";

const asked: string[] = [];
/** Says yes to customers of ours alone. */
const service = createServer((request, response) => {
  const name = new URL(request.url ?? "", "http://a").searchParams.get("domain") ?? "";
  asked.push(name);
  response.writeHead(name.startsWith("shop") ? 200 : 404).end();
});
const origin = createServer((request, response) => response.end(`hello ${request.headers.host}\n`));
const portOf = (server: typeof origin): number => (server.address() as AddressInfo).port;

let pebble: Pebble;
let httpPort: number;

beforeAll(async () => {
  for (const server of [service, origin]) await new Promise<void>((go) => server.listen(0, "127.0.0.1", go));
  httpPort = await freePort();
  pebble = await startPebble({ httpPort });
});
afterAll(async () => {
  for (const server of [service, origin]) server.close().closeAllConnections();
  await pebble?.close();
});

describe.each(["node", "bun", "deno"] as const)("on %s", (runtime) => {
  test("an allowed name is ordered in its first handshake, served, kept, and others cost nothing", async () => {
    const path = configFile({
      listen: { http: `127.0.0.1:${httpPort}`, https: "127.0.0.1:0", admin: "127.0.0.1:0" },
      storage: "file:./certs",
      acme: { directory: pebble.directory, trustedCa: pebble.caPath, agreeToTerms: true },
      backends: { web: { servers: [`http://127.0.0.1:${portOf(origin)}`] } },
      hosts: {},
      onDemand: { ask: `http://127.0.0.1:${portOf(service)}/check`, backend: "web", hsts: true },
    });
    const shop = `shop-${runtime}.example.test`;
    let edge = await startEdge(runtime, path);
    const issued = pebble.issued();
    const ca = await pebble.root();
    asked.length = 0;

    // A browser comes by http:// first; it is not asked for yet.
    const plain = await visitPlain({ port: edge.http.port, host: shop });
    expect(plain).toMatchObject({ status: 308, headers: { location: `https://${shop}/` } });
    expect(asked).toEqual([]);

    const visits = await Promise.all(
      Array.from({ length: 5 }, () => visit({ port: edge.https.port, host: shop, ca, boundMs: 25_000 })),
    );
    for (const answer of visits) expect(answer).toMatchObject({ status: 200, body: `hello ${shop}\n` });
    expect(visits[0]?.headers["strict-transport-security"]).toBe("max-age=63072000");
    expect(asked).toEqual([shop]);
    expect(pebble.issued() - issued).toBe(1);

    for (let i = 0; i < 200; i++)
      expect(
        await firstAnswer(edge.https.port, inRecords(clientHello(Buffer.from(`n${i}.example.test`)))),
      ).toMatch(/^(alert \d+|closed)$/);
    await expect(visit({ port: edge.https.port, host: "n1.example.test", ca })).rejects.toThrow();
    expect(await visitPlain({ port: edge.http.port, host: "n1.example.test" })).toMatchObject({
      status: 421,
    });
    expect(asked).toHaveLength(201);
    expect(pebble.issued() - issued).toBe(1);
    expect(await visit({ port: edge.https.port, host: shop, ca })).toMatchObject({ status: 200 });

    await edge.stop();
    edge = await startEdge(runtime, path);
    expect(await visit({ port: edge.https.port, host: shop, ca })).toMatchObject({ status: 200 });
    expect(asked).toHaveLength(202);
    expect(pebble.issued() - issued).toBe(1);
    await edge.stop();
  });
});
