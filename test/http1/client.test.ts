import { describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import { bytesSource } from "../../src/exchange/body.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";
import { createHttp1Client, type Http1Client, type Http1ClientOptions } from "../../src/http1/client.ts";
import { createHttp1Transport, type Http1TransportOptions } from "../../src/http1/transport.ts";
import { type ManualClock, manualClock } from "../support/manual-clock.ts";
import { RESPONSES } from "./fixtures.ts";
import { collector, heard, pair, pushed, request, settle, type Wire } from "./wire.ts";

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

interface Connected extends Wire {
  client: Http1Client;
  ours: ByteStream;
  clock: ManualClock;
  idle: number;
  gone: number;
}

function connect(options: Partial<Http1ClientOptions> = {}): Connected {
  const clock = manualClock();
  const { ours, wire } = pair();
  const connected = Object.assign(wire, { ours, clock, idle: 0, gone: 0 }) as unknown as Connected;
  connected.client = createHttp1Client(ours, {
    clock,
    onIdle: () => connected.idle++,
    onClose: () => connected.gone++,
    ...options,
  });
  return connected;
}

describe("one connection", () => {
  test("request and answer, then the next, with heads that repeat shared", async () => {
    const wire = connect();
    const first = heard();
    wire.client.dispatch(request(), first);
    await settle();
    expect(wire.take()).toBe(GET);
    await wire.send(OK);
    expect(first.head).toMatchObject({ status: 200, reason: "OK", headers: ["Content-Length", "2"] });
    expect(first.body).toMatchObject({ text: "ok", ended: true, writes: 1 });
    expect(wire.idle).toBe(1);
    const second = heard();
    wire.client.dispatch(request(), second);
    await wire.send(OK);
    expect(second.head).toBe(first.head);
    expect(second.body).toMatchObject({ text: "ok", ended: true });
  });

  test("every answer is understood wherever it is split", async () => {
    for (const [name, text] of Object.entries(RESPONSES)) {
      const first = text.startsWith("HTTP/1.1 204") ? text.slice(0, text.indexOf("\r\n\r\n") + 4) : text;
      const answer = async (at: number): Promise<unknown> => {
        const wire = connect();
        const handler = heard();
        wire.client.dispatch(request(), handler);
        wire.stream.write(Buffer.from(first.slice(0, at), "latin1"));
        await new Promise((resolve) => setImmediate(resolve));
        wire.stream.write(Buffer.from(first.slice(at), "latin1"));
        await wire.end();
        const { head, body, informs, error } = handler;
        return {
          head: { ...head, memo: {} },
          text: body.text,
          ended: body.ended,
          trailers: body.trailers,
          informs,
          error,
        };
      };
      const whole = await answer(0);
      expect(whole).toMatchObject({ ended: true, error: undefined });
      for (let at = 1; at < first.length; at += 2)
        expect(await answer(at), `${name} at ${at}`).toEqual(whole);
    }
  });

  test("bodies: known length, unknown length, none where one is expected", async () => {
    const cases: [Parameters<typeof request>[0], string][] = [
      [{ method: "POST", body: bytesSource(Buffer.from("abc")) }, "Content-Length: 3\r\n\r\nabc"],
      [{ method: "PUT" }, "Content-Length: 0\r\n\r\n"],
      [{ method: "DELETE" }, "\r\n"],
      [{ method: "DELETE", body: bytesSource(Buffer.from("")) }, "Content-Length: 0\r\n\r\n"],
      [
        { method: "GET", headers: ["A", "b", "Content-Length", "7", "Connection", "x", "host", "b"] },
        "A: b\r\n\r\n",
      ],
    ];
    for (const [facts, tail] of cases) {
      const wire = connect();
      wire.client.dispatch(request(facts), heard());
      await settle();
      expect(wire.text()).toBe(`${facts?.method} / HTTP/1.1\r\nHost: a.test\r\n${tail}`);
      expect(wire.reads()).toBe(1);
    }
    const source = pushed();
    const wire = connect();
    wire.client.dispatch(request({ method: "GET", body: source }), heard());
    source.sink!.write(Buffer.from("abc"));
    source.sink!.end(["T", "v"]);
    await settle();
    expect(wire.text()).toBe(
      "GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n",
    );
  });

  test("what HTTP/1.1 cannot say is never sent", async () => {
    for (const facts of [
      { path: "/ x" },
      { path: "/\r\nA: b" },
      { path: "x" },
      { method: "GE T" },
      { method: "CONNECT" },
      { authority: "a b" },
      { authority: "a\r\nb" },
      { headers: ["A", "b\r\nC: d"] },
      { headers: ["A B", "c"] },
      { headers: ["A", "\0"] },
      { headers: ["", "a"] },
      { protocol: "a\r\nb" },
    ]) {
      const wire = connect();
      const handler = heard();
      wire.client.dispatch(request(facts), handler);
      await settle();
      expect(handler.error).toMatchObject({ code: "BAD_REQUEST", retry: "never" });
      expect(wire.text()).toBe("");
      expect(wire.idle).toBe(1);
    }
  });

  test("a memo keeps the request's text, and is not trusted for another", async () => {
    const memo = {};
    const headers = ["A", "b"];
    const wire = connect();
    for (const path of ["/1", "/1", "/2"]) {
      wire.client.dispatch(request({ path, headers, memo }), heard());
      await settle();
      expect(wire.take()).toBe(`GET ${path} HTTP/1.1\r\nHost: a.test\r\nA: b\r\n\r\n`);
      await wire.send(OK);
    }
  });

  test("HEAD, 204 and 304 have no body", async () => {
    for (const [method, answer] of [
      ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"],
      ["HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
      ["GET", "HTTP/1.1 204 No Content\r\n\r\n"],
      ["GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"],
    ] as const) {
      const wire = connect();
      const handler = heard();
      wire.client.dispatch(request({ method }), handler);
      await wire.send(answer);
      expect(handler.body).toMatchObject({ text: "", ended: true });
      expect(wire.idle).toBe(1);
    }
  });

  test("informational answers come before the final one", async () => {
    const wire = connect();
    const handler = heard();
    wire.client.dispatch(request(), handler);
    await wire.send(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n${OK}`);
    expect(handler.informs).toEqual([
      [103, ["Link", "</a>"]],
      [102, []],
    ]);
    expect(handler.body.text).toBe("ok");
  });

  test("a body that waits for 100 is sent after it, or after a second, and not after a final answer", async () => {
    const facts = { method: "POST", headers: ["Expect", "100-continue"] };
    const told = connect();
    told.client.dispatch(request({ ...facts, body: bytesSource(Buffer.from("abc")) }), heard());
    await settle();
    expect(told.text().endsWith("\r\n\r\n")).toBe(true);
    await told.send("HTTP/1.1 100 Continue\r\n\r\n");
    expect(told.text().endsWith("abc")).toBe(true);
    const silent = connect();
    silent.client.dispatch(request({ ...facts, body: bytesSource(Buffer.from("abc")) }), heard());
    await silent.clock.advance(1000);
    expect(silent.text().endsWith("abc")).toBe(true);
    const refused = connect();
    const source = pushed(3);
    const handler = heard();
    refused.client.dispatch(request({ ...facts, body: source }), handler);
    await refused.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
    expect(handler.head?.status).toBe(417);
    expect(source).toMatchObject({ started: false, cancelled: true });
    expect(refused.gone).toBe(1);
  });

  test("bytes on an idle connection close it, and so do bytes beyond an answer", async () => {
    const fresh = connect();
    await fresh.send(OK);
    expect(fresh.client.closed).toBe(true);
    const used = connect();
    const handler = heard();
    used.client.dispatch(request(), handler);
    await used.send(OK + OK);
    expect(handler.body).toMatchObject({ text: "ok", ended: true });
    expect(used.idle).toBe(0);
    expect(used.gone).toBe(1);
  });

  test("Connection: close and HTTP/1.0 end the connection after the answer", async () => {
    for (const answer of [
      OK.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
      OK.replace("HTTP/1.1", "HTTP/1.0"),
    ]) {
      const wire = connect();
      const handler = heard();
      wire.client.dispatch(request(), handler);
      await wire.send(answer);
      expect(handler.body.ended).toBe(true);
      expect(wire.idle).toBe(0);
      expect(wire.gone).toBe(1);
    }
  });

  test("an answer before the request's body is through ends the connection after it", async () => {
    const source = pushed(1000);
    const wire = connect();
    const handler = heard();
    wire.client.dispatch(request({ method: "POST", body: source }), handler);
    source.sink!.write(Buffer.from("abc"));
    await wire.send(OK);
    expect(handler.body).toMatchObject({ text: "ok", ended: true });
    expect(source.cancelled).toBe(true);
    expect(wire.gone).toBe(1);
  });

  test("a malformed answer is UPSTREAM_PROTOCOL, never to be repeated", async () => {
    for (const answer of [
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n",
      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
      "junk\r\n\r\n",
    ]) {
      const wire = connect();
      const handler = heard();
      wire.client.dispatch(request(), handler);
      await wire.send(answer);
      expect(handler.error, answer).toMatchObject({ code: "UPSTREAM_PROTOCOL", status: 502, retry: "never" });
      expect(wire.gone).toBe(1);
    }
  });

  test("an end before any byte of the answer may be repeated if idempotent, after one never", async () => {
    for (const [sent, retry] of [
      ["", "idempotent"],
      ["H", "never"],
      [OK.slice(0, 30), "never"],
    ] as const)
      for (const how of ["end", "destroy"] as const) {
        const wire = connect();
        const handler = heard();
        wire.client.dispatch(request(), handler);
        await wire.send(sent);
        wire.stream[how]();
        await settle();
        expect(handler.error).toMatchObject({ code: "UPSTREAM_RESET", retry });
        expect(wire.gone).toBe(1);
      }
  });

  test("a body that breaks at any byte is aborted, never ended", async () => {
    for (const text of [RESPONSES["a Content-Length"]!, RESPONSES["chunks and trailers"]!])
      for (const how of ["end", "destroy"] as const)
        for (let at = 1; at < text.length; at++) {
          const wire = connect();
          const handler = heard();
          wire.client.dispatch(request(), handler);
          wire.stream.write(text.slice(0, at));
          await new Promise((resolve) => setImmediate(resolve));
          wire.stream[how]();
          for (let i = 0; i < 20 && wire.gone === 0; i++)
            await new Promise((resolve) => setImmediate(resolve));
          expect(handler.body.ended).toBe(false);
          expect((handler.error ?? handler.body.error)?.code).toBe("UPSTREAM_RESET");
        }
  });

  test("a reset is no end for a body that lasts until the connection closes", async () => {
    const wire = connect();
    const handler = heard();
    wire.client.dispatch(request(), handler);
    await wire.send("HTTP/1.1 200 OK\r\n\r\nabc");
    wire.ours.destroy(new Error("reset"));
    await settle();
    expect(handler.body).toMatchObject({ text: "abc", ended: false });
    expect(handler.body.error?.code).toBe("UPSTREAM_RESET");
  });

  test("a slow reader stops the stream; what is held comes first afterwards", async () => {
    const wire = connect();
    const handler = heard();
    handler.body.more = false;
    wire.client.dispatch(request(), handler);
    await wire.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    await wire.send("def");
    expect(handler.body.text).toBe("abc");
    expect(wire.idle).toBe(0);
  });

  test("an unread body is held in bounds", async () => {
    const wire = connect({ maxBufferedBytes: 1000 });
    const handler = heard(false);
    wire.client.dispatch(request(), handler);
    wire.stream.write("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    for (let i = 0; i < 100; i++) wire.stream.write(Buffer.alloc(10_000));
    await settle();
    expect(wire.stream.writableLength).toBeGreaterThan(800_000);
  });

  test("cancelling closes the connection, and after the answer does nothing", async () => {
    const wire = connect();
    const handler = heard();
    const source = pushed(10);
    const cancel = wire.client.dispatch(request({ method: "POST", body: source }), handler);
    cancel();
    cancel();
    await settle();
    expect(wire.gone).toBe(1);
    expect(source.cancelled).toBe(true);
    expect(handler.error).toBeUndefined();
    const done = connect();
    const late = done.client.dispatch(request(), heard());
    await done.send(OK);
    late();
    await settle();
    expect(done.gone).toBe(0);
    expect(done.idle).toBe(1);
  });

  test("cancelling the answer's body closes the connection", async () => {
    const wire = connect();
    wire.client.dispatch(request(), {
      ...heard(),
      respond: (_head, body) => body!.cancel(),
    });
    await wire.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    expect(wire.gone).toBe(1);
  });

  test("a request body that breaks fails the request with its error", async () => {
    const wire = connect();
    const handler = heard();
    const source = pushed();
    wire.client.dispatch(request({ method: "POST", body: source }), handler);
    source.sink!.write(Buffer.from("abc"));
    const error = new EdgeError("CLIENT_CLOSED", "gone");
    source.sink!.abort(error);
    await settle();
    expect(handler.error).toBe(error);
    expect(wire.gone).toBe(1);
    expect(wire.text()).not.toContain("0\r\n\r\n");
  });

  test("an answer that takes too long is UPSTREAM_TIMEOUT; a body may take its time", async () => {
    const slow = connect({ responseTimeoutMs: 5000 });
    const handler = heard();
    slow.client.dispatch(request(), handler);
    await slow.clock.advance(4900);
    expect(handler.error).toBeUndefined();
    await slow.clock.advance(2000);
    expect(handler.error).toMatchObject({ code: "UPSTREAM_TIMEOUT", status: 504 });
    const streaming = connect({ responseTimeoutMs: 5000 });
    const other = heard();
    streaming.client.dispatch(request(), other);
    await streaming.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    await streaming.clock.advance(60_000);
    await streaming.send("def");
    expect(other.body).toMatchObject({ text: "abcdef", ended: true });
  });

  test("a handler that throws ends its connection, not the process", async () => {
    const wire = connect();
    const handler = heard();
    wire.client.dispatch(request(), {
      ...handler,
      respond() {
        throw new Error("boom");
      },
    });
    await wire.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    expect(wire.gone).toBe(1);
  });

  test("informational answers without end are not waited out", async () => {
    const wire = connect();
    const handler = heard();
    wire.client.dispatch(request(), handler);
    await wire.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(200));
    expect(handler.error?.code).toBe("UPSTREAM_PROTOCOL");
    expect(handler.informs).toHaveLength(100);
  });

  test("an upgrade hands over the stream and what came with the 101", async () => {
    const wire = connect();
    const handler = heard();
    wire.client.dispatch(request({ protocol: "websocket", headers: ["Sec-WebSocket-Key", "k"] }), handler);
    await settle();
    expect(wire.text()).toBe(
      "GET / HTTP/1.1\r\nHost: a.test\r\nSec-WebSocket-Key: k\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    );
    await wire.send(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\nearly",
    );
    expect(handler.head?.status).toBe(101);
    let got = "";
    handler.stream!.on("data", (chunk) => {
      got += chunk.toString();
    });
    handler.stream!.resume();
    await wire.send(" more");
    expect(got).toBe("early more");
    expect(wire.idle).toBe(0);
    handler.stream!.destroy();
    await settle();
    expect(wire.gone).toBe(1);
  });

  test("an upgrade may be refused with an ordinary answer", async () => {
    const wire = connect();
    const handler = heard();
    wire.client.dispatch(request({ protocol: "websocket" }), handler);
    await wire.send(OK);
    expect(handler).toMatchObject({ head: { status: 200 }, stream: undefined });
    expect(wire.idle).toBe(1);
  });
});

describe("the pool", () => {
  interface Pool {
    wires: Wire[];
    transport: ReturnType<typeof createHttp1Transport>;
    clock: ManualClock;
  }

  function pool(options: Partial<Http1TransportOptions> = {}): Pool {
    const clock = manualClock();
    const wires: Wire[] = [];
    const transport = createHttp1Transport({
      clock,
      connect(done) {
        const { ours, wire } = pair();
        wires.push(wire);
        setImmediate(() => done(undefined, ours as ByteStream));
        return () => ours.destroy();
      },
      ...options,
    });
    return { wires, transport, clock };
  }

  test("the connection used last is used next", async () => {
    const { wires, transport } = pool();
    const handlers = [heard(), heard(), heard()];
    transport.dispatch(request(), handlers[0]!);
    transport.dispatch(request(), handlers[1]!);
    await settle();
    expect(wires).toHaveLength(2);
    await wires[1]!.send(OK);
    await wires[0]!.send(OK);
    transport.dispatch(request({ path: "/3" }), handlers[2]!);
    await settle();
    expect(wires[0]!.text()).toContain("/3");
    await wires[0]!.send(OK);
    expect(handlers.every((handler) => handler.body.text === "ok")).toBe(true);
    expect(transport.connections).toBe(2);
    expect(transport.idle).toBe(2);
  });

  test("a stream that ended, or spoke, while idle is not used again", async () => {
    for (const spoil of [(wire: Wire) => wire.end(), (wire: Wire) => wire.send(OK)]) {
      const { wires, transport } = pool();
      transport.dispatch(request(), heard());
      await settle();
      await wires[0]!.send(OK);
      await spoil(wires[0]!);
      const handler = heard();
      transport.dispatch(request(), handler);
      await settle();
      expect(wires).toHaveLength(2);
      await wires[1]!.send(OK);
      expect(handler.body.ended).toBe(true);
    }
  });

  test("a failed connect may be repeated for any method", async () => {
    const { transport } = pool({
      connect(done) {
        setImmediate(() => done(new EdgeError("UPSTREAM_CONNECT", "refused"), undefined));
        return () => {};
      },
    });
    const handler = heard();
    const source = pushed(3);
    transport.dispatch(request({ method: "POST", body: source }), handler);
    await settle();
    expect(handler.error).toMatchObject({ code: "UPSTREAM_CONNECT", retry: "any", status: 502 });
    expect(transport.connections).toBe(0);
  });

  test("a failed connect leaves the request's body unread", async () => {
    const { transport } = pool({
      connect(done) {
        setImmediate(() => done(new EdgeError("UPSTREAM_CONNECT", "refused"), undefined));
        return () => {};
      },
    });
    const source = pushed(3);
    transport.dispatch(request({ method: "POST", body: source }), heard());
    await settle();
    expect(source).toMatchObject({ started: false, cancelled: false });
  });

  test("requests beyond maxConnections wait their turn; beyond maxWaiting they are refused", async () => {
    const { wires, transport } = pool({ maxConnections: 1, maxWaiting: 1 });
    const handlers = [heard(), heard(), heard()];
    for (const handler of handlers) transport.dispatch(request(), handler);
    await settle();
    expect(handlers[2]!.error).toMatchObject({ code: "UPSTREAM_REFUSED", retry: "any" });
    await wires[0]!.send(OK);
    await wires[0]!.send(OK);
    expect(handlers[1]!.body.text).toBe("ok");
    expect(wires).toHaveLength(1);
  });

  test("a request that waits goes on when the connection in its way breaks", async () => {
    const { wires, transport } = pool({ maxConnections: 1 });
    const handlers = [heard(), heard()];
    for (const handler of handlers) transport.dispatch(request(), handler);
    await settle();
    wires[0]!.stream.destroy();
    await settle();
    expect(handlers[0]!.error?.code).toBe("UPSTREAM_RESET");
    await wires[1]!.send(OK);
    expect(handlers[1]!.body.text).toBe("ok");
  });

  test("cancelling while connecting or waiting frees the place", async () => {
    const { wires, transport } = pool({ maxConnections: 1 });
    const handlers = [heard(), heard(), heard()];
    const cancels = handlers.map((handler) => transport.dispatch(request(), handler));
    cancels[1]!();
    cancels[0]!();
    await settle();
    expect(wires).toHaveLength(2);
    await wires[1]!.send(OK);
    expect(handlers.map((handler) => handler.head?.status)).toEqual([undefined, undefined, 200]);
    expect(handlers.every((handler) => handler.error === undefined)).toBe(true);
  });

  test("idle connections beyond maxIdle, and those idle too long, are closed", async () => {
    const { wires, transport, clock } = pool({ maxIdle: 1, idleTimeoutMs: 4000 });
    transport.dispatch(request(), heard());
    transport.dispatch(request(), heard());
    await settle();
    await wires[0]!.send(OK);
    await wires[1]!.send(OK);
    expect(transport.connections).toBe(1);
    await clock.advance(6000);
    expect(transport.connections).toBe(0);
  });

  test("close lets requests in flight finish, and refuses new ones for another server", async () => {
    const { wires, transport } = pool();
    const handler = heard();
    transport.dispatch(request(), handler);
    await settle();
    let closed = false;
    const closing = transport.close().then(() => {
      closed = true;
    });
    const refused = heard();
    transport.dispatch(request(), refused);
    await settle();
    expect(refused.error).toMatchObject({ retry: "any" });
    expect(closed).toBe(false);
    await wires[0]!.send(OK);
    expect(handler.body.text).toBe("ok");
    await closing;
    await transport.close();
  });

  test("sinks see one write for a small chunked answer", async () => {
    const { wires, transport } = pool();
    const handler = heard();
    transport.dispatch(request(), handler);
    await settle();
    await wires[0]!.send(
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n",
    );
    expect(handler.body).toMatchObject({ text: "ab", writes: 1, ended: true });
    expect(collector().writes).toBe(0);
  });
});
