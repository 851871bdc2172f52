import { once } from "node:events";
import { Agent, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { ask, deadPort, startBackend, startProxy, stopAll, until } from "./support.ts";

afterEach(stopAll);

const hello = (_: IncomingMessage, response: ServerResponse): void => void response.end("hello");
const echo = (request: IncomingMessage, response: ServerResponse): void => {
  response.setHeader("content-type", "application/json");
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () =>
    response.end(
      JSON.stringify({
        method: request.method,
        url: request.url,
        headers: request.headers,
        body: Buffer.concat(chunks).toString(),
      }),
    ),
  );
};

describe("a forwarded request", () => {
  test("arrives with method, path, host and body, and its answer comes back", async () => {
    const { url, contexts } = await startProxy([(await startBackend(echo)).port]);
    const answer = await ask(`${url}/a/b?c=%20d`, {
      method: "POST",
      body: "the body",
      headers: { host: "app.example.com", "x-mine": "1", "x-forwarded-for": "10.1.1.1" },
    });
    expect(answer.status).toBe(200);
    const seen = JSON.parse(answer.body);
    expect(seen).toMatchObject({ method: "POST", url: "/a/b?c=%20d", body: "the body" });
    expect(seen.headers).toMatchObject({
      host: "app.example.com",
      "x-mine": "1",
      "content-length": "8",
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-proto": "http",
      "x-forwarded-host": "app.example.com",
      "x-request-id": "id-1",
      via: "1.1 skerry",
    });
    expect(contexts[0]).toMatchObject({ backend: "web", attempts: 1, error: undefined });
    expect(contexts[0]!.server).toMatch(/^http:\/\/127\.0\.0\.1:/);
    expect(contexts[0]!.upstreamMs).toBeGreaterThan(0);
  });

  test("keeps repeated fields, encodings and trailers of the answer", async () => {
    const backend = await startBackend((_, response) => {
      response.writeHead(200, [
        ["Set-Cookie", "a=1"],
        ["Set-Cookie", "b=2"],
        ["Content-Encoding", "gzip"],
        ["Connection", "X-Hop"],
        ["X-Hop", "1"],
        ["Trailer", "X-Sum"],
      ]);
      response.write("not really gzip");
      response.addTrailers({ "X-Sum": "42" });
      response.end();
    });
    const { url } = await startProxy([backend.port]);
    const answer = await ask(url);
    expect(answer.headers["set-cookie"]).toEqual(["a=1", "b=2"]);
    expect(answer.headers["content-encoding"]).toBe("gzip");
    expect(answer.headers["x-hop"]).toBeUndefined();
    expect(answer.body).toBe("not really gzip");
    expect(answer.trailers).toEqual({ "x-sum": "42" });
  });

  test.each([204, 304])("a %i has no body", async (status) => {
    const backend = await startBackend(
      (_, response) => void response.writeHead(status, { etag: '"x"' }).end(),
    );
    const { url, pool } = await startProxy([backend.port]);
    expect(await ask(url)).toMatchObject({ status, body: "" });
    expect(pool.inFlight).toBe(0);
  });

  test("a HEAD keeps the length and has no body", async () => {
    const backend = await startBackend(
      (_, response) => void response.writeHead(200, { "content-length": 5 }).end(),
    );
    const { url, pool } = await startProxy([backend.port]);
    const answer = await ask(url, { method: "HEAD" });
    expect(answer.headers["content-length"]).toBe("5");
    expect(pool.inFlight).toBe(0);
  });

  test("early hints pass on before the answer", async () => {
    const backend = await startBackend((_, response) => {
      response.writeEarlyHints({ link: "</style.css>; rel=preload" });
      response.end("page");
    });
    const { port } = await startProxy([backend.port]);
    const outgoing = httpRequest({ port, host: "127.0.0.1", agent: false });
    const hints: Record<string, unknown>[] = [];
    outgoing.on("information", (info) => hints.push({ status: info.statusCode, link: info.headers.link }));
    outgoing.end();
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
    incoming.resume();
    await once(incoming, "end");
    expect(hints).toEqual([{ status: 103, link: "</style.css>; rel=preload" }]);
  });

  test("100-continue comes from the server that will have the body", async () => {
    const backend = await startBackend(echo);
    let asked = 0;
    backend.server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
      asked++;
      response.writeContinue();
      echo(request, response);
    });
    const { port } = await startProxy([backend.port]);
    const outgoing = httpRequest({
      port,
      host: "127.0.0.1",
      method: "POST",
      agent: false,
      headers: { expect: "100-continue", "content-length": 4 },
    });
    outgoing.flushHeaders();
    await once(outgoing, "continue");
    expect(asked).toBe(1);
    outgoing.end("data");
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    expect(JSON.parse(Buffer.concat(chunks).toString()).body).toBe("data");
  });

  test("bodies stream both ways, chunk by chunk", async () => {
    const backend = await startBackend((request, response) => {
      response.flushHeaders();
      request.on("data", (chunk: Buffer) => response.write(`<${chunk}>`));
      request.on("end", () => response.end());
    });
    const { port, pool } = await startProxy([backend.port]);
    const outgoing = httpRequest({ port, host: "127.0.0.1", method: "POST", agent: false });
    outgoing.flushHeaders();
    const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
    for (const word of ["one", "two", "three"]) {
      outgoing.write(word);
      const [chunk] = (await once(incoming, "data")) as [Buffer];
      expect(chunk.toString()).toBe(`<${word}>`);
    }
    expect(pool.inFlight).toBe(1);
    outgoing.end();
    await once(incoming, "end");
    await until(() => pool.inFlight === 0);
  });

  test("a reader that stops holds the server back, in bounded memory", async () => {
    let written = 0;
    let stalled = false;
    const block = Buffer.alloc(65_536);
    const backend = await startBackend((_, response) => {
      const pump = (): void => {
        while (written < 256 * 1024 * 1024) {
          written += block.length;
          if (!response.write(block)) {
            stalled = true;
            response.once("drain", () => {
              stalled = false;
              pump();
            });
            return;
          }
        }
        response.end();
      };
      pump();
    });
    const { port } = await startProxy([backend.port]);
    const client = connect(port, "127.0.0.1");
    client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(client, "readable");
    // Nobody reads on: all buffers between fill, and the server stops.
    let before = -1;
    while (!stalled || before !== written) {
      before = written;
      for (let turn = 0; turn < 200; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(written).toBeLessThan(32 * 1024 * 1024);
    client.destroy();
  });

  test("a large upload to a server that is not there is refused, not hung", async () => {
    const { url } = await startProxy([await deadPort()]);
    const answer = await ask(url, { method: "POST", body: Buffer.alloc(200_000) });
    expect(answer.status).toBe(502);
  });

  test("a loop through the edge ends with 508", async () => {
    const { url } = await startProxy([(await startBackend(hello)).port]);
    const answer = await ask(url, { headers: { via: Array(5).fill("1.1 skerry").join(", ") } });
    expect(answer.status).toBe(508);
    expect(JSON.parse(answer.body)).toMatchObject({ title: "Loop detected" });
  });

  test("an OPTIONS whose Max-Forwards ran out is answered here, one with more goes on with one less", async () => {
    const backend = await startBackend(echo);
    const { url } = await startProxy([backend.port]);
    expect((await ask(url, { method: "OPTIONS", headers: { "max-forwards": "0" } })).status).toBe(204);
    expect(backend.count).toBe(0);
    const answer = await ask(url, { method: "OPTIONS", headers: { "max-forwards": "3" } });
    expect(JSON.parse(answer.body).headers["max-forwards"]).toBe("2");
  });
});

