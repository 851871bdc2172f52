/** A message's body on its way to the wire, in either direction. */
import { EdgeError } from "../errors.ts";
import type { ByteSink, ByteSource } from "../exchange/body.ts";
import type { HeaderList } from "../exchange/headers.ts";
import { CHUNKED } from "./head.ts";
import type { Outbox } from "./outbox.ts";
import { fieldLines } from "./serialise.ts";

export interface OutgoingOwner {
  /** The last byte is in the outbox. */
  bodySent(): void;
  /** The body will not be whole: the connection must not end cleanly. */
  bodyCut(error: EdgeError): void;
  bodyBytes(count: number): void;
}

export class OutgoingBody implements ByteSink {
  readonly source: ByteSource;
  readonly #owner: OutgoingOwner;
  readonly #outbox: Outbox;
  readonly #chunked: boolean;
  #remaining: number;
  #ended = false;
  #waiting = false;

  /** `length`: bytes, CHUNKED or UNTIL_CLOSE. Call {@link start} after the head is in the outbox. */
  constructor(owner: OutgoingOwner, outbox: Outbox, source: ByteSource, length: number) {
    this.#owner = owner;
    this.#outbox = outbox;
    this.source = source;
    this.#chunked = length === CHUNKED;
    this.#remaining = length >= 0 ? length : Number.POSITIVE_INFINITY;
  }

  get ended(): boolean {
    return this.#ended;
  }

  get borrows(): boolean {
    return this.#outbox.borrows;
  }

  write(chunk: Uint8Array, lent?: boolean): boolean {
    const size = chunk.length;
    if (this.#ended || size === 0) return !this.#ended;
    if (size > this.#remaining) {
      this.#cut(new EdgeError("INTERNAL", "the body is longer than its Content-Length"));
      return false;
    }
    this.#remaining -= size;
    const outbox = this.#outbox;
    if (this.#chunked) outbox.text(`${size.toString(16)}\r\n`);
    if (lent) outbox.copy(chunk);
    else outbox.bytes(chunk);
    if (this.#chunked) outbox.text("\r\n");
    this.#owner.bodyBytes(size);
    const more = outbox.send();
    this.#waiting = !more;
    return more;
  }

  end(trailers?: HeaderList): void {
    if (this.#ended) return;
    if (this.#chunked) {
      let lines = "";
      try {
        if (trailers !== undefined) lines = fieldLines(trailers);
      } catch (thrown) {
        this.#cut(thrown as EdgeError);
        return;
      }
      this.#outbox.text(`0\r\n${lines}\r\n`);
      this.#outbox.send();
    } else if (this.#remaining > 0 && this.#remaining !== Number.POSITIVE_INFINITY) {
      this.#cut(new EdgeError("INTERNAL", "the body is shorter than its Content-Length"));
      return;
    }
    this.#ended = true;
    this.#owner.bodySent();
  }

  abort(error: EdgeError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#owner.bodyCut(error);
  }

  /** The stream can take more. */
  drained(): void {
    if (!this.#waiting || this.#ended) return;
    this.#waiting = false;
    this.source.resume();
  }

  /** The connection is gone, or done with this body. */
  cancel(error?: EdgeError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.source.cancel(error);
  }

  #cut(error: EdgeError): void {
    this.#ended = true;
    this.source.cancel(error);
    this.#owner.bodyCut(error);
  }
}
