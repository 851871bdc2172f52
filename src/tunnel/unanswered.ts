/** A transport that remembers which requests have heard nothing yet, so that those which may be repeated can be given up. */
import { EdgeError } from "../errors.ts";
import type { ByteSource } from "../exchange/body.ts";
import type { ResponseHandler, Transport, UpstreamRequest } from "../exchange/dispatch.ts";
import type { ResponseHead } from "../exchange/exchange.ts";
import type { HeaderList } from "../exchange/headers.ts";
import { type Placed, Roster } from "../exchange/roster.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { isIdempotent } from "../upstream/retry.ts";

export class Unanswered implements Transport {
  readonly sendsExtra: boolean;
  readonly #transport: Transport;
  readonly #asked = new Roster<Asked>();

  constructor(transport: Transport) {
    this.#transport = transport;
    this.sendsExtra = transport.sendsExtra ?? false;
  }

  dispatch(request: UpstreamRequest, handler: ResponseHandler): (error?: EdgeError) => void {
    // A body may be half gone by then, and an upgrade has no repeat.
    if (request.body !== undefined || request.protocol !== undefined || !isIdempotent(request.method))
      return this.#transport.dispatch(request, handler);
    const asked = new Asked(handler, this.#asked);
    this.#asked.add(asked);
    const cancel = this.#transport.dispatch(request, asked);
    asked.cancel = cancel;
    return (error) => {
      this.#asked.delete(asked);
      cancel(error);
    };
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  /** Fails all of them as never answered. */
  giveUp(): void {
    this.#asked.visit((asked) => asked.giveUp());
  }
}

class Asked implements ResponseHandler, Placed {
  place = -1;
  cancel: ((error?: EdgeError) => void) | undefined;
  readonly #handler: ResponseHandler;
  readonly #all: Roster<Asked>;

  constructor(handler: ResponseHandler, all: Roster<Asked>) {
    this.#handler = handler;
    this.#all = all;
  }

  inform(status: number, headers: HeaderList): void {
    this.#all.delete(this);
    this.#handler.inform(status, headers);
  }

  respond(head: ResponseHead, body: ByteSource | undefined): void {
    this.#all.delete(this);
    this.#handler.respond(head, body);
  }

  upgraded(head: ResponseHead, stream: ByteStream): void {
    this.#all.delete(this);
    this.#handler.upgraded(head, stream);
  }

  failed(error: EdgeError): void {
    this.#all.delete(this);
    this.#handler.failed(error);
  }

  giveUp(): void {
    if (!this.#all.delete(this) || this.cancel === undefined) return;
    const error = new EdgeError("UPSTREAM_RESET", "the wormhole fell silent", {
      source: "upstream",
      status: 502,
      retry: "idempotent",
    });
    this.cancel(error);
    this.#handler.failed(error);
  }
}
