/**
 * What one field alone cannot tell: that fields fit each other. Works on the raw input, so that these problems are
 * listed together with those of the shape; what has the wrong shape is passed over here.
 */
import { DEFAULT_LIMITS } from "../exchange/limits.ts";
import { checkApp } from "./app-backends.ts";
import type { ListenAddress } from "./config.ts";
import { formatAddress, parseAddress, parseServedName } from "./parse.ts";
import { parseServer, serverKey } from "./parse-server.ts";
import type { Problem } from "./problems.ts";
import { suggestion } from "./problems.ts";
import { DEFAULT_DIRECTORY, isApp } from "./schema.ts";

type Fields = Record<string, unknown>;

const fieldsOf = (value: unknown): Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};

export const DEFAULT_LISTEN: { readonly [K in "http" | "https" | "admin"]: ListenAddress } = {
  http: { host: "::", port: 80 },
  https: { host: "::", port: 443 },
  admin: { host: "127.0.0.1", port: 9180 },
};

export interface CrossCheckOptions {
  /** Whether hosts without `tls` get their certificates by ACME. */
  readonly acme: boolean;
}

export function crossCheck(input: unknown, options: CrossCheckOptions): Problem[] {
  const config = fieldsOf(input);
  return [
    ...checkListen(fieldsOf(config.listen)),
    ...checkBackends(fieldsOf(config.backends)),
    ...checkDns(fieldsOf(config.dns)),
    ...checkWindows(fieldsOf(fieldsOf(config.limits).http2)),
    ...checkHosts(config, fieldsOf(config.hosts)),
    ...checkOnDemand(config),
    ...(options.acme ? checkAcme(config, fieldsOf(config.hosts)) : []),
  ];
}

function checkListen(listen: Fields): Problem[] {
  const problems: Problem[] = [];
  const taken: [string, ListenAddress][] = [];
  for (const name of ["http", "https", "admin"] as const) {
    const written = listen[name];
    const parsed = typeof written === "string" ? parseAddress(written) : { value: DEFAULT_LISTEN[name] };
    if (!("value" in parsed)) continue;
    const address = parsed.value;
    const rival = taken.find(([, other]) => collide(other, address));
    if (rival)
      problems.push({
        path: ["listen", name],
        message: `${formatAddress(address)} is taken by listen.${rival[0]} (${formatAddress(rival[1])})`,
      });
    taken.push([name, address]);
  }
  return problems;
}

const isEvery = (host: string): boolean => host === "::" || host === "0.0.0.0";

function collide(a: ListenAddress, b: ListenAddress): boolean {
  return a.port !== 0 && a.port === b.port && (a.host === b.host || isEvery(a.host) || isEvery(b.host));
}

function checkBackends(backends: Fields): Problem[] {
  const problems: Problem[] = [];
  for (const [name, value] of Object.entries(backends)) {
    const { servers, health, tls } = fieldsOf(value);
    if (Array.isArray(servers)) problems.push(...checkServers(["backends", name, "servers"], servers));
    if (tls !== undefined) problems.push(...checkTls(["backends", name, "tls"], fieldsOf(tls), servers));
    const { tcp, ...asked } = fieldsOf(health);
    const meaningless = ["path", "status", "body"].find((field) => asked[field] !== undefined);
    if (tcp === true && meaningless !== undefined)
      problems.push({
        path: ["backends", name, "health", meaningless],
        message: "means nothing to a TCP check; remove it, or tcp: true",
      });
    const { intervalMs = 10_000, timeoutMs = 2_000 } = fieldsOf(health);
    if (typeof intervalMs === "number" && typeof timeoutMs === "number" && timeoutMs >= intervalMs)
      problems.push({
        path: ["backends", name, "health", "timeoutMs"],
        message: `(${timeoutMs}) must be below intervalMs (${intervalMs})`,
      });
  }
  return problems;
}

function checkServers(path: readonly PropertyKey[], servers: readonly unknown[]): Problem[] {
  const problems: Problem[] = [];
  const seen = new Map<string, number>();
  servers.forEach((server, index) => {
    const url = typeof server === "string" ? server : fieldsOf(server).url;
    const parsed = typeof url === "string" ? parseServer(url) : undefined;
    if (!parsed || !("value" in parsed)) return;
    const key = serverKey(parsed.value);
    const first = seen.get(key);
    if (first === undefined) seen.set(key, index);
    else
      problems.push({
        path: [...path, index],
        message: `is servers[${first}] again; use weight to send it more`,
      });
  });
  return problems;
}

