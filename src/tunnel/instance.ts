/** One container on the edge: a member of a pool, reached over all the connections that it has here. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { Transport } from "../exchange/dispatch.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Server } from "../upstream/server.ts";
import type { EdgeMessage, Hello } from "./protocol.ts";
import type { Connected, Session } from "./session.ts";

/** HTTP/1.1 over whatever `connect` opens. */
export interface TunnelTransport extends Transport {
  /** Cuts every connection. */
  destroy(): void;
}

export interface InstanceOptions {
  readonly id: string;
  readonly hello: Hello;
  readonly pool: Pool;
  readonly clock: Clock;
  transport(connect: (done: Connected) => () => void): TunnelTransport;
}

/** How often a draining instance is looked at. */
const DRAIN_LOOK_MS = 20;

export class Instance {
  readonly id: string;
  readonly hello: Hello;
  readonly pool: Pool;
  readonly sessions: Map<number, Session> = new Map();
  draining = false;
  healthy = true;
  /** What the agent was last told. */
  toldInFlight = 0;
  readonly #clock: Clock;
  readonly #transport: TunnelTransport;
  #server: Server | undefined;

  constructor(options: InstanceOptions) {
    this.id = options.id;
    this.hello = options.hello;
    this.pool = options.pool;
    this.#clock = options.clock;
    this.#transport = options.transport((done) => this.#connect(done));
  }

  get server(): Server | undefined {
    return this.#server;
  }

  /** One more connection: the first puts the container into rotation. */
  join(slot: number, session: Session): void {
    const before = this.sessions.get(slot);
    this.sessions.set(slot, session);
    before?.destroy("the agent connected again");
    if (this.#server !== undefined || this.draining) return;
    this.#server = this.pool.add({ id: this.id, transport: this.#transport });
    if (!this.healthy) this.pool.mark(this.id, false);
  }

  /** A connection is gone. True when it was the last. */
  leave(slot: number, session: Session): boolean {
    if (this.sessions.get(slot) === session) this.sessions.delete(slot);
    if (this.sessions.size > 0) return false;
    this.remove();
    return true;
  }

  setHealthy(healthy: boolean): void {
    if (this.healthy === healthy) return;
    this.healthy = healthy;
    if (!this.draining) this.pool.mark(this.id, healthy);
  }

  /** Out of rotation at once; `done` runs when nothing is in flight any more. */
  drain(done: () => void): void {
    this.draining = true;
    const server = this.#server;
    this.#unpool();
    const look = (): void => {
      if (this.sessions.size === 0) return;
      if (server === undefined || server.inFlight === 0) done();
      else this.#clock.after(DRAIN_LOOK_MS, look);
    };
    look();
  }

  /** Out of rotation, and whatever is left on its connections is over. */
  remove(): void {
    this.draining = true;
    this.#unpool();
    this.#transport.destroy();
  }

  #unpool(): void {
    const { pool, id } = this;
    // Another run may have taken the id by now.
    if (this.#server !== undefined && pool.members().includes(this.#server)) pool.remove(id);
  }

  broadcast(message: EdgeMessage): void {
    for (const session of this.sessions.values()) session.send(message);
  }

  /** Over the connection with the fewest streams. */
  #connect(done: Connected): () => void {
    let best: Session | undefined;
    for (const session of this.sessions.values())
      if (session.room > 0 && (best === undefined || session.open < best.open)) best = session;
    if (best !== undefined) return best.connect(done);
    done(
      new EdgeError("UPSTREAM_CONNECT", "the wormhole has no connection with room", {
        source: "upstream",
        status: 503,
        retry: "any",
      }),
    );
    return () => {};
  }
}
