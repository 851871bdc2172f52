/** One draw by weight: no memory, no comparison. */
import type { Random } from "../clock.ts";
import { type Candidates, candidates, pickOne } from "./balancer.ts";
import type { Member } from "./member.ts";
import type { Policy } from "./policy.ts";

export class RandomPick implements Policy {
  private readonly random: Random;
  private from: Candidates<Member> = candidates<Member>([], () => 1);

  constructor(random: Random) {
    this.random = random;
  }

  prepare(from: Candidates<Member>): void {
    this.from = from;
  }

  pick(): Member | undefined {
    return pickOne(this.from, this.random);
  }
}
