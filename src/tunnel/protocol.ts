/** What agent and edge say to each other on the control stream: one JSON object a line. Unknown types and fields are ignored. */

/** The application protocol that agents ask for in the TLS handshake. */
export const ALPN = "wormhole/1";
/** The server name by which an agent asks for the tunnel's own certificate; never resolved. */
export const TUNNEL_NAME = "wormhole.skerry.invalid";
/** Version of the messages. An edge that knows no version of an agent's rejects it. */
export const PROTO = 1;
/** What this program can do beyond the version's basics. */
export const FEATURES: readonly string[] = ["inflight", "edges"];
/** The `:authority` of the control stream's CONNECT; any other opens a connection to the target. */
export const CONTROL_AUTHORITY = "control";
export const SERVER_AUTHORITY = "server";

/** Bytes of one line; a longer one ends the session. */
export const MAX_LINE_BYTES = 16_384;

/** Which code runs in the container. */
export interface Release {
  readonly sha?: string;
  readonly branch?: string;
  readonly image?: string;
}

/** The first line, from the agent, once it has verified the edge. */
export interface Hello {
  readonly type: "hello";
  readonly proto: number;
  readonly features: readonly string[];
  readonly token: string;
  /** One container: its connections belong together. */
  readonly instance: string;
  /** One process: a new one of the same instance replaces the old one's connections. */
  readonly run: string;
  /** Which of the instance's connections to this edge; a new one replaces the old. */
  readonly slot: number;
  /** Ids of edges that are joined by other addresses: one of them needs no second one. */
  readonly joined?: readonly string[];
  /** Names the server in logs. */
  readonly app: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Where the container runs. */
  readonly location?: string;
  readonly release: Release;
  /** Of the agent. */
  readonly version: string;
  readonly healthy: boolean;
}

export interface EdgeAddress {
  readonly id: string;
  /** `host:port` */
  readonly address: string;
}

export type AgentMessage =
  | Hello
  | { readonly type: "health"; readonly healthy: boolean }
  /** Picks no more; answered by the same from the edge, and by "drained" once nothing is in flight. */
  | { readonly type: "draining" }
  /** Requests in flight at the target, over all edges. */
  | { readonly type: "inflight"; readonly total: number }
  | { readonly type: "ping" }
  | { readonly type: "pong" };

/** The code of a reject to an address of an edge that the agent has joined by another one. */
export const JOINED_ALREADY = "joined_already";

export type EdgeMessage =
  | {
      readonly type: "welcome";
      readonly proto: number;
      readonly edgeId: string;
      readonly edges: readonly EdgeAddress[];
      readonly pingMs: number;
      /** The server's id on the edge. */
      readonly server: string;
    }
  | {
      readonly type: "reject";
      readonly reason: string;
      /** The reason for programs; a small fixed set. */
      readonly code?: string;
      /** Trying again will not help until somebody changes something. */
      readonly permanent: boolean;
      readonly retryAfterMs: number;
    }
  | { readonly type: "draining" }
  | { readonly type: "drained" }
  /** The edge itself is draining: what is in flight goes on, and then it closes. */
  | { readonly type: "leaving" }
  | { readonly type: "edges"; readonly edges: readonly EdgeAddress[] }
  /** Requests that this edge has in flight at the instance. */
  | { readonly type: "inflight"; readonly here: number }
  /** Asks for a "pong": a busy wormhole that is silent is asked sooner than by HTTP/2. */
  | { readonly type: "ping" }
  | { readonly type: "pong" };

type Fields = Record<string, unknown>;

const text = (value: unknown, most = 256): string =>
  typeof value === "string" ? value.slice(0, most).replace(/[^\x20-\x7e]/g, "?") : "";

/** At most 16 pairs of short strings. */
function labelsOf(value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null) return {};
  const pairs = Object.entries(value).filter(([, each]) => typeof each === "string");
  return Object.fromEntries(pairs.slice(0, 16).map(([name, each]) => [text(name, 64), text(each, 128)]));
}

/** A hello, or undefined where it lacks what an edge cannot do without. */
export function parseHello(fields: Fields): Hello | undefined {
  const { proto, features, slot } = fields;
  const instance = text(fields.instance, 64);
  const release = labelsOf(fields.release);
  const location = text(fields.location, 63).trim();
  if (typeof proto !== "number" || typeof fields.token !== "string") return undefined;
  if (!/^[\w.-]{8,64}$/.test(instance)) return undefined;
  return {
    type: "hello",
    proto,
    features: Array.isArray(features) ? features.slice(0, 32).map((each) => text(each, 32)) : [],
    token: fields.token,
    instance,
    run: text(fields.run, 64),
    slot: typeof slot === "number" && Number.isInteger(slot) && slot >= 0 ? slot : 0,
    joined: Array.isArray(fields.joined) ? fields.joined.slice(0, 256).map((each) => text(each, 64)) : [],
    app: text(fields.app, 64),
    labels: labelsOf(fields.labels),
    ...(location !== "" && { location }),
    release: {
      ...(release.sha !== undefined && { sha: release.sha }),
      ...(release.branch !== undefined && { branch: release.branch }),
      ...(release.image !== undefined && { image: release.image }),
    },
    version: text(fields.version, 32),
    healthy: fields.healthy !== false,
  };
}

/** The edges of a welcome or an edges line; what is no address is left out. */
export function parseEdges(value: unknown): EdgeAddress[] {
  if (!Array.isArray(value)) return [];
  return value
    .slice(0, 256)
    .map((each: Fields | null) => ({ id: text(each?.id, 64), address: text(each?.address) }))
    .filter(({ address }) => parseAuthority(address) !== undefined);
}

/** `host:port`, `[v6]:port`. */
export function parseAuthority(address: string): { host: string; port: number } | undefined {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]/@]+)):(\d{1,5})$/.exec(address);
  const port = Number(found?.[3]);
  if (!found || port < 1 || port > 65_535) return undefined;
  return { host: found[1] ?? found[2] ?? "", port };
}
