/** The client's side of one stream: a request that was sent, and its answer. */
import { EdgeError } from "../errors.ts";
import type { ResponseHandler } from "../exchange/dispatch.ts";
import type { HeaderList } from "../exchange/headers.ts";
import type { Http2ByteStream } from "./bytestream.ts";
import type { ClientConnection } from "./client.ts";
import { CANCEL, PROTOCOL_ERROR, upstreamReset } from "./errors.ts";
import { responseFrom, trailersFault } from "./heads.ts";
import { IncomingBody } from "./incoming.ts";
import { Http2Stream } from "./stream.ts";

export class ClientStream extends Http2Stream {
  readonly #handler: ResponseHandler | undefined;
  readonly #headRequest: boolean;
  /** Where a 2xx opens a tunnel. */
  readonly #tunnel: Http2ByteStream | undefined;
  /** Some of the answer came, so the server has certainly acted. */
  #heard = false;
  #responded = false;
  #silent = false;

  constructor(
    session: ClientConnection,
    id: number,
    handler: ResponseHandler | undefined,
    headRequest: boolean,
    tunnel: ((stream: ClientStream) => Http2ByteStream) | undefined,
  ) {
    super(session, id);
    this.#handler = handler;
    this.#headRequest = headRequest;
    this.#tunnel = tunnel?.(this);
  }

  get tunnel(): Http2ByteStream | undefined {
    return this.#tunnel;
  }

  /** A decoded header block: an informational or final response, or trailers. */
  headers(fields: HeaderList, ended: boolean): void {
    if (this.#responded) {
      this.#trailers(fields, ended);
      return;
    }
    const response = responseFrom(fields);
    if (typeof response === "string") {
      this.malformed(response);
      return;
    }
    const { head, contentLength } = response;
    this.#heard = true;
    if (head.status < 200) {
      if (ended || head.status === 101) this.malformed("an informational response that ends the stream");
      else if (!this.#silent) this.#handler?.inform(head.status, head.headers);
      return;
    }
    this.#responded = true;
    if (this.#tunnel !== undefined) {
      this.#opened(head.status, ended);
      if (this.dead || head.status > 299) return;
      if (!this.#silent) this.#handler?.upgraded(head, this.#tunnel);
      return;
    }
    const bodiless = this.#headRequest || head.status === 204 || head.status === 304;
    if (ended) {
      if (!bodiless && (contentLength ?? 0) > 0) {
        this.malformed("Content-Length without DATA");
        return;
      }
      this.#respond(() => this.#handler?.respond(head, undefined));
      this.endRemote();
      return;
    }
    this.incoming = new IncomingBody(this, bodiless ? 0 : contentLength);
    this.#respond(() => this.#handler?.respond(head, this.incoming));
  }

  #respond(tell: () => void): void {
    if (!this.#silent) tell();
  }

  #opened(status: number, ended: boolean): void {
    if (status > 299) {
      const error = new EdgeError("UPSTREAM_REFUSED", `CONNECT was answered with ${status}`, {
        source: "upstream",
        status: 502,
      });
      this.#responded = false;
      this.resetWith(CANCEL, error);
    } else if (ended) this.endRemote();
  }

  #trailers(fields: HeaderList, ended: boolean): void {
    const fault = ended ? trailersFault(fields) : "trailers without END_STREAM";
    if (fault !== undefined || this.#tunnel !== undefined) this.malformed(fault ?? "trailers in a tunnel");
    else if (this.incoming?.accepts(0, true) === false) this.malformed("DATA does not match Content-Length");
    else this.endRemote(fields);
  }

  override receive(bytes: Buffer, start: number, end: number, flowBytes: number, last: boolean): void {
    if (!this.#responded) {
      this.session.credit(flowBytes);
      this.malformed("DATA before HEADERS");
      return;
    }
    super.receive(bytes, start, end, flowBytes, last);
  }

  /** The caller wants no answer any more. */
  abandon(error: EdgeError | undefined): void {
    this.#silent = true;
    this.resetWith(
      CANCEL,
      error ?? new EdgeError("CLIENT_CLOSED", "the request was cancelled", { status: 499 }),
    );
  }

  malformed(message: string): void {
    this.resetWith(
      PROTOCOL_ERROR,
      new EdgeError("UPSTREAM_PROTOCOL", message, { source: "upstream", status: 502 }),
    );
  }

  override fail(error: EdgeError): void {
    // Once the server has said anything, the request is not to be repeated.
    super.fail(this.#heard && error.retry !== "never" ? upstreamReset(error.message, "never") : error);
  }

  bodyCancelled(error: EdgeError | undefined): void {
    if (!this.remoteClosed) this.abandon(error);
  }

  protected remoteEnded(): void {
    if (this.#tunnel !== undefined || this.localClosed) return;
    // The answer is whole; what is left of the request interests nobody (RFC 9113 §8.1).
    this.#silent = true;
    this.resetWith(CANCEL, upstreamReset("the server answered before the request was complete", "never"));
  }

  protected localEnded(): void {}

  protected failed(error: EdgeError): void {
    if (this.#responded || this.#silent) return;
    this.#silent = true;
    this.#handler?.failed(error);
  }
}
