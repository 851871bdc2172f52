/** The server's side of one stream: an {@link Exchange}. */
import { EdgeError } from "../errors.ts";
import type { ByteSource } from "../exchange/body.ts";
import type {
  Body,
  DownstreamConnection,
  Exchange,
  RequestHead,
  ResponseHead,
} from "../exchange/exchange.ts";
import { getHeader, type HeaderList } from "../exchange/headers.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { answerWriter, writeAnswer, writeBareAnswer } from "./answer.ts";
import { Http2ByteStream } from "./bytestream.ts";
import { CANCEL, clientGone, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR } from "./errors.ts";
import type { DecodedRequest } from "./heads.ts";
import { IncomingBody } from "./incoming.ts";
import type { ServerConnection } from "./server.ts";
import { Http2Stream } from "./stream.ts";

type CloseListener = (error: EdgeError | undefined) => void;

/** How long the rest of a request body may come after its answer is complete. */
const LINGER_MS = 1000;

export class ServerExchange extends Http2Stream implements Exchange {
  readonly version = "2";
  readonly head: RequestHead;
  readonly connection: DownstreamConnection;
  answered = false;
  status = 0;
  closed = false;
  expectsContinue: boolean;
  readonly #tunnel: boolean;
  #error: EdgeError | undefined;
  #listener: CloseListener | undefined;
  #listeners: CloseListener[] | undefined;
  /** When the request body began, or its reader last held it up. */
  #rateSince: number;
  /** Bytes of body that had come by then. */
  #rateBytes = 0;
  #lingerSince: number | undefined;
  #lingerBytes = 0;

