import { once } from "node:events";
import { createServer as createHttp2Server, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { EdgeError } from "../../src/errors.ts";
import { type ByteSource, bytesSource } from "../../src/exchange/body.ts";
import type { UpstreamRequest } from "../../src/exchange/dispatch.ts";
import { type ResponseHead, responseHead } from "../../src/exchange/exchange.ts";
import { getHeader, type HeaderList } from "../../src/exchange/headers.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";
import { createHttp2Client, type Http2Client, type Http2ClientOptions } from "../../src/http2/client.ts";
import { DATA, encodeFrame, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS } from "../../src/http2/frames.ts";
import { createHttp2Transport } from "../../src/http2/transport.ts";
import { block, echo, limits, manualClock, RawClient, type Served, serve, uint32 } from "./support.ts";

const GET: UpstreamRequest = {
  method: "GET",
  path: "/",
  scheme: "http",
  authority: "upstream.test",
  headers: ["accept", "*/*"],
  body: undefined,
  protocol: undefined,
};

interface Answer {
  head: ResponseHead;
  body: Buffer;
  trailers: HeaderList | undefined;
  informed: [number, HeaderList][];
}

function ask(client: { dispatch: Http2Client["dispatch"] }, request: UpstreamRequest = GET): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const informed: [number, HeaderList][] = [];
    client.dispatch(request, {
      inform: (status, headers) => informed.push([status, headers]),
      respond(head, body) {
        if (body === undefined)
          return resolve({ head, body: Buffer.alloc(0), trailers: undefined, informed });
        const chunks: Uint8Array[] = [];
        body.start({
          write(chunk) {
            chunks.push(chunk);
            return true;
          },
          end: (trailers) => resolve({ head, body: Buffer.concat(chunks), trailers, informed }),
          abort: reject,
        });
      },
      upgraded: () => reject(new Error("unexpected upgrade")),
      failed: reject,
    });
  });
}

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function served(...args: Parameters<typeof serve>): Promise<Served> {
  const server = await serve(...args);
  cleanups.push(() => server.close());
  return server;
}

function client(port: number, options: Partial<Http2ClientOptions> = {}): Http2Client {
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  cleanups.push(() => socket.destroy());
  return createHttp2Client(socket, { scheme: "http", clock: systemClock, onClose() {}, ...options });
}

