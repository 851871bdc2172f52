/** A member of a pool, and the claim on it that a request holds. */
import type { Transport } from "../exchange/dispatch.ts";
import type { Outcome } from "./ejection.ts";

export type ServerState = "available" | "ejected" | "probing" | "unhealthy";

/** A member of a pool. */
export interface Server {
  /** Unique in its pool; names it in logs and metrics. */
  readonly id: string;
  readonly transport: Transport;
  /** Where it runs; undefined where nobody said. */
  readonly location: string | undefined;
  readonly weight: number;
  /** Leases that are not settled. */
  readonly inFlight: number;
  /** How many of those carry an upgraded connection, such as a WebSocket. */
  readonly streams: number;
  readonly state: ServerState;
  /** How its last requests failed, whether or not it was ejected for it: the last server of a backend never is. */
  readonly failing: "unreachable" | "broken" | undefined;
  /** Estimated time to a response head, in milliseconds; undefined until it has answered a few requests. */
  readonly latencyMs: number | undefined;
  /** Requests leased since it was added. */
  readonly leases: number;
}

/** What makes a member. */
export interface ServerSpec {
  readonly id: string;
  /** @default 1 */
  readonly weight?: number;
  /** @default wherever the edge is */
  readonly location?: string | undefined;
  /** Called once, when the server joins. */
  readonly transport: () => Transport;
}

/** A claim on one server for one request. */
export interface Lease {
  readonly server: Server;
  /**
   * The response head is here: stamps the latency. A slow download is not a slow server.
   * @param retryAfterMs for how long a server that answered 429 or 503 asked to be spared (Retry-After)
   */
  answered(status?: number, retryAfterMs?: number): void;
  /** The connection was upgraded and may stay for hours: from now on it weighs little, though it counts to the cap. */
  upgraded(): void;
  /** Frees the slot: after the last body byte, an error, or a cancel. Only the first call counts. */
  settle(outcome: Outcome): void;
}
