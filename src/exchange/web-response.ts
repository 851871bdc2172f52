/**
 * The `Response` of the edge: status and headers are views on a shared head, the body stays a byte source until it is
 * looked at. Installed as the global `Response` (web-globals.ts) it takes what the standard constructor takes.
 */
import { EdgeError } from "../errors.ts";
import type { ByteSource } from "./body.ts";
import type { Exchange, ResponseHead } from "./exchange.ts";
import { responseHead } from "./exchange.ts";
import type { HeaderList } from "./headers.ts";
import { hasHeader, withoutHeader } from "./headers.ts";
import type { ByteStream } from "./stream.ts";
import { asNative, ownBytes, textStreamOf, WebBody } from "./web-body.ts";
import type { HeaderChanges } from "./web-headers.ts";
import { changesTouch, LazyHeaders } from "./web-headers.ts";
import type { Content, Made } from "./web-init.ts";
import { contentFrom, hasNoBody, JSON_TYPE, makeFrom, NONE, withType } from "./web-init.ts";
import { delegateRest, NativeResponse } from "./web-native.ts";
import { asBody, changedHead, isConnectionField, respondChecked } from "./web-send.ts";

/** The upstream's side of a connection that switched protocols; a 101 answer carries it back through middleware. */
export interface UpgradeHandle {
  /** In lower case: "websocket". */
  readonly protocol: string;
  readonly stream: ByteStream;
}

/** Tells the constructor that a {@link Made} follows; not reachable from outside. */
const MADE = Symbol("made");

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

/** Whether its fields can be changed where they are, as those of what `fetch` gave cannot. */
export function isLazyResponse(response: Response): boolean {
  return LazyResponse.is(response);
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
