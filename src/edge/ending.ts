/** How an edge ends: what is in flight first, where there is time; then everything that it is made of. */
import type { Clock } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Connections } from "./connections.ts";
import type { Presence } from "./presence.ts";
import type { Tunnels } from "./tunnels.ts";

export interface EndingParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly connections: Pick<Connections, "size" | "drain" | "destroy">;
  readonly tunnels: Pick<Tunnels, "drain" | "close">;
  readonly presence: Pick<Presence, "nudge">;
  /** What visitors come in by. */
  readonly listeners: readonly { stop(): void }[];
  /** Open while the edge drains: it says how that goes. */
  readonly admin: { stop(): void; close(): void };
  drainTimeoutMs(): number;
  /** It ends from now on. */
  begun(): void;
  /** What else there is to close: those of a group together, and one group after the other. */
  readonly groups: readonly (readonly ({ close(): Promise<void> } | undefined)[])[];
  /** Used by all the others to their end. */
  readonly storage: { close(): Promise<void> };
}

export interface Ending {
  /** Resolves when what was in flight is finished, or its time is over. */
  drain(): Promise<void>;
  close(): Promise<void>;
}

export function createEnding(parts: EndingParts): Ending {
  const { clock, log, connections, tunnels, listeners, admin } = parts;
  let draining: Promise<void> | undefined;
  let closing: Promise<void> | undefined;
  const drain = async (): Promise<void> => {
    parts.begun();
    const timeoutMs = parts.drainTimeoutMs();
    log.info("edge.draining", { connections: connections.size, timeoutMs });
    for (const listener of listeners) listener.stop();
    tunnels.drain();
    parts.presence.nudge();
    const timeout = new Promise<"timeout">((resolve) => {
      clock.after(timeoutMs, () => resolve("timeout"));
    });
    if ((await Promise.race([connections.drain(), timeout])) === "timeout")
      log.warn("edge.drain_timeout", { connections: connections.size });
  };
  const close = async (): Promise<void> => {
    parts.begun();
    for (const listener of [...listeners, admin]) listener.stop();
    connections.destroy();
    admin.close();
    tunnels.close();
    for (const group of parts.groups) await Promise.allSettled(group.map((part) => part?.close()));
    await parts.storage.close();
    log.info("edge.closed");
  };
  return {
    drain: () => (draining ??= drain()),
    close: () => (closing ??= close()),
  };
}
