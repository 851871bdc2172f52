import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect as connectHttp2,
  createServer as createHttp2Server,
  type OutgoingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { startBackend, startProxy, stopAll, until } from "./support.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
  await stopAll();
});

async function session(port: number): Promise<ClientHttp2Session> {
  const client = connectHttp2(`http://127.0.0.1:${port}`);
  ends.push(() => client.destroy());
  await once(client, "remoteSettings");
  return client;
}
async function answerOf(stream: ClientHttp2Stream): Promise<Record<string, unknown> & { body: string }> {
  let body = "";
  let trailers = {};
  stream.on("data", (chunk) => {
    body += chunk;
  });
  stream.on("trailers", (fields) => {
    trailers = fields;
  });
  const [headers] = (await once(stream, "response")) as [OutgoingHttpHeaders];
  await once(stream, "end");
  return { status: headers[":status"], headers, body, trailers };
}

describe("an HTTP/2 client", () => {
  test("reaches an HTTP/1.1 server, which is told", async () => {
    const backend = await startBackend((request, response) => {
      let body = "";
      request.on("data", (chunk) => {
        body += chunk;
      });
      request.on("end", () =>
        response.end(JSON.stringify({ method: request.method, headers: request.headers, body })),
      );
    });
    const { port } = await startProxy([backend.port], { http2: true });
    const client = await session(port);
    const stream = client.request({ ":method": "POST", ":path": "/a", ":authority": "app.example.com" });
    stream.end("over two");
    const answer = await answerOf(stream);
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.body)).toMatchObject({
      method: "POST",
      body: "over two",
      headers: { host: "app.example.com", via: "2 skerry", "x-forwarded-host": "app.example.com" },
    });
  });

  test("opens a WebSocket to an HTTP/1.1 server by extended CONNECT", async () => {
    const backend = await startBackend((_: IncomingMessage, response: ServerResponse) => void response.end());
    const { createHash } = await import("node:crypto");
    backend.server.on("upgrade", (request: IncomingMessage, socket: Socket) => {
      const proof = createHash("sha1")
        .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
        .digest("base64");
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${proof}\r\n\r\n`,
      );
      socket.on("data", (chunk: Buffer) => socket.write(`re:${chunk}`));
      socket.on("end", () => socket.end());
    });
    const { port, pool } = await startProxy([backend.port], { http2: true });
    const client = await session(port);
    const stream = client.request({
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":scheme": "http",
      ":path": "/chat",
      ":authority": "app.example.com",
      "sec-websocket-version": "13",
    });
    const [headers] = (await once(stream, "response")) as [OutgoingHttpHeaders];
    expect(headers[":status"]).toBe(200);
    expect(headers["sec-websocket-accept"]).toBeUndefined();
    stream.write("ping");
    const [data] = (await once(stream, "data")) as [Buffer];
    expect(data.toString()).toBe("re:ping");
    expect(pool.inFlight).toBe(1);
    stream.end();
    await once(stream, "close");
    await until(() => pool.inFlight === 0);
  });

  test("gets no tunnel by CONNECT", async () => {
    const backend = await startBackend((_, response) => void response.end());
    const { port } = await startProxy([backend.port], { http2: true });
    const client = await session(port);
    const stream = client.request({ ":method": "CONNECT", ":authority": "example.com:443" });
    stream.on("error", () => {});
    const answered = once(stream, "response").catch(() => []);
    const [headers] = (await answered) as [OutgoingHttpHeaders | undefined];
    expect(headers?.[":status"] ?? 501).not.toBe(200);
    expect(backend.count).toBe(0);
  });

  test("speaks gRPC's way to an h2c server: trailers, and streams in both directions at once", async () => {
    const server = createHttp2Server();
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      stream.respond({ ":status": 200, "x-te": String(headers.te) }, { waitForTrailers: true });
      stream.on("data", (chunk: Buffer) => stream.write(`<${chunk}>`));
      stream.on("end", () => stream.end());
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    ends.push(() => server.close());
    const h2cPort = (server.address() as AddressInfo).port;
    const { port, pool } = await startProxy([], {
      http2: true,
      backend: {
        servers: [{ id: "grpc", protocol: "h2c", host: "127.0.0.1", port: h2cPort, weight: 1 }],
      },
    });
    const client = await session(port);
    const stream = client.request({ ":method": "POST", ":path": "/svc/Call", te: "trailers" });
    const [headers] = (await once(stream, "response")) as [OutgoingHttpHeaders];
    expect(headers["x-te"]).toBe("trailers");
    for (const word of ["one", "two"]) {
      stream.write(word);
      const [chunk] = (await once(stream, "data")) as [Buffer];
      expect(chunk.toString()).toBe(`<${word}>`);
    }
    const trailers = once(stream, "trailers");
    stream.end();
    stream.resume();
    expect((await trailers)[0]).toMatchObject({ "grpc-status": "0" });
    await until(() => pool.inFlight === 0);
  });

  test("that resets its stream cancels the server's work", async () => {
    let gone = false;
    const backend = await startBackend((_, response) => {
      response.on("close", () => {
        gone = true;
      });
    });
    const { port, pool } = await startProxy([backend.port], { http2: true });
    const client = await session(port);
    const stream = client.request({ ":path": "/" });
    stream.on("error", () => {});
    await until(() => backend.count === 1);
    stream.close(8);
    await until(() => gone && pool.inFlight === 0);
  });
});