  constructor(session: ServerConnection, id: number, request: DecodedRequest, ended: boolean) {
    super(session, id);
    this.head = request.head;
    this.connection = session.downstream;
    this.#tunnel = request.head.method === "CONNECT";
    this.#rateSince = session.now;
    this.expectsContinue = request.expectsContinue && !ended;
    this.remoteClosed = ended;
    if (!ended || this.#tunnel) {
      this.incoming = new IncomingBody(this, this.#tunnel ? undefined : request.contentLength);
      if (ended) this.incoming.finish(undefined);
    }
  }

  get body(): ByteSource | undefined {
    return this.#tunnel ? undefined : this.incoming;
  }

  inform(status: number, headers: HeaderList): void {
    if (this.answered || this.dead || status < 100 || status > 199 || status === 101) return;
    const block = writeBareAnswer(status, headers);
    if (block === undefined) return;
    if (status === 100) this.expectsContinue = false;
    this.session.writeHeaders(this.id, block.bytes, false, block.length);
    this.session.schedule();
  }

  respond(head: ResponseHead, body?: Body): void {
    const bytes = body instanceof Uint8Array ? body : undefined;
    const source = bytes === undefined ? (body as ByteSource | undefined) : undefined;
    if (this.answered || this.dead) {
      source?.cancel(this.#error);
      return;
    }
    this.answered = true;
    this.expectsContinue = false;
    const { status } = head;
    this.status = status;
    const bodiless = this.head.method === "HEAD" || status === 204 || status === 304;
    const size =
      bytes !== undefined ? bytes.length : source !== undefined ? source.length : bodiless ? undefined : 0;
    const length = status < 200 ? undefined : writeAnswer(head, this.session.clock, size);
    if (length === undefined || (!bodiless && size !== undefined && length !== size)) {
      const error = new EdgeError("INTERNAL", "the answer's head cannot be sent or does not match its body");
      source?.cancel(error);
      this.resetWith(INTERNAL_ERROR, error);
      return;
    }
    const empty = bodiless || size === 0;
    this.session.writeHeaders(
      this.id,
      answerWriter.bytes,
      empty && source === undefined,
      answerWriter.length,
    );
    this.session.schedule();
    if (bodiless && source !== undefined) {
      source.cancel();
      this.finish();
    } else if (source !== undefined) this.pipe(source, length < 0 ? undefined : length);
    else if (empty) this.markLocalEnd();
    else this.sendLast(bytes!);
  }

  accept(headers: HeaderList): ByteStream {
    const incoming = this.incoming;
    if (this.answered || !this.#tunnel || incoming === undefined)
      throw new EdgeError("INTERNAL", "only an unanswered CONNECT can be accepted");
    this.answered = true;
    this.status = 200;
    const tunnel = new Http2ByteStream(this, incoming);
    const block = writeBareAnswer(200, headers);
    if (this.dead || block === undefined) {
      const error = this.#error ?? new EdgeError("INTERNAL", "a field of the answer cannot be sent");
      this.resetWith(INTERNAL_ERROR, error);
      // After the caller had time to listen.
      queueMicrotask(() => tunnel.abort(error));
      return tunnel;
    }
    this.session.writeHeaders(this.id, block.bytes, false, block.length);
    this.session.schedule();
    return tunnel;
  }

  reset(error: EdgeError): void {
    this.answered = true;
    this.resetWith(error.code === "CLIENT_CLOSED" ? CANCEL : INTERNAL_ERROR, error);
  }

  onClose(listener: CloseListener): void {
    if (this.closed) listener(this.#error);
    else if (this.#listener === undefined) this.#listener = listener;
    else if (this.#listeners === undefined) this.#listeners = [listener];
    else this.#listeners.push(listener);
  }

  malformed(message: string): void {
    this.resetWith(PROTOCOL_ERROR, clientGone(message));
    (this.session as ServerConnection).malformedSeen();
  }

  bodyCancelled(): void {}

  protected remoteEnded(): void {
    if (this.#tunnel && this.localClosed) this.#close(undefined);
  }

  protected localEnded(): void {
    if (this.#tunnel) {
      if (this.remoteClosed) this.#close(undefined);
      return;
    }
    this.#close(undefined);
    const body = this.incoming;
    if (this.remoteClosed || body === undefined || this.dead) return;
    // The answer is complete, the request is not: what is under way may still come, so that a client that only reads
    // after writing is not cut off; a long rest is refused (RFC 9113 §8.1).
    this.#lingerSince = this.session.now;
    this.#lingerBytes = body.received + this.session.limits.maxDrainBytes;
    if (body.length !== undefined && body.length > this.#lingerBytes) this.#refuseRest();
    else if (!body.started) body.cancel();
  }

  override consumed(bytes: number): void {
    super.consumed(bytes);
    if (this.#lingerSince !== undefined && this.incoming!.received > this.#lingerBytes) this.#refuseRest();
  }

  #refuseRest(): void {
    this.resetWith(NO_ERROR, clientGone("the answer was complete before the request"));
  }

  protected failed(error: EdgeError): void {
    this.#close(error);
  }

  #close(error: EdgeError | undefined): void {
    if (this.closed) return;
    this.closed = true;
    this.#error = error;
    const first = this.#listener;
    const more = this.#listeners;
    this.#listener = this.#listeners = undefined;
    first?.(error);
    if (more !== undefined) for (const listener of more) listener(error);
  }

  /** Once in a while: whether the client is too slow. */
  sweep(now: number): void {
    if (this.#lingerSince !== undefined) {
      if (now - this.#lingerSince >= LINGER_MS) this.#refuseRest();
      return;
    }
    const { writeTimeoutMs, minBodyBytesPerSecond, bodyGraceMs } = this.session.limits;
    const session = this.session as ServerConnection;
    // Bytes of a plain tunnel wait for whoever reads at its end, which has timeouts of its own.
    const tunnel = this.#tunnel && this.head.protocol === undefined;
    if (writeTimeoutMs > 0 && !tunnel && this.queued > 0 && now - this.progressAt > writeTimeoutMs) {
      session.offence("write_timeout");
      this.resetWith(CANCEL, clientGone("the client takes no bytes of the answer"));
      return;
    }
    const body = this.incoming;
    if (body === undefined || this.remoteClosed || this.answered || minBodyBytesPerSecond <= 0) return;
    if (body.held || !body.started) {
      this.#rateSince = now;
      this.#rateBytes = body.received;
      return;
    }
    const elapsed = now - this.#rateSince;
    if (elapsed <= bodyGraceMs) return;
    if ((body.received - this.#rateBytes) * 1000 >= minBodyBytesPerSecond * elapsed) return;
    // A gRPC client may stay silent in the middle of a stream for as long as it likes.
    if (getHeader(this.head.headers, "content-type")?.startsWith("application/grpc")) return;
    session.offence("body_rate");
    session.answerAlone(this.id, 408, false);
    this.resetWith(
      NO_ERROR,
      new EdgeError("CLIENT_TIMEOUT", "the request body comes too slowly", {
        source: "downstream",
        status: 408,
      }),
    );
  }
}
