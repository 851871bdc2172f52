/** Backends that the routes of a Hono app forward to: known, where `proxy(…)` itself is the handler. */
import { PROXIED_BACKEND } from "../exchange/context.ts";
import { type Problem, suggestion } from "./problems.ts";

/** One problem for each name that `backends` has not. A `proxy(…)` that is called inside another handler stays unseen. */
export function checkApp(path: readonly PropertyKey[], app: unknown, backends: readonly string[]): Problem[] {
  const { routes } = app as { routes?: unknown };
  if (!Array.isArray(routes)) return [];
  const missing = new Set<string>();
  for (const { handler } of routes as { handler?: { [PROXIED_BACKEND]?: unknown } }[]) {
    const name = handler?.[PROXIED_BACKEND];
    if (typeof name === "string" && !backends.includes(name)) missing.add(name);
  }
  return [...missing].map((name) => {
    const known = backends.length > 0 ? suggestion(name, backends) : "; backends is empty";
    return { path, message: `proxy(${JSON.stringify(name)}): no such backend${known}` };
  });
}
