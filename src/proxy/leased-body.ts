/** A response body on its way to the client: its end is what frees the server's slot. */
import type { EdgeError } from "../errors.ts";
import type { ByteSink, ByteSource } from "../exchange/body.ts";
import type { HeaderList } from "../exchange/headers.ts";
import type { Lease } from "../upstream/server.ts";
import { outcomeOf } from "./outcome.ts";

/** Passes a body on and settles the lease exactly once: after the last byte, an error, or a cancel. */
export class LeasedBody implements ByteSource, ByteSink {
  readonly length: number | undefined;
  started = false;
  private readonly source: ByteSource;
  private readonly lease: Lease;
  private sink: ByteSink | undefined;

  constructor(source: ByteSource, lease: Lease) {
    this.source = source;
    this.length = source.length;
    this.lease = lease;
  }

  start(sink: ByteSink): void {
    this.started = true;
    this.sink = sink;
    this.source.start(this);
  }

  resume(): void {
    this.source.resume();
  }

  cancel(error?: EdgeError): void {
    this.lease.settle("abandoned");
    this.source.cancel(error);
  }

  get borrows(): boolean {
    return this.sink?.borrows === true;
  }

  write(chunk: Uint8Array, lent?: boolean): boolean {
    return this.sink!.write(chunk, lent);
  }

  end(trailers?: HeaderList): void {
    this.lease.settle("ok");
    this.sink!.end(trailers);
  }

  abort(error: EdgeError): void {
    this.lease.settle(outcomeOf(error));
    this.sink!.abort(error);
  }
}
