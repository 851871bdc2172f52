import { Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import { LinearRouter } from "hono/router/linear-router";
import { PatternRouter } from "hono/router/pattern-router";
import { RegExpRouter } from "hono/router/reg-exp-router";
import { TrieRouter } from "hono/router/trie-router";
import { describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import { bytesSource } from "../../src/exchange/body.ts";
import type { EdgeEnv } from "../../src/exchange/context.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import { installWebGlobals } from "../../src/exchange/web-globals.ts";
import { lazyResponse } from "../../src/exchange/web-response.ts";
import { backendApp, prepareApp } from "../../src/middleware/host-app.ts";
import { run } from "./run.ts";

installWebGlobals();
const options = { host: "app.example.com" };

describe.each([
  ["smart", () => new Hono<EdgeEnv>()],
  ["regexp", () => new Hono<EdgeEnv>({ router: new RegExpRouter() })],
  ["trie", () => new Hono<EdgeEnv>({ router: new TrieRouter() })],
  ["linear", () => new Hono<EdgeEnv>({ router: new LinearRouter() })],
  ["pattern", () => new Hono<EdgeEnv>({ router: new PatternRouter() })],
])("an app with the %s router", (_name, make) => {
  const app = make()
    .use("/wrapped/*", async (c, next) => {
      c.header("x-before", c.var.edge.location);
      await next();
    })
    .get("/static", (c) => c.text(c.var.edge.location))
    .get("/item/:id", (c) => c.text(`${c.var.edge.requestId} ${c.req.param("id")} ${c.req.routePath}`))
    .get("/wrapped/:a/:b", (c) => c.text(`${c.req.param("a")} ${c.req.param("b")} ${c.var.edge.host}`))
    .notFound((c) => c.text(`nothing at ${c.var.edge.host}`, 404));
  prepareApp(app, options);
  prepareApp(app, options);

  test("finds c.var.edge in static routes, with parameters and behind middleware", async () => {
    for (let i = 0; i < 2; i++) {
      expect((await run(app, { path: "/static" })).text).toBe("yvr");
      expect((await run(app, { path: `/item/${i}` })).text).toBe(`r1 ${i} /item/:id`);
      const wrapped = await run(app, { path: "/wrapped/x/y" });
      expect(wrapped.text).toBe("x y app.example.com");
      expect(wrapped.header("x-before")).toBe("yvr");
    }
  });

  test("keeps its own notFound, which finds c.var.edge too", async () => {
    const ran = await run(app, { path: "/elsewhere" });
    expect([ran.status, ran.text]).toEqual([404, "nothing at app.example.com"]);
  });

  test("takes routes that are added after it was prepared", async () => {
    const late = make();
    prepareApp(late, options);
    late.get("/late", (c) => c.text(c.var.edge.host));
    expect((await run(late, { path: "/late" })).text).toBe("app.example.com");
  });
});

test("an app without onError reports what was thrown and answers 500 to outer middleware and client", async () => {
  const reported: EdgeError[] = [];
  const app = new Hono<EdgeEnv>()
    .use(async (c, next) => {
      await next();
      c.header("x-seen", String(c.res.status));
    })
    .get("/", () => {
      throw new Error("secret detail");
    });
  prepareApp(app, { ...options, report: (error) => reported.push(error) });
  const ran = await run(app);
  expect(ran.status).toBe(500);
  expect(ran.header("x-seen")).toBe("500");
  expect(ran.text).not.toContain("secret");
  expect(JSON.parse(ran.text)).toMatchObject({ status: 500, code: "MIDDLEWARE_FAILED" });
  expect(reported.map((error) => error.code)).toEqual(["MIDDLEWARE_FAILED"]);
  expect(reported[0]?.message).toContain("app.example.com");
  expect(ran.context.error).toBe(reported[0]);
});

test("an error is answered as the host wants it", async () => {
  const app = backendApp(
    () => {
      throw new EdgeError("NO_SERVER", "none", { status: 503 });
    },
    [],
    {
      ...options,
      answer: (error, context) =>
        new Response(`${error.code} ${context?.requestId}`, { status: error.status }),
    },
  );
  const ran = await run(app);
  expect([ran.status, ran.text]).toEqual([503, "NO_SERVER r1"]);
});

test("an app with its own onError keeps it", async () => {
  const app = new Hono<EdgeEnv>()
    .onError((error, c) => c.text(`${error.message} at ${c.var.edge.host}`, 418))
    .get("/", () => {
      throw new Error("short");
    });
  prepareApp(app, options);
  const ran = await run(app);
  expect([ran.status, ran.text]).toEqual([418, "short at app.example.com"]);
});

test("an error of the edge answers with its own status and code", async () => {
  const app = new Hono<EdgeEnv>().get("/", () => {
    throw new EdgeError("NO_SERVER", "no server of web is available", { status: 503, source: "upstream" });
  });
  prepareApp(app, options);
  const ran = await run(app);
  expect(ran.status).toBe(503);
  expect(ran.header("content-type")).toBe("application/problem+json");
  expect(JSON.parse(ran.text).code).toBe("NO_SERVER");
});

test.each([
  [
    "throws",
    () => {
      throw new Error("boom");
    },
  ],
  [
    "rejects",
    async () => {
      throw new Error("boom");
    },
  ],
  [
    "throws no error",
    () => {
      throw "boom";
    },
  ],
])("a middleware that %s is named in the error", async (_how, body) => {
  const reported: EdgeError[] = [];
  const quiet = async (_c: unknown, next: () => Promise<void>): Promise<void> => next();
  const checkKey = body as () => Promise<void>;
  Object.defineProperty(checkKey, "name", { value: "checkKey" });
  const app = backendApp((c) => c.text("ok"), [quiet, checkKey], {
    ...options,
    report: (error) => reported.push(error),
  });
  const ran = await run(app);
  expect(ran.status).toBe(500);
  expect(reported[0]?.message).toBe("checkKey (use[1] of app.example.com) failed: boom");
  expect(reported[0]?.code).toBe("MIDDLEWARE_FAILED");
});

test("an HTTPException keeps its response", async () => {
  const app = backendApp(
    (c) => c.text("ok"),
    [
      () => {
        throw new HTTPException(401, { message: "who are you" });
      },
    ],
    options,
  );
  const ran = await run(app);
  expect([ran.status, ran.text]).toEqual([401, "who are you"]);
});

test("a backend's app runs its middleware in order around the handler, with the body untouched", async () => {
  const source = bytesSource(Buffer.from("from upstream"));
  const head = responseHead(200, ["content-length", "13"]);
  const app = backendApp(
    () => lazyResponse(head, source),
    [
      async (c, next) => {
        await next();
        c.header("x-order", `${c.res.headers.get("x-order")} outer`);
      },
      async (c, next) => {
        await next();
        c.header("x-order", "inner");
      },
    ],
    options,
  );
  const ran = await run(app, { method: "PURGE", path: "/any/where" });
  expect(ran.header("x-order")).toBe("inner outer");
  expect(ran.exchange.answer?.body).toBe(source);
  expect(ran.text).toBe("from upstream");
});
