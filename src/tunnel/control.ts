/** The control stream: JSON lines over a byte stream, bounded in length, in number and in what waits to be sent. */
import type { Clock } from "../clock.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { MAX_LINE_BYTES } from "./protocol.ts";

/** Lines in one second; a peer that says more is not one of ours. */
const MAX_LINES_PER_SECOND = 100;
/** Bytes that wait because the peer does not read. */
const MAX_WAITING_BYTES = 262_144;

const NEWLINE = 10;

export type ControlFault = "line_too_long" | "too_many_lines" | "not_json" | "not_reading";

export interface ControlOptions {
  readonly clock: Clock;
  onMessage(message: Record<string, unknown> & { type: string }): void;
  /** The peer broke a rule; nothing more is read. */
  onFault(fault: ControlFault): void;
  /** The stream ended or was cut. Called once. */
  onClose(): void;
}

export interface Control {
  send(message: { readonly type: string }): void;
}

/** Reads and writes lines on `stream` until it closes. */
export function openControl(stream: ByteStream, options: ControlOptions): Control {
  const { clock } = options;
  let held: Buffer = Buffer.alloc(0);
  let lines = 0;
  let since = clock.now();
  let over = false;

  const fault = (what: ControlFault): void => {
    if (over) return;
    over = true;
    options.onFault(what);
  };
  const closed = (): void => {
    if (over) return;
    over = true;
    options.onClose();
  };
  const take = (line: string): void => {
    const now = clock.now();
    if (now - since >= 1000) {
      since = now;
      lines = 0;
    }
    if (++lines > MAX_LINES_PER_SECOND) {
      fault("too_many_lines");
      return;
    }
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      fault("not_json");
      return;
    }
    const { type } = (message ?? {}) as { type?: unknown };
    if (typeof type !== "string") {
      fault("not_json");
      return;
    }
    options.onMessage(message as Record<string, unknown> & { type: string });
  };

  stream.on("data", (chunk: Buffer) => {
    if (over) return;
    let rest = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
    for (let at = rest.indexOf(NEWLINE); at !== -1 && !over; at = rest.indexOf(NEWLINE)) {
      if (at > MAX_LINE_BYTES) return fault("line_too_long");
      const line = rest.toString("utf8", 0, at).trim();
      rest = rest.subarray(at + 1);
      if (line !== "") take(line);
    }
    if (over) return;
    if (rest.length > MAX_LINE_BYTES) return fault("line_too_long");
    // A copy: the view would keep a whole read of the socket.
    held = Buffer.from(rest);
  });
  stream.on("end", closed);
  stream.on("error", closed);
  stream.on("close", closed);

  return {
    send(message) {
      if (over || stream.destroyed) return;
      stream.write(Buffer.from(`${JSON.stringify(message)}\n`));
      if (stream.writableLength > MAX_WAITING_BYTES) fault("not_reading");
    },
  };
}
