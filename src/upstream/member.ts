/** A server as its pool keeps it, and the leases on it. */
import type { Clock } from "../clock.ts";
import type { Transport } from "../exchange/dispatch.ts";
import { Ejection, type Outcome } from "./ejection.ts";
import { PeakEwma } from "./load.ts";
import type { Lease, Server, ServerState } from "./server.ts";

/** What members need of their pool. */
export interface MemberPool {
  readonly clock: Clock;
  /** Where latencies fade to without new samples, in milliseconds. */
  readonly rest: number;
  /** The response head came: a lease's `answered`. */
  answered(member: Member, startedAt: number, status: number): void;
  /** A lease ended. */
  settled(member: Member, outcome: Outcome, probe: boolean): void;
}

export class Member implements Server {
  readonly id: string;
  readonly transport: Transport;
  weight: number;
  readonly fixed: boolean;
  inFlight = 0;
  /** Requests that others have in flight there. */
  elsewhere = 0;
  leases = 0;
  healthy = true;
  readonly load: PeakEwma = new PeakEwma();
  readonly ejection: Ejection = new Ejection();
  readonly pool: MemberPool;

  constructor(pool: MemberPool, id: string, transport: Transport, weight: number, fixed: boolean) {
    this.pool = pool;
    this.id = id;
    this.transport = transport;
    this.weight = weight;
    this.fixed = fixed;
  }

  get state(): ServerState {
    if (this.ejection.ejected) return this.ejection.probing ? "probing" : "ejected";
    return this.healthy ? "available" : "unhealthy";
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
  private settled = false;

  constructor(server: Member, startedAt: number, probe: boolean) {
    this.server = server;
    this.startedAt = startedAt;
    this.probe = probe;
  }

  answered(status = 200): void {
    if (this.hasAnswered || this.settled) return;
    this.hasAnswered = true;
    this.server.pool.answered(this.server, this.startedAt, status);
  }

  settle(outcome: Outcome): void {
    if (this.settled) return;
    this.settled = true;
    this.server.pool.settled(
      this.server,
      this.hasAnswered && outcome === "abandoned" ? "ok" : outcome,
      this.probe,
    );
  }
}
