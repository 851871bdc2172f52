/**
 * The power of two choices with locations: first where, then which server. Local servers are preferred; the others get what
 * the local ones cannot take because they are ill, full or overloaded, the nearest first. How near is measured.
 */
import type { Random } from "../clock.ts";
import { type Candidates, candidates } from "./balancer.ts";
import { median } from "./load.ts";
import { BUSY_FROM, isRelief, locationShares, type SpillReason, UNMEASURED_MS } from "./locations.ts";
import type { Member } from "./member.ts";
import { TwoChoices } from "./p2c.ts";
import type { Policy, PoolFacts } from "./policy.ts";
import type { PickSink } from "./sink.ts";

/** The members of one location. */
export interface Area {
  /** As its first member has it; undefined of those that have none, which count as local. */
  readonly location: string | undefined;
  readonly local: boolean;
  readonly members: readonly Member[];
  /** Those that may be picked. */
  readonly from: Candidates<Member>;
  /** The share of its servers that is well, by weight. */
  readonly well: number;
  /** Where its stretch of the line from 0 to 1 ends. */
  upTo: number;
  /** What its servers were last seen to take, in milliseconds; undefined while nobody has asked them lately. */
  farMs: number | undefined;
}

/** How often nearness is worked out again, and how often while some location is not measured. */
const LOOK_MS = 1000;
const LOOK_SOON_MS = 50;
/** From how many members of a location. */
const MEDIAN_OF = 32;
/** What was measured so long ago does not count any more: the way there may have changed. */
export const FORGET_MS = 300_000;

export interface LocatedOptions {
  readonly facts: PoolFacts;
  readonly random: Random;
  /** Where this edge is. */
  readonly location: string;
  /** Hears of each request that left its location. */
  readonly spilled?: ((location: string, reason: SpillReason) => void) | undefined;
}

export class Located implements Policy {
  private readonly options: LocatedOptions;
  private readonly here: string;
  private readonly two: TwoChoices;
  private areas: Area[] = [];
  /** All that may be picked, wherever they are. */
  private from: Candidates<Member> = candidates<Member>([], () => 1);
  private lookAt = 0;

  constructor(options: LocatedOptions) {
    this.options = options;
    this.here = options.location.toLowerCase();
    this.two = new TwoChoices(options.facts, options.random);
  }

  get sink(): PickSink | undefined {
    return this.two.sink;
  }

  set sink(sink: PickSink | undefined) {
    this.two.sink = sink;
  }

  /** Whether location matters at all: some server is elsewhere. */
  divides(all: readonly Member[]): boolean {
    return all.some((member) => !this.isLocal(member.location));
  }

  /** No longer asked: members are let go. */
  leave(): void {
    for (const { members } of this.areas) for (const member of members) member.area = undefined;
    this.areas = [];
  }

  prepare(from: Candidates<Member>, all: readonly Member[]): void {
    this.from = from;
    const groups = new Map<string, Member[]>();
    for (const member of all) {
      const key = this.isLocal(member.location) ? this.here : (member.location ?? "").toLowerCase();
      const group = groups.get(key);
      if (group) group.push(member);
      else groups.set(key, [member]);
    }
    this.areas = [...groups].map(([key, members]) => {
      const local = key === this.here;
      const location = local ? this.options.location : members[0]?.location;
      return this.areaOf(location, local, members);
    });
    this.lookAt = Number.NEGATIVE_INFINITY;
  }

  pick(now: number): Member | undefined {
    if (now >= this.lookAt) this.look(now);
    const { areas, two } = this;
    const first = areas[0];
    if (first === undefined) return undefined;
    const at = first.upTo >= 1 ? 0 : this.drawn();
    // Nobody is well anywhere: any may work, so where it is does not count.
    if (at < 0) return this.told(two.pickFrom(this.from, now), "unhealthy");
    const area = areas[at]!;
    const picked = two.pickFrom(area.from, now);
    if (picked === undefined) return this.elsewhere(at, now);
    const next = areas[at + 1];
    if (next !== undefined && picked.requests >= BUSY_FROM) {
      const other = this.relief(picked, area, next, now);
      if (other) return this.told(other, "loaded");
    }
    return this.told(picked, first.local ? "unhealthy" : "no local");
  }

