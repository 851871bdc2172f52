/** The server with the fewest requests in flight for its weight, of all; of equal ones the one that waited longest. */
import type { Random } from "../clock.ts";
import { type Candidates, candidates } from "./balancer.ts";
import { IndexedHeap } from "./heap.ts";
import type { Member } from "./member.ts";
import type { Policy } from "./policy.ts";

export class LeastRequest implements Policy {
  private readonly random: Random;
  private from: Candidates<Member> = candidates<Member>([], () => 1);
  private heap: IndexedHeap = new IndexedHeap(0);
  private readonly turns = new WeakMap<Member, number>();
  private turn = 1;

  constructor(random: Random) {
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
      const turn = this.turns.get(member) ?? this.random();
      if (from.weight(at) > 0) this.heap.set(at, (member.busy + 1) / member.share, turn);
    });
  }

  pick(): Member | undefined {
    const at = this.heap.top;
    if (at < 0) return undefined;
    this.heap.set(at, this.heap.key(at), this.turn++);
    return this.from.list[at];
  }

  moved(member: Member): void {
    const { at } = member;
    if (at < 0) return;
    if (this.from.weight(at) > 0) this.heap.set(at, (member.busy + 1) / member.share, this.heap.turn(at));
    else this.heap.remove(at);
  }
}
