/** A server as its pool keeps it, and the leases on it. */
import type { Clock } from "../clock.ts";
import type { Transport } from "../exchange/dispatch.ts";
import { Ejection, FAILURES_TO_EJECT, type Outcome } from "./ejection.ts";
import { PeakEwma } from "./load.ts";
import type { Area } from "./located.ts";
import type { Lease, Server, ServerState } from "./server.ts";

/** What an upgraded connection weighs beside a request: enough for many to spread, too little to keep requests away. */
export const STREAM_LOAD = 0.1;

/** Who says how a server is: an active check from here, or the server itself. */
export type Judge = "check" | "self";

/** What members need of their pool. */
export interface MemberPool {
  readonly clock: Clock;
  /** Where latencies fade to without new samples, in milliseconds. */
  readonly rest: number;
  /** The response head came: a lease's `answered`. */
  answered(member: Member, startedAt: number, status: number, retryAfterMs: number): void;
  /** Another server answered a lease's request first. */
  overtaken(member: Member, startedAt: number): void;
  /** A lease became an upgraded connection. */
  upgraded(member: Member): void;
  /** A lease ended. */
  settled(member: Member, outcome: Outcome, probe: boolean, stream: boolean): void;
}

export interface MemberSpec {
  readonly id: string;
  readonly transport: Transport;
  readonly location?: string | undefined;
}

export class Member implements Server {
  readonly id: string;
  readonly transport: Transport;
  location: string | undefined;
  weight: number;
  /** The weight as far as it is warm. */
  share: number;
  readonly fixed: boolean;
  /** The place among the candidates; -1 where it is none. */
  at = -1;
  /** Its location and the place among the candidates there, where locations count. */
  area: Area | undefined = undefined;
  spot = -1;
  /** Since when it warms up; undefined once it is warm. */
  warmingSince: number | undefined;
  inFlight = 0;
  streams = 0;
  /** Requests that others have in flight there. */
  elsewhere = 0;
  leases = 0;
  /** What the last active check found. */
  private checked = true;
  /** What it says of itself. */
  private claimed = true;
  readonly load: PeakEwma = new PeakEwma();
  readonly ejection: Ejection = new Ejection();
  readonly pool: MemberPool;

  constructor(pool: MemberPool, spec: MemberSpec, weight: number, fixed: boolean) {
    this.pool = pool;
    this.id = spec.id;
    this.transport = spec.transport;
    this.location = spec.location;
    this.weight = weight;
    this.share = weight;
    this.fixed = fixed;
    this.warmingSince = undefined;
  }

  /** As long as neither says otherwise. */
  get healthy(): boolean {
    return this.checked && this.claimed;
  }

  judge(by: Judge, healthy: boolean): void {
    if (by === "check") this.checked = healthy;
    else this.claimed = healthy;
  }

  /** Requests in flight, from here and elsewhere, without upgraded connections. */
  get requests(): number {
    return this.inFlight - this.streams + this.elsewhere;
  }

  /** How much is going on there, in requests. */
  get busy(): number {
    return this.inFlight + this.elsewhere - (1 - STREAM_LOAD) * this.streams;
  }

  get fit(): boolean {
    return this.healthy && !this.ejection.ejected;
  }

  get state(): ServerState {
    if (this.ejection.ejected) return this.ejection.probing ? "probing" : "ejected";
    return this.healthy ? "available" : "unhealthy";
  }

  get failing(): "unreachable" | "broken" | undefined {
    const { failures, unreachable } = this.ejection;
    if (unreachable && failures > 0) return "unreachable";
    return failures >= FAILURES_TO_EJECT ? "broken" : undefined;
  }

  get latencyMs(): number | undefined {
    return this.load.warm ? this.load.read(this.pool.clock.now(), this.pool.rest) : undefined;
  }
}

export class ServerLease implements Lease {
  readonly server: Member;
  private readonly startedAt: number;
  private readonly probe: boolean;
  private hasAnswered = false;
  private stream = false;
  private settled = false;

  constructor(server: Member, startedAt: number, probe: boolean) {
    this.server = server;
    this.startedAt = startedAt;
    this.probe = probe;
  }

  answered(status = 200, retryAfterMs = 0): void {
    if (this.hasAnswered || this.settled) return;
    this.hasAnswered = true;
    this.server.pool.answered(this.server, this.startedAt, status, retryAfterMs);
  }

  upgraded(): void {
    if (this.stream || this.settled) return;
    this.stream = true;
    this.server.pool.upgraded(this.server);
  }

  settle(outcome: Outcome): void {
    if (this.settled) return;
    this.settled = true;
    if (outcome === "overtaken" && !this.hasAnswered) this.server.pool.overtaken(this.server, this.startedAt);
    this.server.pool.settled(
      this.server,
      this.hasAnswered && outcome === "abandoned" ? "ok" : outcome,
      this.probe,
      this.stream,
    );
  }
}

/** Throws RangeError where it is none. */
export function checkedWeight(spec: { id: string; weight?: number }): number {
  const weight = spec.weight ?? 1;
  if (!(weight > 0 && weight < Number.POSITIVE_INFINITY))
    throw new RangeError(`weight of ${spec.id} must be a positive number, not ${weight}`);
  return weight;
}
