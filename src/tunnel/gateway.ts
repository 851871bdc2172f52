/** The edge's side of wormholes: takes agents' connections, asks who they are, and keeps pools in step with them. */
import type { Clock, Random } from "../clock.ts";
import type { ByteStream } from "../exchange/stream.ts";
import type { Log } from "../log.ts";
import type { Pool } from "../upstream/pool.ts";
import { Instance, type InstanceOptions } from "./instance.ts";
import {
  type EdgeAddress,
  type EdgeMessage,
  type Hello,
  JOINED_ALREADY,
  PROTO,
  type Release,
} from "./protocol.ts";
import { openSession, type Session } from "./session.ts";
import type { Verdict } from "./token-book.ts";

export interface GatewayLimits {
  /** Connections of one token; more are rejected for a while. @default 1_000 */
  readonly maxSessionsPerToken?: number;
  /** Connections that have not said who they are; more are closed at once. @default 256 */
  readonly maxUnknown?: number;
  /** @default 10_000 */
  readonly helloTimeoutMs?: number;
  /** @default 5_000 */
  readonly pingMs?: number;
}

export interface GatewayOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Names this process; no two have the same. */
  readonly edgeId: string;
  readonly limits?: GatewayLimits;
  readonly transport: InstanceOptions["transport"];
  check(token: string): Promise<Verdict>;
  pool(backend: string): Pool | undefined;
  edges(): readonly EdgeAddress[];
  /** A session came to be, was refused or was cut; for metrics. */
  onSession?(event: SessionEvent): void;
  /** A container came, went, or is in another state. */
  onChange?(): void;
}

/** `joined`, or why not, or why no longer; a small fixed set. */
export type SessionEvent = string;

/** One container, for operators. */
export interface WormholeView {
  readonly instance: string;
  readonly server: string;
  readonly backend: string;
  readonly token: string;
  readonly app: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Where it runs, where it said so. */
  readonly location?: string;
  readonly release: Release;
  readonly version: string;
  /** Wall time in milliseconds at which it joined. */
  readonly since: number;
  readonly connections: number;
  /** Requests that this edge has in flight there. */
  readonly inFlight: number;
  readonly state: "available" | "unhealthy" | "silent" | "draining";
}

export interface Gateway {
  /** Takes a connection whose handshake chose the tunnel's protocol. `onClose` runs once when it is gone. */
  accept(stream: ByteStream, remoteAddress: string, onClose: () => void): void;
  /** Connections that are open. */
  readonly sessions: number;
  wormholes(): readonly WormholeView[];
  /** These tokens are all that there are: cuts sessions of others, and of those that expired. */
  keepTokens(ids: ReadonlySet<string>): void;
  /** Looks again at which backends there are. */
  refresh(): void;
  /** Tells agents that this edge is stopping; their connections stay until {@link close}. */
  drain(): void;
  /** Tells agents of changed edges. */
  announce(): void;
  close(): void;
}

interface Known {
  readonly token: string;
  readonly expiresAt: number | undefined;
  readonly backend: string;
  readonly slot: number;
  readonly instance: Instance;
}

interface Entry {
  session: Session;
  known: Known | undefined;
  ended: boolean;
}

/** How often agents hear how much this edge has in flight at them. */
const REPORT_MS = 250;
/** What an agent whose token is no good waits before it asks again. */
const REJECTED_RETRY_MS = 30_000;
const BUSY_RETRY_MS = 5_000;
/** And one whose edge is joined by another address. */
const JOINED_RETRY_MS = 60_000;

function stateOf({ draining, silent, healthy }: Instance): WormholeView["state"] {
  if (draining) return "draining";
  if (silent) return "silent";
  return healthy ? "available" : "unhealthy";
}

