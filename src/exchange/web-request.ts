/**
 * The `Request` that middleware gets: a thin object over an exchange. It behaves like a standard one; headers, body
 * and signal come into being when they are looked at.
 */
import { EdgeError } from "../errors.ts";
import type { ByteSource } from "./body.ts";
import { bytesSource } from "./body.ts";
import type { RequestContext } from "./context.ts";
import type { Exchange, RequestHead } from "./exchange.ts";
import { requestHead } from "./exchange.ts";
import type { HeaderList } from "./headers.ts";
import { asNative, ownBytes, textStreamOf, WebBody } from "./web-body.ts";
import type { HeaderChanges } from "./web-headers.ts";
import { LazyHeaders, sameChanges } from "./web-headers.ts";
import { delegateRest, NativeRequest } from "./web-native.ts";
import { sourceOf } from "./web-stream.ts";

const URL_OF = Symbol("url");
const CHANGED = Symbol("changed");

/** Host and path that `URL` would leave as they are: no capitals, no dot segments, nothing to escape. */
const PLAIN_AUTHORITY = /^[a-z][a-z0-9-]*(?:\.[a-z][a-z0-9-]*)*(?::[1-9][0-9]{0,3})?$/;
const PLAIN_PATH = /^\/(?!\.)(?:[A-Za-z0-9_~!$&()*+,;=:@?-]|%(?!2[eE])|\.(?!\.)|\/(?!\.))*$/;

function buildUrl(head: RequestHead): string {
  const { scheme, authority, path } = head;
  const text = `${scheme}://${authority}${path === "*" ? "/*" : path}`;
  const defaultPort = scheme === "https" ? ":443" : ":80";
  if (PLAIN_PATH.test(path) && PLAIN_AUTHORITY.test(authority) && !authority.endsWith(defaultPort))
    return text;
  const url = URL.parse(text);
  if (url) return url.href;
  throw new EdgeError("BAD_REQUEST", "host and path of the request form no URL", {
    source: "downstream",
    status: 400,
  });
}

/** The request's absolute URL, as `URL` writes it; kept on the head. Throws BAD_REQUEST (400) where there is none. */
export function urlOf(head: RequestHead): string {
  const known = head.memo[URL_OF] as string | undefined;
  if (known !== undefined) return known;
  const url = buildUrl(head);
  head.memo[URL_OF] = url;
  return url;
}

/** The head with changed fields; the same object again while heads and changes repeat. */
function changedHead(head: RequestHead, headers: LazyHeaders): RequestHead {
  const changes = LazyHeaders.changesOf(headers);
  if (changes.length === 0) return head;
  const last = head.memo[CHANGED] as { changes: HeaderChanges; head: RequestHead } | undefined;
  if (last && sameChanges(last.changes, changes)) return last.head;
  const changed = requestHead({ ...head, headers: LazyHeaders.listOf(headers) });
  head.memo[CHANGED] = { changes, head: changed };
  return changed;
}

let template: Request | undefined;

