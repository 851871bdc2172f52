/** So many requests per window and client, with memory for so many clients. */
import type { Context, MiddlewareHandler } from "hono";
import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";
import { systemClock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { EdgeEnv } from "../exchange/context.ts";
import { clientKey } from "./address.ts";
import { setHeader } from "./header-rules.ts";
import { problem } from "./problem.ts";

export interface RateLimitOptions {
  /** Requests that one client may make in any window. */
  limit: number;
  /** Length of the window in milliseconds. */
  windowMs: number;
  /** Who a request counts for; undefined: nobody. @default the client's address, or its /64 in IPv6 */
  key?(c: Context<EdgeEnv>): string | undefined;
  /** How many clients are remembered; beyond it those seen longest ago are forgotten. @default 100_000 */
  maxClients?: number;
  /** Whether answers that pass say what is left (`RateLimit`, `RateLimit-Policy`). @default true */
  headers?: boolean;
  /** @default the machine's */
  clock?: Clock;
}

/** Two neighbouring windows: the last one counts as far as the sliding window still covers it. */
interface Counts {
  window: number;
  current: number;
  previous: number;
}

function whole(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new EdgeError("CONFIG_INVALID", `rateLimit: ${name} (${value}) must be a whole number above 0`, {
    source: "operator",
  });
}

/** Milliseconds until one more request fits, from the point `at` (0 to 1) in the current window. */
function waitMs({ current, previous }: Counts, limit: number, windowMs: number, at: number): number {
  const room = limit - 1;
  if (current <= room) return (1 - (room - current) / previous - at) * windowMs;
  return (1 - at + Math.max(0, 1 - room / current)) * windowMs;
}

/**
 * Answers 429 with `Retry-After` to clients that ask too often. The window slides, by the counts of two fixed ones:
 * one number pair per client, and at most `limit` requests in any window if they come evenly. What is refused does not
 * count. Fields as in draft-ietf-httpapi-ratelimit-headers-10. Counts are this process's own.
 *
 * @example `use: [rateLimit({ limit: 50, windowMs: 1000 })]`
 * @example `rateLimit({ limit: 5, windowMs: 60_000, key: (c) => c.req.header("x-api-key") })`
 */
export function rateLimit(options: RateLimitOptions): MiddlewareHandler<EdgeEnv> {
  const limit = whole("limit", options.limit);
  const windowMs = whole("windowMs", options.windowMs);
  const { clock = systemClock, headers = true } = options;
  const key = options.key ?? ((c: Context<EdgeEnv>) => clientKey(c.get("edge").clientAddress));
  const clients = new LRUCache<string, Counts>({ max: whole("maxClients", options.maxClients ?? 100_000) });
  const policy = `"default";q=${limit};w=${Math.ceil(windowMs / 1000)}`;
  return async function rateLimit(c, next) {
    const client = key(c);
    if (client === undefined) return next();
    const now = clock.now();
    const window = Math.floor(now / windowMs);
    let counts = clients.get(client);
    if (!counts) {
      counts = { window, current: 0, previous: 0 };
      clients.set(client, counts);
    } else if (counts.window !== window) {
      counts.previous = counts.window === window - 1 ? counts.current : 0;
      counts.current = 0;
      counts.window = window;
    }
    const at = now / windowMs - window;
    const used = counts.previous * (1 - at) + counts.current;
    if (used + 1 > limit) {
      const seconds = Math.max(1, Math.ceil(waitMs(counts, limit, windowMs, at) / 1000));
      return problem(429, "RATE_LIMITED", {
        headers: {
          "retry-after": `${seconds}`,
          "ratelimit-policy": policy,
          ratelimit: `"default";r=0;t=${seconds}`,
        },
      });
    }
    counts.current++;
    await next();
    if (headers) {
      const left = Math.max(0, Math.floor(limit - used - 1));
      const seconds = Math.max(1, Math.ceil(((1 - at) * windowMs) / 1000));
      setHeader(c, "ratelimit-policy", policy);
      setHeader(c, "ratelimit", `"default";r=${left};t=${seconds}`);
    }
    return undefined;
  };
}
