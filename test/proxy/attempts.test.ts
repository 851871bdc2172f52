/** How attempts follow each other, with transports that do exactly what a test says, also at once. */
import { describe, expect, test } from "vitest";
import { EdgeError, type Retry } from "../../src/errors.ts";
import { bytesSource } from "../../src/exchange/body.ts";
import type { RequestContext } from "../../src/exchange/context.ts";
import type { ResponseHandler, Transport, UpstreamRequest } from "../../src/exchange/dispatch.ts";
import { type Exchange, requestHead, responseHead } from "../../src/exchange/exchange.ts";
import { getHeader } from "../../src/exchange/headers.ts";
import { lazyRequest } from "../../src/exchange/web-request.ts";
import { createMetrics } from "../../src/metrics.ts";
import { createForwarder } from "../../src/proxy/forward.ts";
import { createPool, type Pool } from "../../src/upstream/pool.ts";
import { manualClock, seeded } from "../upstream/support.ts";

type Act = (request: UpstreamRequest, handler: ResponseHandler) => void;
const ok: Act = (_, handler) => handler.respond(responseHead(200), undefined);
const fail =
  (
    code: "UPSTREAM_CONNECT" | "UPSTREAM_REFUSED" | "UPSTREAM_RESET" | "UPSTREAM_TIMEOUT",
    retry: Retry,
  ): Act =>
  (_, handler) =>
    handler.failed(new EdgeError(code, "as told", { source: "upstream", status: 502, retry }));

interface World {
  readonly pool: Pool;
  readonly sent: UpstreamRequest[];
  readonly cancelled: number;
  close(error?: EdgeError): void;
  request(method?: string, head?: Exchange["head"]): Promise<Response>;
  context: RequestContext | undefined;
}

function world(servers: Record<string, Act>, sendsExtra = false): World {
  const clock = manualClock();
  const pool = createPool("web", { clock, random: seeded(3) });
  const forward = createForwarder({ clock, metrics: createMetrics() });
  const connection = { id: 1, remoteAddress: "192.0.2.1", remotePort: 1, localPort: 2 };
  const sent: UpstreamRequest[] = [];
  let cancelled = 0;
  let listeners: ((error: EdgeError | undefined) => void)[] = [];
  for (const [id, act] of Object.entries(servers)) {
    const transport: Transport = {
      sendsExtra,
      dispatch(request, handler) {
        sent.push({
          method: request.method,
          path: request.path,
          scheme: request.scheme,
          authority: request.authority,
          headers: request.headers,
          extra: request.extra,
          body: request.body,
          protocol: request.protocol,
          memo: request.memo,
        });
        act(request, handler);
        return () => {
          cancelled++;
        };
      },
      close: () => Promise.resolve(),
    };
    pool.add({ id, transport });
  }
  const made: World = {
    pool,
    sent,
    context: undefined,
    get cancelled() {
      return cancelled;
    },
    close(error) {
      for (const listener of listeners) listener(error);
      listeners = [];
    },
    request(method = "GET", head) {
      const exchange = {
        version: "1.1",
        head: head ?? requestHead({ method, path: "/", authority: "x", scheme: "http", headers: [] }),
        body: undefined,
        connection,
        expectsContinue: false,
        onClose: (listener: (error: EdgeError | undefined) => void) => listeners.push(listener),
      } as unknown as Exchange;
      made.context = {
        requestId: `id-${sent.length}`,
        exchange,
        clientAddress: "192.0.2.1",
        peerTrusted: false,
        attempts: 0,
      } as unknown as RequestContext;
      return forward(lazyRequest(exchange), made.context, pool);
    },
  };
  return made;
}
const failure = (answer: Promise<Response>): Promise<EdgeError> =>
  answer.then(
    () => Promise.reject(new Error("it was answered")),
    (error: EdgeError) => error,
  );

