/**
 * Requests with the same key go to the same server, as long as it is there and not overloaded: a ring of hashed points
 * with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018). A server that joins or leaves moves only its own share of
 * the keys; one that is ejected or full passes its keys to the next ones on the ring and gets them back afterwards.
 */
import { type Candidates, candidates } from "./balancer.ts";
import { hash32 } from "./hash.ts";
import type { Member } from "./member.ts";
import type { TwoChoices } from "./p2c.ts";
import type { Policy, PoolFacts } from "./policy.ts";
import { type PickSink, tell } from "./sink.ts";

/** A server takes at most so many times its share of what is in flight. */
export const BOUND = 1.25;
/** Below so many in flight no server is overloaded: a browser's six parallel requests stay together. */
export const FLOOR = 8;
/** Points of a server of mean weight; halved, for all, while there would be more than {@link MOST_POINTS}. */
const POINTS = 128;
const MOST_POINTS = 2 ** 18;
/** Points looked at before the choice falls to load alone. With bounded loads a fifth of the servers have room. */
const WALK = 256;

export class ConsistentHash implements Policy {
  private readonly facts: PoolFacts;
  /** For requests without a key. */
  private readonly fallback: TwoChoices;
  private from: Candidates<Member> = candidates<Member>([], () => 1);
  private all: readonly Member[] = [];
  private totalWeight = 0;
  private hashes: Uint32Array = new Uint32Array(0);
  /** Whose point it is, as a place in `all`. */
  private owners: Uint32Array = new Uint32Array(0);

  constructor(facts: PoolFacts, fallback: TwoChoices) {
    this.facts = facts;
    this.fallback = fallback;
  }

  prepare(from: Candidates<Member>, all: readonly Member[]): void {
    this.from = from;
    this.fallback.prepare(from);
    this.totalWeight = from.list.reduce((sum, { weight }) => sum + weight, 0);
    if (all === this.all) return;
    this.all = all;
    this.build();
  }

  get sink(): PickSink | undefined {
    return this.fallback.sink;
  }

  set sink(sink: PickSink | undefined) {
    this.fallback.sink = sink;
  }

  pick(now: number, key: string | undefined): Member | undefined {
    const n = this.hashes.length;
    if (key === undefined || n === 0) return this.fallback.pick(now);
    const { from, all, owners, sink } = this;
    const told = sink && new Set<Member>();
    const share = (BOUND * (this.facts.inFlight + 1)) / this.totalWeight;
    let at = this.after(hash32(key));
    for (let steps = Math.min(n, WALK); steps > 0; steps--) {
      if (at === n) at = 0;
      const member = all[owners[at++]!]!;
      if (member.at < 0 || from.weight(member.at) === 0) continue;
      if (sink && told && !told.has(member)) {
        told.add(member);
        tell(sink, member, now, this.facts.usual);
      }
      if (member.busy + 1 <= Math.max(FLOOR, Math.ceil(share * member.weight))) return member;
    }
    return this.fallback.pick(now);
  }

  /** The first point at or after `hash`. */
  private after(hash: number): number {
    const { hashes } = this;
    let low = 0;
    let high = hashes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (hashes[middle]! >= hash) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  private build(): void {
    const { all } = this;
    const mean = all.reduce((sum, { weight }) => sum + weight, 0) / all.length;
    let points = POINTS;
    while (points > 1 && points * all.length > MOST_POINTS) points /= 2;
    const counts = all.map(({ weight }) => Math.max(1, Math.round((points * weight) / mean)));
    // Hash and owner in one number, 32 + 20 bits, so that they are sorted as numbers.
    const ring = new Float64Array(counts.reduce((sum, count) => sum + count, 0));
    let next = 0;
    all.forEach(({ id }, owner) => {
      for (let k = 0; k < counts[owner]!; k++) ring[next++] = hash32(`${id}#${k}`) * 2 ** 20 + owner;
    });
    ring.sort();
    this.hashes = new Uint32Array(next);
    this.owners = new Uint32Array(next);
    for (let i = 0; i < next; i++) {
      this.hashes[i] = Math.floor(ring[i]! / 2 ** 20);
      this.owners[i] = ring[i]! % 2 ** 20;
    }
  }
}
