import { afterEach, describe, expect, test } from "vitest";
import type { EdgeError } from "../../src/errors.ts";
import { bytesSource } from "../../src/exchange/body.ts";
import { type Exchange, type RequestHead, responseHead } from "../../src/exchange/exchange.ts";
import type { HeaderList } from "../../src/exchange/headers.ts";
import { CANCEL, INTERNAL_ERROR, NO_ERROR } from "../../src/http2/errors.ts";
import {
  DATA,
  encodeFrame,
  type Frame,
  GOAWAY,
  HEADERS,
  RST_STREAM,
  readUint32,
  WINDOW_UPDATE,
} from "../../src/http2/frames.ts";
import type { ServeHttp2Options } from "../../src/http2/server.ts";
import { block, echo, fields, manualClock, RawClient, type Served, serve, uint32 } from "./support.ts";

const WHOLE = 0x5;
const OPEN = 0x4;
const POST = fields({ ":method": "POST" });

let open: { served: Served; client: RawClient }[] = [];
afterEach(async () => {
  for (const { served, client } of open) {
    client.socket.destroy();
    await served.close();
  }
  open = [];
});

async function start(onExchange: (x: Exchange) => void, options: Partial<ServeHttp2Options> = {}) {
  const served = await serve(onExchange, options);
  const client = new RawClient(served.port);
  open.push({ served, client });
  await client.handshake();
  return { served, client };
}

const headersOf = (client: RawClient, id = 1): Promise<Frame | undefined> =>
  client.next((frame) => frame.type === HEADERS && frame.streamId === id);

async function heard<T>(of: (tell: (value: T) => void) => unknown): Promise<T> {
  return new Promise<T>((resolve) => {
    void of(resolve);
  });
}

describe("large bodies", () => {
  test("go out in frames that fill a TLS record each, header and all", async () => {
    const { client } = await start((x) =>
      x.respond(responseHead(200), bytesSource(Buffer.alloc(60_000, "x"))),
    );
    client.headers(1, WHOLE, fields());
    const sizes: number[] = [];
    for (let left = 60_000; left > 0; left -= sizes.at(-1)!) {
      const frame = await client.next(({ type }) => type === DATA);
      sizes.push(9 + frame!.payload.length);
    }
    expect(sizes.slice(0, -1)).toEqual([16_384, 16_384, 16_384]);
  });
});

describe("requests", () => {
  test("cookie crumbs are joined, and pseudo-headers are no fields", async () => {
    const head = await heard<RequestHead>(async (tell) => {
      const { client } = await start((x) => tell(x.head));
      client.headers(1, WHOLE, [...fields(), "cookie", "a=1", "x-a", "b", "cookie", "c=2"]);
    });
    expect(head.headers).toEqual(["cookie", "a=1; c=2", "x-a", "b"]);
    expect(head).toMatchObject({ method: "GET", path: "/", authority: "127.0.0.1", scheme: "http" });
  });

  test("equal bytes give the very same head, until the table changes", async () => {
    const heads: RequestHead[] = [];
    const { client } = await start((x) => {
      heads.push(x.head);
      echo(x);
    });
    client.headers(1, WHOLE);
    client.headers(3, WHOLE);
    const indexed = Buffer.concat([
      block(),
      Buffer.from([0x40, 3]),
      Buffer.from("x-a"),
      Buffer.from([1, 0x31]),
    ]);
    client.send(encodeFrame(HEADERS, WHOLE, 5, indexed), encodeFrame(HEADERS, WHOLE, 7, indexed));
    client.headers(9, WHOLE);
    client.send(encodeFrame(HEADERS, WHOLE, 11, Buffer.concat([block(), Buffer.from([0xbe])])));
    client.send(encodeFrame(HEADERS, WHOLE, 13, Buffer.concat([block(), Buffer.from([0xbe])])));
    await headersOf(client, 13);
    expect(heads[1]).toBe(heads[0]);
    expect(heads[3]).not.toBe(heads[2]);
    expect(heads[4]).not.toBe(heads[0]);
    expect(heads[5]!.headers).toEqual(["x-a", "1"]);
    expect(heads[6]).toBe(heads[5]);
  });

  test("the same index means another field once the table has changed", async () => {
    const heads: RequestHead[] = [];
    const { client } = await start((x) => {
      heads.push(x.head);
      echo(x);
    });
    const insert = (value: string): Buffer =>
      Buffer.concat([
        block(),
        Buffer.from([0x40, 3]),
        Buffer.from("x-a"),
        Buffer.from([1]),
        Buffer.from(value),
      ]);
    const newest = Buffer.concat([block(), Buffer.from([0xbe])]);
    for (const [i, bytes] of [insert("1"), newest, insert("2"), newest].entries())
      client.send(encodeFrame(HEADERS, WHOLE, 1 + 2 * i, bytes));
    await headersOf(client, 7);
    expect(heads.map((head) => head.headers[1])).toEqual(["1", "1", "2", "2"]);
  });

  test("expectsContinue is told, and 100 ends it", async () => {
    const seen = await heard<boolean[]>(async (tell) => {
      const { client } = await start((x) => {
        const before = x.expectsContinue;
        x.inform(100, []);
        tell([before, x.expectsContinue]);
      });
      client.headers(1, OPEN, [...POST, "expect", "100-continue"]);
    });
    expect(seen).toEqual([true, false]);
  });

  test("window is given back only as the body is read", async () => {
    let body: Exchange["body"];
    const { client } = await start((x) => {
      body = x.body;
    });
    client.headers(1, OPEN, POST);
    for (let i = 0; i < 16; i++) client.send(encodeFrame(DATA, 0, 1, Buffer.alloc(16_384)));
    await client.alive();
    const updates = (): number =>
      client.frames.filter((frame) => frame.type === WINDOW_UPDATE && frame.streamId === 1).length;
    expect(updates()).toBe(0);
    body!.start({ write: () => true, end() {}, abort() {} });
    await client.next((frame) => frame.type === WINDOW_UPDATE && frame.streamId === 1);
    expect(updates()).toBeGreaterThan(0);
  });

  test("a handler that throws costs its own request only", async () => {
    const { client } = await start((x) => {
      if (x.head.path === "/bad") throw new Error("handler bug");
      echo(x);
    });
    client.headers(1, WHOLE, fields({ ":path": "/bad" }));
    expect(await client.reset(1)).toBe(INTERNAL_ERROR);
    client.headers(3, WHOLE);
    expect(await headersOf(client, 3)).toBeDefined();
  });
});

