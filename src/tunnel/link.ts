/** The agent's end of one connection to an edge: serves HTTP/2 on it, answers CONNECT with connections to the target. */
import { connect as connectTcp } from "node:net";
import { type Clock, jitter, type Random } from "../clock.ts";
import { type Exchange, responseHead } from "../exchange/exchange.ts";
import type { Limits } from "../exchange/limits.ts";
import type { ByteStream } from "../exchange/stream.ts";
import { serveHttp2 } from "../http2/server.ts";
import { type Control, openControl } from "./control.ts";
import { TUNNEL_LIMITS } from "./limits.ts";
import {
  type AgentMessage,
  CONTROL_AUTHORITY,
  type EdgeAddress,
  type Hello,
  parseEdges,
} from "./protocol.ts";
import { joinStreams } from "./splice.ts";

export interface Target {
  readonly host: string;
  readonly port: number;
}

/** Why an edge takes no connection, as it was told. */
export interface Reject {
  readonly reason: string;
  readonly code: string;
  readonly permanent: boolean;
  readonly retryAfterMs: number;
}

export interface LinkOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** The only place that is ever connected to, whatever the edge asks. */
  readonly target: Target;
  /** How long connecting to it may take. @default 5_000 */
  readonly targetTimeoutMs?: number;
  readonly hello: () => Hello;
  onWelcome(edgeId: string, edges: readonly EdgeAddress[], server: string): void;
  onReject(reject: Reject): void;
  onEdges(edges: readonly EdgeAddress[]): void;
  /** The edge picks this container no more. */
  onDraining(): void;
  /** And has nothing in flight at it. */
  onDrained(): void;
  /** The edge itself is stopping. */
  onLeaving(): void;
  /** Requests that the edge has in flight here. */
  onInFlight(here: number): void;
  /** The connection is gone. Called once. */
  onClose(reason: string): void;
}

export interface Link {
  send(message: AgentMessage): void;
  /** Cuts it at once. */
  destroy(reason: string): void;
  /** Connections to the target that are open. */
  readonly streams: number;
}

/** Until the edge says how often. */
const PING_MS = 5000;
/** How often it is looked for silence. */
const LOOK_MS = 250;
/** From the connection to a welcome or a reject. */
const WELCOME_TIMEOUT_MS = 15_000;

