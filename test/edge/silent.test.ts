/** Connections that never begin to speak TLS, on each runtime: counted per client, and forgotten when they end. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { visit, visitPlain } from "../runtime/client.ts";
import { type Origin, startOrigin } from "../runtime/origin.ts";
import { type OwnCertificate, ownCertificate } from "../runtime/own-certificate.ts";
import { configFile, type EdgeProcess, type Runtime, startEdge } from "../support/edge.ts";
import { eventually } from "../support/processes.ts";
import { clientHello, inRecords } from "../support/raw-hello.ts";

const HOST = "a.example.test";
const MOST = 5;
let origin: Origin;
let own: OwnCertificate;

beforeAll(async () => {
  origin = await startOrigin("origin");
  own = await ownCertificate([HOST]);
});
afterAll(() => origin?.close());

async function silent(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

const edgeWith = (runtime: Runtime, limits: Record<string, number>): Promise<EdgeProcess> =>
  startEdge(
    runtime,
    configFile({
      listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
      storage: "file:./certs",
      limits,
      backends: { web: { servers: [origin.url] } },
      hosts: { [HOST]: { backend: "web", tls: own.tls } },
    }),
  );

describe.each<Runtime>(["node", "bun", "deno"])("%s", (runtime) => {
  test("a client has no more connections waiting before TLS than it may have open", async () => {
    const edge = await edgeWith(runtime, { maxConnectionsPerClient: MOST });
    const { port } = edge.https;
    const ask = (): Promise<number> => visit({ port, host: HOST }).then(({ status }) => status);
    expect(await ask()).toBe(200);
    const waiting: Socket[] = [];
    for (let i = 0; i < MOST; i++) waiting.push(await silent(port));
    const beyond = await silent(port);
    beyond.resume();
    await once(beyond, "close");
    const metrics = await visitPlain({ port: edge.admin.port, host: "localhost", path: "/metrics" });
    expect(metrics.body).toMatch(/^skerry_limits_exceeded_total\{[^}]*connections_per_client[^}]*\} 1$/m);
    for (const socket of waiting) socket.destroy();
    await eventually("they are forgotten", () =>
      ask().then(
        (status) => status === 200,
        () => false,
      ),
    );
    // Not one of them is still counted: as many fit again.
    for (let i = 0; i < MOST - 1; i++) waiting.push(await silent(port));
    expect(await ask()).toBe(200);
    for (const socket of waiting) socket.destroy();
    await edge.stop();
  }, 60_000);

  test("a client that falls silent in the middle of its handshake is let go when its time is over", async () => {
    const edge = await edgeWith(runtime, { headTimeoutMs: 1000 });
    // A whole hello, and no word after the server's.
    const socket = await silent(edge.https.port);
    const began = performance.now();
    socket.resume();
    socket.write(inRecords(clientHello(Buffer.from(HOST))));
    await once(socket, "close");
    expect(performance.now() - began).toBeGreaterThan(500);
    expect(await visit({ port: edge.https.port, host: HOST })).toMatchObject({ status: 200 });
    await edge.stop();
  }, 30_000);
});
