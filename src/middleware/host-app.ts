/** From what a host is configured with to a Hono app that knows the edge: `c.var.edge`, and errors that have a name. */
import type { Context, ErrorHandler, Handler, MiddlewareHandler, Next } from "hono";
import { Hono } from "hono";
import type { Result, Router } from "hono/router";
import { EdgeError, messageOf } from "../errors.ts";
import type { EdgeEnv, RequestContext } from "../exchange/context.ts";
import { contextOf } from "../exchange/web-request.ts";
import { isLazyResponse } from "../exchange/web-response.ts";
import { slowToMakeStreams } from "../runtime.ts";
import { problemOf } from "./problem.ts";

export interface HostAppOptions {
  /** The host that the app serves; it names the app in errors. */
  readonly host: string;
  /**
   * Hears of what handlers threw and nobody handled, as an {@link EdgeError}. The client has been given a 500 (or the
   * error's own status) by then, so that outer middleware still sees an answer; the context's `error` is set too.
   */
  report?(error: EdgeError, context: RequestContext | undefined): void;
  /** The answer that tells the client of an error. @default a problem document with the error's status and code */
  answer?(error: EdgeError, context: RequestContext | undefined): Response;
}

// biome-ignore lint/suspicious/noExplicitAny: an app may be typed with any Env, and Hono's types are invariant in it
type AnyHono = Hono<any, any, any>;
type AnyContext = Context<EdgeEnv>;
type Entry = AnyHono["router"] extends Router<infer T> ? T : never;
type Entries = Result<Entry>[0];

/**
 * The app of `{ backend, use: […] }`: the middlewares in order, then `handler` for every method and path.
 * What a middleware throws becomes MIDDLEWARE_FAILED (500) with the middleware's name; HTTPException and EdgeError stay.
 */
export function backendApp(
  handler: Handler<EdgeEnv>,
  use: readonly MiddlewareHandler[],
  options: HostAppOptions,
): Hono<EdgeEnv> {
  const app = new Hono<EdgeEnv>();
  use.forEach((middleware, index) => {
    app.use(named(middleware, `${middleware.name || "a middleware"} (use[${index}] of ${options.host})`));
  });
  app.all("*", handler);
  prepareApp(app, options);
  return app;
}

/**
 * Makes an app ready to be served: its handlers find `c.var.edge`, and without an `onError` of its own its errors are
 * reported instead of printed. Its routes, `notFound` and `onError` stay as they are; nothing is wrapped around it.
 * Preparing it again replaces the options.
 */
export function prepareApp(app: AnyHono, options: HostAppOptions): void {
  const known = prepared.get(app);
  if (known) {
    known.options = options;
    return;
  }
  const state = { options };
  prepared.set(app, state);
  app.router = edgeRouter(app.router);
  // The default handler of the app's own copy of Hono, which need not be ours.
  const { constructor: OwnHono } = app as unknown as { constructor: new () => AnyHono };
  const handlerOf = (of: AnyHono): unknown => (of as unknown as { errorHandler: unknown }).errorHandler;
  if (handlerOf(app) === handlerOf(new OwnHono())) app.onError(reportingHandler(state));
}

const prepared = new WeakMap<object, { options: HostAppOptions }>();

function reportingHandler(state: { options: HostAppOptions }): ErrorHandler<EdgeEnv> {
  return (thrown, c) => {
    if (hasResponse(thrown)) {
      const response = thrown.getResponse();
      return c.newResponse(response.body, response);
    }
    const { host, report, answer } = state.options;
    const error = tagged(thrown, `a handler of ${host}`);
    const context = contextOf(c.req.raw);
    if (context) context.error = error;
    report?.(error, context);
    return answer?.(error, context) ?? problemOf(error);
  };
}

function hasResponse(thrown: Error): thrown is Error & { getResponse(): Response } {
  return "getResponse" in thrown;
}

/** Says who failed. What is an answer or a fact already passes. */
function tagged(thrown: unknown, who: string): EdgeError {
  if (thrown instanceof EdgeError) return thrown;
  return new EdgeError("MIDDLEWARE_FAILED", `${who} failed: ${messageOf(thrown)}`, { cause: thrown });
}

function named(middleware: MiddlewareHandler, who: string): MiddlewareHandler {
  const fail = (thrown: unknown): never => {
    if (thrown instanceof Error && hasResponse(thrown)) throw thrown;
    throw tagged(thrown, who);
  };
  const handler: MiddlewareHandler = (c, next) => {
    try {
      const result: unknown = middleware(c, next);
      return (result instanceof Promise ? result.catch(fail) : result) as ReturnType<MiddlewareHandler>;
    } catch (thrown) {
      return fail(thrown);
    }
  };
  return Object.defineProperty(handler, "name", { value: middleware.name });
}

/**
 * Hono asks its router for the handlers of a request and runs them. Having the first of them set `c.var.edge` costs no
 * step of its own, and leaves indexes into the list (`c.req.param`, `routePath`) as they are.
 */
function edgeRouter(inner: Router<Entry>): Router<Entry> {
  const decorated = new WeakMap<Entries, Entries>();
  const decorate = (entries: Entries): Entries => {
    if (entries.length === 0) return NOTHING_MATCHED;
    let known = decorated.get(entries);
    if (!known) {
      const [[[handler, route], params], ...rest] = entries as [Entries[number], ...Entries];
      known = [[[withEdge(handler as Handler), route], params] as Entries[number], ...rest] as Entries;
      decorated.set(entries, known);
    }
    return known;
  };
  return {
    get name() {
      return inner.name;
    },
    add: (method, path, entry) => inner.add(method, path, entry),
    match(method, path) {
      // Static routes give the same list again, routes with parameters the same list in a new result.
      const result = inner.match(method, path);
      const entries = decorate(result[0]);
      return (result.length === 2 ? [entries, result[1]] : [entries]) as Result<Entry>;
    },
  };
}

function setEdge(c: AnyContext): void {
  const context = contextOf(c.req.raw);
  if (context) c.set("edge", context);
  if (slowToMakeStreams) setFieldsInPlace(c);
}

/**
 * Once there is a response, Hono's `c.header()` makes another around its body, which has to become a stream for that. The fields of
 * the edge's own responses can be changed where they are.
 */
function setFieldsInPlace(c: AnyContext): void {
  const { header } = c;
  c.header = (name: string, value?: string, options?: { append?: boolean }): void => {
    if (!c.finalized || !isLazyResponse(c.res)) header(name, value, options);
    else if (value === undefined) c.res.headers.delete(name);
    else if (options?.append) c.res.headers.append(name, value);
    else c.res.headers.set(name, value);
  };
}

function withEdge(handler: Handler): Handler {
  const first: Handler = (c, next) => {
    setEdge(c);
    return handler(c, next);
  };
  return Object.assign(Object.defineProperty(first, "name", { value: handler.name }), handler);
}

/** Where no route matches, `notFound` still finds `c.var.edge`. */
const NOTHING_MATCHED = [
  [
    [
      (c: AnyContext, next: Next): Promise<void> => {
        setEdge(c);
        return next();
      },
      { basePath: "/", path: "*", method: "ALL", handler: () => {} },
    ],
    {},
  ],
] as unknown as Entries;
