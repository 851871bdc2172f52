/** Web pages on the operator's machine: they read nothing of the admin API, and change nothing by it. */
import { request } from "node:http";
import { Hono } from "hono";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hostRoutes, serverRoutes } from "../../src/admin/dynamic.ts";
import { systemClock } from "../../src/clock.ts";
import type { DynamicEdit } from "../../src/config/dynamic.ts";
import { type AdminListener, isMeant, openAdmin } from "../../src/edge/admin-listener.ts";
import type { DynamicActions } from "../../src/edge/dynamic.ts";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import { failExchange } from "../../src/proxy/problem.ts";

const edits: DynamicEdit[] = [];
const dynamic: DynamicActions = {
  hosts: () => [],
  generation: () => 0,
  edit: async (edit) => {
    edits.push(edit);
    return { said: "done", changed: true, generation: 1 };
  },
};
const app = new Hono().route("/hosts", hostRoutes(dynamic)).route("/backends", serverRoutes(dynamic));

describe("a change", () => {
  const json = { "content-type": "application/json" };
  const body = JSON.stringify({ host: "a.example.com", backend: "web", url: "http://10.0.0.7" });
  const changes: [string, string][] = [
    ["POST", "/hosts"],
    ["DELETE", "/hosts/a.example.com"],
    ["POST", "/backends/web/servers"],
    ["DELETE", `/backends/web/servers/${encodeURIComponent("http://10.0.0.7")}`],
  ];
  const ask = async (method: string, path: string, headers: Record<string, string>): Promise<number> =>
    (await app.request(path, { method, headers, ...(method === "POST" && { body }) })).status;

  test.each(changes)("%s %s is made for a program, and for no page", async (method, path) => {
    edits.length = 0;
    const fromPages = [
      { origin: "http://evil.test" },
      { origin: "null" },
      { "sec-fetch-site": "same-origin" },
    ];
    for (const marks of fromPages)
      expect(await ask(method, path, { ...json, ...(marks as Record<string, string>) })).toBe(403);
    if (method === "POST") expect(await ask(method, path, { "content-type": "text/plain" })).toBe(415);
    expect(edits).toEqual([]);
    expect(await ask(method, path, json)).toBe(200);
    expect(edits.length).toBe(1);
  });
});

describe("on loopback", () => {
  let admin: AdminListener;
  beforeAll(async () => {
    admin = await openAdmin({
      address: { host: "127.0.0.1", port: 0 },
      limits: () => DEFAULT_LIMITS,
      clock: systemClock,
      app,
      onOffence() {},
      fail: failExchange,
    });
  });
  afterAll(() => admin?.close());

  const read = (host: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const { port } = admin.address;
      const outgoing = request({ host: "127.0.0.1", port, path: "/hosts", agent: false, headers: { host } });
      outgoing.on("response", (answer) => {
        answer.resume();
        resolve(answer.statusCode);
      });
      outgoing.on("error", reject);
      outgoing.end();
    });

  test.each(["127.0.0.1:9180", "127.0.0.1", "[::1]:9180", "localhost:9180", "LocalHost", "edge.localhost"])(
    "what is asked of %s is answered",
    async (host) => expect(await read(host)).toBe(200),
  );

  test.each(["evil.test:9180", "evil.test", "localhost.evil.test", "127.0.0.1.evil.test:9180"])(
    "what is asked of %s is not, as a page may have given that name this address",
    async (host) => expect(await read(host)).toBe(421),
  );

  test("and elsewhere any name may be the operator's own", () => {
    expect(isMeant("0.0.0.0", "edge.internal:9180")).toBe(true);
    expect(isMeant("::1", "edge.internal:9180")).toBe(false);
    expect(isMeant("localhost", "edge.internal:9180")).toBe(false);
  });
});
