/** What must be true of a fleet whatever was done to it, from its logs and from what the CA was asked. */
import { hostsOf } from "../support/acme-front.ts";
import { NAMES, type World } from "./world.ts";

/** An order that was under way, as a blow came or a moment before, may be lost by it. */
const BEFORE_MS = 5000;

interface Change {
  readonly host: string;
  /** By this edge's order; otherwise it was read from storage. */
  readonly made: boolean;
  readonly generation: number;
  readonly at: number;
}

const MADE = ["certificate.obtained", "certificate.renewed"];
const CHANGED = ["certificate.loaded", ...MADE];

function changes(world: World, seat: number, life: number): Change[] {
  const { edge } = world.seats[seat]!.lives[life]!;
  return edge
    .logs()
    .filter(({ event }) => CHANGED.includes(event))
    .map(({ event, host, generation, time }) => ({
      host: String(host),
      made: MADE.includes(event),
      generation: Number(generation),
      at: Date.parse(time),
    }));
}

/** No edge ever goes back to an older certificate, over restarts too. */
export function fallen(world: World): string[] {
  const found: string[] = [];
  for (const [place, { lives }] of world.seats.entries()) {
    const served = new Map<string, number>();
    for (const life of lives.keys())
      for (const { host, generation, at } of changes(world, place, life)) {
        const before = served.get(host) ?? 0;
        if (generation < before)
          found.push(
            `place-${place} ${host}: ${before} to ${generation} at ${new Date(at).toISOString()}, run ${life + 1}`,
          );
        served.set(host, generation);
      }
  }
  return found;
}

export interface Orders {
  readonly made: number;
  /** More than the certificates that came of them. */
  readonly extra: number;
  /** With nothing that happened to explain them. */
  readonly unexplained: readonly string[];
}

/** Of the orders for one certificate each but one is the price of a blow: a lease, a write or the CA's memory was lost. */
export function orders(world: World): Orders {
  const lost = world.seats.flatMap(({ lives }) =>
    lives.flatMap(({ edge }) => edge.logs("storage.lock_lost").map(({ time }) => Date.parse(time))),
  );
  const hurts = [...world.hurts.map(({ at }) => at), ...lost].sort((a, b) => a - b);
  const unexplained: string[] = [];
  let made = 0;
  let extra = 0;
  for (const host of NAMES) {
    const times = world.ca
      .orders()
      .filter((order) => hostsOf(order).includes(host))
      .map(({ at }) => at);
    made += times.length;
    // When each certificate came to be; loading it is never before that. Two edges may each make one of the same number,
    // where the first could not store its own: the order of each brought something.
    const own: number[] = [];
    const born = new Map<number, number>();
    for (const [place, { lives }] of world.seats.entries())
      for (const life of lives.keys())
        for (const { host: of, made: byOrder, generation, at } of changes(world, place, life)) {
          if (of !== host) continue;
          if (byOrder) own.push(at);
          born.set(generation, Math.min(at, born.get(generation) ?? Number.POSITIVE_INFINITY));
        }
    const births = [...own, ...born.values()].sort((a, b) => a - b);
    const spent = new Set<number>();
    for (const [index, at] of times.entries()) {
      const next = times[index + 1];
      if (next === undefined || births.some((birth) => birth >= at && birth <= next)) continue;
      extra++;
      // Each blow explains one order of a host.
      const reason = hurts.findIndex(
        (hurt, which) => !spent.has(which) && hurt >= at - BEFORE_MS && hurt <= next,
      );
      spent.add(reason);
      if (reason < 0)
        unexplained.push(
          `${host}: orders at ${new Date(at).toISOString()} and ${new Date(next).toISOString()}, no certificate and no blow between them`,
        );
    }
  }
  return { made, extra, unexplained };
}
