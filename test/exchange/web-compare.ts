/**
 * Does to the lazy objects what it does to native ones, and writes down all that can be seen. Node's native classes are
 * the reference: they follow the Fetch standard closely, and lazy objects are to behave so on every runtime. As a
 * script it replays inputs on another runtime: `bun test/exchange/web-compare.ts SEED RUNS < expected.json`.
 */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { bytesSource } from "../../src/exchange/body.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import type { HeaderList } from "../../src/exchange/headers.ts";
import { installWebGlobals } from "../../src/exchange/web-globals.ts";
import { LazyHeaders } from "../../src/exchange/web-headers.ts";
import { NativeRequest, NativeResponse } from "../../src/exchange/web-native.ts";
import { lazyRequest } from "../../src/exchange/web-request.ts";
import { lazyResponse } from "../../src/exchange/web-response.ts";
import { memoryExchange } from "./memory-exchange.ts";

installWebGlobals();

/** What came of a step, in a form that compares: values as they are, errors by their class. */
async function outcome(work: () => unknown): Promise<unknown> {
  try {
    return await work();
  } catch (error) {
    return `throws ${error instanceof Error ? error.constructor.name : typeof error}`;
  }
}

// Header operations.

const name = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.constantFrom(
      "a",
      "A",
      "X-Thing",
      "x-thing",
      "Set-Cookie",
      "set-cookie",
      "vary",
      "content-type",
    ),
  },
  { weight: 1, arbitrary: fc.constantFrom("", "a b", "a:", "é", "a\n", "(x)") },
);
const value = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.constantFrom("1", "a, b", "x=1; Path=/", "  padded\t", "caf\u00e9", "text/html"),
  },
  { weight: 1, arbitrary: fc.constantFrom("a\nb", "a\0", "\u0100", "a\r") },
);
const wireName = fc.constantFrom("a", "B", "X-Thing", "Set-Cookie", "set-cookie", "Content-Type", "Vary");
const wireValue = fc.constantFrom("1", "2", "x=1; Path=/", "caf\u00e9", "text/html");
const wireHeaders = fc.array(fc.tuple(wireName, wireValue), { maxLength: 6 });

type HeaderStep = readonly [operation: string, name: string, value: string];
const headerStep: fc.Arbitrary<HeaderStep> = fc.tuple(
  fc.constantFrom(
    "set",
    "append",
    "delete",
    "get",
    "has",
    "getSetCookie",
    "entries",
    "keys",
    "values",
    "forEach",
    "copy",
    "live",
  ),
  name,
  value,
);

function headerOutcome(headers: Headers, [operation, name, value]: HeaderStep): unknown {
  switch (operation) {
    case "set":
    case "append":
      return headers[operation](name, value);
    case "delete":
    case "get":
    case "has":
      return headers[operation](name);
    case "getSetCookie":
      return headers.getSetCookie();
    case "forEach": {
      const seen: unknown[] = [];
      headers.forEach((value, name, of) => {
        seen.push(value, name, of === headers);
      });
      return seen;
    }
    case "copy":
      // Bun sorts Set-Cookie last.
      return [...new Headers(headers)].sort();
    case "live": {
      // The standard's iterators are live.
      const seen: string[] = [];
      for (const [key] of headers) {
        seen.push(key);
        if (key === "a") headers.delete("a");
        if (seen.length > 20) break;
      }
      return seen;
    }
    default:
      return [...headers[operation as "entries" | "keys" | "values"]()];
  }
}

async function headersLog(headers: Headers, steps: readonly HeaderStep[]): Promise<unknown[]> {
  const log: unknown[] = [
    headers instanceof Headers,
    Object.prototype.toString.call(headers),
    Object.keys(headers),
  ];
  for (const step of steps) log.push(await outcome(() => headerOutcome(headers, step)));
  log.push([...headers]);
  return log;
}

function nativeHeaders(pairs: readonly (readonly [string, string])[]): Headers {
  const headers = new Headers();
  for (const [name, value] of pairs) headers.append(name, value);
  return headers;
}

// Body operations, on requests and responses alike.

interface World {
  Response: typeof Response;
  Request: typeof Request;
}
const native: World = { Response: NativeResponse, Request: NativeRequest };
const lazy: World = { Response: globalThis.Response, Request: globalThis.Request };

const bodySteps = [
  "text",
  "json",
  "arrayBuffer",
  "bytes",
  "blob",
  "formData",
  "bodyUsed",
  "locked",
  "same",
  "clone",
  "read",
  "release",
  "byob",
  "cancel",
  "cancelReader",
  "tee",
  "rebuild",
  "rebuildText",
  "rebuildNull",
  "remake",
  "iterate",
] as const;
type BodyStep = (typeof bodySteps)[number] | HeaderStep;

