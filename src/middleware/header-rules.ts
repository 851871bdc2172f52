/** Headers set and removed by rule, on the way in and on the way out. */
import type { Context, MiddlewareHandler } from "hono";
import type { EdgeEnv } from "../exchange/context.ts";
import { LazyHeaders } from "../exchange/web-headers.ts";

/** A value, or what makes one for a request; undefined leaves the field as it is. */
export type HeaderValue = string | ((c: Context<EdgeEnv>) => string | undefined);

export interface HeaderRules {
  /** Fields that get this one value. */
  set?: Readonly<Record<string, HeaderValue>>;
  /** Fields that are taken away, before others are set. */
  remove?: readonly string[];
}

function applyTo(headers: Headers, rules: HeaderRules, c: Context<EdgeEnv>): void {
  for (const name of rules.remove ?? []) headers.delete(name);
  for (const name in rules.set) {
    const rule = rules.set[name];
    const value = typeof rule === "function" ? rule(c) : rule;
    if (value !== undefined) headers.set(name, value);
  }
}

/** The answer's headers, made changeable where they are not (those of `fetch` and of `Response.redirect`). */
function changeable(c: Context<EdgeEnv>): Headers {
  if (!LazyHeaders.isLazy(c.res.headers)) {
    const { res } = c;
    c.res = undefined;
    c.res = new Response(res.body, res);
  }
  return c.res.headers;
}

/** Sets a header of the answer, whatever kind of response it is. */
export function setHeader(c: Context<EdgeEnv>, name: string, value: string): void {
  changeable(c).set(name, value);
}

/**
 * Changes what the server sees. Host, and what concerns the connection, are the edge's and not changed by this.
 *
 * @example `requestHeaders({ set: { "x-client": (c) => c.var.edge.clientAddress }, remove: ["cookie"] })`
 */
export function requestHeaders(rules: HeaderRules): MiddlewareHandler<EdgeEnv> {
  return function requestHeaders(c, next) {
    applyTo(c.req.raw.headers, rules, c);
    return next();
  };
}

/**
 * Changes what the client sees, also of answers to errors.
 *
 * @example `responseHeaders({ set: { "strict-transport-security": "max-age=31536000" }, remove: ["server"] })`
 */
export function responseHeaders(rules: HeaderRules): MiddlewareHandler<EdgeEnv> {
  return async function responseHeaders(c, next) {
    await next();
    applyTo(changeable(c), rules, c);
  };
}
