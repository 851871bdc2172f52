/**
 * The `Response` of the edge: status and headers are views on a shared head, the body stays a byte source until it is
 * looked at. Installed as the global `Response` (web-globals.ts) it takes what the standard constructor takes.
 */
import { EdgeError } from "../errors.ts";
import type { ByteSource } from "./body.ts";
import type { Body, Exchange, ResponseHead } from "./exchange.ts";
import { responseHead } from "./exchange.ts";
import type { HeaderList } from "./headers.ts";
import { getHeaders, hasHeader, isName, withoutHeader } from "./headers.ts";
import type { ByteStream } from "./stream.ts";
import { asNative, bodyOf, ownBytes, textStreamOf, WebBody } from "./web-body.ts";
import type { HeaderChanges } from "./web-headers.ts";
import { applyChanges, changesFrom, changesTouch, LazyHeaders, sameChanges } from "./web-headers.ts";
import { delegateRest, NativeResponse } from "./web-native.ts";
import { exactly, sourceOf } from "./web-stream.ts";

/** The upstream's side of a connection that switched protocols; a 101 answer carries it back through middleware. */
export interface UpgradeHandle {
  /** In lower case: "websocket". */
  readonly protocol: string;
  readonly stream: ByteStream;
}

/** Tells the constructor that a {@link Made} follows; not reachable from outside. */
const MADE = Symbol("made");

interface Made {
  readonly head: ResponseHead;
  readonly changes: HeaderChanges;
  readonly body: WebBody | undefined;
  /** Whether the body is the one that came with the head, so that the head's Content-Length holds. */
  readonly paired: boolean;
  readonly upgrade: UpgradeHandle | undefined;
}

/** A body, and the content type that it brings along. */
interface Content {
  readonly body: WebBody;
  readonly type: HeaderChanges;
}

const CHANGED = Symbol("changed");
const NONE: HeaderChanges = [];
const TEXT: HeaderChanges = ["+", "content-type", "text/plain;charset=UTF-8"];
const FORM: HeaderChanges = ["+", "content-type", "application/x-www-form-urlencoded;charset=UTF-8"];
const JSON_TYPE: HeaderChanges = ["+", "content-type", "application/json"];
const REASON = /^[\t\x20-\x7e\x80-\xff]*$/;
const DIGITS = /^[0-9]{1,15}$/;

/** Heads without fields, one per status, so that answers made here share what is derived from them. */
const bare = new Map<string | number, ResponseHead>();

function bareHead(status: number, reason: string): ResponseHead {
  const key = reason === "" ? status : `${status} ${reason}`;
  const known = bare.get(key);
  if (known) return known;
  const head = responseHead(status, [], reason);
  // Reasons may be anything, so only some are kept.
  if (bare.size < 1024) bare.set(key, head);
  return head;
}

function hasNoBody(status: number): boolean {
  return status === 204 || status === 205 || status === 304 || status === 101;
}

/** WebIDL's `unsigned short`, then the range that the standard allows. */
function checkStatus(value: unknown): number {
  const status = value === undefined ? 200 : Number(value) & 0xffff;
  if (status < 200 || status > 599) throw new RangeError(`a response's status is 200 to 599, not ${value}`);
  return status;
}

function checkReason(value: unknown): string {
  if (value === undefined) return "";
  const reason = `${value}`;
  if (!REASON.test(reason)) throw new TypeError("statusText holds a character that may not stand there");
  return reason;
}

