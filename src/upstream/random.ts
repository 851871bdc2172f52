/** One draw by weight: no memory, no comparison. */
import type { Random } from "../clock.ts";
import { type Candidates, candidates, pickOne } from "./balancer.ts";
import type { Member } from "./member.ts";
import type { Policy, PoolFacts } from "./policy.ts";
import { type PickSink, tell } from "./sink.ts";

export class RandomPick implements Policy {
  private readonly facts: PoolFacts;
  private readonly random: Random;
  private from: Candidates<Member> = candidates<Member>([], () => 1);

  sink: PickSink | undefined = undefined;

  constructor(facts: PoolFacts, random: Random) {
    this.facts = facts;
    this.random = random;
  }

  prepare(from: Candidates<Member>): void {
    this.from = from;
  }

  pick(now: number): Member | undefined {
    const member = pickOne(this.from, this.random);
    if (member && this.sink) tell(this.sink, member, now, this.facts.usual);
    return member;
  }
}