/** A server that says exactly what a test wants. */
async function rawServer(onClient: (peer: RawClient) => void): Promise<number> {
  const server = createServer((socket) => {
    cleanups.push(() => socket.destroy());
    // The preface is not a frame.
    socket.once("readable", () => {
      socket.read(PREFACE.length);
      const peer = new RawClient(socket as Socket);
      peer.send(encodeFrame(SETTINGS, 0, 0));
      onClient(peer);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

const requested = (peer: RawClient, id = 1): Promise<unknown> =>
  peer.next((frame) => frame.type === HEADERS && frame.streamId === id);

async function failure(promise: Promise<unknown>): Promise<EdgeError> {
  return promise.then(
    () => {
      throw new Error("it did not fail");
    },
    (error: EdgeError) => error,
  );
}

describe("requests", () => {
  test("a request and its answer cross both engines", async () => {
    const { port } = await served((x) => {
      expect(x.head).toMatchObject({ method: "GET", path: "/a?b", authority: "upstream.test" });
      x.inform(103, ["link", "</style.css>"]);
      x.respond(responseHead(201, ["X-Made", "here"]), bytesSource(Buffer.from("made"), ["x-sum", "1"]));
    });
    const answer = await ask(client(port), { ...GET, path: "/a?b" });
    expect(answer.head.status).toBe(201);
    expect(getHeader(answer.head.headers, "x-made")).toBe("here");
    expect(getHeader(answer.head.headers, "content-length")).toBe("4");
    expect(answer.body.toString()).toBe("made");
    expect(answer.trailers).toEqual(["x-sum", "1"]);
    expect(answer.informed).toEqual([[103, ["link", "</style.css>"]]]);
  });

  test("large bodies cross whole in both directions, many at once", async () => {
    const { port } = await served((x) => x.respond(responseHead(200), x.body), { clock: systemClock });
    const to = client(port);
    const bodies = Array.from({ length: 8 }, (_, i) => Buffer.alloc(3_000_000 + i * 7, i + 1));
    const answers = await Promise.all(
      bodies.map((body) => ask(to, { ...GET, method: "POST", body: bytesSource(body) })),
    );
    for (const [i, answer] of answers.entries()) expect(answer.body.equals(bodies[i]!)).toBe(true);
  });

  test("trailers of a request arrive", async () => {
    const { port } = await served((x) => {
      x.body!.start({
        write: () => true,
        end: (trailers) => x.respond(responseHead(200, trailers), undefined),
        abort() {},
      });
    });
    const answer = await ask(client(port), {
      ...GET,
      method: "POST",
      body: bytesSource(Buffer.from("a"), ["x-t", "v"]),
    });
    expect(getHeader(answer.head.headers, "x-t")).toBe("v");
  });

  test("an answer to HEAD has no body, whatever its Content-Length", async () => {
    const { port } = await served((x) => x.respond(responseHead(200, ["content-length", "100"])));
    const answer = await ask(client(port), { ...GET, method: "HEAD" });
    expect(getHeader(answer.head.headers, "content-length")).toBe("100");
    expect(answer.body.length).toBe(0);
  });

  test("a paused reader stops the sender at the window", async () => {
    let sent = 0;
    const { port } = await served((x) => {
      let sink: Parameters<ByteSource["start"]>[0];
      const fill = (): void => {
        while (sent < 50_000_000) {
          sent += 65_536;
          if (!sink.write(Buffer.alloc(65_536))) return;
        }
        sink.end();
      };
      x.respond(responseHead(200), {
        length: undefined,
        started: false,
        start(to) {
          sink = to;
          fill();
        },
        resume: fill,
        cancel() {},
      });
    });
    const to = client(port);
    const body = await new Promise<ByteSource>((resolve, reject) =>
      to.dispatch(GET, {
        inform() {},
        respond: (_, source) => resolve(source!),
        upgraded() {},
        failed: reject,
      }),
    );
    let first = true;
    const more = new Promise<void>((resolve) =>
      body.start({
        write() {
          if (first) {
            first = false;
            resolve();
            return false;
          }
          return true;
        },
        end() {},
        abort() {},
      }),
    );
    await more;
    await ask(to, { ...GET, method: "HEAD" });
    expect(sent).toBeLessThan(1_000_000);
    body.resume();
    while (sent < 50_000_000) await ask(to, { ...GET, method: "HEAD" });
  });

  test("cancelling a request resets its stream and says nothing more", async () => {
    const { port } = await served(() => {});
    const to = client(port);
    const cancel = to.dispatch(GET, {
      inform: () => expect.unreachable(),
      respond: () => expect.unreachable(),
      upgraded: () => expect.unreachable(),
      failed: () => expect.unreachable(),
    });
    expect(to.open).toBe(1);
    cancel();
    cancel();
    expect(to.open).toBe(0);
  });

  test("node:http2 as server answers us", async () => {
    const server = createHttp2Server();
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      stream.respond({ ":status": 200, "x-path": String(headers[":path"]) }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "x-end": "yes" }));
      stream.pipe(stream);
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    cleanups.push(() => server.close());
    const to = client((server.address() as AddressInfo).port);
    const body = Buffer.alloc(2_000_000, 7);
    const answer = await ask(to, { ...GET, method: "POST", path: "/up", body: bytesSource(body) });
    expect(getHeader(answer.head.headers, "x-path")).toBe("/up");
    expect(answer.body.equals(body)).toBe(true);
    expect(answer.trailers).toEqual(["x-end", "yes"]);
    await to.close();
  });
});

describe("what may be retried", () => {
  test("a refused stream: any request", async () => {
    const port = await rawServer(async (peer) => {
      await requested(peer);
      peer.send(encodeFrame(RST_STREAM, 0, 1, uint32(7)));
    });
    expect((await failure(ask(client(port)))).retry).toBe("any");
  });

  test("a stream above GOAWAY's last: any request; one below is answered", async () => {
    const port = await rawServer(async (peer) => {
      await requested(peer, 3);
      peer.send(encodeFrame(GOAWAY, 0, 0, Buffer.concat([uint32(1), uint32(0)])));
      peer.send(encodeFrame(HEADERS, 5, 1, block([":status", "204"])));
    });
    const to = client(port);
    const [first, second] = await Promise.allSettled([ask(to), ask(to)]);
    expect(first).toMatchObject({ value: { head: { status: 204 } } });
    expect(second).toMatchObject({ reason: { retry: "any" } });
    expect(to.draining).toBe(true);
    expect((await failure(ask(to))).retry).toBe("any");
  });

  test("a connection lost before any byte of the answer: idempotent requests", async () => {
    const port = await rawServer(async (peer) => {
      await requested(peer);
      peer.socket.destroy();
    });
    expect((await failure(ask(client(port)))).retry).toBe("idempotent");
  });

  test("a connection lost after an informational answer: none", async () => {
    const port = await rawServer(async (peer) => {
      await requested(peer);
      peer.send(encodeFrame(HEADERS, 4, 1, block([":status", "103"])));
      await peer.alive();
      peer.socket.destroy();
    });
    expect((await failure(ask(client(port)))).retry).toBe("never");
  });

  test("a body that is cut is aborted, never ended", async () => {
    const port = await rawServer(async (peer) => {
      await requested(peer);
      peer.send(
        encodeFrame(HEADERS, 4, 1, block([":status", "200"])),
        encodeFrame(DATA, 0, 1, Buffer.from("half")),
      );
      await peer.alive();
      peer.socket.destroy();
    });
    expect((await failure(ask(client(port)))).code).toBe("UPSTREAM_RESET");
  });

  test.each([
    ["without :status", ["x-a", "b"]],
    ["with a connection field", [":status", "200", "connection", "close"]],
    ["with upper case", [":status", "200", "X-A", "b"]],
  ])("an answer %s is malformed", async (_, list) => {
    const port = await rawServer(async (peer) => {
      await requested(peer);
      peer.send(encodeFrame(HEADERS, 5, 1, block(list)));
    });
    expect((await failure(ask(client(port)))).code).toBe("UPSTREAM_PROTOCOL");
  });

  test("DATA short of Content-Length is malformed", async () => {
    const port = await rawServer(async (peer) => {
      await requested(peer);
      peer.send(
        encodeFrame(HEADERS, 4, 1, block([":status", "200", "content-length", "9"])),
        encodeFrame(DATA, 1, 1, Buffer.from("half")),
      );
    });
    expect((await failure(ask(client(port)))).code).toBe("UPSTREAM_PROTOCOL");
  });
});

describe("tunnels", () => {
  const gather = (stream: ByteStream): Promise<string> =>
    new Promise((resolve, reject) => {
      let text = "";
      stream.on("data", (chunk) => {
        text += chunk.toString();
      });
      stream.on("end", () => resolve(text));
      stream.on("error", reject);
    });

  test("bytes written before the answer arrive, and both ends are told apart", async () => {
    const { port } = await served(
      (x) => {
        expect(x.head.method).toBe("CONNECT");
        const tunnel = x.accept([]);
        tunnel.on("data", (chunk) => void tunnel.write(chunk));
        tunnel.on("end", () => {
          tunnel.write("bye");
          tunnel.end();
        });
      },
      { connect: true },
    );
    const tunnel = client(port).connect();
    const text = gather(tunnel);
    const close = new Promise<void>((resolve) => tunnel.on("close", resolve));
    tunnel.write("hello ");
    tunnel.end();
    expect(await text).toBe("hello bye");
    await close;
  });

  test("10 MB cross a tunnel with back-pressure", async () => {
    const { port } = await served(
      (x) => {
        const tunnel = x.accept([]);
        tunnel.on("data", (chunk) => {
          if (!tunnel.write(chunk)) tunnel.pause();
        });
        tunnel.on("drain", () => void tunnel.resume());
        tunnel.on("end", () => tunnel.end());
      },
      { connect: true, clock: systemClock },
    );
    const tunnel = client(port).connect();
    let got = 0;
    let sent = 0;
    const done = new Promise<void>((resolve, reject) => {
      tunnel.on("end", resolve);
      tunnel.on("error", reject);
    });
    tunnel.on("data", (chunk) => {
      got += chunk.length;
    });
    const fill = (): void => {
      while (sent < 10_000_000) {
        sent += 50_000;
        if (!tunnel.write(Buffer.alloc(50_000))) return;
      }
      tunnel.end();
    };
    tunnel.on("drain", fill);
    fill();
    await done;
    expect(got).toBe(10_000_000);
  });

  test("a tunnel that is cut says error and close, never end", async () => {
    const { port, sessions } = await served((x) => void x.accept([]).write("x"), { connect: true });
    const tunnel = client(port).connect();
    const events: string[] = [];
    tunnel.on("end", () => events.push("end"));
    tunnel.on("error", () => events.push("error"));
    const closed = new Promise<void>((resolve) => tunnel.on("close", resolve));
    tunnel.on("data", () => sessions[0]!.destroy());
    await closed;
    expect(events).toEqual(["error"]);
  });

  test("a refused CONNECT is an error", async () => {
    const { port } = await served(() => {});
    const tunnel = client(port).connect();
    const error = await new Promise<Error>((resolve) => tunnel.on("error", resolve));
    expect(error.message).toContain("405");
  });

  test("a stuck tunnel does not stop its neighbours", async () => {
    const { port } = await served(
      (x) => {
        const tunnel = x.accept([]);
        if (x.head.authority === "stuck") tunnel.pause();
        else tunnel.on("data", (chunk) => void tunnel.write(chunk));
      },
      { connect: true, clock: systemClock },
    );
    const to = client(port);
    for (let i = 0; i < 20; i++) to.connect([":authority", "stuck"]).write(Buffer.alloc(1_000_000));
    const live = to.connect([":authority", "live"]);
    const answer = new Promise<string>((resolve) => live.on("data", (chunk) => resolve(chunk.toString())));
    live.write("still here");
    expect(await answer).toBe("still here");
  });

  test("a WebSocket goes by extended CONNECT", async () => {
    const { port } = await served((x) => {
      expect(x.head.protocol).toBe("websocket");
      const tunnel = x.accept(["sec-websocket-protocol", "chat"]);
      tunnel.on("data", (chunk) => void tunnel.write(chunk));
    });
    const opened = await new Promise<{ head: ResponseHead; stream: ByteStream }>((resolve, reject) =>
      client(port).dispatch(
        { ...GET, path: "/chat", protocol: "websocket" },
        {
          inform() {},
          respond: reject,
          upgraded: (head, stream) => resolve({ head, stream }),
          failed: reject,
        },
      ),
    );
    expect(getHeader(opened.head.headers, "sec-websocket-protocol")).toBe("chat");
    const back = new Promise<string>((resolve) =>
      opened.stream.on("data", (chunk) => resolve(chunk.toString())),
    );
    opened.stream.write("frame");
    expect(await back).toBe("frame");
  });
});

describe("the connection", () => {
  test("a peer that answers no PING is given up", async () => {
    const port = await rawServer(() => {});
    const clock = manualClock();
    let reason: EdgeError | undefined;
    const to = client(port, {
      clock,
      pingIntervalMs: 5000,
      onClose(error) {
        reason = error;
      },
    });
    const failed = failure(ask(to));
    clock.advance(12_000);
    expect((await failed).retry).toBe("idempotent");
    expect(reason?.message).toContain("PING");
    expect(to.closed).toBe(true);
  });

  test("a peer that answers PING is kept", async () => {
    const clock = manualClock();
    const { port } = await served(echo, { clock: manualClock() });
    const to = client(port, { clock, pingIntervalMs: 5000 });
    await ask(to);
    for (let i = 0; i < 5; i++) {
      clock.advance(6000);
      await ask(to, { ...GET, method: "HEAD" });
    }
    expect(to.closed).toBe(false);
  });

  test("close waits for what is in flight", async () => {
    let answer = (): void => {};
    const { port } = await served((x) => {
      answer = () => x.respond(responseHead(200), Buffer.from("late"));
      arrived();
    });
    let arrived = (): void => {};
    const here = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const to = client(port);
    const asked = ask(to);
    await here;
    const closed = to.close();
    answer();
    expect((await asked).body.toString()).toBe("late");
    await closed;
  });
});

describe("the transport", () => {
  test("requests share a connection, and more open only when streams run out", async () => {
    let connections = 0;
    const { port } = await served(echo, { limits: limits({}, { maxStreams: 4 }) });
    const transport = createHttp2Transport({
      scheme: "http",
      clock: systemClock,
      connect(callback) {
        connections++;
        const socket = connect({ port, host: "127.0.0.1" }, () => callback(undefined, socket));
        return () => socket.destroy();
      },
    });
    await ask(transport);
    expect(connections).toBe(1);
    const answers = await Promise.all(Array.from({ length: 40 }, () => ask(transport)));
    expect(answers.every((each) => each.head.status === 200)).toBe(true);
    expect(connections).toBeGreaterThan(1);
    expect(connections).toBeLessThanOrEqual(8);
    await transport.close();
    await transport.close();
  });

  test("a failed connect fails what waits, to be retried anywhere", async () => {
    const transport = createHttp2Transport({
      scheme: "http",
      clock: systemClock,
      connect(callback) {
        queueMicrotask(() => callback(undefined));
        return () => {};
      },
    });
    expect(await failure(ask(transport))).toMatchObject({ code: "UPSTREAM_CONNECT", retry: "any" });
    await transport.close();
  });

  test("a request after GOAWAY goes over a new connection", async () => {
    const { port, sessions } = await served(echo);
    const transport = createHttp2Transport({
      scheme: "http",
      clock: systemClock,
      connect(callback) {
        const socket = connect({ port, host: "127.0.0.1" }, () => callback(undefined, socket));
        return () => socket.destroy();
      },
    });
    await ask(transport);
    sessions[0]!.drain();
    for (let i = 0; sessions.length < 2 && i < 1000; i++) await ask(transport).catch(() => {});
    expect((await ask(transport)).head.status).toBe(200);
    await transport.close();
  });
});
