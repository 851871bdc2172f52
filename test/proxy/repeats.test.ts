/** Repeats by status and hedging, with transports that do exactly what a test says. */
import { describe, expect, test } from "vitest";
import { fillRetrying, type RetryingInput } from "../../src/config/retrying.ts";
import { EdgeError } from "../../src/errors.ts";
import { type ByteSource, bytesSource } from "../../src/exchange/body.ts";
import type { RequestContext } from "../../src/exchange/context.ts";
import type { ResponseHandler } from "../../src/exchange/dispatch.ts";
import { type Exchange, requestHead, responseHead } from "../../src/exchange/exchange.ts";
import type { HeaderList } from "../../src/exchange/headers.ts";
import type { RequestTrace } from "../../src/exchange/trace.ts";
import { lazyRequest } from "../../src/exchange/web-request.ts";
import { createMetrics, type Metrics } from "../../src/metrics.ts";
import { createForwarder } from "../../src/proxy/forward.ts";
import { serverTiming } from "../../src/proxy/trace.ts";
import { createPool, type Pool } from "../../src/upstream/pool.ts";
import { type ManualClock, manualClock, seeded } from "../upstream/support.ts";

type Act = (handler: ResponseHandler) => void;
const says =
  (status: number, headers: HeaderList = [], body?: () => ByteSource): Act =>
  (handler) =>
    handler.respond(responseHead(status, headers), body?.());
const hangs: Act = () => {};
const fails: Act = (handler) =>
  handler.failed(
    new EdgeError("UPSTREAM_RESET", "as told", { source: "upstream", status: 502, retry: "idempotent" }),
  );
const timesOut: Act = (handler) =>
  handler.failed(new EdgeError("UPSTREAM_TIMEOUT", "as told", { source: "upstream", status: 504 }));

interface World {
  readonly clock: ManualClock;
  readonly pool: Pool;
  readonly metrics: Metrics;
  /** Servers that were asked, in order. */
  readonly asked: string[];
  readonly cancelled: string[];
  /** What each server does from now on. */
  readonly acts: Record<string, Act>;
  /** The handlers of requests that are under way, by server. */
  readonly handlers: Record<string, ResponseHandler>;
  readonly context: RequestContext | undefined;
  close(error?: EdgeError): void;
  request(method?: string, body?: ByteSource): Promise<Response>;
}

function world(acts: Record<string, Act>, config: RetryingInput & { totalTimeoutMs?: number }): World {
  const clock = manualClock();
  const metrics = createMetrics();
  const pool = createPool("web", { clock, random: seeded(5) });
  const forward = createForwarder({ clock, metrics });
  const { totalTimeoutMs = 0 } = config;
  const policy = { ...fillRetrying(config), totalTimeoutMs };
  const asked: string[] = [];
  const cancelled: string[] = [];
  const handlers: Record<string, ResponseHandler> = {};
  let listeners: ((error: EdgeError | undefined) => void)[] = [];
  let context: RequestContext | undefined;
  for (const id of Object.keys(acts))
    pool.add({
      id,
      transport: {
        dispatch(_request, handler) {
          asked.push(id);
          handlers[id] = handler;
          acts[id]!(handler);
          return () => void cancelled.push(id);
        },
        close: () => Promise.resolve(),
      },
    });
  return {
    ...{ clock, pool, metrics, asked, cancelled, acts, handlers },
    get context() {
      return context;
    },
    close(error) {
      for (const listener of listeners) listener(error);
      listeners = [];
    },
    request(method = "GET", body) {
      const exchange = {
        version: "1.1",
        head: requestHead({ method, path: "/", authority: "x", scheme: "http", headers: [] }),
        body,
        connection: { id: 1, remoteAddress: "192.0.2.1", remotePort: 1, localPort: 2 },
        expectsContinue: false,
        onClose: (listener: (error: EdgeError | undefined) => void) => listeners.push(listener),
      } as unknown as Exchange;
      context = {
        requestId: "id",
        exchange,
        clientAddress: "192.0.2.1",
        peerTrusted: false,
        attempts: 0,
        startedAt: clock.now(),
        trace: { attempts: [] },
      } as unknown as RequestContext;
      return forward(lazyRequest(exchange), context, pool, policy);
    },
  };
}
const attemptsOf = ({ context }: World): RequestTrace["attempts"] => [...context!.trace!.attempts];