const bodyStep: fc.Arbitrary<BodyStep> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...bodySteps.filter((step) => step !== "formData")) },
  { weight: 1, arbitrary: headerStep },
);

async function readAll(stream: ReadableStream<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

async function bodyLog(
  world: World,
  first: Request | Response,
  steps: readonly BodyStep[],
): Promise<unknown[]> {
  let message = first;
  let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  const log: unknown[] = [];
  const act = async (step: BodyStep): Promise<unknown> => {
    if (typeof step !== "string") {
      if (step[0] === "live") return undefined;
      // What was made by the runtime has its order of fields.
      const got = headerOutcome(message.headers, step);
      return Array.isArray(got) ? got.map(String).sort() : got;
    }
    switch (step) {
      case "text":
      case "json":
        return message[step]();
      case "arrayBuffer":
        return Buffer.from(await message.arrayBuffer()).toString("latin1");
      case "bytes":
        return Buffer.from(await message.bytes()).toString("latin1");
      case "blob": {
        const blob = await message.blob();
        return [blob.size, await blob.text()];
      }
      case "formData":
        return [...(await message.formData())];
      case "bodyUsed":
        return message.bodyUsed;
      case "locked":
        return message.body?.locked;
      case "same": {
        const { body, headers } = message;
        return [message.body === body, message.headers === headers, body instanceof ReadableStream];
      }
      case "clone": {
        const copy = message.clone();
        const read = outcome(() => copy.text());
        return [copy instanceof message.constructor, [...copy.headers].sort(), await read];
      }
      case "read": {
        reader ??= message.body?.getReader();
        const got = await reader?.read();
        // Where a body is split into chunks is nobody's promise: what matters is whether there was one.
        return got && [got.done, got.value instanceof Uint8Array];
      }
      case "release":
        reader?.releaseLock();
        reader = undefined;
        return;
      case "byob": {
        // Node makes a request from another by way of a stream that takes no reader's buffer.
        if (message instanceof Request && message !== first) return undefined;
        const byob = message.body?.getReader({ mode: "byob" });
        const got = await byob?.read(new Uint8Array(4));
        byob?.releaseLock();
        return got && [got.done, got.value?.length];
      }
      case "cancel":
        return message.body?.cancel("enough");
      case "cancelReader":
        return reader?.cancel();
      case "tee": {
        const branches = message.body?.tee();
        return branches && Promise.all(branches.map(readAll));
      }
      case "rebuild":
        if (message instanceof Response) message = new world.Response(message.body, message);
        return [message.bodyUsed, message.body?.locked];
      case "rebuildText":
        if (message instanceof Response) message = new world.Response("other", message);
        return [...message.headers].sort();
      case "rebuildNull":
        if (message instanceof Response) message = new world.Response(null, message);
        return [message.body, [...message.headers].sort()];
      case "remake":
        if (message instanceof Request && message === first) {
          const before = message;
          message = new world.Request(message, { headers: [["x-made", "1"], ...message.headers] });
          return [
            before.bodyUsed,
            message.bodyUsed,
            message.method,
            message.url,
            [...message.headers].sort(),
          ];
        }
        return undefined;
      case "iterate":
        return message.body && readAll(message.body);
      default:
        return step satisfies never;
    }
  };
  for (const step of steps) log.push([step, await outcome(() => act(step))]);
  const last = message;
  if (last instanceof Response)
    log.push([last.status, last.statusText, last.ok, last.type, last.url, last.redirected]);
  else log.push([last.method, last.url, last.signal.aborted, last.signal instanceof AbortSignal]);
  log.push(Object.keys(last), Object.prototype.toString.call(last), [...last.headers].sort());
  return log;
}

// What responses and requests are made from.

const FORM = '--b\r\nContent-Disposition: form-data; name="k"\r\n\r\nv\r\n--b--\r\n';
const text = fc.constantFrom(
  "",
  "hello",
  '{"a":[1,"\u00e9"]}',
  "k=v&l=w",
  "\ufeffbom",
  "\ud800",
  "\ud83e\udd80",
  FORM,
);
type BodyKind = readonly [kind: string, text: string];
const bodyKind: fc.Arbitrary<BodyKind> = fc.tuple(
  fc.constantFrom(
    "null",
    "undefined",
    "string",
    "bytes",
    "view",
    "buffer",
    "blob",
    "params",
    "stream",
    "number",
  ),
  text,
);

function makeBody([kind, content]: BodyKind): BodyInit | null | undefined {
  const bytes = new TextEncoder().encode(content);
  switch (kind) {
    case "null":
      return null;
    case "string":
      return content;
    case "bytes":
      return bytes;
    case "view":
      return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    case "buffer":
      return bytes.slice().buffer;
    case "blob":
      return new Blob([bytes], { type: "text/x-blob" });
    case "params":
      return new URLSearchParams(content);
    case "stream":
      return new ReadableStream({
        type: "bytes",
        start(controller) {
          if (bytes.length > 0) controller.enqueue(bytes);
          controller.close();
        },
      });
    case "number":
      return 5 as unknown as BodyInit;
    default:
      return undefined;
  }
}

const status = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom<unknown>(undefined, 200, 201, 404, 599, 204, 304, "203") },
  {
    weight: 1,
    arbitrary: fc.constantFrom<unknown>(0, 100, 101, 199, 600, 1000, "x", null, Number.NaN, 200.7),
  },
);
const statusText = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom<unknown>(undefined, "", "OK", "Caf\u00e9") },
  { weight: 1, arbitrary: fc.constantFrom<unknown>("a\nb", "\u0100", 5) },
);
const headersInit = fc.oneof(
  fc.constant(undefined),
  fc.array(fc.tuple(name, value), { maxLength: 4 }),
  fc.dictionary(name, value, { maxKeys: 4, noNullPrototype: true }),
  fc.constantFrom<unknown>(null, "x", 5, [["a"]], [["a", "b", "c"]], [5], [null], { a: 1 }),
);

