/** What an edge shows of itself to operators, by the admin API, the dashboard and commands. */
import type { Metrics } from "../metrics.ts";
import type { CertificateActions } from "../tls/actions.ts";
import type { WormholeView } from "../tunnel/gateway.ts";
import type { DynamicActions } from "./dynamic.ts";
import type { ExplainedRequest } from "./explain.ts";
import type { FleetSource } from "./presence.ts";

/** What the admin API reads, and the little that it may do. */
export interface AdminSource {
  readonly metrics: Metrics;
  readonly version: string;
  readonly location: string;
  state(): "starting" | "ready" | "draining";
  /** One entry per host that is served by HTTPS. */
  certificates(): readonly CertificateView[];
  backends(): readonly BackendView[];
  /** Containers that are joined by a wormhole. */
  wormholes?(): readonly WormholeView[];
  /** Undefined while storage is there; otherwise since when, on the wall clock, and why it is not. */
  storageAway?(): { readonly since: number; readonly reason: string } | undefined;
  /** The last requests, the newest first; undefined where the config has no `explain`. */
  requests?(): readonly ExplainedRequest[] | undefined;
  /** The edges that share storage, and what they hold. */
  readonly fleet?: FleetSource;
  /** What operators may do with certificates. */
  readonly actions?: CertificateActions;
  /** Hosts and backends, and what operators may do with them. */
  readonly dynamic?: DynamicActions;
}

/** One host's certificate; whatever else the source knows of it is shown too. */
export interface CertificateView {
  readonly host: string;
  readonly state: "valid" | "expiring" | "expired" | "missing";
  /** Less than a twentieth of its life is left, or none: renewing has failed for long. */
  readonly emergency?: boolean;
}

export interface BackendView {
  readonly name: string;
  /** Servers in the config; none where only wormholes join. */
  readonly configured: number;
  readonly source?: "config" | "dynamic";
  readonly servers: readonly ServerView[];
}

export interface ServerView {
  readonly id: string;
  /** Where it runs, where somebody said it. */
  readonly location?: string;
  readonly state: "available" | "ejected" | "probing" | "unhealthy";
  /** How its last requests failed; the last server of a backend is "available" all the same. */
  readonly failing?: "unreachable" | "broken";
  readonly inFlight: number;
  readonly latencyMs: number | undefined;
  readonly weight: number;
  readonly source?: "config" | "dynamic" | "wormhole";
}