describe("attempts", () => {
  test("a transport that fails at once is followed by the next server", async () => {
    const { request, sent, pool } = world({
      a: fail("UPSTREAM_CONNECT", "any"),
      b: fail("UPSTREAM_CONNECT", "any"),
      c: fail("UPSTREAM_CONNECT", "any"),
      d: ok,
    });
    for (let i = 0; i < 20; i++) expect((await request("POST")).status).toBe(200);
    expect(sent.length).toBeGreaterThan(20);
    expect(pool.inFlight).toBe(0);
  });

  test("each server is tried once when none can be reached", async () => {
    const unreachable = fail("UPSTREAM_CONNECT", "any");
    const made = world({ a: unreachable, b: unreachable, c: unreachable });
    expect((await failure(made.request())).code).toBe("UPSTREAM_CONNECT");
    expect(made.sent).toHaveLength(3);
    expect(made.context!.attempts).toBe(3);
    expect(made.pool.inFlight).toBe(0);
  });

  test("a reset is tried once more for a GET, not for a POST", async () => {
    const reset = fail("UPSTREAM_RESET", "idempotent");
    const made = world({ a: reset, b: reset, c: reset });
    await failure(made.request("GET"));
    expect(made.sent).toHaveLength(2);
    await failure(made.request("POST"));
    expect(made.sent).toHaveLength(3);
  });

  test("a timeout is not tried again", async () => {
    const made = world({ a: fail("UPSTREAM_TIMEOUT", "never"), b: fail("UPSTREAM_TIMEOUT", "never") });
    expect((await failure(made.request())).code).toBe("UPSTREAM_TIMEOUT");
    expect(made.sent).toHaveLength(1);
  });

  test("resets of everything use up the budget, so that they are not doubled", async () => {
    const reset = fail("UPSTREAM_RESET", "idempotent");
    const made = world({ a: reset, b: reset });
    for (let i = 0; i < 100; i++) await failure(made.request());
    expect(made.sent.length).toBeLessThanOrEqual(100 + 20);
    expect(made.sent.length).toBeGreaterThanOrEqual(100 + 15);
  });

  test("refused streams are no sign of illness and cost no budget", async () => {
    const made = world({ a: fail("UPSTREAM_REFUSED", "any"), b: ok });
    for (let i = 0; i < 100; i++) expect((await made.request("POST")).status).toBe(200);
    for (const server of made.pool.members()) expect(server.state).toBe("available");
  });

  test("a client that leaves while waiting cancels, and the answer is refused once", async () => {
    const made = world({ a: () => {} });
    const answer = failure(made.request());
    expect(made.pool.inFlight).toBe(1);
    made.close(new EdgeError("CLIENT_CLOSED", "gone", { source: "downstream", status: 499 }));
    expect((await answer).code).toBe("CLIENT_CLOSED");
    expect(made.cancelled).toBe(1);
    expect(made.pool.inFlight).toBe(0);
  });

  test("a body that nobody took is let go when the exchange ends", async () => {
    let cancelled = false;
    const made = world({
      a: (_, handler) => {
        const body = bytesSource(Buffer.from("x"));
        handler.respond(responseHead(200), {
          ...body,
          cancel() {
            cancelled = true;
          },
        });
      },
    });
    await made.request();
    expect(made.pool.inFlight).toBe(1);
    made.close();
    expect(cancelled).toBe(true);
    expect(made.pool.inFlight).toBe(0);
  });
});

describe("the fields that are sent", () => {
  const head = requestHead({
    method: "GET",
    path: "/",
    authority: "x",
    scheme: "http",
    headers: ["Accept", "*/*"],
  });

  test("hold the request id in one list, for a transport that knows no extra", async () => {
    const made = world({ a: ok });
    await made.request("GET", head);
    await made.request("GET", head);
    const [first, second] = made.sent;
    expect(getHeader(first!.headers, "x-request-id")).toBe("id-0");
    expect(getHeader(second!.headers, "x-request-id")).toBe("id-1");
    expect(second!.extra).toBeUndefined();
    expect(second!.memo).toBeUndefined();
  });

  test("are the same list again for the same head, with the id apart, where the transport sends extra", async () => {
    const made = world({ a: ok }, true);
    await made.request("GET", head);
    await made.request("GET", head);
    const [first, second] = made.sent;
    expect(getHeader(first!.headers, "x-request-id")).toBeUndefined();
    expect(second!.headers).toBe(first!.headers);
    expect(second!.memo).toBe(first!.memo);
    expect(second!.extra).toEqual(["X-Request-Id", "id-1"]);
  });
});
