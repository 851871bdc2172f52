import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import { installWebGlobals } from "../../src/exchange/web-globals.ts";
import { requestParts } from "../../src/exchange/web-request.ts";
import { lazyResponse } from "../../src/exchange/web-response.ts";
import { backendApp } from "../../src/middleware/host-app.ts";
import { ipFilter, rateLimit, requestHeaders, responseHeaders } from "../../src/middleware/index.ts";
import { run } from "./run.ts";

installWebGlobals();
const options = { host: "app.example.com" };

function manualClock(): Clock & { time: number } {
  return {
    time: 0,
    now() {
      return this.time;
    },
    wall() {
      return this.time;
    },
    after: () => ({ cancel() {} }),
  };
}

describe("rateLimit", () => {
  const limited = (extra: Partial<Parameters<typeof rateLimit>[0]> = {}) => {
    const clock = manualClock();
    const app = backendApp(
      (c) => c.text("ok"),
      [rateLimit({ limit: 3, windowMs: 10_000, clock, ...extra })],
      options,
    );
    return { clock, app };
  };

  test("refuses the request beyond the limit and says when to come back", async () => {
    const { app } = limited();
    const passed = [await run(app), await run(app), await run(app)];
    expect(passed.map((ran) => ran.status)).toEqual([200, 200, 200]);
    expect(passed.map((ran) => ran.header("ratelimit"))).toEqual(
      [2, 1, 0].map((left) => `"default";r=${left};t=10`),
    );
    const refused = await run(app);
    expect(refused.status).toBe(429);
    expect(JSON.parse(refused.text)).toMatchObject({ status: 429, code: "RATE_LIMITED" });
    expect(refused.header("ratelimit-policy")).toBe('"default";q=3;w=10');
  });

  test("Retry-After is kept: the client that waits so long passes, one that waits a second less does not", async () => {
    const { app, clock } = limited();
    clock.time = 4000;
    for (let i = 0; i < 3; i++) await run(app);
    const wait = Number((await run(app)).header("retry-after"));
    const start = clock.time;
    clock.time = start + (wait - 1) * 1000;
    expect((await run(app)).status).toBe(429);
    clock.time = start + wait * 1000;
    expect((await run(app)).status).toBe(200);
  });

  test("counts clients apart, an IPv6 /64 as one, and an IPv4-mapped address as IPv4", async () => {
    const { app } = limited({ limit: 1 });
    const status = async (clientAddress: string): Promise<number> =>
      (await run(app, { clientAddress })).status;
    expect(await status("192.0.2.1")).toBe(200);
    expect(await status("192.0.2.2")).toBe(200);
    expect(await status("::ffff:192.0.2.1")).toBe(429);
    expect(await status("2001:db8::1")).toBe(200);
    expect(await status("2001:db8:0:0:ffff::2")).toBe(429);
    expect(await status("2001:db8:0:1::1")).toBe(200);
  });

  test("counts by a key of one's own, and does not limit without one", async () => {
    const { app } = limited({ limit: 1, key: (c) => c.req.header("x-api-key") });
    const status = async (headers: string[]): Promise<number> => (await run(app, { headers })).status;
    expect(await status(["x-api-key", "a"])).toBe(200);
    expect(await status(["x-api-key", "a"])).toBe(429);
    expect(await status(["x-api-key", "b"])).toBe(200);
    for (let i = 0; i < 3; i++) expect(await status([])).toBe(200);
  });

  test("forgets the clients seen longest ago when there are too many", async () => {
    const { app } = limited({ limit: 1, maxClients: 2 });
    for (const clientAddress of ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
      expect((await run(app, { clientAddress })).status).toBe(200);
    expect((await run(app, { clientAddress: "192.0.2.1" })).status).toBe(200);
    expect((await run(app, { clientAddress: "192.0.2.3" })).status).toBe(429);
  });

  test("never lets more than the limit pass between two window borders, nor starves a client", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 8 }),
        fc.array(fc.integer({ min: 0, max: 4000 }), { maxLength: 60 }),
        async (limit, gaps) => {
          const { app, clock } = limited({ limit, headers: false });
          const passedIn = new Map<number, number>();
          let quiet = 0;
          for (const gap of gaps) {
            clock.time += gap;
            quiet += gap;
            const { status } = await run(app);
            const window = Math.floor(clock.time / 10_000);
            if (status === 200) passedIn.set(window, (passedIn.get(window) ?? 0) + 1);
            if (quiet > 20_000) expect(status).toBe(200);
            if (status === 200) quiet = 0;
          }
          for (const passed of passedIn.values()) expect(passed).toBeLessThanOrEqual(limit);
        },
      ),
      { numRuns: 60 },
    );
  });

  test.each([[{ limit: 0, windowMs: 1 }], [{ limit: 1.5, windowMs: 1 }], [{ limit: 1, windowMs: -1 }]])(
    "refuses %o",
    (wrong) => {
      expect(() => rateLimit(wrong)).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
    },
  );
});

