/**
 * What an edge says of itself in shared storage. Its card is small and written again and again; what is larger stands beside
 * it in parts, which are written only when they change. The card names their numbers, so that readers fetch what is new.
 */
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";

/** How often an edge says that it is there. */
export const BEAT_MS = 10_000;
/** An edge that was not heard of for so long is gone: two words of it may be lost. */
export const STALE_MS = 30_000;
/** What is gone is shown for so long after it was last heard of, and swept from storage then. */
export const FORGET_MS = 600_000;
/** More agents than these are counted, and not named. */
export const MOST_AGENTS = 5_000;

export const EDGES = "edges/";
export type Part = "agents" | "served" | "changed";
export const PARTS: readonly Part[] = ["agents", "served", "changed"];

export interface Card {
  /** Of this process; no two have the same. */
  readonly id: string;
  /** For people: the machine's. */
  readonly name: string;
  readonly location: string;
  readonly version: string;
  /** "node 26.10.0" */
  readonly runtime: string;
  /** What agents dial, `host:port`; undefined: none do. */
  readonly tunnel: string | undefined;
  readonly listen: { readonly http: string; readonly https: string; readonly admin: string };
  /** Wall times in milliseconds, by that edge's clock. */
  readonly startedAt: number;
  readonly at: number;
  readonly state: "ready" | "degraded" | "draining";
  /** Why it is degraded: the first few. */
  readonly problems: readonly string[];
  readonly hosts: number;
  readonly agents: number;
  /** The number of each part; 0: there is none. */
  readonly parts: Readonly<Record<Part, number>>;
}

/** One container at one edge. */
export interface AgentRow {
  readonly instance: string;
  readonly token: string;
  readonly backend: string;
  readonly app: string;
  readonly server: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly release: Readonly<Record<string, string>>;
  readonly version: string;
  /** Where it says that it runs. */
  readonly location?: string | undefined;
  /** Wall time in milliseconds at which it joined that edge. */
  readonly since: number;
  readonly connections: number;
  readonly inFlight: number;
  readonly state: string;
}

export interface AgentsPart {
  readonly number: number;
  readonly agents: readonly AgentRow[];
}

/** Host → generation; 0: none yet; -1: own files, which have no number that others know. */
export type Generations = Readonly<Record<string, number>>;

export interface ServedPart {
  readonly number: number;
  readonly generations: Generations;
}

/** What is different from the served part of that number; null: served no more. */
export interface ChangedPart {
  readonly number: number;
  readonly base: number;
  readonly generations: Readonly<Record<string, number | null>>;
}

export const cardKey = (id: string): string => `${EDGES}${id}.card`;
export const partKey = (id: string, part: Part): string => `${EDGES}${id}.${part}`;

/** The edge whose card a key is. */
export function idOfCard(key: string): string | undefined {
  return /^edges\/([\w-]{1,64})\.card$/.exec(key)?.[1];
}

export function encodeCard(card: Card): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(card));
}

/** Undefined for what is no card, such as one of a version to come. */
export function decodeCard(bytes: Uint8Array): Card | undefined {
  const value = parse(new TextDecoder().decode(bytes)) as Partial<Card> | undefined;
  if (typeof value?.id !== "string" || typeof value.at !== "number") return undefined;
  if (typeof value.parts !== "object" || typeof value.listen !== "object") return undefined;
  return value as Card;
}

const zip = promisify(gzip);
const unzip = promisify(gunzip);

/** Parts of more bytes are packed. */
const PACKED_BYTES = 4096;

export async function encodePart(part: AgentsPart | ServedPart | ChangedPart): Promise<Uint8Array> {
  const plain = new TextEncoder().encode(JSON.stringify(part));
  return plain.length > PACKED_BYTES ? zip(plain) : plain;
}

/** Undefined for what cannot be read. */
export async function decodePart<P extends { readonly number: number }>(
  bytes: Uint8Array | undefined,
): Promise<P | undefined> {
  if (bytes === undefined) return undefined;
  // What is packed begins with 0x1f, and text with a brace.
  const plain = bytes[0] === 0x1f ? await unzip(bytes).catch(() => undefined) : bytes;
  const value = plain && (parse(new TextDecoder().decode(plain)) as Partial<P> | undefined);
  return typeof value?.number === "number" ? (value as P) : undefined;
}

function parse(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    // Not one of ours.
    return undefined;
  }
}
