import { describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import type { ByteSink, ByteSource } from "../../src/exchange/body.ts";
import { bytesSource, collect } from "../../src/exchange/body.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import { installWebGlobals } from "../../src/exchange/web-globals.ts";
import { NativeRequest, NativeResponse } from "../../src/exchange/web-native.ts";
import { exchangeOf, lazyRequest, requestParts } from "../../src/exchange/web-request.ts";
import { lazyResponse, sendResponse } from "../../src/exchange/web-response.ts";
import { exactly, sourceOf, streamOf } from "../../src/exchange/web-stream.ts";
import { memoryExchange } from "./memory-exchange.ts";

installWebGlobals();
installWebGlobals();

const closed = new EdgeError("CLIENT_CLOSED", "the client left", { source: "downstream" });
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A source that a test feeds by hand. */
function manualSource(): ByteSource & {
  sink: ByteSink | undefined;
  resumes: number;
  cancelled: EdgeError | undefined | null;
} {
  return {
    length: undefined,
    started: false,
    sink: undefined,
    resumes: 0,
    cancelled: null,
    start(sink) {
      this.sink = sink;
    },
    resume() {
      this.resumes++;
    },
    cancel(error) {
      this.cancelled = error;
    },
  };
}

/** A stream pulls a few microtasks after it is read. */
async function started(source: { readonly sink: ByteSink | undefined }): Promise<ByteSink> {
  while (!source.sink) await Promise.resolve();
  return source.sink;
}

describe("a lazy request", () => {
  test("touched by nobody is forwarded with the exchange's own head and body", () => {
    const exchange = memoryExchange({ method: "POST", body: "x", protocol: "websocket" });
    const parts = requestParts(lazyRequest(exchange));
    expect(parts.head).toBe(exchange.head);
    expect(parts.headers).toBe(exchange.head.headers);
    expect(parts.body).toBe(exchange.body);
    expect(parts.protocol).toBe("websocket");
  });

  test("whose body was looked at but not read is forwarded with the same body", () => {
    const exchange = memoryExchange({ method: "POST", body: "x" });
    const request = lazyRequest(exchange);
    expect(request.body).toBeInstanceOf(ReadableStream);
    expect(requestParts(request).body).toBe(exchange.body);
    expect(request.bodyUsed).toBe(true);
    expect(request.body?.locked).toBe(true);
  });

  test("whose body was read cannot be forwarded, and one that was forwarded cannot be read", async () => {
    const read = lazyRequest(memoryExchange({ method: "POST", body: "x" }));
    expect(await read.text()).toBe("x");
    expect(() => requestParts(read)).toThrow(TypeError);
    const sent = lazyRequest(memoryExchange({ method: "POST", body: "x" }));
    requestParts(sent);
    await expect(sent.text()).rejects.toThrow(TypeError);
  });

  test("made anew keeps its exchange and, with the body as it was, the byte path", () => {
    const exchange = memoryExchange({ method: "POST", path: "/a?b", body: "x", protocol: "h2c" });
    const made = new Request(lazyRequest(exchange), { headers: { "x-a": "b" } });
    expect(exchangeOf(made)).toBe(exchange);
    expect(exchangeOf(new Request(made))).toBe(exchange);
    const parts = requestParts(new Request(lazyRequest(exchange), { headers: { "x-a": "b" } }));
    expect(parts).toMatchObject({
      method: "POST",
      path: "/a?b",
      authority: "app.example.com",
      scheme: "https",
      protocol: "h2c",
    });
    expect(parts.headers).toEqual(["x-a", "b"]);
    expect(parts.head).toBeUndefined();
  });

  test("aborts its signal with why the exchange ended, but not when it ended well", () => {
    const cut = memoryExchange();
    const { signal } = lazyRequest(cut);
    expect(signal.aborted).toBe(false);
    cut.finish(closed);
    expect(signal.aborted).toBe(true);
    expect(signal.reason).toBe(closed);
    const whole = memoryExchange();
    const request = lazyRequest(whole);
    expect(request.signal).toBe(request.signal);
    whole.finish();
    expect(request.signal.aborted).toBe(false);
  });

  test("a body that is cut short fails its readers with the error", async () => {
    const source = manualSource();
    const whole = lazyRequest(memoryExchange({ method: "POST", body: source })).text();
    source.sink?.write(bytes("par"));
    source.sink?.abort(closed);
    await expect(whole).rejects.toBe(closed);
    const streamed = manualSource();
    const reader = lazyRequest(memoryExchange({ method: "POST", body: streamed })).body!.getReader();
    const first = reader.read();
    const sink = await started(streamed);
    sink.write(bytes("par"));
    expect((await first).value).toEqual(bytes("par"));
    sink.abort(closed);
    await expect(reader.read()).rejects.toBe(closed);
  });

  test("has the runtime's own values in the fields nobody sets", () => {
    const lazy = lazyRequest(memoryExchange({ path: "/" })) as unknown as Record<string, unknown>;
    const native = new NativeRequest("https://app.example.com/") as unknown as Record<string, unknown>;
    for (const key of Object.keys(Object.getOwnPropertyDescriptors(NativeRequest.prototype))) {
      if (typeof native[key] !== "object" && typeof native[key] !== "function")
        expect([key, lazy[key]]).toEqual([key, native[key]]);
    }
    expect((lazy as unknown as Request).constructor).toBe(NativeRequest.prototype.constructor);
  });

  test("joins repeated Cookie fields as one cookie string", () => {
    const request = lazyRequest(memoryExchange({ headers: ["Cookie", "a=1", "cookie", "b=2"] }));
    expect(request.headers.get("cookie")).toBe("a=1; b=2");
  });

  test("for which no URL can be made throws BAD_REQUEST", () => {
    const request = lazyRequest(memoryExchange({ authority: "a b" }));
    expect(() => request.url).toThrow(expect.objectContaining({ code: "BAD_REQUEST", status: 400 }));
  });

  test("is taken by fetch", async () => {
    const request = lazyRequest(memoryExchange({ authority: "127.0.0.1:1", scheme: "http" }));
    await expect(fetch(request)).rejects.toThrow("fetch failed");
  });
});

describe("a response that is sent", () => {
  const head = responseHead(200, ["Content-Type", "text/html", "Content-Length", "2"]);
  const send = (response: Response, method = "GET") => {
    const exchange = memoryExchange({ method });
    sendResponse(exchange, response);
    return exchange;
  };

  test("untouched gives the upstream's own head and body", () => {
    const source = bytesSource(bytes("ok"));
    const { answer } = send(lazyResponse(head, source));
    expect(answer?.head).toBe(head);
    expect(answer?.body).toBe(source);
  });

  test("rebuilt around its stream keeps the byte path, and equal changes give the same head again", () => {
    const source = (): ByteSource => bytesSource(bytes("ok"));
    const change = (value: string, from: ByteSource): ReturnType<typeof send>["answer"] => {
      const first = lazyResponse(head, from);
      const second = new Response(first.body, first);
      second.headers.set("X-A", value);
      second.headers.append("set-cookie", "a=1");
      second.headers.append("set-cookie", "b=2");
      return send(new Response(second.body, second)).answer;
    };
    const body = source();
    const one = change("1", body);
    expect(one?.body).toBe(body);
    expect(change("1", source())?.head).toBe(one?.head);
    expect(change("2", source())?.head).not.toBe(one?.head);
    expect(one?.head.headers).toEqual([
      ...["Content-Type", "text/html", "Content-Length", "2"],
      ...["x-a", "1", "set-cookie", "a=1", "set-cookie", "b=2"],
    ]);
    expect(head.headers).toEqual(["Content-Type", "text/html", "Content-Length", "2"]);
  });

  test("from text gives bytes at once, with one head for all of a kind", () => {
    const one = send(new Response("ok")).answer;
    expect(one?.body).toEqual(Buffer.from("ok"));
    expect(one?.head.headers).toEqual(["content-type", "text/plain;charset=UTF-8"]);
    expect(send(new Response("other")).answer?.head).toBe(one?.head);
  });

  test("after it was read is refused before anything was sent", async () => {
    const response = lazyResponse(head, bytesSource(bytes("ok")));
    await response.text();
    const exchange = memoryExchange();
    expect(() => sendResponse(exchange, response)).toThrow(
      expect.objectContaining({ code: "MIDDLEWARE_FAILED" }),
    );
    expect(exchange.answered).toBe(false);
  });

  test("twice is refused the second time", () => {
    const response = new Response("once");
    send(response);
    expect(() => send(response)).toThrow(expect.objectContaining({ code: "MIDDLEWARE_FAILED" }));
  });

  test.each([
    ["null", () => new Response(null, lazyResponse(head, bytesSource(bytes("ok")))), undefined, ""],
    ["other text", () => new Response("other", lazyResponse(head, undefined)), undefined, "other"],
    ["text of that length", () => new Response("no", lazyResponse(head, undefined)), "2", "no"],
  ])("with %s for a body has no Content-Length that lies", async (_what, make, length, text) => {
    const exchange = send(make());
    const list = exchange.answer?.head.headers ?? [];
    const at = list.findIndex((name) => name.toLowerCase() === "content-length");
    expect(at === -1 ? undefined : list[at + 1]).toBe(length);
    expect(await exchange.text()).toBe(text);
  });

  test("to HEAD keeps the Content-Length that a GET would have", () => {
    const exchange = send(new Response(null, lazyResponse(head, bytesSource(bytes("ok")))), "HEAD");
    expect(exchange.answer?.head.headers).toContain("2");
  });

  test("as a stream is cut off where it breaks the Content-Length that it claims", async () => {
    const make = (text: string): Response =>
      new Response(new Blob([text]).stream(), { headers: { "content-length": "3" } });
    expect(await send(make("abc")).text()).toBe("abc");
    await expect(send(make("ab")).text()).rejects.toThrow("short");
    await expect(send(make("abcd")).text()).rejects.toThrow("longer");
  });

  test("has no fields that belong to a connection", () => {
    const response = new Response("x", {
      headers: { "transfer-encoding": "chunked", connection: "x", "keep-alive": "1" },
    });
    expect(send(response).answer?.head.headers).toEqual(["content-type", "text/plain;charset=UTF-8"]);
  });

  test("may be native, or of another library", async () => {
    const native = new NativeResponse("native", {
      status: 201,
      headers: [
        ["set-cookie", "a"],
        ["set-cookie", "b"],
      ],
    });
    const exchange = send(native);
    expect([exchange.status, await exchange.text()]).toEqual([201, "native"]);
    expect(exchange.answer?.head.headers.filter((name) => name === "set-cookie")).toHaveLength(2);
    const { Response: Other } = await import("undici");
    const other = send(new Other("other", { status: 202 }) as unknown as Response);
    expect([other.status, await other.text()]).toEqual([202, "other"]);
  });

  test("whose stream fails aborts the body with the reason as its cause", async () => {
    const cause = new Error("disk gone");
    const failing = new ReadableStream({ pull: (controller) => controller.error(cause) });
    await expect(send(new Response(failing)).text()).rejects.toMatchObject({
      code: "MIDDLEWARE_FAILED",
      cause,
    });
  });

  test("that switches protocols is accepted, also after headers were set, and both ends are handed over", () => {
    const stream = memoryExchange().client;
    const upgrade = { protocol: "websocket", stream };
    const first = lazyResponse(responseHead(101, ["Sec-WebSocket-Accept", "x"]), undefined, upgrade);
    expect(first.status).toBe(101);
    const second = new Response(first.body, first);
    second.headers.set("x-a", "b");
    const exchange = memoryExchange();
    const seen: unknown[] = [];
    sendResponse(exchange, second, (client, handle) => seen.push(client, handle));
    expect(seen).toEqual([exchange.client, upgrade]);
    expect(exchange.accepted).toEqual(["Sec-WebSocket-Accept", "x", "x-a", "b"]);
    expect(exchange.answer).toBeUndefined();
  });
});

describe("the replaced globals", () => {
  test("know native instances and their own, and can be extended", () => {
    class Mine extends Response {}
    const mine = new Mine("x");
    expect(mine).toBeInstanceOf(Mine);
    expect(mine).toBeInstanceOf(Response);
    expect(new NativeResponse()).toBeInstanceOf(Response);
    expect(new NativeResponse()).not.toBeInstanceOf(Mine);
    expect(Response.redirect("https://a.example/", 301).status).toBe(301);
    expect(Response.error().type).toBe("error");
    expect(new Request("https://a.example/")).toBeInstanceOf(NativeRequest);
    expect(new Response().constructor).toBe(Response);
    expect([Response.name, Request.name]).toEqual(["Response", "Request"]);
  });

  test.each([
    [() => new Response("x", { status: 99 }), RangeError],
    [() => new Response("x", { status: 204 }), TypeError],
    [() => new Response(null, { statusText: "a\n" }), TypeError],
    [() => new Response(null, { headers: { "a b": "c" } }), TypeError],
    [() => new Response(null, { headers: { a: "b\n\u0000c" } }), TypeError],
    [() => Response.json(undefined), TypeError],
  ])("%s throws what the native class throws", (make, kind) => {
    expect(make).toThrow(kind);
  });
});

describe("streams and sources", () => {
  test("nothing is read from a source before its stream is, and a full stream pauses it", async () => {
    const source = manualSource();
    const stream = streamOf(source);
    expect(source.sink).toBeUndefined();
    const reader = stream.getReader();
    const first = reader.read();
    const sink = await started(source);
    expect(sink.write(new Uint8Array(10))).toBe(true);
    expect((await first).value?.length).toBe(10);
    expect(sink.write(new Uint8Array(32_768))).toBe(true);
    expect(sink.write(new Uint8Array(32_768))).toBe(false);
    const before = source.resumes;
    await reader.read();
    await reader.read();
    const last = reader.read();
    await Promise.resolve();
    expect(source.resumes).toBeGreaterThan(before);
    sink.end();
    expect((await last).done).toBe(true);
  });

  test("chunks of a stream are copies: the source's memory stays its own", async () => {
    const memory = bytes("shared");
    const stream = streamOf(bytesSource(memory.subarray(0, 3)));
    const { value } = await stream.getReader().read();
    expect(value?.buffer.byteLength).toBe(3);
    expect(memory.buffer.byteLength).toBe(6);
  });

  test("cancelling a stream cancels its source, and the other way round", async () => {
    const source = manualSource();
    await streamOf(source).cancel("enough");
    expect(source.cancelled).toMatchObject({ cause: "enough" });
    let reason: unknown;
    const stream = new ReadableStream({
      cancel(given) {
        reason = given;
      },
    });
    sourceOf(stream).cancel(closed);
    expect(reason).toBe(closed);
  });

  test("a source and its stream and a source again is the first source", () => {
    const source = bytesSource(bytes("x"));
    expect(sourceOf(streamOf(source))).toBe(source);
  });

  test("a stream is not read further while its sink is full", async () => {
    let pulls = 0;
    const stream = new ReadableStream(
      {
        pull(controller) {
          controller.enqueue(bytes(String(pulls++)));
          if (pulls === 5) controller.close();
        },
      },
      { highWaterMark: 0 },
    );
    const source = sourceOf(stream);
    const got: string[] = [];
    let wake = (): void => {};
    const wrote = (): Promise<void> => new Promise((resolve) => (wake = resolve));
    let next = wrote();
    source.start({
      write(chunk) {
        got.push(Buffer.from(chunk).toString());
        wake();
        return false;
      },
      end: () => wake(),
      abort: (error) => got.push(error.message),
    });
    for (let i = 1; i <= 5; i++) {
      await next;
      expect(got).toHaveLength(i);
      expect(pulls).toBe(i);
      next = wrote();
      source.resume();
    }
    await next;
    expect(got).toEqual(["0", "1", "2", "3", "4"]);
  });

  test("a stream that gives no bytes is an error", async () => {
    const stream = new ReadableStream({ pull: (controller) => controller.enqueue("text") });
    await expect(collect(sourceOf(stream))).rejects.toMatchObject({ code: "MIDDLEWARE_FAILED" });
  });

  test("exactly passes a body of the promised length", async () => {
    expect(await collect(exactly(bytesSource(bytes("abc")), 3))).toEqual(bytes("abc"));
  });
});
