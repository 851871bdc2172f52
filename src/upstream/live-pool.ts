/** The pool itself: who is a member, who may be picked, and what leases tell of them. */
import type { Clock } from "../clock.ts";
import type { BalancingConfig } from "../config/balancing.ts";
import { type Candidates, candidates } from "./balancer.ts";
import { Choice } from "./choice.ts";
import { mayEject, type Outcome } from "./ejection.ts";
import { type KeyReader, keyReader } from "./hash-key.ts";
import type { LagMonitor } from "./lag.ts";
import {
  checkedWeight,
  type Judge,
  Member,
  type MemberPool,
  type MemberSpec,
  ServerLease,
} from "./member.ts";
import { IDLE_TIE_MS } from "./p2c.ts";
import type { Pool, PoolEvent, PoolOptions } from "./pool.ts";
import type { Lease, Server, ServerSpec } from "./server.ts";
import type { PickSink } from "./sink.ts";
import { beginWarming, Warming } from "./slow-start.ts";
import { UsualLatency } from "./usual.ts";
import { type Place, WaitingLine } from "./waiting.ts";

/** How much slower than usual an answer counts that says "not now", however fast it came. */
const REFUSAL_FACTOR = 10;
/** The longest that a Retry-After is taken at its word. */
const LONGEST_HOLD_MS = 30_000;

export class LivePool implements Pool, MemberPool {
  readonly name: string;
  readonly clock: Clock;
  private readonly lag: LagMonitor | undefined;
  private balancing: BalancingConfig;
  private readonly choice: Choice;
  private all: readonly Member[] = [];
  private readonly byId = new Map<string, Member>();
  private ready: Candidates<Member> = candidates<Member>([], weightOf);
  /** Members that are neither ejected nor unhealthy. */
  private fit = 0;
  private ejected: readonly Member[] = [];
  private readonly warming: Warming;
  private readonly listeners = new Set<(event: PoolEvent) => void>();
  private readonly line: WaitingLine;
  /** The least `probeAt` of all ejected members: one comparison per lease. */
  private nextProbeAt = Number.POSITIVE_INFINITY;
  private readonly latency = new UsualLatency();
  inFlight = 0;
  keyOf: KeyReader | undefined;

  constructor(name: string, options: PoolOptions, balancing: BalancingConfig) {
    this.name = name;
    this.clock = options.clock;
    this.lag = options.lag;
    this.line = new WaitingLine(options.clock);
    this.warming = new Warming(options.clock, () => this.refresh());
    this.balancing = balancing;
    this.choice = new Choice(this, balancing.balance, options);
    this.configure(balancing);
  }

  get usual(): number {
    return this.latency.value;
  }

  get rest(): number {
    return this.usual / 2;
  }

  get available(): number {
    return this.fit;
  }

  get waiting(): number {
    return this.line.size;
  }

  members(): readonly Server[] {
    return this.all;
  }

  configure(balancing: BalancingConfig): void {
    const { balance } = balancing;
    this.choice.configure(balance);
    this.balancing = balancing;
    this.keyOf = typeof balance === "object" ? keyReader(balance.consistentHash) : undefined;
    this.refresh();
  }

  add(server: MemberSpec & { weight?: number }): Server {
    const weight = checkedWeight(server);
    this.remove(server.id);
    const member = new Member(this, server, weight, false);
    this.change([member], []);
    return member;
  }

  remove(id: string): Server | undefined {
    const member = this.byId.get(id);
    if (member) this.change([], [member]);
    return member;
  }

  update(servers: readonly ServerSpec[]): readonly Server[] {
    const wanted = new Map(servers.map((spec) => [spec.id, spec]));
    for (const spec of wanted.values()) checkedWeight(spec);
    const gone = this.all.filter((member) => member.fixed && !wanted.has(member.id));
    const come: Member[] = [];
    for (const spec of wanted.values()) {
      const weight = checkedWeight(spec);
      const known = this.byId.get(spec.id);
      if (known) Object.assign(known, { weight, location: spec.location });
      else come.push(new Member(this, { ...spec, transport: spec.transport() }, weight, true));
    }
    this.change(come, gone);
    return gone;
  }

