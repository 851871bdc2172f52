/** A shared cache in memory, by RFC 9111: what servers allow to be kept is answered from here while it is fresh. */
import type { Context, MiddlewareHandler, Next } from "hono";
import type CachePolicy from "http-cache-semantics";
import { LRUCache } from "lru-cache";
import { type Clock, systemClock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { EdgeEnv } from "../exchange/context.ts";
import { type CacheRequest, createCacheStore, policyMaker, type Stored } from "./cache-store.ts";

export interface CacheOptions {
  /** Memory for bodies, in bytes; those asked for longest ago make room. @default 67_108_864 */
  maxBytes?: number;
  /** Larger answers are not kept. @default 1_048_576 */
  maxBodyBytes?: number;
  /** What tells answers apart besides `Vary`. @default host, path and query */
  key?(c: Context<EdgeEnv>): string;
  /** @default the machine's */
  clock?: Clock;
}

const SAFE = new Set(["GET", "HEAD", "OPTIONS", "TRACE"]);
/** How long the requests for an address whose answer could not be kept pass side by side. */
const PASS_MS = 30_000;

type EdgeC = Context<EdgeEnv>;

/**
 * Keeps what `Cache-Control` and `Expires` allow a shared cache to keep, and nothing else. Stale answers are checked with
 * the server by their `ETag` or `Last-Modified`; with `stale-if-error` they are given when it fails. Requests for the same
 * address that come together ask the server once. Answers say what happened in `Cache-Status` (RFC 9211).
 *
 * Put it after what decides who may see an answer: a hit does not reach the middleware behind it.
 *
 * @example `use: [rateLimit({ limit: 50, windowMs: 1000 }), cache()]`
 */
export function cache(options: CacheOptions = {}): MiddlewareHandler<EdgeEnv> {
  const { clock = systemClock, key: keyOf = addressOf } = options;
  const maxBodyBytes = positive("maxBodyBytes", options.maxBodyBytes ?? 1_048_576);
  const store = createCacheStore(positive("maxBytes", options.maxBytes ?? 67_108_864));
  const makePolicy = policyMaker(clock);
  const asking = new Map<string, Promise<void>>();
  /** Addresses whose answers could not be kept, and since when: their requests need not wait for each other. */
  const passing = new LRUCache<string, number>({ max: 10_000 });

  /** Keeps an answer where that is allowed; resolves when it is kept or will not be. Never rejects. */
  const keep = async (
    key: string,
    request: CacheRequest,
    res: Response,
    policy: CachePolicy,
  ): Promise<void> => {
    const length = Number(res.headers.get("content-length") ?? 0);
    const may = policy.storable() && policy.timeToLive() > 0 && length <= maxBodyBytes;
    const body = may ? await readWhole(res.clone(), maxBodyBytes) : undefined;
    if (body) store.put(key, request, { policy, status: res.status, body });
    else passing.set(key, clock.now());
  };

  /** Asks the server for an answer that is not here, once for all who ask meanwhile. */
  const miss = async (c: EdgeC, next: Next, key: string, request: CacheRequest): Promise<void> => {
    const settled = Promise.withResolvers<void>();
    const first = !asking.has(key);
    if (first) asking.set(key, settled.promise);
    const done = (): void => {
      if (first) asking.delete(key);
      settled.resolve();
    };
    try {
      await next();
      const { res } = c;
      if (c.error) done();
      else keep(key, request, res, makePolicy(request, policyResponse(res))).then(done, done);
    } catch (thrown) {
      done();
      throw thrown;
    }
    c.res.headers.set("cache-status", "skerry; fwd=uri-miss");
  };

  /** Asks the server whether what is kept still holds. */
  const revalidate = async (
    c: EdgeC,
    next: Next,
    key: string,
    request: CacheRequest,
    stored: Stored,
  ): Promise<void> => {
    const headers = stored.policy.revalidationHeaders(request) as Record<string, string>;
    c.req.raw = new Request(c.req.raw, { headers });
    await next();
    const { res } = c;
    if (res.status >= 500 && staleIfError(stored)) {
      await res.body?.cancel();
      return replace(c, answer(stored, request, "stale"));
    }
    const { policy, modified } = stored.policy.revalidatedPolicy(request, policyResponse(res));
    if (!modified) {
      const kept = { ...stored, policy };
      store.put(key, request, kept);
      return replace(c, answer(kept, request, "revalidated"));
    }
    store.drop(key);
    if (!c.error) void keep(key, request, res, policy);
    res.headers.set("cache-status", "skerry; fwd=stale");
  };

  return async function cache(c, next) {
    const { method } = c.req;
    const key = keyOf(c);
    if (!SAFE.has(method)) {
      await next();
      // RFC 9111 §4.4: what an unsafe method may have changed is asked for anew.
      if (c.res.status < 400) store.drop(key);
      return;
    }
    const asks = method === "GET" || method === "HEAD";
    if (!asks || c.req.header("range") !== undefined || c.req.header("upgrade") !== undefined) return next();
    // What is kept is the answer to a GET, and stands for that to a HEAD (RFC 9110 §9.3.2).
    const request: CacheRequest = {
      url: c.req.path,
      method: "GET",
      headers: Object.fromEntries(c.req.raw.headers),
    };
    const passed = passing.get(key);
    const mayWait = passed === undefined || clock.now() - passed > PASS_MS;
    const busy = asking.get(key);
    if (busy && mayWait && !store.find(key, request)) await busy;
    const stored = store.find(key, request);
    if (stored?.policy.satisfiesWithoutRevalidation(request)) return answer(stored, request, "hit", method);
    if (method === "HEAD") return next();
    if (stored) return revalidate(c, next, key, request, stored);
    return miss(c, next, key, request);
  };
}

function positive(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new EdgeError("CONFIG_INVALID", `cache: ${name} (${value}) must be a whole number above 0`, {
    source: "operator",
  });
}

function addressOf(c: EdgeC): string {
  const { url } = c.req;
  return url.slice(url.indexOf("://") + 3);
}

function policyResponse(res: Response): { status: number; headers: Record<string, string> } {
  return { status: res.status, headers: Object.fromEntries(res.headers) };
}

/** The whole body; undefined where it is larger than `limit`, or was cut: the client is told of that, here it is not kept. */
async function readWhole(response: Response, limit: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body ?? []) {
      size += chunk.length;
      if (size > limit) return undefined;
      chunks.push(chunk);
    }
  } catch {
    return undefined;
  }
  const body = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    body.set(chunk, at);
    at += chunk.length;
  }
  return body;
}

