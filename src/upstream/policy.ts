/** How a server is chosen: one small object per pool, by its name in the config. */
import type { Random } from "../clock.ts";
import type { BalanceConfig } from "../config/balancing.ts";
import type { Candidates } from "./balancer.ts";
import { ConsistentHash } from "./consistent-hash.ts";
import { LeastRequest } from "./least-request.ts";
import type { Member } from "./member.ts";
import { TwoChoices } from "./p2c.ts";
import { RandomPick } from "./random.ts";
import { RoundRobin } from "./round-robin.ts";
import type { PickSink } from "./sink.ts";

/**
 * Implementers MUST pick in O(log n) or better, return only members whose weight in the candidates is not 0 (the others
 * are full), and return undefined only where there is none.
 */
export interface Policy {
  /**
   * Hears who may be picked from now on (`member.at` is the place there), and who is in the pool at all: a new array
   * where that changed, or a configured weight.
   */
  prepare(from: Candidates<Member>, all: readonly Member[]): void;
  /** @param key what requests have in common that should meet the same server; undefined where there is nothing */
  pick(now: number, key: string | undefined): Member | undefined;
  /** Set for one pick, by whoever wants to know of it: MUST hear of each server that was looked at. */
  sink: PickSink | undefined;
  /** Where present, hears of each change of a member's load, and of its weight in the candidates. */
  moved?(member: Member): void;
}

/** What policies may know of the pool. */
export interface PoolFacts {
  /** The median latency, in milliseconds; 0 while unknown. */
  readonly usual: number;
  /** Requests in flight on all members. */
  readonly inFlight: number;
}

export function createPolicy(balance: BalanceConfig, facts: PoolFacts, random: Random): Policy {
  switch (balance) {
    case "p2c":
      return new TwoChoices(facts, random);
    case "roundRobin":
      return new RoundRobin(facts, random);
    case "random":
      return new RandomPick(facts, random);
    case "leastRequest":
      return new LeastRequest(facts, random);
    default:
      balance.consistentHash satisfies object;
      return new ConsistentHash(facts, new TwoChoices(facts, random));
  }
}
