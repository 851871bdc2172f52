/**
 * Which generation of each host's certificate an edge serves, told with little writing: everything once, then only what is
 * different from that, until that is so much that everything is told anew.
 */
import type { ChangedPart, Generations, ServedPart } from "./card.ts";

/** Hosts up to which everything is told each time, and changes after which it is told anew. */
export const MOST_CHANGES = 256;
/** With more than these nothing is told of any: a value in storage has an end. Ten thousand take some 100 KB. */
export const MOST_HOSTS = 50_000;

export interface Told {
  readonly served?: ServedPart;
  readonly changed?: ChangedPart;
  /** The numbers for the card, once both are written. */
  readonly numbers: { readonly served: number; readonly changed: number };
  /** They are written: the next call says what is different from now. */
  commit(): void;
}

export interface ServedLog {
  /** What must be written so that others know `now`; undefined: they do. */
  next(now: Iterable<readonly [host: string, generation: number]>): Told | undefined;
  /** What was written may be lost: everything is told anew. */
  forget(): void;
}

export function createServedLog(): ServedLog {
  let base: ReadonlyMap<string, number> | undefined;
  let changes: ReadonlyMap<string, number | null> = new Map();
  let number = 0;
  let baseNumber = 0;

  const silence: Told = {
    numbers: { served: 0, changed: 0 },
    commit() {
      base = undefined;
      changes = new Map();
      baseNumber = 0;
    },
  };

  return {
    next(now) {
      const current = new Map(now);
      if (current.size > MOST_HOSTS) return baseNumber === 0 ? undefined : silence;
      const different = new Map<string, number | null>();
      for (const [host, generation] of current)
        if (base?.get(host) !== generation) different.set(host, generation);
      for (const host of base?.keys() ?? []) if (!current.has(host)) different.set(host, null);
      if (base && same(different, changes)) return undefined;
      number++;
      if (!base || current.size <= MOST_CHANGES || different.size > MOST_CHANGES) {
        const told = number;
        return {
          served: { number: told, generations: Object.fromEntries(current) },
          numbers: { served: told, changed: 0 },
          commit() {
            base = current;
            changes = new Map();
            baseNumber = told;
          },
        };
      }
      const told = number;
      return {
        changed: { number: told, base: baseNumber, generations: Object.fromEntries(different) },
        numbers: { served: baseNumber, changed: told },
        commit() {
          changes = different;
        },
      };
    },
    forget() {
      // Numbers go on: readers know a part by its number.
      base = undefined;
      changes = new Map();
    },
  };
}

function same<K, V>(one: ReadonlyMap<K, V>, other: ReadonlyMap<K, V>): boolean {
  if (one.size !== other.size) return false;
  for (const [key, value] of one) if (other.get(key) !== value) return false;
  return true;
}

/** What an edge serves of one host, from its parts; undefined: it does not have the host. */
export function generationOf(
  host: string,
  served: ServedPart | undefined,
  changed: ChangedPart | undefined,
): number | undefined {
  if (changed && changed.base === served?.number && Object.hasOwn(changed.generations, host))
    return changed.generations[host] ?? undefined;
  const { generations = {} as Generations } = served ?? {};
  return Object.hasOwn(generations, host) ? generations[host] : undefined;
}
