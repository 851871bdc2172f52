/**
 * Hosts and servers that commands add to what the config says, for all edges of a fleet: as they are stored, and how one of
 * them is changed. `merge.ts` puts them into a config. Where both name the same thing the config wins.
 */
import { EdgeError } from "../errors.ts";
import type { BackendConfig, ResolvedConfig } from "./config.ts";
import { crossCheck } from "./crosscheck.ts";
import { locationProblem } from "./location.ts";
import { type Parsed, parseBackendName, parseServedName } from "./parse.ts";
import { parseServer, serverKey } from "./parse-server.ts";
import { formatProblem, type Problem, suggestion } from "./problems.ts";
import { type Unread, withoutUnreadHost, withoutUnreadServer } from "./unread.ts";

/** Where a host, a backend or a server comes from. */
export type Source = "config" | "dynamic";

export interface DynamicServer {
  readonly url: string;
  readonly weight: number;
  /** Where it runs; undefined for wherever the edge is. */
  readonly location?: string;
}

/** All that was added, whichever edge or command did. */
export interface DynamicState {
  /** Counts changes, so that it can be told which ones an edge has seen. */
  readonly generation: number;
  /** The backend of each host, by name. */
  readonly hosts: ReadonlyMap<string, string>;
  /** By backend. */
  readonly servers: ReadonlyMap<string, readonly DynamicServer[]>;
  /** What another version stored and this one cannot read. @default nothing */
  readonly unread?: Unread | undefined;
}

export const NOTHING_DYNAMIC: DynamicState = { generation: 0, hosts: new Map(), servers: new Map() };

export type DynamicEdit =
  | {
      readonly kind: "add-host";
      readonly host: string;
      readonly backend: string;
      /** Whether a dynamic host may go to another backend than it has. */
      readonly replace?: boolean;
    }
  | { readonly kind: "remove-host"; readonly host: string }
  | {
      readonly kind: "add-server";
      readonly backend: string;
      readonly url: string;
      /** @default 1 */
      readonly weight?: number;
      /** @default wherever the edge is */
      readonly location?: string;
    }
  | { readonly kind: "remove-server"; readonly backend: string; readonly url: string };

/** What a config says that edits must fit. */
export interface DynamicBase extends Pick<ResolvedConfig, "acme" | "backends" | "hosts" | "tls"> {
  /** Whether hosts without own files get their certificates by ACME. @default true */
  readonly byAcme?: boolean;
}

export interface Edited {
  /** Undefined where it was so already. */
  readonly state: DynamicState | undefined;
  /** What was done, for people. */
  readonly said: string;
}

const MOST_WEIGHT = 1000;

/** What is wrong with a weight. */
export function weightProblem(weight: number): string | undefined {
  if (Number.isSafeInteger(weight) && weight >= 1 && weight <= MOST_WEIGHT) return undefined;
  return `must be a whole number from 1 to ${MOST_WEIGHT}, got ${weight}`;
}

/**
 * The state after one change.
 *
 * @throws EdgeError CONFIG_INVALID in the config's own words, or USAGE where the config or the state is in the way
 */
export function editDynamic(state: DynamicState, edit: DynamicEdit, base: DynamicBase): Edited {
  switch (edit.kind) {
    case "add-host":
      return addHost(state, edit, base);
    case "remove-host":
      return removeHost(state, edit.host, base);
    case "add-server":
      return addServer(state, edit, base);
    case "remove-server":
      return removeServer(state, edit, base);
    default:
      return edit satisfies never;
  }
}

function addHost(
  state: DynamicState,
  { host, backend, replace = false }: Extract<DynamicEdit, { kind: "add-host" }>,
  base: DynamicBase,
): Edited {
  const parsed = parseServedName(host);
  const shape = "problem" in parsed ? [{ path: ["hosts", host], message: parsed.problem }] : [];
  const name = "value" in parsed ? parsed.value : "";
  if (base.hosts.has(name)) throw conflict(`${name} is in the config file, which wins: change it there`);
  invalid([...shape, ...hostProblems(host, backend, state, base)]);
  const readable = withoutUnreadHost(state, name);
  if (readable && !replace) throw unreadable(`${name} was added`);
  const now = state.hosts.get(name);
  if (now === backend) return { state: undefined, said: `${name} was served from ${backend} already` };
  if (now !== undefined && !replace)
    throw conflict(
      `${name} is served from ${now} already: remove it first, or replace it (--replace, "replace": true)`,
    );
  const hosts = new Map(state.hosts).set(name, backend);
  const instead = now === undefined ? "" : `, no longer from ${now}`;
  const change = { hosts, unread: readable ?? state.unread };
  return { state: next(state, change), said: `${name} is served from ${backend}${instead}` };
}

function removeHost(state: DynamicState, host: string, base: DynamicBase): Edited {
  const name = checked(parseServedName(host), ["hosts", host]);
  const configured = base.hosts.has(name);
  const unread = withoutUnreadHost(state, name);
  if (unread) return { state: next(state, { unread }), said: `removed ${name}` };
  if (!state.hosts.has(name)) {
    if (configured) throw conflict(`${name} is in the config file: remove it there, and reload`);
    const known = suggestion(name, [...state.hosts.keys()]);
    throw missing(`no host ${JSON.stringify(name)} was added${known}`);
  }
  const hosts = new Map(state.hosts);
  hosts.delete(name);
  const still = configured ? "; the config file names it too, so it is served as before" : "";
  return { state: next(state, { hosts }), said: `removed ${name}${still}` };
}