describe("a server that is not there", () => {
  test("costs no client a request, whatever the method", async () => {
    const good = await startBackend(echo);
    const { url, contexts, pool } = await startProxy([await deadPort(), good.port]);
    for (const method of ["GET", "POST", "PATCH", "DELETE"])
      for (let i = 0; i < 5; i++) {
        const answer = await ask(url, { method, body: "replayed body" });
        expect(answer.status).toBe(200);
        expect(JSON.parse(answer.body).body).toBe("replayed body");
      }
    expect(contexts.some((context) => context.attempts === 2)).toBe(true);
    await until(() => pool.inFlight === 0);
  });

  test("costs no large upload either, as none of it was read", async () => {
    const good = await startBackend((request, response) => {
      let size = 0;
      request.on("data", (chunk: Buffer) => {
        size += chunk.length;
      });
      request.on("end", () => response.end(String(size)));
    });
    const { url } = await startProxy([await deadPort(), good.port]);
    for (let i = 0; i < 6; i++)
      expect(await ask(url, { method: "POST", body: Buffer.alloc(300_000, "x") })).toMatchObject({
        status: 200,
        body: "300000",
      });
  });

  test("is a 502 when it is alone, and a 503 when there is none", async () => {
    const { url, pool } = await startProxy([await deadPort()]);
    const answer = await ask(url);
    expect(answer.status).toBe(502);
    expect(answer.headers["content-type"]).toBe("application/problem+json");
    expect(JSON.parse(answer.body)).toMatchObject({ code: "UPSTREAM_CONNECT", requestId: "id-1" });
    pool.update([]);
    const empty = await ask(url, { headers: { accept: "text/html" } });
    expect(empty.status).toBe(503);
    expect(empty.headers["retry-after"]).toBe("5");
    expect(empty.body).toContain("<!doctype html>");
  });

  test("is used again at once when it is back and the others are gone", async () => {
    const a = await startBackend(hello);
    const b = await startBackend(hello);
    const { url } = await startProxy([a.port, b.port]);
    for (let i = 0; i < 4; i++) expect((await ask(url)).status).toBe(200);
    await a.kill();
    for (let i = 0; i < 12; i++) expect((await ask(url)).status).toBe(200);
    await b.kill();
    expect((await ask(url)).status).toBe(502);
    await startBackend(hello, a.port);
    expect((await ask(url)).status).toBe(200);
  });
});

