import type { Handler } from "hono";
import { describe, expect, test } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { bytesSource } from "../../src/exchange/body.ts";
import type { EdgeEnv } from "../../src/exchange/context.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import { installWebGlobals } from "../../src/exchange/web-globals.ts";
import { lazyResponse } from "../../src/exchange/web-response.ts";
import { backendApp } from "../../src/middleware/host-app.ts";
import { type CacheOptions, cache } from "../../src/middleware/index.ts";
import { type RunOptions, run } from "./run.ts";

installWebGlobals();

const START = Date.parse("2026-11-01T00:00:00Z");

/** A backend that counts what it is asked, behind a cache whose time stands still until told. */
function cached(
  answer: (asked: number, c: Parameters<Handler<EdgeEnv>>[0]) => Response | Promise<Response>,
  options: CacheOptions = {},
) {
  const clock: Clock & { time: number } = {
    time: 0,
    now() {
      return this.time;
    },
    wall() {
      return START + this.time;
    },
    after: () => ({ cancel() {} }),
  };
  const state = { asked: 0 };
  const app = backendApp((c) => answer(++state.asked, c), [cache({ clock, ...options })], {
    host: "app.example.com",
  });
  const get = async (path = "/", headers: string[] = [], method = "GET") => {
    const options: RunOptions = { method, path, headers: ["Host", "app.example.com", ...headers] };
    const ran = await run(app, options);
    // What is kept is kept a few microtasks after the answer has gone.
    await new Promise((resolve) => setImmediate(resolve));
    return ran;
  };
  return { clock, state, get };
}

/** An answer as it comes from a server: a head and a byte source. */
function upstream(text: string, headers: string[], status = 200): Response {
  const body = Buffer.from(text);
  const date = new Date(START).toUTCString();
  return lazyResponse(
    responseHead(status, ["Date", date, "Content-Length", String(body.length), ...headers]),
    bytesSource(body),
  );
}