/** Serves on a verified connection. The token goes out in the hello, once the edge has opened the control stream. */
export function openLink(socket: ByteStream, options: LinkOptions): Link {
  const { clock, target } = options;
  let control: Control | undefined;
  let reason = "the edge closed the connection";
  let greeted = false;
  let welcomed = false;
  let over = false;
  let streams = 0;
  let heardAt = clock.now();
  let askedAt = heardAt;
  let pingMs = PING_MS;
  // Not all connections at once.
  const early = jitter(0.9, 0.1, options.random);

  const heard = (): void => {
    heardAt = clock.now();
  };
  // Any byte is a sign of life.
  socket.on("data", heard);
  const watch = (): void => {
    if (over) return;
    const now = clock.now();
    if (now - heardAt >= 2 * pingMs) {
      destroy("the edge is silent");
      return;
    }
    const askMs = pingMs * early;
    if (now - heardAt >= askMs && now - askedAt >= askMs / 4) {
      askedAt = now;
      control?.send({ type: "ping" });
    }
    clock.after(Math.min(LOOK_MS, pingMs / 4), watch);
  };
  clock.after(LOOK_MS, watch);
  const welcomeTimer = clock.after(WELCOME_TIMEOUT_MS, () => {
    if (!greeted) destroy("the edge did not answer");
  });

  const openTarget = (exchange: Exchange): void => {
    streams++;
    let counted = true;
    exchange.onClose(() => {
      if (counted) streams--;
      counted = false;
      upstream.destroy();
    });
    const upstream = connectTcp({ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true });
    const refuse = (status: number): void => {
      timer.cancel();
      upstream.destroy();
      if (!exchange.answered && !exchange.closed) exchange.respond(responseHead(status));
    };
    const onError = (): void => refuse(502);
    const timer = clock.after(options.targetTimeoutMs ?? 5000, () => refuse(504));
    upstream.on("error", onError);
    upstream.on("connect", () => {
      timer.cancel();
      if (exchange.answered || exchange.closed) return upstream.destroy();
      joinStreams(exchange.accept([]), upstream);
      upstream.removeListener("error", onError);
    });
  };

  const read = (message: Record<string, unknown> & { type: string }): void => {
    switch (message.type) {
      case "welcome":
        greeted = welcomed = true;
        welcomeTimer.cancel();
        if (typeof message.pingMs === "number" && message.pingMs >= 100)
          pingMs = Math.min(message.pingMs, 60_000);
        options.onWelcome(
          String(message.edgeId).slice(0, 64),
          parseEdges(message.edges),
          String(message.server).slice(0, 256),
        );
        return;
      case "reject": {
        greeted = true;
        welcomeTimer.cancel();
        const after = typeof message.retryAfterMs === "number" ? message.retryAfterMs : 30_000;
        const why = String(message.reason)
          .slice(0, 256)
          .replace(/[^\x20-\x7e]/g, "?");
        reason = `rejected: ${why}`;
        options.onReject({
          reason: why,
          code: String(message.code),
          permanent: message.permanent === true,
          retryAfterMs: Math.min(Math.max(after, 100), 600_000),
        });
        return;
      }
      case "edges": {
        options.onEdges(parseEdges(message.edges));
        return;
      }
      case "draining": {
        options.onDraining();
        return;
      }
      case "drained": {
        options.onDrained();
        return;
      }
      case "leaving": {
        options.onLeaving();
        return;
      }
      case "ping": {
        control?.send({ type: "pong" });
        return;
      }
      case "inflight":
        if (typeof message.here === "number") options.onInFlight(Math.max(0, message.here));
        return;
      default: // From a newer edge.
    }
  };

  const server = serveHttp2(socket, {
    connection: { id: 0, remoteAddress: "", remotePort: 0, localPort: 0 },
    scheme: "http",
    limits: LINK_LIMITS,
    clock,
    connect: true,
    onExchange(exchange) {
      if (exchange.head.method !== "CONNECT") return exchange.respond(responseHead(405));
      if (exchange.head.authority !== CONTROL_AUTHORITY) {
        // Before the edge has accepted us it has no business at the target.
        if (welcomed) openTarget(exchange);
        else exchange.respond(responseHead(403));
        return;
      }
      if (control !== undefined) return exchange.respond(responseHead(409));
      control = openControl(exchange.accept([]), {
        clock,
        onMessage: read,
        onFault: (fault) => destroy(`the edge broke the protocol: ${fault}`),
        onClose: () => destroy(reason),
      });
      control.send(options.hello());
    },
    onOffence() {},
    onClose() {
      over = true;
      welcomeTimer.cancel();
      options.onClose(reason);
    },
  });
  const destroy = (why: string): void => {
    if (over) return;
    reason = why;
    server.destroy();
  };

  return {
    send: (message) => control?.send(message),
    destroy,
    get streams() {
      return streams;
    },
  };
}

/** The edge was verified: it may do as often what it likes. */
const LINK_LIMITS: Limits = {
  ...TUNNEL_LIMITS,
  headTimeoutMs: 15_000,
  http2: {
    ...TUNNEL_LIMITS.http2,
    maxResetsPerSecond: Number.POSITIVE_INFINITY,
    maxPingsPerSecond: Number.POSITIVE_INFINITY,
    maxEmptyFramesPerSecond: Number.POSITIVE_INFINITY,
    maxWindowUpdatesPerSecond: Number.POSITIVE_INFINITY,
  },
};
