/** Hono's own middleware works on proxied answers as it does on any. */
import { gunzipSync } from "node:zlib";
import type { MiddlewareHandler } from "hono";
import { Hono } from "hono";
import { basicAuth } from "hono/basic-auth";
import { bodyLimit } from "hono/body-limit";
import { compress } from "hono/compress";
import { cors } from "hono/cors";
import { etag } from "hono/etag";
import { logger } from "hono/logger";
import { requestId } from "hono/request-id";
import { secureHeaders } from "hono/secure-headers";
import { timeout } from "hono/timeout";
import { describe, expect, test } from "vitest";
import type { ByteSource } from "../../src/exchange/body.ts";
import { bytesSource, collect } from "../../src/exchange/body.ts";
import type { EdgeEnv } from "../../src/exchange/context.ts";
import type { ResponseHead } from "../../src/exchange/exchange.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import { installWebGlobals } from "../../src/exchange/web-globals.ts";
import { NativeResponse } from "../../src/exchange/web-native.ts";
import { requestParts } from "../../src/exchange/web-request.ts";
import { lazyResponse } from "../../src/exchange/web-response.ts";
import { backendApp } from "../../src/middleware/host-app.ts";
import type { RunOptions } from "./run.ts";
import { run } from "./run.ts";

installWebGlobals();

const PAGE = "<p>hello</p>".repeat(300);
const HEAD = responseHead(200, [
  ...["Content-Type", "text/html", "Content-Length", String(PAGE.length)],
  ...["Set-Cookie", "a=1", "Set-Cookie", "b=2", "X-Powered-By", "PHP"],
]);

/** A proxied answer behind some middleware; `sent` is the source that the upstream's body came by. */
async function proxied(use: MiddlewareHandler[], options: RunOptions = {}, head: ResponseHead = HEAD) {
  let sent: ByteSource | undefined;
  const app = backendApp(
    () => {
      sent = bytesSource(Buffer.from(PAGE));
      return lazyResponse(head, sent);
    },
    use,
    { host: "app.example.com" },
  );
  const ran = await run(app, options);
  return {
    ...ran,
    direct: ran.exchange.answer?.body === sent,
    headers: ran.exchange.answer?.head.headers ?? [],
  };
}

function valuesOf(headers: string[], name: string): string[] {
  return headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === name);
}

