import { describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import { bytesSource } from "../../src/exchange/body.ts";
import { type Exchange, responseHead } from "../../src/exchange/exchange.ts";
import { parseResponses } from "../../src/http1/messages.ts";
import { REFUSED, REQUESTS } from "./fixtures.ts";
import { answerHello, collector, pushed, serve, settle } from "./wire.ts";

const GET = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const HELLO = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: x\r\nContent-Length: 5\r\n\r\nhello";
const later = (): void => {};
const head = responseHead(200, ["Date", "x"]);
const failure = new EdgeError("INTERNAL", "test");

/** Answers with the body that came. */
function echo(exchange: Exchange): void {
  if (exchange.body === undefined) {
    exchange.respond(head, Buffer.from(exchange.head.path));
    return;
  }
  const read = collector();
  exchange.body.start({
    write: (chunk) => read.write(chunk),
    end: () => exchange.respond(head, Buffer.from(read.text)),
    abort: (error) => read.abort(error),
  });
}

function statuses(text: string): number[] {
  return parseResponses([Buffer.from(text, "latin1")]).messages.map((message) => message.parsed.head.status);
}

describe("answers", () => {
  test("a small answer is one write", async () => {
    const wire = serve();
    await wire.send(GET);
    expect(wire.text()).toBe(HELLO);
    expect(wire.reads()).toBe(1);
  });

  test("answers to pipelined requests come in order and in one write", async () => {
    const wire = serve(echo);
    await wire.send(REQUESTS["three in a row"]!);
    const { messages } = parseResponses([Buffer.from(wire.text())]);
    expect(messages.map((message) => message.body)).toEqual(["/1", "ab", "/3"]);
    expect(wire.reads()).toBe(1);
  });

  test("a pipelined request is not seen before the one in front is answered", async () => {
    const wire = serve(later);
    await wire.send(GET + GET);
    expect(wire.exchanges).toHaveLength(1);
    answerHello(wire.exchanges[0]!);
    await settle();
    expect(wire.exchanges).toHaveLength(2);
    answerHello(wire.exchanges[1]!);
    await settle();
    expect(wire.text()).toBe(HELLO + HELLO);
  });

  test("of a head that repeats itself all but the first are one object, as a connection's first is not kept", async () => {
    const wire = serve(answerHello);
    await wire.send(GET + GET + GET + GET);
    const [first, second, third, fourth] = wire.exchanges.map(({ head }) => head);
    expect(second).toEqual(first);
    expect(second).not.toBe(first);
    expect(third).toBe(second);
    expect(fourth).toBe(second);
  });

  test("much pipelined data pauses the stream", async () => {
    const wire = serve(later, { maxBufferedBytes: 1000 });
    for (let i = 0; i < 400; i++) wire.stream.write(GET.repeat(100));
    await settle();
    expect(wire.ours.isPaused()).toBe(true);
    const held = 400 * 100 * GET.length - wire.stream.writableLength;
    expect(held).toBeLessThan(200_000);
  });

  test("a body of unknown length is chunked, with trailers", async () => {
    const source = pushed();
    const wire = serve((exchange) => exchange.respond(head, source));
    await wire.send(GET);
    source.sink!.write(Buffer.from("abc"));
    source.sink!.end(["X-Sum", "1"]);
    await settle();
    expect(wire.text()).toBe(
      "HTTP/1.1 200 OK\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    await wire.send(GET);
    expect(wire.exchanges).toHaveLength(2);
  });

  test("towards HTTP/1.0 a body of unknown length lasts until the connection closes", async () => {
    const source = pushed();
    const wire = serve((exchange) => exchange.respond(head, source));
    await wire.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    source.sink!.write(Buffer.from("abc"));
    source.sink!.end();
    await settle();
    expect(wire.text()).toBe("HTTP/1.1 200 OK\r\nDate: x\r\nConnection: close\r\n\r\nabc");
    expect(wire.ended()).toBe(true);
  });

  test("HTTP/1.0 keep-alive is granted where the length is known", async () => {
    const wire = serve();
    await wire.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    expect(wire.take()).toContain("Connection: keep-alive\r\n");
    await wire.send("GET / HTTP/1.0\r\n\r\n");
    expect(wire.text()).toContain("Connection: close\r\n");
    expect(wire.ended()).toBe(true);
  });

  test("HEAD, 204 and 304 have no body, and HEAD keeps its length", async () => {
    const wire = serve((exchange) => {
      const status = Number(exchange.head.path.slice(1));
      exchange.respond(responseHead(status, ["Date", "x"]), Buffer.from("hello"));
    });
    await wire.send(
      "HEAD /200 HTTP/1.1\r\nHost: a\r\n\r\nGET /204 HTTP/1.1\r\nHost: a\r\n\r\nGET /304 HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    expect(wire.text()).toBe(
      "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 No Content\r\nDate: x\r\n\r\nHTTP/1.1 304 Not Modified\r\nDate: x\r\n\r\n",
    );
  });

  test("an answer without a body says so", async () => {
    const wire = serve((exchange) => exchange.respond(head));
    await wire.send(GET);
    expect(wire.text()).toBe("HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n");
  });

  test("Date is added where it is missing", async () => {
    const wire = serve((exchange) => exchange.respond(responseHead(200)));
    await wire.send(GET);
    expect(wire.text()).toContain("Date: Mon, 01 Jun 2026 12:00:00 GMT\r\n");
  });

  test("a Content-Length of the answer's own is kept, framing fields are not", async () => {
    const wire = serve((exchange) =>
      exchange.respond(
        responseHead(200, [
          "content-length",
          "5",
          "Transfer-Encoding",
          "chunked",
          "Date",
          "x",
          "Keep-Alive",
          "y",
        ]),
        bytesSource(Buffer.from("hello")),
      ),
    );
    await wire.send(GET);
    expect(wire.text()).toBe("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nDate: x\r\n\r\nhello");
  });

  test("a body shorter or longer than its Content-Length cuts the connection", async () => {
    for (const text of ["hell", "hello!"]) {
      const source = pushed();
      const wire = serve((exchange) => exchange.respond(responseHead(200, ["Content-Length", "5"]), source));
      await wire.send(GET);
      source.sink!.write(Buffer.from(text));
      source.sink!.end();
      await settle();
      expect(wire.closed()).toBe(true);
      expect(wire.text().endsWith("hello")).toBe(false);
    }
  });

  test("a field that would split the answer is never sent", async () => {
    const wire = serve((exchange) => exchange.respond(responseHead(200, ["A", "b\r\nSet-Cookie: c"])));
    await wire.send(GET);
    expect(wire.text()).toBe("");
    expect(wire.closed()).toBe(true);
  });

  test("trailers that would split the answer cut it", async () => {
    const source = pushed();
    const wire = serve((exchange) => exchange.respond(head, source));
    await wire.send(GET);
    source.sink!.end(["A", "b\r\n\r\nHTTP/1.1 200 OK"]);
    await settle();
    expect(wire.text()).not.toContain("0\r\n");
    expect(wire.closed()).toBe(true);
  });

  test("a cut body is never passed off as whole", async () => {
    for (const version of ["1.1", "1.0"]) {
      const source = pushed();
      const wire = serve((exchange) => exchange.respond(head, source));
      let closed: unknown;
      await wire.send(`GET / HTTP/${version}\r\nHost: a\r\n\r\n`);
      wire.exchanges[0]!.onClose((error) => {
        closed = error;
      });
      source.sink!.write(Buffer.from("abc"));
      await settle();
      source.sink!.abort(failure);
      await settle();
      expect(wire.text()).not.toContain("0\r\n\r\n");
      expect(wire.closed()).toBe(true);
      expect(closed).toBe(failure);
    }
  });

  test("close listeners run once, and late calls do nothing", async () => {
    const wire = serve(later);
    await wire.send(GET);
    const exchange = wire.exchanges[0]!;
    const seen: unknown[] = [];
    exchange.onClose((error) => seen.push(error?.code));
    exchange.onClose((error) => seen.push(error?.code));
    wire.stream.destroy();
    await settle();
    expect(seen).toEqual(["CLIENT_CLOSED", "CLIENT_CLOSED"]);
    const source = pushed();
    exchange.respond(head, source);
    expect(source.cancelled).toBe(true);
    exchange.inform(103, []);
    exchange.reset(failure);
    exchange.onClose((error) => seen.push(error?.code));
    expect(seen).toHaveLength(3);
    expect(wire.serverClosed()).toBe(true);
  });

  test("a handler that throws ends its connection, not the process", async () => {
    const wire = serve(() => {
      throw new Error("boom");
    });
    await wire.send(GET);
    expect(wire.closed()).toBe(true);
  });

  test("a slow reader stops the body, and draining lets it go on", async () => {
    const source = pushed();
    const wire = serve((exchange) => exchange.respond(head, source));
    await wire.send(GET);
    wire.stream.pause();
    let more = true;
    let written = 0;
    while (more && written < 10_000_000) {
      more = source.sink!.write(Buffer.alloc(65_536));
      written += 65_536;
    }
    expect(more).toBe(false);
    expect(written).toBeLessThan(1_000_000);
    await settle();
    expect(source.resumed).toBe(0);
    wire.stream.resume();
    await settle();
    expect(source.resumed).toBe(1);
  });

  test("a client that sends without reading is not served without bound", async () => {
    const big = Buffer.alloc(100_000);
    const wire = serve((exchange) => exchange.respond(head, big), { maxBufferedBytes: 1000 });
    wire.stream.pause();
    for (let i = 0; i < 50; i++) wire.stream.write(GET.repeat(10));
    await settle();
    expect(wire.exchanges.length).toBeLessThan(10);
    wire.stream.resume();
    await settle();
    await settle();
    for (let i = 0; i < 200 && wire.exchanges.length < 500; i++) await settle();
    expect(wire.exchanges).toHaveLength(500);
  });
});

describe("requests", () => {
  test("every good request is answered wherever it is split", async () => {
    for (const [name, text] of Object.entries(REQUESTS)) {
      const whole = serve(echo);
      await whole.send(text);
      for (let at = 1; at < text.length; at += 3) {
        const wire = serve(echo);
        wire.stream.write(Buffer.from(text.slice(0, at), "latin1"));
        await new Promise((resolve) => setImmediate(resolve));
        wire.stream.write(Buffer.from(text.slice(at), "latin1"));
        for (let i = 0; i < 20 && wire.text().length < whole.text().length; i++)
          await new Promise((resolve) => setImmediate(resolve));
        expect(wire.text(), `${name} at ${at}`).toBe(whole.text());
      }
    }
  });

  for (const [name, [status, text]] of Object.entries(REFUSED))
    test(`${name}: ${status}, close, and an offence; also after a half-close`, async () => {
      const wire = serve(later);
      wire.stream.write(Buffer.from(text, "latin1"));
      await wire.end();
      expect(statuses(wire.text())).toEqual([status]);
      expect(wire.text()).toContain("Connection: close\r\n");
      expect(wire.ended()).toBe(true);
      expect(wire.offences).toEqual(["malformed"]);
      expect(wire.serverClosed()).toBe(true);
    });

  test("nothing after a refused request is served", async () => {
    const wire = serve();
    await wire.send(`GET / HTTP/1.1\r\n\r\n${GET}`);
    expect(statuses(wire.text())).toEqual([400]);
    expect(wire.exchanges).toHaveLength(0);
  });

  test("a body waits in bounds until it is read", async () => {
    const wire = serve(later, { maxBufferedBytes: 1000 });
    await wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    await wire.send(Buffer.alloc(2000, "a"));
    expect(wire.ours.isPaused()).toBe(true);
    wire.stream.write(Buffer.alloc(98_000, "a"));
    const read = collector();
    wire.exchanges[0]!.body!.start(read);
    await settle();
    expect(read.text).toHaveLength(100_000);
    expect(read.ended).toBe(true);
  });

  test("a reader that stops pauses the stream, and goes on where it stopped", async () => {
    const wire = serve(later);
    await wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    const read = collector();
    read.more = false;
    const { body } = wire.exchanges[0]!;
    body!.start(read);
    expect(wire.ours.isPaused()).toBe(true);
    wire.stream.write("3\r\ndef\r\n0\r\nA: b\r\n\r\n");
    await settle();
    expect(read.text).toBe("abc");
    read.more = true;
    body!.resume();
    await settle();
    expect(read).toMatchObject({ text: "abcdef", ended: true, trailers: ["A", "b"] });
  });

  test("bodies of every method stay framed", async () => {
    for (const method of ["GET", "HEAD", "DELETE", "OPTIONS", "POST", "PUT", "PATCH"])
      for (const framing of [
        "Content-Length: 3\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
      ]) {
        const wire = serve(echo);
        await wire.send(`${method} /x HTTP/1.1\r\nHost: a\r\n${framing}${GET}`);
        expect(wire.exchanges.map((exchange) => exchange.head.path)).toEqual(["/x", "/"]);
      }
  });

  test("100 is sent when the body is read, not before, and not after inform(100)", async () => {
    const text = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    const wire = serve(later);
    await wire.send(text);
    const exchange = wire.exchanges[0]!;
    expect(exchange.expectsContinue).toBe(true);
    expect(wire.text()).toBe("");
    const read = collector();
    exchange.body!.start(read);
    await settle();
    expect(wire.take()).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    expect(exchange.expectsContinue).toBe(false);
    await wire.send("abc");
    expect(read.ended).toBe(true);

    const other = serve((exchange) => {
      exchange.inform(100, []);
      exchange.body!.start(collector());
    });
    await other.send(text);
    expect(other.text()).toBe("HTTP/1.1 100 Continue\r\n\r\n");
  });

  test("an answer instead of a 100 closes the connection", async () => {
    const wire = serve((exchange) => exchange.respond(responseHead(417)));
    await wire.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    expect(wire.text()).toContain("Connection: close\r\n");
    expect(wire.ended()).toBe(true);
  });

  test("informational answers go to 1.1 and not to 1.0", async () => {
    for (const version of ["1.1", "1.0"]) {
      const wire = serve((exchange) => {
        exchange.inform(103, ["Link", "</a>"]);
        exchange.respond(head);
      });
      await wire.send(`GET / HTTP/${version}\r\nHost: a\r\n\r\n`);
      expect(wire.text().startsWith("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200")).toBe(
        version === "1.1",
      );
    }
  });

  test("what is left of a body after an early answer is thrown away, within bounds", async () => {
    const wire = serve((exchange) => exchange.respond(head));
    await wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    expect(wire.take()).not.toContain("close");
    await wire.send(Buffer.alloc(1000, "G"));
    await wire.send(GET);
    expect(statuses(wire.text())).toEqual([200]);
    expect(wire.exchanges).toHaveLength(2);
  });

  test("too large a rest closes the connection after the answer, which still arrives", async () => {
    const wire = serve((exchange) => exchange.respond(head), { maxDrainBytes: 100 });
    await wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    expect(wire.text()).toContain("Connection: close");
    expect(wire.ended()).toBe(true);

    const chunked = serve((exchange) => exchange.respond(head), { maxDrainBytes: 100 });
    await chunked.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect(statuses(chunked.text())).toEqual([200]);
    await chunked.send(`C8\r\n${"a".repeat(200)}\r\n`);
    expect(chunked.ended()).toBe(true);
    expect(statuses(chunked.text())).toEqual([200]);
  });

  test("a reader of the body hears of an early answer", async () => {
    const read = collector();
    const wire = serve((exchange) => {
      exchange.body!.start(read);
      exchange.respond(head);
    });
    await wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    expect(read.error).toBeInstanceOf(EdgeError);
    await wire.send(`cd${GET}`);
    expect(wire.exchanges).toHaveLength(2);
  });
});

describe("closing", () => {
  test("a half-close lets the answer finish, then the connection closes", async () => {
    const wire = serve(later);
    wire.stream.write(GET);
    await wire.end();
    answerHello(wire.exchanges[0]!);
    await settle();
    expect(statuses(wire.text())).toEqual([200]);
    expect(wire.text()).toContain("Connection: close");
    expect(wire.serverClosed()).toBe(true);
  });

  test("pipelined requests before a half-close are all answered", async () => {
    const wire = serve(later);
    wire.stream.write(GET + GET);
    await wire.end();
    answerHello(wire.exchanges[0]!);
    await settle();
    answerHello(wire.exchanges[1]!);
    await settle();
    expect(statuses(wire.text())).toEqual([200, 200]);
    expect(wire.serverClosed()).toBe(true);
  });

  test("a half-close within a body cuts the request off", async () => {
    const wire = serve(later);
    const read = collector();
    wire.stream.write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab");
    await settle();
    wire.exchanges[0]!.body!.start(read);
    await wire.end();
    expect(read.error?.code).toBe("BAD_REQUEST");
    expect(read.ended).toBe(false);
    expect(statuses(wire.text())).toEqual([400]);
  });

  test("a half-close within the body of a pipelined request cuts that off at its turn", async () => {
    const wire = serve(later);
    wire.stream.write(`${GET}POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab`);
    await wire.end();
    answerHello(wire.exchanges[0]!);
    await settle();
    expect(wire.exchanges).toHaveLength(2);
    expect(statuses(wire.text())).toEqual([200, 400]);
    expect(wire.serverClosed()).toBe(true);
  });

  test("a half-close on an idle connection closes it", async () => {
    const wire = serve();
    await wire.send(GET);
    await wire.end();
    expect(wire.serverClosed()).toBe(true);
  });

  test("a half-closed client whose answer is silent is given up after two seconds", async () => {
    const source = pushed();
    const wire = serve((exchange) => exchange.respond(head, source));
    wire.stream.write(GET);
    await wire.end();
    await wire.clock.advance(1000);
    expect(wire.serverClosed()).toBe(false);
    await wire.clock.advance(4000);
    expect(wire.serverClosed()).toBe(true);
    expect(source.cancelled).toBe(true);
  });

  test("drain closes an idle connection, and a busy one after its answer", async () => {
    const idle = serve();
    await idle.send(GET);
    idle.server.drain();
    await settle();
    expect(idle.ended()).toBe(true);
    const busy = serve(later);
    await busy.send(GET);
    expect(busy.server.busy).toBe(true);
    busy.server.drain();
    await settle();
    expect(busy.ended()).toBe(false);
    answerHello(busy.exchanges[0]!);
    await settle();
    expect(busy.text()).toContain("Connection: close");
    expect(busy.ended()).toBe(true);
  });

  test("destroy cancels what is in flight", async () => {
    const source = pushed();
    const wire = serve((exchange) => exchange.respond(head, source));
    await wire.send(GET);
    wire.server.destroy();
    await settle();
    expect(source.cancelled).toBe(true);
    expect(wire.serverClosed()).toBe(true);
  });

  test("a client that goes away at any byte leaves nothing open", async () => {
    for (const text of Object.values(REQUESTS))
      for (let at = 0; at <= text.length; at += 5) {
        const wire = serve((exchange) => exchange.body?.start(collector()));
        wire.stream.write(Buffer.from(text.slice(0, at), "latin1"));
        await new Promise((resolve) => setImmediate(resolve));
        wire.stream.destroy();
        for (let i = 0; i < 20 && !wire.serverClosed(); i++)
          await new Promise((resolve) => setImmediate(resolve));
        expect(wire.serverClosed()).toBe(true);
        expect(wire.exchanges.every((exchange) => exchange.closed)).toBe(true);
      }
  });

  test("the last request of a connection is told so", async () => {
    const wire = serve(answerHello, { maxRequestsPerConnection: 2 });
    await wire.send(GET);
    expect(wire.take()).not.toContain("close");
    await wire.send(GET);
    expect(wire.text()).toContain("Connection: close");
    expect(wire.ended()).toBe(true);
  });
});

describe("limits", () => {
  test("a connection that says nothing is closed; half a head gets 408", async () => {
    const silent = serve();
    await silent.clock.advance(12_000);
    expect(silent.text()).toBe("");
    expect(silent.serverClosed()).toBe(true);
    expect(silent.offences).toEqual(["head_timeout"]);
    const slow = serve();
    await slow.send(GET.slice(0, 10));
    await slow.clock.advance(9000);
    expect(slow.text()).toBe("");
    await slow.clock.advance(3000);
    expect(statuses(slow.text())).toEqual([408]);
    expect(slow.offences).toEqual(["head_timeout"]);
  });

  test("the time for a head counts from its first byte", async () => {
    const wire = serve();
    await wire.send(GET);
    await wire.clock.advance(30_000);
    wire.take();
    await wire.send("GET");
    await wire.clock.advance(9000);
    expect(wire.text()).toBe("");
    await wire.clock.advance(3000);
    expect(statuses(wire.text())).toEqual([408]);
  });

  test("an idle connection is closed after its time, without an answer", async () => {
    const wire = serve();
    await wire.send(GET);
    await wire.clock.advance(64_000);
    expect(wire.ended()).toBe(false);
    await wire.clock.advance(3000);
    expect(wire.text()).toBe(HELLO);
    expect(wire.ended()).toBe(true);
    expect(wire.offences).toEqual(["idle_timeout"]);
  });

  test("a body that trickles gets 408 after its grace; a fast one goes on", async () => {
    const post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n";
    const slow = serve((exchange) => exchange.body!.start(collector()));
    await slow.send(post);
    for (let s = 0; s < 9; s++) {
      await slow.send("a");
      await slow.clock.advance(1000);
    }
    expect(slow.text()).toBe("");
    await slow.clock.advance(3000);
    expect(statuses(slow.text())).toEqual([408]);
    expect(slow.offences).toEqual(["body_rate"]);
    const fast = serve((exchange) => exchange.body!.start(collector()));
    await fast.send(post);
    for (let s = 0; s < 30; s++) {
      await fast.send(Buffer.alloc(300));
      await fast.clock.advance(1000);
    }
    expect(fast.offences).toEqual([]);
  });

  test("a client is not blamed for a server that does not read", async () => {
    const wire = serve(later, { maxBufferedBytes: 100 });
    await wire.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n${"a".repeat(200)}`);
    await wire.clock.advance(60_000);
    expect(wire.offences).toEqual([]);
    expect(wire.closed()).toBe(false);
  });

  test("a client that takes no byte of its answer is cut off", async () => {
    const source = pushed();
    const wire = serve((exchange) => exchange.respond(head, source));
    await wire.send(GET);
    wire.stream.pause();
    for (let i = 0; i < 10; i++) source.sink!.write(Buffer.alloc(65_536));
    await wire.clock.advance(58_000);
    expect(wire.closed()).toBe(false);
    await wire.clock.advance(5000);
    expect(wire.offences).toEqual(["write_timeout"]);
    expect(source.cancelled).toBe(true);
  });

  test("a client that does not close after our close is cut off", async () => {
    const wire = serve();
    await wire.send(GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    expect(wire.ended()).toBe(true);
    expect(wire.serverClosed()).toBe(false);
    await wire.clock.advance(7000);
    expect(wire.serverClosed()).toBe(true);
  });
});

describe("upgrade", () => {
  const UPGRADE = REQUESTS["an upgrade"]!;

  test("bytes flow both ways after the 101, early ones behind it", async () => {
    const wire = serve(later);
    await wire.send(`${UPGRADE}early`);
    const exchange = wire.exchanges[0]!;
    expect(exchange.head.protocol).toBe("websocket");
    expect(exchange.body).toBeUndefined();
    const stream = exchange.accept(["Sec-WebSocket-Accept", "x"]);
    let got = "";
    stream.on("data", (chunk) => {
      got += chunk.toString();
    });
    stream.resume();
    stream.write("from server");
    await wire.send(" more");
    expect(got).toBe("early more");
    expect(wire.text()).toBe(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nfrom server",
    );
    expect(exchange.answered).toBe(true);
    expect(exchange.closed).toBe(false);
    let closed: unknown = "not";
    exchange.onClose((error) => {
      closed = error;
    });
    stream.destroy();
    await settle();
    expect(closed).toBeUndefined();
    expect(wire.serverClosed()).toBe(true);
  });

  test("a client that closed its side gets no upgrade", async () => {
    const wire = serve(later);
    wire.stream.write(UPGRADE);
    await wire.end();
    expect(wire.exchanges[0]!.accept([]).destroyed).toBe(true);
    await settle();
    expect(wire.serverClosed()).toBe(true);
  });

  test("other protocols are plain requests", async () => {
    const wire = serve();
    await wire.send(
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
    );
    expect(wire.exchanges[0]!.head.protocol).toBeUndefined();
    expect(() => wire.exchanges[0]!.accept([])).not.toThrow();
    expect(wire.text()).toBe(HELLO);
  });

  test("a refused upgrade is an ordinary answer", async () => {
    const wire = serve((exchange) => exchange.respond(responseHead(403, ["Date", "x"])));
    await wire.send(UPGRADE + GET);
    expect(statuses(wire.text())).toEqual([403, 403]);
  });
});