describe("answers", () => {
  async function answered(
    respond: (x: Exchange) => void,
    request = fields(),
  ): Promise<{ head: Record<string, string>; flags: number; client: RawClient }> {
    const { client } = await start(respond);
    client.headers(1, WHOLE, request);
    const frame = (await headersOf(client))!;
    return { head: client.decode(frame), flags: frame.flags, client };
  }

  test("names are in lower case, Date and Content-Length are added, connection fields are dropped", async () => {
    const { head } = await answered((x) =>
      x.respond(
        responseHead(200, [
          "Content-Type",
          "text/plain",
          "Connection",
          "close",
          "Keep-Alive",
          "1",
          "Transfer-Encoding",
          "chunked",
          "Upgrade",
          "h2c",
          "Proxy-Connection",
          "x",
        ]),
        Buffer.from("four"),
      ),
    );
    expect(head).toEqual({
      ":status": "200",
      "content-type": "text/plain",
      "content-length": "4",
      date: "Thu, 01 Jan 1970 00:16:40 GMT",
    });
  });

  test("a Date of the answer's own is kept", async () => {
    const { head } = await answered((x) => x.respond(responseHead(200, ["date", "then"])));
    expect(head.date).toBe("then");
  });

  test.each([
    ["HEAD", 200],
    ["GET", 204],
    ["GET", 304],
  ])("%s with %d has no body, and its source is cancelled", async (method, status) => {
    let cancelled = false;
    const source = { ...bytesSource(Buffer.from("body")), cancel: () => (cancelled = true) };
    const { client, head } = await answered(
      (x) =>
        x.respond(responseHead(status, method === "HEAD" ? ["content-length", "4"] : []), source as never),
      fields({ ":method": method }),
    );
    await client.next((frame) => frame.streamId === 1 && (frame.flags & 1) === 1).catch(() => undefined);
    await client.alive();
    const bytes = client.frames.filter((f) => f.type === DATA).reduce((sum, f) => sum + f.payload.length, 0);
    expect(bytes).toBe(0);
    expect(head["content-length"]).toBe(method === "HEAD" ? "4" : undefined);
    expect(cancelled).toBe(true);
  });

  test.each([
    ["longer", "2"],
    ["shorter", "9"],
  ])("a body %s than its Content-Length is reset, never passed off as whole", async (_, length) => {
    const { client } = await start((x) =>
      x.respond(responseHead(200, ["content-length", length]), {
        ...bytesSource(Buffer.from("four")),
        length: undefined,
      } as never),
    );
    client.headers(1, WHOLE);
    expect(await client.reset(1)).toBe(INTERNAL_ERROR);
    expect(client.frames.some((frame) => frame.streamId === 1 && (frame.flags & 1) === 1)).toBe(false);
  });

  test("a field with CR or LF is not sent", async () => {
    const { client } = await start((x) => x.respond(responseHead(200, ["x-a", "b\r\nx-c: d"])));
    client.headers(1, WHOLE);
    expect(await client.reset(1)).toBe(INTERNAL_ERROR);
  });

  test("a head that is used again gives the same bytes", async () => {
    const head = responseHead(200, ["x-a", "b"]);
    const { client } = await start((x) => x.respond(head, Buffer.from("x")));
    const payloads: string[] = [];
    for (const id of [1, 3, 5]) {
      client.headers(id, WHOLE);
      payloads.push((await headersOf(client, id))!.payload.toString("hex"));
    }
    expect(new Set(payloads).size).toBe(1);
  });

  test("a head larger than a frame goes in CONTINUATION frames", async () => {
    const value = "v".repeat(40_000);
    const { client } = await start((x) => x.respond(responseHead(200, ["x-large", value])));
    client.headers(1, WHOLE);
    const parts: Buffer[] = [];
    for (;;) {
      const frame = (await client.next((each) => each.streamId === 1))!;
      parts.push(frame.payload);
      if (frame.flags & 4) break;
    }
    const whole = Buffer.concat(parts);
    expect(client.decode({ type: 1, flags: 4, streamId: 1, payload: whole })["x-large"]).toBe(value);
    expect(parts.length).toBe(3);
  });

  test("a peer that allows no table is told that none is used", async () => {
    const served = await serve();
    const client = new RawClient(served.port);
    open.push({ served, client });
    await client.handshake([[1, 0]]);
    client.headers(1, WHOLE);
    expect((await headersOf(client))!.payload[0]).toBe(0x20);
    client.headers(3, WHOLE);
    expect((await headersOf(client, 3))!.payload[0]).not.toBe(0x20);
  });

  test("streams take turns, so that a long answer does not hold up a short one", async () => {
    const { client } = await start((x) =>
      x.respond(responseHead(200), Buffer.alloc(x.head.path === "/long" ? 1_000_000 : 20_000)),
    );
    client.headers(1, WHOLE, fields({ ":path": "/long" }));
    client.send(encodeFrame(WINDOW_UPDATE, 0, 1, uint32(10_000_000)));
    client.headers(3, WHOLE);
    // Stream 1 has used up the connection's window; now both may go on.
    await client.alive();
    client.send(encodeFrame(WINDOW_UPDATE, 0, 0, uint32(100_000)));
    await client.next((frame) => frame.streamId === 3 && (frame.flags & 1) === 1 && frame.type === DATA);
    const long = client.frames.filter((frame) => frame.streamId === 1 && frame.type === DATA);
    expect(long.reduce((sum, frame) => sum + frame.payload.length, 0)).toBeLessThan(200_000);
  });
});