describe("on proxied answers", () => {
  test("secure-headers sets and removes headers, and the body goes on directly", async () => {
    const ran = await proxied([secureHeaders()]);
    expect(ran.direct).toBe(true);
    expect(ran.text).toBe(PAGE);
    expect(ran.header("x-frame-options")).toBe("SAMEORIGIN");
    expect(ran.header("x-powered-by")).toBeUndefined();
    expect(valuesOf(ran.headers, "set-cookie")).toEqual(["a=1", "b=2"]);
  });

  test("cors joins its headers to the answer's, and answers preflights itself", async () => {
    const ran = await proxied([cors({ origin: "https://a.example", credentials: true })], {
      headers: ["Origin", "https://a.example"],
    });
    expect(ran.header("access-control-allow-origin")).toBe("https://a.example");
    expect(ran.header("vary")).toBe("Origin");
    expect(ran.header("content-length")).toBe(String(PAGE.length));
    expect(valuesOf(ran.headers, "set-cookie")).toEqual(["a=1", "b=2"]);
    expect(ran.direct).toBe(true);
    const preflight = await proxied([cors()], {
      method: "OPTIONS",
      headers: ["Origin", "x", "Access-Control-Request-Headers", "x-a"],
    });
    expect([preflight.status, preflight.text]).toEqual([204, ""]);
    expect(preflight.header("access-control-allow-headers")).toBe("x-a");
  });

  test("compress replaces the body by its gzip, without the old length", async () => {
    const ran = await proxied([compress()], { headers: ["Accept-Encoding", "gzip"] });
    expect(gunzipSync(ran.bytes).toString()).toBe(PAGE);
    expect([ran.header("content-encoding"), ran.header("vary")]).toEqual(["gzip", "Accept-Encoding"]);
    expect(ran.header("content-length")).toBeUndefined();
    expect(valuesOf(ran.headers, "set-cookie")).toEqual(["a=1", "b=2"]);
  });

  test("etag hashes the body and answers a matching condition with 304", async () => {
    const first = await proxied([etag()]);
    const tag = first.header("etag");
    expect(tag).toMatch(/^"[0-9a-f]{40}"$/);
    expect(first.text).toBe(PAGE);
    const second = await proxied([etag()], { headers: ["If-None-Match", tag ?? ""] });
    expect([second.status, second.text, second.header("etag")]).toEqual([304, "", tag]);
    expect(second.header("content-type")).toBeUndefined();
  });

  test("etag passes on an upstream's own tag without touching the body", async () => {
    const ran = await proxied(
      [etag()],
      {},
      responseHead(200, ["ETag", '"v1"', "Content-Length", String(PAGE.length)]),
    );
    expect([ran.header("etag"), ran.direct]).toEqual(['"v1"', true]);
  });

  test("timeout lets a timely answer pass and answers 504 for one that is not", async () => {
    expect((await proxied([timeout(10_000)])).direct).toBe(true);
    const never: MiddlewareHandler = () => new Promise(() => {});
    const late = await proxied([timeout(1), never]);
    expect([late.status, late.text]).toEqual([504, "Gateway Timeout"]);
  });

  test("basic-auth asks for credentials and lets the right ones pass", async () => {
    const auth = basicAuth({ username: "ops", password: "secret" });
    const refused = await proxied([auth]);
    expect([refused.status, refused.header("www-authenticate")]).toEqual([401, 'Basic realm="Secure Area"']);
    const token = Buffer.from("ops:secret").toString("base64");
    expect((await proxied([auth], { headers: ["Authorization", `Basic ${token}`] })).direct).toBe(true);
  });

  test("logger writes method, path and status", async () => {
    const lines: string[] = [];
    const ran = await proxied([logger((line) => lines.push(line))], { path: "/a?b=c" });
    expect(ran.direct).toBe(true);
    expect(lines[0]).toContain("GET /a?b=c");
    expect(lines[1]).toContain("200");
  });

  test("request-id gives the request a name; as with any Response not made by c, a header set before it is lost", async () => {
    let seen: string | undefined;
    const look: MiddlewareHandler = async (c, next) => {
      seen = c.get("requestId");
      await next();
    };
    const ran = await proxied([requestId({ generator: () => "id-1" }), look]);
    expect([seen, ran.direct]).toEqual(["id-1", true]);
    const plain = new Hono().use(requestId()).get("/", () => new NativeResponse("x"));
    const answer = await plain.request("/");
    expect([ran.header("x-request-id"), answer.headers.get("x-request-id")]).toEqual([undefined, null]);
  });
});

describe("body-limit", () => {
  const app = new Hono<EdgeEnv>().use(bodyLimit({ maxSize: 5 })).all("*", async (c) => {
    const { body, headers } = requestParts(c.req.raw);
    return c.text(`${headers.length / 2} ${body ? Buffer.from(await collect(body)).toString() : ""}`);
  });

  test("lets a small body pass as it is where its length is known", async () => {
    const options = { method: "POST", headers: ["Content-Length", "5"], body: "12345" };
    expect((await run(app, options)).text).toBe("1 12345");
  });

  test("refuses a large one by its length", async () => {
    const options = { method: "POST", headers: ["Content-Length", "6"], body: "123456" };
    expect((await run(app, options)).status).toBe(413);
  });

  test("reads one of unknown length and hands on what it read", async () => {
    const headers = ["Transfer-Encoding", "chunked"];
    expect((await run(app, { method: "POST", headers, body: "12345" })).text).toBe("1 12345");
    expect((await run(app, { method: "POST", headers, body: "123456" })).status).toBe(413);
  });
});

test("a body that c.req kept can be sent on in a request made anew", async () => {
  const app = new Hono<EdgeEnv>().post("/", async (c) => {
    const text = await c.req.text();
    expect(await c.req.text()).toBe(text);
    expect(() => requestParts(c.req.raw)).toThrow(TypeError);
    const again = requestParts(new Request(c.req.raw, { body: text }));
    return c.text(`again ${Buffer.from(await collect(again.body!)).toString()}`);
  });
  expect((await run(app, { method: "POST", body: "kept" })).text).toBe("again kept");
});
