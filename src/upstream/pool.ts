/** A backend's live members. Requests take a {@link Lease} on one and give it back; the pool learns from both. */
import type { Clock, Random } from "../clock.ts";
import type { Transport } from "../exchange/dispatch.ts";
import { type Candidates, candidates, pickTwo } from "./balancer.ts";
import { mayEject, type Outcome } from "./ejection.ts";
import { alike, median } from "./load.ts";
import { Member, type MemberPool, ServerLease } from "./member.ts";
import type { Lease, Server, ServerSpec } from "./server.ts";

/** How often the pool's usual latency is worked out again. */
const MEDIAN_EVERY_MS = 1000;
/** How much slower than usual an answer counts that says "not now", however fast it came. */
const REFUSAL_FACTOR = 10;

export type PoolEvent =
  | { readonly kind: "added" | "removed" | "restored" | "unhealthy"; readonly server: Server }
  | { readonly kind: "ejected"; readonly server: Server; readonly outcome: Outcome };

export interface Pool {
  readonly name: string;
  /** Adds a server. One with the same id is replaced. */
  add(server: { id: string; transport: Transport; weight?: number }): Server;
  /** Stops picking it at once; its leases go on. Returns it so that the caller may close its transport. */
  remove(id: string): Server | undefined;
  /**
   * Makes the fixed members (those that came by `update`) be these. Members that stay keep their load and health;
   * those added by `add` are left alone. Returns the ones that left, for their transports to be closed.
   */
  update(servers: readonly ServerSpec[]): readonly Server[];
  members(): readonly Server[];
  /** How many members are neither ejected nor unhealthy. */
  readonly available: number;
  /** Leases that are not settled, over all members and those that were removed. */
  readonly inFlight: number;
  /**
   * A claim on a server, none of `tried`; undefined where no other is left. Falls back to ejected and unhealthy servers
   * before giving up: an attempt there is better than an error.
   * @param repeatable whether the request could be sent again elsewhere, so that it may try out an ejected server
   */
  lease(tried?: readonly Server[], repeatable?: boolean): Lease | undefined;
  /** What an active check found. True also ends an ejection. */
  mark(id: string, healthy: boolean): void;
  /** Requests in flight at the server in all, as it counts them itself: several edges then agree on its load. */
  report(id: string, inFlight: number): void;
  /** Hears of every change of membership and state; returns a function that stops it. */
  watch(listener: (event: PoolEvent) => void): () => void;
}

export interface PoolOptions {
  readonly clock: Clock;
  readonly random: Random;
}

class LivePool implements Pool, MemberPool {
  readonly name: string;
  readonly clock: Clock;
  private readonly random: Random;
  private all: Member[] = [];
  private ready: Candidates<Member> = { list: [], sums: undefined };
  /** Members that are neither ejected nor unhealthy. */
  private fit = 0;
  private readonly listeners = new Set<(event: PoolEvent) => void>();
  /** The least `probeAt` of all ejected members: one comparison per lease. */
  private nextProbeAt = Number.POSITIVE_INFINITY;
  /** The median latency of warm members; 0 while unknown. */
  private usual = 0;
  private usualAt = Number.NEGATIVE_INFINITY;
  private now = 0;
  inFlight = 0;

  constructor(name: string, options: PoolOptions) {
    this.name = name;
    this.clock = options.clock;
    this.random = options.random;
  }

  get rest(): number {
    return this.usual / 2;
  }

  get available(): number {
    return this.fit;
  }

  members(): readonly Server[] {
    return this.all;
  }

  add(server: { id: string; transport: Transport; weight?: number }): Server {
    this.remove(server.id);
    return this.join(new Member(this, server.id, server.transport, checkedWeight(server), false));
  }

  remove(id: string): Server | undefined {
    const member = this.find(id);
    if (!member) return undefined;
    this.all = this.all.filter((other) => other !== member);
    this.refresh();
    this.tell({ kind: "removed", server: member });
    return member;
  }

  update(servers: readonly ServerSpec[]): readonly Server[] {
    const wanted = new Map(servers.map((spec) => [spec.id, spec]));
    const gone = this.all.filter((member) => member.fixed && !wanted.has(member.id));
    for (const member of gone) this.remove(member.id);
    for (const spec of wanted.values()) {
      const known = this.find(spec.id);
      if (known) known.weight = checkedWeight(spec);
      else this.join(new Member(this, spec.id, spec.transport(), checkedWeight(spec), true));
    }
    this.refresh();
    return gone;
  }

  lease(tried?: readonly Server[], repeatable = true): Lease | undefined {
    const now = this.clock.now();
    this.now = now;
    if (now - this.usualAt > MEDIAN_EVERY_MS) this.learnUsual(now);
    if (now >= this.nextProbeAt) {
      const due = this.dueProbe(now, repeatable, tried);
      if (due) return this.claim(due, now);
    }
    const from = tried === undefined || tried.length === 0 ? this.ready : this.untried(tried);
    const picked = pickTwo(from, this.better, this.random);
    return picked && this.claim(picked, now);
  }

  mark(id: string, healthy: boolean): void {
    const member = this.find(id);
    if (!member) return;
    const before = member.state;
    member.healthy = healthy;
    if (healthy) member.ejection.restore(this.clock.now());
    this.refresh();
    if (member.state === before) return;
    if (before === "available") this.tell({ kind: "unhealthy", server: member });
    else if (member.state === "available") this.tell({ kind: "restored", server: member });
  }

