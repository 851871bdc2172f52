/** From the servers of a config to the members of a pool: those that are names stand for all their endpoints. */
import { isIP } from "node:net";
import type { ServerConfig } from "../config/config.ts";
import type { Endpoint, Names, Watch } from "./names.ts";

export interface Following {
  /** The members as of now: addresses, sockets, and what the names are known to stand for. */
  current(): readonly ServerConfig[];
  /** Resolves when every name was answered or has failed once. */
  readonly ready: Promise<unknown>;
  /** One of the members is in trouble: DNS may know better by now. */
  hurry(): void;
  stop(): void;
}

/**
 * Whether the server is a name whose addresses are to be followed. "localhost" is one server on this machine, by whichever
 * of its addresses it answers (RFC 6761 §6.3).
 */
export function isNamed({ host, socket, srv }: ServerConfig): boolean {
  if (socket !== undefined) return false;
  return srv === true || (isIP(host) === 0 && !/(^|\.)localhost\.?$/i.test(host));
}

/** The member that an endpoint is: `http://web.internal:8000 (10.0.0.5)`. */
export function memberOf(server: ServerConfig, { address, port, weight = 1 }: Endpoint): ServerConfig {
  const host = port !== undefined && address.includes(":") ? `[${address}]` : address;
  const where = port === undefined ? host : `${host}:${port}`;
  return {
    ...server,
    id: `${server.id} (${where})`,
    address,
    port: port ?? server.port,
    weight: server.weight * weight,
  };
}

/** Follows the names among `servers`. */
export function followServers(
  servers: readonly ServerConfig[],
  names: Names,
  onChange: () => void,
): Following {
  const watches = new Map<ServerConfig, Watch>();
  for (const server of servers)
    if (isNamed(server))
      watches.set(server, names.watch({ name: server.host, srv: server.srv === true }, onChange));
  const all = [...watches.values()];
  return {
    current: () =>
      servers.flatMap((server) => {
        const watch = watches.get(server);
        return watch ? watch.endpoints.map((endpoint) => memberOf(server, endpoint)) : [server];
      }),
    ready: Promise.all(all.map(({ ready }) => ready)),
    hurry() {
      for (const watch of all) watch.hurry();
    },
    stop() {
      for (const watch of all) watch.stop();
    },
  };
}
