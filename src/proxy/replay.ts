/** A request body that can be sent again: what went out is kept, up to a bound. */

import type { EdgeError } from "../errors.ts";
import type { ByteSink, ByteSource } from "../exchange/body.ts";
import type { HeaderList } from "../exchange/headers.ts";

/** Bytes of a request body that are kept for a second attempt. */
export const MAX_REPLAY_BYTES = 65_536;

/**
 * Stands between the client's body and the transport of each attempt. An attempt takes its own {@link ByteSource} from
 * `attempt()`; the one before is cut off by that, so that its late calls reach nobody.
 */
export class ReplayBody implements ByteSink {
  private readonly source: ByteSource;
  /** Undefined once more came than is kept. */
  private kept: Uint8Array[] | undefined;
  private keptBytes = 0;
  private view: AttemptBody | undefined;
  private sink: ByteSink | undefined;
  private trailers: HeaderList | undefined;
  private ended = false;
  private error: EdgeError | undefined;
  /** No further attempt will come: the transport's cancel is the client's. */
  private last = false;

  constructor(source: ByteSource) {
    this.source = source;
    // Of a body that is known to be larger nothing is kept, so it can go elsewhere only while it is unread.
    this.kept = source.length === undefined || source.length <= MAX_REPLAY_BYTES ? [] : undefined;
  }

  /** Whether another attempt can send the whole body. */
  get replayable(): boolean {
    return this.error === undefined && (this.kept !== undefined || !this.source.started);
  }

  attempt(): ByteSource {
    this.sink = undefined;
    this.view = new AttemptBody(this, this.source.length);
    return this.view;
  }

  /** The answer came: no further attempt, so nothing more is kept and a cancel is the client's to hear. */
  settle(): void {
    this.last = true;
    this.kept = undefined;
    if (this.view === undefined) this.source.cancel();
  }

  /** No attempt succeeded: nobody will read the rest. */
  abandon(error: EdgeError): void {
    this.last = true;
    this.kept = undefined;
    this.view = undefined;
    this.sink = undefined;
    this.source.cancel(error);
  }

  /** For {@link AttemptBody}: sends what is kept, then the rest as it comes. */
  start(view: AttemptBody, sink: ByteSink): void {
    if (view !== this.view) return;
    const kept = this.kept;
    this.sink = sink;
    let more = true;
    if (kept && this.source.started) {
      // A copy of the list: the sink may answer and so end the keeping.
      for (const chunk of kept.slice()) more = sink.write(chunk);
      if (view !== this.view) return;
      if (this.ended) sink.end(this.trailers);
      else if (this.error) sink.abort(this.error);
      else if (more) this.source.resume();
    } else this.source.start(this);
  }

  resume(view: AttemptBody): void {
    if (view === this.view && !this.ended) this.source.resume();
  }

  cancel(view: AttemptBody, error: EdgeError | undefined): void {
    if (view !== this.view) return;
    this.view = undefined;
    this.sink = undefined;
    if (this.last) this.source.cancel(error);
  }

  write(chunk: Uint8Array): boolean {
    if (this.kept) {
      this.keptBytes += chunk.length;
      if (this.keptBytes <= MAX_REPLAY_BYTES) this.kept.push(chunk);
      else this.kept = undefined;
    }
    return this.sink ? this.sink.write(chunk) : false;
  }

  end(trailers?: HeaderList): void {
    this.ended = true;
    this.trailers = trailers;
    this.sink?.end(trailers);
  }

  abort(error: EdgeError): void {
    this.error = error;
    this.sink?.abort(error);
  }
}

class AttemptBody implements ByteSource {
  readonly length: number | undefined;
  started = false;
  private readonly whole: ReplayBody;

  constructor(whole: ReplayBody, length: number | undefined) {
    this.whole = whole;
    this.length = length;
  }

  start(sink: ByteSink): void {
    this.started = true;
    this.whole.start(this, sink);
  }

  resume(): void {
    this.whole.resume(this);
  }

  cancel(error?: EdgeError): void {
    this.whole.cancel(this, error);
  }
}