function contentFrom(init: unknown): Content {
  if (typeof init === "string") return { body: new WebBody(init), type: TEXT };
  if (typeof init !== "object" && typeof init !== "function") return contentFrom(`${init}`);
  if (init instanceof URLSearchParams) return { body: new WebBody(init.toString()), type: FORM };
  if (init instanceof ReadableStream) {
    const known = bodyOf(init);
    if (known?.untouched) return { body: known, type: NONE };
  } else if (init instanceof ArrayBuffer) {
    return { body: new WebBody(new Uint8Array(init.slice(0))), type: NONE };
  } else if (ArrayBuffer.isView(init) && init.buffer instanceof ArrayBuffer) {
    const bytes = new Uint8Array(init.buffer, init.byteOffset, init.byteLength).slice();
    return { body: new WebBody(bytes), type: NONE };
  }
  // Blobs, forms, streams of others and whatever has a toString: the runtime knows best.
  const native = new NativeResponse(init as BodyInit);
  const type = native.headers.get("content-type");
  return { body: new WebBody(native), type: type === null ? NONE : ["+", "content-type", type] };
}

/** Adds the body's own content type where none was given. */
function withType(base: HeaderList, changes: HeaderChanges, type: HeaderChanges): HeaderChanges {
  if (type.length === 0 || hasHeader(applyChanges(base, changes), "content-type")) return changes;
  return changes.length === 0 ? type : [...changes, ...type];
}

function makeFrom(content: Content | undefined, init: ResponseInit | null | undefined): Made {
  if (init !== undefined && init !== null && typeof init !== "object" && typeof init !== "function")
    throw new TypeError("a response's init must be an object");
  const status = checkStatus(init?.status);
  const head = bareHead(status, checkReason(init?.statusText));
  const changes = changesFrom(init?.headers);
  if (content === undefined) return { head, changes, body: undefined, paired: false, upgrade: undefined };
  if (hasNoBody(status)) throw new TypeError(`a response of status ${status} has no body`);
  return {
    head,
    changes: withType(head.headers, changes, content.type),
    body: content.body,
    paired: false,
    upgrade: undefined,
  };
}

/** RFC 9110 §7.6.1: these are between two neighbours, and framing is the engine's. */
function isConnectionField(name: string): boolean {
  switch (name.length) {
    case 7:
      return isName(name, "upgrade");
    case 10:
      return isName(name, "connection") || isName(name, "keep-alive");
    case 16:
      return isName(name, "proxy-connection");
    case 17:
      return isName(name, "transfer-encoding");
    default:
      return false;
  }
}

function endToEnd(list: HeaderList): HeaderList {
  const kept: HeaderList = [];
  for (let i = 0; i < list.length; i += 2)
    if (!isConnectionField(list[i]!)) kept.push(list[i]!, list[i + 1]!);
  return kept;
}

/** The head with changed fields; the same object again while heads and changes repeat. */
function changedHead(head: ResponseHead, changes: HeaderChanges): ResponseHead {
  if (changes.length === 0) return head;
  const last = head.memo[CHANGED] as { changes: HeaderChanges; head: ResponseHead } | undefined;
  if (last && sameChanges(last.changes, changes)) return last.head;
  const changed = responseHead(head.status, endToEnd(applyChanges(head.headers, changes)), head.reason);
  head.memo[CHANGED] = { changes, head: changed };
  return changed;
}

function asBody(taken: Uint8Array | ByteSource | ReadableStream): Uint8Array | ByteSource {
  return taken instanceof ReadableStream ? sourceOf(taken) : taken;
}

/** Answers with a Content-Length that tells the truth, or with none. */
function respondChecked(exchange: Exchange, head: ResponseHead, body: Body): void {
  const claims = getHeaders(head.headers, "content-length");
  // RFC 9110 §8.6: here it says what a GET would have been answered with.
  if (claims.length === 0 || exchange.head.method === "HEAD" || head.status === 304)
    exchange.respond(head, body);
  else {
    const promised = claims.length === 1 && DIGITS.test(claims[0]!) ? Number(claims[0]) : undefined;
    const length = body === undefined ? 0 : body.length;
    if (promised !== undefined && length === promised) exchange.respond(head, body);
    else if (promised !== undefined && length === undefined)
      exchange.respond(head, exactly(body as ByteSource, promised));
    else {
      const { status, reason, headers } = head;
      exchange.respond(responseHead(status, withoutHeader(headers, "content-length"), reason), body);
    }
  }
}

