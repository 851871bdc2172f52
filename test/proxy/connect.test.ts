import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { EdgeError } from "../../src/errors.ts";
import { type DialOptions, type DialTarget, dial } from "../../src/proxy/connect.ts";
import { manualClock } from "../upstream/support.ts";
import { testCertificate } from "./support.ts";

const servers: Server[] = [];
const sockets = new Set<Socket>();
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});
async function listen(server: Server): Promise<number> {
  servers.push(server);
  server.on("connection", (socket) => sockets.add(socket));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

interface Dialling {
  result: Promise<{ error: EdgeError | undefined; socket: Socket | undefined }>;
  cancel(): void;
}
function start(target: DialTarget, options: Partial<DialOptions> = {}): Dialling {
  let cancel = (): void => {};
  const result = new Promise<{ error: EdgeError | undefined; socket: Socket | undefined }>((resolve) => {
    cancel = dial(target, { clock: systemClock, timeoutMs: 5000, ...options }, (error, socket) => {
      if (socket) sockets.add(socket);
      resolve({ error, socket });
    });
  });
  return { result, cancel };
}

describe("dialling", () => {
  test("gives a connected socket without listeners of its own", async () => {
    const port = await listen(createServer());
    const { socket } = await start({ host: "127.0.0.1", port }).result;
    expect(socket!.readyState).toBe("open");
    expect(socket!.listenerCount("error")).toBe(0);
    expect(socket!.listenerCount("connect")).toBe(0);
  });

  test("a port where nothing listens may be tried elsewhere, with any method", async () => {
    const server = createServer();
    const port = await listen(server);
    server.close();
    await once(server, "close");
    const { error } = await start({ host: "127.0.0.1", port }).result;
    expect(error).toMatchObject({ code: "UPSTREAM_CONNECT", retry: "any", status: 502, source: "upstream" });
  });

  test("no handshake in time is a connect failure, by the injected clock", async () => {
    // A server that accepts and stays silent: TLS never completes.
    const server = createServer();
    const port = await listen(server);
    const clock = manualClock();
    const accepted = once(server, "connection");
    const dialling = start({ host: "127.0.0.1", port, tls: {} }, { clock, timeoutMs: 1000 });
    await accepted;
    clock.advance(1000);
    expect((await dialling.result).error).toMatchObject({
      code: "UPSTREAM_CONNECT",
      retry: "any",
      status: 504,
    });
  });

  test("a cancelled dial tells nobody and closes", async () => {
    const server = createServer();
    const port = await listen(server);
    let told = false;
    const accepted = once(server, "connection") as Promise<[Socket]>;
    const cancel = dial({ host: "127.0.0.1", port, tls: {} }, { clock: systemClock, timeoutMs: 5000 }, () => {
      told = true;
    });
    const [peer] = await accepted;
    cancel();
    cancel();
    peer.resume();
    await once(peer, "close");
    expect(told).toBe(false);
  });

  test("a TLS server is verified, and takes the name by SNI", async () => {
    const { key, cert } = await testCertificate("localhost");
    let name: string | undefined;
    const server = createTlsServer({
      key,
      cert,
      SNICallback: (servername, done) => {
        name = servername;
        done(null);
      },
    });
    const port = await listen(server);
    const trusting = await start({ host: "localhost", port, tls: { ca: cert } }).result;
    expect(trusting.error).toBeUndefined();
    expect(name).toBe("localhost");
    const wary = await start({ host: "localhost", port, tls: {} }).result;
    expect(wary.error).toMatchObject({ code: "UPSTREAM_CONNECT", retry: "any" });
  });
});