describe("an answer with a status that is to be repeated", () => {
  const retry = { statuses: [502, 503] };

  test("is let go, and another server asked", async () => {
    let cancels = 0;
    const body = (): ByteSource => ({ ...bytesSource(Buffer.from("no")), cancel: () => void cancels++ });
    const made = world({ a: says(503, [], body), b: says(200) }, { retry });
    for (let i = 0; i < 8; i++) expect((await made.request()).status).toBe(200);
    expect(made.asked).toContain("a");
    expect(cancels).toBe(made.asked.filter((id) => id === "a").length);
    made.close();
    expect(made.pool.inFlight).toBe(0);
  });

  test("is passed on where nothing was asked for", async () => {
    const made = world({ a: says(503), b: says(503) }, {});
    expect((await made.request()).status).toBe(503);
    expect(made.asked).toHaveLength(1);
  });

  test("is passed on for a POST, and where the other answers are the same", async () => {
    const made = world({ a: says(503), b: says(502), c: says(503) }, { retry });
    expect((await made.request("POST")).status).toBe(503);
    expect(made.asked).toHaveLength(1);
    expect([502, 503]).toContain((await made.request("GET")).status);
    expect(made.asked).toHaveLength(3);
    expect(new Set(made.asked.slice(1)).size).toBe(2);
    made.close();
    expect(made.pool.inFlight).toBe(0);
  });

  test("goes on through as many servers as may be asked", async () => {
    const made = world({ a: says(503), b: says(503), c: says(503) }, { retry: { ...retry, maxRetries: 5 } });
    expect((await made.request()).status).toBe(503);
    expect([...made.asked].sort()).toEqual(["a", "b", "c"]);
  });

  test("is sent again with its body", async () => {
    const made = world({ a: says(503), b: says(503) }, { retry });
    await made.request("PUT", bytesSource(Buffer.from("text")));
    expect(made.asked).toHaveLength(2);
  });

  test("is passed on when the budget is used up", async () => {
    const made = world({ a: says(503), b: says(503) }, { retry: { ...retry, budget: 0, floor: 3 } });
    for (let i = 0; i < 10; i++) await made.request();
    expect(made.asked).toHaveLength(13);
  });

  test("is passed on where the others said Retry-After, for as long as they said", async () => {
    const made = world(
      { a: says(503, ["Retry-After", "20"]), b: says(503, ["Retry-After", "20"]) },
      { retry },
    );
    await made.request();
    expect(made.asked).toHaveLength(2);
    await made.request();
    expect(made.asked).toHaveLength(3);
    made.clock.advance(20_001);
    await made.request();
    expect(made.asked).toHaveLength(5);
  });

  test("is passed on where the other servers are ill", async () => {
    const made = world({ a: says(503), b: says(503) }, { retry });
    made.pool.mark("b", false);
    await made.request();
    expect(made.asked).toEqual(["a"]);
    expect(made.pool.inFlight).toBe(0);
  });

  test("is passed on beyond the total deadline", async () => {
    const made = world({ a: hangs, b: hangs }, { retry, totalTimeoutMs: 1000 });
    const answer = made.request();
    made.clock.advance(1001);
    made.handlers[made.asked[0]!]!.respond(responseHead(503), undefined);
    expect((await answer).status).toBe(503);
    expect(made.asked).toHaveLength(1);
  });

  test("504 is also our own", async () => {
    const without = world({ a: timesOut, b: says(200) }, { retry });
    const failed = await Promise.allSettled(Array.from({ length: 9 }, () => without.request()));
    expect(failed.some(({ status }) => status === "rejected")).toBe(true);
    const made = world({ a: timesOut, b: says(200) }, { retry: { statuses: [504] } });
    for (let i = 0; i < 9; i++) expect((await made.request()).status).toBe(200);
    await expect(world({ a: timesOut, b: timesOut }, { retry }).request("POST")).rejects.toThrow("as told");
  });
});

