import type { Clock } from "../../src/clock.ts";
import { createPool } from "../../src/upstream/pool.ts";
import type { Lease } from "../../src/upstream/server.ts";
import { noTransport, seeded } from "./support.ts";

export interface Simulation {
  /** Mean service time of each server, in milliseconds. */
  readonly serviceMs: readonly number[];
  /** Share of the servers' joint capacity that arrives. */
  readonly load: number;
  readonly durationMs: number;
}

export interface Simulated {
  /** Mean time in system after the first fifth, in milliseconds. */
  readonly meanMs: number;
  /** Each server's share of the requests. */
  readonly shares: readonly number[];
}

/** A real pool before simulated servers: Poisson arrivals, exponential service, first come first served. */
export function simulate({ serviceMs, load, durationMs }: Simulation): Simulated {
  const random = seeded(5);
  const draw = (mean: number): number => -mean * Math.log(1 - random());
  let now = 0;
  const clock: Clock = { now: () => now, wall: () => now, after: () => ({ cancel() {} }) };
  const pool = createPool("simulated", { clock, random });
  const queues = serviceMs.map((_, i) => {
    pool.add({ id: String(i), transport: noTransport });
    return [] as { lease: Lease; at: number }[];
  });
  const gapMs = 1 / (load * serviceMs.reduce((sum, mean) => sum + 1 / mean, 0));
  /** When each server is done with the request at its head. */
  const events = new Heap();
  events.push(draw(gapMs), ARRIVAL);
  const picked = serviceMs.map(() => 0);
  let sum = 0;
  let count = 0;
  while (now < durationMs) {
    const [at, what] = events.pop();
    now = at;
    if (what === ARRIVAL) {
      events.push(now + draw(gapMs), ARRIVAL);
      const lease = pool.lease()!;
      const server = Number(lease.server.id);
      picked[server]!++;
      if (queues[server]!.push({ lease, at: now }) === 1) events.push(now + draw(serviceMs[server]!), server);
    } else {
      const queue = queues[what]!;
      const done = queue.shift()!;
      done.lease.answered();
      done.lease.settle("ok");
      if (now > durationMs / 5) {
        sum += now - done.at;
        count++;
      }
      if (queue.length > 0) events.push(now + draw(serviceMs[what]!), what);
    }
  }
  const total = picked.reduce((all, one) => all + one, 0);
  return { meanMs: sum / count, shares: picked.map((one) => one / total) };
}

const ARRIVAL = -1;

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
