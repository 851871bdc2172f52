/** Every way that a config can name to a server, on every runtime, against node:http, node:https and node:http2. */
import { once } from "node:events";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createH2c, createSecureServer, type Http2ServerRequest } from "node:http2";
import { createServer as createHttps } from "node:https";
import type { AddressInfo, Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { testCa } from "../support/ca.ts";
import { command } from "../support/edge.ts";
import { run } from "../support/processes.ts";
import type { Reach } from "./reach-script.ts";
import { testCertificate } from "./support.ts";

const servers: Server[] = [];
const folder = mkdtempSync(join(tmpdir(), "skerry-reach-"));
const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
/** Connections to each port so far, as the server saw them. */
const connections = new Map<number, string[]>();

async function listen(server: Server, path?: string): Promise<number> {
  servers.push(server);
  server.listen(path === undefined ? { port: 0, host: "127.0.0.1" } : { path });
  await once(server, "listening");
  return path === undefined ? (server.address() as AddressInfo).port : 0;
}
async function listenSecure(server: Server): Promise<number> {
  const port = await listen(server);
  const seen: string[] = [];
  connections.set(port, seen);
  server.on("secureConnection", (socket: TLSSocket) =>
    seen.push(`${socket.servername || "-"} ${socket.alpnProtocol || "-"} ${socket.isSessionReused()}`),
  );
  return port;
}
const answer = (request: IncomingMessage | Http2ServerRequest, response: unknown): void => {
  const authority = request.headers[":authority"] ?? request.headers.host;
  const id = request.headers["x-request-id"];
  (response as ServerResponse).end(`${request.httpVersion} ${authority} ${request.url} ${id}`);
};
const ONE = "200 1.1 app.example.com /x id-1";
const TWO = "200 2.0 app.example.com /x id-1";

let ca: string;
let stranger: string;
let client: { cert: string; key: string };
let h2: number;
let h1: number;
let mutual: number;
let h2c: number;
let plain: number;
const socket = join(folder, "app.sock");

beforeAll(async () => {
  const authority = await testCa();
  ca = file("ca.pem", authority.rootPem);
  stranger = file("stranger.pem", (await testCa()).rootPem);
  const { chain: cert, key } = await authority.issueFor(["web.internal"]);
  const own = await testCertificate("edge.internal");
  client = { cert: file("client.pem", own.cert), key: file("client.key", own.key) };
  const switches = (_request: IncomingMessage, stream: Socket): void => {
    stream.on("error", () => {});
    stream.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  };
  h2 = await listenSecure(
    createSecureServer({ cert, key, allowHTTP1: true }, answer).on("upgrade", switches),
  );
  h1 = await listenSecure(createHttps({ cert, key }, answer));
  mutual = await listenSecure(
    createHttps({ cert, key, ca: own.cert, requestCert: true, rejectUnauthorized: true }, answer),
  );
  h2c = await listen(createH2c(answer));
  plain = await listen(createServer(answer));
  await listen(createServer(answer), socket);
});
afterAll(() => {
  for (const server of servers) server.close();
});

describe.each(["node", "bun", "deno"] as const)("on %s", (runtime) => {
  const reach = async (...reaches: Reach[]): Promise<string[][]> => {
    const [program, ...args] = command(runtime, "test/proxy/reach-script.ts");
    const { stdout, stderr, code } = await run(program, [...args, JSON.stringify(reaches)]);
    expect(code, stderr).toBe(0);
    return JSON.parse(stdout) as string[][];
  };
  const https = (port: number, tls: object = { ca }, host = "web.internal"): Reach => ({
    backend: { servers: [`https://${host}:${port}`], tls },
    address: "127.0.0.1",
  });
  const fresh = (port: number): string[] => connections.get(port)!.splice(0);

  test("http, h2c and unix", async () => {
    const said = await reach(
      { backend: { servers: [`http://127.0.0.1:${plain}`] }, times: 2 },
      { backend: { servers: [`h2c://127.0.0.1:${h2c}`] }, times: 2 },
      { backend: { servers: [`unix:${socket}`] }, times: 2 },
      { backend: { servers: [`http://web.internal:${plain}`] }, address: "127.0.0.1" },
    );
    expect(said).toEqual([[ONE, ONE], [TWO, TWO], [ONE, ONE], [ONE]]);
  });

  test("https: requests share one HTTP/2 connection where the server has it", async () => {
    fresh(h2);
    expect(await reach({ ...https(h2), times: 5, atOnce: true })).toEqual([Array(5).fill(TWO)]);
    expect(fresh(h2)).toEqual(["web.internal h2 false"]);
  });

  test("https: HTTP/1.1 where the server has no other, whose session is resumed", async () => {
    fresh(h1);
    const backend = { ...https(h1).backend, maxIdleConnections: 0 };
    expect(await reach({ ...https(h1), backend, times: 3 })).toEqual([[ONE, ONE, ONE]]);
    // Deno 2.9.6 offers no session of ours (runtime.ts: offersOwnSessions).
    const resumed = runtime !== "deno";
    expect(fresh(h1)).toEqual([false, resumed, resumed].map((each) => `web.internal http/1.1 ${each}`));
  });

  test("https: upgrades go by HTTP/1.1, whatever requests go by", async () => {
    fresh(h2);
    const said = await reach({ ...https(h2), upgrade: true, times: 2 });
    expect(said).toEqual([["upgraded", "upgraded"]]);
  });

  test("https: a server that cannot be verified is not spoken to", async () => {
    fresh(h1);
    const [other, address, untrusted, system] = await reach(
      https(h1, { ca }, "other.internal"),
      { backend: { servers: [`https://127.0.0.1:${h1}`], tls: { ca } } },
      https(h1, { ca: stranger }),
      https(h1, {}),
    );
    for (const [said] of [other, address, untrusted, system] as [string][])
      expect(said).toMatch(/^UPSTREAM_CONNECT any cannot connect to 127\.0\.0\.1:\d+: .+/);
  });

  test("https: another name may be asked for and verified, or nothing be", async () => {
    fresh(h1);
    const said = await reach(
      https(h1, { ca, serverName: "web.internal" }, "10-0-0-5.nodes.internal"),
      https(h1, { verify: false }, "other.internal"),
    );
    expect(said).toEqual([[ONE], [ONE]]);
    expect(fresh(h1).map((line) => line.split(" ")[0])).toEqual(["web.internal", "other.internal"]);
  });

  test("https: our own certificate is shown to a server that asks for it", async () => {
    const [without, with_] = await reach(https(mutual), https(mutual, { ca, ...client }));
    expect(with_).toEqual([ONE]);
    // In TLS 1.3 the client is done before the server has looked: what comes is a refusal or a reset.
    expect(without![0]).toMatch(/^UPSTREAM_(CONNECT|RESET) (any|idempotent) /);
  });

  test("a socket where nobody listens, and one that is not there", async () => {
    const said = await reach({ backend: { servers: [`unix:${folder}/none.sock`] } });
    expect(said[0]![0]).toMatch(/^UPSTREAM_CONNECT any cannot connect to \/.*none\.sock: /);
  });
});
