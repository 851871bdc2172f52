/** What goes wrong and when, from a seed: the same seed gives the same blows in the same order. */

export type Blow =
  | { readonly kind: "kill edge" | "stop edge"; readonly index: number; readonly forMs: number }
  | { readonly kind: "kill agent" | "stop agent"; readonly index: number; readonly forMs: number }
  | { readonly kind: "kill nats"; readonly index: number; readonly forMs: number }
  | { readonly kind: "kill all nats" | "kill pebble"; readonly forMs: number }
  | {
      /** `partition`: an edge from NATS; `split nats`: a server of NATS from the others. */
      readonly kind: "partition" | "split nats";
      readonly index: number;
      readonly how: "stall" | "cut";
      readonly forMs: number;
    }
  | { readonly kind: "revoke"; readonly index: number; readonly forMs: number }
  | { readonly kind: "renew"; readonly index: number; readonly host: number };

export interface Step {
  /** Since the step before it was over. */
  readonly afterMs: number;
  readonly blow: Blow;
}

export interface Sizes {
  readonly edges: number;
  readonly agents: number;
  readonly nats: number;
  readonly hosts: number;
}

/** Those of one track come one after another; the tracks overlap. */
export type Track = "edges and agents" | "storage and CA" | "renewals";
export const TRACKS: readonly Track[] = ["edges and agents", "storage and CA", "renewals"];

const DECKS = {
  "edges and agents": ["kill edge", "kill agent", "stop edge", "stop agent"],
  "storage and CA": ["revoke", "kill nats", "partition", "split nats", "kill all nats", "kill pebble"],
  renewals: ["renew"],
} as const satisfies Record<Track, readonly Blow["kind"][]>;

/** Mulberry32: small, and the same everywhere. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Without end: every kind of the track comes once before any comes again. */
export function* steps(seed: number, track: Track, sizes: Sizes): Generator<Step, never> {
  const random = seeded(seed * TRACKS.length + TRACKS.indexOf(track));
  const below = (limit: number): number => Math.floor(random() * limit);
  const between = (least: number, most: number): number => Math.round(least + random() * (most - least));
  for (;;) {
    const deck: Blow["kind"][] = [...DECKS[track]];
    while (deck.length > 0) {
      const [kind] = deck.splice(below(deck.length), 1);
      const afterMs = track === "renewals" ? between(500, 2500) : between(200, 1500);
      yield { afterMs, blow: blow(kind!, sizes, below, between) };
    }
  }
}

function blow(
  kind: Blow["kind"],
  sizes: Sizes,
  below: (limit: number) => number,
  between: (least: number, most: number) => number,
): Blow {
  switch (kind) {
    case "kill edge":
    case "stop edge":
      return { kind, index: below(sizes.edges), forMs: between(0, 3000) };
    case "kill agent":
    case "stop agent":
      return { kind, index: below(sizes.agents), forMs: between(0, 2000) };
    case "kill nats":
      return { kind, index: below(sizes.nats), forMs: between(1000, 5000) };
    case "kill all nats":
    case "kill pebble":
      return { kind, forMs: between(1000, 6000) };
    case "partition":
    case "split nats":
      return {
        kind,
        index: below(kind === "partition" ? sizes.edges : sizes.nats),
        how: below(2) === 0 ? "stall" : "cut",
        forMs: between(2000, 8000),
      };
    case "revoke":
      return { kind, index: below(sizes.edges), forMs: between(500, 4000) };
    case "renew":
      return { kind, index: below(sizes.edges), host: below(sizes.hosts) };
    default:
      return kind satisfies never;
  }
}