function addServer(
  state: DynamicState,
  { backend, url, weight = 1, location }: Extract<DynamicEdit, { kind: "add-server" }>,
  base: DynamicBase,
): Edited {
  const name = checked(parseBackendName(backend), ["backends", backend]);
  const path = ["backends", name, "servers"];
  const server = checked(parseServer(url), path);
  if (server.socket !== undefined && !server.socket.startsWith("/"))
    invalid([{ path, message: `must be an absolute path, as edges have folders of their own: "${url}"` }]);
  const unweighable = weightProblem(weight);
  if (unweighable !== undefined) invalid([{ path: [...path, "weight"], message: unweighable }]);
  if (location !== undefined) {
    const problem = locationProblem(location);
    if (problem !== undefined) invalid([{ path: [...path, "location"], message: problem }]);
  }
  const key = serverKey(server);
  if (ofConfig(base.backends.get(name), key))
    throw conflict(`backend ${name} has ${url} from the config file, which wins: change it there`);
  if (withoutUnreadServer(state, name, url)) throw unreadable(`backend ${name} has ${url}`);
  const servers = state.servers.get(name) ?? [];
  const index = servers.findIndex((other) => keyOf(other) === key);
  const before = servers[index];
  if (before?.url === url && before.weight === weight && before.location === location)
    return { state: undefined, said: `backend ${name} had ${url} already` };
  // Fields of a newer version stay.
  const { location: _, ...more } = before ?? {};
  const entry = { ...more, url, weight, ...(location !== undefined && { location }) };
  const after = before ? servers.with(index, entry) : [...servers, entry];
  const fresh = before || servers.length > 0 || base.backends.has(name) ? "" : "new ";
  const there = location === undefined ? "" : ` in ${location}`;
  const what = before ? `now has ${url} with weight ${weight}${there}` : `has ${url}${there}`;
  return {
    state: next(state, { servers: new Map(state.servers).set(name, after) }),
    said: `${fresh}backend ${name} ${what}`,
  };
}

function removeServer(
  state: DynamicState,
  { backend, url }: Extract<DynamicEdit, { kind: "remove-server" }>,
  base: DynamicBase,
): Edited {
  const name = checked(parseBackendName(backend), ["backends", backend]);
  const key = serverKey(checked(parseServer(url), ["backends", name, "servers"]));
  const configured = base.backends.get(name);
  const servers = state.servers.get(name) ?? [];
  const unread = withoutUnreadServer(state, name, url);
  if (unread) return { state: next(state, { unread }), said: `backend ${name} no longer has ${url}` };
  const left = servers.filter((server) => keyOf(server) !== key);
  if (left.length === servers.length) {
    if (ofConfig(configured, key))
      throw conflict(`backend ${name} has ${url} from the config file: remove it there, and reload`);
    if (!configured && servers.length === 0) {
      const known = suggestion(name, backendNames(state, base));
      throw missing(`no backend ${JSON.stringify(name)}${known}`);
    }
    const added = servers.map((server) => server.url).join(", ") || "none";
    throw missing(`backend ${name} has no server ${JSON.stringify(url)}; those that were added: ${added}`);
  }
  const rest = new Map(state.servers);
  if (left.length > 0) rest.set(name, left);
  else rest.delete(name);
  const last = left.length === 0 && !configured;
  const user = last ? [...state.hosts].find(([, of]) => of === name)?.[0] : undefined;
  if (user !== undefined)
    throw conflict(
      `${url} is the last server of ${name}, which ${user} is served from: add another server, or remove that host first`,
    );
  const gone = last ? `; backend ${name} is gone with it` : "";
  return { state: next(state, { servers: rest }), said: `backend ${name} no longer has ${url}${gone}` };
}

/** As the config would be told of them, were the host in it. */
function hostProblems(host: string, backend: string, state: DynamicState, base: DynamicBase): Problem[] {
  const { acme, tls, byAcme = true } = base;
  return crossCheck(
    {
      ...(acme && {
        acme: {
          directory: acme.directory,
          agreeToTerms: acme.agreeToTerms,
          ...(acme.dns && { dns: {} }),
          ...(acme.challenges && { challenges: acme.challenges }),
        },
      }),
      tls: { ...(tls.folder !== undefined && { folder: tls.folder }) },
      backends: Object.fromEntries(backendNames(state, base).map((name) => [name, {}])),
      hosts: { [host]: { backend } },
    },
    { acme: byAcme },
  );
}

const backendNames = (state: DynamicState, base: DynamicBase): string[] => [
  ...new Set([...base.backends.keys(), ...state.servers.keys()]),
];

function ofConfig(backend: BackendConfig | undefined, key: string): boolean {
  return backend?.servers.some((server) => serverKey(server) === key) === true;
}

function keyOf({ url }: DynamicServer): string | undefined {
  const parsed = parseServer(url);
  return "value" in parsed ? serverKey(parsed.value) : undefined;
}

const next = (state: DynamicState, change: Partial<DynamicState>): DynamicState => ({
  ...state,
  ...change,
  generation: state.generation + 1,
});

function checked<T>(parsed: Parsed<T>, path: readonly PropertyKey[]): T {
  if ("value" in parsed) return parsed.value;
  return invalid([{ path, message: parsed.problem }]) as never;
}

function invalid(problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  throw new EdgeError("CONFIG_INVALID", problems.map(formatProblem).join("\n"), {
    source: "operator",
    status: 400,
  });
}

const conflict = (message: string): EdgeError =>
  new EdgeError("USAGE", message, { source: "operator", status: 409 });
const unreadable = (what: string): EdgeError =>
  conflict(`${what} in a form that this version of Skerry cannot read: upgrade it here, or remove it first`);
const missing = (message: string): EdgeError =>
  new EdgeError("USAGE", message, { source: "operator", status: 404 });