  /** For attempts after the first: among those in `from`, nearest first. Rare, so it may allocate. */
  pickFrom(from: Candidates<Member>, now: number): Member | undefined {
    if (now >= this.lookAt) this.look(now);
    for (const area of this.areas) {
      const weights = new Map<Member, number>();
      from.list.forEach((member, at) => {
        if (member.area === area) weights.set(member, from.weight(at));
      });
      const left = candidates([...weights.keys()], (member) => weights.get(member) ?? 0);
      const picked = this.two.pickFrom(left, now);
      if (picked) return this.told(picked, "tried");
    }
    return undefined;
  }

  moved(member: Member): void {
    if (member.spot >= 0 && member.at >= 0) member.area?.from.set(member.spot, this.from.weight(member.at));
  }

  private isLocal(location: string | undefined): boolean {
    return location === undefined || location.toLowerCase() === this.here;
  }

  private areaOf(location: string | undefined, local: boolean, members: readonly Member[]): Area {
    const open = members.filter((member) => member.at >= 0);
    const from = candidates(open, (member) => this.from.weight(member.at));
    let weight = 0;
    let fit = 0;
    for (const member of members) {
      weight += member.weight;
      if (member.fit) fit += member.weight;
      member.spot = -1;
    }
    open.forEach((member, spot) => {
      member.spot = spot;
    });
    const area: Area = { location, local, members, from, well: fit / weight, upTo: 0, farMs: undefined };
    for (const member of members) member.area = area;
    return area;
  }

  /** Measures, puts the nearest first, and deals out the shares. */
  private look(now: number): void {
    let unmeasured = false;
    for (const area of this.areas) {
      if (area.local) continue;
      area.farMs = farOf(area.members, now);
      if (area.farMs === undefined) unmeasured = true;
    }
    // Where nobody has been lately counts as near, so that a spill finds out; a few answers are enough to know.
    this.areas.sort((a, b) => Number(b.local) - Number(a.local) || (a.farMs ?? 0) - (b.farMs ?? 0));
    const shares = locationShares(this.areas.map(({ well }) => well));
    let upTo = 0;
    let last: Area | undefined;
    for (const [at, area] of this.areas.entries()) {
      const share = shares[at]!;
      upTo += share;
      area.upTo = share === 0 ? 0 : upTo;
      if (share > 0) last = area;
    }
    // Rounding must leave no gap at the end.
    if (last) last.upTo = 1;
    this.lookAt = now + (unmeasured ? LOOK_SOON_MS : LOOK_MS);
  }

  /** A place in `areas`, by the shares; -1 where nobody is well. */
  private drawn(): number {
    const point = this.options.random();
    return this.areas.findIndex(({ upTo }) => point < upTo);
  }

  /** Where the one that was drawn is full. */
  private elsewhere(not: number, now: number): Member | undefined {
    for (const [at, area] of this.areas.entries()) {
      if (at === not) continue;
      const picked = this.two.pickFrom(area.from, now);
      if (picked) return this.told(picked, "full");
    }
    return undefined;
  }

  /** A server of the next location, where that is clearly better than the busy one that was picked. */
  private relief(picked: Member, { local, farMs }: Area, next: Area, now: number): Member | undefined {
    const other = this.two.pickFrom(next.from, now);
    if (!other) return undefined;
    // One that nobody has measured is tried by a few at a time: it may never answer.
    if (!local && farMs === undefined && next.farMs !== undefined) return other;
    const { usual } = this.options.facts;
    const rest = usual / 2;
    const hereMs = picked.load.warm ? picked.load.read(now, rest) : usual;
    const far = next.farMs ?? UNMEASURED_MS;
    // Without requests an estimate fades to what is usual here; the way there does not get shorter.
    const thereMs = other.load.warm ? Math.max(other.load.read(now, rest), far) : far;
    const hereBusy = (picked.busy + 1) / picked.share;
    return isRelief(hereMs, hereBusy, thereMs, (other.busy + 1) / other.share) ? other : undefined;
  }

  private told(picked: Member | undefined, spill: SpillReason): Member | undefined {
    const area = picked?.area;
    if (area === undefined) return picked;
    this.two.sink?.placed(area.location, area.local ? "local" : `spill: ${spill}`);
    if (!area.local) this.options.spilled?.(area.location ?? "", spill);
    return picked;
  }
}

/** The median of what some members of a location took when they were last asked. */
function farOf(members: readonly Member[], now: number): number | undefined {
  const seen: number[] = [];
  const step = Math.max(1, members.length / MEDIAN_OF);
  for (let i = 0; i < members.length; i += step) {
    const { load } = members[Math.floor(i)]!;
    if (load.warm && now - load.lastAt < FORGET_MS) seen.push(load.last);
  }
  return median(seen);
}
