/** A TCP relay on loopback that makes a line long, stalls it or cuts it: what no kernel here is asked to do. */
import { connect, createServer, type Socket } from "node:net";

export interface RelayOptions {
  /** Where it leads. */
  readonly port: number;
  /** Added to every byte in each direction, in milliseconds: half of what a round trip grows by. @default 0 */
  readonly delayMs?: number;
  /** How much goes through per direction and connection. @default as much as can */
  readonly bytesPerSecond?: number;
  /** Bytes under way per direction and connection before reading stops; at least bandwidth × delay. @default 33_554_432 */
  readonly inFlightBytes?: number;
}

export interface Relay {
  readonly port: number;
  /** Bytes that went towards the target, and back. */
  readonly sent: number;
  readonly received: number;
  /** From here on nothing moves, in either direction, until {@link go}. */
  stall(): void;
  go(): void;
  /** Resets every connection; new ones are taken. */
  cut(): void;
  close(): Promise<void>;
}

/** Starts a relay on a free port. */
export async function startRelay(options: RelayOptions): Promise<Relay> {
  const { port: target } = options;
  const sockets = new Set<Socket>();
  const lines = new Set<Line>();
  let stalled = false;
  const count = { sent: 0, received: 0 };
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    const upstream = connect({ port: target, host: "127.0.0.1", noDelay: true, allowHalfOpen: true });
    const both = [client, upstream];
    const line = (from: Socket, to: Socket, key: "sent" | "received"): Line => {
      const made = new Line(
        from,
        to,
        options,
        () => stalled,
        (bytes) => {
          count[key] += bytes;
        },
      );
      lines.add(made);
      return made;
    };
    const pair = [line(client, upstream, "sent"), line(upstream, client, "received")];
    for (const socket of both) {
      sockets.add(socket);
      socket.on("error", () => {
        for (const each of both) each.destroy();
      });
      socket.on("close", () => {
        sockets.delete(socket);
        for (const each of pair) lines.delete(each);
      });
    }
  });
  await new Promise<void>((resolve) => server.listen({ port: 0, host: "127.0.0.1" }, resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    get sent() {
      return count.sent;
    },
    get received() {
      return count.received;
    },
    stall() {
      stalled = true;
    },
    go() {
      stalled = false;
      for (const line of lines) line.move();
    },
    cut() {
      for (const socket of sockets) socket.resetAndDestroy();
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** One direction of one connection: what came waits its time, then goes on in the order that it came in. */
class Line {
  #waiting: { at: number; chunk: Buffer | undefined }[] = [];
  #bytes = 0;
  /** When the last of it is due. */
  #last = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #blocked = false;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #inFlightBytes: number;
  readonly #stalled: () => boolean;
  readonly #moved: (bytes: number) => void;

  constructor(
    from: Socket,
    to: Socket,
    options: RelayOptions,
    stalled: () => boolean,
    moved: (bytes: number) => void,
  ) {
    this.#from = from;
    this.#to = to;
    const { delayMs = 0, bytesPerSecond = Number.POSITIVE_INFINITY, inFlightBytes = 32 * 2 ** 20 } = options;
    this.#inFlightBytes = inFlightBytes;
    this.#stalled = stalled;
    this.#moved = moved;
    const queue = (chunk: Buffer | undefined): void => {
      const size = chunk?.length ?? 0;
      this.#last = Math.max(this.#last, performance.now() + delayMs) + (size * 1000) / bytesPerSecond;
      this.#waiting.push({ at: this.#last, chunk });
      this.#bytes += size;
      if (this.#bytes >= inFlightBytes) from.pause();
      if (this.#timer === undefined) this.move();
    };
    from.on("data", queue);
    from.on("end", () => queue(undefined));
    to.on("drain", () => {
      this.#blocked = false;
      this.move();
    });
  }

  /** Passes on what has waited long enough, and comes back for the rest. */
  readonly move = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#stalled() || this.#to.destroyed) return;
    const now = performance.now();
    let next = this.#waiting[0];
    while (next !== undefined && next.at <= now && !this.#blocked) {
      this.#waiting.shift();
      if (next.chunk === undefined) this.#to.end();
      else {
        this.#bytes -= next.chunk.length;
        this.#moved(next.chunk.length);
        this.#blocked = !this.#to.write(next.chunk);
      }
      next = this.#waiting[0];
    }
    if (this.#bytes < this.#inFlightBytes) this.#from.resume();
    if (next !== undefined && !this.#blocked) this.#timer = setTimeout(this.move, Math.max(1, next.at - now));
  };
}