describe("hedging", () => {
  const hedge = { afterMs: 100 };
  /** A request that waits for its first server; answers the id of the other one. */
  function waiting(made: World): { answer: Promise<Response>; slow: string; quick: string } {
    const answer = made.request();
    const slow = made.asked.at(-1)!;
    const quick = Object.keys(made.acts).find((id) => id !== slow)!;
    return { answer, slow, quick };
  }

  test("asks a second server when no head came in time; its answer wins", async () => {
    const made = world({ a: hangs, b: hangs }, { hedge });
    const { answer, slow, quick } = waiting(made);
    made.clock.advance(99);
    expect(made.asked).toHaveLength(1);
    made.acts[quick] = says(200);
    made.clock.advance(1);
    expect((await answer).status).toBe(200);
    expect(made.asked).toEqual([slow, quick]);
    expect(made.cancelled).toEqual([slow]);
    expect(made.context!.server).toBe(quick);
    expect(made.context!.attempts).toBe(2);
    made.close();
    expect(made.pool.inFlight).toBe(0);
    expect(await made.metrics.expose()).toContain(
      'skerry_upstream_hedges_total{backend="web",event="won"} 1',
    );
    expect(attemptsOf(made)).toMatchObject([
      { reason: "first", server: slow, sentMs: 0, endMs: 100, code: "OVERTAKEN" },
      { reason: "hedge", server: quick, sentMs: 100, status: 200, used: true },
    ]);
  });

  test("lets the second go where the first answers", async () => {
    const made = world({ a: hangs, b: hangs }, { hedge });
    const { answer, slow, quick } = waiting(made);
    made.clock.advance(100);
    made.handlers[slow]!.respond(responseHead(201), undefined);
    expect((await answer).status).toBe(201);
    expect(made.cancelled).toEqual([quick]);
    expect(made.context!.server).toBe(slow);
    made.close();
    expect(made.pool.inFlight).toBe(0);
  });

  test("a server that was overtaken counts as slow as it was", async () => {
    const made = world({ a: hangs, b: hangs }, { hedge });
    const { answer, slow, quick } = waiting(made);
    made.acts[quick] = says(200);
    made.clock.advance(100);
    await answer;
    const server = made.pool.members().find(({ id }) => id === slow)!;
    expect(server.latencyMs).toBeGreaterThanOrEqual(100);
    expect(server.state).toBe("available");
  });

  test("goes on with the second where the first fails, and with the first where the second does", async () => {
    for (const broken of ["slow", "quick"] as const) {
      const made = world({ a: hangs, b: hangs }, { hedge });
      const pair = waiting(made);
      made.clock.advance(100);
      expect(made.asked).toHaveLength(2);
      fails(made.handlers[pair[broken]]!);
      made.handlers[pair[broken === "slow" ? "quick" : "slow"]]!.respond(responseHead(200), undefined);
      expect((await pair.answer).status).toBe(200);
      made.close();
      expect(made.pool.inFlight).toBe(0);
    }
  });

  test("fails where both do", async () => {
    const made = world({ a: hangs, b: hangs }, { hedge, retry: { maxRetries: 0 } });
    const { answer, slow, quick } = waiting(made);
    made.clock.advance(100);
    fails(made.handlers[quick]!);
    fails(made.handlers[slow]!);
    await expect(answer).rejects.toThrow("as told");
    expect(made.pool.inFlight).toBe(0);
  });

  test("waits on where the second says 503", async () => {
    const made = world({ a: hangs, b: hangs }, { hedge });
    const { answer, slow, quick } = waiting(made);
    made.acts[quick] = says(503);
    made.clock.advance(100);
    expect(made.asked).toHaveLength(2);
    made.handlers[slow]!.respond(responseHead(200), undefined);
    expect((await answer).status).toBe(200);
  });

  test("is for GET and HEAD without a body", async () => {
    for (const [method, body] of [
      ["POST", undefined],
      ["PUT", undefined],
      ["DELETE", undefined],
      ["GET", bytesSource(Buffer.from("x"))],
    ] as const) {
      const made = world({ a: hangs, b: hangs }, { hedge });
      made.request(method, body).catch(() => {});
      made.clock.advance(1000);
      expect(made.asked).toHaveLength(1);
    }
    const made = world({ a: hangs, b: hangs }, { hedge });
    void made.request("HEAD");
    made.clock.advance(100);
    expect(made.asked).toHaveLength(2);
  });

  test("stops where all servers are slow", () => {
    const made = world({ a: hangs, b: hangs, c: hangs }, { hedge: { afterMs: 100, budget: 1 } });
    for (let i = 0; i < 50; i++) void made.request();
    made.clock.advance(100);
    expect(made.asked.length - 50).toBeLessThanOrEqual(2);
    made.clock.advance(5000);
    expect(made.asked.length - 50).toBeLessThanOrEqual(2);
  });

  test("stops where the others are known to be slow", async () => {
    const made = world({ a: hangs, b: hangs }, { hedge: { afterMs: 100, budget: 1 } });
    for (let i = 0; i < 3; i++)
      for (const server of made.pool.members()) {
        const lease = made.pool.lease(made.pool.members().filter((one) => one !== server))!;
        made.clock.advance(300);
        lease.answered();
        lease.settle("ok");
      }
    void made.request();
    made.clock.advance(1000);
    expect(made.asked).toHaveLength(1);
  });

  test("keeps to its budget", async () => {
    const made = world({ a: hangs, b: hangs, c: hangs }, { hedge: { afterMs: 100, budget: 0.1 } });
    const answers: Promise<Response>[] = [];
    for (let i = 0; i < 100; i++) answers.push(made.request());
    // Others answer meanwhile, so that there is hope.
    made.acts.a = made.acts.b = says(200);
    for (let round = 0; round < 20; round++) {
      made.clock.advance(50);
      answers.push(made.request());
    }
    const first = 120;
    expect(made.asked.length - first).toBeGreaterThan(0);
    expect(made.asked.length - first).toBeLessThanOrEqual(12);
    made.close(new EdgeError("CLIENT_CLOSED", "gone", { source: "downstream", status: 499 }));
    await Promise.allSettled(answers);
    expect(made.pool.inFlight).toBe(0);
  });

  test("a client that leaves takes both with it", async () => {
    const made = world({ a: hangs, b: hangs }, { hedge });
    const { answer } = waiting(made);
    made.clock.advance(100);
    made.close(new EdgeError("CLIENT_CLOSED", "gone", { source: "downstream", status: 499 }));
    await expect(answer).rejects.toThrow("gone");
    expect([...made.cancelled].sort()).toEqual(["a", "b"]);
    expect(made.pool.inFlight).toBe(0);
    made.clock.advance(10_000);
    expect(made.asked).toHaveLength(2);
  });
});