export function createGateway(options: GatewayOptions): Gateway {
  const { clock, random, log } = options;
  const { maxSessionsPerToken = 1000, maxUnknown = 256 } = options.limits ?? {};
  const { helloTimeoutMs = 10_000, pingMs = 5000 } = options.limits ?? {};
  const entries = new Set<Entry>();
  const instances = new Map<string, Instance>();
  let unknown = 0;
  let leaving = false;
  let closed = false;
  const count = (event: SessionEvent): void => options.onSession?.(event);
  const changed = (): void => options.onChange?.();

  const reject = (
    entry: Entry,
    reason: string,
    permanent: boolean,
    event: SessionEvent,
    retryAfterMs: number = permanent ? REJECTED_RETRY_MS : BUSY_RETRY_MS,
  ): void => {
    count(event);
    entry.session.dismiss({ type: "reject", reason, code: event, permanent, retryAfterMs }, reason);
  };

  const ofToken = (id: string): number => {
    let number = 0;
    for (const { known } of entries) if (known?.token === id) number++;
    return number;
  };

  const instanceOf = (key: string, hello: Hello, pool: Pool): Instance => {
    const before = instances.get(key);
    if (before !== undefined) {
      const same = before.hello.run === hello.run && before.pool === pool;
      if (same && !before.draining) return before;
      instances.delete(key);
      before.remove();
      for (const session of [...before.sessions.values()]) session.destroy("replaced by a new run");
    }
    const name = hello.app.replace(/[^\w.-]+/g, "-") || "wormhole";
    let id = `wormhole:${name}-${hello.instance.slice(0, 8)}`;
    // Not one that another token's instance has: `add` would put that one out.
    if (pool.members().some((member) => member.id === id))
      id = `wormhole:${name}-${hello.instance}.${key.slice(0, 8)}`;
    const { transport } = options;
    const instance = new Instance({ id, hello, pool, clock, transport });
    instance.healthy = hello.healthy;
    instances.set(key, instance);
    return instance;
  };

  const admit = async (entry: Entry, hello: Hello, remoteAddress: string): Promise<void> => {
    const verdict = await options.check(hello.token).finally(() => unknown--);
    if (entry.ended || closed) return;
    if (!verdict.ok) {
      log.warn("tunnel.rejected", { client: remoteAddress, app: hello.app, reason: verdict.reason });
      return reject(
        entry,
        verdict.reason,
        verdict.permanent,
        verdict.permanent ? "bad_token" : "not_checked",
      );
    }
    if (hello.proto < 1)
      return reject(entry, `version ${hello.proto} of the protocol is not known`, true, "bad_version");
    const { id: token, backend, expiresAt } = verdict;
    const pool = options.pool(backend);
    if (pool === undefined)
      return reject(entry, `this edge has no backend "${backend}"`, false, "no_backend");
    const key = `${token}/${hello.instance}`;
    // It would replace the connections by the other address, and cut what is in flight there.
    if (hello.joined?.includes(options.edgeId) && instances.get(key)?.draining === false)
      return reject(entry, "joined by another address", false, JOINED_ALREADY, JOINED_RETRY_MS);
    const replaces = instances.get(key)?.sessions.has(hello.slot) ?? false;
    if (!replaces && ofToken(token) >= maxSessionsPerToken)
      return reject(entry, "the token has too many connections", false, "too_many");
    const instance = instanceOf(key, hello, pool);
    const slot = Math.min(hello.slot, 15);
    entry.known = { token, backend, expiresAt, slot, instance };
    const edges = options.edges();
    entry.session.send({
      type: "welcome",
      proto: PROTO,
      edgeId: options.edgeId,
      edges,
      pingMs,
      server: instance.id,
    });
    if (leaving) entry.session.send({ type: "leaving" });
    instance.join(slot, entry.session);
    instance.setHealthy(hello.healthy);
    count("joined");
    changed();
    // The first connection is news.
    log[instance.sessions.size === 1 ? "info" : "debug"]("tunnel.joined", {
      backend,
      server: instance.id,
      client: remoteAddress,
      token,
      connections: instance.sessions.size,
      labels: hello.labels,
      ...(hello.location !== undefined && { location: hello.location }),
      ...hello.release,
    });
  };

  const heard = (entry: Entry, message: Record<string, unknown> & { type: string }): void => {
    const { known, session } = entry;
    if (known === undefined) return;
    const { instance } = known;
    switch (message.type) {
      case "health":
        instance.setHealthy(message.healthy !== false);
        changed();
        return;
      case "inflight":
        if (typeof message.total === "number" && !instance.draining)
          instance.pool.report(instance.id, Math.max(0, Math.min(message.total, 1e6)));
        return;
      case "draining":
        session.send({ type: "draining" });
        // Each connection of the instance says it; each gets its answer.
        instance.drain(() => session.send({ type: "drained" }));
        changed();
        return;
      default: // From a newer agent; what matters is negotiated by features.
    }
  };

  const gone = (entry: Entry, reason: string): void => {
    entry.ended = true;
    entries.delete(entry);
    const { known } = entry;
    if (known === undefined) return;
    const { instance, slot } = known;
    if (!instance.leave(slot, entry.session)) return;
    for (const [key, each] of instances) if (each === instance) instances.delete(key);
    changed();
    const fields = { backend: known.backend, server: instance.id };
    if (instance.leaving) log.info("tunnel.left", { ...fields, reason: "it stopped" });
    else log.warn("tunnel.left", { ...fields, reason });
  };

  const cut = (entry: Entry, reason: string, event: SessionEvent): void => {
    // First out of rotation: what is said to the agent may take a moment.
    entry.known?.instance.remove();
    reject(entry, reason, true, event);
  };

  const report = (): void => {
    if (closed) return;
    for (const instance of instances.values()) {
      const here = instance.server?.inFlight ?? 0;
      if (here === instance.toldInFlight) continue;
      instance.toldInFlight = here;
      // One connection is enough to say it.
      for (const session of instance.sessions.values()) {
        session.send({ type: "inflight", here });
        break;
      }
    }
    clock.after(REPORT_MS, report);
  };
  clock.after(REPORT_MS, report);

  return {
    accept(stream, remoteAddress, onClose) {
      if (closed || unknown >= maxUnknown) {
        count("too_many_unknown");
        stream.destroy();
        onClose();
        return;
      }
      unknown++;
      let greeted = false;
      const session = openSession(stream, {
        clock,
        random,
        pingMs,
        helloTimeoutMs,
        busy: () => (entry.known?.instance.inFlight ?? 0) > 0,
        onSilence() {
          const { instance, backend } = entry.known ?? {};
          const was = instance?.silent;
          instance?.heed();
          if (instance === undefined || was === instance.silent) return;
          changed();
          if (!was) count("silent");
          log.warn(was ? "tunnel.heard" : "tunnel.silent", { backend, server: instance.id });
        },
        onLongSilence: () => entry.known?.instance.moveOn(),
        onHello(hello) {
          greeted = true;
          admit(entry, hello, remoteAddress).catch((error: unknown) => {
            log.error("tunnel.failed", { message: String(error) });
            session.destroy("internal");
          });
        },
        onMessage: (message) => heard(entry, message),
        onFault(fault) {
          count(fault);
          log.warn("tunnel.fault", { client: remoteAddress, reason: fault });
        },
        onClose(error) {
          if (!greeted) unknown--;
          gone(entry, error?.message ?? "closed");
          onClose();
        },
      });
      const entry: Entry = { session, known: undefined, ended: false };
      entries.add(entry);
    },
    get sessions() {
      return entries.size;
    },
    wormholes() {
      const known = new Map<Instance, Known>();
      for (const entry of entries) if (entry.known) known.set(entry.known.instance, entry.known);
      return [...known.values()].map(({ instance, backend, token }) => ({
        instance: instance.hello.instance,
        server: instance.id,
        backend,
        token,
        app: instance.hello.app,
        labels: instance.hello.labels,
        ...(instance.hello.location !== undefined && { location: instance.hello.location }),
        release: instance.hello.release,
        version: instance.hello.version,
        since: instance.since,
        connections: instance.sessions.size,
        inFlight: instance.inFlight,
        state: stateOf(instance),
      }));
    },
    keepTokens(ids) {
      const now = clock.wall();
      for (const entry of [...entries]) {
        const { known } = entry;
        if (known === undefined) continue;
        if (!ids.has(known.token)) cut(entry, "the token was revoked", "revoked");
        else if (known.expiresAt !== undefined && known.expiresAt <= now)
          cut(entry, "the token has expired", "expired");
      }
    },
    refresh() {
      for (const entry of [...entries]) {
        const { known } = entry;
        if (known === undefined || options.pool(known.backend) === known.instance.pool) continue;
        known.instance.remove();
        reject(entry, `this edge has no backend "${known.backend}" any more`, false, "no_backend");
      }
    },
    drain() {
      leaving = true;
      for (const { known, session } of entries) if (known !== undefined) session.send({ type: "leaving" });
    },
    announce() {
      const message: EdgeMessage = { type: "edges", edges: options.edges() };
      for (const { known, session } of entries) if (known !== undefined) session.send(message);
    },
    close() {
      closed = true;
      for (const { session } of [...entries]) session.destroy("the edge is closing");
    },
  };
}
