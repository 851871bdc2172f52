/** Answers kept in memory: so many bytes, and for each address the variants that `Vary` tells apart. */
import CachePolicy from "http-cache-semantics";
import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";

/** One answer, whole. */
export interface Stored {
  readonly policy: CachePolicy;
  readonly status: number;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** What http-cache-semantics reads of a request. */
export interface CacheRequest {
  readonly url: string;
  readonly method: string;
  readonly headers: Record<string, string>;
}

export interface CacheStore {
  /** The variant that fits the request, fresh or stale. */
  find(key: string, request: CacheRequest): Stored | undefined;
  put(key: string, request: CacheRequest, stored: Stored): void;
  /** Forgets every variant, after an unsafe method (RFC 9111 §4.4). */
  drop(key: string): void;
  readonly bytes: number;
}

/** An address with more variants than this varies by something like User-Agent, and is not worth keeping whole. */
const MOST_VARIANTS = 16;
/** What an entry costs besides its body, roughly: head, policy, key. */
const ENTRY_BYTES = 2048;

/** A policy whose time is the clock's. */
export type MakePolicy = (
  request: CacheRequest,
  response: { status: number; headers: Record<string, string> },
) => CachePolicy;

export function policyMaker(clock: Clock): MakePolicy {
  class ClockPolicy extends CachePolicy {
    now(): number {
      return clock.wall();
    }
  }
  // Without freshness from the server nothing is fresh: guessing by Last-Modified surprises those who just deployed.
  return (request, response) => new ClockPolicy(request, response, { shared: true, cacheHeuristic: 0 });
}

/** Whether a stored answer is of the same variant as the request (RFC 9111 §4.1). */
function fits({ policy }: Stored, request: CacheRequest): boolean {
  const { resh, reqh } = policy.toObject();
  const { vary } = resh;
  if (vary === undefined) return true;
  const asked = (reqh ?? {}) as Record<string, unknown>;
  return String(vary)
    .toLowerCase()
    .split(",")
    .map((name) => name.trim())
    .every((name) => name !== "*" && request.headers[name] === asked[name]);
}

export function createCacheStore(maxBytes: number): CacheStore {
  const entries = new LRUCache<string, Stored[]>({
    maxSize: maxBytes,
    sizeCalculation: (variants) =>
      variants.reduce((size, { body }) => size + body.length + ENTRY_BYTES, ENTRY_BYTES),
  });
  return {
    find: (key, request) => entries.get(key)?.find((stored) => fits(stored, request)),
    put(key, request, stored) {
      const others = (entries.get(key) ?? []).filter((other) => !fits(other, request));
      entries.set(key, [stored, ...others].slice(0, MOST_VARIANTS));
    },
    drop(key) {
      entries.delete(key);
    },
    get bytes() {
      return entries.calculatedSize;
    },
  };
}
