/** The downstream connections of an edge: counted per client, drained together. */
import ipaddr from "ipaddr.js";

/** What both wire engines give for a connection. */
export interface Drainable {
  /** Finishes what is in flight, then closes; an idle connection closes now. */
  drain(): void;
  destroy(): void;
}

export interface Connections {
  readonly size: number;
  /** Whether one more connection of this client is within the bound; if so it counts from now on. */
  admit(remoteAddress: string): boolean;
  /** One connection of this client ended. */
  release(remoteAddress: string): void;
  add(connection: Drainable): void;
  remove(connection: Drainable): void;
  /** Drains all; resolves when none is left. */
  drain(): Promise<void>;
  destroy(): void;
}

/** A client is an IPv4 address or an IPv6 /64: one customer holds the whole of the latter. */
export function clientKey(remoteAddress: string): string {
  if (!remoteAddress.includes(":")) return remoteAddress;
  if (!ipaddr.isValid(remoteAddress)) return remoteAddress;
  const address = ipaddr.process(remoteAddress);
  if (address.kind() === "ipv4") return address.toString();
  return (address as ipaddr.IPv6).parts.slice(0, 4).join(":");
}

/** @param watch is told of each connection that is added or removed */
export function createConnections(
  maxPerClient: () => number,
  watch?: { opened(): void; closed(): void },
): Connections {
  const perClient = new Map<string, number>();
  const open = new Set<Drainable>();
  let drained: (() => void) | undefined;

  return {
    get size() {
      return open.size;
    },
    admit(remoteAddress) {
      const key = clientKey(remoteAddress);
      const count = perClient.get(key) ?? 0;
      if (count >= maxPerClient()) return false;
      perClient.set(key, count + 1);
      return true;
    },
    release(remoteAddress) {
      const key = clientKey(remoteAddress);
      const count = perClient.get(key) ?? 0;
      if (count <= 1) perClient.delete(key);
      else perClient.set(key, count - 1);
    },
    add(connection) {
      open.add(connection);
      watch?.opened();
    },
    remove(connection) {
      if (open.delete(connection)) watch?.closed();
      if (open.size === 0) drained?.();
    },
    drain() {
      return new Promise((resolve) => {
        drained = resolve;
        for (const connection of [...open]) connection.drain();
        if (open.size === 0) resolve();
      });
    },
    destroy() {
      for (const connection of [...open]) connection.destroy();
    },
  };
}
