/** What a config means once it is read: every default filled in, every path absolute, every value checked. */
import type { Hono, MiddlewareHandler } from "hono";
import type { Limits } from "../exchange/limits.ts";
import type { AcmeChallengeConfig } from "./acme-dns.ts";
import type { BalancingConfig } from "./balancing.ts";
import type { FleetConfig } from "./fleet.ts";
import type { LocationConfig } from "./location.ts";
import type { ExplainConfig, HedgeConfig, RetryConfig } from "./retrying.ts";
import type { TunnelConfig } from "./tunnel.ts";

export type { AcmeDnsConfig, ChallengeType, TsigKeyConfig } from "./acme-dns.ts";

/** `host:port`; port 0 asks the system for a free one. */
export interface ListenAddress {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface AcmeConfig extends AcmeChallengeConfig {
  /** URL of the CA's directory. */
  readonly directory: string;
  /** PEM text of the CA that signed the directory's own HTTPS certificate, where it is a private one. */
  readonly trustedCa: string | undefined;
  readonly email: string | undefined;
  readonly agreeToTerms: boolean;
  /** External account binding (RFC 8555 §7.3.4): who we are to a CA that knows its customers. */
  readonly eab?: { readonly kid: string; readonly hmacKey: string } | undefined;
  /** One of the directory's profiles; undefined for the CA's default. */
  readonly profile?: string | undefined;
  /** Common name of an issuer that the chain ought to hold. */
  readonly preferredChain?: string | undefined;
  /** @default "p256" */
  readonly keyType?: KeyType | undefined;
  /** Orders under way at once. @default 4 */
  readonly concurrency?: number | undefined;
  /** CAs to turn to, in order, while this one is down or its limits are reached. */
  readonly fallback?: readonly AcmeConfig[] | undefined;
}

/** Of a certificate's key. */
export type KeyType = "p256" | "p384" | "rsa2048" | "rsa4096";

/** One server of the config, from "http://10.0.0.5:8000"; where it is a name, each of its addresses is a server. */
export interface ServerConfig {
  /** As written in the config; its id in logs and metrics. */
  readonly id: string;
  readonly protocol: "http" | "https" | "h2c";
  /** A name or an address; "localhost" for a Unix socket. */
  readonly host: string;
  /** 0 where `socket` or the SRV records of `host` say it. */
  readonly port: number;
  readonly weight: number;
  /** Where it runs; undefined for wherever the edge is. */
  readonly location?: string | undefined;
  /** Where `host`, a name, was found to be: what is connected to instead. */
  readonly address?: string;
  /** The path of a Unix socket. */
  readonly socket?: string;
  /** Whether `host` is a name with SRV records. */
  readonly srv?: boolean;
  /** @default "config" */
  readonly source?: "config" | "dynamic";
}

/** The first and the last status of a range. */
export type StatusRange = readonly [from: number, to: number];

export interface HealthConfig {
  /** Connecting is all that is asked for; `path`, `statuses` and `body` do not count. */
  readonly tcp: boolean;
  readonly path: string;
  readonly statuses: readonly StatusRange[];
  /** What a good answer's body contains, within its first 64 KiB. */
  readonly body: string | undefined;
  /** Whether a server is out until its first good answer. */
  readonly startUnhealthy: boolean;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Good answers in a row that bring a server back. */
  readonly rise: number;
  /** Bad ones in a row that take it out. */
  readonly fall: number;
}

/** How `https` servers are spoken to. */
export interface BackendTlsConfig {
  /** PEM of the authorities to trust. */
  readonly ca: string | undefined;
  /** PEM of our certificate and its key, for servers that ask for one. */
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** The name that is asked for and verified, where it is not the server's own. */
  readonly serverName: string | undefined;
  readonly verify: boolean;
}

export interface BackendConfig {
  readonly name: string;
  readonly servers: readonly ServerConfig[];
  readonly tls: BackendTlsConfig | undefined;
  readonly health: HealthConfig | undefined;
  readonly connectTimeoutMs: number;
  /** From the request's last byte to the response's head; 0 for none. */
  readonly responseTimeoutMs: number;
  /** How long a body may stand still because of the server, in either direction; 0 for none. */
  readonly bodyTimeoutMs: number;
  /** From the first attempt to the response's last byte; 0 for none. */
  readonly totalTimeoutMs: number;
  /** Idle kept-alive connections per server. */
  readonly maxIdleConnections: number;
  readonly idleTimeoutMs: number;
  /** Per server. */
  readonly maxConnections: number;
  readonly balancing: BalancingConfig;
  readonly retry: RetryConfig;
  readonly hedge: HedgeConfig | undefined;
  /** @default "config" */
  readonly source?: "config" | "dynamic";
}

/** How names of servers are resolved. */
export interface DnsConfig {
  /** `address:port` of each DNS server; none for the system's. */
  readonly servers: readonly string[];
  /** The bounds of a record's TTL. */
  readonly minTtlMs: number;
  readonly maxTtlMs: number;
  /** How long the last good answer is used while none comes. */
  readonly keepStaleMs: number;
}

/** Own PEM files instead of ACME. */
export interface HostTlsConfig {
  readonly certPath: string;
  readonly keyPath: string;
}

/** How clients show who they are. */
export interface ClientAuthConfig {
  /** PEM of the authorities that clients' certificates come from. */
  readonly ca: string;
  readonly required: boolean;
}

/** Either a backend with middleware, or a whole app. */
export type HostHandler =
  | { readonly kind: "backend"; readonly backend: string; readonly use: readonly MiddlewareHandler[] }
  // biome-ignore lint/suspicious/noExplicitAny: an app may be typed with any Env, and Hono's types are invariant in it
  | { readonly kind: "app"; readonly app: Hono<any, any, any> };

export interface HostConfig {
  /** Lower-case A-label without trailing dot. */
  readonly name: string;
  readonly tls: HostTlsConfig | undefined;
  /** In place of `acme.profile` and `acme.keyType`. */
  readonly profile?: string | undefined;
  readonly keyType?: KeyType | undefined;
  /** The value of Strict-Transport-Security. */
  readonly hsts: string | undefined;
  readonly clientAuth: ClientAuthConfig | undefined;
  readonly handler: HostHandler;
  /** @default "config" */
  readonly source?: "config" | "dynamic";
}

export interface OnDemandConfig {
  /** Whether a name may be served; one of the two. */
  readonly permission:
    | { readonly kind: "allow"; readonly allow: (name: string) => boolean | Promise<boolean> }
    | { readonly kind: "ask"; readonly url: string };
  readonly handler: HostHandler;
  readonly hsts: string | undefined;
  readonly handshakeWaitMs: number;
  readonly maxHosts: number;
}

export interface TlsConfig {
  readonly profile: "intermediate" | "modern";
  /** Absolute; own certificates for any host. */
  readonly folder: string | undefined;
}

export interface ResolvedConfig extends LocationConfig {
  /** The file it came from, or undefined; relative paths were resolved against its folder. */
  readonly file: string | undefined;
  readonly listen: {
    readonly http: ListenAddress;
    readonly https: ListenAddress;
    readonly admin: ListenAddress;
  };
  /** "file:/absolute/folder", "memory:" (tests only) or "nats://…". */
  readonly storage: string;
  /** Where `storage` is NATS. */
  readonly fleet?: FleetConfig | undefined;
  /** Undefined where every host brings its own certificate, or none is served by HTTPS. */
  readonly acme: AcmeConfig | undefined;
  readonly backends: ReadonlyMap<string, BackendConfig>;
  readonly dns: DnsConfig;
  readonly hosts: ReadonlyMap<string, HostConfig>;
  readonly onDemand: OnDemandConfig | undefined;
  readonly tls: TlsConfig;
  readonly tunnel: TunnelConfig;
  /** CIDR ranges or addresses whose forwarding headers are believed. */
  readonly trustedProxies: readonly string[];
  readonly limits: Limits;
  readonly drainTimeoutMs: number;
  readonly accessLog: boolean;
  readonly explain: ExplainConfig | undefined;
  readonly logLevel: "debug" | "info" | "warn" | "error";
}