describe("a server that breaks", () => {
  test("before it answered is replaced for what may be repeated, and only for that", async () => {
    const bad = await startBackend((request) => request.socket.resetAndDestroy());
    const good = await startBackend(hello);
    const { url, pool } = await startProxy([bad.port, good.port]);
    for (let i = 0; i < 4; i++) expect((await ask(url)).status).toBe(200);
    pool.remove(`http://127.0.0.1:${good.port}`);
    const answer = await ask(url, { method: "POST", body: "x" });
    expect(answer.status).toBe(502);
    expect(JSON.parse(answer.body)).toMatchObject({ code: "UPSTREAM_RESET" });
  });

  test("a stale kept-alive connection to the only server is tried again on a fresh one", async () => {
    let sockets = 0;
    const backend = await startBackend((request, response) => {
      // The second request on a connection finds it closed, as a race with the server's idle timeout would.
      const socket = request.socket as Socket & { used?: boolean };
      if (socket.used) {
        socket.destroy();
        return;
      }
      socket.used = true;
      response.end("hello");
    });
    backend.server.on("connection", () => sockets++);
    const { url, contexts } = await startProxy([backend.port]);
    expect((await ask(url)).status).toBe(200);
    expect((await ask(url)).status).toBe(200);
    expect(contexts[1]!.attempts).toBe(2);
    expect(sockets).toBe(2);
  });

  test("in the middle of its answer cuts the client off, never ends cleanly", async () => {
    const backend = await startBackend((request, response) => {
      response.write("half");
      setImmediate(() => request.socket.destroy());
    });
    const { url, pool } = await startProxy([backend.port]);
    await expect(ask(url)).rejects.toThrow(/aborted|hang up|ECONNRESET/);
    await until(() => pool.inFlight === 0);
  });

  test("killed under load, one of two costs no repeatable request", async () => {
    const handler = (request: IncomingMessage, response: ServerResponse): void => {
      request.resume();
      setImmediate(() => response.end("ok"));
    };
    const a = await startBackend(handler);
    const b = await startBackend(handler);
    const { url, pool } = await startProxy([a.port, b.port]);
    const agent = new Agent({ keepAlive: true, maxSockets: 32 });
    const failures: unknown[] = [];
    let done = 0;
    const worker = async (): Promise<void> => {
      while (done < 3000) {
        done++;
        const answer = await ask(url, { agent }).catch((error: unknown) => error);
        if ((answer as { status?: number }).status !== 200) failures.push(answer);
      }
    };
    const workers = Array.from({ length: 32 }, worker);
    await until(() => done > 1000);
    await a.kill();
    await Promise.all(workers);
    agent.destroy();
    expect(failures).toEqual([]);
    expect(a.count).toBeGreaterThan(100);
    expect(pool.members().find((server) => server.id.endsWith(`:${a.port}`))!.state).toBe("ejected");
    expect(pool.inFlight).toBe(0);
  }, 30_000);
});

