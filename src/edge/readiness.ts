/** What keeps visitors from being served as they should: why `/readyz` says `degraded`. */
import type { AdminSource, BackendView, ServerView } from "./admin-source.ts";

/** What it goes by. */
export type Health = Pick<AdminSource, "certificates" | "backends" | "storageAway">;

/** Each in a line, with what it is about. */
export function degradations(source: Health): string[] {
  const hosts = source
    .certificates()
    .filter(({ state, emergency }) => state === "missing" || state === "expired" || emergency)
    .map(({ host, state }) => `${host}: certificate ${state}`);
  const backends = source.backends().flatMap((backend) => {
    const trouble = backendTrouble(backend);
    return trouble === undefined ? [] : [`${backend.name}: ${trouble}`];
  });
  const away = source.storageAway?.();
  const storage = away
    ? [
        `storage: away since ${new Date(away.since).toISOString()}, served from the local copy: ${away.reason}`,
      ]
    : [];
  return [...storage, ...hosts, ...backends];
}

/** So many servers are named. */
const NAMED = 3;

function backendTrouble({ servers, configured }: BackendView): string | undefined {
  if (servers.length === 0)
    return configured === 0 ? "no wormhole has joined" : "no server: its names stand for no address";
  if (servers.some(({ state, failing }) => state === "available" && failing === undefined)) return undefined;
  const each = servers.slice(0, NAMED).map((server) => `${server.id} ${serverTrouble(server)}`);
  if (servers.length > NAMED) each.push(`and ${servers.length - NAMED} more`);
  return `no server is available: ${each.join(", ")}`;
}

function serverTrouble({ state, failing }: ServerView): string {
  switch (failing) {
    case "unreachable":
      return "cannot be reached";
    case "broken":
      return "breaks requests off";
    case undefined:
      return `is ${state}`;
    default:
      return failing satisfies never;
  }
}
