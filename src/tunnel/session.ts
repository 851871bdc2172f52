/** The edge's end of one connection of an agent: HTTP/2 with the roles reversed, so that the edge opens the streams. */
import { type Clock, jitter, type Random } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { createHttp2Client, type Http2Client } from "../http2/client.ts";
import { type ControlFault, openControl } from "./control.ts";
import { TUNNEL_LIMITS } from "./limits.ts";
import { CONTROL_AUTHORITY, type EdgeMessage, type Hello, parseHello, SERVER_AUTHORITY } from "./protocol.ts";

export interface SessionOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Silence after which the agent is pinged; twice that without any byte and it is dead. */
  readonly pingMs: number;
  /** Whether requests are under way there, so that silence is asked about sooner. */
  busy(): boolean;
  /** It fell silent, or was heard of again. */
  onSilence(): void;
  /** It has been silent for so long that what may be repeated better is, now. */
  onLongSilence(): void;
  /** From connecting to a hello. */
  readonly helloTimeoutMs: number;
  onHello(hello: Hello): void;
  onMessage(message: Record<string, unknown> & { type: string }): void;
  onFault(fault: ControlFault | "hello_timeout" | "bad_hello"): void;
  /** The connection is gone. Called once, in the tick in which the socket said so. */
  onClose(error: EdgeError | undefined): void;
}

/** Told once: why there is no connection (safe to repeat elsewhere), or a stream to the target. */
export type Connected = (error: EdgeError | undefined, stream?: ByteStream) => void;

export interface Session {
  /** Streams that are open, the control stream among them. */
  readonly open: number;
  readonly room: number;
  /** It did not answer in time when it was asked whether it is there, and nothing was heard of it since. */
  readonly silent: boolean;
  /** Opens a connection to the agent's target. Returns a function that gives up. */
  connect(done: Connected): () => void;
  send(message: EdgeMessage): void;
  /** Cuts the connection at once. */
  destroy(reason: string): void;
  /** Says a last line, and cuts the connection once it had a moment to arrive. */
  dismiss(message: EdgeMessage, reason: string): void;
}

/** How often it is looked for silence. */
const LOOK_MS = 250;
/** With requests under way: silence after which it is asked whether it is there, and how long an answer may take. */
const BUSY_ASK_MS = 1_000;
const BUSY_ANSWER_MS = 1_500;
/** Silence after which requests are sent elsewhere. */
const LONG_SILENCE_MS = 5_000;
/** How long a last line may take. */
const FAREWELL_MS = 200;

const unreachable = (message: string, cause?: unknown): EdgeError =>
  new EdgeError("UPSTREAM_CONNECT", message, { source: "upstream", status: 502, retry: "any", cause });

/** Speaks to the agent at the other end of `stream`, from its first byte on. */
export function openSession(stream: ByteStream, options: SessionOptions): Session {
  const { clock } = options;
  const pingMs = jitter(options.pingMs, 0.1, options.random);
  let greeted = false;
  let over = false;
  let silent = false;
  let heardAt = clock.now();
  let askedAt: number | undefined;
  /** Anything, after it was asked. */
  let heardSince = false;
  const client: Http2Client = createHttp2Client(stream, {
    scheme: "http",
    clock,
    limits: TUNNEL_LIMITS,
    pingIntervalMs: pingMs,
    pingTimeoutMs: pingMs,
    onClose(error) {
      over = true;
      helloTimer.cancel();
      options.onClose(error);
    },
  });
  const destroy = (reason: string): void =>
    client.destroy(
      new EdgeError("UPSTREAM_RESET", `the tunnel was cut: ${reason}`, {
        source: "upstream",
        status: 502,
        retry: "idempotent",
      }),
    );
  const fault: SessionOptions["onFault"] = (what) => {
    options.onFault(what);
    destroy(what);
  };
  // Any byte is a sign of life.
  stream.on("data", () => {
    heardAt = clock.now();
    heardSince = true;
    if (silent) look();
  });
  const look = (): void => {
    const now = clock.now();
    const busy = options.busy();
    if (askedAt !== undefined && heardSince) {
      askedAt = undefined;
      if (!silent) return;
      silent = false;
      options.onSilence();
    } else if (askedAt === undefined) {
      if (now - heardAt < (busy ? BUSY_ASK_MS : pingMs)) return;
      askedAt = now;
      heardSince = false;
      control.send({ type: "ping" });
    } else if (!silent) {
      if (now - askedAt < BUSY_ANSWER_MS) return;
      silent = true;
      options.onSilence();
    }
    if (silent && now - heardAt >= 2 * options.pingMs) destroy("the agent is silent");
    // Again with each look: requests may have come since.
    else if (silent && now - heardAt >= LONG_SILENCE_MS) options.onLongSilence();
  };
  const watch = (): void => {
    if (over) return;
    if (greeted) look();
    clock.after(LOOK_MS, watch);
  };
  clock.after(LOOK_MS, watch);
  const helloTimer = clock.after(options.helloTimeoutMs, () => fault("hello_timeout"));
  const control = openControl(client.connect([":authority", CONTROL_AUTHORITY]), {
    clock,
    onMessage(message) {
      if (greeted) {
        if (message.type === "ping") control.send({ type: "pong" });
        else options.onMessage(message);
        return;
      }
      const hello = message.type === "hello" ? parseHello(message) : undefined;
      if (!hello) return fault("bad_hello");
      greeted = true;
      helloTimer.cancel();
      options.onHello(hello);
    },
    onFault: fault,
    onClose: () => destroy("its control stream ended"),
  });

  return {
    get silent() {
      return silent;
    },
    get open() {
      return client.open;
    },
    get room() {
      return client.room;
    },
    connect(done) {
      let settled = false;
      const settle = (): boolean => {
        if (settled) return false;
        settled = true;
        opening.removeListener("error", refused);
        opening.removeListener("close", closed);
        return true;
      };
      const refused = (cause: Error): void => {
        // Not a byte of a request went out before it was open.
        if (settle()) done(unreachable(`no connection through the tunnel: ${cause.message}`, cause));
      };
      const closed = (): void => refused(new Error("closed"));
      const opening = client.connect([":authority", SERVER_AUTHORITY], () => {
        if (settle()) done(undefined, opening);
      });
      opening.on("error", refused);
      opening.on("close", closed);
      return () => {
        if (settle()) opening.destroy();
      };
    },
    send: (message) => control.send(message),
    destroy,
    dismiss(message, reason) {
      control.send(message);
      clock.after(FAREWELL_MS, () => destroy(reason));
    },
  };
}