/** Behaves like `Response`, of which it is an instance. */
class LazyResponse {
  readonly #head: ResponseHead;
  readonly #changes: HeaderChanges;
  readonly #body: WebBody | undefined;
  readonly #paired: boolean;
  readonly #upgrade: UpgradeHandle | undefined;
  #headers: LazyHeaders | undefined;

  constructor(body: BodyInit | null | undefined | typeof MADE = null, init: ResponseInit | Made = {}) {
    let made: Made;
    if (body === MADE) made = init as Made;
    else {
      const content = body === null || body === undefined ? undefined : contentFrom(body);
      const lazy = init !== null && typeof init === "object" && #head in init;
      made = lazy
        ? LazyResponse.#remake(content, init as unknown as LazyResponse)
        : makeFrom(content, init as ResponseInit);
    }
    this.#head = made.head;
    this.#changes = made.changes;
    this.#body = made.body;
    this.#paired = made.paired;
    this.#upgrade = made.upgrade;
    this.#headers = undefined;
  }

  /** `new Response(answer.body, answer)`, as Hono's `c.header()` does it: the head is shared, the body goes on. */
  static #remake(content: Content | undefined, from: LazyResponse): Made {
    const head = from.#head;
    const changes = from.#final();
    const body = content?.body;
    const same = body === from.#body;
    if (same) return { head, changes, body, paired: from.#paired, upgrade: from.#upgrade };
    if (content === undefined) return { head, changes, body, paired: false, upgrade: undefined };
    if (hasNoBody(head.status)) throw new TypeError(`a response of status ${head.status} has no body`);
    const typed = withType(head.headers, changes, content.type);
    return { head, changes: typed, body, paired: false, upgrade: undefined };
  }

  static is(value: object): value is LazyResponse {
    return #head in value;
  }

