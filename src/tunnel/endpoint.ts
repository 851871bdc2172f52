/** One edge as an agent sees it: a few connections that are dialled again for ever. */
import type { Clock, Random, Timer } from "../clock.ts";
import type { AgentLog } from "./agent.ts";
import { dialEdge } from "./dial.ts";
import { type Link, openLink, type Target } from "./link.ts";
import { type AgentMessage, type EdgeAddress, type Hello, JOINED_ALREADY } from "./protocol.ts";

export interface EndpointOptions {
  readonly host: string;
  readonly port: number;
  readonly name: string;
  readonly pin: string | undefined;
  readonly target: Target;
  readonly connections: number;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: AgentLog;
  readonly hello: (slot: number) => Hello;
  /** False where another endpoint has joined this edge: one of them will do. */
  onWelcome(edgeId: string): boolean;
  onReject(reason: string, permanent: boolean): void;
  onEdges(edges: readonly EdgeAddress[]): void;
  onInFlight(): void;
  /** An edge took the draining in, is drained, or is gone. */
  onDrainStep(): void;
}

const DIAL_TIMEOUT_MS = 10_000;
/** Full jitter: a random part of this, doubled with each failure in a row. */
const BACKOFF_MS = 200;
/** Long back-offs keep a fleet out after a restart; the jitter already spreads it. */
const MAX_BACKOFF_MS = 5_000;
/** An edge that was joined within the last minute is most likely starting again: nobody waits long for it. */
const RECENT_MS = 60_000;
const MAX_RECENT_BACKOFF_MS = 1_000;
/** A connection that lived this long starts the back-off anew. */
const STABLE_MS = 5_000;
/** Between two words on a token that is no good. */
const PERMANENT_MS = 30_000;
/** Another address of an edge that is joined already is tried again after this. */
const REST_MS = 60_000;

interface Slot {
  readonly index: number;
  link: Link | undefined;
  joinedAt: number | undefined;
  /** The edge said that it is stopping. */
  leaving: boolean;
  failures: number;
  drain: "no" | "asked" | "taken" | "drained";
  cancel: () => void;
  rejected: { permanent: boolean; retryAfterMs: number } | undefined;
}

export class Endpoint {
  edgeId: string | undefined;
  /** Requests that this edge has in flight here. */
  inFlight = 0;
  /** The addresses of edges that it last told of. */
  announced: readonly string[] = [];
  readonly #options: EndpointOptions;
  readonly #slots: Slot[];
  #state: "open" | "draining" | "closed" = "open";
  #lostAt = Number.NEGATIVE_INFINITY;
  /** The edge is joined by another address; said once. */
  #resting = false;