function checkTls(path: readonly PropertyKey[], tls: Fields, servers: unknown): Problem[] {
  const problems: Problem[] = [];
  if ((tls.cert === undefined) !== (tls.key === undefined))
    problems.push({ path, message: "a certificate needs its key: set both cert and key" });
  const secure = (server: unknown): boolean => {
    const url = typeof server === "string" ? server : fieldsOf(server).url;
    return typeof url === "string" && /^(srv\+)?https:/i.test(url);
  };
  if (Array.isArray(servers) && servers.length > 0 && !servers.some(secure))
    problems.push({ path, message: "none of the servers is https" });
  return problems;
}

function checkDns({ minTtlMs = 1_000, maxTtlMs }: Fields): Problem[] {
  if (typeof minTtlMs !== "number" || typeof maxTtlMs !== "number" || minTtlMs <= maxTtlMs) return [];
  return [{ path: ["dns", "minTtlMs"], message: `(${minTtlMs}) must not be above maxTtlMs (${maxTtlMs})` }];
}

/** A window that starts above what it may grow to. */
function checkWindows(http2: Fields): Problem[] {
  const problems: Problem[] = [];
  for (const [first, most] of [
    ["streamWindowBytes", "maxStreamWindowBytes"],
    ["connectionWindowBytes", "maxConnectionWindowBytes"],
  ] as const) {
    const from = http2[first] ?? DEFAULT_LIMITS.http2[first];
    const to = http2[most] ?? DEFAULT_LIMITS.http2[most];
    if (typeof from === "number" && typeof to === "number" && from > to)
      problems.push({
        path: ["limits", "http2", first],
        message: `(${from}) must not be above ${most} (${to})`,
      });
  }
  return problems;
}

function checkHosts(config: Fields, hosts: Fields): Problem[] {
  const problems: Problem[] = [];
  const backends = Object.keys(fieldsOf(config.backends));
  const seen = new Map<string, string>();
  for (const [written, value] of Object.entries(hosts)) {
    const path = ["hosts", written];
    const parsed = parseServedName(written);
    if ("value" in parsed) {
      const first = seen.get(parsed.value);
      if (first !== undefined)
        problems.push({ path, message: `is the same host as ${JSON.stringify(first)}` });
      seen.set(parsed.value, written);
    }
    if (isApp(value)) problems.push(...checkApp(path, value, backends));
    if (isApp(value) || fieldsOf(value) !== value) continue;
    problems.push(...checkHandler(path, fieldsOf(value), backends), ...checkHsts(path, fieldsOf(value).hsts));
  }
  if (isEmpty(config) && config.onDemand === undefined && !mayBeAdded(config))
    problems.push({
      path: ["hosts"],
      message: 'empty; add one, such as "app.example.com": { backend: "web" }',
    });
  return problems;
}

/** No host is named, and that is no slip of the pen. */
const isEmpty = ({ hosts }: Fields): boolean =>
  hosts !== undefined && fieldsOf(hosts) === hosts && Object.keys(hosts).length === 0;

/** Whether commands can add hosts: in storage that they see too, with certificates from somewhere. */
function mayBeAdded({ storage, acme, tls }: Fields): boolean {
  return storage !== "memory:" && (acme !== undefined || fieldsOf(tls).folder !== undefined);
}

/** Each CA is another one, and has terms of its own. */
function checkFallback(acme: Fields): Problem[] {
  if (!Array.isArray(acme.fallback)) return [];
  const problems: Problem[] = [];
  const seen = new Set<unknown>([acme.directory ?? DEFAULT_DIRECTORY]);
  for (const [index, other] of acme.fallback.entries()) {
    const path = ["acme", "fallback", index];
    const { directory, agreeToTerms = false } = fieldsOf(other);
    if (agreeToTerms === false)
      problems.push({
        path: [...path, "agreeToTerms"],
        message: "must be true: each CA has terms of service of its own",
      });
    if (seen.has(directory))
      problems.push({ path: [...path, "directory"], message: "is a CA that was named before" });
    seen.add(directory);
  }
  return problems;
}

/** That it is either a backend or an app, and that there is such a backend. */
function checkHandler(path: readonly PropertyKey[], host: Fields, backends: readonly string[]): Problem[] {
  const { backend, app, use } = host;
  if (app !== undefined) {
    const misplaced = backend !== undefined ? "backend" : use !== undefined ? "use" : undefined;
    if (misplaced === undefined) return isApp(app) ? checkApp([...path, "app"], app, backends) : [];
    return [{ path: [...path, misplaced], message: "means nothing beside app; let the app do it" }];
  }
  if (backend === undefined) return [{ path: [...path, "backend"], message: "missing" }];
  if (typeof backend !== "string" || backends.includes(backend)) return [];
  const known = backends.length > 0 ? suggestion(backend, backends) : "; backends is empty";
  return [{ path: [...path, "backend"], message: `no backend ${JSON.stringify(backend)}${known}` }];
}

