/** A backend as operators see it. */
import type { BackendView, ServerView } from "./admin-source.ts";
import type { Backend } from "./backends.ts";

export function backendView({ pool, config }: Backend): BackendView {
  const servers = pool.members().map(
    ({ id, location, state, failing, inFlight, latencyMs, weight }): ServerView => ({
      id,
      ...(location !== undefined && { location }),
      state,
      ...(failing !== undefined && { failing }),
      inFlight,
      latencyMs,
      weight,
    }),
  );
  return { name: pool.name, configured: config.servers.length, servers };
}
