import { beforeEach, describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import type { ByteSink, ByteSource } from "../../src/exchange/body.ts";
import type { ResponseHandler, Transport, UpstreamRequest } from "../../src/exchange/dispatch.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import type { HeaderList } from "../../src/exchange/headers.ts";
import { type Deadlines, inheritDeadline, withDeadlines } from "../../src/proxy/deadline.ts";
import { counted, type ManualClock, manualClock } from "../upstream/support.ts";

/** A body that is fed by hand. */
class HandBody implements ByteSource {
  readonly length = undefined;
  started = false;
  sink: ByteSink | undefined;
  resumed = 0;
  cancelled: EdgeError | undefined | "no" = "no";
  start(sink: ByteSink): void {
    this.started = true;
    this.sink = sink;
  }
  resume(): void {
    this.resumed++;
  }
  cancel(error?: EdgeError): void {
    this.cancelled = error;
  }
}

/** A sink that answers as it is told. */
class HandSink implements ByteSink {
  more = true;
  chunks = 0;
  ended = false;
  error: EdgeError | undefined;
  write(): boolean {
    this.chunks++;
    return this.more;
  }
  end(): void {
    this.ended = true;
  }
  abort(error: EdgeError): void {
    this.error = error;
  }
}

const BYTE = new Uint8Array(1);
const NONE: Deadlines = { responseTimeoutMs: 0, bodyTimeoutMs: 0, totalTimeoutMs: 0 };

let clock: ManualClock;
let errors: EdgeError[];
let cancelled: unknown[];
let body: ByteSource | undefined;
let server: ResponseHandler;
let sent: UpstreamRequest;
const client: ResponseHandler = {
  inform() {},
  respond(_head, source) {
    body = source;
  },
  upgraded() {},
  failed: (error) => errors.push(error),
};
const transport: Transport = {
  dispatch(request, handler) {
    sent = request;
    server = handler;
    return (error) => cancelled.push(error);
  },
  close: () => Promise.resolve(),
};
const request = (from?: ByteSource): UpstreamRequest => ({
  method: "POST",
  path: "/",
  scheme: "http",
  authority: "a",
  headers: [],
  body: from,
  protocol: undefined,
});
const send = (
  deadlines: Partial<Deadlines>,
  of: UpstreamRequest = request(),
): ((error?: EdgeError) => void) =>
  withDeadlines(transport, { ...NONE, ...deadlines }, clock).dispatch(of, client);
const respond = (source?: ByteSource, headers: HeaderList = []): void =>
  server.respond(responseHead(200, headers), source);

beforeEach(() => {
  clock = manualClock();
  errors = [];
  cancelled = [];
  body = undefined;
});

test("without bounds the transport is left as it is", () => {
  expect(withDeadlines(transport, NONE, clock)).toBe(transport);
});

describe("responseTimeoutMs", () => {
  test("fails the request with 504 and cancels it, once, late by an eighth at most", () => {
    const cancel = send({ responseTimeoutMs: 800 });
    clock.advance(800);
    expect(errors).toEqual([]);
    clock.advance(100);
    expect(errors).toMatchObject([
      { code: "UPSTREAM_TIMEOUT", status: 504, retry: "never", source: "upstream" },
    ]);
    expect(errors[0]).toBeInstanceOf(EdgeError);
    expect(cancelled).toEqual(errors);
    clock.advance(5000);
    cancel();
    expect(errors).toHaveLength(1);
  });

  test("is late by a second at most, however long it is", () => {
    send({ responseTimeoutMs: 60_000 });
    clock.advance(60_000);
    expect(errors).toEqual([]);
    clock.advance(1000);
    expect(errors).toHaveLength(1);
  });

  test("counts from the request's last byte", () => {
    const upload = new HandBody();
    send({ responseTimeoutMs: 800 }, request(upload));
    const sink = new HandSink();
    sent.body!.start(sink);
    for (let i = 0; i < 10; i++) {
      upload.sink!.write(BYTE);
      clock.advance(500);
    }
    expect(errors).toEqual([]);
    upload.sink!.end();
    expect(sink).toMatchObject({ chunks: 10, ended: true });
    clock.advance(800);
    expect(errors).toEqual([]);
    clock.advance(200);
    expect(errors).toMatchObject([{ code: "UPSTREAM_TIMEOUT" }]);
  });

  test("is over with the head", () => {
    send({ responseTimeoutMs: 800 });
    respond();
    clock.advance(5000);
    expect(errors).toEqual([]);
  });

  test("is over when the request fails, or is cancelled", () => {
    send({ responseTimeoutMs: 800 });
    server.failed(new EdgeError("UPSTREAM_RESET", "gone"));
    send({ responseTimeoutMs: 800 })();
    clock.advance(5000);
    expect(errors).toMatchObject([{ code: "UPSTREAM_RESET" }]);
  });
});

describe("bodyTimeoutMs", () => {
  test("cuts off an answer that stands still, and not one that goes on", () => {
    const download = new HandBody();
    send({ bodyTimeoutMs: 800 });
    respond(download);
    const sink = new HandSink();
    body!.start(sink);
    for (let i = 0; i < 10; i++) {
      clock.advance(700);
      download.sink!.write(BYTE);
    }
    expect(sink).toMatchObject({ chunks: 10, error: undefined });
    clock.advance(1000);
    expect(sink.error).toMatchObject({ code: "UPSTREAM_TIMEOUT", status: 504 });
    expect(download.cancelled).toBe(sink.error);
    expect(errors).toEqual([]);
  });

  test("does not count while the client takes nothing", () => {
    const download = new HandBody();
    send({ bodyTimeoutMs: 800 });
    respond(download);
    const sink = new HandSink();
    sink.more = false;
    body!.start(sink);
    download.sink!.write(BYTE);
    clock.advance(60_000);
    expect(sink.error).toBeUndefined();
    body!.resume();
    expect(download.resumed).toBe(1);
    clock.advance(1000);
    expect(sink.error).toMatchObject({ code: "UPSTREAM_TIMEOUT" });
  });

  test.each(["text/event-stream; charset=utf-8", "application/grpc+proto"])("lets %s be silent", (type) => {
    send({ bodyTimeoutMs: 800 });
    respond(new HandBody(), ["Content-Type", type]);
    const sink = new HandSink();
    body!.start(sink);
    clock.advance(60_000);
    expect(sink.error).toBeUndefined();
  });

  test("fails a request whose body the server does not take", () => {
    const upload = new HandBody();
    send({ bodyTimeoutMs: 800 }, request(upload));
    const sink = new HandSink();
    sent.body!.start(sink);
    clock.advance(60_000);
    expect(errors).toEqual([]);
    sink.more = false;
    upload.sink!.write(BYTE);
    clock.advance(700);
    sent.body!.resume();
    upload.sink!.write(BYTE);
    clock.advance(700);
    expect(errors).toEqual([]);
    clock.advance(300);
    expect(errors).toMatchObject([{ code: "UPSTREAM_TIMEOUT", status: 504 }]);
  });

  test("is over with the last byte", () => {
    const download = new HandBody();
    send({ bodyTimeoutMs: 800 });
    respond(download);
    const sink = new HandSink();
    body!.start(sink);
    download.sink!.end();
    clock.advance(5000);
    expect(sink).toMatchObject({ ended: true, error: undefined });
  });
});

describe("totalTimeoutMs", () => {
  test("bounds the wait for a head", () => {
    send({ totalTimeoutMs: 800 });
    clock.advance(1000);
    expect(errors).toMatchObject([{ code: "UPSTREAM_TIMEOUT", status: 504 }]);
  });

  test("cuts off an answer that goes on for too long", () => {
    const download = new HandBody();
    send({ totalTimeoutMs: 800 });
    respond(download);
    const sink = new HandSink();
    body!.start(sink);
    for (let i = 0; i < 5; i++) {
      clock.advance(200);
      if (sink.error === undefined) download.sink!.write(BYTE);
    }
    expect(sink.error).toMatchObject({ code: "UPSTREAM_TIMEOUT" });
  });

  test("is one for all attempts", () => {
    const one = request();
    send({ totalTimeoutMs: 800 }, one);
    clock.advance(600);
    server.failed(new EdgeError("UPSTREAM_RESET", "gone", { retry: "idempotent" }));
    send({ totalTimeoutMs: 800 }, one);
    clock.advance(400);
    expect(errors).toMatchObject([{ code: "UPSTREAM_RESET" }, { code: "UPSTREAM_TIMEOUT" }]);
  });

  test("is no fault of the server where it is the client who is slow", () => {
    const download = new HandBody();
    send({ totalTimeoutMs: 800 });
    respond(download);
    const sink = new HandSink();
    sink.more = false;
    body!.start(sink);
    download.sink!.write(BYTE);
    clock.advance(1000);
    expect(sink.error).toMatchObject({ code: "CLIENT_TIMEOUT", source: "downstream" });
    send({ totalTimeoutMs: 800 }, request(new HandBody()));
    clock.advance(1000);
    expect(errors).toMatchObject([{ code: "CLIENT_TIMEOUT", status: 408 }]);
  });

  test("reaches a body that nobody has started yet", () => {
    const download = new HandBody();
    send({ totalTimeoutMs: 800 });
    respond(download);
    clock.advance(1000);
    expect(download.cancelled).toBeInstanceOf(EdgeError);
    const sink = new HandSink();
    body!.start(sink);
    expect(sink.error).toBeInstanceOf(EdgeError);
    expect(download.started).toBe(false);
  });

  test("does not end an upgraded connection", () => {
    send({ totalTimeoutMs: 800 });
    server.upgraded(responseHead(101), {} as never);
    clock.advance(5000);
    expect([...errors, ...cancelled]).toEqual([]);
  });
});

test("a further attempt that is an object of its own ends when the whole must", () => {
  const clock = manualClock();
  const failures: string[] = [];
  const transport = withDeadlines(
    { dispatch: () => () => {}, close: async () => {} },
    { responseTimeoutMs: 0, bodyTimeoutMs: 0, totalTimeoutMs: 800 },
    clock,
  );
  const plain: UpstreamRequest = {
    method: "GET",
    path: "/",
    scheme: "http",
    authority: "x",
    headers: [],
    body: undefined,
    protocol: undefined,
  };
  const [first, second] = [{ ...plain }, { ...plain }];
  const handler = (name: string): ResponseHandler => ({
    inform() {},
    respond() {},
    upgraded() {},
    failed: ({ code }) => void failures.push(`${name} ${code} ${clock.now()}`),
  });
  transport.dispatch(first, handler("first"));
  clock.advance(500);
  inheritDeadline(first, second);
  transport.dispatch(second, handler("second"));
  clock.advance(500);
  expect(failures).toHaveLength(2);
  expect(failures[1]).toContain("second UPSTREAM_TIMEOUT");
});

describe("rounds", () => {
  test("are one for each server, though requests that fail make room for others at once", () => {
    const { clock: watched, most } = counted(clock);
    const timed = withDeadlines(transport, { ...NONE, responseTimeoutMs: 80 }, watched);
    let failures = 0;
    const again: ResponseHandler = {
      ...client,
      failed() {
        failures++;
        timed.dispatch(request(), again);
      },
    };
    timed.dispatch(request(), again);
    clock.advance(10_000);
    expect(failures).toBeGreaterThan(50);
    expect(most()).toBe(1);
  });

  test("go on where one whose time is up has a fault in its handler", () => {
    const timed = withDeadlines(transport, { ...NONE, responseTimeoutMs: 80 }, clock);
    const faulty: ResponseHandler = {
      ...client,
      failed() {
        throw new Error("a fault");
      },
    };
    timed.dispatch(request(), faulty);
    timed.dispatch(request(), client);
    expect(() => clock.advance(1000)).toThrow("a fault");
    clock.advance(1000);
    expect(errors).toHaveLength(1);
  });
});
