/**
 * What a newer version stored of hosts and servers, and this one cannot read: it does not count here, is told to the operator,
 * and stays as it is when something else is changed.
 */
import type { DynamicServer, DynamicState } from "./dynamic.ts";
import { locationProblem } from "./location.ts";
import { describeValue } from "./problems.ts";

export interface Unread {
  readonly hosts: ReadonlyMap<string, unknown>;
  /** By backend. */
  readonly servers: ReadonlyMap<string, readonly unknown[]>;
  /** Fields beside hosts and servers, which an edge need not know. */
  readonly rest: Readonly<Record<string, unknown>>;
}

export interface UnreadNote {
  /** A host, or a backend's server. */
  readonly name: string;
  readonly message: string;
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Which field it is, and what is wrong with it; undefined for a server that this version reads. */
export function serverProblem(value: unknown): string | undefined {
  if (!isRecord(value)) return `is ${describeValue(value)}, not an object with a url and a weight`;
  const { url, weight, location } = value;
  if (typeof url !== "string") return `its url is ${describeValue(url)}, not a text`;
  if (typeof weight !== "number") return `its weight is ${describeValue(weight)}, not a number`;
  const problem = location === undefined ? undefined : locationProblem(location);
  return problem === undefined ? undefined : `its location ${problem}`;
}

export const isServer = (value: unknown): value is DynamicServer => serverProblem(value) === undefined;

/** The url of a server that cannot be read otherwise. */
const urlOf = (value: unknown): unknown => (isRecord(value) ? value.url : undefined);

/** A line for each record that does not count. */
export function unreadNotes({ unread }: DynamicState): UnreadNote[] {
  if (!unread) return [];
  const by = "stored by another version? It is kept as it is";
  const hosts = [...unread.hosts].map(([name, value]) => ({
    name,
    message: `its backend is ${describeValue(value)}, not a name; ${by}`,
  }));
  const servers = [...unread.servers].flatMap(([backend, list]) =>
    list.map((value, index) => {
      const url = urlOf(value);
      const name = `${backend} ${typeof url === "string" ? url : `servers[${index}]`}`;
      return { name, message: `${serverProblem(value)}; ${by}` };
    }),
  );
  return [...hosts, ...servers];
}

/** Without one host; undefined where it was not there. */
export function withoutUnreadHost({ unread }: DynamicState, host: string): Unread | undefined {
  if (!unread?.hosts.has(host)) return undefined;
  const hosts = new Map(unread.hosts);
  hosts.delete(host);
  return { ...unread, hosts };
}

/** Without the servers of a url; undefined where there was none. */
export function withoutUnreadServer(
  { unread }: DynamicState,
  backend: string,
  url: string,
): Unread | undefined {
  const list = unread?.servers.get(backend) ?? [];
  const left = list.filter((value) => urlOf(value) !== url);
  if (!unread || left.length === list.length) return undefined;
  const servers = new Map(unread.servers);
  if (left.length > 0) servers.set(backend, left);
  else servers.delete(backend);
  return { ...unread, servers };
}
