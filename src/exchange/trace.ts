/** How one request found its server, for those who ask why. Kept only where the config has `explain`. */

/** A server that was looked at before one was picked. */
export interface WeighedServer {
  readonly server: string;
  /** Estimated time to a response head, in milliseconds; that of the pool where it has answered too little, 0 unknown. */
  readonly latencyMs: number;
  /** Requests there, as the balancer counts them. */
  readonly inFlight: number;
  /** Its weight, as far as it is warm. */
  readonly weight: number;
  /** latency × (in flight + 1) / weight: the lower one is picked, but for differences that are noise. */
  readonly load: number;
}

/**
 * Why a request was sent to a server: it was the first; the attempt before failed, or was answered with a status of
 * `retry.statuses`; the attempt before was slow (`hedge`).
 */
export type AttemptReason = "first" | "failed" | "status" | "hedge";

/** One time that the request was sent. Times are milliseconds since its head was complete. */
export interface AttemptTrace {
  readonly reason: AttemptReason;
  /** Where it was sent, where servers are in several locations, and why there. */
  readonly location?: string;
  /** "local", or "spill: " and why: the local ones are `unhealthy`, `full` or `loaded`, were `tried` before, or are none. */
  readonly place?: string;
  /**
   * What the policy looked at: for "p2c" the two that were drawn, or the only one with room; for the others the one whose turn
   * it was, or those on the ring up to one with room. None where an ejected server was probed.
   */
  readonly candidates: WeighedServer[];
  readonly server: string;
  /** The server's state when it was picked. */
  readonly state: string;
  readonly sentMs: number;
  /** When the head of its answer came, it failed, or it was given up. */
  endMs?: number;
  /** Of its answer. */
  status?: number;
  /** Why there was none. */
  code?: string;
  /** Whether its answer is the one that was passed on. */
  used?: true;
}

/** One request. */
export interface RequestTrace {
  readonly attempts: AttemptTrace[];
}