describe("ipFilter", () => {
  const status = async (filter: Parameters<typeof ipFilter>[0], clientAddress: string): Promise<number> =>
    (
      await run(
        backendApp((c) => c.text("ok"), [ipFilter(filter)], options),
        { clientAddress },
      )
    ).status;

  test("lets pass what is allowed and not denied, in either spelling", async () => {
    const filter = {
      allow: ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"],
      deny: ["10.0.0.13", "2001:db8:bad::/48"],
    };
    expect(await status(filter, "10.1.2.3")).toBe(200);
    expect(await status(filter, "::ffff:10.1.2.3")).toBe(200);
    expect(await status(filter, "10.0.0.13")).toBe(403);
    expect(await status(filter, "::ffff:a00:d")).toBe(403);
    expect(await status(filter, "192.0.2.7")).toBe(200);
    expect(await status(filter, "192.0.2.8")).toBe(403);
    expect(await status(filter, "2001:db8::1")).toBe(200);
    expect(await status(filter, "2001:db8:bad::1")).toBe(403);
    expect(await status({ allow: ["::ffff:192.0.2.0/120"] }, "192.0.2.9")).toBe(200);
  });

  test("lets everybody pass who is not denied where nothing is allowed by name", async () => {
    expect(await status({ deny: ["192.0.2.0/24"] }, "198.51.100.1")).toBe(200);
    expect(await status({ deny: ["192.0.2.0/24"] }, "192.0.2.200")).toBe(403);
  });

  test("an address that is none does not pass", async () => {
    expect(await status({ deny: [] }, "unix")).toBe(403);
  });

  test.each(["10.0.0.0/33", "example.com", "1", ""])("refuses the entry %o", (entry) => {
    expect(() => ipFilter({ allow: [entry] })).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
  });
});

describe("header rules", () => {
  test("requestHeaders changes what is forwarded, and gives the same head again for the same changes", async () => {
    const heads: unknown[] = [];
    const app = backendApp(
      (c) => {
        const parts = requestParts(c.req.raw);
        heads.push(parts.head);
        return c.json(parts.headers);
      },
      [
        requestHeaders({
          set: { "x-client": (c) => c.var.edge.clientAddress, "x-none": () => undefined },
          remove: ["cookie"],
        }),
      ],
      options,
    );
    const first = await run(app, { headers: ["Host", "a", "Cookie", "secret"] });
    expect(JSON.parse(first.text)).toEqual(["Host", "a", "x-client", "192.0.2.1"]);
    await run(app, { head: first.exchange.head });
    expect(heads[1]).toBe(heads[0]);
  });

  test("responseHeaders changes lazy answers, error answers and immutable ones", async () => {
    const rules = responseHeaders({ set: { "x-frame-options": "DENY" }, remove: ["server"] });
    const answers = {
      lazy: () =>
        lazyResponse(responseHead(200, ["Server", "old", "X-Frame-Options", "SAMEORIGIN"]), undefined),
      error: (): Response => {
        throw new Error("boom");
      },
      redirect: () => Response.redirect("https://example.com/"),
    };
    for (const answer of Object.values(answers)) {
      const ran = await run(backendApp(answer, [rules], options));
      expect(ran.header("x-frame-options")).toBe("DENY");
      expect(ran.header("server")).toBeUndefined();
    }
  });
});
