/** Which policy picks: the config's for first attempts, two choices for later ones, and both by location where that matters. */
import type { Random } from "../clock.ts";
import type { BalanceConfig } from "../config/balancing.ts";
import type { Candidates } from "./balancer.ts";
import { Located } from "./located.ts";
import type { SpillReason } from "./locations.ts";
import type { Member } from "./member.ts";
import { TwoChoices } from "./p2c.ts";
import { createPolicy, type Policy, type PoolFacts } from "./policy.ts";
import type { PickSink } from "./sink.ts";

export interface ChoiceOptions {
  readonly random: Random;
  readonly location?: string | undefined;
  readonly spilled?: ((location: string, reason: SpillReason) => void) | undefined;
}

export class Choice {
  private readonly facts: PoolFacts;
  private readonly random: Random;
  /** Takes the place of "p2c" while some server is in another location. */
  private readonly located: Located | undefined;
  private balance: BalanceConfig;
  /** The config's. */
  private base: Policy;
  /** The one in use. */
  private policy: Policy;
  private readonly two: TwoChoices;
  private later: Pick<TwoChoices, "pickFrom" | "sink">;

  constructor(facts: PoolFacts, balance: BalanceConfig, options: ChoiceOptions) {
    const { random, location, spilled } = options;
    this.facts = facts;
    this.random = random;
    this.located = location === undefined ? undefined : new Located({ facts, random, location, spilled });
    this.balance = balance;
    this.base = this.policy = createPolicy(balance, facts, random);
    this.later = this.two = new TwoChoices(facts, random);
  }

  configure(balance: BalanceConfig): void {
    if (JSON.stringify(balance) !== JSON.stringify(this.balance))
      this.base = createPolicy(balance, this.facts, this.random);
    this.balance = balance;
  }

  prepare(from: Candidates<Member>, all: readonly Member[]): void {
    const { located, balance } = this;
    if (located && balance === "p2c" && located.divides(all)) this.policy = this.later = located;
    else {
      this.policy = this.base;
      this.later = this.two;
      located?.leave();
    }
    this.policy.prepare(from, all);
  }

  /** A member's load changed, or its weight in the candidates. */
  moved(member: Member): void {
    this.policy.moved?.(member);
  }

  pick(now: number, key: string | undefined, sink: PickSink | undefined): Member | undefined {
    const { policy } = this;
    if (sink === undefined) return policy.pick(now, key);
    policy.sink = sink;
    const picked = policy.pick(now, key);
    policy.sink = undefined;
    return picked;
  }

  /** For attempts after the first, whatever the policy: among those not yet tried. */
  pickFrom(from: Candidates<Member>, now: number, sink: PickSink | undefined): Member | undefined {
    const { later } = this;
    later.sink = sink;
    const picked = later.pickFrom(from, now);
    later.sink = undefined;
    return picked;
  }
}
