/** What an error tells of the server that it happened with. */
import { EdgeError } from "../errors.ts";
import type { Outcome } from "../upstream/ejection.ts";
import type { Pool } from "../upstream/pool.ts";

export function outcomeOf(error: EdgeError): Outcome {
  switch (error.code) {
    case "UPSTREAM_CONNECT":
      return "unreachable";
    case "UPSTREAM_REFUSED":
      return "declined";
    case "UPSTREAM_RESET":
    case "UPSTREAM_PROTOCOL":
    case "UPSTREAM_TIMEOUT":
      return "broken";
    default:
      // The client's doing, or ours.
      return "abandoned";
  }
}

/** Why nobody took a request. */
export function noRoom(pool: Pool): EdgeError {
  const { name } = pool;
  const facts = { source: "upstream", status: 503 } as const;
  return pool.members().length === 0
    ? new EdgeError("NO_SERVER", `backend "${name}" has no server`, facts)
    : new EdgeError("UPSTREAM_BUSY", `every server of backend "${name}" is full`, facts);
}
