/**
 * In turn, in proportion to the weights: each server has a time at which it is due again, one over its weight after the
 * last (earliest deadline first), so that heavy ones come often and spread out, not in a row.
 */
import type { Random } from "../clock.ts";
import { type Candidates, candidates } from "./balancer.ts";
import { IndexedHeap } from "./heap.ts";
import type { Member } from "./member.ts";
import type { Policy, PoolFacts } from "./policy.ts";
import { type PickSink, tell } from "./sink.ts";

export class RoundRobin implements Policy {
  private readonly facts: PoolFacts;
  private readonly random: Random;
  private from: Candidates<Member> = candidates<Member>([], () => 1);
  private heap: IndexedHeap = new IndexedHeap(0);
  /** Members keep their turn while others come and go. */
  private readonly due = new WeakMap<Member, number>();
  /** The virtual time: the deadline of the last one picked. */
  private virtual = 0;

  sink: PickSink | undefined = undefined;

  constructor(facts: PoolFacts, random: Random) {
    this.facts = facts;
    this.random = random;
  }

  prepare(from: Candidates<Member>): void {
    this.from.list.forEach((member, at) => {
      if (this.heap.has(at)) this.due.set(member, this.heap.key(at));
    });
    this.from = from;
    this.heap = new IndexedHeap(from.list.length);
    from.list.forEach((member, at) => {
      const weight = from.weight(at);
      if (weight > 0) this.heap.set(at, this.next(member, weight), 0);
    });
  }

  pick(now: number): Member | undefined {
    const at = this.heap.top;
    if (at < 0) return undefined;
    this.virtual = this.heap.key(at);
    this.heap.set(at, this.virtual + 1 / this.from.weight(at), 0);
    const member = this.from.list[at];
    if (member && this.sink) tell(this.sink, member, now, this.facts.usual);
    return member;
  }

  moved(member: Member): void {
    const { at } = member;
    if (at < 0) return;
    const weight = this.from.weight(at);
    if (weight > 0 === this.heap.has(at)) return;
    if (weight > 0) this.heap.set(at, this.next(member, weight), 0);
    else {
      this.due.set(member, this.heap.key(at));
      this.heap.remove(at);
    }
  }

  /** One that was away neither catches up on what it missed nor waits longer than a turn; a new one starts anywhere. */
  private next(member: Member, weight: number): number {
    const due = this.due.get(member) ?? this.virtual + this.random() / weight;
    return Math.min(Math.max(due, this.virtual), this.virtual + 1 / weight);
  }
}