  constructor(options: EndpointOptions) {
    this.#options = options;
    this.#slots = Array.from({ length: options.connections }, (_, index) => ({
      index,
      link: undefined,
      joinedAt: undefined,
      leaving: false,
      failures: 0,
      drain: "no",
      cancel: () => {},
      rejected: undefined,
    }));
  }

  get address(): string {
    const { host, port } = this.#options;
    return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  }

  /** Connections that the edge has welcomed, without those of which it said that they will end. */
  get joined(): number {
    return this.#slots.filter(({ joinedAt, leaving }) => joinedAt !== undefined && !leaving).length;
  }

  /** Whether requests may still be on their way. */
  get connected(): boolean {
    return this.#slots.some(({ joinedAt }) => joinedAt !== undefined);
  }

  /** Joined within the last minute: most likely it is back soon. */
  get isRecent(): boolean {
    return this.#options.clock.now() - this.#lostAt < RECENT_MS;
  }

  get isDrained(): boolean {
    return this.#slots.every(({ joinedAt, drain }) => joinedAt === undefined || drain === "drained");
  }

  start(delayMs: number): void {
    for (const slot of this.#slots) this.#later(slot, delayMs);
  }

  send(message: AgentMessage): void {
    for (const { link, joinedAt } of this.#slots) if (joinedAt !== undefined) link?.send(message);
  }

  /** By one connection only. */
  sendOnce(message: AgentMessage): void {
    this.#slots.find(({ joinedAt }) => joinedAt !== undefined)?.link?.send(message);
  }

  /** Dials no more; says so on every connection. An edge that is gone is noticed by its silence. */
  drain(): void {
    if (this.#state !== "open") return;
    this.#state = "draining";
    for (const slot of this.#slots) {
      slot.cancel();
      if (slot.joinedAt === undefined) slot.link?.destroy("the agent is leaving");
      else {
        slot.drain = "asked";
        slot.link?.send({ type: "draining" });
      }
    }
  }

  close(reason: string): void {
    this.#state = "closed";
    for (const { cancel, link } of this.#slots) {
      cancel();
      link?.destroy(reason);
    }
  }

  /** This edge is joined by another address: lets go, and looks again much later. */
  #rest(): void {
    if (!this.#resting) {
      const message = "this address leads to an edge that is joined by another one, which will do";
      this.#options.log("info", "wormhole.same_edge", { edge: this.address, message });
    }
    this.#resting = true;
    for (const slot of this.#slots) {
      slot.cancel();
      slot.rejected = { permanent: false, retryAfterMs: REST_MS };
      if (slot.link) slot.link.destroy("the edge is joined by another address");
      else this.#later(slot, REST_MS);
    }
  }

  #later(slot: Slot, delayMs: number): void {
    if (this.#state !== "open") return;
    if (delayMs <= 0) {
      this.#dial(slot);
      return;
    }
    const timer: Timer = this.#options.clock.after(delayMs, () => this.#dial(slot));
    slot.cancel = () => timer.cancel();
  }

  #again(slot: Slot): void {
    const { rejected } = slot;
    slot.rejected = undefined;
    if (rejected) {
      const least = rejected.permanent
        ? Math.max(PERMANENT_MS, rejected.retryAfterMs)
        : rejected.retryAfterMs;
      this.#later(slot, least * (0.75 + 0.5 * this.#options.random()));
      return;
    }
    const most = Math.min(
      this.isRecent ? MAX_RECENT_BACKOFF_MS : MAX_BACKOFF_MS,
      BACKOFF_MS * 2 ** Math.min(slot.failures, 10),
    );
    slot.failures++;
    this.#later(slot, 1 + this.#options.random() * most);
  }

  #dial(slot: Slot): void {
    if (this.#state !== "open") return;
    const { host, port, name, pin, clock, log } = this.#options;
    slot.cancel = dialEdge({ host, port, name, pin, clock, timeoutMs: DIAL_TIMEOUT_MS }, (error, socket) => {
      slot.cancel = () => {};
      if (socket === undefined) {
        const level = slot.failures % 10 === 3 ? "warn" : "debug";
        log(level, "wormhole.unreachable", {
          edge: this.address,
          reason: error?.message,
          tries: slot.failures + 1,
        });
        this.#again(slot);
      } else this.#open(slot, socket);
    });
  }

  #open(slot: Slot, socket: Parameters<typeof openLink>[0]): void {
    const { clock, random, log, target } = this.#options;
    const edge = this.address;
    slot.link = openLink(socket, {
      clock,
      random,
      target,
      hello: () => this.#options.hello(slot.index),
      onWelcome: (edgeId, edges, server) => {
        this.edgeId = edgeId;
        if (!this.#options.onWelcome(edgeId)) return this.#rest();
        this.#resting = false;
        slot.joinedAt = clock.now();
        log("info", "wormhole.joined", { edge, edgeId, server, connection: slot.index + 1 });
        this.#options.onEdges(edges);
      },
      onReject: ({ reason, code, permanent, retryAfterMs }) => {
        if (code === JOINED_ALREADY) return this.#rest();
        slot.rejected = { permanent, retryAfterMs };
        log(permanent ? "error" : "warn", "wormhole.rejected", { edge, reason });
        slot.link?.destroy(`rejected: ${reason}`);
        this.#options.onReject(reason, permanent);
      },
      onEdges: (edges) => this.#options.onEdges(edges),
      onLeaving: () => {
        if (slot.leaving) return;
        if (this.joined > 0) log("info", "wormhole.edge_leaving", { edge });
        for (const each of this.#slots) each.leaving = each.joinedAt !== undefined;
      },
      onInFlight: (here) => {
        this.inFlight = here;
        this.#options.onInFlight();
      },
      onDraining: () => {
        if (slot.drain === "asked") slot.drain = "taken";
      },
      onDrained: () => {
        slot.drain = "drained";
        this.#options.onDrainStep();
      },
      onClose: (reason) => {
        const { joinedAt, leaving } = slot;
        if (joinedAt !== undefined) {
          if (this.#state === "open" && !this.#resting)
            log(leaving ? "info" : "warn", "wormhole.lost", { edge, reason });
          if (leaving || clock.now() - joinedAt >= STABLE_MS) slot.failures = 0;
          this.#lostAt = clock.now();
        }
        slot.link = undefined;
        slot.joinedAt = undefined;
        slot.leaving = false;
        if (!this.connected && this.inFlight > 0) {
          this.inFlight = 0;
          this.#options.onInFlight();
        }
        if (this.#state === "draining") this.#options.onDrainStep();
        else this.#again(slot);
      },
    });
  }
}
