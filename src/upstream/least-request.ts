/** The server with the fewest requests in flight for its weight, of all; equal ones take turns, by weight as well. */
import type { Random } from "../clock.ts";
import { type Candidates, candidates } from "./balancer.ts";
import { IndexedHeap } from "./heap.ts";
import type { Member } from "./member.ts";
import type { Policy, PoolFacts } from "./policy.ts";
import { type PickSink, tell } from "./sink.ts";

export class LeastRequest implements Policy {
  private readonly facts: PoolFacts;
  private readonly random: Random;
  private from: Candidates<Member> = candidates<Member>([], () => 1);
  private heap: IndexedHeap = new IndexedHeap(0);
  private readonly turns = new WeakMap<Member, number>();
  /** The turn of the last one picked: nobody's next one is before it. */
  private turn = 0;

  sink: PickSink | undefined = undefined;

  constructor(facts: PoolFacts, random: Random) {
    this.facts = facts;
    this.random = random;
  }

  prepare(from: Candidates<Member>): void {
    this.from.list.forEach((member, at) => {
      this.turns.set(member, this.heap.turn(at));
    });
    this.from = from;
    this.heap = new IndexedHeap(from.list.length);
    from.list.forEach((member, at) => {
      // Edges that start together must not all begin with the first one.
      const turn = this.turns.get(member) ?? this.turn + this.random() / member.share;
      this.heap.set(at, member.busy / member.share, turn);
      if (from.weight(at) === 0) this.heap.remove(at);
    });
  }

  pick(now: number): Member | undefined {
    const at = this.heap.top;
    if (at < 0) return undefined;
    const member = this.from.list[at]!;
    if (this.sink) tell(this.sink, member, now, this.facts.usual);
    this.turn = Math.max(this.turn, this.heap.turn(at));
    this.heap.set(at, this.heap.key(at), this.turn + 1 / member.share);
    return member;
  }

  moved(member: Member): void {
    const { at } = member;
    if (at < 0) return;
    if (this.from.weight(at) > 0) this.heap.set(at, member.busy / member.share, this.heap.turn(at));
    else this.heap.remove(at);
  }
}
