/** One request on an HTTP/1.1 connection and its answer. */
import { EdgeError } from "../errors.ts";
import type { ByteSource } from "../exchange/body.ts";
import type {
  Body,
  DownstreamConnection,
  Exchange,
  HttpVersion,
  RequestHead,
  ResponseHead,
} from "../exchange/exchange.ts";
import type { HeaderList } from "../exchange/headers.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { dateLine } from "./date.ts";
import { CHUNKED, type ParsedRequest, UNTIL_CLOSE } from "./head.ts";
import type { IncomingBody } from "./incoming.ts";
import { OutgoingBody, type OutgoingOwner } from "./outgoing.ts";
import { fieldLines, isField, responseText, statusLine } from "./serialise.ts";
import type { ServerConnection } from "./server-connection.ts";

type CloseListener = (error: EdgeError | undefined) => void;

export class ServerExchange implements Exchange, OutgoingOwner {
  readonly version: HttpVersion;
  readonly head: RequestHead;
  readonly body: ByteSource | undefined;
  readonly connection: DownstreamConnection;
  answered = false;
  closed = false;
  expectsContinue: boolean;
  status = 0;
  bytesSent = 0;

  readonly #server: ServerConnection;
  readonly #parsed: ParsedRequest;
  readonly #incoming: IncomingBody | undefined;
  #persist = false;
  #untilClose = false;
  #outgoing: OutgoingBody | undefined;
  #listener: CloseListener | undefined;
  #listeners: CloseListener[] | undefined;
  #error: EdgeError | undefined;

  constructor(server: ServerConnection, parsed: ParsedRequest, incoming: IncomingBody | undefined) {
    this.#server = server;
    this.#parsed = parsed;
    this.#incoming = incoming;
    this.version = parsed.version;
    this.head = parsed.head;
    this.body = incoming;
    this.connection = server.options.connection;
    this.expectsContinue = parsed.expects && !(incoming?.received ?? 0);
  }

  inform(status: number, headers: HeaderList): void {
    if (this.answered || status < 100 || status > 199 || status === 101) return;
    if (status === 100) this.expectsContinue = false;
    if (this.version === "1.0") return;
    const { outbox } = this.#server;
    let lines = "";
    for (let i = 0; i < headers.length; i += 2) {
      // Nobody depends on an informational response, so a field that cannot be sent is left out.
      if (isField(headers[i]!, headers[i + 1]!)) lines += `${headers[i]}: ${headers[i + 1]}\r\n`;
    }
    outbox.text(`${statusLine(status, "")}${lines}\r\n`);
    outbox.send();
  }

  respond(head: ResponseHead, body?: Body): void {
    if (this.answered) {
      cancel(body);
      return;
    }
    this.answered = true;
    const { outbox } = this.#server;
    outbox.hold();
    try {
      this.#respond(head, body);
    } catch (thrown) {
      cancel(body);
      this.#failAnswer(thrown);
    }
    outbox.unhold();
  }