/** What browsers' makers ask of those who want to be in their lists. */
function checkHsts(path: readonly PropertyKey[], hsts: unknown): Problem[] {
  const { preload, includeSubDomains, maxAgeSeconds = 63_072_000 } = fieldsOf(hsts);
  if (preload !== true) return [];
  const enough = typeof maxAgeSeconds !== "number" || maxAgeSeconds >= 31_536_000;
  if (enough && includeSubDomains === true) return [];
  return [
    {
      path: [...path, "hsts", "preload"],
      message: "takes includeSubDomains: true and maxAgeSeconds of at least 31536000",
    },
  ];
}

function checkOnDemand(config: Fields): Problem[] {
  const path = ["onDemand"];
  const onDemand = fieldsOf(config.onDemand);
  if (onDemand !== config.onDemand) return [];
  const { allow, ask, hsts } = onDemand;
  const problems = [
    ...checkHandler(path, onDemand, Object.keys(fieldsOf(config.backends))),
    ...checkHsts(path, hsts),
  ];
  if ((allow === undefined) === (ask === undefined))
    problems.push({
      path,
      message: "takes one of allow and ask: whoever points a name here would get a certificate otherwise",
    });
  return problems;
}

/** RFC 6761, RFC 6762, RFC 9476 and ICANN's "internal": no public CA signs names below these. */
const PRIVATE_TOP = new Set(["localhost", "local", "internal", "test", "invalid", "example", "alt"]);

/** A wildcard can be proved by DNS alone (RFC 8555 §7.1.3). */
function checkChallenges(acme: Fields, needing: readonly string[]): Problem[] {
  const challenges = Array.isArray(acme.challenges) ? (acme.challenges as unknown[]) : undefined;
  const problems: Problem[] = [];
  if (challenges?.includes("dns-01") && acme.dns === undefined)
    problems.push({ path: ["acme", "challenges"], message: "dns-01 needs acme.dns" });
  if (acme.dns !== undefined && challenges && !challenges.includes("dns-01"))
    problems.push({ path: ["acme", "challenges"], message: 'leaves out "dns-01", so acme.dns is not used' });
  const byDns = challenges
    ? challenges.includes("dns-01") || challenges.includes("dns-persist-01")
    : acme.dns !== undefined;
  if (byDns) return problems;
  for (const written of needing) {
    if (!written.startsWith("*.")) continue;
    problems.push({
      path: ["hosts", written],
      message: "a wildcard's certificate takes DNS-01: set acme.dns, or list each name",
    });
  }
  return problems;
}

function checkAcme(config: Fields, hosts: Fields): Problem[] {
  const needing = Object.keys(hosts).filter((name) => {
    const host = hosts[name];
    return isApp(host) || (fieldsOf(host) === host && fieldsOf(host).tls === undefined);
  });
  const folder = fieldsOf(config.tls).folder !== undefined;
  if (config.acme === undefined && config.onDemand !== undefined)
    return [
      {
        path: ["acme"],
        message:
          'missing, but onDemand orders certificates; add acme: { email: "you@example.com", agreeToTerms: true }',
      },
    ];
  const [first] = needing;
  if (first === undefined && config.onDemand === undefined && !isEmpty(config)) return [];
  // A folder may hold certificates for all of them.
  if (config.acme === undefined && folder) return [];
  if (config.acme === undefined && first === undefined) return [];
  if (config.acme === undefined)
    return [
      {
        path: ["acme"],
        message: `missing, but ${JSON.stringify(first)} has no tls of its own; add acme: { email: "you@example.com", agreeToTerms: true }`,
      },
    ];
  const problems: Problem[] = [];
  const acme = fieldsOf(config.acme);
  if (acme.agreeToTerms === undefined || acme.agreeToTerms === false)
    problems.push({
      path: ["acme", "agreeToTerms"],
      message:
        "must be true to order certificates; read the CA's terms of service, then add agreeToTerms: true",
    });
  problems.push(...checkFallback(acme), ...checkChallenges(acme, needing));
  if (folder || (acme.directory !== undefined && acme.directory !== DEFAULT_DIRECTORY)) return problems;
  for (const written of needing) {
    const parsed = parseServedName(written);
    if (!("value" in parsed)) continue;
    const labels = parsed.value.split(".");
    if (labels.length === 1 || PRIVATE_TOP.has(labels.at(-1) ?? ""))
      problems.push({
        path: ["hosts", written],
        message:
          "Let's Encrypt signs public names only; add tls: { cert, key }, set acme.directory to your own CA, or try it with skerry dev",
      });
  }
  return problems;
}
