/** Dynamic hosts and servers put into a config. What did not change stays the same object, so that others see at once what did. */
import type { BackendConfig, HostConfig, ResolvedConfig, ServerConfig } from "./config.ts";
import { type DynamicServer, type DynamicState, type Source, weightProblem } from "./dynamic.ts";
import { parseBackendName, parseServedName } from "./parse.ts";
import { parseServer, serverKey } from "./parse-server.ts";
import { fillBackend } from "./resolve.ts";
import { unreadNotes } from "./unread.ts";

/** What was added and does not count, or not as it was meant. */
export interface DynamicNote {
  readonly kind: "shadowed" | "no-backend" | "invalid";
  /** A host, or a backend's server. */
  readonly name: string;
  readonly message: string;
}

export interface Merged {
  readonly config: ResolvedConfig;
  readonly notes: readonly DynamicNote[];
}

/** One for each edge: it remembers what it made. */
export function createMerger(): (base: ResolvedConfig, state: DynamicState) => Merged {
  let hostsBefore = new Map<string, HostConfig>();
  let backendsBefore = new Map<
    string,
    { base: BackendConfig | undefined; text: string; made: BackendConfig }
  >();
  return (base, state) => {
    const notes = unreadNotes(state).map((note): DynamicNote => ({ kind: "invalid", ...note }));
    const hosts = new Map(base.hosts);
    const backends = new Map(base.backends);

    const made: typeof backendsBefore = new Map();
    const addBackend = (name: string, servers: readonly DynamicServer[]): void => {
      const under = base.backends.get(name);
      const fit = fitting(name, servers, under, notes);
      if (under && fit.length === 0) return;
      const text = JSON.stringify(fit);
      const before = backendsBefore.get(name);
      const same = before && before.base === under && before.text === text;
      const entry = same ? before : { base: under, text, made: backendOf(name, fit, under) };
      made.set(name, entry);
      backends.set(name, entry.made);
    };
    for (const [name, servers] of state.servers) {
      const parsed = parseBackendName(name);
      if ("value" in parsed) addBackend(name, servers);
      else notes.push({ kind: "invalid", name, message: parsed.problem });
    }

    const added: typeof hostsBefore = new Map();
    for (const [name, backend] of state.hosts) {
      const parsed = parseServedName(name);
      if (!("value" in parsed) || parsed.value !== name) {
        const message = "problem" in parsed ? parsed.problem : `is written ${parsed.value}`;
        notes.push({ kind: "invalid", name, message });
        continue;
      }
      if (base.hosts.has(name)) {
        notes.push({ kind: "shadowed", name, message: "the config file names this host too, and wins" });
        continue;
      }
      if (!backends.has(backend)) {
        // Its certificate is kept, and visitors are told that there is no server, until there is one again.
        notes.push({
          kind: "no-backend",
          name,
          message: `this edge has no backend ${JSON.stringify(backend)}`,
        });
        addBackend(backend, []);
      }
      const before = hostsBefore.get(name);
      const same = before?.handler.kind === "backend" && before.handler.backend === backend;
      const host = same ? before : hostOf(name, backend);
      added.set(name, host);
      hosts.set(name, host);
    }
    hostsBefore = added;
    backendsBefore = made;
    return { config: { ...base, hosts, backends }, notes };
  };
}

/** Those that are well-formed and that the config has not. */
function fitting(
  backend: string,
  servers: readonly DynamicServer[],
  under: BackendConfig | undefined,
  notes: DynamicNote[],
): DynamicServer[] {
  if (servers.length === 0) return [];
  const taken = new Set(under?.servers.map(serverKey));
  return servers.filter(({ url, weight }) => {
    const name = `${backend} ${url}`;
    const parsed = parseServer(url);
    const unweighable = weightProblem(weight);
    if (unweighable !== undefined)
      notes.push({ kind: "invalid", name, message: `its weight ${unweighable}` });
    else if ("problem" in parsed) notes.push({ kind: "invalid", name, message: parsed.problem });
    else if (taken.has(serverKey(parsed.value)))
      notes.push({ kind: "shadowed", name, message: "the config file names this server too, and wins" });
    else return true;
    return false;
  });
}

function hostOf(name: string, backend: string): HostConfig {
  const handler = { kind: "backend", backend, use: [] } as const;
  return { name, tls: undefined, hsts: undefined, clientAuth: undefined, handler, source: "dynamic" };
}

function backendOf(
  name: string,
  servers: readonly DynamicServer[],
  under: BackendConfig | undefined,
): BackendConfig {
  const written = servers.flatMap(({ url, weight, location }) => {
    const parsed = parseServer(url);
    const known = { weight, ...(location !== undefined && { location }) };
    return "value" in parsed ? [{ ...known, url: parsed.value }] : [];
  });
  // Paths of sockets are absolute, and there is nothing else to read.
  const filled = fillBackend(name, { servers: written }, NO_FILES);
  const own: ServerConfig[] = filled.servers.map((server) => ({ ...server, source: "dynamic" }));
  return under
    ? { ...under, servers: [...under.servers, ...own] }
    : { ...filled, servers: own, source: "dynamic" };
}

const NO_FILES = { problems: [], absolute: (path: string): string => path, read: (): string => "" };

/** One host of an edge or a fleet, for lists. */
export interface HostRow {
  readonly host: string;
  /** Null where an app answers. */
  readonly backend: string | null;
  readonly source: Source;
  /** What is to be known of it. */
  readonly note?: string;
}

export interface BackendRow {
  readonly name: string;
  readonly source: Source;
  readonly servers: readonly {
    readonly url: string;
    readonly weight: number;
    readonly location?: string;
    readonly source: Source;
    readonly note?: string;
  }[];
}

/** All hosts, those that do not count too. */
export function hostRows(
  { hosts }: ResolvedConfig,
  state: DynamicState,
  notes: readonly DynamicNote[],
): HostRow[] {
  const without = new Map(notes.filter(({ kind }) => kind === "no-backend").map((note) => [note.name, note]));
  const rows = [...hosts.values()].map(({ name, handler, source = "config" }): HostRow => {
    const backend = handler.kind === "backend" ? handler.backend : null;
    const note = without.get(name)?.message;
    return { host: name, backend, source, ...(note !== undefined && { note }) };
  });
  for (const { kind, name, message } of notes) {
    const backend = state.hosts.get(name) ?? null;
    if (kind === "no-backend" || !(backend !== null || state.unread?.hosts.has(name))) continue;
    rows.push({ host: name, backend, source: "dynamic", note: `not used: ${message}` });
  }
  return rows;
}

export function backendRows(
  { backends }: ResolvedConfig,
  state: DynamicState,
  notes: readonly DynamicNote[],
): BackendRow[] {
  return [...backends.values()].map(({ name, servers, source = "config" }) => {
    const unused = (state.servers.get(name) ?? []).flatMap((server) => {
      const note = notes.find((each) => each.name === `${name} ${server.url}`);
      return note ? [{ ...server, source: "dynamic" as const, note: `not used: ${note.message}` }] : [];
    });
    const used = servers.map((server) => ({
      url: server.id,
      weight: server.weight,
      ...(server.location !== undefined && { location: server.location }),
      source: server.source ?? ("config" as const),
    }));
    return { name, source, servers: [...used, ...unused] };
  });
}
