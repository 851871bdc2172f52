import { expect, test } from "vitest";
import { bytesSource } from "../../src/exchange/body.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import { installWebGlobals } from "../../src/exchange/web-globals.ts";
import { lazyResponse } from "../../src/exchange/web-response.ts";
import { hooks } from "../../src/middleware/hooks.ts";
import { backendApp } from "../../src/middleware/host-app.ts";
import { run } from "./run.ts";

installWebGlobals();
const options = { host: "app.example.com" };
const upstream = (): Response =>
  lazyResponse(
    responseHead(200, ["x-from", "upstream", "content-length", "2"]),
    bytesSource(Buffer.from("ok")),
  );

test("a request hook answers early, and nothing further in runs", async () => {
  const app = backendApp(
    () => {
      throw new Error("not reached");
    },
    [
      hooks({
        request: (c) => (c.req.header("x-key") ? undefined : c.text("no key", 401)),
      }),
    ],
    options,
  );
  const ran = await run(app);
  expect([ran.status, ran.text]).toEqual([401, "no key"]);
});

test("a response hook changes headers in place", async () => {
  const app = backendApp(
    upstream,
    [hooks({ response: (c) => c.res.headers.set("x-edge", c.var.edge.location) })],
    options,
  );
  const ran = await run(app);
  expect([ran.text, ran.header("x-edge"), ran.header("x-from")]).toEqual(["ok", "yvr", "upstream"]);
});

test("a response that a hook gives replaces the first one, headers included", async () => {
  const app = backendApp(
    upstream,
    [hooks({ response: async () => new Response("other", { status: 202 }) })],
    options,
  );
  const ran = await run(app);
  expect([ran.status, ran.text, ran.header("x-from"), ran.header("content-length")]).toEqual([
    202,
    "other",
    undefined,
    undefined,
  ]);
});

test("an error hook sees what was thrown and may answer it; the response hook comes after", async () => {
  const seen: unknown[] = [];
  const app = backendApp(
    () => {
      throw new Error("boom");
    },
    [
      hooks({
        error(error, c) {
          seen.push((error.cause as Error | undefined)?.message ?? error.message);
          return c.text("sorry", 503);
        },
        response(c) {
          seen.push(c.res.status);
        },
      }),
    ],
    options,
  );
  const ran = await run(app);
  expect([ran.status, ran.text]).toEqual([503, "sorry"]);
  expect(seen).toEqual(["boom", 503]);
});