interface Init {
  status?: unknown;
  statusText?: unknown;
  headers?: unknown;
}

/** Which of several mistakes in one call is named first differs between runtimes. */
const throwsOrNot = (outcome: unknown): unknown =>
  typeof outcome === "string" && outcome.startsWith("throws") ? "throws" : outcome;

const attempt = async (work: () => unknown): Promise<unknown> => throwsOrNot(await outcome(work));

export interface Check {
  readonly name: string;
  readonly inputs: fc.Arbitrary<unknown[]>;
  /** What was seen, as JSON. */
  lazily(args: unknown[]): Promise<string>;
  natively(args: unknown[]): Promise<string>;
}

function compare<T extends unknown[]>(
  arbitraries: { [K in keyof T]: fc.Arbitrary<T[K]> },
  lazily: (...args: T) => Promise<unknown>,
  natively: (...args: T) => Promise<unknown>,
): Omit<Check, "name"> {
  return {
    inputs: fc.tuple(...arbitraries) as unknown as fc.Arbitrary<unknown[]>,
    lazily: async (args) => JSON.stringify(await lazily(...(args as T))),
    natively: async (args) => JSON.stringify(await natively(...(args as T))),
  };
}

const FORM_TYPES = fc.constantFrom(
  "text/plain",
  "application/json",
  "application/x-www-form-urlencoded",
  "multipart/form-data; boundary=b",
  "nonsense",
);
const steps = fc.array(bodyStep, { maxLength: 6 });