describe("ends", () => {
  test("a client's reset is heard by the exchange, its body and its source", async () => {
    const events: string[] = [];
    const { client } = await start((x) => {
      x.onClose((error) => events.push(`close ${error?.code}`));
      x.body!.start({ write: () => true, end() {}, abort: (error) => events.push(`body ${error.code}`) });
      x.respond(responseHead(200), {
        length: undefined,
        started: false,
        start(sink) {
          sink.write(Buffer.from("x"));
        },
        resume() {},
        cancel: (error) => events.push(`source ${error?.code}`),
      });
    });
    client.headers(1, OPEN, POST);
    await headersOf(client);
    client.send(encodeFrame(RST_STREAM, 0, 1, uint32(CANCEL)));
    await client.alive();
    expect(events.sort()).toEqual(["body CLIENT_CLOSED", "close CLIENT_CLOSED", "source CLIENT_CLOSED"]);
  });

  test("calls after the client is gone do nothing, and cancel what they are given", async () => {
    const exchange = await heard<Exchange>(async (tell) => {
      const { client } = await start((x) => {
        x.onClose(() => tell(x));
        client.socket.destroy();
      });
      client.headers(1, WHOLE);
    });
    expect(exchange.closed).toBe(true);
    let cancelled = false;
    exchange.inform(103, []);
    exchange.respond(responseHead(200), {
      ...bytesSource(Buffer.from("x")),
      cancel: () => (cancelled = true),
    } as never);
    exchange.reset({} as EdgeError);
    expect(cancelled).toBe(true);
    expect(await heard<unknown>((tell) => exchange.onClose(tell))).toMatchObject({ code: "CLIENT_CLOSED" });
  });

  test("each close listener is called once, without an error after a whole answer", async () => {
    const errors: unknown[] = [];
    const { client, served } = await start((x) => {
      x.onClose((error) => errors.push(error));
      x.onClose((error) => errors.push(error));
      x.respond(responseHead(200), Buffer.from("x"));
    });
    client.headers(1, WHOLE);
    await headersOf(client);
    served.sessions[0]!.destroy();
    await client.ended();
    expect(errors).toEqual([undefined, undefined]);
  });

  test("an answer before the end of the request: the rest is refused with NO_ERROR", async () => {
    const clock = manualClock();
    const { client } = await start((x) => x.respond(responseHead(403)), { clock });
    client.headers(1, OPEN, POST);
    await headersOf(client);
    client.send(encodeFrame(DATA, 0, 1, Buffer.from("more")));
    expect(await client.alive()).toBe(true);
    clock.advance(2000);
    expect(await client.reset(1)).toBe(NO_ERROR);
    client.send(encodeFrame(DATA, 0, 1, Buffer.from("under way")));
    expect(await client.alive()).toBe(true);
  });

  test("an announced rest beyond maxDrainBytes is refused at once", async () => {
    const { client } = await start((x) => x.respond(responseHead(413)));
    client.headers(1, OPEN, [...POST, "content-length", "10000000"]);
    expect(await client.reset(1)).toBe(NO_ERROR);
  });

  test("an exchange's reset is RST_STREAM", async () => {
    const { client } = await start((x) => {
      x.respond(responseHead(200), {
        length: undefined,
        started: false,
        start: (s) => void s.write(Buffer.from("x")),
        resume() {},
        cancel() {},
      });
      setImmediate(() => x.reset({ code: "UPSTREAM_RESET" } as EdgeError));
    });
    client.headers(1, WHOLE);
    expect(await client.reset(1)).toBe(INTERNAL_ERROR);
  });

  test("drain warns, then refuses, finishes what is in flight and closes", async () => {
    let answer = (): void => {};
    const { client, served } = await start((x) => {
      answer = () => x.respond(responseHead(200), Buffer.from("late"));
    });
    client.headers(1, WHOLE);
    await client.alive();
    served.sessions[0]!.drain();
    served.sessions[0]!.drain();
    const warning = (await client.next((frame) => frame.type === GOAWAY))!;
    expect(readUint32(warning.payload, 0)).toBe(0x7fffffff);
    const ping = (await client.next((frame) => frame.type === 6))!;
    client.send(encodeFrame(6, 1, 0, ping.payload));
    const final = (await client.next((frame) => frame.type === GOAWAY))!;
    expect([readUint32(final.payload, 0), readUint32(final.payload, 4)]).toEqual([1, NO_ERROR]);
    client.headers(3, WHOLE);
    expect(await client.reset(3)).toBe(7);
    expect(served.sessions[0]!.busy).toBe(true);
    answer();
    expect((await client.next((frame) => frame.type === DATA))!.payload.toString()).toBe("late");
    await client.ended();
    expect(served.offences).toEqual([]);
  });

  test("an authority that is not ours is answered with 421", async () => {
    const { client } = await start(echo, { authorize: (authority) => authority === "mine.test" });
    client.headers(1, WHOLE, fields({ ":authority": "other.test" }));
    expect(client.decode((await headersOf(client))!)[":status"]).toBe("421");
    client.headers(3, WHOLE, fields({ ":authority": "mine.test" }));
    expect(client.decode((await headersOf(client, 3))!)[":status"]).toBe("200");
  });

  test("plain CONNECT is answered with 405", async () => {
    const { client } = await start(echo);
    client.headers(1, WHOLE, [":method", "CONNECT", ":authority", "a.test:443"]);
    expect(client.decode((await headersOf(client))!)[":status"]).toBe("405");
  });

  test("trailers both ways keep their order", async () => {
    const { client } = await start((x) =>
      x.body!.start({
        write: () => true,
        end: (trailers) =>
          x.respond(responseHead(200), bytesSource(Buffer.from("x"), trailers as HeaderList)),
        abort() {},
      }),
    );
    client.headers(1, OPEN, POST);
    client.headers(1, WHOLE, ["grpc-status", "0", "grpc-message", "fine"]);
    await headersOf(client);
    const trailers = (await headersOf(client))!;
    expect(trailers.flags & 1).toBe(1);
    expect(client.decode(trailers)).toEqual({ "grpc-status": "0", "grpc-message": "fine" });
  });

  test("a session may be destroyed twice, and closes once", async () => {
    const { client, served } = await start(echo);
    served.sessions[0]!.destroy();
    served.sessions[0]!.destroy();
    served.sessions[0]!.drain();
    await client.ended();
    expect(served.closes()).toBe(1);
  });
});
