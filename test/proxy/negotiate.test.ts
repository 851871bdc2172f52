import { PassThrough } from "node:stream";
import { beforeEach, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import type { ResponseHandler, Transport, UpstreamRequest } from "../../src/exchange/dispatch.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";
import { type Connect, createNegotiatedTransport } from "../../src/proxy/negotiate.ts";

type Dialled = (error: EdgeError | undefined, stream?: ByteStream, protocol?: string) => void;

let dials: { offer: readonly string[]; done: Dialled }[];
/** "h1 /a +id" for each request that a child was given; `+` has what was sent apart. */
let sent: string[];
let cancelled: string[];
let connects: Record<string, Connect>;
let closed: string[];
let failures: EdgeError[];
let transport: Transport;

const child =
  (name: string, sendsExtra: boolean) =>
  (connect: Connect): Transport => {
    connects[name] = connect;
    return {
      ...(sendsExtra && { sendsExtra }),
      dispatch(request) {
        sent.push(`${name} ${request.path} ${request.headers.join()}+${request.extra?.join() ?? ""}`);
        return () => cancelled.push(request.path);
      },
      async close() {
        closed.push(name);
      },
    };
  };
const handler: ResponseHandler = {
  inform() {},
  respond() {},
  upgraded() {},
  failed: (error) => failures.push(error),
};
const send = (path: string, more: Partial<UpstreamRequest> = {}): ((error?: EdgeError) => void) =>
  transport.dispatch(
    {
      method: "GET",
      path,
      scheme: "https",
      authority: "a",
      headers: ["a", "b"],
      extra: ["c", "d"],
      body: undefined,
      protocol: undefined,
      ...more,
    },
    handler,
  );
const stream = (): PassThrough => new PassThrough();

beforeEach(() => {
  [dials, sent, cancelled, connects, closed, failures] = [[], [], [], {}, [], []];
  transport = createNegotiatedTransport({
    dial(offer, done) {
      dials.push({ offer, done });
      return () => {};
    },
    http1: child("h1", true),
    http2: child("h2", false),
  });
});

test("nothing is opened before the first request, and one connection tells for all that wait", () => {
  expect(dials).toEqual([]);
  send("/a");
  send("/b");
  expect(dials.map(({ offer }) => offer)).toEqual([["h2", "http/1.1"]]);
  dials[0]!.done(undefined, stream() as never, "h2");
  expect(sent).toEqual(["h2 /a a,b,c,d+", "h2 /b a,b,c,d+"]);
  send("/c");
  expect(sent.at(-1)).toBe("h2 /c a,b,c,d+");
  expect(dials).toHaveLength(1);
});

test.each(["http/1.1", ""])(
  "a server that takes %j gets HTTP/1.1, with its extra fields apart",
  (protocol) => {
    send("/a");
    dials[0]!.done(undefined, stream() as never, protocol);
    expect(sent).toEqual(["h1 /a a,b+c,d"]);
  },
);

test("the connection that was negotiated on is used, or closed where nobody wants it", () => {
  send("/a");
  const first = stream();
  dials[0]!.done(undefined, first as never, "http/1.1");
  expect(first.destroyed).toBe(true); // The child of this test opens none.
  const got: unknown[] = [];
  connects.h1!((_error, taken) => got.push(taken));
  expect(dials[1]!.offer).toEqual(["http/1.1"]);
  const second = stream();
  dials[1]!.done(undefined, second as never, "http/1.1");
  expect(got).toEqual([second]);
});

test("upgrades go by HTTP/1.1 to a server that speaks HTTP/2", () => {
  send("/a");
  dials[0]!.done(undefined, stream() as never, "h2");
  send("/ws", { protocol: "websocket" });
  expect(sent.at(-1)).toBe("h1 /ws a,b+c,d");
});

test("a failure to connect fails all that wait, safe to send elsewhere, and the next request asks anew", () => {
  send("/a");
  send("/b");
  dials[0]!.done(new EdgeError("UPSTREAM_CONNECT", "no", { retry: "any" }));
  expect(failures).toMatchObject([
    { code: "UPSTREAM_CONNECT", retry: "any" },
    { code: "UPSTREAM_CONNECT", retry: "any" },
  ]);
  send("/c");
  expect(dials).toHaveLength(2);
});

test("a server that no longer speaks HTTP/2 is asked anew", () => {
  send("/a");
  dials[0]!.done(undefined, stream() as never, "h2");
  const errors: unknown[] = [];
  connects.h2!((error) => errors.push(error));
  const old = stream();
  dials[1]!.done(undefined, old as never, "http/1.1");
  expect(errors).toMatchObject([{ code: "UPSTREAM_CONNECT", retry: "any" }]);
  expect(old.destroyed).toBe(true);
  send("/b");
  dials[2]!.done(undefined, stream() as never, "http/1.1");
  expect(sent.at(-1)).toBe("h1 /b a,b+c,d");
});

test("a request that is cancelled while it waits is not sent; one that was sent is cancelled there", () => {
  const cancelA = send("/a");
  const cancelB = send("/b");
  cancelA();
  dials[0]!.done(undefined, stream() as never, "h2");
  expect(sent.map((line) => line.split(" ")[1])).toEqual(["/b"]);
  cancelB();
  cancelB();
  expect(cancelled).toEqual(["/b"]);
});

test("closing waits for the negotiation, closes both, and refuses what comes later", async () => {
  send("/a");
  const closing = transport.close();
  expect(transport.close()).toBe(closing);
  expect(closed).toEqual([]);
  dials[0]!.done(undefined, stream() as never, "h2");
  await closing;
  expect(sent).toHaveLength(1);
  expect(closed.sort()).toEqual(["h1", "h2"]);
});

test("closed before it was used, it refuses, safe to send elsewhere", async () => {
  await transport.close();
  send("/a");
  await Promise.resolve();
  expect(failures).toMatchObject([{ code: "UPSTREAM_REFUSED", retry: "any" }]);
  expect(dials).toEqual([]);
});

test("an error on the connection before anybody listens ends nothing", () => {
  send("/a");
  const broken = stream();
  dials[0]!.done(undefined, broken as never, "h2");
  expect(() => broken.emit("error", new Error("reset"))).not.toThrow();
});
