/** A backend as operators see it. */
import type { BackendView, ServerView } from "./admin-source.ts";
import type { Backend } from "./backends.ts";

export function backendView({ pool, config, fixed }: Backend): BackendView {
  const servers = pool.members().map(
    ({ id, location, state, failing, inFlight, latencyMs, weight }): ServerView => ({
      id,
      ...(location !== undefined && { location }),
      state,
      ...(failing !== undefined && { failing }),
      inFlight,
      latencyMs,
      weight,
      // Who is in no list has joined by itself.
      source: fixed.has(id) ? (fixed.get(id)?.server.source ?? "config") : "wormhole",
    }),
  );
  return { name: pool.name, source: config.source ?? "config", configured: config.servers.length, servers };
}
