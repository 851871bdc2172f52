/** Plain functions at the usual three places, for who does not want to think in `next()`. */
import type { Context, MiddlewareHandler } from "hono";
import type { EdgeEnv } from "../exchange/context.ts";

// biome-ignore lint/suspicious/noConfusingVoidType: a hook that returns nothing is the usual one
type Answer = Response | undefined | void;

export interface Hooks {
  /** Before the request goes on. A response answers it here and now; the other hooks are then not called. */
  request?(c: Context<EdgeEnv>): Answer | Promise<Answer>;
  /**
   * After the request was answered, also by an error. Change `c.res.headers`, or give a response that replaces
   * `c.res`, of which then nothing stays.
   */
  response?(c: Context<EdgeEnv>): Answer | Promise<Answer>;
  /** After something further in threw, before `response`. A response replaces the error's answer. */
  error?(error: Error, c: Context<EdgeEnv>): Answer | Promise<Answer>;
}

/**
 * A middleware from up to three functions.
 *
 * @example
 * ```ts
 * const guarded = hooks({
 *   request(c) {
 *     if (c.req.header("x-api-key") !== key) return c.json({ error: "no key" }, 401);
 *   },
 *   response: (c) => c.res.headers.set("x-edge", c.var.edge.location),
 *   error(error, c) {
 *     if (error instanceof EdgeError && error.code === "NO_SERVER") return c.html(sorryPage, 503);
 *   },
 * });
 * ```
 */
export function hooks({ request, response, error }: Hooks): MiddlewareHandler<EdgeEnv> {
  return async function hooks(c, next) {
    if (request) {
      const early = await request(c);
      if (early) return early;
    }
    await next();
    if (error && c.error) replace(c, await error(c.error, c));
    if (response) replace(c, await response(c));
    return undefined;
  };
}

/** Hono would copy the fields of the answer that is replaced onto the new one, unless there is none. */
function replace(c: Context<EdgeEnv>, answer: Answer): void {
  if (!answer || answer === c.res) return;
  c.res = undefined;
  c.res = answer;
}