  /** See {@link sendResponse}. */
  static send(response: LazyResponse, exchange: Exchange, onUpgrade: OnUpgrade | undefined): void {
    const changes = response.#final();
    const head = changedHead(response.#head, changes);
    const upgrade = response.#upgrade;
    if (upgrade) {
      const client = exchange.accept(head.headers);
      if (onUpgrade) onUpgrade(client, upgrade);
      else {
        client.destroy();
        upgrade.stream.destroy();
      }
      return;
    }
    const body = response.#body && asBody(response.#body.take());
    if (response.#paired && !changesTouch(changes, "content-length")) exchange.respond(head, body);
    else respondChecked(exchange, head, body);
  }

  #final(): HeaderChanges {
    return this.#headers === undefined ? this.#changes : LazyHeaders.changesOf(this.#headers);
  }

  get status(): number {
    return this.#head.status;
  }

  get ok(): boolean {
    return this.#head.status >= 200 && this.#head.status < 300;
  }

  get statusText(): string {
    return this.#head.reason;
  }

  get type(): ResponseType {
    return "default";
  }

  get url(): string {
    return "";
  }

  get redirected(): boolean {
    return false;
  }

  get headers(): Headers {
    this.#headers ??= new LazyHeaders(this.#head.headers, this.#changes);
    return this.#headers as unknown as Headers;
  }

  get body(): ReadableStream<Uint8Array> | null {
    return this.#body?.open(true) ?? null;
  }

  get bodyUsed(): boolean {
    return this.#body?.used ?? false;
  }

  clone(): Response {
    return lazyOf({
      head: this.#head,
      changes: this.#final(),
      body: this.#body?.tee(),
      paired: this.#paired,
      upgrade: undefined,
    });
  }

  async text(): Promise<string> {
    return this.#body?.text() ?? "";
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return ownBytes(this.#body ? await this.#body.read() : new Uint8Array(0));
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    return (await this.bytes()).buffer;
  }

  textStream(): ReadableStream<string> {
    return textStreamOf(this.#body);
  }

  async blob(): Promise<Blob> {
    return (await asNative(this)).blob();
  }

  async formData(): Promise<FormData> {
    return (await asNative(this)).formData();
  }

  static json(data: unknown, init?: ResponseInit): Response {
    const text = JSON.stringify(data);
    if (text === undefined) throw new TypeError("the value has no JSON form");
    return lazyOf(makeFrom({ body: new WebBody(text), type: JSON_TYPE }, init));
  }

  static error(): Response {
    return NativeResponse.error();
  }

  static redirect(url: string | URL, status?: number): Response {
    return NativeResponse.redirect(url, status);
  }
}

// Native responses are responses too; a subclass knows its own.
Object.defineProperty(LazyResponse, Symbol.hasInstance, {
  value(this: { prototype: object }, value: unknown): boolean {
    if (this === LazyResponse) return value instanceof NativeResponse;
    return (
      typeof value === "object" &&
      value !== null &&
      Object.prototype.isPrototypeOf.call(this.prototype, value)
    );
  },
});

delegateRest(LazyResponse, NativeResponse, (response) => {
  const { status, statusText, headers } = response;
  return new NativeResponse(null, { status: Math.max(status, 200), statusText, headers });
});

function lazyOf(made: Made): Response {
  return new LazyResponse(MADE, made) as unknown as Response;
}

/** What replaces the global `Response` (see web-globals.ts): makes lazy ones, and knows native ones as its own. */
export const EdgeResponse: typeof Response = LazyResponse as unknown as typeof Response;

/**
 * A response whose head and body are still the upstream's. Its headers may be changed; `head` is never altered.
 * With `upgrade`, sending it switches protocols, also after middleware rebuilt it around the same (absent) body.
 */
export function lazyResponse(
  head: ResponseHead,
  body: ByteSource | Uint8Array | undefined,
  upgrade?: UpgradeHandle,
): Response {
  const content = body && new WebBody(body);
  return lazyOf({ head, changes: NONE, body: content, paired: true, upgrade });
}

/** Gets both ends of a connection that switched protocols; splicing them is the caller's. */
export type OnUpgrade = (client: ByteStream, upgrade: UpgradeHandle) => void;

/**
 * Answers `exchange` with any response: lazy, native, or of another library. A body nobody touched goes on as the
 * bytes or the source that it is; one that became a stream is pumped with back-pressure. The head is passed on as it
 * was given, or as derived last time where the same changes were made to it, so that engines may keep what they
 * serialised. A response that carries an upgrade is accepted and handed to `onUpgrade` (without it, both ends are closed).
 *
 * Throws EdgeError MIDDLEWARE_FAILED, before anything was sent, where the response's body was read already.
 */
export function sendResponse(exchange: Exchange, response: Response, onUpgrade?: OnUpgrade): void {
  try {
    if (LazyResponse.is(response)) LazyResponse.send(response, exchange, onUpgrade);
    else sendForeign(exchange, response);
  } catch (error) {
    if (!(error instanceof TypeError) || exchange.answered) throw error;
    throw new EdgeError("MIDDLEWARE_FAILED", `the response cannot be sent: ${error.message}`, {
      cause: error,
    });
  }
}

function sendForeign(exchange: Exchange, response: Response): void {
  if (response.bodyUsed) throw new TypeError("its body was read already");
  const headers: HeaderList = [];
  for (const [name, value] of response.headers) if (!isConnectionField(name)) headers.push(name, value);
  // What `fetch` answers with was decoded on the way, while its fields still speak of the encoded bytes.
  const decoded = response.url !== "" && hasHeader(headers, "content-encoding");
  const list = decoded
    ? withoutHeader(withoutHeader(headers, "content-encoding"), "content-length")
    : headers;
  // A network error (`Response.error()`) has status 0.
  const status = response.status >= 200 ? response.status : 502;
  const body = response.body ? asBody(response.body) : undefined;
  respondChecked(exchange, responseHead(status, list, response.statusText), body);
}