  lease(tried?: readonly Server[], repeatable = true, key?: string, sink?: PickSink): Lease | undefined {
    const restricted = tried !== undefined && tried.length > 0;
    // Nobody overtakes those who wait, but for attempts after the first: they have been let in before.
    if (!restricted && this.line.open > 0) return undefined;
    return this.take(restricted ? tried : undefined, repeatable, key, sink);
  }

  waitForLease(
    done: (lease: Lease | undefined) => void,
    tried?: readonly Server[],
    repeatable = true,
    key?: string,
    sink?: PickSink,
  ): (() => void) | undefined {
    const { queue } = this.balancing;
    if (this.line.size >= queue.max) return undefined;
    const left = tried === undefined ? this.all.length > 0 : this.all.some((one) => !tried.includes(one));
    if (!left) return undefined;
    const restricted = tried !== undefined && tried.length > 0;
    const waiter = { done, tried: restricted ? tried : undefined, repeatable, key, sink };
    const place = this.line.add(waiter, queue.timeoutMs);
    return () => this.line.remove(place);
  }

  mark(id: string, healthy: boolean, by: Judge = "check"): void {
    const member = this.byId.get(id);
    if (!member) return;
    const before = member.state;
    member.judge(by, healthy);
    if (member.healthy) member.ejection.restore(this.clock.now());
    if (before !== "available" && member.fit) {
      member.load.forget();
      this.warm([member]);
    }
    this.refresh();
    if (member.state === before) return;
    if (before === "available") this.tell({ kind: "unhealthy", server: member });
    else if (member.state === "available") this.tell({ kind: "restored", server: member });
  }

  report(id: string, inFlight: number): void {
    const member = this.byId.get(id);
    if (!member) return;
    member.elsewhere = Math.max(0, inFlight - member.inFlight);
    this.choice.moved(member);
  }

  postpone(id: string, byMs: number): void {
    this.byId.get(id)?.ejection.postpone(this.clock.now() + byMs);
    this.learnNextProbe();
  }