describe("what is written down", () => {
  test("are the two that were weighed, their loads, and the pick", async () => {
    const made = world({ a: says(200), b: says(200) }, {});
    for (let i = 0; i < 10; i++) await made.request();
    const [attempt] = attemptsOf(made);
    expect(attempt!.candidates.map(({ server }) => server).sort()).toEqual(["a", "b"]);
    expect(attempt!.candidates[0]).toMatchObject({ inFlight: 0, weight: 1 });
    expect(attempt).toMatchObject({ reason: "first", state: "available", status: 200, used: true });
  });

  test("is each attempt with its reason, and what came of it", async () => {
    const made = world(
      { a: fails, b: says(503), c: says(200) },
      { retry: { statuses: [503], maxRetries: 2 } },
    );
    const reasons = new Set<string>();
    for (let i = 0; i < 20; i++) {
      await made.request();
      for (const { reason, code, status } of attemptsOf(made)) reasons.add(`${reason} ${code ?? status}`);
      expect(attemptsOf(made).at(-1)).toMatchObject({ used: true });
    }
    expect([...reasons]).toEqual(expect.arrayContaining(["first UPSTREAM_RESET", "first 503"]));
    expect([...reasons].some((reason) => reason.startsWith("failed"))).toBe(true);
    expect([...reasons].some((reason) => reason.startsWith("status"))).toBe(true);
  });

  test("reads as Server-Timing", () => {
    const base = { candidates: [], state: "available" };
    const trace: RequestTrace = {
      attempts: [
        {
          ...base,
          reason: "first",
          server: "http://10.0.0.5",
          sentMs: 0,
          endMs: 1.5,
          code: "UPSTREAM_RESET",
        },
        { ...base, reason: "failed", server: 'a"\r\n', sentMs: 2, endMs: 5, status: 200, used: true },
      ],
    };
    expect(serverTiming(trace, 6.25)).toBe(
      'try1;dur=1.5;desc="first http://10.0.0.5 UPSTREAM_RESET", try2;dur=3;desc="failed a 200", edge;dur=6.3',
    );
  });
});