export const checks: readonly Check[] = [
  {
    name: "headers",
    ...compare(
      [wireHeaders, fc.array(headerStep, { maxLength: 10 })],
      (pairs, steps) => headersLog(new LazyHeaders(pairs.flat() as HeaderList) as unknown as Headers, steps),
      (pairs, steps) => headersLog(nativeHeaders(pairs), steps),
    ),
  },
  {
    name: "responses of upstreams",
    ...compare(
      [fc.constantFrom(200, 206, 404, 500), wireHeaders, FORM_TYPES, text, steps],
      (status, pairs, type, content, steps) => {
        const list = [...pairs.filter(([name]) => name !== "Content-Type").flat(), "Content-Type", type];
        const source = bytesSource(new TextEncoder().encode(content));
        return bodyLog(lazy, lazyResponse(responseHead(status, list, "Why"), source), steps);
      },
      (status, pairs, type, content, steps) => {
        const headers: [string, string][] = pairs.filter(([name]) => name !== "Content-Type");
        headers.push(["Content-Type", type]);
        const init = { status, statusText: "Why", headers };
        return bodyLog(native, new NativeResponse(new TextEncoder().encode(content), init), steps);
      },
    ),
  },
  {
    name: "the Response constructor",
    ...compare(
      [bodyKind, status, statusText, headersInit, steps],
      ...([lazy, native].map(
        (world) =>
          async (kind: BodyKind, status: unknown, statusText: unknown, headers: unknown, steps: BodyStep[]) =>
            attempt(async () => {
              const init: Init = {};
              if (status !== undefined) init.status = status;
              if (statusText !== undefined) init.statusText = statusText;
              if (headers !== undefined) init.headers = headers;
              // Which streams of the runtime's own take a reader's buffer differs.
              const known = kind[0] === "blob" ? steps.filter((step) => step !== "byob") : steps;
              return bodyLog(world, new world.Response(makeBody(kind), init as ResponseInit), known);
            }),
      ) as [never, never]),
    ),
  },
  {
    name: "Response.json",
    ...compare(
      [fc.oneof(fc.jsonValue(), fc.constant(undefined)), status, headersInit, steps],
      ...([lazy, native].map(
        (world) => async (data: unknown, status: unknown, headers: unknown, steps: BodyStep[]) =>
          attempt(async () => {
            const init: Init = {};
            if (status !== undefined) init.status = status;
            if (headers !== undefined) init.headers = headers;
            return bodyLog(world, world.Response.json(data, init as ResponseInit), steps);
          }),
      ) as [never, never]),
    ),
  },
  {
    // Each runtime has a parser of its own; well-formed ones mean the same to all.
    name: "forms",
    ...compare(
      [
        fc.constantFrom<BodyKind>(
          ["application/x-www-form-urlencoded", "k=v&l=%C3%A9+x&k=2"],
          ["multipart/form-data; boundary=b", FORM],
        ),
        fc.array(fc.constantFrom<BodyStep>("formData", "bodyUsed", "clone"), { maxLength: 4 }),
      ],
      ([type, content], steps) => {
        const exchange = memoryExchange({ method: "POST", headers: ["Content-Type", type], body: content });
        return bodyLog(lazy, lazyRequest(exchange), steps);
      },
      ([type, content], steps) => {
        const init = { method: "POST", headers: { "Content-Type": type }, body: content };
        return bodyLog(native, new NativeRequest("https://app.example.com/", init), steps);
      },
    ),
  },
  {
    name: "requests",
    ...compare(
      [
        fc.constantFrom("POST", "PUT", "PATCH"),
        fc.constantFrom(
          "/",
          "/a/b?c=d&e",
          "/a/../b",
          "/%2e%2E/x",
          "//x",
          "/caf\u00e9",
          "/a b",
          "/a\\b",
          "/x/.",
          "/.hidden/..x",
          "/?q=/../x",
          "/a|b",
          "/%41",
          "/a'b",
          "/?a'b\"c",
        ),
        fc.constantFrom(
          "app.example.com",
          "APP.example.com",
          "app.example.com:8443",
          "app.example.com:443",
          "[::1]:8443",
          "127.0.0.1",
          "1.2",
        ),
        wireHeaders,
        FORM_TYPES,
        text,
        steps,
      ],
      (method, path, authority, pairs, type, content, steps) => {
        const headers = [...pairs.filter(([name]) => name !== "Content-Type").flat(), "Content-Type", type];
        const exchange = memoryExchange({
          method,
          path,
          authority,
          headers,
          body: new TextEncoder().encode(content),
        });
        return bodyLog(lazy, lazyRequest(exchange), steps);
      },
      (method, path, authority, pairs, type, content, steps) => {
        const headers: [string, string][] = pairs.filter(([name]) => name !== "Content-Type");
        headers.push(["Content-Type", type]);
        const body = new TextEncoder().encode(content);
        return bodyLog(
          native,
          new NativeRequest(`https://${authority}${path}`, { method, headers, body }),
          steps,
        );
      },
    ),
  },
  {
    name: "requests without a body",
    ...compare(
      [fc.constantFrom("GET", "HEAD", "DELETE"), wireHeaders, steps],
      (method, pairs, steps) =>
        bodyLog(lazy, lazyRequest(memoryExchange({ method, headers: pairs.flat() })), steps),
      (method, pairs, steps) =>
        bodyLog(native, new NativeRequest("https://app.example.com/", { method, headers: pairs }), steps),
    ),
  },
];

/** The inputs of a seed: the same ones on every runtime. */
export function inputsOf(check: Check, seed: number, runs: number): unknown[][] {
  return fc.sample(check.inputs, { seed, numRuns: runs });
}

async function replay(seed: number, runs: number): Promise<void> {
  const expected = JSON.parse(readFileSync(0, "utf8")) as Record<string, string[]>;
  for (const check of checks) {
    const inputs = inputsOf(check, seed, runs);
    for (const [index, args] of inputs.entries()) {
      const got = await check.lazily(args);
      const wanted = expected[check.name]?.[index];
      if (got === wanted) continue;
      console.log(`${check.name}: ${JSON.stringify(args)}\nwanted ${wanted}\ngot    ${got}`);
      process.exitCode = 1;
      break;
    }
  }
}

if (process.argv[1]?.endsWith("web-compare.ts"))
  await replay(Number(process.argv[2]), Number(process.argv[3]));
