/** `skerry/middleware`: what comes with the edge. Anything of Hono's works as well. */
export { type CacheOptions, cache } from "./cache.ts";
export { type HeaderRules, type HeaderValue, requestHeaders, responseHeaders } from "./header-rules.ts";
export { type Hooks, hooks } from "./hooks.ts";
export { type IpFilterOptions, ipFilter } from "./ip-filter.ts";
export { type RateLimitOptions, rateLimit } from "./rate-limit.ts";
