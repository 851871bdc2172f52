/** From a hostname to what serves it. A table is immutable: a reload builds a new one and swaps the reference. */

/** What answers a host: a Hono app, prepared. */
export interface App {
  fetch(request: Request): Response | Promise<Response>;
}

/** An app that is made when it is first asked: most of ten thousand hosts are not asked soon, and an app takes its space. */
export function madeWhenAsked(make: () => App): App {
  let made: App | undefined;
  return {
    fetch(request) {
      made ??= make();
      return made.fetch(request);
    },
  };
}

/** Makes a route once for each host: after a change of one, the others keep theirs. */
export function onceEach<T extends object>(make: (of: T) => Route): (of: T) => Route {
  const made = new WeakMap<T, Route>();
  return (of) => {
    const route = made.get(of) ?? make(of);
    made.set(of, route);
    return route;
  };
}

export interface Route {
  /** Lower-case A-label, or a wildcard of one label. */
  readonly host: string;
  readonly app: App;
  /** Whether clients show a certificate; undefined where they are not asked. */
  readonly clientAuth?: "required" | "optional" | undefined;
  /** For metrics; hosts that are many share one. @default the host */
  readonly label?: string;
}

export interface RouteTable {
  /** The route of a Host or :authority value, which may carry a port, capitals and a trailing dot. */
  find(authority: string): Route | undefined;
  readonly hosts: ReadonlySet<string>;
}

/** `App.Example.com.:8443` → `app.example.com`; an IPv6 literal keeps its brackets. */
export function hostOf(authority: string): string {
  const bracket = authority.lastIndexOf("]");
  const colon = authority.indexOf(":", bracket + 1);
  let host = (colon === -1 ? authority : authority.slice(0, colon)).toLowerCase();
  if (host.endsWith(".")) host = host.slice(0, -1);
  return host;
}

/** The wildcard that stands for a name's first label (RFC 4592 §2.1.1, but for that one label only): "*.example.com". */
export function wildcardOf(host: string): string {
  const dot = host.indexOf(".");
  return dot === -1 ? host : `*${host.slice(dot)}`;
}

/** What is configured for a host: itself rather than the wildcard above it. */
export function lookUp<T>(byHost: { get(name: string): T | undefined }, host: string): T | undefined {
  return byHost.get(host) ?? byHost.get(wildcardOf(host));
}

export function createRouteTable(
  routes: Iterable<Route>,
  /** The route of a host that is in none of these, such as one on demand. */
  other: (host: string) => Route | undefined = () => undefined,
): RouteTable {
  const byHost = new Map<string, Route>();
  for (const route of routes) byHost.set(route.host, route);
  return {
    hosts: new Set(byHost.keys()),
    // Most clients send the name just as it is configured: one lookup, no normalising.
    find(authority) {
      const exact = byHost.get(authority);
      if (exact) return exact;
      const host = hostOf(authority);
      return lookUp(byHost, host) ?? other(host);
    },
  };
}
