import type { Clock } from "../../src/clock.ts";
import type { BalanceConfig } from "../../src/config/balancing.ts";
import { createPool, DEFAULT_BALANCING, type Pool } from "../../src/upstream/pool.ts";
import type { Lease } from "../../src/upstream/server.ts";
import { noTransport, seeded } from "./support.ts";

export interface Simulation {
  /** Mean service time of each server, in milliseconds. */
  readonly serviceMs: readonly number[];
  /** Share of the servers' joint capacity that arrives. */
  readonly load: number;
  readonly durationMs: number;
  /** @default "p2c" */
  readonly balance?: BalanceConfig;
  /** Edges with a pool each, of which every request meets one at random. @default 1 */
  readonly edges?: number;
  /** How often the edges hear of a server's true load, as an agent would report it. @default never */
  readonly reportEveryMs?: number;
  /** How long each server's answers take on their way, in milliseconds; one that is away at all is in another location. */
  readonly awayMs?: readonly number[];
  /** Where chance starts. @default 5 */
  readonly seed?: number;
}

export interface Simulated {
  /** Mean time in system after the first fifth, in milliseconds. */
  readonly meanMs: number;
  /** Each server's share of the requests. */
  readonly shares: readonly number[];
}

/** Real pools before simulated servers: Poisson arrivals, exponential service, first come first served. */
export function simulate(simulation: Simulation): Simulated {
  const {
    serviceMs,
    load,
    durationMs,
    balance = "p2c",
    edges = 1,
    reportEveryMs,
    seed = 5,
    awayMs,
  } = simulation;
  const random = seeded(seed);
  const draw = (mean: number): number => -mean * Math.log(1 - random());
  let now = 0;
  const clock: Clock = { now: () => now, wall: () => now, after: () => ({ cancel() {} }) };
  const specs = serviceMs.map((_, i) => ({
    id: String(i),
    transport: () => noTransport,
    ...(awayMs && { location: awayMs[i] ? `${awayMs[i]} ms away` : "here" }),
  }));
  const pools = Array.from({ length: edges }, (_, i): Pool => {
    const pool = createPool(`edge ${i}`, {
      clock,
      random,
      balancing: { ...DEFAULT_BALANCING, balance },
      ...(awayMs && { location: "here" }),
    });
    pool.update(specs);
    return pool;
  });
  /** Answers on their way, by server. */
  const onTheirWay = serviceMs.map(() => [] as { lease: Lease; at: number }[]);
  const queues = serviceMs.map(() => [] as { lease: Lease; at: number }[]);
  const gapMs = 1 / (load * serviceMs.reduce((sum, mean) => sum + 1 / mean, 0));
  /** When each server is done with the request at its head. */
  const events = new Heap();
  events.push(draw(gapMs), ARRIVAL);
  if (reportEveryMs !== undefined) events.push(reportEveryMs, REPORT);
  const picked = serviceMs.map(() => 0);
  let sum = 0;
  let count = 0;
  const arrived = ({ lease, at }: { lease: Lease; at: number }): void => {
    lease.answered();
    lease.settle("ok");
    if (now <= durationMs / 5) return;
    sum += now - at;
    count++;
  };
  while (now < durationMs) {
    const [at, what] = events.pop();
    now = at;
    if (what === ARRIVAL) {
      events.push(now + draw(gapMs), ARRIVAL);
      const pool = edges === 1 ? pools[0]! : pools[Math.floor(random() * edges)]!;
      const lease = pool.lease()!;
      const server = Number(lease.server.id);
      picked[server]!++;
      if (queues[server]!.push({ lease, at: now }) === 1) events.push(now + draw(serviceMs[server]!), server);
    } else if (what === REPORT) {
      events.push(now + reportEveryMs!, REPORT);
      for (const pool of pools)
        for (const [i, queue] of queues.entries()) pool.report(String(i), queue.length);
    } else if (what < serviceMs.length) {
      const queue = queues[what]!;
      const done = queue.shift()!;
      const away = awayMs?.[what] ?? 0;
      if (away === 0) arrived(done);
      else {
        onTheirWay[what]!.push(done);
        events.push(now + away, serviceMs.length + what);
      }
      if (queue.length > 0) events.push(now + draw(serviceMs[what]!), what);
    } else arrived(onTheirWay[what - serviceMs.length]!.shift()!);
  }
  const total = picked.reduce((all, one) => all + one, 0);
  return { meanMs: sum / count, shares: picked.map((one) => one / total) };
}

/** The supermarket model's mean time in system for many servers, in service times: Σ λ^((dⁱ − d) / (d − 1)). */
export function theory(load: number, choices: number): number {
  if (choices === 1) return 1 / (1 - load);
  let sum = 0;
  for (let i = 1; i < 40; i++) sum += load ** ((choices ** i - choices) / (choices - 1));
  return sum;
}

/**
 * The expected load of the fullest of n servers after n requests: for one choice by the Poisson law, for two by the fluid
 * limit, in which the share of servers with at least k requests grows by s(k−1)² − s(k)².
 */
export function theoryFullest(n: number, choices: 1 | 2): number {
  const most = 30;
  const atLeast = Array<number>(most + 1).fill(0);
  atLeast[0] = 1;
  const steps = 2000;
  for (let step = 0; step < steps; step++)
    for (let k = most; k >= 1; k--)
      atLeast[k]! += (atLeast[k - 1]! ** choices - atLeast[k]! ** choices) / steps;
  return atLeast.slice(1).reduce((sum, share) => sum + 1 - (1 - share) ** n, 0);
}

const ARRIVAL = -1;
const REPORT = -2;

/** A binary heap of [time, what], least time first. */
class Heap {
  private readonly items: [number, number][] = [];

  push(at: number, what: number): void {
    const { items } = this;
    let i = items.push([at, what]) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (items[parent]![0] <= at) break;
      [items[parent], items[i]] = [items[i]!, items[parent]!];
      i = parent;
    }
  }

  pop(): [number, number] {
    const { items } = this;
    const top = items[0]!;
    const last = items.pop()!;
    if (items.length === 0) return top;
    items[0] = last;
    for (let i = 0; ; ) {
      let child = 2 * i + 1;
      if (child >= items.length) return top;
      if (child + 1 < items.length && items[child + 1]![0] < items[child]![0]) child++;
      if (items[i]![0] <= items[child]![0]) return top;
      [items[i], items[child]] = [items[child]!, items[i]!];
      i = child;
    }
  }
}