/** RFC 5861 §4. */
function staleIfError({ policy }: Stored): boolean {
  const { rescc } = policy.toObject();
  const seconds = Number((rescc as Record<string, unknown>)["stale-if-error"] ?? 0);
  return policy.age() - policy.maxAge() <= seconds;
}

/** Weak comparison of entity tags (RFC 9110 §8.8.3.2). */
function matches(condition: string, tag: string): boolean {
  const plain = (text: string): string => text.trim().replace(/^W\//, "");
  return condition.trim() === "*" || condition.split(",").some((part) => plain(part) === plain(tag));
}

function answer(
  stored: Stored,
  request: CacheRequest,
  how: "hit" | "revalidated" | "stale",
  method = "GET",
): Response {
  const headers = new Headers(stored.policy.responseHeaders() as Record<string, string>);
  const ttl = Math.max(0, Math.ceil(stored.policy.timeToLive() / 1000));
  const detail = {
    hit: `hit; ttl=${ttl}`,
    revalidated: `fwd=stale; fwd-status=304; ttl=${ttl}`,
    stale: "hit; detail=stale-if-error",
  };
  headers.set("cache-status", `skerry; ${detail[how]}`);
  const condition = request.headers["if-none-match"];
  const tag = headers.get("etag");
  const since = request.headers["if-modified-since"];
  const modified = headers.get("last-modified");
  const unchanged =
    condition !== undefined
      ? tag !== null && matches(condition, tag)
      : since !== undefined && modified !== null && Date.parse(modified) <= Date.parse(since);
  if (unchanged && stored.status === 200) {
    headers.delete("content-length");
    return new Response(null, { status: 304, headers });
  }
  if (method === "HEAD" || stored.status === 204)
    return new Response(null, { status: stored.status, headers });
  headers.set("content-length", String(stored.body.length));
  return new Response(stored.body, { status: stored.status, headers });
}

/** Hono would copy the replaced answer's fields onto the new one, unless there is none. */
function replace(c: EdgeC, response: Response): void {
  if (response === c.res) return;
  c.res = undefined;
  c.res = response;
}
