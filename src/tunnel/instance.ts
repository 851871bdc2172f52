/** One container on the edge: a member of a pool, reached over all the connections that it has here. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { Transport } from "../exchange/dispatch.ts";
import type { Pool } from "../upstream/pool.ts";
import type { Server } from "../upstream/server.ts";
import type { EdgeMessage, Hello } from "./protocol.ts";
import type { Connected, Session } from "./session.ts";
import { Unanswered } from "./unanswered.ts";

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
  /** On the wall clock. */
  readonly since: number;
  readonly sessions: Map<number, Session> = new Map();
  draining = false;
  /** The agent said that it is leaving. */
  leaving = false;
  healthy = true;
  /** All its connections are. */
  silent = false;
  /** What the agent was last told. */
  toldInFlight = 0;
  readonly #clock: Clock;
  readonly #transport: TunnelTransport;
  readonly #unanswered: Unanswered;
  #server: Server | undefined;

  constructor(options: InstanceOptions) {
    this.id = options.id;
    this.hello = options.hello;
    this.pool = options.pool;
    this.#clock = options.clock;
    this.since = options.clock.wall();
    this.#transport = options.transport((done) => this.#connect(done));
    this.#unanswered = new Unanswered(this.#transport);
  }

  get server(): Server | undefined {
    return this.#server;
  }

  /** Requests in flight there, from this edge. */
  get inFlight(): number {
    return this.#server?.inFlight ?? 0;
  }

  /** One more connection: the first puts the container into rotation. */
  join(slot: number, session: Session): void {
    const before = this.sessions.get(slot);
    this.sessions.set(slot, session);
    before?.destroy("the agent connected again");
    this.heed();
    if (this.#server !== undefined || this.draining) return;
    this.#server = this.pool.add({
      id: this.id,
      transport: this.#unanswered,
      ...(this.hello.location !== undefined && { location: this.hello.location }),
    });
    this.#mark();
  }

  /** A connection is gone. True when it was the last. */
  leave(slot: number, session: Session): boolean {
    if (this.sessions.get(slot) === session) this.sessions.delete(slot);
    if (this.sessions.size > 0) {
      this.heed();
      return false;
    }
    this.remove();
    return true;
  }

  setHealthy(healthy: boolean): void {
    if (this.healthy === healthy) return;
    this.healthy = healthy;
    this.#mark();
  }

  /** A connection fell silent, or was heard of again: without one that speaks the container is out of rotation. */
  heed(): void {
    const was = this.silent;
    this.silent = this.#speaking() === 0;
    if (was !== this.silent) this.#mark();
  }

  /**
   * Gives up what waits for an answer and may be repeated, where another server can take it. What may not goes on
   * waiting: the agent could come to life.
   */
  moveOn(): void {
    if (this.silent && this.pool.available > 0) this.#unanswered.giveUp();
  }

  #speaking(): number {
    let number = 0;
    for (const session of this.sessions.values()) if (!session.silent) number++;
    return number;
  }

  #mark(): void {
    if (this.draining || this.#server === undefined) return;
    this.pool.mark(this.id, this.healthy && !this.silent, "self");
  }

  /** Out of rotation at once; `done` runs when nothing is in flight any more. */
  drain(done: () => void): void {
    this.leaving = true;
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
      if (session.room > 0 && (best === undefined || better(session, best))) best = session;
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

/** One that speaks rather than a silent one, then the one with fewer streams. */
function better(one: Session, other: Session): boolean {
  return one.silent === other.silent ? one.open < other.open : other.silent;
}