  report(id: string, inFlight: number): void {
    const member = this.find(id);
    if (member) member.elsewhere = Math.max(0, inFlight - member.inFlight);
  }

  watch(listener: (event: PoolEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  answered(member: Member, startedAt: number, status: number): void {
    const now = this.clock.now();
    const took = now - startedAt;
    // "Not now" is quick to say: without a penalty the server that sheds load would attract more of it.
    if (status === 429 || status === 503)
      member.load.penalise(Math.max(took, REFUSAL_FACTOR * this.usual), now, this.rest);
    else member.load.observe(took, now, this.rest);
    if (member.ejection.ejected) this.restore(member, now);
  }

  settled(member: Member, outcome: Outcome, probe: boolean): void {
    member.inFlight--;
    this.inFlight--;
    const { ejection } = member;
    switch (outcome) {
      case "ok":
        ejection.failures = 0;
        if (ejection.ejected) this.restore(member, this.clock.now());
        return;
      case "unreachable":
      case "broken":
        if (ejection.ejected) {
          if (probe) this.probeEnded(member, outcome);
        } else if (ejection.fail() && this.isReady(member)) this.tryEject(member, outcome);
        return;
      case "declined":
      case "abandoned":
        if (probe && ejection.ejected) this.probeEnded(member, outcome);
        return;
      default:
        outcome satisfies never;
    }
  }

  private readonly better = (second: Member, first: Member): boolean => {
    const { now, usual } = this;
    const rest = usual / 2;
    const busyFirst = (first.inFlight + first.elsewhere + 1) / first.weight;
    const busySecond = (second.inFlight + second.elsewhere + 1) / second.weight;
    const idle = first.inFlight + first.elsewhere + second.inFlight + second.elsewhere === 0;
    // A server that is not measured yet counts as usual, so that a new one neither floods nor starves.
    const latencyFirst = first.load.warm ? first.load.read(now, rest) : usual;
    const latencySecond = second.load.warm ? second.load.read(now, rest) : usual;
    // Two idle servers of like speed tie, and the first draw, which is proportional to the weights, decides.
    const unknown = latencyFirst === 0 || latencySecond === 0;
    if (unknown || alike(latencyFirst, latencySecond)) return idle ? false : busySecond < busyFirst;
    return latencySecond * busySecond < latencyFirst * busyFirst;
  };

  private claim(member: Member, now: number): Lease {
    const { ejection } = member;
    const probe = ejection.ejected && !ejection.probing;
    if (probe) {
      ejection.probe();
      this.learnNextProbe();
    }
    member.inFlight++;
    member.leases++;
    this.inFlight++;
    return new ServerLease(member, now, probe);
  }

  private dueProbe(
    now: number,
    repeatable: boolean,
    tried: readonly Server[] | undefined,
  ): Member | undefined {
    for (const member of this.all)
      if (member.ejection.due(now, repeatable) && member.healthy && !tried?.includes(member)) return member;
    return undefined;
  }

  /** The retry path: rare, so it may allocate. */
  private untried(tried: readonly Server[]): Candidates<Member> {
    const left = this.ready.list.filter((member) => !tried.includes(member));
    const list = left.length > 0 ? left : this.all.filter((member) => !tried.includes(member));
    return candidates(list, weightOf);
  }

  private tryEject(member: Member, outcome: Outcome): void {
    if (!mayEject(this.fit, this.all.length, outcome)) return;
    member.ejection.eject(this.clock.now(), outcome);
    this.refresh();
    this.tell({ kind: "ejected", server: member, outcome });
  }

  private restore(member: Member, now: number): void {
    member.ejection.restore(now);
    this.refresh();
    if (member.healthy) this.tell({ kind: "restored", server: member });
  }

  private probeEnded(member: Member, outcome: Outcome): void {
    member.ejection.probeEnded(this.clock.now(), outcome);
    this.learnNextProbe();
  }

  private join(member: Member): Server {
    this.all = [...this.all, member];
    this.refresh();
    this.tell({ kind: "added", server: member });
    return member;
  }

  private find(id: string): Member | undefined {
    return this.all.find((member) => member.id === id);
  }

  private isReady(member: Member): boolean {
    return this.ready.list.includes(member);
  }

  /** Works out who may be picked, after a change. Where nobody may, everybody may: some could still work. */
  private refresh(): void {
    const fit = this.all.filter((member) => member.healthy && !member.ejection.ejected);
    this.fit = fit.length;
    this.ready = candidates(fit.length > 0 ? fit : this.all, weightOf);
    this.learnNextProbe();
  }

  private learnNextProbe(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const { ejection, healthy } of this.all)
      if (healthy && ejection.probeAt < next) next = ejection.probeAt;
    this.nextProbeAt = next;
  }

  private learnUsual(now: number): void {
    this.usualAt = now;
    const known: number[] = [];
    const { rest } = this;
    for (const { load } of this.all) if (load.warm) known.push(load.read(now, rest));
    this.usual = median(known) ?? 0;
  }

  private tell(event: PoolEvent): void {
    for (const listener of this.listeners) listener(event);
  }
}

function weightOf(member: Member): number {
  return member.weight;
}

function checkedWeight(spec: { id: string; weight?: number }): number {
  const weight = spec.weight ?? 1;
  if (!(weight > 0 && weight < Number.POSITIVE_INFINITY))
    throw new RangeError(`weight of ${spec.id} must be a positive number, not ${weight}`);
  return weight;
}

/** A pool without members. */
export function createPool(name: string, options: PoolOptions): Pool {
  return new LivePool(name, options);
}