class LazyRequest {
  readonly #exchange: Exchange;
  #headers: LazyHeaders | undefined;
  #body: WebBody | undefined;
  #abort: AbortController | undefined;
  #context: RequestContext | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#headers = undefined;
    this.#body = undefined;
    this.#abort = undefined;
    this.#context = undefined;
  }

  static is(value: object): value is LazyRequest {
    return #exchange in value;
  }

  static exchangeOf(request: LazyRequest): Exchange {
    return request.#exchange;
  }

  static contextOf(request: LazyRequest): RequestContext | undefined {
    return request.#context;
  }

  static setContext(request: LazyRequest, context: RequestContext): void {
    request.#context = context;
  }

  /** Takes the body: whoever reads it from the request afterwards fails. Throws TypeError where it was read. */
  static takeBody(request: LazyRequest): ByteSource | undefined {
    const taken = request.#content()?.take();
    if (taken === undefined) return undefined;
    if (taken instanceof Uint8Array) return bytesSource(taken);
    return taken instanceof ReadableStream ? sourceOf(taken) : taken;
  }

  /** What to forward: the body is taken, so that nobody reads it twice. Throws TypeError where it was read. */
  static partsOf(request: LazyRequest): RequestParts {
    const { head } = request.#exchange;
    const final = request.#headers ? changedHead(head, request.#headers) : head;
    const source = LazyRequest.takeBody(request);
    const { method, path, authority, scheme, headers, protocol } = final;
    return { method, path, authority, scheme, headers, body: source, protocol, head: final };
  }

  #content(): WebBody | undefined {
    const { body } = this.#exchange;
    if (this.#body === undefined && body !== undefined) this.#body = new WebBody(body);
    return this.#body;
  }

  get method(): string {
    return this.#exchange.head.method;
  }

  get url(): string {
    return urlOf(this.#exchange.head);
  }

  get headers(): Headers {
    this.#headers ??= new LazyHeaders(this.#exchange.head.headers);
    return this.#headers as unknown as Headers;
  }

  get body(): ReadableStream<Uint8Array> | null {
    return this.#content()?.open(true) ?? null;
  }

  get bodyUsed(): boolean {
    return this.#body?.used ?? false;
  }

  get signal(): AbortSignal {
    let controller = this.#abort;
    if (!controller) {
      const made = new AbortController();
      controller = made;
      this.#abort = made;
      this.#exchange.onClose((error) => {
        if (error) made.abort(error);
      });
    }
    return controller.signal;
  }

  clone(): Request {
    const copy = new LazyRequest(this.#exchange);
    const content = this.#content();
    if (content) copy.#body = content.tee();
    if (this.#headers) {
      const changes = LazyHeaders.changesOf(this.#headers);
      copy.#headers = new LazyHeaders(LazyHeaders.baseOf(this.#headers), changes);
    }
    copy.#context = this.#context;
    return copy as unknown as Request;
  }

  async text(): Promise<string> {
    return this.#content()?.text() ?? "";
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    const content = this.#content();
    return ownBytes(content ? await content.read() : new Uint8Array(0));
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return (await this.bytes()).buffer;
  }

  textStream(): ReadableStream<string> {
    return textStreamOf(this.#content());
  }

  async blob(): Promise<Blob> {
    return (await asNative(this)).blob();
  }

  async formData(): Promise<FormData> {
    return (await asNative(this)).formData();
  }
}

/** The rest of the standard's fields are what this runtime gives a plain request. */
delegateRest(LazyRequest, NativeRequest, () => {
  template ??= new NativeRequest("http://localhost/");
  return template;
});

/**
 * The request of an exchange, for `app.fetch`. Reading its body starts the exchange's source (which is when a waiting
 * client is sent "100 Continue"). A body that was read by `text()`, `json()` and so on is gone for `proxy()`, as with
 * any request; Hono's `c.req.text()` keeps what it read, so it can be sent on as `new Request(c.req.raw, { body })`.
 */
export function lazyRequest(exchange: Exchange): Request {
  return new LazyRequest(exchange) as unknown as Request;
}

export function isLazyRequest(request: object): boolean {
  return LazyRequest.is(request);
}

/** Takes the body of a lazy request, to be that of another. Throws TypeError where it was read. */
export function takeBody(request: Request): ByteSource | undefined {
  return LazyRequest.is(request) ? LazyRequest.takeBody(request) : undefined;
}

/** What a request made from another (`new Request(c.req.raw, …)`) stems from. */
const origins = new WeakMap<object, LazyRequest>();

function lazyOf(request: object): LazyRequest | undefined {
  return LazyRequest.is(request) ? request : origins.get(request);
}

/** Remembers that `request` was made from `input`, so that its exchange and context are still found. */
export function inherit(request: Request, input: unknown): void {
  const origin = typeof input === "object" && input !== null ? lazyOf(input) : undefined;
  if (origin) origins.set(request, origin);
}

/** The exchange that a request came by, also of one made from it by `new Request(request, …)`. */
export function exchangeOf(request: Request): Exchange | undefined {
  const lazy = lazyOf(request);
  return lazy && LazyRequest.exchangeOf(lazy);
}

export function contextOf(request: Request): RequestContext | undefined {
  const lazy = lazyOf(request);
  return lazy && LazyRequest.contextOf(lazy);
}

/** Hangs the edge's context onto a lazy request; nothing happens to any other. */
export function setRequestContext(request: Request, context: RequestContext): void {
  if (LazyRequest.is(request)) LazyRequest.setContext(request, context);
}

export interface RequestParts {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly scheme: "http" | "https";
  readonly headers: HeaderList;
  readonly body: ByteSource | undefined;
  /** What the client asks to switch to, for a request that came by an exchange. */
  readonly protocol: string | undefined;
  /**
   * A head with just these fields, for hanging memos onto: the exchange's own where nothing was changed, one that is
   * reused while the same changes repeat where headers were; undefined for any other request.
   */
  readonly head: RequestHead | undefined;
}

/**
 * Takes a request apart for forwarding, whichever class it is of. Its body counts as read afterwards.
 * Throws TypeError where the body was read before.
 */
export function requestParts(request: Request): RequestParts {
  if (LazyRequest.is(request)) return LazyRequest.partsOf(request);
  if (request.bodyUsed) throw new TypeError("the request's body was read already");
  const url = new URL(request.url);
  const headers: HeaderList = [];
  request.headers.forEach((value, name) => {
    headers.push(name, value);
  });
  return {
    method: request.method,
    path: url.pathname + url.search,
    authority: url.host,
    scheme: url.protocol === "https:" ? "https" : "http",
    headers,
    body: request.body ? sourceOf(request.body) : undefined,
    protocol: exchangeOf(request)?.head.protocol,
    head: undefined,
  };
}