  #respond(head: ResponseHead, body: Body): void {
    const server = this.#server;
    const { outbox } = server;
    const { status } = head;
    if (status < 200 || status > 999) throw new EdgeError("INTERNAL", `cannot answer with status ${status}`);
    const text = responseText(head);
    const bare = this.head.method === "HEAD" || status === 204 || status === 304;
    const persist = !text.close && server.mayPersist(this.#parsed) && this.#requestLeavesLineClean();

    this.status = status;
    // The framing, and the fields that say it.
    let length: number = text.length;
    let framing = "";
    if (!bare && length >= 0 && body?.length !== undefined && body.length !== length)
      throw new EdgeError("INTERNAL", "Content-Length does not match the body");
    if (body === undefined) {
      if (length > 0 && !bare) throw new EdgeError("INTERNAL", "Content-Length without a body");
      if (length < 0 && !bare) framing = "Content-Length: 0\r\n";
    } else if (length < 0 && status !== 204 && status !== 304) {
      const known = body.length;
      if (known !== undefined) {
        length = known;
        framing = `Content-Length: ${known}\r\n`;
      } else if (this.version === "1.1") {
        length = CHUNKED;
        framing = "Transfer-Encoding: chunked\r\n";
      } else length = UNTIL_CLOSE;
    }
    this.#untilClose = !bare && length === UNTIL_CLOSE;
    this.#persist = persist && !this.#untilClose;
    // Only what differs from the version's default is said (RFC 9112 §9.3).
    if (!this.#persist) framing += "Connection: close\r\n";
    else if (this.version === "1.0") framing += "Connection: keep-alive\r\n";
    if (!text.hasDate) framing += dateLine(server.options.clock);
    if (framing === "" && text.whole !== undefined) outbox.bytes(text.whole);
    else {
      outbox.text(text.lines);
      outbox.text(`${framing}\r\n`);
    }

    if (bare || body === undefined) {
      cancel(body);
      this.bodySent();
    } else if (body instanceof Uint8Array) {
      if (body.length > 0) outbox.bytes(body);
      this.bytesSent = body.length;
      outbox.send();
      this.bodySent();
    } else {
      this.#outgoing = new OutgoingBody(this, outbox, body, length);
      body.start(this.#outgoing);
    }
  }

  /**
   * Whether the next request can follow this one: a client that still waits for its "100 Continue" may or may not send
   * the body now (RFC 9110 §10.1.1), and a large rest is not worth reading.
   */
  #requestLeavesLineClean(): boolean {
    const incoming = this.#incoming;
    if (incoming === undefined || incoming.complete) return true;
    const { maxDrainBytes } = this.#server.options.limits;
    return !this.expectsContinue && (incoming.length === undefined || incoming.remaining <= maxDrainBytes);
  }

  #failAnswer(thrown: unknown): void {
    const error =
      thrown instanceof EdgeError
        ? thrown
        : new EdgeError("INTERNAL", "the answer failed", { cause: thrown });
    this.#error = error;
    this.#server.cut();
  }

  accept(headers: HeaderList): ByteStream {
    const server = this.#server;
    if (this.answered) return server.stream;
    if (this.head.protocol === undefined)
      throw new EdgeError("INTERNAL", "the client did not ask for an upgrade");
    const lines = fieldLines(headers);
    this.answered = true;
    this.status = 101;
    server.outbox.text(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${this.head.protocol}\r\n${lines}\r\n`,
    );
    return server.upgrade();
  }

  reset(error: EdgeError): void {
    if (this.closed) return;
    this.answered = true;
    this.#error ??= error;
    this.#server.cut(this.#untilClose);
  }

  onClose(listener: CloseListener): void {
    if (this.closed) listener(this.#error);
    else if (this.#listener === undefined) this.#listener = listener;
    else if (this.#listeners === undefined) this.#listeners = [listener];
    else this.#listeners.push(listener);
  }

  bodySent(): void {
    this.#server.answerEnded(this, this.#persist);
  }

  bodyCut(error: EdgeError): void {
    this.reset(error);
  }

  bodyBytes(count: number): void {
    this.bytesSent += count;
  }

  /** The stream can take more. */
  drained(): void {
    this.#outgoing?.drained();
  }

  /** The answer is with the socket, whole. */
  ended(): void {
    this.#settle(undefined);
  }

  /** The connection is gone, or this request was refused after it was announced. */
  fail(error: EdgeError): void {
    if (this.closed) return;
    this.answered = true;
    const why = this.#error ?? error;
    this.#outgoing?.cancel(why);
    this.#incoming?.fail(why);
    this.#settle(why);
  }

  #settle(error: EdgeError | undefined): void {
    if (this.closed) return;
    this.closed = true;
    this.#error = error;
    this.#listener?.(error);
    if (this.#listeners !== undefined) for (const listener of this.#listeners) listener(error);
    this.#listener = this.#listeners = undefined;
  }
}

function cancel(body: Body): void {
  if (body !== undefined && !(body instanceof Uint8Array)) body.cancel();
}