  watch(listener: (event: PoolEvent) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  answered(member: Member, startedAt: number, status: number, retryAfterMs: number): void {
    const now = this.clock.now();
    const took = now - startedAt;
    // "Not now" is quick to say: without a penalty the server that sheds load would attract more of it.
    if (status === 429 || status === 503) {
      const { usual } = this;
      const penalty = Math.max(took, REFUSAL_FACTOR * usual, usual + 2 * IDLE_TIE_MS);
      member.load.penalise(penalty, now, this.rest, Math.min(retryAfterMs, LONGEST_HOLD_MS));
    } else if (this.lag === undefined || !this.lag.lagged(startedAt, now))
      member.load.observe(took, now, this.rest);
    member.ejection.stalls = 0;
    if (member.ejection.ejected) this.restore(member, now);
  }

  overtaken(member: Member, startedAt: number): void {
    const now = this.clock.now();
    if (this.lag?.lagged(startedAt, now) !== true) member.load.penalise(now - startedAt, now, this.rest);
  }

  upgraded(member: Member): void {
    member.streams++;
    this.choice.moved(member);
  }

  settled(member: Member, outcome: Outcome, probe: boolean, stream: boolean): void {
    const wasFull = this.isFull(member);
    member.inFlight--;
    if (stream) member.streams--;
    this.inFlight--;
    if (wasFull) this.reweigh(member);
    else this.choice.moved(member);
    this.judge(member, outcome, probe);
    if (this.line.size > 0) this.line.serve(this.serveOne, this.noneOpen);
  }

  private judge(member: Member, outcome: Outcome, probe: boolean): void {
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
        } else if (ejection.fail(outcome) && member.at >= 0) this.tryEject(member, outcome);
        return;
      case "overtaken":
        if (!ejection.ejected && ejection.stall() && member.at >= 0) this.tryEject(member, outcome);
        else if (probe && ejection.ejected) this.probeEnded(member, outcome);
        return;
      case "declined":
      case "abandoned":
        if (probe && ejection.ejected) this.probeEnded(member, outcome);
        return;
      default:
        outcome satisfies never;
    }
  }

  private take(
    tried: readonly Server[] | undefined,
    repeatable: boolean,
    key: string | undefined,
    sink: PickSink | undefined,
  ): Lease | undefined {
    const now = this.clock.now();
    this.latency.learn(now, this.all);
    if (now >= this.nextProbeAt) {
      const due = this.dueProbe(now, repeatable, tried);
      if (due) return this.claim(due, now);
    }
    const picked =
      tried === undefined
        ? this.choice.pick(now, key, sink)
        : this.choice.pickFrom(this.untried(tried), now, sink);
    return picked && this.claim(picked, now);
  }

  private readonly serveOne = ({ tried, repeatable, key, sink }: Place): Lease | undefined =>
    this.take(tried, repeatable, key, sink);

  private readonly noneOpen = (): boolean => this.ready.empty;

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
    if (this.isFull(member)) this.reweigh(member);
    else this.choice.moved(member);
    return new ServerLease(member, now, probe);
  }

  private isFull(member: Member): boolean {
    return member.inFlight >= this.balancing.maxInFlight;
  }

  /** It became full, or has room again. */
  private reweigh(member: Member): void {
    if (member.at < 0) return;
    this.ready.set(member.at, this.openWeight(member));
    this.choice.moved(member);
  }

  private readonly openWeight = (member: Member): number => (this.isFull(member) ? 0 : member.share);

  private dueProbe(
    now: number,
    repeatable: boolean,
    tried: readonly Server[] | undefined,
  ): Member | undefined {
    for (const member of this.ejected)
      if (
        member.ejection.due(now, repeatable) &&
        member.healthy &&
        !this.isFull(member) &&
        !tried?.includes(member)
      )
        return member;
    return undefined;
  }

  /** The retry path: rare, so it may allocate. */
  private untried(tried: readonly Server[]): Candidates<Member> {
    const left = this.ready.list.filter((member) => !tried.includes(member));
    const list = left.length > 0 ? left : this.all.filter((member) => !tried.includes(member));
    return candidates(list, this.openWeight);
  }

  private tryEject(member: Member, outcome: Outcome): void {
    if (!mayEject(this.fit, this.all.length, outcome)) return;
    member.ejection.eject(this.clock.now(), outcome);
    this.refresh();
    this.tell({ kind: "ejected", server: member, outcome });
  }

  private restore(member: Member, now: number): void {
    member.ejection.restore(now);
    member.load.forget();
    if (member.healthy) this.warm([member]);
    this.refresh();
    if (member.healthy) this.tell({ kind: "restored", server: member });
  }

  private probeEnded(member: Member, outcome: Outcome): void {
    member.ejection.probeEnded(this.clock.now(), outcome);
    this.learnNextProbe();
  }

  /** Changes the membership, all at once. */
  private change(come: readonly Member[], gone: readonly Member[]): void {
    const leaving = new Set(gone);
    const left = this.all.filter((member) => !leaving.has(member));
    for (const { id } of gone) this.byId.delete(id);
    for (const member of come) this.byId.set(member.id, member);
    this.warm(come);
    // A new array each time: policies know by it that members or weights changed.
    this.all = [...left, ...come];
    this.refresh();
    for (const server of gone) this.tell({ kind: "removed", server });
    for (const server of come) this.tell({ kind: "added", server });
  }

  private warm(members: readonly Member[]): void {
    beginWarming(members, this.all, this.balancing.slowStartMs, this.clock.now());
  }

  /** Works out who may be picked, after a change. Where nobody is fit, everybody may: some could still work. */
  private refresh(): void {
    const { all, balancing } = this;
    const fit = all.filter((member) => member.fit);
    this.fit = fit.length;
    this.ejected = all.filter(({ ejection }) => ejection.ejected);
    const panic = fit.length < balancing.panicThreshold * all.length;
    const soft = panic ? all.filter((member) => member.fit || !member.ejection.unreachable) : fit;
    this.warming.weigh(all, balancing.slowStartMs);
    for (const member of this.ready.list) member.at = -1;
    this.ready = candidates(soft.length > 0 ? soft : all, this.openWeight);
    this.ready.list.forEach((member, at) => {
      member.at = at;
    });
    this.choice.prepare(this.ready, all);
    this.learnNextProbe();
    // Who waits keeps waiting where the last server left: another may be about to take its place.
    if (this.line.size > 0) this.line.serve(this.serveOne, this.noneOpen);
  }

  private learnNextProbe(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const { ejection, healthy } of this.ejected)
      if (healthy && ejection.probeAt < next) next = ejection.probeAt;
    this.nextProbeAt = next;
  }

  private tell(event: PoolEvent): void {
    for (const listener of this.listeners) listener(event);
  }
}

function weightOf(member: Member): number {
  return member.share;
}
