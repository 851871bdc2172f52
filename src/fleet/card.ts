/**
 * What an edge says of itself in shared storage. Its card is small and written again and again; what is larger stands beside
 * it in parts, which are written only when they change. The card names their numbers, so that readers fetch what is new.
 */
import { promisify } from "node:util";
import { gunzip, gzip } from "node:zlib";
import type { Storage } from "../storage/storage.ts";

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

/** Takes back all that an edge said of itself. */
export async function deleteEdge(storage: Pick<Storage, "delete">, id: string): Promise<void> {
  // The card last: by it others know that there is something to sweep.
  for (const part of PARTS) await storage.delete(partKey(id, part));
  await storage.delete(cardKey(id));
}

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
  if (!value || !CARD_TEXTS.every((name) => typeof value[name] === "string")) return undefined;
  if (!isDate(value.at) || !isDate(value.startedAt)) return undefined;
  if (!isCount(value.hosts) || !isCount(value.agents)) return undefined;
  if (value.tunnel !== undefined && typeof value.tunnel !== "string") return undefined;
  if (value.state !== "ready" && value.state !== "degraded" && value.state !== "draining") return undefined;
  if (!Array.isArray(value.problems) || !value.problems.every((each) => typeof each === "string"))
    return undefined;
  const { http, https, admin } = recordOf(value.listen);
  if (![http, https, admin].every((each) => typeof each === "string")) return undefined;
  if (
    typeof value.parts !== "object" ||
    value.parts === null ||
    !Object.values(recordOf(value.parts)).every(isCount)
  )
    return undefined;
  return value as Card;
}

const CARD_TEXTS = ["id", "name", "location", "version", "runtime"] as const;
const ROW_TEXTS = ["instance", "token", "backend", "app", "server", "version", "state"] as const;

const recordOf = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
/** Within what a Date can hold, so that it can be shown. */
const isDate = (value: unknown): boolean => typeof value === "number" && Math.abs(value) <= 8.64e15;
const areTexts = (value: unknown): boolean =>
  typeof value === "object" &&
  value !== null &&
  Object.values(value).every((each) => typeof each === "string");

function isRow(value: unknown): value is AgentRow {
  const row = recordOf(value);
  if (!ROW_TEXTS.every((name) => typeof row[name] === "string")) return false;
  if (row.location !== undefined && typeof row.location !== "string") return false;
  if (!areTexts(row.labels) || !areTexts(row.release)) return false;
  return isDate(row.since) && isCount(row.connections) && isCount(row.inFlight);
}

const zip = promisify(gzip);
const unzip = promisify(gunzip);

/** Parts of more bytes are packed. */
const PACKED_BYTES = 4096;
/** Agents choose what is told of them, and a value in storage has an end: of more than this fewer are named. */
export const MOST_PART_BYTES: number = 512 * 1024;
/** No part is unpacked to more, whatever is stored. */
const MOST_UNPACKED_BYTES = 64 * 1024 * 1024;

export async function encodePart(part: AgentsPart | ServedPart | ChangedPart): Promise<Uint8Array> {
  const plain = new TextEncoder().encode(JSON.stringify(part));
  return plain.length > PACKED_BYTES ? zip(plain) : plain;
}

/** As {@link encodePart}, with as many of the agents as a value has room for. */
export async function encodeAgents({ number, agents }: AgentsPart): Promise<Uint8Array> {
  for (let named = agents; ; named = named.slice(0, named.length >> 1)) {
    const bytes = await encodePart({ number, agents: named });
    if (bytes.length <= MOST_PART_BYTES || named.length === 0) return bytes;
  }
}

/** Undefined for what cannot be read. */
async function decodePart(bytes: Uint8Array | undefined): Promise<Record<string, unknown> | undefined> {
  if (bytes === undefined) return undefined;
  // What is packed begins with 0x1f, and text with a brace.
  const plain =
    bytes[0] === 0x1f
      ? await unzip(bytes, { maxOutputLength: MOST_UNPACKED_BYTES }).catch(() => undefined)
      : bytes;
  const value = recordOf(plain && parse(new TextDecoder().decode(plain)));
  return isCount(value.number) ? value : undefined;
}

/** Without the rows that cannot be read. */
export async function decodeAgents(bytes: Uint8Array | undefined): Promise<AgentsPart | undefined> {
  const { number, agents } = (await decodePart(bytes)) ?? {};
  return Array.isArray(agents) ? { number: number as number, agents: agents.filter(isRow) } : undefined;
}

export async function decodeServed(bytes: Uint8Array | undefined): Promise<ServedPart | undefined> {
  const value = await decodePart(bytes);
  return areGenerations(value?.generations, Number.isSafeInteger)
    ? (value as object as ServedPart)
    : undefined;
}

export async function decodeChanged(bytes: Uint8Array | undefined): Promise<ChangedPart | undefined> {
  const value = await decodePart(bytes);
  const fits = (each: unknown): boolean => each === null || Number.isSafeInteger(each);
  return isCount(value?.base) && areGenerations(value?.generations, fits)
    ? (value as object as ChangedPart)
    : undefined;
}

const areGenerations = (value: unknown, fits: (each: unknown) => boolean): boolean =>
  typeof value === "object" && value !== null && Object.values(value).every(fits);

function parse(text: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    // Not one of ours.
    return undefined;
  }
}