describe("cache", () => {
  test("gives a fresh answer again without asking, and says so", async () => {
    const { get, state, clock } = cached((n) => upstream(`answer ${n}`, ["Cache-Control", "max-age=60"]));
    const first = await get();
    expect([first.text, first.header("cache-status")]).toEqual(["answer 1", "skerry; fwd=uri-miss"]);
    clock.time = 10_000;
    const second = await get();
    expect([second.text, second.header("cache-status"), second.header("age")]).toEqual([
      "answer 1",
      "skerry; hit; ttl=50",
      "10",
    ]);
    expect(state.asked).toBe(1);
    clock.time = 61_000;
    expect((await get()).text).toBe("answer 2");
  });

  test.each([
    ["no-store", ["Cache-Control", "no-store"]],
    ["private", ["Cache-Control", "private, max-age=60"]],
    ["nothing said of freshness", ["Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"]],
    ["a cookie is set", ["Cache-Control", "max-age=60", "Set-Cookie", "a=b"]],
    ["Vary: *", ["Cache-Control", "max-age=60", "Vary", "*"]],
  ])("keeps nothing where %s", async (_, headers) => {
    const { get } = cached((n) => upstream(`answer ${n}`, headers));
    await get();
    expect((await get()).text).toBe("answer 2");
  });

  test("an answer to a request with Authorization is another's to see only if it is public", async () => {
    const closed = cached((n) => upstream(`answer ${n}`, ["Cache-Control", "max-age=60"]));
    await closed.get("/", ["Authorization", "Bearer a"]);
    expect((await closed.get()).text).toBe("answer 2");
    const open = cached((n) => upstream(`answer ${n}`, ["Cache-Control", "public, max-age=60"]));
    await open.get("/", ["Authorization", "Bearer a"]);
    expect((await open.get()).text).toBe("answer 1");
  });

  test("variants are told apart by Vary, addresses by path and query", async () => {
    const { get, state } = cached((n) =>
      upstream(`answer ${n}`, ["Cache-Control", "max-age=60", "Vary", "Accept-Language"]),
    );
    expect((await get("/", ["Accept-Language", "de"])).text).toBe("answer 1");
    expect((await get("/", ["Accept-Language", "fr"])).text).toBe("answer 2");
    expect((await get("/", ["Accept-Language", "de"])).text).toBe("answer 1");
    expect((await get("/?x=1", ["Accept-Language", "de"])).text).toBe("answer 3");
    expect(state.asked).toBe(3);
  });

  test("a stale answer is checked by its ETag, and serves on where the server says 304", async () => {
    const { get, clock } = cached((n, c) =>
      c.req.header("if-none-match") === '"v1"'
        ? upstream("", ["Cache-Control", "max-age=60", "ETag", '"v1"'], 304)
        : upstream(`answer ${n}`, ["Cache-Control", "max-age=60", "ETag", '"v1"']),
    );
    await get();
    clock.time = 100_000;
    const checked = await get();
    expect([checked.status, checked.text]).toEqual([200, "answer 1"]);
    expect(checked.header("cache-status")).toMatch(/^skerry; fwd=stale; fwd-status=304/);
  });

  test("a client that has the answer already gets 304 from the cache", async () => {
    const { get, state } = cached((n) =>
      upstream(`answer ${n}`, ["Cache-Control", "max-age=60", "ETag", '"v1"']),
    );
    await get();
    const ran = await get("/", ["If-None-Match", 'W/"v1"']);
    expect([ran.status, ran.text, state.asked]).toEqual([304, "", 1]);
  });

  test("a HEAD is answered from what a GET brought, without a body", async () => {
    const { get, state } = cached((n) => upstream(`answer ${n}`, ["Cache-Control", "max-age=60"]));
    await get();
    const ran = await get("/", [], "HEAD");
    expect([ran.status, ran.text, state.asked]).toEqual([200, "", 1]);
  });

  test("with stale-if-error a failing server does not show", async () => {
    const { get, clock } = cached((n) =>
      n === 1
        ? upstream("good", ["Cache-Control", "max-age=60, stale-if-error=600"])
        : upstream("bad", [], 503),
    );
    await get();
    clock.time = 120_000;
    const ran = await get();
    expect([ran.status, ran.text]).toEqual([200, "good"]);
    clock.time = 900_000;
    expect((await get()).status).toBe(503);
  });

  test("requests that come together ask the server once", async () => {
    let release: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      release = resolve;
    });
    const { get, state } = cached(async (n) => {
      await gate;
      return upstream(`answer ${n}`, ["Cache-Control", "max-age=60"]);
    });
    const all = Promise.all([get(), get(), get(), get()]);
    await new Promise((resolve) => setImmediate(resolve));
    release();
    expect((await all).map(({ text }) => text)).toEqual(Array(4).fill("answer 1"));
    expect(state.asked).toBe(1);
  });

  test("an unsafe method makes the next request ask again; a failed one does not", async () => {
    const { get } = cached((n, c) =>
      c.req.method === "POST"
        ? upstream("done", [], c.req.header("x-fail") ? 500 : 200)
        : upstream(`answer ${n}`, ["Cache-Control", "max-age=60"]),
    );
    await get();
    await get("/", ["X-Fail", "yes"], "POST");
    expect((await get()).text).toBe("answer 1");
    await get("/", [], "POST");
    expect((await get()).text).toBe("answer 4");
  });

  test("what is larger than maxBodyBytes passes whole and is not kept", async () => {
    const big = "x".repeat(5000);
    const { get, state } = cached(() => upstream(big, ["Cache-Control", "max-age=60"]), {
      maxBodyBytes: 1000,
    });
    expect((await get()).text).toBe(big);
    expect((await get()).text).toBe(big);
    expect(state.asked).toBe(2);
  });

  test("a bad option is named", () => {
    expect(() => cache({ maxBytes: -1 })).toThrow("cache: maxBytes (-1) must be a whole number above 0");
  });
});
