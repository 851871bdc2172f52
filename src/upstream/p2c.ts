/**
 * The default policy: of two distinct servers drawn by weight, the one with the lower
 * latency × (requests in flight + 1) / weight.
 */
import type { Random } from "../clock.ts";
import { type Candidates, candidates, pickTwo } from "./balancer.ts";
import { alike } from "./load.ts";
import type { Member } from "./member.ts";
import type { Policy, PoolFacts } from "./policy.ts";
import { type PickSink, tell } from "./sink.ts";

/**
 * Two idle servers whose latencies differ by less than so many milliseconds tie. Nobody waits for the difference, while
 * comparing would hand every request of a quiet hour to one server: after one hiccup the other gets no request, and so
 * no chance to show that it is well, until the peak has faded. Under load {@link alike} bounds the noise, tighter.
 */
export const IDLE_TIE_MS = 50;

export class TwoChoices implements Policy {
  private readonly facts: PoolFacts;
  private readonly random: Random;
  private from: Candidates<Member> = candidates<Member>([], () => 1);
  private now = 0;
  private compared = false;
  sink: PickSink | undefined = undefined;

  constructor(facts: PoolFacts, random: Random) {
    this.facts = facts;
    this.random = random;
  }

  prepare(from: Candidates<Member>): void {
    this.from = from;
  }

  pick(now: number): Member | undefined {
    return this.pickFrom(this.from, now);
  }

  pickFrom(from: Candidates<Member>, now: number): Member | undefined {
    this.now = now;
    if (this.sink === undefined) return pickTwo(from, this.better, this.random);
    this.compared = false;
    const picked = pickTwo(from, this.better, this.random);
    // There was no other one with room.
    if (picked && !this.compared) tell(this.sink, picked, now, this.facts.usual);
    return picked;
  }

  private readonly better = (second: Member, first: Member): boolean => {
    const { now } = this;
    const { usual } = this.facts;
    const rest = usual / 2;
    const loadFirst = first.busy;
    const loadSecond = second.busy;
    // Less than one request on either, and upgraded streams that weigh less than one apart.
    const idle = first.requests === 0 && second.requests === 0 && Math.abs(loadFirst - loadSecond) < 1;
    // A server that is not measured yet counts as usual, so that a new one neither floods nor starves.
    const latencyFirst = first.load.warm ? first.load.read(now, rest) : usual;
    const latencySecond = second.load.warm ? second.load.read(now, rest) : usual;
    if (this.sink !== undefined) {
      this.compared = true;
      tell(this.sink, first, now, usual);
      tell(this.sink, second, now, usual);
    }
    // The first draw, which is in proportion to the weights, is the coin.
    if (idle && Math.abs(latencyFirst - latencySecond) < IDLE_TIE_MS) return false;
    const busyFirst = (loadFirst + 1) / first.share;
    const busySecond = (loadSecond + 1) / second.share;
    const unknown = latencyFirst === 0 || latencySecond === 0;
    if (unknown || alike(latencyFirst, latencySecond)) return idle ? false : busySecond < busyFirst;
    return latencySecond * busySecond < latencyFirst * busyFirst;
  };
}