describe("a client that leaves", () => {
  test("before the answer cancels the server's work", async () => {
    let gone = false;
    const backend = await startBackend((_, response) => {
      response.on("close", () => {
        gone = true;
      });
    });
    const { port, pool, contexts } = await startProxy([backend.port]);
    const client = connect(port, "127.0.0.1");
    client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await until(() => backend.count === 1);
    client.resetAndDestroy();
    await until(() => gone);
    await until(() => pool.inFlight === 0);
    expect(contexts[0]!.attempts).toBe(1);
    expect(pool.members()[0]!.state).toBe("available");
  });

  test("in the middle of the answer cancels the rest", async () => {
    let gone = false;
    const backend = await startBackend((_, response) => {
      response.write("first");
      response.on("close", () => {
        gone = true;
      });
    });
    const { port, pool } = await startProxy([backend.port]);
    const client = connect(port, "127.0.0.1");
    client.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await once(client, "data");
    client.resetAndDestroy();
    await until(() => gone);
    await until(() => pool.inFlight === 0);
  });

  test("an answer that middleware throws away frees its slot", async () => {
    const backend = await startBackend((_, response) => void response.end("x".repeat(500_000)));
    const { url, pool } = await startProxy([backend.port], {
      app: async (_, next) => {
        await next();
        return new Response("instead");
      },
    });
    expect((await ask(url)).body).toBe("instead");
    await until(() => pool.inFlight === 0);
  });

  test("a middleware that gives up on the server cancels it", async () => {
    let gone = false;
    const backend = await startBackend((_, response) => {
      response.on("close", () => {
        gone = true;
      });
    });
    const { url, pool } = await startProxy([backend.port], {
      app: async (_, next) => {
        next();
        await until(() => backend.count === 1);
        return new Response("too slow", { status: 504 });
      },
    });
    expect((await ask(url)).status).toBe(504);
    await until(() => gone && pool.inFlight === 0);
  });
});

describe("an upgrade", () => {
  const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
  const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
  const handshake = `GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`;

  test("to WebSocket carries bytes both ways and holds its slot until it closes", async () => {
    const backend = await startBackend(hello);
    let headers: IncomingMessage["headers"] = {};
    backend.server.on("upgrade", (request: IncomingMessage, socket: Socket) => {
      headers = request.headers;
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\nwelcome `,
      );
      socket.on("data", (chunk: Buffer) => socket.write(`re:${chunk}`));
      socket.on("end", () => socket.end());
    });
    const { port, pool } = await startProxy([backend.port]);
    const client = connect(port, "127.0.0.1");
    let text = "";
    client.on("data", (chunk) => {
      text += chunk;
    });
    client.write(handshake);
    await until(() => text.endsWith("welcome "));
    expect(text).toMatch(/^HTTP\/1\.1 101 /);
    expect(text).toContain(`Sec-WebSocket-Accept: ${ACCEPT}`);
    expect(headers).toMatchObject({ upgrade: "websocket", "sec-websocket-key": KEY, via: "1.1 skerry" });
    client.write("ping");
    await until(() => text.endsWith("re:ping"));
    expect(pool.inFlight).toBe(1);
    client.end();
    await once(client, "close");
    await until(() => pool.inFlight === 0);
  });

  test("with a wrong proof from the server is a 502", async () => {
    const backend = await startBackend(hello);
    backend.server.on("upgrade", (_request: IncomingMessage, socket: Socket) => {
      socket.on("error", () => {});
      socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: bm8=\r\n\r\n",
      );
    });
    const { port, pool } = await startProxy([backend.port]);
    const client = connect(port, "127.0.0.1");
    client.write(handshake);
    const [data] = (await once(client, "data")) as [Buffer];
    expect(data.toString()).toMatch(/^HTTP\/1\.1 502 /);
    client.destroy();
    await until(() => pool.inFlight === 0);
  });

  test("to anything but WebSocket goes on as a plain request", async () => {
    const backend = await startBackend(echo);
    const { port } = await startProxy([backend.port]);
    const client = connect(port, "127.0.0.1");
    client.write(
      "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n",
    );
    const [data] = (await once(client, "data")) as [Buffer];
    expect(data.toString()).toMatch(/^HTTP\/1\.1 200 /);
    expect(data.toString()).not.toMatch(/"upgrade"|"http2-settings"/);
    client.destroy();
  });

  test("that the server declines is an ordinary answer", async () => {
    const backend = await startBackend((_, response) => void response.writeHead(403).end("no"));
    const { port } = await startProxy([backend.port]);
    const client = connect(port, "127.0.0.1");
    client.write(handshake);
    const [data] = (await once(client, "data")) as [Buffer];
    expect(data.toString()).toMatch(/^HTTP\/1\.1 403 /);
    client.destroy();
  });
});
